"""Defines a generator that predicts each token of a row from all others."""

from typing import Any

import tensorflow as tf

from electra_tf.models import networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.embeddings import Embeddings
from electra_tf.pretraining import losses
from electra_tf.pretraining.generators.base import (
    Cloze,
    Draws,
    Generated,
    GeneratorKind,
)
from electra_tf.pretraining.losses import Scores, TokenLoss
from electra_tf.pretraining.masking import MaskedBatch, may_be_chosen


class TwoTower(GeneratorKind):
    """Reads with one tower from the left and one from the right (Electric)."""

    reads_masked = False

    def network(
        self, model: ModelConfig, embeddings: Embeddings
    ) -> networks.TwoTowerGenerator:
        """Makes a generator that shares at most the embeddings."""
        untied = self.config.embeddings == "untied"
        shape = self.shape(model)
        assert shape is not None  # of each tower
        return networks.TwoTowerGenerator(
            shape,
            None if untied else embeddings,
            untied=untied,
            wrap_around=self.config.wrap_around,
        )

    def weights(self, masked: MaskedBatch) -> tf.Tensor:
        """Returns [B, L] float32, 1 for tokens that masking may choose."""
        assert self.special is not None  # only `shape` works without
        return tf.cast(
            may_be_chosen(masked.input_ids, masked.input_mask, self.special),
            tf.float32,
        )

    def generate(
        self,
        network: Any,
        masked: MaskedBatch,
        draws: Draws,
        training: bool,
        keys: tf.Tensor | None,
    ) -> Generated:
        """Predicts every token in one pass, and samples at the masked ones."""
        hidden, output = network.hidden_at(
            masked.rows(masked.input_ids, keys), None, training
        )
        scores = losses.scores_of(network.head, hidden, training)
        every = losses.token_loss_and_samples(
            *scores, tf.reshape(masked.input_ids, [-1])
        ).shaped(tf.shape(masked.input_ids))
        cloze = Cloze(every, self.weights(masked), scores)
        positions = masked.masked_lm_positions
        batch, length = tf.shape(positions)[0], masked.input_ids.shape[1]
        rows = tf.reshape(tf.range(batch)[:, None] * length + positions, [-1])
        labels = tf.reshape(masked.masked_lm_ids, [-1])
        there = Scores(
            tf.stop_gradient(tf.gather(scores.scores, rows)),
            tf.stop_gradient(scores.bias),
        )
        log_z = tf.gather(tf.reshape(every.log_z, [-1]), rows)
        sampled = None
        if draws.uniform is not None:
            sampled = losses.draw_adjusted(
                *there,
                labels,
                tf.reshape(draws.uniform, [-1]),
                draws.temperature,
                draws.disallow_correct,
            )
        token = TokenLoss(
            log_z - losses.logits_of(*there, labels),
            tf.gather(tf.reshape(every.predictions, [-1]), rows),
            sampled,
            log_z,
        ).shaped(tf.shape(positions))
        return Generated(token, every.loss, cloze.weights, output, cloze=cloze)
