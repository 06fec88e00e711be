"""ElectraPretrainer: generator and discriminator trained together."""

from typing import NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import embeddings, layers, networks, randomness
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining import (
    accumulation,
    adversarial,
    assembly,
    combinations,
    discrimination,
    generation,
    masking,
    objectives,
    packing,
    two_stage,
)
from electra_tf.pretraining.masking import MaskingConfig, SpecialIds
from electra_tf.pretraining.metrics import PretrainMetrics
from electra_tf.pretraining.settings import ObjectiveConfig

Batch = dict[str, tf.Tensor]

# Held-out masks do not depend on the run's seed, so that runs compare.
_EVALUATION_SEED = 20200423
# What the keys of an example are used for.
_MASK, _SAMPLE, _GENERATOR, _DISCRIMINATOR = 1001, 1002, 1003, 1004


class PretrainOutput(NamedTuple):
    """Everything one forward pass computes; None where there is no such."""

    loss: tf.Tensor  # scalar; over replicas these sum to the batch's loss
    masked: masking.MaskedBatch
    token: objectives.TokenLoss  # each [B, N]
    cloze: generation.Cloze | None  # of a two-tower generator
    corrupted: masking.CorruptedBatch | None
    detected: discrimination.Detected | None  # which tokens were replaced
    restored: discrimination.Restored | None  # what they were
    generator: tuple | None  # what its encoder, or towers, computed
    discriminator: networks.EncoderOutput | None


