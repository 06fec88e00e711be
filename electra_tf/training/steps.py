"""Makes the compiled steps of training and evaluation."""

import functools
import operator
from collections.abc import Callable
from typing import Any, Protocol

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.training import workers


def iterate(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Any:
    """Returns an iterator over batches, split over the replicas if several.

    Args:
      dataset: global batches; with several workers, this one's share of them.
      strategy: the strategy of the replicas.
    """
    replicas = strategy.num_replicas_in_sync
    count = workers.of(strategy).share.count
    if count > 1 and replicas > count:
        dataset = split(dataset, replicas // count)
        return iter(
            strategy.distribute_datasets_from_function(lambda _: dataset)
        )
    if count == 1 and replicas > 1:
        dataset = strategy.experimental_distribute_dataset(dataset)
    # A worker with one replica needs no distribution.
    return iter(dataset)


def split(dataset: tf.data.Dataset, parts: int) -> tf.data.Dataset:
    """Splits each batch into `parts` of nearly equal size."""

    def cut(batch: Any) -> tf.data.Dataset:
        first = tf.nest.flatten(batch)[0]
        rows = first.shape[0] or tf.shape(first)[0]
        shares = [workers.Share(i, parts).of(rows) for i in range(parts)]
        pieces = [
            tf.data.Dataset.from_tensors(
                tf.nest.map_structure(operator.itemgetter(at), batch)
            )
            for at in shares
        ]
        return functools.reduce(lambda a, b: a.concatenate(b), pieces)

    return dataset.flat_map(cut)


def make_train_steps(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    *,
    in_graph_loop: bool,
    jit_compile: bool,
) -> Callable[[Any, int], tf.Tensor]:
    """Returns a function (iterator, count) that runs `count` updates.

    It runs in the graph and returns int32 [2]: the number of good updates
    before the loss, and before the gradient's norm, was first not finite.

    Args:
      model: a built model with a built optimizer.
      strategy: the one it was built under.
      in_graph_loop: whether `count` may be more than 1.
      jit_compile: whether to compile the update with XLA.
    """
    # Not converted by AutoGraph: the step must be what fit() runs.
    train_step = tf.autograph.experimental.do_not_convert(model.train_step)
    if jit_compile:
        train_step = tf.function(train_step, jit_compile=True)
    norm = recorded_norm(model.optimizer)

    def run_one(iterator: Any) -> tf.Tensor:
        outputs = strategy.run(train_step, args=(next(iterator),))
        losses = strategy.experimental_local_results(outputs["loss"])
        loss_fine = tf.reduce_all([_is_finite(loss) for loss in losses])
        norm_fine = True if norm is None else _is_finite(norm.value)
        return tf.stack([loss_fine, norm_fine])

    @tf.function(autograph=False)
    def one_step(iterator: Any) -> tf.Tensor:
        return tf.cast(run_one(iterator), tf.int32)

    @tf.function(autograph=False)
    def many_steps(iterator: Any, count: tf.Tensor) -> tf.Tensor:
        def body(done: tf.Tensor, good: tf.Tensor) -> tuple[Any, Any]:
            fine = tf.logical_and(run_one(iterator), tf.equal(good, done))
            return done + 1, good + tf.cast(fine, tf.int32)

        start = (tf.constant(0), tf.zeros([2], tf.int32))
        return tf.while_loop(lambda done, _: done < count, body, start)[1]

    if in_graph_loop:
        return lambda iterator, count: many_steps(iterator, tf.constant(count))
    return lambda iterator, count: one_step(iterator)


def make_eval_step(
    model: keras.Model, strategy: tf.distribute.Strategy, spec: Any
) -> Callable[[Any], None]:
    """Returns a function of a batch that updates the model's metrics.

    It is traced once for all batches, such as a smaller last one.

    Args:
      model: a built model.
      strategy: the one it was built under.
      spec: the `element_spec` of the iterator over batches.
    """
    test_step = tf.autograph.experimental.do_not_convert(model.test_step)

    @tf.function(autograph=False, input_signature=[spec])
    def eval_step(batch: Any) -> None:
        strategy.run(test_step, args=(batch,))

    return eval_step


def recorded_norm(optimizer: Any) -> keras.Variable | None:
    """Returns the optimizer's `last_global_norm`, where it has one."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return getattr(inner, "last_global_norm", None)


class FiniteWatch:
    """Stops a run at the first loss or gradient that is not finite.

    The outcome of a call is read when the next one is on the device, or by
    `flush` before anything is logged or saved.
    """

    def __init__(self) -> None:
        self._pending: tuple[tf.Tensor, int, int] | None = None

    def push(
        self, outcome: tf.Tensor, step: int, count: int, good: str | None
    ) -> None:
        """Takes the outcome of `count` updates after `step`; checks the
        previous.

        Raises:
          UserError: see `flush`.
        """
        self.flush(good)
        self._pending = (outcome, step, count)

    def flush(self, good: str | None) -> None:
        """Checks the pending outcome; `good` is the last good checkpoint.

        Raises:
          UserError: a loss or gradient was not finite; its step is named.
        """
        if self._pending is None:
            return
        outcome, step, count = self._pending
        self._pending = None
        for what, fine in zip(("loss", "gradient"), outcome.numpy()):
            if fine < count:
                cure = "begin a run with a lower learning rate or a longer"
                cure += " warm-up"
                if good is None:
                    cure = f"No checkpoint was written yet: {cure}"
                else:
                    cure = (
                        f"The last good checkpoint is {good}: start again to"
                        f" resume from it; if this comes back, {cure}"
                    )
                raise UserError(
                    f"the {what} of step {step + int(fine) + 1} is not finite"
                    f" (NaN or infinite); stopped. {cure}"
                )


def _is_finite(value: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(tf.math.is_finite(value))


class EvaluatorLike(Protocol):
    """The interface of evaluators that `train` takes."""

    def run(self, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Returns the model's metrics, or None if asked to stop."""


def evaluate(
    model: keras.Model,
    eval_data: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    num_steps: int | None = None,
) -> dict[str, float]:
    """Computes the means of the model's metrics over held-out batches.

    Args:
      model: a model built under `strategy.scope()`; its metrics are reset
        before and after.
      eval_data: batches of the global size, the last may be smaller; with
        several workers, this one's shares, including empty ones.
      strategy: see `make_strategy`.
      num_steps: number of batches to take; None takes all.

    Raises:
      UserError: there is no batch, or no end of batches.
    """
    evaluator = Evaluator(model, eval_data, strategy, num_steps)
    return evaluator.run(lambda: False) or {}


class Evaluator:
    """Evaluates repeatedly, with the step compiled once."""

    def __init__(
        self,
        model: keras.Model,
        eval_data: tf.data.Dataset,
        strategy: tf.distribute.Strategy,
        num_steps: int | None = None,
    ):
        if num_steps is not None:
            eval_data = eval_data.take(num_steps)
        if eval_data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise UserError(
                "the held-out data is infinite: give the number of "
                "batches to evaluate on"
            )
        self._model = model
        self._data = eval_data
        self._strategy = strategy
        self._step: Callable[[Any], None] | None = None

    def run(self, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Returns the metrics, or None if asked to stop before the end."""
        reset_metrics(self._model, self._strategy)
        empty = True
        batches = iterate(self._data, self._strategy)
        if self._step is None:
            self._step = make_eval_step(
                self._model, self._strategy, batches.element_spec
            )
        for batch in batches:
            if should_stop():
                reset_metrics(self._model, self._strategy)
                return None
            self._step(batch)
            empty = False
        if empty:
            raise UserError("the held-out data holds no batch to evaluate on")
        return take_metrics(self._model, self._strategy)


def take_metrics(
    model: keras.Model, strategy: tf.distribute.Strategy
) -> dict[str, float]:
    """Returns the model's metrics since their last reset; resets them."""
    # In the scope, a metric's variables are summed over replicas.
    with strategy.scope():
        values = model.get_metrics_result()
        metrics = {name: float(value) for name, value in values.items()}
        model.reset_metrics()
    return metrics


def reset_metrics(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Resets the model's metrics on every replica."""
    with strategy.scope():
        model.reset_metrics()
