"""ElectraPretrainer: generator and discriminator trained together."""

from typing import NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import layers, networks, randomness
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining import masking, objectives
from electra_tf.pretraining.masking import MaskingConfig, SpecialIds
from electra_tf.pretraining.objectives import ObjectiveConfig

Batch = dict[str, tf.Tensor]

# Held-out masks do not depend on the run's seed, so that runs compare.
_EVALUATION_SEED = 20200423
# What the keys of an example are used for.
_MASK, _SAMPLE, _GENERATOR, _DISCRIMINATOR = 1001, 1002, 1003, 1004


class PretrainOutput(NamedTuple):
    """Everything one forward pass computes."""

    loss: tf.Tensor  # scalar; over replicas these sum to the batch's loss
    masked: masking.MaskedBatch
    token: objectives.TokenLoss  # each [B, N]
    corrupted: masking.CorruptedBatch
    disc_logits: tf.Tensor  # [B, L] float32
    disc_per_token_loss: tf.Tensor  # [B, L] float32
    generator: networks.encoders.EncoderOutput
    discriminator: networks.encoders.EncoderOutput


class ElectraPretrainer(keras.Model):
    """Trains both networks on `gen_weight * MLM + disc_weight * RTD`.

    Works in `compile(optimizer)` and `fit(dataset)`, in a loop of one's own
    over `train_step`, and under `tf.distribute`. Batches are dicts of
    input_ids, input_mask, segment_ids, each [B, L] int32, and optionally
    example_id [B] int64: the example's position in the whole stream, which
    all masks, samples and dropout are keyed by. Without it they are keyed by
    the row and, in training, the optimizer's step.

    Args:
      model: the discriminator's shape.
      generator: the generator's size relative to it.
      masking_config: masking rates.
      objective: loss weights and sampling temperature.
      special: ids of [CLS], [SEP] and [MASK].
      seed: of masks, samples and dropout.
    """

    def __init__(
        self,
        model: ModelConfig,
        generator: GeneratorConfig,
        masking_config: MaskingConfig,
        objective: ObjectiveConfig,
        special: SpecialIds,
        seed: int = 0,
        name: str = "electra",
    ):
        super().__init__(name=name)
        self.masking_config = masking_config
        self.objective = objective
        self.special = special
        self.seed = seed
        self.embeddings = layers.Embeddings(model)
        self.generator = networks.Generator(
            model.generator(
                generator.hidden_fraction, generator.layers_fraction
            ),
            self.embeddings,
        )
        self.discriminator = networks.Discriminator(model, self.embeddings)
        self._create_metrics()
        self.build()

    def build(self, input_shape: object = None) -> None:
        """Creates all variables."""
        self.embeddings.build()
        self.generator.build()
        self.discriminator.build()
        self.built = True

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
        self, batch: Batch, training: bool = False, seed: int | None = None
    ) -> PretrainOutput:
        """Masks, generates, corrupts, discriminates.

        Args:
          batch: as the class says.
          training: whether dropout is on.
          seed: what draws are keyed by beside example_id; the run's if None.
        """
        keys = randomness.example_keys(
            self._example_ids(batch, training),
            self.seed if seed is None else seed,
        )
        masked = masking.mask(
            batch,
            self.masking_config,
            self.special,
            randomness.salted(keys, _MASK),
        )
        return self.forward_masked(masked, keys, training)

    def forward_masked(
        self, masked: masking.MaskedBatch, keys: tf.Tensor, training: bool
    ) -> PretrainOutput:
        """The part after masking; arguments as `call`, keys [B] uint32."""
        hidden, generator_output = self.generator.hidden_at(
            masked.masked_input_ids,
            masked.input_mask,
            masked.segment_ids,
            masked.masked_lm_positions,
            training,
            randomness.salted(keys, _GENERATOR),
        )
        slots = tf.shape(masked.masked_lm_positions)
        uniform = randomness.uniform(randomness.salted(keys, _SAMPLE), slots[1])
        head = self.generator.head
        token = objectives.token_loss_and_samples(
            head.scores(hidden, training),
            tf.convert_to_tensor(head.output_bias),
            tf.reshape(masked.masked_lm_ids, [-1]),
            tf.reshape(uniform, [-1]),
            self.objective.temperature,
        )
        token = objectives.TokenLoss(*(tf.reshape(t, slots) for t in token))
        corrupted = masking.corrupt(masked, token.sampled_ids)
        disc_logits, discriminator_output = self.discriminator(
            corrupted.fake_input_ids,
            masked.input_mask,
            masked.segment_ids,
            training=training,
            keys=randomness.salted(keys, _DISCRIMINATOR),
        )
        disc_loss = objectives.replaced_token_loss(
            disc_logits, corrupted.fake_labels
        )
        return PretrainOutput(
            self._total_loss(masked, token, disc_loss),
            masked,
            token,
            corrupted,
            disc_logits,
            disc_loss,
            generator_output,
            discriminator_output,
        )

    def _total_loss(
        self,
        masked: masking.MaskedBatch,
        token: objectives.TokenLoss,
        disc_loss: tf.Tensor,
    ) -> tf.Tensor:
        real = tf.cast(masked.input_mask, tf.float32)
        weights = masked.masked_lm_weights
        totals = tf.stack([tf.reduce_sum(weights), tf.reduce_sum(real)])
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:
            totals = replica.all_reduce(tf.distribute.ReduceOp.SUM, totals)
        mlm = objectives.weighted_mean(token.loss, weights, totals[0])
        disc = objectives.weighted_mean(disc_loss, real, totals[1])
        return (
            self.objective.gen_weight * mlm + self.objective.disc_weight * disc
        )

    def _example_ids(self, batch: Batch, training: bool) -> tf.Tensor:
        if "example_id" in batch:
            return batch["example_id"]
        rows = tf.shape(batch["input_ids"], out_type=tf.int64)[0]
        step = tf.constant(0, tf.int64)
        if training and self.optimizer is not None:
            step = tf.cast(self.optimizer.iterations, tf.int64)
        replica = tf.distribute.get_replica_context()
        replicas, index = 1, 0
        if replica is not None and replica.num_replicas_in_sync > 1:
            replicas = replica.num_replicas_in_sync
            index = tf.cast(replica.replica_id_in_sync_group, tf.int64)
        return (step * replicas + index) * rows + tf.range(rows)

    # --- steps -------------------------------------------------------------

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """One update; returns the running metrics since their reset."""
        with tf.GradientTape() as tape:
            output = self(batch, training=True)
            loss = self.optimizer.scale_loss(output.loss)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables))
        return self._update_metrics(output)

    def test_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Held-out metrics: no dropout, the same masks at every call."""
        output = self(batch, training=False, seed=_EVALUATION_SEED)
        return self._update_metrics(output)

    # --- metrics -----------------------------------------------------------

    def _create_metrics(self) -> None:
        mean = keras.metrics.Mean
        self.loss_metric = mean(name="loss")
        self.mlm_loss = mean(name="mlm_loss")
        self.mlm_accuracy = mean(name="mlm_accuracy")
        self.sampled_accuracy = mean(name="sampled_accuracy")
        self.disc_loss = mean(name="disc_loss")
        self.disc_accuracy = mean(name="disc_accuracy")
        # Means with the right weights: of the tokens called replaced, the
        # share that is; of the replaced tokens, the share called so.
        self.disc_precision = mean(name="disc_precision")
        self.disc_recall = mean(name="disc_recall")
        # What "always original" gets wrong: the baseline of disc_accuracy.
        self.replaced_share = mean(name="replaced_share")
        self.disc_auc = keras.metrics.AUC(num_thresholds=1000, name="disc_auc")

    def _update_metrics(self, output: PretrainOutput) -> dict[str, tf.Tensor]:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self.loss_metric.update_state(output.loss * replicas)

        masked, token = output.masked, output.token
        weights = masked.masked_lm_weights

        def hit(ids: tf.Tensor) -> tf.Tensor:
            return tf.cast(tf.equal(ids, masked.masked_lm_ids), tf.float32)

        self.mlm_loss.update_state(token.loss, weights)
        self.mlm_accuracy.update_state(hit(token.predictions), weights)
        self.sampled_accuracy.update_state(hit(token.sampled_ids), weights)

        real = tf.cast(masked.input_mask, tf.float32)
        fake = tf.cast(output.corrupted.fake_labels, tf.float32)
        called = tf.cast(output.disc_logits > 0, tf.float32)
        right = tf.cast(tf.equal(called, fake), tf.float32)
        self.disc_loss.update_state(output.disc_per_token_loss, real)
        self.disc_accuracy.update_state(right, real)
        self.disc_precision.update_state(fake, called * real)
        self.disc_recall.update_state(called, fake * real)
        self.replaced_share.update_state(fake, real)
        self.disc_auc.update_state(
            tf.reshape(fake, [-1]),
            tf.reshape(tf.sigmoid(output.disc_logits), [-1]),
            sample_weight=tf.reshape(real, [-1]),
        )
        return self.get_metrics_result()
