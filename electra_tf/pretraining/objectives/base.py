"""Defines the interface of a pre-training objective.

A step of the pre-trainer goes through an objective's methods in this order:
`draws`, `corrupt`, `judge`, `factors`, `terms`; then `measure` and `update`.
See docs/objectives.md for one of your own.
"""

import difflib
import importlib
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.models import flops, networks, randomness
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining import losses, masking, packing
from electra_tf.pretraining.generators import base as generators
from electra_tf.pretraining.losses import JointMean, Term, TokenLoss
from electra_tf.pretraining.masking import (
    CorruptedBatch,
    MaskedBatch,
    SpecialIds,
)
from electra_tf.pretraining.settings import (
    OBJECTIVES,
    MaskingConfig,
    ObjectiveConfig,
)

Factor: TypeAlias = float | tf.Tensor

_SAMPLE = 1002  # the purpose of the keys for sampling; see the pre-trainer


class Judged(NamedTuple):
    """Holds the discriminator's predictions at some positions, and their loss.

    The positions are all of a row, [B, L], or the masked ones, [B, N].
    """

    loss: tf.Tensor  # float32, nats
    weights: tf.Tensor  # float32, 1 where the loss counts
    labels: tf.Tensor  # int32
    predictions: tf.Tensor | None = None  # int32
    logits: tf.Tensor | None = None  # float32; above 0: replaced


class Reading(NamedTuple):
    """Holds the discriminator's input and output, and what came before."""

    discriminator: Any  # a `networks.Discriminator` with the objective's heads
    output: networks.DiscriminatorOutput  # its output
    masked: MaskedBatch
    corrupted: CorruptedBatch  # its input
    generated: generators.Generated
    training: bool  # whether gradients are computed


class PretrainOutput(NamedTuple):
    """Holds all that a forward pass computes; None for what an objective
    lacks.
    """

    loss: tf.Tensor  # scalar; over replicas these sum to the batch's loss
    masked: MaskedBatch
    token: TokenLoss  # of the generator, each [B, N]
    cloze: generators.Cloze | None  # of a two-tower generator
    corrupted: CorruptedBatch | None  # the discriminator's input
    judged: Judged | None  # its predictions
    generator: Any  # the output of the generator's encoder, or of its towers
    discriminator: networks.EncoderOutput | None
    terms: tuple[Term, ...] = ()  # of the loss


