"""Defines objectives whose second network restores tokens (section 3.4)."""

from typing import ClassVar

import keras
import tensorflow as tf

from electra_tf.models import flops
from electra_tf.models.config import ModelConfig
from electra_tf.models.networks import DiscriminatorHead
from electra_tf.pretraining import losses
from electra_tf.pretraining.losses import Scores, TokenLoss
from electra_tf.pretraining.masking import MaskedBatch
from electra_tf.pretraining.objectives.base import (
    Judged,
    Objective,
    PretrainOutput,
    Reading,
    equal,
)


class ReplacedMLM(Objective):
    """Trains a masked LM that reads the generator's samples, not [MASK]."""

    heads: ClassVar[tuple[DiscriminatorHead, ...]] = ("token_lm",)

    def judge(self, reading: Reading) -> Judged:
        """Predicts the tokens that were masked."""
        masked, head = reading.masked, reading.discriminator.lm_head
        hidden, labels = (
            reading.output.encoder.sequence_output,
            masked.masked_lm_ids,
        )
        hidden = tf.gather(hidden, masked.masked_lm_positions, batch_dims=1)
        scores = losses.scores_of(head, hidden, reading.training)
        token = losses.token_loss_and_samples(
            *scores, tf.reshape(labels, [-1])
        ).shaped(tf.shape(labels))
        return Judged(
            token.loss, self.weights(masked), labels, token.predictions
        )

    def weights(self, masked: MaskedBatch) -> tf.Tensor:
        """Returns [B, N] float32, 1 in the slots that are used."""
        return masked.masked_lm_weights

    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns `restored_*`: the tokens that the second network predicts."""
        names = ("restored_loss", "restored_accuracy")
        return [
            *super().metrics(),
            *(keras.metrics.Mean(name=name) for name in names),
        ]

    def measure(self, output: PretrainOutput) -> dict[str, tuple]:
        """Adds what the metrics of the second network need."""
        judged = output.judged
        assert judged is not None  # it discriminates
        right = equal(judged.predictions, judged.labels)
        return super().measure(output) | {
            "restored_loss": (judged.loss, judged.weights),
            "restored_accuracy": (right, judged.weights),
        }

    def head_costs(
        self, model: ModelConfig, seq_length: int, predictions: float
    ) -> flops.Head:
        """Returns the cost of a token LM at the masked positions."""
        return flops.token_lm_head(model, predictions)


class AllTokensMLM(ReplacedMLM):
    """Trains a `ReplacedMLM` that predicts every token, with a copy
    mechanism.
    """

    heads = ("token_lm", "copy")

    def judge(self, reading: Reading) -> Judged:
        """Predicts every real token, or copies it."""
        masked, network = reading.masked, reading.discriminator
        hidden, ids = reading.output.encoder.sequence_output, masked.input_ids
        labels = tf.reshape(ids, [-1])
        scores = losses.scores_of(network.lm_head, hidden, reading.training)
        token = losses.token_loss_and_samples(*scores, labels)
        copy = tf.cast(network.copy_head(hidden), tf.float32)
        token = with_copy(
            tf.reshape(copy, [-1]),
            scores,
            token,
            labels,
            tf.reshape(reading.corrupted.fake_input_ids, [-1]),
        ).shaped(tf.shape(ids))
        return Judged(token.loss, self.weights(masked), ids, token.predictions)

    def weights(self, masked: MaskedBatch) -> tf.Tensor:
        """Returns [B, L] float32, 1 for real tokens."""
        return tf.cast(masked.input_mask, tf.float32)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns `restored_masked_accuracy`: of those that were masked."""
        name = "restored_masked_accuracy"
        return [*super().metrics(), keras.metrics.Mean(name=name)]

    def measure(self, output: PretrainOutput) -> dict[str, tuple]:
        """Adds the accuracy at the masked positions."""
        found, masked = super().measure(output), output.masked
        right, _ = found["restored_accuracy"]
        found["restored_masked_accuracy"] = (
            tf.gather(right, masked.masked_lm_positions, batch_dims=1),
            masked.masked_lm_weights,
        )
        return found

    def head_costs(
        self, model: ModelConfig, seq_length: int, predictions: float
    ) -> flops.Head:
        """Returns the cost of a token LM and a copy mechanism at every
        position.
        """
        return flops.token_lm_head(model, seq_length, copies=True)


def with_copy(
    copy_logits: tf.Tensor,
    scores: Scores,
    token: TokenLoss,
    labels: tf.Tensor,
    inputs: tf.Tensor,
) -> TokenLoss:
    """Mixes a token LM with a copy of its input: D * input + (1 - D) * LM.

    Args:
      copy_logits: [rows] float32, D before the sigmoid.
      scores: the LM's.
      token: the LM's loss of `labels`.
      labels: [rows] int32, the original tokens.
      inputs: [rows] int32, the tokens that were read.
    """
    log_copy = tf.math.log_sigmoid(copy_logits)
    log_predict = tf.math.log_sigmoid(-copy_logits)
    from_lm = log_predict - token.loss  # of the label
    log_p = tf.where(
        tf.equal(labels, inputs),
        _log_sum(log_copy, from_lm),
        from_lm,
    )

    def lm(tokens: tf.Tensor) -> tf.Tensor:
        logits = losses.logits_of(*scores, tokens)
        return log_predict + logits - token.log_z

    stays = _log_sum(log_copy, lm(inputs)) >= lm(token.predictions)
    return token._replace(
        loss=-log_p,
        predictions=tf.where(stays, inputs, token.predictions),
    )


def _log_sum(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_logsumexp(tf.stack([a, b]), axis=0)
