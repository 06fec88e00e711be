"""Trains a task's network on the task's loss, and plans its steps for speed."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from electra_tf.models import kernels, products, randomness
from electra_tf.models.config import ModelConfig
from electra_tf.models.embeddings import sparse_gradients
from electra_tf.models.fitting import Fits
from electra_tf.models.gradients import apply
from electra_tf.tasks.batches import longest, padded_lengths
from electra_tf.tasks.features import INPUTS, Features
from electra_tf.tasks.task import Task

Batch = Mapping[str, tf.Tensor]

# Measured with a small encoder on a CPU: seconds of processor time to compile
# the kernels for a length, and to pass a number through the kernels and their
# matrix products.
_COMPILE = 3.2
_COMPILED, _PLAIN = 48e-9, 64e-9
# Tokens whose gradients are computed at a time, where so few weights train that
# adding up gradients is free. Fewer tokens leave processors idle.
_AT_ONCE = 512
# Multiples that lengths are rounded up to. Each length must be compiled; finer
# multiples give less padding. Accelerators need full tiles.
_FINE, _COARSE = 4, 8


class FineTuner(Fits, keras.Model):
    """Trains a network in `training.loop.train`, or in a loop of your own.

    The loss is the mean of `task.loss` over the units of a batch, of all
    replicas together. Batches come from `tasks.batches`. Dropout is keyed by
    `example_id` and the step, so that it does not depend on how a batch is
    padded, split or distributed over replicas.

    Args:
      network: a built network (`models.task_networks`). This model has exactly
        its variables, under their own names.
      task: defines the loss.
      seed: seed of dropout.
      gradient_accumulation: number of parts of a replica's share of the batch,
        which are computed in turn to save memory. The update is that of the
        whole batch.
      side_by_side: number of parts of a batch (or of such a part) whose
        gradients may be computed at the same time, for processors that a whole
        batch leaves half idle. It does not save memory.
      kernel_mode: how training steps run the fused kernels, "xla" or "plain";
        None takes the default of `models.kernels.use`. See `plan_steps`.
      tokens_at_once: a larger batch is split into parts of so many tokens,
        which are computed in turn, so that only one part's activations are in
        memory. The update is that of the whole batch. None does not split.

    Attributes:
      bfloat16_products: whether training steps compute their large products
        in bfloat16, see `models.products`.
    """

    def __init__(
        self,
        network: keras.Model,
        task: Task,
        seed: int = 42,
        gradient_accumulation: int = 1,
        side_by_side: int = 1,
        kernel_mode: str | None = None,
        tokens_at_once: int | None = None,
        name: str = "fine_tuner",
    ):
        super().__init__(name=name)
        if gradient_accumulation < 1:
            raise ValueError("gradient_accumulation must be at least 1")
        self.network = network
        self.task = task
        self.seed = seed
        self.gradient_accumulation = gradient_accumulation
        self.side_by_side = side_by_side
        self.kernel_mode = kernel_mode
        self.tokens_at_once = tokens_at_once
        self.bfloat16_products = False
        self.loss_mean = keras.metrics.Mean(name="loss")
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running mean of the loss."""
        return [self.loss_mean]

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer,
        jit_compile: bool = False,
        **options: Any,
    ) -> None:
        """Compiles like `keras.Model.compile`, without losses: the task has
        one.

        Args:
          optimizer: `training.optimizer.make_optimizer` is ELECTRA's.
          jit_compile: whether XLA compiles the whole step.
          **options: run_eagerly, steps_per_execution, auto_scale_loss.
        """
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **options)
        # Slots created inside a traced step would make it trace twice.
        self.optimizer.build(self.trainable_variables)

    def call(
        self,
        batch: Batch,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes the losses of a batch, [B] float32.

        Args:
          batch: inputs and targets, [B, L] or [B, group, L].
          training: whether dropout is on.
          keys: keys of dropout, [B] uint32; None takes those of the examples
            and the step.
        """
        return self.task.loss(self.forward(batch, training, keys), batch)

    def forward(
        self,
        batch: Batch,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> Any:
        """Runs the network on a batch; for arguments see `call`.

        Returns:
          The network's output for all rows, including those of groups.
        """
        length = tf.shape(batch["input_ids"])[-1]
        inputs = [tf.reshape(batch[name], [-1, length]) for name in INPUTS]
        given: Mapping[str, tf.Tensor] = {}
        if training:
            keys = self._keys(batch) if keys is None else keys
            if batch["input_ids"].shape.rank == 3:
                group = tf.shape(batch["input_ids"])[1]
                keys = tf.reshape(randomness.bits(keys, group), [-1])
            given = self.task.network_inputs(batch)
        return self.network(*inputs, training=training, keys=keys, **given)

    def unit_losses(
        self,
        batch: Batch,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes the losses that steps minimise; for arguments see `call`.

        Returns:
          The loss of each unit, [B] float32.
        """
        return self(batch, training=training, keys=keys)

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Updates the weights once; returns the metrics since their reset."""
        count = tf.cast(tf.shape(batch["input_ids"])[0], tf.float32)
        total = count
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:
            total = replica.all_reduce(tf.distribute.ReduceOp.SUM, count)
        mode: contextlib.AbstractContextManager = contextlib.nullcontext()
        if self.kernel_mode is not None:
            mode = kernels.use(self.kernel_mode)
        with mode:
            loss, gradients = self._gradients(batch, self._keys(batch), total)
        apply(self.optimizer, gradients, self.trainable_variables)
        # A replica may have no row of a small last batch.
        mean = tf.math.divide_no_nan(loss, count)
        self.loss_mean.update_state(mean, sample_weight=count)
        return self.get_metrics_result()

    def test_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Returns the loss of held-out examples, without dropout."""
        self.loss_mean.update_state(self.unit_losses(batch))
        return self.get_metrics_result()

    def _keys(self, batch: Batch) -> tf.Tensor:
        """Returns random keys for each unit and step, [B] uint32."""
        step = tf.constant(0, tf.int64)
        if self.optimizer is not None:
            done = randomness.batches_done(self.optimizer)
            step = tf.cast(done, tf.int64)
        if "example_id" in batch:
            ids = batch["example_id"]
        else:
            ids = _row_numbers(batch)
        keys = randomness.example_keys(ids, self.seed)
        return randomness.mix(
            tf.bitwise.bitwise_xor(
                keys, randomness.mix(tf.cast(step, tf.uint32))
            )
        )

    def _gradients(
        self, batch: Batch, keys: tf.Tensor, total: tf.Tensor
    ) -> tuple[tf.Tensor, list[Any]]:
        """Returns the sum of losses, and the gradients of that sum / total."""
        parts, lanes = self._parts(batch, keys.shape[0])
        if isinstance(parts, int) and parts == 1:
            loss, found = self._gradients_of_part(batch, keys, total, lanes)
            # Dense, as optimizers of Keras need them: `embeddings.read_rows`.
            return loss, [
                None if g is None else tf.convert_to_tensor(g) for g in found
            ]
        variables = self.trainable_variables
        rows = tf.shape(keys)[0]
        fits = tf.debugging.assert_equal(
            rows % parts,
            0,
            f"a batch cannot be cut into {self.gradient_accumulation} equal"
            " parts (gradient_accumulation): make its size on each replica a"
            " multiple of it",
        )
        with tf.control_dependencies([fits] if fits is not None else []):
            size = rows // parts
        unused: set[int] = set()  # variables that the loss does not reach

        def body(part: tf.Tensor, loss: tf.Tensor, sums: list) -> tuple:
            at = slice(part * size, (part + 1) * size)
            rows_of_part = {name: value[at] for name, value in batch.items()}
            more, gradients = self._gradients_of_part(
                rows_of_part, keys[at], total, lanes
            )
            unused.update(
                i for i, gradient in enumerate(gradients) if gradient is None
            )
            sums = [
                old if new is None else old + tf.convert_to_tensor(new)
                for old, new in zip(sums, gradients)
            ]
            return part + 1, loss + more, sums

        zeros = [tf.zeros(v.shape, v.dtype) for v in variables]
        _, loss, sums = tf.while_loop(
            lambda part, *_: part < parts,
            body,
            (tf.constant(0), tf.constant(0.0), zeros),
            parallel_iterations=1,
        )
        return loss, [None if i in unused else s for i, s in enumerate(sums)]

    def _parts(
        self, batch: Batch, rows: int | None
    ) -> tuple[int | tf.Tensor, int]:
        """Returns the number of parts computed in turn, and of lanes in each.

        Args:
          batch: the batch to split.
          rows: number of its units, if known in advance.
        """
        lanes, given = self.side_by_side, self.gradient_accumulation
        if rows is None or rows % (given * lanes):
            return given, 1
        if self.tokens_at_once is None:
            return given, lanes if given == 1 else 1
        counts = [
            n for n in range(given, rows + 1, given) if rows % (n * lanes) == 0
        ]
        tokens = tf.size(batch["input_ids"])
        enough = tf.constant(counts) * self.tokens_at_once >= tokens
        enough = tf.concat([enough[:-1], [True]], axis=0)
        return tf.gather(counts, tf.argmax(tf.cast(enough, tf.int32))), lanes

    def _gradients_of_part(
        self, batch: Batch, keys: tf.Tensor, total: tf.Tensor, lanes: int
    ) -> tuple[tf.Tensor, list[Any]]:
        """Returns the same for some units, in lanes independent of each
        other.
        """
        if lanes == 1:
            return self._gradients_of_lane(batch, keys, total)
        size = (keys.shape[0] or tf.shape(keys)[0]) // lanes
        found = []
        for lane in range(lanes):
            at = slice(lane * size, (lane + 1) * size)
            units = {name: value[at] for name, value in batch.items()}
            found.append(self._gradients_of_lane(units, keys[at], total))
        losses, gradients = zip(*found)
        return tf.add_n(losses), [_sum(parts) for parts in zip(*gradients)]

    def _gradients_of_lane(
        self, batch: Batch, keys: tf.Tensor, total: tf.Tensor
    ) -> tuple[tf.Tensor, list[Any]]:
        with products.in_bfloat16(self.bfloat16_products), sparse_gradients():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(self.unit_losses(batch, True, keys))
                scaled = self.optimizer.scale_loss(loss / total)
            return loss, tape.gradient(scaled, self.trainable_variables)


def _sum(gradients: Sequence[Any]) -> Any:
    """Adds gradients of one variable; those of embeddings stay sparse."""
    if gradients[0] is None:
        return None
    if not all(isinstance(g, tf.IndexedSlices) for g in gradients):
        return tf.add_n([tf.convert_to_tensor(g) for g in gradients])
    return tf.IndexedSlices(
        tf.concat([g.values for g in gradients], axis=0),
        tf.concat([g.indices for g in gradients], axis=0),
        gradients[0].dense_shape,
    )


def _row_numbers(batch: Batch) -> tf.Tensor:
    """Returns the positions of rows in the global batch, int64 [B]."""
    rows = tf.shape(batch["input_ids"], out_type=tf.int64)[0]
    first = tf.constant(0, tf.int64)
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        first = rows * tf.cast(replica.replica_id_in_sync_group, tf.int64)
    return first + tf.range(rows)


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """The plan that `FineTuner` and its batches are made with.

    Attributes:
      kernel_mode: mode for `models.kernels.use`.
      pad_to_multiple: multiple of the batches' lengths.
      side_by_side: see `FineTuner`.
      tokens_at_once: see `FineTuner`.
    """

    kernel_mode: str
    pad_to_multiple: int
    side_by_side: int
    tokens_at_once: int | None = None


def plan_steps(
    config: ModelConfig,
    features: Features,
    batch_size: int,
    steps: int,
    strategy: tf.distribute.Strategy,
    jit_compile: bool = False,
    few_train: bool = False,
    bfloat16_products: bool = False,
) -> StepPlan:
    """Chooses the plan that should need the least time.

    XLA compiles a kernel again for each length of a batch. A run over little
    data, or of a tiny model, ends before that has paid off. On a CPU the
    products of a short batch are too small to keep two cores busy; its halves,
    computed in parallel, do. Products of bfloat16 gain nothing by it (MiniLM,
    32 rows of 16 or of 32 tokens, two cores), and tracing takes twice as long.

    Args:
      config: shape of the encoder.
      features: the training data.
      batch_size: units in a batch.
      steps: number of updates in the whole run.
      strategy: distribution strategy.
      jit_compile: whether XLA compiles the whole step.
      few_train: whether only few weights are trained, with small gradients.
      bfloat16_products: whether large products are computed in bfloat16.
    """
    if isinstance(strategy, tf.distribute.TPUStrategy):
        # One shape for all batches, as XLA compiles the whole step anyway.
        return StepPlan("plain", longest(features), 1)
    devices = {
        device.device_type for device in tf.config.list_logical_devices()
    }
    on_cpu = devices <= {"CPU"}
    multiples = (_FINE, _COARSE) if on_cpu and not jit_compile else (_COARSE,)
    rows = batch_size * features.group * steps
    costs = {}
    for multiple in multiples:
        lengths = padded_lengths(features, multiple)
        work = rows * _numbers(config, lengths)
        compiling = _COMPILE * len(np.unique(lengths))
        costs["plain", multiple] = work * _PLAIN
        costs["xla", multiple] = work * _COMPILED + compiling
    mode, multiple = min(costs, key=lambda choice: costs[choice])
    alone = strategy.num_replicas_in_sync == 1 and not jit_compile
    halves = on_cpu and alone and (os.cpu_count() or 1) > 1
    return StepPlan(
        mode,
        multiple,
        2 if halves and not bfloat16_products else 1,
        _AT_ONCE if few_train and on_cpu and alone else None,
    )


def _numbers(config: ModelConfig, lengths: np.ndarray) -> float:
    """Returns the mean count of numbers that pass the kernels for a row."""
    of_token = config.intermediate_size + 6 * config.hidden_size
    return config.num_layers * float(
        np.mean(lengths * (of_token + config.num_heads * lengths))
        if len(lengths)
        else 0.0
    )
