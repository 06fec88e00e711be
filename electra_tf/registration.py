"""Lets Keras find our classes when it loads a saved file.

A `.keras` file names a class by its registered name. A class is registered when
its module is imported, which a program that only loads a file has no reason to
do, and `import electra_tf` must not import TensorFlow. So as soon as Keras is
imported, each name in `CLASSES` gets a placeholder that imports the class on
demand.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any, TypeVar

from electra_tf import backend

C = TypeVar("C", bound=type)

# Module -> its registered classes. Their names are stored in files: a class
# that moves keeps its name, by the package that it is listed under.
CLASSES: dict[str, tuple[str, ...]] = {
    "hub.pretrained": (
        "Encoder", "Discriminator", "Generator", "TwoTowerGenerator",
    ),
    "keras_api.pretrainer": ("ElectraPretrainer",),
    "pretraining.pretrainer": ("ElectraPretrainer",),
    "models.embeddings": ("Embeddings", "DisentangledEmbeddings"),
    "models.encoder": ("ElectraEncoder",),
    "models.initial": (
        "Blank", "Sinusoids", "EveryNthPair", "WordsBesidePositions",
        "NeighbourAttention",
    ),
    "models.layers": ("Dense", "LayerNorm", "SelfAttention", "Block"),
    "models.networks": (
        "TokenLMHead", "ReplacedTokenHead", "Generator", "TwoTowerGenerator",
        "UniformGenerator", "Discriminator",
    ),
    "models.decoder": ("CrossAttention", "DecoderBlock", "Decoder"),
    "models.task_heads": (
        "SequenceHead", "TokenHead", "SpanHead", "JointSpanHead",
        "SentenceHead",
    ),
    "models.task_networks": (
        "SequenceClassifier", "TokenClassifier", "QuestionAnswerer",
        "Seq2Seq", "SentenceScorer", "Heads", "MultitaskNetwork",
    ),
    "training.optimizer": ("WarmupPolynomialDecay", "AdamWeightDecay"),
    "keras_api.preprocessors": (
        "TextPreprocessor", "MaskPreprocessor", "QueryPreprocessor",
        "WordPreprocessor",
    ),
    "keras_api.tokenizer": ("Tokenizer",),
    "keras_api.tasks.detector": ("ReplacedTokenDetector",),
    "keras_api.tasks.masked_lm": ("MaskedLM",),
    "keras_api.tasks.qa": ("QuestionAnswerer",),
    "keras_api.tasks.ranking": ("CrossEncoder",),
    "keras_api.tasks.tagging": ("TokenClassifier",),
    "keras_api.tasks.texts": ("TextClassifier", "TextRegressor"),
}  # fmt: skip

# Prefixes of names other than `electra_tf>`. Classes of inner packages are
# parts of the public ones, and may have the same names.
_PACKAGES = {
    "models": "electra_tf.models",
    "pretraining": "electra_tf.pretraining",
    "keras_api.tasks": "electra_tf.tasks",
}


def registered_name(module: str, name: str) -> str:
    """Returns the registered name of a class: `electra_tf>Encoder`.

    Args:
      module: its module, below `electra_tf`.
      name: name of the class.
    """
    package = "electra_tf"
    for room, own in _PACKAGES.items():
        if f"{module}.".startswith(f"{room}."):
            package = own
    return f"{package}>{name}"


def registered(cls: C) -> C:
    """Registers a class with Keras, so that files with its name can be loaded.

    Args:
      cls: a class listed in `CLASSES`.

    Returns:
      The class.

    Raises:
      UserError: Keras runs on another backend than TensorFlow.
      ValueError: the class is not listed.
    """
    import keras

    backend.check(keras.config.backend())
    module = cls.__module__.removeprefix("electra_tf.")
    if cls.__name__ not in CLASSES.get(module, ()):
        raise ValueError(
            f"registration.CLASSES lacks {cls.__name__} of {module}"
        )
    package, _, name = registered_name(module, cls.__name__).partition(">")
    return keras.saving.register_keras_serializable(package, name)(cls)


# --- stand-ins -------------------------------------------------------------


class _StandIn:
    """A placeholder for a class, which is imported on demand."""

    def __init__(self, module: str, name: str):
        self._module, self._name = module, name

    def _found(self) -> Any:
        module = importlib.import_module(f"electra_tf.{self._module}")
        return getattr(module, self._name)

    def from_config(self, values: dict[str, Any]) -> Any:
        """Makes an object of the class."""
        return self._found().from_config(values)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._found()(*args, **named)


def _announce(keras: Any) -> None:
    """Registers the names of our classes, except those already known."""
    known = keras.saving.get_custom_objects()
    for module, names in CLASSES.items():
        for name in names:
            known.setdefault(
                registered_name(module, name), _StandIn(module, name)
            )


class _Finder(importlib.abc.MetaPathFinder):
    """Registers our classes after the first import of Keras."""

    def __init__(self) -> None:
        self._busy = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Finds Keras by the other finders; ignores other modules."""
        if fullname != "keras" or self._busy:
            return None
        self._busy = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._busy = False
        loader: Any = spec.loader if spec else None
        if loader is None:
            return None
        execute = loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            del loader.exec_module
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _announce(module)

        loader.exec_module = exec_module
        return spec


def announce_classes() -> None:
    """Registers our classes with Keras, now or once it is imported."""
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "saving"):
        _announce(keras)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
