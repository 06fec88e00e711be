"""Writing tokens into places of a text.

Which tokens may be written there (`Pieces`), how one is sampled from logits
(`draw`), and the graph functions that do it for a batch (`Writer`).
"""

import functools
import unicodedata
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.generation.settings import Draw
from electra_tf.text import detokenize
from electra_tf.text.vocab import SPECIALS, Vocab

BANNED = -1e9  # the logit of a token that is never drawn


class Pieces:
    """The tokens of a vocabulary as a writer has to know them.

    Attributes:
      banned: bool [V], never written: special tokens, [UNK], [unused1] and
        its like, pieces without text or of characters that are words by
        themselves, and rows of the token table that no token has.
      continues: bool [V], "##ing": continues the word before it.
      carries: bool [V], what such a piece may follow.
    """

    def __init__(self, vocab: Vocab, size: int):
        """Looks at each token once.

        Args:
          vocab: the vocabulary.
          size: V, rows of the token table, at least the tokens' number.
        """
        self.banned = np.ones([size], bool)
        self.continues = np.zeros([size], bool)
        self.carries = np.zeros([size], bool)
        for i, token in enumerate(vocab.tokens):
            continues = vocab.continues[i] and len(token) > 2
            body = token[2:] if continues else token
            in_word = _inside_word(body[-1])
            self.continues[i] = continues
            self.carries[i] = in_word
            self.banned[i] = (
                token in SPECIALS
                or (len(token) > 2 and token[0] == "[" and token[-1] == "]")
                or any(_unwritable(c) for c in body)
                or (continues and not all(map(_inside_word, body)))
            )

    def broken(self, ids: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Returns where a piece continues a word that is not there.

        Args:
          ids: int [B, N], what was written.
          before: bool [B], whether a word may go on from what stands before.

        Returns:
          bool [B, N].
        """
        carried = np.concatenate(
            [before[:, None], self.carries[ids[:, :-1]]], axis=1
        )
        return self.continues[ids] & ~carried


def _inside_word(character: str) -> bool:
    """Returns whether the tokenizer leaves it inside of words."""
    kind = unicodedata.category(character)[0]
    return kind in "LNM" and not detokenize.is_cjk(character)


def _unwritable(character: str) -> bool:
    """Returns white space, controls, and what Unicode has not assigned."""
    kind = unicodedata.category(character)[0]
    return kind in "CZ" or character.isspace()


def draw(logits: tf.Tensor, uniform: tf.Tensor, how: Draw) -> tf.Tensor:
    """One token a row.

    By the inverse of the cumulative distribution: the number decides, so the
    same numbers give the same tokens in any batch.

    Args:
      logits: [rows, V] float32; `BANNED` at what must not be drawn.
      uniform: [rows] float32 in [0, 1).
      how: temperature, top-k, top-p.

    Returns:
      [rows] int32.
    """
    if how.temperature == 0 or how.top_k == 1:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    scaled = logits / how.temperature
    size = tf.shape(logits)[-1]
    if not how.top_k and how.top_p == 1:
        return _inverse(tf.nn.softmax(scaled), uniform)
    kept = tf.minimum(how.top_k or size, size)
    values, tokens = tf.math.top_k(scaled, k=kept)  # the largest first
    weights = tf.nn.softmax(values)
    if how.top_p < 1:
        before = tf.cumsum(weights, axis=-1, exclusive=True)
        weights = tf.where(before < how.top_p, weights, 0.0)
    return tf.gather(tokens, _inverse(weights, uniform), batch_dims=1)


def _inverse(weights: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Returns [rows, V] weights, [rows] in [0, 1) -> [rows] int32 indices."""
    cumulative = tf.cumsum(weights, axis=-1)
    total = cumulative[:, -1]
    # Rounding must not take the target to the end, where weights may be 0.
    target = tf.minimum(
        uniform * total, tf.math.nextafter(total, tf.zeros_like(total))
    )
    below = tf.cast(cumulative <= target[:, None], tf.int32)
    return tf.reduce_sum(below, axis=-1)


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
        self.pieces = Pieces(vocab, size)
        self._generator = generator
        self._mask_id = vocab.mask_id
        with tf.init_scope():
            self._banned = tf.constant(self.pieces.banned)
            self._continues = tf.constant(self.pieces.continues)
            carries = self.pieces.carries.copy()
            carries[vocab.mask_id] = True  # what comes there is not known yet
            self._carries = tf.constant(carries)
        self._draws: dict[Draw, Any] = {}
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
        how: Draw,
    ) -> Written:
        """Draws tokens for all the places at once, each from the others.

        Args:
          input_ids: int32 [B, L].
          input_mask: int32 [B, L], 1 at tokens.
          positions: int32 [B, K], the places.
          whole_from: int32 [B]; a place up to this one gets no piece that
            continues a word.
          uniform: float32 [B, K] in [0, 1), decides the tokens.
          how: temperature, top-k, top-p.
        """
        if how not in self._draws:
            matrix = tf.TensorSpec([None, None], tf.int32)
            self._draws[how] = tf.function(
                functools.partial(self._write, how=how),
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
        """Returns the most probable tokens for each place, all of them masked.

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
        how: Draw,
    ) -> Written:
        logits, _ = self._logits(input_ids, input_mask, positions, whole_from)
        rows = tf.reshape(logits, [-1, tf.shape(logits)[-1]])
        tokens = draw(rows, tf.reshape(uniform, [-1]), how)
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
        """Returns [B, K, V] with bans, and [B, K, 1] log Z without them."""
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
        return tf.where(banned, BANNED, logits), log_z


def _put(
    input_ids: tf.Tensor, positions: tf.Tensor, tokens: tf.Tensor
) -> tf.Tensor:
    """Returns [B, L] with tokens [B, K] at their positions."""
    batch = tf.range(tf.shape(positions)[0])[:, None]
    at = tf.stack([tf.zeros_like(positions) + batch, positions], axis=-1)
    return tf.tensor_scatter_nd_update(input_ids, at, tokens)