class Objective:
    """Defines what a pre-training run trains.

    This class itself is joint training: the generator predicts masked tokens
    and is trained on them, the discriminator reads its samples and is trained
    on the loss of `judge`. Subclasses define the discriminator's task.

    Args:
      config: its settings; the defaults where None.

    Attributes:
      heads: the heads on the discriminator's encoder.
      discriminates: whether a second network reads the generator's samples.
    """

    heads: ClassVar[tuple[networks.DiscriminatorHead, ...]] = (
        "replaced_token",
    )
    discriminates: ClassVar[bool] = True

    def __init__(self, config: ObjectiveConfig | None = None):
        self.config = config or ObjectiveConfig()

    # --- before a run ------------------------------------------------------

    def set_up(
        self,
        model: ModelConfig,
        generator: GeneratorConfig,
        masking_config: MaskingConfig,
        special: SpecialIds,
    ) -> None:
        """Receives the run's other settings; the pre-trainer calls it first.

        Args:
          model: the discriminator's shape.
          generator: the kind of generator.
          masking_config: how much is masked, and how.
          special: ids that are never masked.

        Raises:
          UserError: settings contradict each other.
        """
        self.model, self.masking_config = model, masking_config
        self.generator = self.generator_kind(generator, special)
        self.check()

    def generator_kind(
        self, config: GeneratorConfig, special: SpecialIds | None = None
    ) -> generators.GeneratorKind:
        """Returns the kind of generator that the settings name."""
        return generators.make(config, special)

    def check(self) -> None:
        """Raises an error if settings contradict each other.

        Raises:
          UserError: settings contradict each other; it names the keys and what
            to do.
        """
        self.generator.check()
        for key in ("adversarial", "two_stage_steps"):
            if getattr(self.config, key):
                raise UserError(
                    f"objective.{key}, objective.kind: is for electra and "
                    f"electra_15, not for {self.config.kind}"
                )

    def make_layers(self) -> list[keras.layers.Layer]:
        """Returns layers beside the networks, which only training needs."""
        return []

    def build(self, generator: Any, discriminator: Any) -> None:
        """Builds those layers; called when both networks are built."""

    # --- a step ------------------------------------------------------------

    def draws(
        self, masked: MaskedBatch, keys: tf.Tensor, step: tf.Tensor | None
    ) -> generators.Draws:
        """Returns how the generator samples.

        Args:
          masked: the masked batch.
          keys: uint32, of the examples: [B], or [B, E] for several a row.
          step: updates done, in training; else None.
        """
        config = self.config
        temperature: Factor = config.temperature
        if config.temperature_start is not None and step is not None:
            temperature = losses.temperature_at(
                step,
                config.temperature_start,
                temperature,
                config.temperature_decay_steps,
            )
        if masked.packed is None:
            count = tf.shape(masked.masked_lm_positions)[1]
        else:  # the most predictions of one of the row's examples
            count = self.masking_config.slots(masked.input_ids.shape[1])
        return generators.Draws(
            packing.uniform(
                randomness.salted(keys, _SAMPLE), count, masked.packed
            ),
            temperature,
            config.disallow_correct,
        )

    def corrupt(
        self, masked: MaskedBatch, sampled_ids: tf.Tensor
    ) -> CorruptedBatch:
        """Returns what the discriminator reads, and which tokens are replaced
        there.

        Args:
          masked: the masked batch.
          sampled_ids: [B, N] int32, the generator's.
        """
        return masking.corrupt(masked, sampled_ids)

    def judge(self, reading: Reading) -> Judged:
        """Returns the discriminator's predictions for the batch, and their
        loss.
        """
        raise NotImplementedError

    def weights(self, masked: MaskedBatch) -> tf.Tensor:
        """Returns the weights of the loss of `judge`, float32:

        1 for real tokens.
        """
        return tf.cast(masked.input_mask, tf.float32)

    def factors(self, step: tf.Tensor | None) -> tuple[Factor, Factor]:
        """Returns the factors of the generator's and the discriminator's
        losses.

        Args:
          step: updates done, in training; else None.
        """
        return self.config.gen_weight, self.config.disc_weight

    def terms(
        self,
        masked: MaskedBatch,
        generated: generators.Generated,
        judged: Judged | None,
        factors: tuple[Factor, Factor],
    ) -> list[Term]:
        """Returns the parts of the joint loss, the generator's first.

        Args:
          masked: the masked batch.
          generated: what the generator computed.
          judged: what the discriminator said.
          factors: from `factors`.
        """
        terms = []
        if not self.generator.config.frozen:
            # If it is left out, its backward pass is never computed.
            terms.append(Term(factors[0], generated.loss, generated.weights))
        if judged is not None:
            terms.append(Term(factors[1], judged.loss, judged.weights))
        return terms

    def term_weights(self, masked: MaskedBatch) -> list[tf.Tensor]:
        """Returns the weights of `terms`, which depend on no network."""
        weights = []
        if not self.generator.config.frozen:
            weights.append(self.generator.weights(masked))
        if self.discriminates:
            weights.append(self.weights(masked))
        return weights

    def update(
        self, step: Callable[[], tf.Tensor], apply: Callable[[], None]
    ) -> None:
        """Applies the optimizer's update, and whatever else changes weights.

        Args:
          step: gives the updates done.
          apply: does one.
        """
        apply()

    # --- metrics -----------------------------------------------------------

    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns the running metrics, in the order of display, "loss" first.

        `mlm_*`: the generator at the masked positions. `sampled_accuracy`:
        how often a sample is the original token. `cloze_*`: a two-tower
        generator at every token.
        """
        names = ["mlm_loss", "mlm_accuracy"]
        if self.discriminates:
            names.append("sampled_accuracy")
        if not self.generator.reads_masked:
            names += ["cloze_loss", "cloze_accuracy"]
        means = [keras.metrics.Mean(name=name) for name in names]
        return [JointMean("loss"), *means]

    def measure(self, output: PretrainOutput) -> dict[str, tuple]:
        """Returns what a step adds to each of `metrics` but the loss, by name.

        Args:
          output: of the step.

        Returns:
          Arguments of the metric's `update_state`: of a mean, values and
          weights.
        """
        masked, token, cloze = output.masked, output.token, output.cloze
        weights, ids = masked.masked_lm_weights, masked.masked_lm_ids
        found = {
            "mlm_loss": (token.loss, weights),
            "mlm_accuracy": (equal(token.predictions, ids), weights),
        }
        if self.discriminates:
            found["sampled_accuracy"] = (equal(token.sampled_ids, ids), weights)
        if cloze is not None:
            right = equal(cloze.token.predictions, masked.input_ids)
            found["cloze_loss"] = (cloze.token.loss, cloze.weights)
            found["cloze_accuracy"] = (right, cloze.weights)
        return found

    # --- costs -------------------------------------------------------------

    def head_costs(
        self, model: ModelConfig, seq_length: int, predictions: float
    ) -> flops.Head:
        """Returns the cost of the heads on the discriminator's encoder.

        Args:
          model: the discriminator's shape.
          seq_length: tokens a sequence.
          predictions: masked tokens a sequence.
        """
        return flops.replaced_token_head(model, seq_length)

    def costs(
        self,
        model: ModelConfig,
        generator: GeneratorConfig,
        *,
        seq_length: int,
        predictions: float,
        batch_size: float,
        num_train_steps: int,
    ) -> flops.Costs:
        """Returns the costs of a run, in the paper's accounting.

        Args:
          model: the discriminator's shape.
          generator: the kind of generator.
          seq_length: tokens a sequence.
          predictions: masked tokens a sequence.
          batch_size: sequences a step.
          num_train_steps: steps.
        """
        return flops.pretraining_costs(
            model,
            generator if self.discriminates else None,
            self.head_costs(model, seq_length, predictions),
            seq_length=seq_length,
            predictions=predictions,
            batch_size=batch_size,
            num_train_steps=num_train_steps,
            two_stage_steps=self.config.two_stage_steps,
        )


def equal(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Returns 1 where two tensors agree, else 0: float32."""
    return tf.cast(tf.equal(a, b), tf.float32)


