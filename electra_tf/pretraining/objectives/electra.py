"""Replaced token detection: ELECTRA, its variants, and ways to train it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import layers
from electra_tf.models.config import ModelConfig
from electra_tf.pretraining import losses
from electra_tf.pretraining.generators.base import Generated
from electra_tf.pretraining.losses import Term
from electra_tf.pretraining.masking import MaskedBatch
from electra_tf.pretraining.objectives.base import (
    Factor,
    Judged,
    Objective,
    PretrainOutput,
    Reading,
    equal,
)
from electra_tf.pretraining.objectives.two_stage import Stages


class Detection(Objective):
    """The discriminator says of every token whether it was replaced."""

    def judge(self, reading: Reading) -> Judged:
        """Returns the binary loss, where `weights` says that it counts."""
        logits, labels = reading.output.logits, reading.corrupted.fake_labels
        loss, weights = self.loss(logits, labels), self.weights(reading.masked)
        return Judged(loss, weights, labels, logits=logits)

    def loss(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the loss at every position (paper, equation 2).

        Args:
          logits: [B, L] float32; above 0: replaced.
          labels: [B, L] int32, 1 where the token was replaced.

        Returns:
          [B, L] float32, nats.
        """
        return losses.replaced_token_loss(logits, labels)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns `disc_*`: the discriminator where its loss counts.

        Precision and recall are means with the right weights: of the tokens
        called replaced, the share that is; of the replaced tokens, the share
        called so. `replaced_share` is what "always original" gets wrong.
        """
        names = (
            "disc_loss", "disc_accuracy", "disc_precision", "disc_recall",
            "replaced_share",
        )  # fmt: skip
        return [
            *super().metrics(),
            *(keras.metrics.Mean(name=name) for name in names),
            keras.metrics.AUC(num_thresholds=1000, name="disc_auc"),
        ]

    def measure(self, output: PretrainOutput) -> dict[str, tuple]:
        """Adds what the metrics of the discriminator need."""
        judged = output.judged
        assert judged is not None and judged.logits is not None  # of `judge`
        weights = judged.weights
        fake = tf.cast(judged.labels, tf.float32)
        called = tf.cast(judged.logits > 0, tf.float32)
        return super().measure(output) | {
            "disc_loss": (judged.loss, weights),
            "disc_accuracy": (equal(called, fake), weights),
            "disc_precision": (fake, called * weights),
            "disc_recall": (called, fake * weights),
            "replaced_share": (fake, weights),
            "disc_auc": (
                tf.reshape(fake, [-1]),
                tf.reshape(tf.sigmoid(judged.logits), [-1]),
                tf.reshape(weights, [-1]),
            ),
        }


class Electra(Detection):
    """Replaced token detection (paper, section 2).

    The generator is trained beside it by maximum likelihood. The settings
    have two other ways, weaker in the paper: `adversarial`, and
    `two_stage_steps`, for which see `Stages`.
    """

    _baseline: layers.Dense | None = None
    _stages: Stages | None = None

    def check(self) -> None:
        """Refuses what the other ways of training exclude."""
        self.generator.check()
        config = self.config
        if config.adversarial:
            self._check_generator("adversarial")
            if (
                config.disallow_correct
                or config.temperature != 1
                or config.temperature_start
                or config.two_stage_steps
            ):
                raise UserError(
                    "objective.adversarial, objective.disallow_correct, "
                    "objective.temperature, objective.temperature_start, "
                    "objective.two_stage_steps: the generator learns from "
                    "samples of its own distribution; leave the others out"
                )
        if config.two_stage_steps:
            self._check_generator("two_stage_steps")
            self._check_two_stage()

    def _check_generator(self, key: str) -> None:
        generator = self.generator.config
        if generator.traits.encoders != 1 or generator.frozen:
            raise UserError(
                f"objective.{key}, generator.kind, generator.frozen: needs a "
                "generator of kind separate that is trained"
            )

    def _check_two_stage(self) -> None:
        if self.generator.config.embeddings != "untied":
            raise UserError(
                "objective.two_stage_steps, generator.embeddings: the second "
                "stage must not move the generator's tables; set "
                "generator.embeddings to untied"
            )
        shape, model = self.generator.shape(self.model), self.model
        unlike = [
            f"{field.name} {getattr(shape, field.name)} against "
            f"{getattr(model, field.name)}"
            for field in dataclasses.fields(ModelConfig)
            if getattr(shape, field.name) != getattr(model, field.name)
        ]
        if unlike:
            raise UserError(
                "objective.two_stage_steps, generator.hidden_fraction, "
                "generator.layers_fraction, model: the discriminator starts "
                "from the generator's weights, so both need one shape, with "
                f"64 units a head; {', '.join(unlike)}"
            )

    def make_layers(self) -> list[keras.layers.Layer]:
        """Returns what an adversarial generator expects of the
        discriminator.
        """
        if not self.config.adversarial:
            return []
        # [..., H] -> [..., 1], the logit of the probability that it is right.
        self._baseline = layers.Dense(
            1, keras.initializers.Zeros(), name="baseline"
        )
        return [self._baseline]

    def build(self, generator: Any, discriminator: Any) -> None:
        """Builds the baseline, or keeps the weights of both networks."""
        if self._baseline is not None:
            self._baseline.build((None, None, generator.config.hidden_size))
        if self.config.two_stage_steps:
            self._stages = Stages(
                generator, discriminator, self.config.two_stage_steps
            )

    def factors(self, step: tf.Tensor | None) -> tuple[Factor, Factor]:
        """Returns the factors; with two stages, one loss counts at a time."""
        generator, discriminator = super().factors(step)
        if self._stages is None or step is None:
            return generator, discriminator
        first, second = self._stages.factors(step)
        return generator * first, discriminator * second

    def terms(
        self,
        masked: MaskedBatch,
        generated: Generated,
        judged: Judged | None,
        factors: tuple[Factor, Factor],
    ) -> list[Term]:
        """Returns the terms:

        REINFORCE for the loss of an adversarial generator.
        """
        terms = super().terms(masked, generated, judged, factors)
        if self._baseline is None:
            return terms
        assert judged is not None  # it discriminates
        own = adversarial_terms(
            factors[0], generated, masked, judged.loss, self._baseline
        )
        return [*own, terms[-1]]

    def term_weights(self, masked: MaskedBatch) -> list[tf.Tensor]:
        """Returns the weights; both terms of an adversarial generator share
        one.
        """
        weights = super().term_weights(masked)
        if self._baseline is not None:
            weights.insert(0, weights[0])
        return weights

    def update(
        self, step: Callable[[], tf.Tensor], apply: Callable[[], None]
    ) -> None:
        """Applies an update; with two stages, restores the weights to be
        kept.
        """
        if self._stages is None:
            apply()
            return
        before_step, before = tf.identity(step()), self._stages.values()
        apply()
        self._stages.settle(before_step, before)


class Electra15(Electra):
    """Trains ELECTRA with the loss of masked positions alone (section 3.4)."""

    def weights(self, masked: MaskedBatch) -> tf.Tensor:
        """Returns [B, L] float32, 1 at the positions that were masked."""
        return tf.cast(masked.chosen(), tf.float32)


def adversarial_terms(
    factor: Factor,
    generated: Generated,
    masked: MaskedBatch,
    disc_loss: tf.Tensor,
    baseline: layers.Dense,
) -> list[Term]:
    """Returns the terms of a generator that is to mislead (paper, appendix F).

    Sampling cannot be differentiated, so the gradient is REINFORCE's: that of
    the log-probability of the sample, times how much its reward exceeds the
    expected one. The expected reward is learned beside it, from the generator's
    hidden states.

    Args:
      factor: weight of both.
      generated: the generator's predictions and samples.
      masked: the masked batch.
      disc_loss: [B, L] float32, the discriminator's loss: the reward.
      baseline: [..., H] -> [..., 1], the logit of the probability that the
        discriminator is right.
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
    assert generated.scores is not None  # a generator of kind separate
    surprise = losses.token_loss_and_samples(
        *generated.scores, sampled
    ).loss  # -log p(sample)
    surprise = tf.reshape(surprise, tf.shape(weights))
    # Minimising -log p(sample) * advantage makes good samples likelier.
    policy = surprise * advantage
    # exp(-reward): the probability that the discriminator gave to the truth.
    fit = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.exp(-reward), logits=logits
    )
    return [Term(factor, policy, weights), Term(factor, fit, weights)]
