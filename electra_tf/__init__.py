"""Provides ELECTRA for TensorFlow and Keras 3: the public names.

Each name is imported on first use, so that `import electra_tf` is fast and does
not import TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

from electra_tf import backend
from electra_tf.registration import announce_classes

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "electra_tf.serving.client",
    "Client": "electra_tf.serving.client",
    "CrossEncoder": "electra_tf.keras_api.tasks.ranking",
    "Discriminator": "electra_tf.hub.pretrained",
    "ElectraPretrainer": "electra_tf.keras_api.pretrainer",
    "Encoder": "electra_tf.hub.pretrained",
    "Generator": "electra_tf.hub.pretrained",
    "GeneratorConfig": "electra_tf.models.config",
    "MaskedLM": "electra_tf.keras_api.tasks.masked_lm",
    "MaskingConfig": "electra_tf.pretraining.settings",
    "ModelConfig": "electra_tf.models.config",
    "ObjectiveConfig": "electra_tf.pretraining.settings",
    "QuestionAnswerer": "electra_tf.keras_api.tasks.qa",
    "ReplacedTokenDetector": "electra_tf.keras_api.tasks.detector",
    "ServingError": "electra_tf.serving.client",
    "TextClassifier": "electra_tf.keras_api.tasks.texts",
    "TextRegressor": "electra_tf.keras_api.tasks.texts",
    "TokenClassifier": "electra_tf.keras_api.tasks.tagging",
    "Tokenizer": "electra_tf.keras_api.tokenizer",
    "UserError": "electra_tf.errors",
    "Vocab": "electra_tf.text.vocab",
    "build_data": "electra_tf.recipes.build_data",
    "build_vocab": "electra_tf.recipes.build_vocab",
    "convert": "electra_tf.recipes.convert",
    "embed": "electra_tf.recipes.embed",
    "evaluate": "electra_tf.recipes.evaluate",
    "evaluate_pretraining": "electra_tf.recipes.evaluate_pretraining",
    "explain": "electra_tf.keras_api.explain",
    "export": "electra_tf.recipes.export",
    "finetune": "electra_tf.recipes.finetune",
    "load": "electra_tf.prediction.predictor",
    "load_vocab": "electra_tf.text.vocab",
    "make_optimizer": "electra_tf.training.optimizer",
    "predict": "electra_tf.recipes.predict",
    "prepare_text": "electra_tf.recipes.prepare_text",
    "pretrain": "electra_tf.recipes.pretrain",
    "pretraining_dataset": "electra_tf.keras_api.data",
}

__all__ = [
    "AsyncClient",
    "Client",
    "CrossEncoder",
    "Discriminator",
    "ElectraPretrainer",
    "Encoder",
    "Generator",
    "GeneratorConfig",
    "MaskedLM",
    "MaskingConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "QuestionAnswerer",
    "ReplacedTokenDetector",
    "ServingError",
    "TextClassifier",
    "TextRegressor",
    "TokenClassifier",
    "Tokenizer",
    "UserError",
    "Vocab",
    "__version__",
    "build_data",
    "build_vocab",
    "convert",
    "embed",
    "evaluate",
    "evaluate_pretraining",
    "explain",
    "export",
    "finetune",
    "load",
    "load_vocab",
    "make_optimizer",
    "predict",
    "prepare_text",
    "pretrain",
    "pretraining_dataset",
]

if TYPE_CHECKING:
    from electra_tf.errors import UserError
    from electra_tf.hub.pretrained import Discriminator, Encoder, Generator
    from electra_tf.keras_api.data import pretraining_dataset
    from electra_tf.keras_api.explain import explain
    from electra_tf.keras_api.pretrainer import ElectraPretrainer
    from electra_tf.keras_api.tasks.detector import ReplacedTokenDetector
    from electra_tf.keras_api.tasks.masked_lm import MaskedLM
    from electra_tf.keras_api.tasks.qa import QuestionAnswerer
    from electra_tf.keras_api.tasks.ranking import CrossEncoder
    from electra_tf.keras_api.tasks.tagging import TokenClassifier
    from electra_tf.keras_api.tasks.texts import TextClassifier, TextRegressor
    from electra_tf.keras_api.tokenizer import Tokenizer
    from electra_tf.models.config import GeneratorConfig, ModelConfig
    from electra_tf.prediction.predictor import load
    from electra_tf.pretraining.settings import MaskingConfig, ObjectiveConfig
    from electra_tf.recipes.build_data import build_data
    from electra_tf.recipes.build_vocab import build_vocab
    from electra_tf.recipes.convert import convert
    from electra_tf.recipes.embed import embed
    from electra_tf.recipes.evaluate import evaluate
    from electra_tf.recipes.evaluate_pretraining import evaluate_pretraining
    from electra_tf.recipes.export import export
    from electra_tf.recipes.finetune import finetune
    from electra_tf.recipes.predict import predict
    from electra_tf.recipes.prepare_text import prepare_text
    from electra_tf.recipes.pretrain import pretrain
    from electra_tf.serving.client import AsyncClient, Client, ServingError
    from electra_tf.text.vocab import Vocab, load_vocab
    from electra_tf.training.optimizer import make_optimizer


# Names that need Keras on TensorFlow.
_NETWORKS = {
    name
    for name, home in _HOMES.items()
    if home.startswith(
        (
            "electra_tf.hub.", "electra_tf.keras_api.",
            "electra_tf.prediction.", "electra_tf.training.",
        )
    )
}  # fmt: skip

# Files saved by Keras name our classes; `import electra_tf` makes them known.
announce_classes()


def __getattr__(name: str) -> Any:
    """Imports the public `name` from the module it lives in (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'electra_tf' has no attribute '{name}'")
    if name in _NETWORKS:
        backend.check()  # before Keras is imported, with whatever backend
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
