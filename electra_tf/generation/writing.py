"""The graph functions that write tokens into places of a text."""

from typing import Any, NamedTuple

import tensorflow as tf

from electra_tf.generation import drawing, pieces
from electra_tf.text.vocab import Vocab


class Written(NamedTuple):
    """What `Writer.write` did."""

    input_ids: tf.Tensor  # int32 [B, L]
    log_probs: tf.Tensor  # float32 [B, K], of the tokens before tempering


class Candidates(NamedTuple):
    """The most probable tokens of places, the best first."""

    log_probs: tf.Tensor  # float32 [B, K, top_k]; very low where banned
    tokens: tf.Tensor  # int32 [B, K, top_k]


class Writer:
    """Masks places of token rows and asks the generator what stands there.

    Attributes:
      pieces: which tokens may be written.
    """

    def __init__(self, generator: Any, vocab: Vocab):
        """Compiles nothing yet.

        Args:
          generator: one that reads [MASK].
          vocab: its vocabulary.
        """
        size = generator.config.vocab_size
        self.pieces = pieces.Pieces(vocab, size)
        self._generator = generator
        self._mask_id = vocab.mask_id
        with tf.init_scope():
            self._banned = tf.constant(self.pieces.banned)
            self._continues = tf.constant(self.pieces.continues)
            carries = self.pieces.carries.copy()
            carries[vocab.mask_id] = True  # what comes there is not known yet
            self._carries = tf.constant(carries)
        self._draws: dict[drawing.Draw, Any] = {}
        matrix = tf.TensorSpec([None, None], tf.int32)
        self._best = tf.function(
            self._candidates,
            input_signature=[matrix] * 3
            + [tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)],
            autograph=False,
        )

    def write(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        positions: tf.Tensor,
        whole_from: tf.Tensor,
        uniform: tf.Tensor,
        how: drawing.Draw,
    ) -> Written:
        """Draws tokens for all the places at once, each from the others.

        Args:
          input_ids: int32 [B, L].
          input_mask: int32 [B, L], 1 at tokens.
          positions: int32 [B, K], the places.
          whole_from: int32 [B]; a place up to this one gets no piece that
            goes on with a word.
          uniform: float32 [B, K] in [0, 1), decides the tokens.
          how: temperature, top-k, top-p.
        """
        if how not in self._draws:
            matrix = tf.TensorSpec([None, None], tf.int32)
            self._draws[how] = tf.function(
                lambda *tensors: self._write(*tensors, how),
                input_signature=[matrix] * 3
                + [
                    tf.TensorSpec([None], tf.int32),
                    tf.TensorSpec([None, None], tf.float32),
                ],
                autograph=False,
            )
        return self._draws[how](
            input_ids, input_mask, positions, whole_from, uniform
        )

    def candidates(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        positions: tf.Tensor,
        whole_from: tf.Tensor,
        top_k: int,
    ) -> Candidates:
        """The most probable tokens for each place, all of them masked.

        Args:
          input_ids: as `write`'s, and so the others.
          input_mask: see there.
          positions: see there.
          whole_from: see there.
          top_k: how many, no more than the vocabulary has.
        """
        return self._best(
            input_ids, input_mask, positions, whole_from, tf.constant(top_k)
        )

    def _write(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        positions: tf.Tensor,
        whole_from: tf.Tensor,
        uniform: tf.Tensor,
        how: drawing.Draw,
    ) -> Written:
        logits, _ = self._logits(input_ids, input_mask, positions, whole_from)
        rows = tf.reshape(logits, [-1, tf.shape(logits)[-1]])
        tokens = drawing.draw(rows, tf.reshape(uniform, [-1]), how)
        tokens = tf.reshape(tokens, tf.shape(positions))
        chosen = tf.gather(logits, tokens, batch_dims=2)
        log_probs = chosen - tf.reduce_logsumexp(logits, axis=-1)
        return Written(_put(input_ids, positions, tokens), log_probs)

    def _candidates(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        positions: tf.Tensor,
        whole_from: tf.Tensor,
        top_k: tf.Tensor,
    ) -> Candidates:
        logits, log_z = self._logits(
            input_ids, input_mask, positions, whole_from
        )
        return Candidates(*tf.math.top_k(logits - log_z, k=top_k))

    def _logits(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        positions: tf.Tensor,
        whole_from: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """[B, K, V] with bans, and [B, K, 1] log Z without them."""
        masked = _put(
            input_ids,
            positions,
            tf.fill(tf.shape(positions), self._mask_id),
        )
        logits = self._generator(
            masked, input_mask, positions=positions, training=False
        ).logits
        log_z = tf.reduce_logsumexp(logits, axis=-1, keepdims=True)
        left = tf.gather(masked, tf.maximum(positions - 1, 0), batch_dims=1)
        may_continue = tf.gather(self._carries, left) & (
            positions > whole_from[:, None]
        )
        banned = self._banned | (
            self._continues & ~may_continue[:, :, None]
        )  # [B, K, V]
        return tf.where(banned, drawing.BANNED, logits), log_z


def _put(
    input_ids: tf.Tensor, positions: tf.Tensor, tokens: tf.Tensor
) -> tf.Tensor:
    """[B, L] with tokens [B, K] at their positions."""
    batch = tf.range(tf.shape(positions)[0])[:, None]
    at = tf.stack([tf.zeros_like(positions) + batch, positions], axis=-1)
    return tf.tensor_scatter_nd_update(input_ids, at, tokens)
