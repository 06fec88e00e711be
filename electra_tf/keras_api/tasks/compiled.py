"""Makes a task's network a Keras model: calls, compilation, steps."""

import abc
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from electra_tf import config as configs
from electra_tf.errors import UserError
from electra_tf.finetuning import settings as finetune_settings
from electra_tf.finetuning.fine_tuner import FineTuner
from electra_tf.finetuning.settings import FinetuneTrainConfig
from electra_tf.finetuning.start import Start
from electra_tf.keras_api.preprocessors import TextPreprocessor, as_tensors
from electra_tf.keras_api.tasks import given, inputs, streams
from electra_tf.keras_api.tokenizer import Tokenizer
from electra_tf.models import initial, packed_encoder, task_networks
from electra_tf.models.adaptation import freeze_kernels
from electra_tf.models.config import TaskHeadConfig
from electra_tf.prediction.predictor import Inference
from electra_tf.tasks.features import INPUTS, Features
from electra_tf.tasks.task import Task
from electra_tf.training import precision
from electra_tf.training.optimizer import (
    loss_scaled,
    make_optimizer,
    precision_policy,
)
from electra_tf.training.settings import MAX_SEED


class _Memory:
    """State that a model keeps between calls, opaque to Keras."""

    def __init__(self) -> None:
        self.steps_done = 0  # in all calls of fit
        self.base = 0  # batches of `fit` before the optimizer's first step
        self.scored: list[Any] | None = None  # what to score in fit
        self.inferences: dict[tuple[int, str], Inference] = {}
        self.scorer: Any = None  # scores tokens
        self.metrics_built = False  # whether compiled metrics have variables


