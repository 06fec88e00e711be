"""Registers ELECTRA's tasks with KerasHub, which only has the backbone.

Importing this registers the classes: `TextClassifier.from_preset(DIR)` and
`MaskedLM.from_preset(DIR)` of `keras_hub.models`, and their preprocessors,
then find them for any preset of an `ElectraBackbone`.
"""

from electra_tf.hub.keras_hub_tasks import (
    ElectraMaskedLM,
    ElectraMaskedLMPreprocessor,
    ElectraTextClassifier,
    ElectraTextClassifierPreprocessor,
    tanh_gelu,
)

__all__ = [
    "ElectraMaskedLM",
    "ElectraMaskedLMPreprocessor",
    "ElectraTextClassifier",
    "ElectraTextClassifierPreprocessor",
    "tanh_gelu",
]
