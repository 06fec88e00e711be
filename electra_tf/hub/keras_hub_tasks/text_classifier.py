"""Provides `ElectraTextClassifier`: a backbone with a classifier on [CLS]."""

from typing import Any

import keras
import keras_hub

from electra_tf.hub.keras_hub_tasks.pooler import without_pooler
from electra_tf.hub.keras_hub_tasks.preprocessors import (
    PACKAGE,
    ElectraTextClassifierPreprocessor,
    fit_to,
)


@keras.saving.register_keras_serializable(package=PACKAGE)
class ElectraTextClassifier(keras_hub.models.TextClassifier):
    """An end-to-end ELECTRA model for classification.

    The head reads the first token's last hidden state. It is not the
    backbone's `pooled_output`: ELECTRA is trained without a pooler, so that
    layer is none of the classifier's and gets no gradient.

    Example:

        import keras_hub
        import electra_tf.keras_hub

        classifier = keras_hub.models.TextClassifier.from_preset(
            DIR, num_classes=2
        )
        classifier.fit(["a fine film", "a dull one"], [1, 0], batch_size=2)
        classifier.predict(["a film"])

    Args:
      backbone: a `keras_hub.models.ElectraBackbone`.
      num_classes: classes to predict.
      preprocessor: an `ElectraTextClassifierPreprocessor`; its
        `sequence_length` is lowered to the backbone's positions where it is
        more. None where inputs come preprocessed.
      activation: of the outputs, as `keras.activations.get` takes it; None
        for logits.
      hidden_dim: width of a dense layer before the logits; None for no such
        layer, as in the original. Hugging Face's class has one as wide as the
        backbone.
      hidden_activation: of that layer, as `keras.activations.get` takes it.
      dropout: rate on what the head's layers read.
      **kwargs: of `keras_hub.models.TextClassifier`.
    """

    backbone_cls = keras_hub.models.ElectraBackbone
    preprocessor_cls = ElectraTextClassifierPreprocessor

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        preprocessor: Any = None,
        activation: Any = None,
        hidden_dim: int | None = None,
        hidden_activation: Any = "gelu",
        dropout: float = 0.1,
        **kwargs: Any,
    ):
        # === Layers ===
        fit_to(preprocessor, backbone)
        self.backbone = backbone
        self.preprocessor = preprocessor
        policy = backbone.dtype_policy
        self.input_dropout = keras.layers.Dropout(
            dropout, dtype=policy, name="classifier_dropout"
        )
        self.hidden_dense = None
        if hidden_dim is not None:
            self.hidden_dense = keras.layers.Dense(
                hidden_dim,
                activation=hidden_activation,
                dtype=policy,
                name="classifier_dense",
            )
            self.hidden_dropout = keras.layers.Dropout(
                dropout, dtype=policy, name="classifier_dense_dropout"
            )
        self.output_dense = keras.layers.Dense(
            num_classes, activation=activation, dtype=policy, name="logits"
        )

        # === Config ===
        # Before the base class compiles: its loss depends on the activation.
        self.num_classes = num_classes
        self.activation = keras.activations.get(activation)
        self.hidden_dim = hidden_dim
        self.hidden_activation = keras.activations.get(hidden_activation)
        self.dropout = dropout

        # === Functional Model ===
        inputs = backbone.input
        states = backbone(inputs)["sequence_output"]
        x = self.input_dropout(states[:, backbone.cls_token_index, :])
        if self.hidden_dense is not None:
            x = self.hidden_dropout(self.hidden_dense(x))
        super().__init__(inputs=inputs, outputs=self.output_dense(x), **kwargs)

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
            "num_classes": self.num_classes,
            "activation": keras.activations.serialize(self.activation),
            "hidden_dim": self.hidden_dim,
            "hidden_activation": keras.activations.serialize(
                self.hidden_activation
            ),
            "dropout": self.dropout,
        }