def objective_class(kind: str) -> type[Objective]:
    """Returns the class of an objective.

    Args:
      kind: a name, or "FILE.py:CLASS" for an objective of your own in a
        Python file.

    Raises:
      UserError: no such objective; the message has the nearest name.
    """
    path, colon, attribute = kind.rpartition(":")
    if colon and path.endswith(".py"):
        return files.class_of_file(path, attribute, Objective, "objective")
    if kind not in OBJECTIVES:
        close = difflib.get_close_matches(kind, OBJECTIVES, n=1)
        hint = f"did you mean '{close[0]}'?" if close else (
            f"known: {', '.join(OBJECTIVES)}; or FILE.py:CLASS"
        )  # fmt: skip
        raise UserError(f"objective '{kind}' is not known; {hint}")
    module, _, attribute = OBJECTIVES[kind].partition(":")
    package = __name__.rpartition(".")[0]
    return getattr(importlib.import_module(f"{package}.{module}"), attribute)


def is_named(objective: Objective) -> bool:
    """Returns whether the objective's settings name its class.

    Args:
      objective: an objective; a file of your own is executed at each look, and
        makes a new class of the same name.
    """
    own, kind = type(objective), objective.config.kind
    found = objective_class(kind)
    if kind in OBJECTIVES:
        return found is own
    return found.__qualname__ == own.__qualname__


def make(config: ObjectiveConfig | Objective) -> Objective:
    """Returns the objective that the settings name; one that is made already
    stays.

    Raises:
      UserError: no such objective.
    """
    if isinstance(config, Objective):
        return config
    return objective_class(config.kind)(config)
