"""Choose positions, mask them, put sampled tokens in: all in the graph.

Unlike the original, positions are drawn WITHOUT replacement: the original
may draw one twice and then writes the mean of two token ids there.
"""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import randomness


@dataclasses.dataclass(frozen=True)
class MaskingConfig:
    """How many tokens are masked, and how (paper, section 3.1)."""

    mask_prob: float = 0.15  # share of the real tokens; 0.25 for large
    mask_token_rate: float = 0.85  # of the chosen become [MASK], rest stay
    max_predictions: int | None = None  # slots a row; None: from mask_prob

    def __post_init__(self) -> None:
        for name in ("mask_prob", "mask_token_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(
                    f"masking.{name}: expected a share in (0, 1], got "
                    f"{getattr(self, name)}"
                )
        if self.max_predictions is not None and self.max_predictions < 1:
            raise UserError(
                "masking.max_predictions: expected at least 1, got "
                f"{self.max_predictions}"
            )

    def slots(self, length: int) -> int:
        """N, the most predictions in a row of `length` positions."""
        if self.max_predictions is not None:
            return min(self.max_predictions, length)
        return max(1, min(length, int((self.mask_prob + 0.005) * length)))


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """The vocabulary's ids that masking has to know."""

    cls_id: int
    sep_id: int
    mask_id: int


class MaskedBatch(NamedTuple):
    """A batch with its masked-out copy; names as the original's."""

    input_ids: tf.Tensor  # [B, L] int32, as they were
    input_mask: tf.Tensor  # [B, L] int32, 1 for real tokens
    segment_ids: tf.Tensor  # [B, L] int32
    masked_input_ids: tf.Tensor  # [B, L] int32, what the generator reads
    masked_lm_positions: tf.Tensor  # [B, N] int32, 0 in unused slots
    masked_lm_ids: tf.Tensor  # [B, N] int32, the tokens that stood there
    masked_lm_weights: tf.Tensor  # [B, N] float32, 1 used, 0 unused


def choose_positions(
    input_ids: tf.Tensor,
    input_mask: tf.Tensor,
    config: MaskingConfig,
    special: SpecialIds,
    uniform: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the positions to predict, without replacement.

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
    priority = tf.where(candidates, uniform, -1.0)
    positions = tf.math.top_k(priority, k=slots).indices  # [B, N]
    used = tf.range(slots)[None, :] < wanted[:, None]
    return tf.where(used, positions, 0), tf.cast(used, tf.float32)


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

    Args:
      batch: input_ids, input_mask, segment_ids, each [B, L].
      config: rates.
      special: the vocabulary's special ids.
      keys: [B] uint32, one for each example; decides every draw.
    """
    input_ids = batch["input_ids"]
    length = input_ids.shape[1]
    positions, weights = choose_positions(
        input_ids,
        batch["input_mask"],
        config,
        special,
        randomness.uniform(randomness.salted(keys, 0), length),
    )
    uniform = randomness.uniform(randomness.salted(keys, 1), positions.shape[1])
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