class CompiledTask(FineTuner, abc.ABC):
    """Calls a task's network on strings, and trains it on the task's loss.

    Attributes: see `base.TaskModel`.
    """

    # Scores of the task that `evaluate` returns besides Keras' metrics, as
    # shares of 1.
    extra_scores: ClassVar[tuple[str, ...]] = ()
    # Whether losses get logits; if not, probabilities or numbers.
    gives_logits: ClassVar[bool] = False
    # Whether every input is trained on; then a dataset's batches can be
    # counted.
    keeps_all: ClassVar[bool] = True

    def __init__(
        self,
        task: Task,
        start: Start,
        *,
        head: TaskHeadConfig | None = None,
        learned: bool = False,
        seed: int = 42,
        dtype: Any = None,
        name: str | None = None,
    ):
        """Builds the network; users call `from_pretrained`.

        Args:
          task: the task, which knows its labels.
          start: the first weights, the vocabulary and the shape.
          head: the checkpoint's head, to continue with; None makes the task's.
          learned: whether `learn` has seen examples, here or before.
          seed: seed of the head's first weights, dropout and the order of rows.
          dtype: "float32", "mixed_bfloat16" or "mixed_float16"; Keras' global
            policy where None.
          name: name of the model.
        """
        whole = isinstance(seed, int | np.integer)
        if not (whole and 0 <= seed <= MAX_SEED):
            raise UserError(
                f"seed: {seed!r}; expected a whole number from 0 to {MAX_SEED}"
            )
        policy = _policy(dtype)
        with precision_policy(policy.name), initial.seeded(seed):
            network, report = start.build(head or task.head())
            super().__init__(
                network, task, seed, name=name or _snake(type(self).__name__)
            )
        self.load_report = report
        self.start = dataclasses.replace(start, checkpoint=None)
        self.tokenizer = self._make_tokenizer()
        self.preprocessor = self._make_preprocessor()
        self._train: FinetuneTrainConfig | None = None
        self._is_own = False  # whether the loss is the user's own
        self._has_metrics = self._has_plain_metrics = False
        self._own_optimizer = False
        self._froze = False  # whether `compile` froze the encoder
        self.learned = learned
        self.one_hot = False  # whether the loss takes one-hot labels
        self._memory = _Memory()

    # --- what a task says --------------------------------------------------

    @abc.abstractmethod
    def read(self, x: Any, y: Any = None) -> list[Any]:
        """Makes the task's examples from inputs and, if given, answers."""

    @abc.abstractmethod
    def answers(self, outputs: Any) -> Any:
        """Converts the network's outputs to the result of calling the model."""

    def targets(self, batch: Mapping[str, tf.Tensor]) -> tuple[Any, Any]:
        """Returns (y, sample_weight) of a batch, for losses and metrics."""
        raise NotImplementedError

    def compared(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> Any:
        """Converts the network's outputs to the `y_pred` for `targets`.

        Args:
          outputs: outputs for the rows of `batch`.
          batch: the batch, at least its inputs.
        """
        del batch
        return self.answers(outputs)

    @property
    def has_classes(self) -> bool:
        """Whether `targets` are class numbers, or one-hot rows."""
        return False

    def learn(self, examples: Sequence[Any]) -> None:
        """Learns from the first training examples, before they are features."""

    def default_metrics(self) -> list[Any]:
        """Returns the default metrics of `compile`."""
        return []

    def default_weighted_metrics(self) -> list[Any] | None:
        """Returns the default weighted metrics of `compile`."""
        return None

    def as_input(self, x: Any) -> Any:
        """Returns the model's input, with Python's strings as tensors."""
        listed = isinstance(x, list) and x and isinstance(x[0], list | tuple)
        array = isinstance(x, np.ndarray) and x.dtype.kind in "OSU"
        if listed or (array and x.ndim == 2):
            first, second = inputs.texts(x)  # pairs, or a column
            x = first if second is None else (first, second)
        return as_tensors(x)

    def _make_tokenizer(self) -> Tokenizer:
        start = self.start
        return Tokenizer(start.vocab, start.lower_case, start.strip_accents)

    def _make_preprocessor(self) -> keras.layers.Layer:
        return TextPreprocessor(
            self.tokenizer, self.task.options.max_seq_length
        )

    # --- compile -----------------------------------------------------------

    def compile(  # type: ignore[override]  # the order of Keras' arguments
        self,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        *,
        learning_rate: float | None = None,
        layerwise_lr_decay: float | None = None,
        warmup_proportion: float | None = None,
        weight_decay_rate: float | None = None,
        train: Mapping[str, Any] | FinetuneTrainConfig | None = None,
        jit_compile: bool = False,
        **options: Any,
    ) -> None:
        """Chooses optimizer, loss and metrics; all have defaults.

        Args:
          optimizer: any optimizer of Keras; None takes ELECTRA's. Its learning
            rate rises and then falls to 0 over each call of `fit`.
          loss: a loss of Keras, or a function of (y_true, y_pred), which the
            class describes. None takes the task's.
          metrics: Keras' metrics of (y_true, y_pred), without special tokens
            and padding; None takes the task's. Of tokens they cannot be
            combined with `jit_compile`; `weighted_metrics` can.
          learning_rate: the peak of ELECTRA's optimizer; None takes 3e-4,
            1e-4 or 5e-5, by the encoder's width.
          layerwise_lr_decay: the factor between the learning rates of
            neighbouring layers; 1 gives all the same, None takes 0.8 or 0.9.
          warmup_proportion: share of the steps in which the learning rate
            rises.
          weight_decay_rate: decoupled weight decay.
          train: other keys of `finetune`'s section `train`: batch_size,
            gradient_accumulation, recompute, precision, freeze_encoder
            (until the next `compile` without it) and those of the optimizer,
            such as max_grad_norm.
          jit_compile: whether XLA compiles the whole step; slower on CPUs.
          **options: run_eagerly, steps_per_execution, weighted_metrics.

        Raises:
          UserError: settings are given that are not used, such as those of
            ELECTRA's optimizer for another one; or the loss takes logits where
            the model gives probabilities.
        """
        chosen: dict[str, Any] = {
            name: value
            for name, value in {
                "learning_rate": learning_rate,
                "layerwise_lr_decay": layerwise_lr_decay,
                "warmup_proportion": warmup_proportion,
                "weight_decay_rate": weight_decay_rate,
            }.items()
            if value is not None
        }
        if optimizer == "electra":
            optimizer = None
        given.check_optimizer(optimizer, list(chosen))
        for one in tf.nest.flatten(loss):
            _check_loss(one, self.gives_logits)
        settings = configs.resolve(FinetuneTrainConfig, train)
        given.check_train(settings, optimizer is not None)
        self._train = dataclasses.replace(settings, **chosen)
        self.gradient_accumulation = self._train.gradient_accumulation
        mode = precision.resolved(
            self._train.precision, jit_compile=jit_compile
        )
        self.bfloat16_products = mode == precision.PRODUCTS
        self.network.encoder.recompute = self._train.recompute
        self._freeze_encoder(self._train.freeze_encoder)
        self._is_own = loss is not None
        self.one_hot = self.has_classes and _wants_one_hot(
            [
                *_flat(loss),
                *_flat(metrics),
                *_flat(options.get("weighted_metrics")),
            ]
        )
        if metrics is None:
            metrics = self.default_metrics()
            options.setdefault(
                "weighted_metrics", self.default_weighted_metrics()
            )
        self._has_plain_metrics = bool(metrics)
        self._has_metrics = bool(metrics or options.get("weighted_metrics"))
        self._own_optimizer = optimizer is not None
        self._memory.metrics_built = False
        # Steps take token ids, so the tokenizer need not be compiled by XLA.
        self.tokenizer.supports_jit = True
        try:
            keras.Model.compile(
                self,
                optimizer=optimizer,
                loss=loss,
                metrics=metrics or None,
                jit_compile=jit_compile,
                **options,
            )
        finally:
            self.tokenizer.supports_jit = False
        if optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def _freeze_encoder(self, frozen: bool) -> None:
        """Freezes the encoder; or trains it again, if `compile` froze it."""
        if frozen or self._froze:
            self.network.encoder.trainable = not frozen
            freeze_kernels(self.network.encoder)
        self._froze = frozen

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss, then the compiled metrics."""
        found = keras.Model.metrics.fget(self)
        rest = [m for m in found if m.name != self.loss_mean.name]
        return [self.loss_mean, *rest]

    def rates(self, decay: float) -> Any:
        """Returns variable path -> its share of the learning rate."""
        return task_networks.layer_rates(decay, self.network.config.num_layers)

    def _set_optimizer(self, steps: int, batch_size: int) -> None:
        """Makes ELECTRA's optimizer for a number of steps."""
        assert self._train is not None  # `fit` has compiled it
        config = dataclasses.replace(
            self._train,
            num_train_steps=steps,
            num_train_epochs=None,
            batch_size=batch_size,
        )
        shape = self.network.config
        train, decay = finetune_settings.fit(
            config, shape.hidden_size, batch_size, 1
        )
        rates = self.rates(decay)
        with self.distribute_strategy.scope():
            optimizer = make_optimizer(
                train, steps, learning_rate_multipliers=rates
            )
            optimizer = loss_scaled(optimizer, self.dtype_policy.name)
            optimizer.build(self.trainable_variables)
        self.optimizer = optimizer
        self.train_function = None

    def _planned_steps(self) -> int:
        """Returns for how many steps ELECTRA's optimizer is planned, or 0."""
        optimizer = getattr(self, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer is None:
            return 0
        schedule = optimizer.get_config()["learning_rate"]
        if not isinstance(schedule, dict):
            return 0  # a constant
        return int(schedule["config"].get("num_train_steps", 0))

    # --- steps -------------------------------------------------------------

    def call(  # type: ignore[override]  # strings, not batches of training
        self, inputs: Any, training: bool = False
    ) -> Any:
        """Runs the network on strings, or on rows of token ids.

        Args:
          inputs: inputs of `preprocessor`, or the mapping that it returns.
          training: whether dropout is on.
        """
        if isinstance(inputs, Mapping) and (
            set(INPUTS) < set(inputs) or self._is_averaged(inputs)
        ):
            return self._answers_of_batch(inputs)
        rows = inputs
        if not isinstance(inputs, Mapping):
            rows = self.preprocessor(inputs)
        parts = [rows[name] for name in INPUTS]
        return self.answers(self.network(*parts, training=training))

    def _is_averaged(self, batch: Mapping[str, Any]) -> bool:
        """Returns whether Keras averaged a batch over replicas."""
        shared = self.distribute_strategy.num_replicas_in_sync > 1
        return shared and tf.as_dtype(batch[INPUTS[0]].dtype).is_floating

    def _answers_of_batch(self, batch: Mapping[str, tf.Tensor]) -> Any:
        """Computes the result for a batch of steps, to show Keras its shape.

        Under a distribution strategy Keras passes the mean over replicas, which
        turns token ids into floats.
        """
        whole = {name: tf.cast(batch[name], tf.int32) for name in INPUTS}
        return self.compared(self.forward(whole), whole)

    def __call__(self, inputs: Any, *args: Any, **named: Any) -> Any:
        """See `call`; Python's strings become tensors first."""
        return super().__call__(self.as_input(inputs), *args, **named)

    def unit_losses(
        self,
        batch: Mapping[str, tf.Tensor],
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes unit losses and updates the compiled metrics."""
        if training:
            outputs = self.forward(batch, True, keys)
        else:
            with packed_encoder.where_fastest(self.network):
                outputs = self.forward(batch)
        own = None
        if self._is_own or self._has_metrics:
            y, mask = self.targets(batch)
            y_pred = self.compared(outputs, batch)
            own = self._compiled(batch, y, y_pred, mask, training)
        if own is not None:
            return own
        found = self.task.loss(outputs, batch)
        if streams.WEIGHT in batch:
            found *= batch[streams.WEIGHT]
        return found

    def _compiled(
        self,
        batch: Mapping[str, tf.Tensor],
        y: Any,
        y_pred: Any,
        mask: tf.Tensor | None,
        training: bool,
    ) -> tf.Tensor | None:
        """Updates the compiled metrics, and computes the compiled loss.

        Args:
          batch: the batch; its `sample_weight` is applied, if there is one.
          y: the targets.
          y_pred: the predictions.
          mask: what counts in each row, [B, ...]; None counts all.
          training: whether dropout is on.

        Returns:
          The loss, the same for each row, [B]; None where the loss is the
          task's.
        """
        weight = batch.get(streams.WEIGHT)
        if mask is not None:
            weight = mask if weight is None else mask * weight[:, None]
        found = None
        if self._is_own:
            loss = self.compute_loss(
                batch, y, y_pred, weight, training=training
            )
            # Keras divides it by the number of replicas, to add them up; steps
            # weight replicas by their rows.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            rows = tf.shape(batch["input_ids"])[0]
            found = tf.fill([rows], loss * replicas)
        if self._has_metrics:
            measured = y, tf.nest.map_structure(tf.stop_gradient, y_pred)
            if mask is not None and self._has_plain_metrics:
                # Keras gives metrics that are not weighted no mask.
                if self.jit_compile:
                    raise UserError(
                        "compile(metrics=...): XLA cannot compile these of "
                        "tokens; give them as weighted_metrics=..., or leave "
                        "jit_compile out"
                    )
                counts = mask > 0
                measured, weight = tf.nest.map_structure(
                    lambda each: tf.boolean_mask(each, counts),
                    (measured, weight),
                )
            self.compute_metrics(batch, *measured, weight)
        return found

    def build_metrics(self, features: Features) -> None:
        """Has Keras create the variables of the compiled metrics.

        It does so when it first updates them. In the first training step, that
        has TensorFlow trace the whole step twice.

        Args:
          features: features of examples with answers; the first row is used.
        """
        memory = self._memory
        if memory.metrics_built or not self._has_metrics or self.run_eagerly:
            return
        if self.distribute_strategy.num_replicas_in_sync > 1:
            return  # there Keras creates them itself
        if not features.units:
            return
        batch = features.batch(np.arange(1))
        self.unit_losses({n: tf.constant(v) for n, v in batch.items()})
        self.reset_metrics()
        memory.metrics_built = True

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """See `FineTuner.train_step`."""
        return super().train_step(keras.utils.unpack_x_y_sample_weight(data)[0])

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """See `FineTuner.test_step`."""
        return super().test_step(keras.utils.unpack_x_y_sample_weight(data)[0])

    def get_compile_config(self) -> dict[str, Any]:
        """Returns the arguments of `compile`, and its optimizer."""
        found = super().get_compile_config()
        if not found or self._train is None:
            return found
        optimizer = None
        if self.optimizer is not None:
            optimizer = keras.saving.serialize_keras_object(self.optimizer)
        return found | {
            "optimizer": optimizer,
            "train": json.loads(json.dumps(dataclasses.asdict(self._train))),
            "own_optimizer": self._own_optimizer,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles from the result of `get_compile_config`.

        Args:
          config: that result.
        """
        values = keras.saving.deserialize_keras_object(config)
        own, train = values.pop("own_optimizer"), values.pop("train")
        optimizer = values.pop("optimizer")
        values.pop("loss_weights", None)
        settings = configs.from_dict(FinetuneTrainConfig, train, where="train")
        self.compile(
            optimizer if own else None,
            train=given.usable(settings, own),
            **values,
        )
        if optimizer is not None and not own:
            self.optimizer = optimizer
            self.optimizer.build(self.trainable_variables)

    def __repr__(self) -> str:
        """Describes the model on one line."""
        config = self.network.config
        count = self.count_params() / 1e6
        return (
            f"<{type(self).__name__} {self.described()}: {config.num_layers} "
            f"layers x {config.hidden_size}, {count:.1f} million parameters>"
        )

    def described(self) -> str:
        """Describes the model's labels or purpose, for people."""
        labels = getattr(self.task.head(), "labels", None) or ()
        shown = ", ".join(labels[:6]) + (", ..." if len(labels) > 6 else "")
        return f"of {shown}" if shown else self.task.name


def _policy(dtype: Any) -> Any:
    """Returns a dtype policy; None means Keras' global one."""
    try:
        found = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    except (TypeError, ValueError) as error:
        raise UserError(
            f"dtype: {dtype!r} is none of float32, bfloat16, mixed_bfloat16 "
            "and mixed_float16"
        ) from error
    if found.compute_dtype == "bfloat16":
        precision.check(precision.MIXED)
    return found


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _flat(metrics: Any) -> list[Any]:
    return tf.nest.flatten(metrics) if metrics else []


def _name_of(thing: Any) -> str:
    """Returns the name of a loss or metric in snake case."""
    if isinstance(thing, keras.Loss | keras.Metric):
        return _snake(type(thing).__name__)
    name = getattr(thing, "__name__", thing)
    return name if isinstance(name, str) else ""


# Names that Keras resolves for class numbers and one-hot labels alike.
_OF_BOTH = ("accuracy", "acc", "crossentropy", "ce", "mean")


def _wants_one_hot(things: Sequence[Any]) -> bool:
    """Returns whether losses or metrics take one-hot labels, not numbers.

    All of Keras' that compare rows of `y_true` and `y_pred` do; the user's own
    get numbers.

    Raises:
      UserError: some take one-hot labels and some take numbers.
    """
    names = []
    for thing in things:
        about = thing if hasattr(thing, "__name__") else type(thing)
        if isinstance(thing, str) or about.__module__.startswith("keras."):
            names.append(_name_of(thing))
    numbers = [name for name in names if name.startswith("sparse")]
    wanting = [n for n in names if n not in (*numbers, *_OF_BOTH)]
    if wanting and numbers:
        raise UserError(
            f"{wanting[0]}: needs one-hot labels, {numbers[0]} numbers; take "
            f"{numbers[0].removeprefix('sparse_')}, or leave one out"
        )
    return bool(wanting)


def _check_loss(loss: Any, logits: bool) -> None:
    """Refuses a loss on logits for probabilities, and the reverse.

    Args:
      loss: a loss of Keras, or its name.
      logits: whether the loss gets logits.
    """
    config = loss.get_config() if isinstance(loss, keras.Loss) else {}
    if config.get("from_logits") and not logits:
        raise UserError(
            f"loss: {type(loss).__name__} expects logits (from_logits=True), "
            "and the model gives probabilities; leave from_logits out"
        )
    name = _name_of(loss)
    if logits and name.startswith("binary") and not config.get("from_logits"):
        raise UserError(
            f"loss: {name} expects probabilities, and the model gives scores "
            "of any size; take "
            "keras.losses.BinaryCrossentropy(from_logits=True)"
        )
