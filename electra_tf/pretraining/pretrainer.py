"""Defines ElectraPretrainer, which trains generator and discriminator."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import networks, products, randomness
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.models.embeddings import (
    DisentangledEmbeddings,
    Embeddings,
    read_together,
)
from electra_tf.models.encoder import ElectraEncoder
from electra_tf.models.fitting import Fits
from electra_tf.models.gradients import apply
from electra_tf.models.saved import Saved, made, plain
from electra_tf.pretraining import losses, packing
from electra_tf.pretraining.generators.base import Draws
from electra_tf.pretraining.masking import (
    CorruptedBatch,
    MaskedBatch,
    SpecialIds,
)
from electra_tf.pretraining.objectives import base as objectives
from electra_tf.pretraining.objectives.base import (
    Objective,
    PretrainOutput,
    Reading,
)
from electra_tf.pretraining.settings import MaskingConfig, ObjectiveConfig
from electra_tf.registration import registered

Batch = Mapping[str, tf.Tensor]

# Held-out masks do not depend on the run's seed, so that runs compare.
_EVALUATION_SEED = 20200423
# The purposes that an example's keys are used for.
_MASK, _GENERATOR, _DISCRIMINATOR = 1001, 1003, 1004  # 1002: `draws`
_PARTS = ("input_ids", "input_mask", "segment_ids")


@registered
class ElectraPretrainer(Saved, Fits, keras.Model):
    """Trains both networks on `gen_weight * MLM + disc_weight * RTD`.

    The objective defines the losses, one or two; the generator's settings
    define what predicts the masked tokens.

    It works with `compile(optimizer)` and `fit(dataset)`, in a loop of your own
    over `train_step`, and under `tf.distribute`. Batches are dicts of
    input_ids, input_mask, segment_ids, each [B, L] int32, and optionally
    example_id [B] int64: the example's position in the whole stream, which all
    masks, samples and dropout are keyed by. Without it they are keyed by the
    row and, in training, the optimizer's step. A row of several examples has
    sequence_ids [B, L] too, and an example_id for each, [B, E]: see
    `packing.mask`. Each is trained on as if it had a row of its own.

    Args:
      model: the discriminator's shape.
      generator: the generator's kind, and its size relative to it.
      masking_config: how much is masked, and how.
      objective: what is trained, loss weights and sampling: settings, or an
        `Objective` of your own.
      special: ids of [CLS], [SEP] and [MASK].
      seed: of masks, samples and dropout.
      gradient_accumulation: the number of parts into which a replica cuts its
        share of the batch, to compute one after the other in less memory. The
        update is that of the whole.

    Attributes:
      bfloat16_products: whether training steps compute their large products
        in bfloat16, see `models.products`.

    Raises:
      UserError: settings contradict each other.
    """

    _arguments = ()

    def __init__(
        self,
        model: ModelConfig,
        generator: GeneratorConfig,
        masking_config: MaskingConfig,
        objective: ObjectiveConfig | Objective,
        special: SpecialIds,
        seed: int = 0,
        gradient_accumulation: int = 1,
        name: str = "electra",
    ):
        super().__init__(name=name)
        self.generator_config = generator
        self.masking_config = masking_config
        self.objective = objectives.make(objective)
        self.objective.set_up(model, generator, masking_config, special)
        self.special = special
        self.seed = seed
        self.gradient_accumulation = gradient_accumulation
        self.bfloat16_products = False
        # The generator's tables, which the discriminator shares or follows.
        self.embeddings = tables = Embeddings(model)
        if generator.embeddings == "disentangled":
            tables = DisentangledEmbeddings(model, self.embeddings)
        self.generator, self.discriminator = self.objective.generator.networks(
            model,
            self.embeddings,
            lambda: networks.Discriminator(
                model, tables, with_heads=self.objective.heads
            ),
        )
        # Only training needs them.
        self.objective_layers = self.objective.make_layers()
        self._own_metrics = self.objective.metrics()
        self.build()
        self.generator.trainable = not generator.frozen

    def build(self, input_shape: object = None) -> None:
        """Creates all variables."""
        self.embeddings.build()
        if self.generator_shares_encoder:
            self.discriminator.build()
        self.generator.build()
        if not self.discriminator.built:
            self.discriminator.build()
        self.objective.build(self.generator, self.discriminator)
        self.built = True

    @property
    def generator_shares_encoder(self) -> bool:
        """Whether the generator runs in the discriminator's encoder."""
        encoder = getattr(self.generator, "encoder", None)
        return encoder is self.discriminator.encoder

    @property
    def encoders(self) -> list[ElectraEncoder]:
        """Returns the encoders, or towers, of both networks."""
        return [
            getattr(network, name)
            for network in (self.generator, self.discriminator)
            for name in ("encoder", "ltr", "rtl")
            if hasattr(network, name)
        ]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns the objective's running metrics, the loss first."""
        return list(self._own_metrics)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the same pre-trainer, without
        weights.

        Raises:
          ValueError: its objective is an object that no setting names.
        """
        objective = self.objective
        if not objectives.is_named(objective):
            raise ValueError(
                f"{type(objective).__name__}: an objective is saved by its "
                "settings; name its class there, as objective.kind: "
                "FILE.py:CLASS (docs/objectives.md)"
            )
        encoder = self.discriminator.encoder
        return {
            **super().get_config(),
            "model": plain(self.discriminator.config),
            "generator": plain(self.generator_config),
            "masking_config": plain(self.masking_config),
            "objective": plain(objective.config),
            "special": dataclasses.asdict(self.special),
            "seed": self.seed,
            "gradient_accumulation": self.gradient_accumulation,
            "encoders": {n: getattr(encoder, n) for n in encoder._options},
            "bfloat16_products": self.bfloat16_products,
        }

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> Any:
        encoders = values.pop("encoders", {})
        rounds = values.pop("bfloat16_products", False)
        policy, before = values.pop("dtype"), keras.config.dtype_policy()
        trainable = values.pop("trainable", True)
        keras.config.set_dtype_policy(policy)
        try:
            model = cls._again(values)
        finally:
            keras.config.set_dtype_policy(before)
        for encoder in model.encoders:
            for name, value in encoders.items():
                setattr(encoder, name, value)
        model.bfloat16_products = rounds
        if not trainable:
            model.trainable = False
        return model

    @classmethod
    def _again(cls, values: dict[str, Any]) -> Any:
        special = dict(values.pop("special"))
        if special["continues"] is not None:
            special["continues"] = tuple(special["continues"])
        return cls(**values, special=SpecialIds(**special))

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compiles the model as it was before it was saved.

        Args:
          config: what Keras keeps of the arguments of `compile`.
        """
        named = ("jit_compile", "run_eagerly", "steps_per_execution",
                 "auto_scale_loss")  # fmt: skip
        options = {n: config[n] for n in named if config.get(n) is not None}
        self.compile(made(config.get("optimizer")), **options)

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        jit_compile: bool = False,
        **options: Any,
    ) -> None:
        """Compiles as `keras.Model.compile`, without losses: the objective has
        them.

        Args:
          optimizer: an optimizer or the name of one; AdamW at a constant
            learning rate if None. `training.optimizer.make_optimizer` is
            ELECTRA's.
          jit_compile: whether XLA compiles the whole step. Off unless asked
            for: on a CPU that is about ten times slower.
          **options: run_eagerly, steps_per_execution, auto_scale_loss.

        Raises:
          UserError: a loss or metrics are given.
        """
        for name in (
            "loss", "loss_weights", "metrics", "weighted_metrics",
        ):  # fmt: skip
            if options.pop(name, None):
                raise UserError(
                    f"compile({name}=...): the losses and metrics of "
                    "pre-training are its objective's; leave it out, or give "
                    "the pre-trainer another objective (docs/objectives.md)"
                )
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
        """Masks a batch, generates, corrupts, discriminates; returns all of it.

        Args:
          batch: as the class says.
          training: whether dropout is on.
          seed: the key of all randomness beside example_id; the run's if None.
          totals: see `losses.joint_loss`.
        """
        masked, keys = self._mask(_batch_of(batch), training, seed)
        return self.forward_masked(masked, keys, training, totals=totals)

    def _mask(
        self, batch: Batch, training: bool, seed: int | None = None
    ) -> tuple[MaskedBatch, tf.Tensor]:
        """Returns the masked batch, and its examples' keys, shaped as
        example_id.
        """
        keys = randomness.example_keys(
            self._example_ids(batch, training),
            self.seed if seed is None else seed,
        )
        masked = packing.mask(
            batch,
            self.masking_config,
            self.special,
            randomness.salted(keys, _MASK),
        )
        return masked, keys

    def forward_masked(
        self,
        masked: MaskedBatch,
        keys: tf.Tensor,
        training: bool,
        sampled_ids: tf.Tensor | None = None,
        corrupted: CorruptedBatch | None = None,
        totals: tf.Tensor | None = None,
    ) -> PretrainOutput:
        """Computes what follows masking; samples can be given instead of taken.

        Args:
          masked: the masked batch.
          keys: uint32, decide samples and dropout: [B], or [B, E] for several
            examples a row. Then the first one's decides over dropout.
          training: whether dropout is on.
          sampled_ids: [B, N] int32, in place of samples from the generator.
          corrupted: what the discriminator reads, in place of the batch with
            the samples in.
          totals: see `losses.joint_loss`.
        """
        objective = self.objective
        step = self._step() if training else None

        # The generator predicts masked tokens, and samples replace them.
        draws = Draws(None)
        if sampled_ids is None:
            draws = objective.draws(masked, keys, step)
        if masked.packed is not None:
            keys = keys[:, 0]
        generated = objective.generator.generate(
            self.generator,
            masked,
            draws,
            training,
            randomness.salted(keys, _GENERATOR),
        )
        if sampled_ids is not None:
            token = generated.token._replace(sampled_ids=sampled_ids)
            generated = generated._replace(token=token)

        # The discriminator reads them and predicts.
        judged = encoder = None
        if objective.discriminates:
            if corrupted is None:
                corrupted = objective.corrupt(
                    masked, generated.token.sampled_ids
                )
            keys = randomness.salted(keys, _DISCRIMINATOR)
            read = self.discriminator(
                masked.rows(corrupted.fake_input_ids, keys), training=training
            )
            encoder = read.encoder
            judged = objective.judge(
                Reading(
                    self.discriminator, read, masked, corrupted, generated,
                    training,
                )
            )  # fmt: skip

        terms = objective.terms(
            masked, generated, judged, objective.factors(step)
        )
        return PretrainOutput(
            losses.joint_loss(terms, totals),
            masked,
            generated.token,
            generated.cloze,
            corrupted,
            judged,
            generated.encoder,
            encoder,
            tuple(terms),
        )

    def _step(self) -> tf.Tensor:
        """Returns the number of updates done, int64; 0 without an optimizer."""
        if getattr(self, "optimizer", None) is None:
            return tf.constant(0, tf.int64)
        return tf.cast(self.optimizer.iterations, tf.int64)

    def _example_ids(self, batch: Batch, training: bool) -> tf.Tensor:
        if "example_id" in batch:
            return batch["example_id"]
        rows = tf.shape(batch["input_ids"], out_type=tf.int64)[0]
        step = tf.constant(0, tf.int64)
        if training and getattr(self, "optimizer", None) is not None:
            done = randomness.batches_done(self.optimizer)
            step = tf.cast(done, tf.int64)
        replica = tf.distribute.get_replica_context()
        replicas, index = 1, 0
        if replica is not None and replica.num_replicas_in_sync > 1:
            replicas = replica.num_replicas_in_sync
            index = tf.cast(replica.replica_id_in_sync_group, tf.int64)
        return (step * replicas + index) * rows + tf.range(rows)

    # --- steps -------------------------------------------------------------

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Updates the weights once; returns the metrics since their reset."""
        batch = _batch_of(batch)
        variables = self.trainable_variables
        if self.gradient_accumulation == 1:
            gradients = self._gradients(batch)
        else:
            # Examples without a number are keyed by their row in the whole
            # batch.
            batch = {**batch, "example_id": self._example_ids(batch, True)}
            masked, _ = self._mask(batch, training=True)
            totals = losses.total_weights(self.objective.term_weights(masked))
            gradients = accumulated(
                batch,
                self.gradient_accumulation,
                lambda part: self._gradients(part, totals),
                variables,
            )
        self.objective.update(
            self._step, lambda: apply(self.optimizer, gradients, variables)
        )
        return self.get_metrics_result()

    def _gradients(
        self, batch: Batch, totals: tf.Tensor | None = None
    ) -> list[tf.Tensor | None]:
        """Returns gradients of a batch, or with `totals` of a part; adds
        metrics.
        """
        with products.in_bfloat16(self.bfloat16_products):
            with tf.GradientTape() as tape:
                with read_together(self.embeddings.word_embeddings):
                    output = self._output(batch, totals)
                loss = self.optimizer.scale_loss(output.loss)
            gradients = tape.gradient(loss, self.trainable_variables)
        self._update_metrics(output)
        return gradients

    def _output(self, batch: Batch, totals: tf.Tensor | None) -> PretrainOutput:
        """Computes a training step's output, with `totals` of a part's."""
        if totals is None:
            return self(batch, training=True)
        # Keras would cast an argument of floats to the dtype of computations.
        return self.call(batch, training=True, totals=totals)

    def test_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Computes held-out metrics: no dropout, the same masks each call."""
        batch = _batch_of(batch)
        output = self(batch, training=False, seed=_EVALUATION_SEED)
        self._update_metrics(output)
        return self.get_metrics_result()

    def predict_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Returns both networks' predictions for each row, masked as in
        `test_step`.

        Returns:
          masked_lm_positions, masked_lm_ids, masked_lm_weights and
          predictions, each [B, N]; and where there is a second network
          fake_input_ids, [B, L], the loss, labels and weights that it is
          trained on, and its logits or restored tokens.
        """
        output = self(_batch_of(batch), training=False, seed=_EVALUATION_SEED)
        masked, token, judged = output.masked, output.token, output.judged
        found = {
            "masked_lm_positions": masked.masked_lm_positions,
            "masked_lm_ids": masked.masked_lm_ids,
            "masked_lm_weights": masked.masked_lm_weights,
            "predictions": token.predictions,
        }
        if judged is not None:
            found |= {
                "fake_input_ids": output.corrupted.fake_input_ids,
                "disc_loss": judged.loss,
                "disc_labels": judged.labels,
                "disc_weights": judged.weights,
                "disc_logits": judged.logits,
                "restored": judged.predictions,
            }
        return {k: v for k, v in found.items() if v is not None}

    def _update_metrics(self, output: PretrainOutput) -> None:
        """Adds a step, or a part of one, to the metrics."""
        updates = self.objective.measure(output)
        updates["loss"] = (output.terms,)
        for metric in self._own_metrics:
            metric.update_state(*updates[metric.name])


def _batch_of(data: Any) -> Batch:
    """Returns the batch from what Keras passes to a step.

    Raises:
      UserError: it is no batch of pre-training.
    """
    if isinstance(data, (tuple, list)):
        batch, *more = data or (None,)
        if any(part is not None for part in more):
            raise UserError(
                "pre-training: expected batches without labels or sample "
                "weights; masking makes the labels"
            )
    else:
        batch = data
    wanted = f"a dict of {', '.join(_PARTS)}, each [B, L] int32"
    if not isinstance(batch, Mapping):
        raise UserError(
            f"pre-training: expected each batch to be {wanted}, got "
            f"{type(batch).__name__}"
        )
    for name in _PARTS:
        if name not in batch:
            raise UserError(
                f"pre-training: the batch has no '{name}'; expected {wanted}, "
                f"and got {', '.join(map(str, batch)) or 'nothing'}"
            )
    return batch


def accumulated(
    batch: Batch,
    parts: int,
    of_part: Callable[[Batch], Sequence[Any]],
    variables: Sequence[Any],
) -> list[Any]:
    """Returns the sums of the results of `of_part`, run once for each part.

    Args:
      batch: arrays [B, ...].
      parts: a divisor of B.
      of_part: a batch [B / parts, ...] -> a gradient for each variable, or
        None; those of all parts add up to the whole batch's.
      variables: the variables of the gradients.

    Raises:
      UserError: `parts` does not divide B.
    """
    rows = next(iter(batch.values())).shape[0]
    if rows is not None and rows % parts:
        raise UserError(
            f"train.gradient_accumulation: a replica's {rows} examples cannot "
            f"be cut into {parts} equal parts; make train.batch_size a multiple"
        )
    cut = {
        name: tf.reshape(
            value,
            tf.concat(
                [[parts, -1 if rows is None else rows // parts],
                 tf.shape(value)[1:]], axis=0
            ),
        )
        for name, value in batch.items()
    }  # fmt: skip
    shapes = {name: value.shape for name, value in batch.items()}
    size = None if rows is None else rows // parts
    unused: set[int] = set()  # variables that no loss reaches

    def body(part: tf.Tensor, sums: list[tf.Tensor]) -> tuple:
        found = of_part(
            {
                name: tf.ensure_shape(value[part], [size, *shapes[name][1:]])
                for name, value in cut.items()
            }
        )
        unused.update(i for i, gradient in enumerate(found) if gradient is None)
        sums = [
            old if new is None else old + tf.convert_to_tensor(new)
            for old, new in zip(sums, found)
        ]
        return part + 1, sums

    zeros = [tf.zeros(v.shape, v.dtype) for v in variables]
    _, sums = tf.while_loop(
        lambda part, _: part < parts,
        body,
        (tf.constant(0), zeros),
        parallel_iterations=1,
    )
    return [None if i in unused else s for i, s in enumerate(sums)]
