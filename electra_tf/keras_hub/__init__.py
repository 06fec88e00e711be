"""ELECTRA's tasks for KerasHub, which has a backbone and a tokenizer of it.

Importing this registers the classes: `TextClassifier.from_preset(DIR)` and
`MaskedLM.from_preset(DIR)` of `keras_hub.models`, and their preprocessors,
then find them for any preset of an `ElectraBackbone`.
"""

from electra_tf.keras_hub.masked_lm import ElectraMaskedLM, tanh_gelu
from electra_tf.keras_hub.preprocessors import (
    ElectraMaskedLMPreprocessor,
    ElectraTextClassifierPreprocessor,
)
from electra_tf.keras_hub.text_classifier import ElectraTextClassifier

__all__ = [
    "ElectraMaskedLM",
    "ElectraMaskedLMPreprocessor",
    "ElectraTextClassifier",
    "ElectraTextClassifierPreprocessor",
    "tanh_gelu",
]
