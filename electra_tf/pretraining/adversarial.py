"""A generator trained to mislead the discriminator (paper, appendix F).

Sampling cannot be differentiated, so the gradient is REINFORCE's: of the
log-probability of what was drawn, times how much better it did than expected.
What is expected is learned beside it, from the generator's hidden states.
"""

import tensorflow as tf

from electra_tf.models import layers
from electra_tf.pretraining import objectives
from electra_tf.pretraining.generation import Generated
from electra_tf.pretraining.masking import MaskedBatch


def terms(
    factor: float | tf.Tensor,
    generated: Generated,
    masked: MaskedBatch,
    disc_loss: tf.Tensor,
    baseline: layers.Dense,
) -> list[objectives.Term]:
    """The generator's terms of the joint loss, in place of the MLM's.

    Args:
      factor: weight of both.
      generated: the generator's predictions and samples.
      masked: the masked batch.
      disc_loss: [B, L] float32, the discriminator's loss: the reward.
      baseline: [..., H] -> [..., 1], the logit of how surely it is right.
    """
    weights = masked.masked_lm_weights
    reward = tf.stop_gradient(
        tf.gather(disc_loss, masked.masked_lm_positions, batch_dims=1)
    )
    logits = tf.cast(baseline(tf.stop_gradient(generated.hidden)), tf.float32)
    logits = tf.squeeze(logits, axis=-1)  # [B, N]
    expected = -tf.math.log_sigmoid(logits)
    advantage = reward - tf.stop_gradient(expected)
    sampled = tf.reshape(generated.token.sampled_ids, [-1])
    surprise = objectives.token_loss_and_samples(
        *generated.scores, sampled
    ).loss  # -log p(sample)
    surprise = tf.reshape(surprise, tf.shape(weights))
    # Minimising -log p(sample) * advantage makes good samples likelier.
    policy = surprise * advantage
    # exp(-reward): the probability that the discriminator gave to the truth.
    fit = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.exp(-reward), logits=logits
    )
    return [
        objectives.Term(factor, policy, weights),
        objectives.Term(factor, fit, weights),
    ]
