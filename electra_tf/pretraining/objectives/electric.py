"""Defines Electric: noise-contrastive estimation of token probabilities."""

import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.pretraining import losses
from electra_tf.pretraining.generators.base import Cloze
from electra_tf.pretraining.masking import CorruptedBatch, MaskedBatch
from electra_tf.pretraining.objectives.base import (
    Judged,
    PretrainOutput,
    Reading,
)
from electra_tf.pretraining.objectives.electra import Detection

# Logits from -30 to 10 become numbers that a thousand thresholds tell apart.
_SPREAD = 8.0


class Electric(Detection):
    """Learns the density ratio of text to noise (Clark et al. 2020b)."""

    def check(self) -> None:
        """Requires a generator that gives the probability of every token."""
        if self.generator.reads_masked:
            raise UserError(
                "objective.kind, generator.kind: electric needs the "
                "probability of every token given all others, which a "
                f"{self.generator.config.kind} generator does not give; set "
                "generator.kind to two_tower"
            )
        if self.masking_config.mask_prob >= 1:
            raise UserError(
                "objective.kind, masking.mask_prob: electric needs tokens "
                "that are not replaced; set masking.mask_prob below 1"
            )
        super().check()

    def corrupt(
        self, masked: MaskedBatch, sampled_ids: tf.Tensor
    ) -> CorruptedBatch:
        """Labels a sample as noise even if it is the original token (section
        2.2).
        """
        corrupted = super().corrupt(masked, sampled_ids)
        return corrupted._replace(fake_labels=masked.chosen())

    def measure(self, output: PretrainOutput) -> dict[str, tuple]:
        """Divides the logits for the AUC, which depends on their order alone.

        As probabilities nearly all are below the first threshold of the metric:
        q of a vocabulary's size decides them.
        """
        found = super().measure(output)
        assert output.judged is not None  # it discriminates
        logits = output.judged.logits
        assert logits is not None  # of `Detection`
        labels, _, weights = found["disc_auc"]
        spread = tf.sigmoid(tf.reshape(logits, [-1]) / _SPREAD)
        return found | {"disc_auc": (labels, spread, weights)}

    def judge(self, reading: Reading) -> Judged:
        """Returns the binary loss of its energy and the noise's probability."""
        output, cloze = reading.output, reading.generated.cloze
        assert cloze is not None  # a two-tower generator; see `check`
        noise = noise_logit(
            cloze,
            reading.corrupted.fake_input_ids,
            self.masking_config.mask_prob,
        )
        output = output._replace(logits=output.logits + noise)
        return super().judge(reading._replace(output=output))


def noise_logit(cloze: Cloze, tokens: tf.Tensor, mask_prob: float) -> tf.Tensor:
    """Returns what Electric adds to its logits: log q(token) + log(p / (1 -
    p)).

    q is the two-tower generator's distribution given all other tokens, p the
    share of tokens it replaces; not differentiated (Clark et al. 2020b,
    equations 3 and 4).

    Args:
      cloze: the generator's, of the original batch.
      tokens: [B, L] int32, the corrupted tokens.
      mask_prob: p, in (0, 1).

    Returns:
      [B, L] float32.
    """
    logits = losses.logits_of(*cloze.scores, tf.reshape(tokens, [-1]))
    log_q = tf.reshape(logits, tf.shape(tokens)) - cloze.token.log_z
    odds = tf.math.log(tf.constant(mask_prob / (1.0 - mask_prob), tf.float32))
    return tf.stop_gradient(log_q) + odds
