"""The generator's side of a step: its losses, and tokens drawn from it."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from electra_tf.models import networks
from electra_tf.pretraining import objectives, packing, sampling
from electra_tf.pretraining.masking import MaskedBatch, SpecialIds
from electra_tf.pretraining.objectives import TokenLoss

AnyGenerator = (
    networks.Generator | networks.TwoTowerGenerator | networks.UniformGenerator
)


@dataclasses.dataclass(frozen=True)
class Draws:
    """How samples are drawn.

    Attributes:
      uniform: [B, N] float32 in [0, 1), decides them; None for no samples.
      temperature: divides the logits.
      disallow_correct: never draw the original token.
    """

    uniform: tf.Tensor | None
    temperature: float | tf.Tensor = 1.0
    disallow_correct: bool = False


def draws(
    objective: objectives.ObjectiveConfig,
    masked: MaskedBatch,
    keys: tf.Tensor,
    count: int,
    step: tf.Tensor | None,
) -> Draws:
    """How an objective draws.

    Args:
      objective: what is trained.
      masked: the masked batch.
      keys: uint32, decide: [B], or [B, E] for several examples a row.
      count: the most predictions of one of several examples in a row.
      step: updates done, in training; else None.
    """
    temperature: float | tf.Tensor = objective.temperature
    if objective.temperature_start is not None and step is not None:
        temperature = sampling.temperature_at(
            step,
            objective.temperature_start,
            temperature,
            objective.temperature_decay_steps,
        )
    if masked.packed is None:
        count = tf.shape(masked.masked_lm_positions)[1]
    return Draws(
        packing.uniform(keys, count, masked.packed),
        temperature,
        objective.disallow_correct,
    )


class Scores(NamedTuple):
    """Logits of a token LM as two parts, whose sum is never stored."""

    scores: tf.Tensor  # [rows, V]
    bias: tf.Tensor  # [V] float32


class Cloze(NamedTuple):
    """A two-tower generator's prediction of every token from the others."""

    token: TokenLoss  # each [B, L]; no samples
    weights: tf.Tensor  # [B, L] float32, 1 for the tokens it is trained on
    scores: Scores  # rows: B * L


class Generated(NamedTuple):
    """What a generator computes for a masked batch."""

    token: TokenLoss  # each [B, N]
    encoder: tuple | None
    # Of a generator that reads [MASK]: what the head read and gave.
    hidden: tf.Tensor | None  # [B, N, H]
    scores: Scores | None  # rows: B * N
    cloze: Cloze | None  # of a two-tower generator


def generate(
    generator: AnyGenerator,
    masked: MaskedBatch,
    special: SpecialIds,
    draws: Draws,
    training: bool,
    keys: tf.Tensor | None,
) -> Generated:
    """Predicts the masked tokens and draws replacements for them.

    Args:
      generator: of any kind.
      masked: the masked batch.
      special: ids that are never masked.
      draws: how samples are drawn.
      training: whether dropout is on.
      keys: [B] uint32 dropout keys.
    """
    if isinstance(generator, networks.UniformGenerator):
        return _uniform(generator.vocab_size, masked, draws)
    if not generator.reads_masked:
        return _two_tower(generator, masked, special, draws, training, keys)
    hidden, output = generator.hidden_at(
        networks.Rows(
            masked.masked_input_ids,
            masked.input_mask,
            masked.segment_ids,
            keys,
            masked.sequence_ids,
        ),
        masked.masked_lm_positions,
        training,
    )
    scores = score(generator.head, hidden, training)
    token = objectives.token_loss_and_samples(
        *scores,
        tf.reshape(masked.masked_lm_ids, [-1]),
        None if draws.uniform is None else tf.reshape(draws.uniform, [-1]),
        draws.temperature,
        draws.disallow_correct,
    )
    token = shaped(token, tf.shape(masked.masked_lm_positions))
    return Generated(token, output, hidden, scores, None)


def score(
    head: networks.TokenLMHead, hidden: tf.Tensor, training: bool
) -> Scores:
    """The head's `Scores` of [..., H] hidden states."""
    bias = tf.cast(head.output_bias, tf.float32)
    return Scores(head.scores(hidden, training), bias)


def shaped(token: TokenLoss, shape: tf.Tensor) -> TokenLoss:
    """A token loss with its rows in another shape."""
    return TokenLoss(
        *(None if t is None else tf.reshape(t, shape) for t in token)
    )


def candidates(masked: MaskedBatch, special: SpecialIds) -> tf.Tensor:
    """[B, L] float32, 1 for tokens that masking may choose."""
    ids = masked.input_ids
    return tf.cast(
        tf.cast(masked.input_mask, tf.bool)
        & tf.not_equal(ids, special.cls_id)
        & tf.not_equal(ids, special.sep_id),
        tf.float32,
    )


def _uniform(vocab_size: int, masked: MaskedBatch, draws: Draws) -> Generated:
    ids = masked.masked_lm_ids
    log_z = tf.fill(tf.shape(ids), tf.math.log(float(vocab_size)))
    sampled = None
    if draws.uniform is not None:
        sampled = sampling.draw_uniform(
            vocab_size, ids, draws.uniform, draws.disallow_correct
        )
    token = TokenLoss(log_z, tf.zeros_like(ids), sampled, log_z)
    return Generated(token, None, None, None, None)


def _two_tower(
    generator: networks.TwoTowerGenerator,
    masked: MaskedBatch,
    special: SpecialIds,
    draws: Draws,
    training: bool,
    keys: tf.Tensor | None,
) -> Generated:
    """Every token is predicted, in one pass; the masked ones are sampled."""
    hidden, output = generator.hidden_at(
        networks.Rows(
            masked.input_ids,
            masked.input_mask,
            masked.segment_ids,
            keys,
            masked.sequence_ids,
        ),
        None,
        training,
    )
    scores = score(generator.head, hidden, training)
    cloze = shaped(
        objectives.token_loss_and_samples(
            *scores, tf.reshape(masked.input_ids, [-1])
        ),
        tf.shape(masked.input_ids),
    )
    positions = masked.masked_lm_positions
    batch, length = tf.shape(positions)[0], masked.input_ids.shape[1]
    rows = tf.reshape(tf.range(batch)[:, None] * length + positions, [-1])
    labels = tf.reshape(masked.masked_lm_ids, [-1])
    there = Scores(
        tf.stop_gradient(tf.gather(scores.scores, rows)),
        tf.stop_gradient(scores.bias),
    )
    log_z = tf.gather(tf.reshape(cloze.log_z, [-1]), rows)
    sampled = None
    if draws.uniform is not None:
        sampled = sampling.draw_adjusted(
            *there,
            labels,
            tf.reshape(draws.uniform, [-1]),
            draws.temperature,
            draws.disallow_correct,
        )
    token = TokenLoss(
        log_z - objectives.logits_of(*there, labels),
        tf.gather(tf.reshape(cloze.predictions, [-1]), rows),
        sampled,
        log_z,
    )
    return Generated(
        shaped(token, tf.shape(positions)),
        output,
        None,
        None,
        Cloze(cloze, candidates(masked, special), scores),
    )


def likelihood_term(
    factor: float | tf.Tensor, masked: MaskedBatch, generated: Generated
) -> objectives.Term:
    """The generator's own loss: of the masked tokens, or of all of them.

    Args:
      factor: its weight.
      masked: the masked batch.
      generated: what `generate` gave for it.
    """
    if generated.cloze is not None:
        cloze = generated.cloze
        return objectives.Term(factor, cloze.token.loss, cloze.weights)
    return objectives.Term(
        factor, generated.token.loss, masked.masked_lm_weights
    )
