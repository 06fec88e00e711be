"""Chooses positions, masks them and inserts sampled tokens, all in the graph.

Unlike the original, positions are sampled WITHOUT replacement: the original may
sample one twice and then writes the mean of two token ids there.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import randomness
from electra_tf.models.rows import Rows
from electra_tf.pretraining.settings import MaskingConfig

# What the keys of an example are used for here.
_CHOOSE, _KEEP, _CUTS, _FROM_END = range(4)


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """Holds what masking has to know of the vocabulary."""

    cls_id: int
    sep_id: int
    mask_id: int
    # [V], whether a token continues the word before it ("##ing"); needed
    # where units are words and the batch has no word_starts.
    continues: tuple[bool, ...] | None = None


class Packed(NamedTuple):
    """Describes rows that hold several examples; see `packing`."""

    sequence_ids: tf.Tensor  # [B, L] int32, a token's example; 0 for padding
    # [B, N] int32, which of the E * N random numbers of a row's examples
    # decides a prediction.
    draws: tf.Tensor


class MaskedBatch(NamedTuple):
    """Holds a batch and its masked copy; names as the original's."""

    input_ids: tf.Tensor  # [B, L] int32, unmasked
    input_mask: tf.Tensor  # [B, L] int32, 1 for real tokens
    segment_ids: tf.Tensor  # [B, L] int32
    masked_input_ids: tf.Tensor  # [B, L] int32, what the generator reads
    masked_lm_positions: tf.Tensor  # [B, N] int32, 0 in unused slots
    masked_lm_ids: tf.Tensor  # [B, N] int32, the tokens that stood there
    masked_lm_weights: tf.Tensor  # [B, N] float32, 1 used, 0 unused
    packed: Packed | None = None

    @property
    def sequence_ids(self) -> tf.Tensor | None:
        """Returns `Packed.sequence_ids`; None if each row is one example."""
        return None if self.packed is None else self.packed.sequence_ids

    def rows(self, input_ids: tf.Tensor, keys: tf.Tensor | None) -> Rows:
        """Returns a network's input: these ids in the batch's rows.

        Args:
          input_ids: [B, L] int32.
          keys: [B] uint32 dropout keys.
        """
        return Rows(
            input_ids, self.input_mask, self.segment_ids, keys,
            self.sequence_ids,
        )  # fmt: skip

    def chosen(self) -> tf.Tensor:
        """Returns [B, L] int32, 1 at the positions that were chosen."""
        return replace_at(
            tf.zeros_like(self.input_ids),
            self.masked_lm_positions,
            tf.ones_like(self.masked_lm_positions),
            tf.cast(self.masked_lm_weights, tf.bool),
        )