class ElectraPretrainer(keras.Model):
    """Trains both networks on `gen_weight * MLM + disc_weight * RTD`.

    `objective.kind` and the generator's kind change what the two losses are;
    a masked LM has the first alone. All of it are settings: see
    `ObjectiveConfig` and `GeneratorConfig`.

    Works in `compile(optimizer)` and `fit(dataset)`, in a loop of one's own
    over `train_step`, and under `tf.distribute`. Batches are dicts of
    input_ids, input_mask, segment_ids, each [B, L] int32, and optionally
    example_id [B] int64: the example's position in the whole stream, which
    all masks, samples and dropout are keyed by. Without it they are keyed by
    the row and, in training, the optimizer's step. A row of several examples
    has sequence_ids [B, L] too, and an example_id for each, [B, E]: see
    `packing.mask`. They are learned from as if each had a row of its own.

    Args:
      model: the discriminator's shape.
      generator: the generator's kind, and its size relative to it.
      masking_config: masking rates.
      objective: what is trained, loss weights and sampling.
      special: ids of [CLS], [SEP] and [MASK].
      seed: of masks, samples and dropout.
      gradient_accumulation: into how many parts a replica cuts its share of
        the batch, to go through them in turn and need less memory. The update
        is that of the whole.

    Raises:
      UserError: settings that do not go together.
    """

    def __init__(
        self,
        model: ModelConfig,
        generator: GeneratorConfig,
        masking_config: MaskingConfig,
        objective: ObjectiveConfig,
        special: SpecialIds,
        seed: int = 0,
        gradient_accumulation: int = 1,
        name: str = "electra",
    ):
        super().__init__(name=name)
        combinations.check(model, generator, masking_config, objective)
        self.generator_config = generator
        self.masking_config = masking_config
        self.objective = objective
        self.special = special
        self.seed = seed
        self.gradient_accumulation = gradient_accumulation
        self.embeddings, self.generator, self.discriminator = assembly.assemble(
            model, generator, objective
        )
        self.baseline = None
        if objective.adversarial:
            self.baseline = layers.Dense(
                1, keras.initializers.Zeros(), name="baseline"
            )
        self._figures = PretrainMetrics(
            objective, cloze=not self.generator.reads_masked
        )
        self._figure_list = self._figures.all  # Keras resets and returns these
        self.build()
        self.generator.trainable = not generator.frozen
        self._stages = None
        if objective.two_stage_steps:
            self._stages = two_stage.Stages(
                self.generator, self.discriminator, objective.two_stage_steps
            )

    def build(self, input_shape: object = None) -> None:
        """Creates all variables."""
        self.embeddings.build()
        if self.generator_shares_encoder:
            self.discriminator.build()
        self.generator.build()
        if not self.discriminator.built:
            self.discriminator.build()
        if self.baseline is not None:
            hidden_size = self.generator.config.hidden_size
            self.baseline.build((None, None, hidden_size))
        self.built = True

    @property
    def generator_shares_encoder(self) -> bool:
        """Whether the generator runs in the discriminator's encoder."""
        encoder = getattr(self.generator, "encoder", None)
        return encoder is self.discriminator.encoder

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        jit_compile: bool = False,
        **options: bool | int,
    ) -> None:
        """As `keras.Model.compile`, without losses: they are the model's.

        Args:
          optimizer: an optimizer or the name of one; AdamW at a constant
            rate if None. `training.optimizer.make_optimizer` is ELECTRA's.
          jit_compile: whether XLA compiles the whole step. Off unless asked
            for: on a CPU that is about ten times slower.
          **options: run_eagerly, steps_per_execution, auto_scale_loss.
        """
        if optimizer is None:
            optimizer = keras.optimizers.AdamW(
                5e-4, weight_decay=0.01, global_clipnorm=1.0
            )
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **options)
        # Slots created inside a traced step would make it trace twice.
        self.optimizer.build(self.trainable_variables)

    # --- the forward pass --------------------------------------------------

    def call(
        self,
        batch: Batch,
        training: bool = False,
        seed: int | None = None,
        totals: tf.Tensor | None = None,
    ) -> PretrainOutput:
        """Masks, generates, corrupts, discriminates.

        Args:
          batch: as the class says.
          training: whether dropout is on.
          seed: what draws are keyed by beside example_id; the run's if None.
          totals: see `objectives.joint_loss`.
        """
        masked, keys = self._mask(batch, training, seed)
        return self.forward_masked(masked, keys, training, totals=totals)

    def _mask(
        self, batch: Batch, training: bool, seed: int | None = None
    ) -> tuple[masking.MaskedBatch, tf.Tensor]:
        """The masked batch, and the keys of its examples, as example_id."""
        keys = randomness.example_keys(
            self._example_ids(batch, training),
            self.seed if seed is None else seed,
        )
        choose = packing.mask if "sequence_ids" in batch else masking.mask
        masked = choose(
            batch,
            self.masking_config,
            self.special,
            randomness.salted(keys, _MASK),
        )
        return masked, keys

    def forward_masked(
        self,
        masked: masking.MaskedBatch,
        keys: tf.Tensor,
        training: bool,
        sampled_ids: tf.Tensor | None = None,
        corrupted: masking.CorruptedBatch | None = None,
        totals: tf.Tensor | None = None,
    ) -> PretrainOutput:
        """The part after masking; what it would draw can be given.

        Args:
          masked: the masked batch.
          keys: uint32, decide samples and dropout: [B], or [B, E] for several
            examples a row. Then the first one's decides over dropout.
          training: whether dropout is on.
          sampled_ids: [B, N] int32, in place of samples from the generator.
          corrupted: what the discriminator reads, in place of the batch with
            the samples in.
          totals: see `objectives.joint_loss`.
        """
        draws = generation.Draws(None)
        if self.objective.kind != "mlm" and sampled_ids is None:
            draws = generation.draws(
                self.objective,
                masked,
                randomness.salted(keys, _SAMPLE),
                self.masking_config.slots(masked.input_ids.shape[1]),
                self._step() if training else None,
            )
        if masked.packed is not None:
            keys = keys[:, 0]
        generated = generation.generate(
            self.generator,
            masked,
            self.special,
            draws,
            training,
            randomness.salted(keys, _GENERATOR),
        )
        if sampled_ids is not None:
            generated = generated._replace(
                token=generated.token._replace(sampled_ids=sampled_ids)
            )
        corrupted, detected, restored, discriminator_output = (
            self._discriminate(masked, generated, corrupted, keys, training)
        )
        terms = self._terms(masked, generated, detected, restored, training)
        return PretrainOutput(
            objectives.joint_loss(terms, totals),
            masked,
            generated.token,
            generated.cloze,
            corrupted,
            detected,
            restored,
            generated.encoder,
            discriminator_output,
        )

    def _discriminate(
        self,
        masked: masking.MaskedBatch,
        generated: generation.Generated,
        corrupted: masking.CorruptedBatch | None,
        keys: tf.Tensor,
        training: bool,
    ) -> tuple:
        """corrupted, detected, restored and encoder of a `PretrainOutput`."""
        kind = self.objective.kind
        if kind == "mlm":
            return None, None, None, None
        if corrupted is None:
            corrupted = discrimination.corrupt(
                kind, masked, generated.token.sampled_ids
            )
        logits, output = self.discriminator(
            networks.Rows(
                corrupted.fake_input_ids,
                masked.input_mask,
                masked.segment_ids,
                randomness.salted(keys, _DISCRIMINATOR),
                masked.sequence_ids,
            ),
            training=training,
        )
        if kind in discrimination.RESTORED_TOKEN:
            restored = discrimination.restore(
                self.discriminator,
                output.sequence_output,
                masked,
                corrupted,
                training,
            )
            return corrupted, None, restored, output
        if kind == "electric":
            logits += discrimination.noise_logit(
                generated.cloze,
                corrupted.fake_input_ids,
                self.masking_config.mask_prob,
            )
        detected = discrimination.detect(kind, logits, masked, corrupted)
        return corrupted, detected, None, output

    def _terms(
        self,
        masked: masking.MaskedBatch,
        generated: generation.Generated,
        detected: discrimination.Detected | None,
        restored: discrimination.Restored | None,
        training: bool,
    ) -> list[objectives.Term]:
        """The parts of the joint loss, the generator's first."""
        gen_weight = self.objective.gen_weight
        disc_weight = self.objective.disc_weight
        if self._stages is not None and training:
            first, second = two_stage.factors(
                self._step(), self.objective.two_stage_steps
            )
            gen_weight, disc_weight = gen_weight * first, disc_weight * second
        terms = []
        if self.baseline is not None:
            terms += adversarial.terms(
                gen_weight, generated, masked, detected.loss, self.baseline
            )
        elif not self.generator_config.frozen:
            # Left out, its backward pass is never computed.
            terms.append(
                generation.likelihood_term(gen_weight, masked, generated)
            )
        for judged in (detected, restored):
            if judged is not None:
                terms.append(
                    objectives.Term(disc_weight, judged.loss, judged.weights)
                )
        return terms

    def _total_weights(self, batch: Batch) -> tf.Tensor:
        """Of `_terms`, of the whole batch; no network decides over them."""
        masked, _ = self._mask(batch, training=True)
        found = [masked.masked_lm_weights]
        if self.baseline is not None:
            found *= 2
        elif self.generator_config.frozen:
            found = []
        elif not self.generator.reads_masked:
            found = [generation.candidates(masked, self.special)]
        if self.objective.kind != "mlm":
            kind = self.objective.kind
            found.append(discrimination.weights_of(kind, masked))
        return objectives.total_weights(found)

    def _step(self) -> tf.Tensor:
        """Updates done, int64; 0 where there is no optimizer."""
        if self.optimizer is None:
            return tf.constant(0, tf.int64)
        return tf.cast(self.optimizer.iterations, tf.int64)

    def _example_ids(self, batch: Batch, training: bool) -> tf.Tensor:
        if "example_id" in batch:
            return batch["example_id"]
        rows = tf.shape(batch["input_ids"], out_type=tf.int64)[0]
        step = self._step() if training else tf.constant(0, tf.int64)
        replica = tf.distribute.get_replica_context()
        replicas, index = 1, 0
        if replica is not None and replica.num_replicas_in_sync > 1:
            replicas = replica.num_replicas_in_sync
            index = tf.cast(replica.replica_id_in_sync_group, tf.int64)
        return (step * replicas + index) * rows + tf.range(rows)

    # --- steps -------------------------------------------------------------

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """One update; returns the running metrics since their reset."""
        variables = self.trainable_variables
        if self.gradient_accumulation == 1:
            gradients = self._gradients(batch)
        else:
            # Keyed by the row, where they have no number, before it is cut.
            batch = batch | {"example_id": self._example_ids(batch, True)}
            totals = self._total_weights(batch)
            gradients = accumulation.gradients(
                batch,
                self.gradient_accumulation,
                lambda part: self._gradients(part, totals),
                variables,
            )
        if self._stages is None:
            self.optimizer.apply_gradients(zip(gradients, variables))
        else:
            step, before = tf.identity(self._step()), self._stages.values()
            self.optimizer.apply_gradients(zip(gradients, variables))
            self._stages.settle(step, before)
        return self.get_metrics_result()

    def _gradients(
        self, batch: Batch, totals: tf.Tensor | None = None
    ) -> list[tf.Tensor | None]:
        """Of a batch, or of a part where there are `totals`; adds metrics."""
        table = self.embeddings.word_embeddings
        with tf.GradientTape() as tape:
            with embeddings.read_together(table):
                output = self(batch, training=True, totals=totals)
            loss = self.optimizer.scale_loss(output.loss)
        gradients = tape.gradient(loss, self.trainable_variables)
        parts = 1 if totals is None else self.gradient_accumulation
        self._figures.update(output, parts)
        return gradients

    def test_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Held-out metrics: no dropout, the same masks at every call."""
        output = self(batch, training=False, seed=_EVALUATION_SEED)
        return self._update_metrics(output)

    def _update_metrics(self, output: PretrainOutput) -> dict[str, tf.Tensor]:
        self._figures.update(output)
        return self.get_metrics_result()
