"""Defines what all tasks on strings share: Keras' fit, evaluate, predict."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.finetuning.fine_tuner import StepPlan, plan_steps
from electra_tf.keras_api.tasks import given, inputs, streams
from electra_tf.keras_api.tasks.reading import ReadingTask
from electra_tf.models import randomness
from electra_tf.prediction.predictor import Inference
from electra_tf.tasks.features import Features, check_lengths
from electra_tf.tasks.task import Prediction

_BATCH = 32  # rows in a training batch, by default
_AT_ONCE = 64  # rows in a batch of evaluation and prediction
_WEIGHTS = "sample_weight"
_CHUNK = 4096  # inputs whose features are in memory at a time


class TaskModel(ReadingTask):
    """A network for a task, trained on strings and predicting for strings.

    The networks, losses and predictions are those of the commands `finetune`,
    `evaluate` and `predict`.

    Attributes:
      task: what is learned; see `tasks.task.Task`.
      network: encoder and head; see `models.task_networks`.
      preprocessor: the layer that turns strings into rows of token ids.
      tokenizer: the model's tokenizer.
      load_report: what was loaded from the checkpoint, or None.
    """

    # --- fit ---------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[Any, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> keras.callbacks.History:
        """Trains on strings; arguments are those of `keras.Model.fit`.

        Texts in lists and arrays are tokenized once and trained on in batches
        of similar length, each padded to its longest row. A `tf.data.Dataset`
        keeps its batches.

        With ELECTRA's optimizer each call is a training run of its own, over
        which the learning rate rises and falls once, unless `initial_epoch`
        says that it continues one. Where that run was planned for fewer steps,
        the learning rate rises and falls once more, over the epochs that are
        left.

        Args:
          x: inputs, see the class; or a `tf.data.Dataset`, a `PyDataset` or a
            generator of (x, y) or (x, y, sample_weight).
          y: an answer for each input.
          batch_size: 32 where None.
          epochs: passes over the data.
          verbose: see Keras.
          callbacks: see Keras.
          validation_split: share of the data, at its end, that is held out.
          validation_data: (x, y), (x, y, sample_weight) or a dataset.
          shuffle: whether rows are in another order in each epoch.
          class_weight: weights of labels, by name or number.
          sample_weight: a weight for each input.
          initial_epoch: the epoch to continue from.
          steps_per_epoch: batches in an epoch; required for a dataset of
            unknown length.
          validation_steps: see Keras.
          validation_batch_size: 64 where None.
          validation_freq: see Keras.

        Raises:
          UserError: the task cannot take the data; the argument and the item
            are named.
        """
        if not self.compiled:
            self.compile()
        inputs.check_counts(
            batch_size=batch_size,
            validation_batch_size=validation_batch_size,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
        )
        x = inputs.source(x, whole=False)
        if isinstance(x, inputs.STREAMS):
            given.refuse(
                "a dataset",
                y=y, sample_weight=sample_weight, class_weight=class_weight,
                validation_split=validation_split or None,
            )  # fmt: skip
            data, size, steps = self._streamed(x, batch_size, steps_per_epoch)
            per_epoch = steps_per_epoch
        else:
            examples = self.read(x, y)
            if not self.has_answers(x, y):
                raise UserError("y: is missing; expected the answers to learn")
            weights = self._weights(examples, class_weight, sample_weight)
            if validation_split and validation_data is None:
                cut = math.floor(len(examples) * (1 - validation_split))
                if not 0 < cut < len(examples):
                    raise UserError(
                        f"validation_split: {validation_split} of "
                        f"{len(examples)} inputs leaves one side empty"
                    )
                # As in Keras, weights of classes are for training alone.
                held = self._weights(examples, None, sample_weight)
                validation_data = given.HeldOut(
                    examples[cut:], held and held[cut:]
                )
                examples, weights = examples[:cut], weights and weights[:cut]
            data, size, steps = self._batches(
                examples, weights, batch_size or self._batch_size(), shuffle,
                epochs, steps_per_epoch,
            )  # fmt: skip
            per_epoch = steps
        if not self._own_optimizer:
            given.check_callbacks(callbacks)
            if steps is None:
                raise UserError(
                    "steps_per_epoch: the dataset does not say how many "
                    "batches it has, and the learning rate is planned over "
                    "all of them; give the number"
                )
            self._plan_rates(steps, epochs, initial_epoch, size)
        else:
            self._memory.base = self._before_optimizer()
        validation_data = inputs.source(validation_data, steps=validation_steps)
        if not self.has_answers(None, None):
            given.check_held_out(validation_data)
        validation = self._held_out(validation_data, validation_batch_size)
        self._memory.scored = self._listed(
            validation_data, validation_batch_size, validation_steps
        )
        inputs.started(x)
        before = self._batches_done()
        try:
            return super().fit(
                data,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_data=validation,
                shuffle=False,  # the batches are already shuffled
                initial_epoch=initial_epoch,
                steps_per_epoch=per_epoch,
                validation_steps=validation_steps,
                validation_freq=validation_freq,
            )
        finally:
            self._memory.steps_done += max(0, self._batches_done() - before)
            self._memory.scored = None

    def check_streamed(self) -> None:
        """Refuses datasets, in tasks that cannot learn from them.

        Raises:
          UserError: the task cannot.
        """

    def asked(self) -> Any:
        """Returns the task that `predict` runs; see `Task.infer`."""
        return self.task

    def _batch_size(self) -> int:
        assert self._train is not None
        return self._train.batch_size

    def _iterations(self) -> int:
        if getattr(self, "optimizer", None) is None:
            return 0  # nothing is compiled
        return int(self.optimizer.iterations.numpy())

    def _batches_done(self) -> int:
        """Returns how many batches the optimizer had; see `_iterations` for
        its updates.
        """
        if getattr(self, "optimizer", None) is None:
            return 0
        return int(randomness.batches_done(self.optimizer).numpy())

    def _before_optimizer(self) -> int:
        """Returns how many batches were trained on before the optimizer."""
        return max(0, self._memory.steps_done - self._batches_done())

    def _plan_rates(
        self, steps: int, epochs: int, initial_epoch: int, batch_size: int
    ) -> None:
        """Plans the learning rate, or keeps the plan of a run to continue.

        Args:
          steps: steps of an epoch.
          epochs: see `fit`.
          initial_epoch: see `fit`.
          batch_size: rows in a batch.
        """
        done = self._iterations()
        planned = self._planned_steps() if initial_epoch else 0
        left = steps * max(1, epochs - initial_epoch)
        # An epoch that was stopped half-way is done again: the steps beyond the
        # plan are then fewer than its own.
        if done < planned and done + left < planned + steps:
            self._memory.base = self._before_optimizer()
            return
        self._memory.base = self._memory.steps_done
        if initial_epoch:  # the model may have been loaded
            self._memory.base = max(self._memory.base, done)
        self._set_optimizer(left, batch_size)

    def _batches(
        self,
        examples: Sequence[Any],
        weights: Sequence[float] | None,
        batch_size: int,
        shuffle: bool,
        epochs: int,
        steps_per_epoch: int | None,
    ) -> tuple[tf.data.Dataset, int, int]:
        """Returns the batches of arrays, their size, and their number per
        epoch.
        """
        if not examples:
            raise UserError("x: is empty; expected at least one input")
        self._look(examples)
        features = self._features(examples, weights)
        if not features.units:
            raise UserError("x: none of the inputs can be trained on")
        size = min(batch_size, features.units)
        steps = steps_per_epoch or max(1, round(features.epoch_units / size))
        plan = self._steps_planned(features, size, steps * epochs)
        self._plan(plan)
        self.build_metrics(features)
        data = streams.training(
            features,
            size,
            self.seed,
            plan.pad_to_multiple,
            shuffle,
            lambda: self._memory.base + self._batches_done(),
        )
        return self._with_y(data), size, steps

    def _steps_planned(
        self, features: Features, batch_size: int, steps: int
    ) -> StepPlan:
        return plan_steps(
            self.network.config,
            features,
            batch_size,
            steps,
            self.distribute_strategy,
            bool(self.jit_compile),
            few_train=self.network.encoder.lora is not None,
            bfloat16_products=self.bfloat16_products,
        )

    def _plan(self, plan: StepPlan) -> None:
        """Applies a plan of how steps are computed."""
        self.kernel_mode = plan.kernel_mode
        # A user's own loss is computed over a whole batch.
        self.side_by_side = 1 if self._is_own else plan.side_by_side
        self.tokens_at_once = None if self._is_own else plan.tokens_at_once
        self.train_function = None

    def _streamed(
        self,
        data: inputs.Stream,
        batch_size: int | None,
        steps_per_epoch: int | None,
    ) -> tuple[tf.data.Dataset, int, int | None]:
        """Returns the same for a dataset; steps are None where unknown."""
        self.check_streamed()
        data = inputs.batches(data, batch_size)
        first: list[Any] = []
        looked = 32
        if isinstance(data, inputs.Batches):  # each may be expensive to make
            looked = min(looked, steps_per_epoch or looked)
        for x, y, _ in inputs.elements(data.take(looked)):
            if not self.has_answers(x, y):
                raise UserError(
                    "x: expected a dataset of (x, y), with answers to learn"
                )
            first += self.read(x, y)
        if not first:
            raise UserError("x: the dataset is empty")
        self._look(first)
        steps = steps_per_epoch or inputs.count(data)
        size = batch_size or _BATCH
        features = self._features(first, None)
        plan = self._steps_planned(features, size, steps or 1000)
        self._plan(plan)
        self.build_metrics(features)
        return self._stream(data), size, steps

    def _stream(self, data: inputs.Stream) -> tf.data.Dataset:
        def make(element: Any) -> Features:
            x, y, w = inputs.unpacked(element)
            weights = None if w is None else inputs.numbers(w, _WEIGHTS)
            return self._features(self.read(x, y), weights)

        limit = self.network.config.max_positions
        count = inputs.count(data) if self.keeps_all else None
        return self._with_y(streams.streamed(data, make, limit, count))

    # --- evaluate and predict ----------------------------------------------

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **others: Any,
    ) -> Any:
        """Computes loss and metrics; arguments are those of Keras'.

        Args:
          x: see `fit`.
          y: see `fit`; a dataset holds its own.
          batch_size: rows in a batch, 64 where None.
          verbose: see Keras.
          sample_weight: a weight for each input; a dataset holds its own.
          steps: number of batches to take, all where None.
          callbacks: see Keras.
          return_dict: whether to return a mapping of names to values.
          **others: arguments that Keras passes to itself.

        Returns:
          The loss and the compiled metrics; then, where the class has some (see
          `extra_scores`), scores of the task, as shares of 1. `scores` returns
          all of the task's, like the commands.
        """
        if not self.compiled:
            self.compile()
        inputs.check_counts(batch_size=batch_size, steps=steps)
        examples = self._memory.scored
        x = inputs.source(x, steps=steps)
        if not others:
            whole: Any = x
            if isinstance(x, inputs.STREAMS):
                given.refuse("a dataset", y=y, sample_weight=sample_weight)
            else:
                whole = (x, y, sample_weight)
            examples = self._listed(whole, batch_size, steps)
            x = self._held_out(whole, batch_size)
        found = super().evaluate(
            x,
            verbose=verbose,
            steps=steps,
            callbacks=callbacks,
            return_dict=True,
            **others,
        )
        if self.extra_scores and examples:
            found |= self._extra(examples)
        if return_dict:
            return found
        # Keras sorts the mapping by name, but not the list.
        order = []
        for metric in self.metrics:
            parts = getattr(metric, "metrics", None) or [metric]
            order += [part.name for part in parts]
        names = sorted(
            found, key=lambda n: order.index(n) if n in order else len(order)
        )
        values = [found[name] for name in names]
        return values[0] if len(values) == 1 else values

    def _extra(self, examples: Sequence[Any]) -> dict[str, float]:
        scores = self.task.scores(examples, self._answered(examples))
        return {
            name: scores[name] / 100
            for name in self.extra_scores
            if name in scores
        }

    def _listed(
        self, data: Any, batch_size: int | None, steps: int | None
    ) -> list[Any] | None:
        """Returns the examples of (x, y, sample_weight), for the task's
        scores; of a dataset those of `steps` batches, all where None.
        """
        if not self.extra_scores or data is None:
            return None
        if isinstance(data, given.HeldOut):
            return list(data.examples)
        if isinstance(data, inputs.STREAMS):
            data = inputs.batches(data, batch_size)
            found: list[Any] = []
            for x, y, _ in inputs.elements(
                data.take(-1 if steps is None else steps)
            ):
                found += self.read(x, y)
            return found
        return self.read(*data[:2])

    def _held_out(
        self, data: Any, batch_size: int | None
    ) -> tf.data.Dataset | None:
        """Returns batches to evaluate on."""
        if data is None:
            return None
        if isinstance(data, inputs.STREAMS):
            return self._stream(inputs.batches(data, batch_size))
        if isinstance(data, given.HeldOut):
            examples, weights = data.examples, data.weights
        else:
            x, y, sample_weight = inputs.unpacked(tuple(data))
            examples = self.read(x, y)
            if not self.has_answers(x, y):
                raise UserError(
                    "y: is missing; expected the answers to compare with"
                )
            weights = self._weights(examples, None, sample_weight)
        if not examples:
            raise UserError("x: is empty; expected at least one input")
        features = self._features(examples, weights)
        if not features.units:
            raise UserError("x: none of the inputs can be evaluated on")
        replicas = self.distribute_strategy.num_replicas_in_sync
        return self._with_y(
            streams.once(features, batch_size or _AT_ONCE, replicas)
        )

    def scores(self, x: Any, y: Any = None) -> dict[str, float]:
        """Computes the task's metrics like the command `evaluate`.

        Args:
          x: inputs, or a dataset of (x, y).
          y: their answers.

        Returns:
          Name -> value; shares are in percent.
        """
        x = inputs.source(x)
        if isinstance(x, inputs.STREAMS):
            given.refuse("a dataset", y=y)
            examples: list[Any] = []
            for part, answers, _ in inputs.elements(inputs.batches(x, None)):
                examples += self.read(part, answers)
        else:
            examples = self.read(x, y)
        return self.task.scores(examples, self._answered(examples))

    def answer(
        self, x: Any, batch_size: int | None = None, verbose: Any = 0
    ) -> list[Prediction]:
        """Predicts like the command `predict`.

        Args:
          x: inputs, or a dataset of them.
          batch_size: rows in a batch, 64 where None.
          verbose: 1 for a progress bar.

        Returns:
          A mapping for each input, such as `label` and `probabilities`.
        """
        examples = self._inputs(x, batch_size)
        return self._answered(examples, batch_size, verbose)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Predicts for inputs; see the class for what is returned.

        Args:
          x: inputs, or a dataset of them, with or without answers.
          batch_size: rows in a batch, 64 where None.
          verbose: see Keras.
          steps: number of batches to take from a dataset.
          callbacks: see Keras; only those at beginning and end are called.
        """
        examples = self._inputs(x, batch_size, steps)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(callbacks, model=self)
        callbacks.on_predict_begin()
        found: list[Any] = []
        self._run(
            examples,
            batch_size,
            verbose,
            lambda part, features, outputs: found.extend(
                self.predicted(part, features, outputs)
            ),
            self.asked(),
        )
        callbacks.on_predict_end()
        return self.joined(found)

    def predict_on_batch(self, x: Any) -> Any:
        """Predicts for the inputs of one batch, as `predict` does.

        Args:
          x: the inputs.
        """
        return self.predict(x, verbose=0)

    def predicted(
        self,
        examples: Sequence[Any],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> Sequence[Any]:
        """Makes the results of `predict` for some examples.

        By default these are the task's predictions.
        """
        return self.task.predictions(examples, features, outputs)

    def joined(self, found: list[Any]) -> Any:
        """Joins all results of `predicted` to the result of `predict`."""
        return found

    def _inputs(
        self, x: Any, batch_size: int | None, steps: int | None = None
    ) -> list[Any]:
        inputs.check_counts(batch_size=batch_size, steps=steps)
        x = inputs.source(x, steps=steps)
        if not isinstance(x, inputs.STREAMS):
            return self.read(x)
        data = inputs.batches(x, batch_size if inputs.has_rows(x) else None)
        examples: list[Any] = []
        for part, _, _ in inputs.elements(
            data.take(-1 if steps is None else steps)
        ):
            examples += self.read(part)
        return examples

    def _answered(
        self,
        examples: Sequence[Any],
        batch_size: int | None = None,
        verbose: Any = 0,
    ) -> list[Prediction]:
        found: list[Prediction] = []
        self._run(
            examples,
            batch_size,
            verbose,
            lambda part, features, outputs: found.extend(
                self.task.predictions(part, features, outputs)
            ),
        )
        return found

    def _run(
        self,
        examples: Sequence[Any],
        batch_size: int | None,
        verbose: Any,
        take: Callable[[Any, Features, Any], None],
        asked: Any = None,
    ) -> None:
        """Runs the network on examples, some thousands at a time."""
        size, known = batch_size or _AT_ONCE, self._memory.inferences
        asked = asked or self.task
        key = (size, type(asked).__name__)
        if key not in known:
            known[key] = Inference(self.network, asked, size)
        inference = known[key]
        bar = None
        if verbose in ("auto", 1, 2, True) and examples:
            bar = keras.utils.Progbar(len(examples), unit_name="input")
        for start in range(0, len(examples), _CHUNK):
            part = examples[start : start + _CHUNK]
            features = self.task.features(self._words, part, training=False)
            check_lengths(features, self.network.config.max_positions)
            outputs = inference.run(features)
            assert outputs is not None  # it is never asked to stop
            take(part, features, outputs)
            if bar is not None:
                bar.update(start + len(part))
