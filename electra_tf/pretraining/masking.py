"""Choose positions, mask them, put sampled tokens in: all in the graph.

Unlike the original, positions are drawn WITHOUT replacement: the original
may draw one twice and then writes the mean of two token ids there.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import randomness
from electra_tf.pretraining import masking_units
from electra_tf.pretraining.settings import MaskingConfig

# What the keys of an example are used for here.
_CHOOSE, _KEEP, _CUTS, _FROM_END = range(4)


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """What masking has to know of the vocabulary."""

    cls_id: int
    sep_id: int
    mask_id: int
    # [V], whether a token goes on with the word before it ("##ing"); needed
    # where units are words and the batch has no word_starts.
    continues: tuple[bool, ...] | None = None


class Packed(NamedTuple):
    """Of rows that hold several examples; see `packing`."""

    sequence_ids: tf.Tensor  # [B, L] int32, whose a token is; 0 for padding
    # [B, N] int32, which of the E * N draws of a row's examples decide over
    # a prediction.
    draws: tf.Tensor


class MaskedBatch(NamedTuple):
    """A batch with its masked-out copy; names as the original's."""

    input_ids: tf.Tensor  # [B, L] int32, as they were
    input_mask: tf.Tensor  # [B, L] int32, 1 for real tokens
    segment_ids: tf.Tensor  # [B, L] int32
    masked_input_ids: tf.Tensor  # [B, L] int32, what the generator reads
    masked_lm_positions: tf.Tensor  # [B, N] int32, 0 in unused slots
    masked_lm_ids: tf.Tensor  # [B, N] int32, the tokens that stood there
    masked_lm_weights: tf.Tensor  # [B, N] float32, 1 used, 0 unused
    packed: Packed | None = None

    @property
    def sequence_ids(self) -> tf.Tensor | None:
        """As in `Packed`; None where each row is one example."""
        return None if self.packed is None else self.packed.sequence_ids


def choose_positions(
    input_ids: tf.Tensor,
    input_mask: tf.Tensor,
    config: MaskingConfig,
    special: SpecialIds,
    uniform: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the positions to predict, token by token, without replacement.

    A row asks for round(mask_prob * its real tokens) positions, at least
    one, at most N; [CLS], [SEP] and padding are never chosen. A row with
    fewer candidates takes them all: with none it is left unmasked.

    Args:
      input_ids: [B, L] int32.
      input_mask: [B, L], 1 for real tokens.
      config: rates.
      special: ids that are never masked.
      uniform: [B, L] float32 in [0, 1), the draw.

    Returns:
      masked_lm_positions [B, N] int32 and masked_lm_weights [B, N] float32.
    """
    candidates, wanted = _budget(input_ids, input_mask, config, special)
    slots = config.slots(input_ids.shape[1])
    priority = tf.where(candidates, uniform, -1.0)
    positions = tf.math.top_k(priority, k=slots).indices  # [B, N]
    used = tf.range(slots)[None, :] < wanted[:, None]
    return tf.where(used, positions, 0), tf.cast(used, tf.float32)


def _budget(
    input_ids: tf.Tensor,
    input_mask: tf.Tensor,
    config: MaskingConfig,
    special: SpecialIds,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Tokens that may be chosen, [B, L] bool, and how many, [B] int32."""
    slots = config.slots(input_ids.shape[1])
    real = tf.cast(input_mask, tf.bool)
    candidates = (
        real
        & tf.not_equal(input_ids, special.cls_id)
        & tf.not_equal(input_ids, special.sep_id)
    )
    lengths = tf.reduce_sum(tf.cast(input_mask, tf.float32), axis=1)
    wanted = tf.cast(tf.round(lengths * config.mask_prob), tf.int32)
    wanted = tf.clip_by_value(wanted, 1, slots)
    wanted = tf.minimum(
        wanted, tf.reduce_sum(tf.cast(candidates, tf.int32), axis=1)
    )
    return candidates, wanted


def word_starts(batch: dict[str, tf.Tensor], special: SpecialIds) -> tf.Tensor:
    """Where words begin, [B, L] bool.

    The batch's own word_starts tell, if there are any, as for Chinese text
    that a segmenter has cut; a token that `special.continues` never begins
    a word.

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
            "SpecialIds.continues nor the batch's word_starts tell where "
            "they begin; give one of them, or set masking.unit=token"
        )
    if special.continues is not None:
        table = tf.constant(np.asarray(special.continues, bool))
        starts &= ~tf.gather(table, batch["input_ids"])
    return starts


def _choose_units(
    batch: dict[str, tf.Tensor],
    config: MaskingConfig,
    special: SpecialIds,
    keys: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """As `choose_positions`, by words or spans; and [B, N], each one's unit."""
    length = batch["input_ids"].shape[1]
    candidates, wanted = _budget(
        batch["input_ids"], batch["input_mask"], config, special
    )
    starts = word_starts(batch, special)

    def draw(use: int) -> tf.Tensor:
        return randomness.uniform(randomness.salted(keys, use), length)

    if config.unit == "span":
        cuts = masking_units.span_lengths(
            draw(_CUTS), config.span_geometric, config.max_span_length
        )
        chosen = masking_units.choose_spans(
            candidates,
            starts,
            wanted,
            draw(_CHOOSE),
            cuts,
            draw(_FROM_END)[:, 0] < 0.5,
        )
    else:
        chosen = masking_units.choose_words(
            candidates, starts, wanted, draw(_CHOOSE)
        )
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
    """`input_ids` with `tokens` at `positions`, in the slots of `where`.

    Args:
      input_ids: [B, L] int32.
      positions: [B, N] int32, distinct within the slots of `where`.
      tokens: [B, N] int32.
      where: [B, N] bool, which slots are written.
    """
    batch, length = tf.shape(input_ids)[0], input_ids.shape[1]
    # Slots not to be written go to an extra column, cut off again.
    columns = tf.where(where, positions, length)
    rows = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(columns))
    wide = tf.pad(input_ids, [[0, 0], [0, 1]])
    wide = tf.tensor_scatter_nd_update(
        wide, tf.stack([rows, columns], axis=-1), tokens
    )
    return tf.ensure_shape(wide[:, :length], input_ids.shape)


def mask(
    batch: dict[str, tf.Tensor],
    config: MaskingConfig,
    special: SpecialIds,
    keys: tf.Tensor,
) -> MaskedBatch:
    """Masks a batch anew (dynamic masking).

    Whether what is chosen becomes [MASK] or stays is drawn for each unit,
    as in SpanBERT: half a word left in view gives the other half away.

    Args:
      batch: input_ids, input_mask, segment_ids, each [B, L]; for words and
        spans, word_starts [B, L] is heeded if there.
      config: the unit and rates.
      special: what masking has to know of the vocabulary.
      keys: [B] uint32, one for each example; decides every draw.

    Raises:
      UserError: nothing tells where words begin; see `word_starts`.
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
    """What the discriminator reads, and what it shall say."""

    fake_input_ids: tf.Tensor  # [B, L] int32
    fake_labels: tf.Tensor  # [B, L] int32, 1 where a token was replaced


def corrupt(masked: MaskedBatch, sampled_ids: tf.Tensor) -> CorruptedBatch:
    """Puts the generator's samples in (paper, section 2).

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
