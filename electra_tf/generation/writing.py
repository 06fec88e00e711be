"""Writes tokens into places of a text.

`Pieces` knows which tokens may be written, `draw` samples one from logits, and
`Writer` has the graph functions that do it for a batch.
"""

import functools
import unicodedata
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.generation.settings import Draw
from electra_tf.text import detokenize
from electra_tf.text.vocab import SPECIALS, Vocab

BANNED = -1e9  # logit of a token that is never sampled
_SMALLEST = 1e-30  # lower temperatures are 0: quotients would be infinite


class Pieces:
    """The properties of a vocabulary's tokens that a writer needs.

    Attributes:
      banned: bool [V], tokens that are never written: special tokens, [UNK],
        [unused1] and the like, pieces without text or of characters that are
        words by themselves, and rows of the token table without a token.
      continues: bool [V], pieces that continue a word, as "##ing".
      carries: bool [V], tokens that such a piece may follow.
    """

    def __init__(self, vocab: Vocab, size: int):
        """Computes the properties of each token.

        Args:
          vocab: the vocabulary.
          size: V, rows of the token table, at least the number of tokens.
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
        """Finds pieces without a word to continue.

        Args:
          ids: int [B, N], the written tokens.
          before: bool [B], whether the first token may continue a word.

        Returns:
          bool [B, N].
        """
        carried = np.concatenate(
            [before[:, None], self.carries[ids[:, :-1]]], axis=1
        )
        return self.continues[ids] & ~carried


def _inside_word(character: str) -> bool:
    """Returns whether the tokenizer keeps a character inside words."""
    kind = unicodedata.category(character)[0]
    return kind in "LNM" and not detokenize.is_cjk(character)


def _unwritable(character: str) -> bool:
    """Returns whether a character is white space, a control or unassigned."""
    kind = unicodedata.category(character)[0]
    return kind in "CZ" or character.isspace()


def draw(logits: tf.Tensor, uniform: tf.Tensor, how: Draw) -> tf.Tensor:
    """Samples one token for each row.

    It inverts the cumulative distribution, so that the same random numbers give
    the same tokens in any batch.

    Args:
      logits: [rows, V] float32; `BANNED` for tokens that must not be sampled.
      uniform: random numbers, [rows] float32 in [0, 1).
      how: temperature, top-k, top-p.

    Returns:
      [rows] int32.
    """
    if how.temperature < _SMALLEST or how.top_k == 1:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    # A high temperature must not make banned tokens possible.
    scaled = tf.where(logits <= BANNED, float("-inf"), logits / how.temperature)
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
    """Samples indices [rows] int32 by weights [rows, V] and numbers [rows]."""
    cumulative = tf.cumsum(weights, axis=-1)
    total = cumulative[:, -1]
    # Rounding must not move the target to the end, where weights may be 0.
    target = tf.minimum(
        uniform * total, tf.math.nextafter(total, tf.zeros_like(total))
    )
    below = tf.cast(cumulative <= target[:, None], tf.int32)
    return tf.reduce_sum(below, axis=-1)


class Written(NamedTuple):
    """The result of `Writer.write`."""

    input_ids: tf.Tensor  # int32 [B, L]
    log_probs: tf.Tensor  # float32 [B, K], at temperature 1


class Candidates(NamedTuple):
    """The most probable tokens of places, best first."""

    log_probs: tf.Tensor  # float32 [B, K, top_k]; very low where banned
    tokens: tf.Tensor  # int32 [B, K, top_k]


class Writer:
    """Masks places of token rows, and samples tokens from the generator.

    Attributes:
      pieces: which tokens may be written.
    """

    def __init__(self, generator: Any, vocab: Vocab):
        """Prepares the graph functions, which are compiled on first use.

        Args:
          generator: a generator that reads [MASK].
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
            carries[vocab.mask_id] = True  # its token is not known yet
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
        """Samples tokens for all places at once, independently.

        Args:
          input_ids: int32 [B, L].
          input_mask: int32 [B, L], 1 at tokens.
          positions: int32 [B, K], the places.
          whole_from: int32 [B]; places up to this one get no piece that
            continues a word.
          uniform: random numbers, float32 [B, K] in [0, 1).
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
        """Returns the most probable tokens for each place, with all masked.

        Args:
          input_ids: see `write`.
          input_mask: see `write`.
          positions: see `write`.
          whole_from: see `write`.
          top_k: number of tokens, at most the vocabulary's size.
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
        """Returns logits [B, K, V] with bans, and log Z [B, K, 1] without."""
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
    """Puts tokens [B, K] at their positions in rows [B, L]."""
    batch = tf.range(tf.shape(positions)[0])[:, None]
    at = tf.stack([tf.zeros_like(positions) + batch, positions], axis=-1)
    return tf.tensor_scatter_nd_update(input_ids, at, tokens)
