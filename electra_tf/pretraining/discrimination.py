"""What the second network reads, what it shall say, what that costs."""

from typing import NamedTuple

import tensorflow as tf

from electra_tf.models import networks
from electra_tf.pretraining import generation, masking, objectives
from electra_tf.pretraining.masking import CorruptedBatch, MaskedBatch
from electra_tf.pretraining.objectives import TokenLoss

# Objectives by what the discriminator predicts.
REPLACED_TOKEN = ("electra", "electra_15", "electric")
RESTORED_TOKEN = ("replaced_mlm", "all_tokens_mlm")


class Detected(NamedTuple):
    """Which tokens were replaced: the discriminator's verdict."""

    logits: tf.Tensor  # [B, L] float32
    loss: tf.Tensor  # [B, L] float32, nats
    weights: tf.Tensor  # [B, L] float32, 1 where the loss counts


class Restored(NamedTuple):
    """The original tokens, as the second network predicts them."""

    loss: tf.Tensor  # [B, N] or [B, L] float32, nats
    predictions: tf.Tensor  # the same shape, int32
    labels: tf.Tensor  # the same shape, int32
    weights: tf.Tensor  # the same shape, float32, 1 where the loss counts


def masked_here(masked: MaskedBatch) -> tf.Tensor:
    """[B, L] int32, 1 at the positions that were chosen."""
    return masking.replace_at(
        tf.zeros_like(masked.input_ids),
        masked.masked_lm_positions,
        tf.ones_like(masked.masked_lm_positions),
        tf.cast(masked.masked_lm_weights, tf.bool),
    )


def corrupt(
    kind: str, masked: MaskedBatch, sampled_ids: tf.Tensor
) -> CorruptedBatch:
    """`masking.corrupt`, with the labels of the objective.

    For Electric a sample is noise even if it is the original token: the
    density ratio is what is learned (Clark et al. 2020b, section 2.2).

    Args:
      kind: of the objective.
      masked: the masked batch.
      sampled_ids: [B, N] int32.
    """
    corrupted = masking.corrupt(masked, sampled_ids)
    if kind == "electric":
        corrupted = corrupted._replace(fake_labels=masked_here(masked))
    return corrupted


def noise_logit(
    cloze: generation.Cloze, tokens: tf.Tensor, mask_prob: float
) -> tf.Tensor:
    """What Electric adds to its logits: log q(token) + log(p / (1 - p)).

    q is the two-tower generator's distribution given all other tokens, p the
    share of tokens it replaces; not differentiated (Clark et al. 2020b,
    equations 3 and 4).

    Args:
      cloze: the generator's, of the original batch.
      tokens: [B, L] int32, what stands there now.
      mask_prob: p, in (0, 1).

    Returns:
      [B, L] float32.
    """
    logits = objectives.logits_of(*cloze.scores, tf.reshape(tokens, [-1]))
    log_q = tf.reshape(logits, tf.shape(tokens)) - cloze.token.log_z
    odds = tf.math.log(tf.constant(mask_prob / (1.0 - mask_prob), tf.float32))
    return tf.stop_gradient(log_q) + odds


def weights_of(kind: str, masked: MaskedBatch) -> tf.Tensor:
    """Where the loss of `detect` or `restore` counts, float32.

    Args:
      kind: of the objective.
      masked: the masked batch.
    """
    if kind == "replaced_mlm":
        return masked.masked_lm_weights
    if kind == "electra_15":
        return tf.cast(masked_here(masked), tf.float32)
    return tf.cast(masked.input_mask, tf.float32)


def detect(
    kind: str,
    logits: tf.Tensor,
    masked: MaskedBatch,
    corrupted: CorruptedBatch,
) -> Detected:
    """The binary loss, at all real tokens or at the masked ones alone.

    Args:
      kind: of the objective.
      logits: [B, L] float32; above 0: replaced.
      masked: the masked batch.
      corrupted: what was read, and the labels.
    """
    return Detected(
        logits,
        objectives.replaced_token_loss(logits, corrupted.fake_labels),
        weights_of(kind, masked),
    )


def restore(
    discriminator: networks.Discriminator,
    hidden: tf.Tensor,
    masked: MaskedBatch,
    corrupted: CorruptedBatch,
    training: bool,
) -> Restored:
    """Predicts original tokens from the corrupted batch (section 3.4).

    With a copy head every real token is predicted, else the masked ones.

    Args:
      discriminator: with a token LM head.
      hidden: [B, L, H], its encoder's output.
      masked: the masked batch.
      corrupted: what was read.
      training: whether dropout is on.
    """
    copies = discriminator.copy_head is not None
    labels, weights = masked.input_ids, masked.input_mask
    where = hidden
    if not copies:
        labels, weights = masked.masked_lm_ids, masked.masked_lm_weights
        where = tf.gather(hidden, masked.masked_lm_positions, batch_dims=1)
    scores = generation.score(discriminator.lm_head, where, training)
    token = objectives.token_loss_and_samples(*scores, tf.reshape(labels, [-1]))
    if copies:
        token = with_copy(
            tf.reshape(_float32(discriminator.copy_head(hidden)), [-1]),
            scores,
            token,
            tf.reshape(labels, [-1]),
            tf.reshape(corrupted.fake_input_ids, [-1]),
        )
    token = generation.shaped(token, tf.shape(labels))
    return Restored(
        token.loss, token.predictions, labels, tf.cast(weights, tf.float32)
    )


def with_copy(
    copy_logits: tf.Tensor,
    scores: generation.Scores,
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
        logits = objectives.logits_of(*scores, tokens)
        return log_predict + logits - token.log_z

    stays = _log_sum(log_copy, lm(inputs)) >= lm(token.predictions)
    return token._replace(
        loss=-log_p,
        predictions=tf.where(stays, inputs, token.predictions),
    )


def _float32(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32)


def _log_sum(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_logsumexp(tf.stack([a, b]), axis=0)
