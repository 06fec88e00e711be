"""An objective of one's own: replaced token detection with smoothed labels.

    electra-tf pretrain --config=configs/pretrain/tiny.yaml --data=DATA \
        --output=RUN --set objective.kind=examples/own_objective.py:Smoothed
"""

import keras
import tensorflow as tf

from electra_tf.pretraining.objectives.base import PretrainOutput
from electra_tf.pretraining.objectives.electra import Electra


class Smoothed(Electra):
    """ELECTRA whose discriminator never has to be certain."""

    smoothing = 0.1  # 0 is ELECTRA's own loss

    def loss(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the loss at every position, [B, L] float32.

        Args:
          logits: above 0 where a token looks replaced, [B, L] float32.
          labels: 1 where it was, [B, L].
        """
        right = super().loss(logits, labels)
        wrong = super().loss(logits, 1 - labels)
        half = self.smoothing / 2
        return (1.0 - half) * right + half * wrong

    def metrics(self) -> list[keras.metrics.Metric]:
        """Adds the mean confidence to ELECTRA's metrics."""
        return [*super().metrics(), keras.metrics.Mean(name="disc_confidence")]

    def measure(self, output: PretrainOutput) -> dict[str, tuple]:
        """Returns what a step adds to each metric: values and weights."""
        likely = tf.sigmoid(tf.abs(output.judged.logits))
        return super().measure(output) | {
            "disc_confidence": (likely, output.judged.weights)
        }