def choose_positions(
    input_ids: tf.Tensor,
    input_mask: tf.Tensor,
    config: MaskingConfig,
    special: SpecialIds,
    uniform: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Samples the positions to predict, token by token, without replacement.

    A row gets round(mask_prob * its real tokens) positions, at least one, at
    most N; [CLS], [SEP] and padding are never chosen. In a row with fewer
    candidates all are masked: with none it is left unmasked.

    Args:
      input_ids: [B, L] int32.
      input_mask: [B, L], 1 for real tokens.
      config: how much is masked.
      special: ids that are never masked.
      uniform: [B, L] float32 in [0, 1), random numbers that decide.

    Returns:
      masked_lm_positions [B, N] int32 and masked_lm_weights [B, N] float32.
    """
    candidates, wanted = _budget(input_ids, input_mask, config, special)
    slots = config.slots(input_ids.shape[1])
    priority = tf.where(candidates, uniform, -1.0)
    positions = tf.math.top_k(priority, k=slots).indices  # [B, N]
    used = tf.range(slots)[None, :] < wanted[:, None]
    return tf.where(used, positions, 0), tf.cast(used, tf.float32)


def may_be_chosen(
    input_ids: tf.Tensor, input_mask: tf.Tensor, special: SpecialIds
) -> tf.Tensor:
    """Returns [B, L] bool: real tokens that are neither [CLS] nor [SEP]."""
    return (
        tf.cast(input_mask, tf.bool)
        & tf.not_equal(input_ids, special.cls_id)
        & tf.not_equal(input_ids, special.sep_id)
    )


def _budget(
    input_ids: tf.Tensor,
    input_mask: tf.Tensor,
    config: MaskingConfig,
    special: SpecialIds,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns which tokens may be chosen, [B, L] bool, and how many are,
    [B].
    """
    slots = config.slots(input_ids.shape[1])
    candidates = may_be_chosen(input_ids, input_mask, special)
    lengths = tf.reduce_sum(tf.cast(input_mask, tf.float32), axis=1)
    wanted = tf.cast(tf.round(lengths * config.mask_prob), tf.int32)
    wanted = tf.clip_by_value(wanted, 1, slots)
    wanted = tf.minimum(
        wanted, tf.reduce_sum(tf.cast(candidates, tf.int32), axis=1)
    )
    return candidates, wanted


def word_starts(
    batch: Mapping[str, tf.Tensor], special: SpecialIds
) -> tf.Tensor:
    """Returns where words begin, [B, L] bool.

    They are the batch's word_starts, if it has any, as for Chinese text that a
    segmenter has cut; a token of `special.continues` never begins a word.

    Args:
      batch: input_ids and perhaps word_starts, [B, L].
      special: with `continues`, unless there are word_starts.

    Raises:
      UserError: there is neither.
    """
    starts = tf.ones_like(batch["input_ids"], tf.bool)
    if "word_starts" in batch:
        starts = tf.cast(batch["word_starts"], tf.bool)
    elif special.continues is None:
        raise UserError(
            "masking.unit: words are to be masked, but neither "
            "SpecialIds.continues nor the batch's word_starts has their "
            "beginnings; give one of them, or set masking.unit=token"
        )
    if special.continues is not None:
        table = tf.constant(np.asarray(special.continues, bool))
        starts &= ~tf.gather(table, batch["input_ids"])
    return starts


def _choose_units(
    batch: Mapping[str, tf.Tensor],
    config: MaskingConfig,
    special: SpecialIds,
    keys: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Chooses as `choose_positions`, by words or spans; adds [B, N], the
    units.
    """
    length = batch["input_ids"].shape[1]
    candidates, wanted = _budget(
        batch["input_ids"], batch["input_mask"], config, special
    )
    starts = word_starts(batch, special)

    def draw(use: int) -> tf.Tensor:
        return randomness.uniform(randomness.salted(keys, use), length)

    if config.unit == "span":
        cuts = span_lengths(
            draw(_CUTS), config.span_geometric, config.max_span_length
        )
        chosen = choose_spans(
            candidates,
            starts,
            wanted,
            draw(_CHOOSE),
            cuts,
            draw(_FROM_END)[:, 0] < 0.5,
        )
    else:
        chosen = choose_words(candidates, starts, wanted, draw(_CHOOSE))
    # The chosen ones, from left to right, then the rest.
    rank = tf.where(chosen.tokens, tf.range(length, 0, -1), 0)
    found, positions = tf.math.top_k(rank, k=config.slots(length))
    positions = tf.where(found > 0, positions, 0)
    units = tf.gather(chosen.unit, positions, batch_dims=1)
    return positions, tf.cast(found > 0, tf.float32), units


def replace_at(
    input_ids: tf.Tensor,
    positions: tf.Tensor,
    tokens: tf.Tensor,
    where: tf.Tensor,
) -> tf.Tensor:
    """Returns `input_ids` with `tokens` at `positions`, in the slots of
    `where`.

    Args:
      input_ids: [B, L] int32.
      positions: [B, N] int32, distinct within the slots of `where`.
      tokens: [B, N] int32.
      where: [B, N] bool, which slots are written.
    """
    batch, length = tf.shape(input_ids)[0], input_ids.shape[1]
    # Slots not to be written go to an extra column, which is dropped.
    columns = tf.where(where, positions, length)
    rows = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(columns))
    wide = tf.pad(input_ids, [[0, 0], [0, 1]])
    wide = tf.tensor_scatter_nd_update(
        wide, tf.stack([rows, columns], axis=-1), tokens
    )
    return tf.ensure_shape(wide[:, :length], input_ids.shape)


def mask(
    batch: Mapping[str, tf.Tensor],
    config: MaskingConfig,
    special: SpecialIds,
    keys: tf.Tensor,
) -> MaskedBatch:
    """Masks a batch anew (dynamic masking).

    Whether the chosen tokens become [MASK] or stay is sampled for each unit, as
    in SpanBERT: half a word left in view gives the other half away.

    Args:
      batch: input_ids, input_mask, segment_ids, each [B, L]; for words and
        spans, word_starts [B, L] is used if present.
      config: the unit, and how much is masked.
      special: what masking has to know of the vocabulary.
      keys: [B] uint32, one for each example, which decides all randomness.

    Raises:
      UserError: it is unknown where words begin; see `word_starts`.
    """
    input_ids = batch["input_ids"]
    length = input_ids.shape[1]
    keep_keys = randomness.salted(keys, _KEEP)
    if config.unit == "token":
        positions, weights = choose_positions(
            input_ids,
            batch["input_mask"],
            config,
            special,
            randomness.uniform(randomness.salted(keys, _CHOOSE), length),
        )
        uniform = randomness.uniform(keep_keys, positions.shape[1])
    else:
        positions, weights, units = _choose_units(batch, config, special, keys)
        uniform = randomness.uniform(keep_keys, length)
        uniform = tf.gather(uniform, units, batch_dims=1)
    used = tf.cast(weights, tf.bool)
    masked_lm_ids = tf.gather(input_ids, positions, batch_dims=1)
    masked = replace_at(
        input_ids,
        positions,
        tf.fill(tf.shape(positions), special.mask_id),
        used & (uniform < config.mask_token_rate),
    )
    return MaskedBatch(
        input_ids,
        batch["input_mask"],
        batch["segment_ids"],
        masked,
        positions,
        tf.where(used, masked_lm_ids, 0),
        weights,
    )


class CorruptedBatch(NamedTuple):
    """Holds the discriminator's input and labels."""

    fake_input_ids: tf.Tensor  # [B, L] int32
    fake_labels: tf.Tensor  # [B, L] int32, 1 where a token was replaced


def corrupt(masked: MaskedBatch, sampled_ids: tf.Tensor) -> CorruptedBatch:
    """Replaces masked tokens by the generator's samples (paper, section 2).

    A sample that equals the original token counts as original.

    Args:
      masked: the masked batch.
      sampled_ids: [B, N] int32, tokens for its positions.
    """
    fake = replace_at(
        masked.input_ids,
        masked.masked_lm_positions,
        sampled_ids,
        tf.cast(masked.masked_lm_weights, tf.bool),
    )
    labels = tf.cast(tf.not_equal(fake, masked.input_ids), tf.int32)
    return CorruptedBatch(fake, labels)


def unigram_entropy(
    dataset: tf.data.Dataset, vocab_size: int, special: SpecialIds
) -> float:
    """Returns the entropy, in nats, of the tokens that masking may choose.

    It is the lowest cross-entropy that a predictor can reach on these examples
    if it ignores the context, so a generator's `mlm_loss` has to be below it.

    Args:
      dataset: finite, of batches with input_ids and input_mask, [B, L].
      vocab_size: V.
      special: ids that are never masked.
    """
    counts = np.zeros(vocab_size, np.int64)
    for batch in dataset.as_numpy_iterator():
        ids = batch["input_ids"][batch["input_mask"] == 1]
        counts += np.bincount(ids, minlength=vocab_size)
    counts[[special.cls_id, special.sep_id]] = 0
    if not counts.sum():
        return 0.0
    shares = counts[counts > 0] / counts.sum()
    return float(-np.sum(shares * np.log(shares)))


# --- whole words and spans -------------------------------------------------
#
# A row's tokens are grouped into words, words into spans. Groups are put in a
# random order and taken until the row's budget of tokens is spent. All shapes
# are static but for the batch, all randomness comes from keyed numbers that are
# indexed by the group, so a row's choice depends on its own tokens and key: not
# on its neighbours, nor on how wide it is padded.


class Groups(NamedTuple):
    """Holds groups of neighbouring tokens of a row, numbered from 0.

    Attributes:
      number: [B, L] int32, each member's group; any group's elsewhere.
      begins: [B, L] int32, how many members stand before group j.
      lengths: [B, L] int32, how many members group j has; 0 past the last.
    """

    number: tf.Tensor
    begins: tf.Tensor
    lengths: tf.Tensor


def group(members: tf.Tensor, starts: tf.Tensor) -> Groups:
    """Splits each run of members before every start.

    Args:
      members: [B, L] bool, the tokens that are in a group.
      starts: [B, L] bool, where a new group begins; one also begins after a
        token that is no member.
    """
    first = _firsts(members, starts)
    number = tf.cumsum(tf.cast(first, tf.int32), axis=1) - 1
    count = tf.cast(members, tf.int32)
    total = tf.reduce_sum(count, axis=1, keepdims=True)
    before = tf.cumsum(count, axis=1, exclusive=True)
    begins = _put(before, at=number, where=first, elsewhere=total)
    ends = tf.concat([begins[:, 1:], total], axis=1)
    return Groups(tf.maximum(number, 0), begins, ends - begins)


def _firsts(members: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    """Returns where groups begin; arguments as in `group`."""
    inside = tf.pad(members[:, :-1], [[0, 0], [1, 0]])
    return members & (starts | ~inside)


def _put(
    values: tf.Tensor,
    at: tf.Tensor,
    where: tf.Tensor | bool,
    elsewhere: tf.Tensor | int,
) -> tf.Tensor:
    """Moves a row's values to other columns of the row.

    Args:
      values: [B, L] int32.
      at: [B, L] int32, the column of each, distinct among those moved.
      where: [B, L] bool, which values are moved.
      elsewhere: [B, 1] int32, the value of the other columns.

    Returns:
      [B, L] int32.
    """
    batch, length = tf.shape(values)[0], values.shape[1]
    # Values that are not moved go to an extra column, which is dropped.
    columns = tf.where(where, at, length)
    rows = tf.broadcast_to(tf.range(batch)[:, tf.newaxis], [batch, length])
    out = tf.tensor_scatter_nd_update(
        tf.broadcast_to(elsewhere, [batch, length + 1]),
        tf.stack([rows, columns], axis=-1),
        values,
    )
    return tf.ensure_shape(out[:, :length], values.shape)


class Chosen(NamedTuple):
    """Holds the tokens to predict, and the unit that each belongs to.

    Attributes:
      tokens: [B, L] bool.
      unit: [B, L] int32, the number of each chosen token's unit; units are
        masked, or kept in view, as a whole.
    """

    tokens: tf.Tensor
    unit: tf.Tensor


def choose_words(
    candidates: tf.Tensor,
    starts: tf.Tensor,
    wanted: tf.Tensor,
    uniform: tf.Tensor,
) -> Chosen:
    """Samples words, all equally likely, until no more of them fits.

    A word longer than the rest of the budget is skipped, as in BERT's
    whole-word masking.

    Args:
      candidates: [B, L] bool, the tokens that may be chosen.
      starts: [B, L] bool, where words begin.
      wanted: [B] int32, the budget: the most tokens of each row.
      uniform: [B, L] float32 in [0, 1), random numbers, indexed by the word.
    """
    words = group(candidates, starts)
    order, sizes = _shuffled(words, uniform)
    fitting = tf.cast(_fitting(sizes, wanted), tf.int32)
    taken = _put(fitting, at=order, where=True, elsewhere=0)
    tokens = tf.gather(taken, words.number, batch_dims=1) > 0
    return Chosen(tokens & candidates, words.number)


def _shuffled(
    groups: Groups, uniform: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the groups' numbers in random order, [B, L], and their
    lengths.
    """
    priority = tf.where(groups.lengths > 0, uniform, -1.0)
    order = tf.math.top_k(priority, k=priority.shape[1]).indices
    return order, tf.gather(groups.lengths, order, batch_dims=1)


def _fitting(sizes: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
    """Returns which groups are taken if each that still fits is, one by one.

    Each round takes, of the groups that would fit alone, those before the
    first that does not fit with the others. What is left is then shorter
    than that one, so rounds are few: two or three on ordinary text.

    Args:
      sizes: [B, L] int32, in the order of taking; 0 is no group.
      budget: [B] int32.

    Returns:
      [B, L] bool.
    """

    def fit(open_: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
        return open_ & (sizes <= left)

    def more(_: tf.Tensor, open_: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(fit(open_, left))

    def take(
        taken: tf.Tensor, open_: tf.Tensor, left: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        open_ = fit(open_, left)
        total = tf.cumsum(tf.where(open_, sizes, 0), axis=1)
        now = open_ & (total <= left)
        left -= tf.reduce_sum(tf.where(now, sizes, 0), axis=1, keepdims=True)
        return taken | now, open_ & ~now, left

    start = (tf.zeros_like(sizes, tf.bool), sizes > 0, budget[:, tf.newaxis])
    return tf.while_loop(more, take, start)[0]


def choose_spans(
    candidates: tf.Tensor,
    starts: tf.Tensor,
    wanted: tf.Tensor,
    uniform: tf.Tensor,
    cuts: tf.Tensor,
    from_end: tf.Tensor,
) -> Chosen:
    """Samples spans of whole words, as in SpanBERT (Joshi et al., 2020).

    The original samples a span's length and its place, again and again, and
    drops what overlaps. Here the whole row is cut into spans of random length
    beforehand and some are sampled, all equally likely: the same lengths, no
    overlap, nothing to repeat. The last span is shortened to the rest of the
    budget, at its end or at its beginning; otherwise the first words of a row,
    which are never late in a span, would be masked more often than others.

    Args:
      candidates: [B, L] bool, the tokens that may be chosen.
      starts: [B, L] bool, where words begin.
      wanted: [B] int32, the budget: the most tokens of each row.
      uniform: [B, L] float32 in [0, 1), random numbers, indexed by the span.
      cuts: [B, L] int32, how many words the consecutive spans have.
      from_end: [B] bool, whether the last span keeps its end.
    """
    # A word over the budget can never be masked: spans end before it.
    words = group(candidates, starts)
    sizes = tf.gather(words.lengths, words.number, batch_dims=1)
    members = candidates & (sizes <= wanted[:, tf.newaxis])

    first = _firsts(members, starts)
    words = group(members, starts)
    next_span = tf.cumsum(cuts, axis=1)  # its first word
    begins_span = _put(
        tf.ones_like(cuts), next_span, next_span < cuts.shape[1], elsewhere=0
    )
    begins_span = tf.gather(begins_span, words.number, batch_dims=1)
    spans = group(members, first & (begins_span > 0))

    order, sizes = _shuffled(spans, uniform)
    before = tf.cumsum(sizes, axis=1, exclusive=True)
    before = _put(before, at=order, where=True, elsewhere=0)

    def of_word(values: tf.Tensor) -> tf.Tensor:
        return tf.gather(values, words.number, batch_dims=1)

    def of_span(values: tf.Tensor) -> tf.Tensor:
        return tf.gather(values, spans.number, batch_dims=1)

    # Tokens spent once this token's word is taken.
    offset = of_word(words.begins) - of_span(spans.begins)
    spent = of_span(before) + tf.where(
        from_end[:, tf.newaxis],
        of_span(spans.lengths) - offset,
        offset + of_word(words.lengths),
    )
    return Chosen(members & (spent <= wanted[:, tf.newaxis]), spans.number)


def span_lengths(
    uniform: tf.Tensor, geometric: float, longest: int
) -> tf.Tensor:
    """Samples numbers of words from a truncated geometric distribution.

    Args:
      uniform: float32 in [0, 1), any shape.
      geometric: p; length k has a share in proportion to p (1 - p)^(k - 1).
      longest: the greatest length.

    Returns:
      int32 from 1 to `longest`, of the same shape.
    """
    shares = geometric * (1.0 - geometric) ** np.arange(longest)
    # Compared with a table: a logarithm may differ between devices.
    table = (np.cumsum(shares) / shares.sum())[:-1].astype(np.float32)
    above = uniform[..., tf.newaxis] >= table
    return 1 + tf.reduce_sum(tf.cast(above, tf.int32), axis=-1)
