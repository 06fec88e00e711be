"""Provides `ElectraMaskedLM`: a backbone with ELECTRA's generator head."""

from typing import Any

import keras
import keras_hub

from electra_tf.hub.keras_hub_tasks.pooler import without_pooler
from electra_tf.hub.keras_hub_tasks.preprocessors import (
    PACKAGE,
    ElectraMaskedLMPreprocessor,
    fit_to,
)


@keras.saving.register_keras_serializable(package=PACKAGE)
def tanh_gelu(x: Any) -> Any:
    """Computes GELU by its tanh formula, as the backbone's layers do."""
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package=PACKAGE)
class ElectraMaskedLM(keras_hub.models.MaskedLM):
    """An end-to-end ELECTRA model for the masked language modeling task.

    The head is that of ELECTRA's generator: a dense layer down to the width
    of the embeddings, layer normalisation, and the product with the token
    table. Where a preset has no such head, it starts from random weights.

    Example:

        import keras_hub
        import electra_tf.keras_hub

        masked_lm = keras_hub.models.MaskedLM.from_preset(DIR)
        masked_lm.fit(["a fine film", "a dull one"], batch_size=2)

    Args:
      backbone: a `keras_hub.models.ElectraBackbone`.
      preprocessor: an `ElectraMaskedLMPreprocessor`; its `sequence_length`
        is lowered to the backbone's positions where it is more. None where
        inputs come preprocessed.
      intermediate_activation: of the head's dense layer, as
        `keras.activations.get` takes it. The original's is "gelu"; `tanh_gelu`
        is the backbone's.
      **kwargs: of `keras_hub.models.MaskedLM`.
    """

    backbone_cls = keras_hub.models.ElectraBackbone
    preprocessor_cls = ElectraMaskedLMPreprocessor

    def __init__(
        self,
        backbone: keras.Model,
        preprocessor: Any = None,
        intermediate_activation: Any = "gelu",
        **kwargs: Any,
    ):
        # === Layers ===
        fit_to(preprocessor, backbone)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.masked_lm_head = keras_hub.layers.MaskedLMHead(
            vocabulary_size=backbone.vocab_size,
            token_embedding=backbone.token_embedding,
            intermediate_activation=intermediate_activation,
            layer_norm_epsilon=1e-12,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=backbone.dtype_policy,
            name="mlm_head",
        )

        # === Functional Model ===
        inputs = {
            **backbone.input,
            "mask_positions": keras.Input(
                shape=(None,), dtype="int32", name="mask_positions"
            ),
        }
        states = backbone(backbone.input)["sequence_output"]
        outputs = self.masked_lm_head(states, inputs["mask_positions"])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

        # === Config ===
        self.intermediate_activation = keras.activations.get(
            intermediate_activation
        )

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The weights that `fit` changes: all trainable ones but the
        pooler's.
        """
        return without_pooler(super().trainable_weights, self.backbone)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The same as `trainable_weights`."""
        return without_pooler(super().trainable_variables, self.backbone)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "intermediate_activation": keras.activations.serialize(
                self.intermediate_activation
            )
        }
