"""ELECTRA's task classes on KerasHub's own backbone; of KerasHub alone.

Users import them as `electra_tf.keras_hub`, which registers them.
"""

from electra_tf.hub.keras_hub_tasks.masked_lm import ElectraMaskedLM, tanh_gelu
from electra_tf.hub.keras_hub_tasks.preprocessors import (
    ElectraMaskedLMPreprocessor,
    ElectraTextClassifierPreprocessor,
)
from electra_tf.hub.keras_hub_tasks.text_classifier import ElectraTextClassifier

__all__ = [
    "ElectraMaskedLM",
    "ElectraMaskedLMPreprocessor",
    "ElectraTextClassifier",
    "ElectraTextClassifierPreprocessor",
    "tanh_gelu",
]
