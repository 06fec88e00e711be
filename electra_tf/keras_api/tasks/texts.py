"""Predicts classes, labels or numbers: TextClassifier, TextRegressor."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.keras_api.tasks import inputs
from electra_tf.keras_api.tasks.base import TaskModel
from electra_tf.keras_api.tasks.saved import Given
from electra_tf.registration import registered
from electra_tf.tasks.features import Features
from electra_tf.tasks.task import Task
from electra_tf.tasks.texts.classification import Classification
from electra_tf.tasks.texts.targets import Classes, LabelSets, Number, Target
from electra_tf.tasks.texts.task import TextExample, TextTask

C = TypeVar("C", bound="TextClassifier")
R = TypeVar("R", bound="TextRegressor")

_PAIR = "text_pair"


class _TextModel(TaskModel):
    """Reads texts and pairs; subclasses define the answers."""

    task: TextTask
    _paired: bool | None = None  # whether it was trained on pairs

    @property
    def target(self) -> Target:
        """The kind of answer; see `tasks.texts.targets`."""
        return self.task.target

    @property
    def texts_of_an_input(self) -> int:
        """See `SavedTask.texts_of_an_input`."""
        named = getattr(self.task.options, "text_pair_column", None)
        of_glue = getattr(getattr(self.task, "set", None), "texts", ())
        paired = self._paired or named is not None or len(of_glue) > 1
        return 2 if paired else 1

    def read(self, x: Any, y: Any = None) -> list[TextExample]:
        """See `TaskModel.read`."""
        first, second = inputs.texts(x)
        self._check_pairs(second is not None, y is not None)
        answers: list[Any] = [None] * len(first)
        if y is not None:
            answers = self._answers(y)
            inputs.same_number(len(first), answers, "y")
        pairs: Sequence[Any] = second or [None] * len(first)
        return [
            TextExample(text, pair, answer, f"x[{i}]", i)
            for i, (text, pair, answer) in enumerate(zip(first, pairs, answers))
        ]

    def _check_pairs(self, paired: bool, learning: bool) -> None:
        """Refuses to mix texts and pairs: the first training data decides.

        Until it does, an imported model that does not say takes both.
        """
        options = self.task.options
        if not hasattr(options, "text_pair_column"):
            return  # the sets of GLUE define it
        wanted = self._paired
        if options.text_pair_column is not None:
            wanted = True
        elif wanted is None and self._pairs_too:
            return
        elif wanted is None and self.learned:
            wanted = False
        if wanted is not None and paired != wanted:
            what = "pairs of texts" if wanted else "texts by themselves"
            raise UserError(f"x: expected {what}, which the model was made for")
        if learning and wanted is None:
            self._decide_pairs(paired)

    @property
    def _pairs_too(self) -> bool:
        return bool(getattr(self.task, "pairs_too", False))

    def _decide_pairs(self, paired: bool) -> None:
        """Makes the model one of pairs, or of texts by themselves."""
        self._paired = paired
        self.task.state.pop("pairs", None)
        if paired:
            self.task.options = dataclasses.replace(
                self.task.options, text_pair_column=_PAIR
            )

    def _look(self, examples: Sequence[Any]) -> None:
        if self._pairs_too and examples:
            self._decide_pairs(examples[0].text_pair is not None)
        super()._look(examples)

    def _answers(self, y: Any) -> list[Any]:
        raise NotImplementedError


@registered
class TextClassifier(_TextModel):
    """Classifies texts, or pairs of texts.

        from electra_tf import TextClassifier

        classifier = TextClassifier.from_pretrained(
            "model", labels=["bad", "good"]
        )
        classifier.fit(["a good cat", "a sad dog"], ["good", "bad"], epochs=2)
        classifier.predict(["a very good cat"])  # probabilities, [1, 2]
        classifier.classify(["a very good cat"])  # names: ["good"] or ["bad"]
        classifier.save("classifier.keras")

    Inputs are lists, arrays or string tensors of texts; for pairs a tuple of
    two such, or a list of pairs; or a `tf.data.Dataset` of (texts, labels).
    Labels are names or their positions; with `multi_label` lists of names, or a
    matrix of 0 and 1, [texts, labels]. Keras' losses and metrics get them in
    the form they take, one-hot or as numbers; your own get numbers.

    Calling the model and `predict` give probabilities, float32
    [texts, labels], `classify` names, `answer` what the command `predict`
    gives, `scores` what `evaluate` gives.

    It is a `keras.Model`: `compile`, callbacks, `save` and functional models
    work as usual. See `tasks.texts.classification` for what is learned.
    """

    extra_scores = ()
    learned_options = ("multi_label",)
    # Whether the next training data change the weights of the classes.
    _reweighs: bool = False

    @classmethod
    def from_pretrained(
        cls: type[C],
        path: AnyPath,
        *,
        labels: Sequence[str] | None = None,
        num_classes: int | None = None,
        multi_label: bool = False,
        max_seq_length: int | None = None,
        options: Mapping[str, Any] | None = None,
        vocab: AnyPath | None = None,
        overrides: Mapping[str, Any] | None = None,
        load_weights: bool = True,
        seed: int = 42,
        dtype: Any = None,
        name: str | None = None,
    ) -> C:
        """Loads an encoder for new classes, or a fine-tuned classifier.

        Args:
          path: a model directory, a run of `pretrain` or `finetune`, a
            checkpoint of another format, or a handle.
          labels: the classes' names, in order; or
          num_classes: their number; names are "0", "1" and so on. Without
            either, the classifier at `path` is opened.
          multi_label: whether a text has any number of labels, not just one.
          max_seq_length: tokens of a row; longer texts are truncated. 128
            unless the model says otherwise.
          options: other options of the task `classification`.
          vocab: a vocabulary file, where the model has none.
          overrides: settings of the model, as `{"model.hidden_dropout": 0.2}`.
          load_weights: False takes only shape and vocabulary.
          seed: seed of the head's first weights, dropout and the order of rows.
          dtype: "float32", "mixed_bfloat16" or "mixed_float16"; Keras'
            global policy where None.
          name: name of the model.

        Raises:
          UserError: the checkpoint is missing, incomplete, or without a head
            where no labels are given.
        """
        names = inputs.names(labels, num_classes)
        least = 1 if multi_label else 2
        if names is not None and len(names) < least:
            raise UserError(
                f"{'num_classes' if labels is None else 'labels'}: "
                f"{len(names)}; expected at least {least}"
            )
        if names is None and multi_label:
            raise UserError("labels: name those that a text may have")
        chosen = dict(options or {})
        if multi_label:
            chosen["multi_label"] = True
        state = None
        if names is not None:
            state = {"labels": names}
            chosen["labels"] = names
        given = Given(
            chosen, max_seq_length, vocab, overrides,
            load_weights, seed, dtype, name,
        )  # fmt: skip
        made = cls._open(path, "classification", state, given)
        asked = chosen.get("labels")
        if asked is not None and made.learned:
            cls.kept(path, "labels", tuple(asked), made.labels)
        if chosen and isinstance(made.task, Classification):
            made.task.check_options()
            made._reweighs = chosen.get("class_weights") is not None
        return made

    @classmethod
    def takes(cls, task: Task) -> bool:
        """See `TaskModel.takes`."""
        return isinstance(task, TextTask) and isinstance(
            task.target, Classes | LabelSets
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in order."""
        return self.target.labels

    @property
    def multi_label(self) -> bool:
        """Whether a text has any number of labels."""
        return isinstance(self.target, LabelSets)

    @property
    def has_classes(self) -> bool:
        """See `CompiledTask.has_classes`."""
        return not self.multi_label

    def classify(
        self, x: Any, batch_size: int | None = None, verbose: Any = 0
    ) -> list[Any]:
        """Names the class of each input.

        Args:
          x: inputs of `predict`.
          batch_size: rows in a batch, 64 where None.
          verbose: 1 for a progress bar.

        Returns:
          A label for each input; with `multi_label` a list of labels.
        """
        key = "labels" if self.multi_label else "label"
        return [found[key] for found in self.answer(x, batch_size, verbose)]

    def _answers(self, y: Any) -> list[Any]:
        given, labels = inputs.plain(y, "y"), self.labels
        if not isinstance(given, list):
            raise UserError(f"y: expected a list of labels, got {y!r:.60}")
        if self.multi_label:
            return [
                tuple(labels[i] for i in _label_set(row, labels, f"y[{n}]"))
                for n, row in enumerate(given)
            ]
        return [
            labels[_one_label(value, labels, f"y[{n}]")]
            for n, value in enumerate(given)
        ]

    def answers(self, outputs: Any) -> tf.Tensor:
        """Returns probabilities, float32 [batch, labels]."""
        return self.target.outputs(outputs.logits)["probabilities"]

    def targets(self, batch: Mapping[str, tf.Tensor]) -> tuple[Any, Any]:
        """See `TaskModel.targets`."""
        if self.multi_label:
            return batch["label_set"], None
        ids = batch["label_ids"]
        if self.one_hot:
            ids = tf.one_hot(ids, len(self.labels))
        return ids, None

    def class_shares(
        self, examples: Sequence[Any], class_weight: Mapping[Any, float]
    ) -> list[float]:
        """See `TaskModel.class_shares`."""
        if self.multi_label:
            return super().class_shares(examples, class_weight)
        shares = dict.fromkeys(self.labels, 1.0)
        weights = inputs.numbers(list(class_weight.values()), "class_weight")
        for key, weight in zip(class_weight, weights):
            name = self.labels[
                inputs.position(inputs.plain(key), self.labels, "class_weight")
            ]
            shares[name] = weight
        return [shares[example.answer] for example in examples]

    def default_metrics(self) -> list[Any]:
        """Returns accuracy; with `multi_label` the share of right decisions."""
        if not isinstance(self.target, LabelSets):
            return ["accuracy"]
        return [
            keras.metrics.BinaryAccuracy(
                "binary_accuracy", threshold=self.target.threshold
            )
        ]

    def _look(self, examples: Sequence[Any]) -> None:
        # A fine-tuned classifier has learned; its new weights have not.
        if self._reweighs and self.learned:
            self.learn(examples)
            self.make_test_function(force=True)
        self._reweighs = False
        super()._look(examples)

    def learn(self, examples: Sequence[Any]) -> None:
        """See `TaskModel.learn`."""
        if getattr(self.task.options, "class_weights", None) is not None:
            self.task.fit(examples)

    def predicted(
        self,
        examples: Sequence[Any],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> Sequence[Any]:
        """See `TaskModel.predicted`."""
        return [output["probabilities"] for output in outputs]

    def joined(self, found: list[Any]) -> np.ndarray:
        """See `TaskModel.joined`."""
        shape = (-1, len(self.labels))
        return np.asarray(found, "float32").reshape(shape)


def _one_label(value: Any, labels: Sequence[str], where: str) -> int:
    if isinstance(value, list):
        if len(value) == 1:
            value = value[0]
        elif len(value) == len(labels) and _is_one_hot(value):
            return value.index(1)
    return inputs.position(value, labels, where)


def _is_one_hot(row: list[Any]) -> bool:
    return row.count(1) == 1 and row.count(0) == len(row) - 1


def _label_set(value: Any, labels: Sequence[str], where: str) -> list[int]:
    if not isinstance(value, list):
        raise UserError(
            f"{where}: expected a list of labels, or a 0 or 1 for each, got "
            f"{value!r:.40}"
        )
    if all(isinstance(v, str) for v in value):
        return sorted({inputs.position(v, labels, where) for v in value})
    if len(value) != len(labels) or not all(v in (0, 1) for v in value):
        raise UserError(
            f"{where}: expected names of labels, or a 0 or 1 for each of the "
            f"{len(labels)}, got {value!r:.40}"
        )
    return [i for i, mark in enumerate(value) if mark]


@registered
class TextRegressor(_TextModel):
    """Predicts a number for texts, or pairs of texts.

        from electra_tf import TextRegressor

        regressor = TextRegressor.from_pretrained("model")
        pairs = (["a cat sat", "a dog"], ["the cat sat", "one house"])
        regressor.fit(pairs, [4.8, 0.5])
        regressor.predict(pairs)  # numbers like those of fit, [2]

    Inputs are those of `TextClassifier`; answers are numbers of any size. The
    network learns them scaled to mean 0 and standard deviation 1, which the
    first `fit` finds (for a dataset in its first batches), or divided by the
    option `scale`.

    Calling the model and `predict` give numbers, float32 [texts], `answer`
    what the command `predict` gives, `scores` what `evaluate` gives: Pearson's
    and Spearman's correlation among others.
    """

    extra_scores = ("pearson", "spearman")
    afresh = "new_head=True"

    @classmethod
    def from_pretrained(
        cls: type[R],
        path: AnyPath,
        *,
        scale: float | None = None,
        max_seq_length: int | None = None,
        options: Mapping[str, Any] | None = None,
        new_head: bool = False,
        vocab: AnyPath | None = None,
        overrides: Mapping[str, Any] | None = None,
        load_weights: bool = True,
        seed: int = 42,
        dtype: Any = None,
        name: str | None = None,
    ) -> R:
        """Loads an encoder for a new quantity, or a fine-tuned regressor.

        Args:
          path: see `TextClassifier.from_pretrained`.
          scale: divisor of the numbers in training; None finds it in the data.
          max_seq_length: tokens of a row; longer texts are truncated.
          options: other options of the task `regression`.
          new_head: whether to start a new head even where `path` is a
            regressor.
          vocab: see `TextClassifier.from_pretrained`.
          overrides: see `TextClassifier.from_pretrained`.
          load_weights: see `TextClassifier.from_pretrained`.
          seed: see `TextClassifier.from_pretrained`.
          dtype: see `TextClassifier.from_pretrained`.
          name: see `TextClassifier.from_pretrained`.

        Raises:
          UserError: the checkpoint is missing, incomplete, or fine-tuned for
            another task; or `scale` is not that of the regressor there.
        """
        chosen = dict(options or {})
        if scale is not None:
            chosen["scale"] = scale
        given = Given(
            chosen, max_seq_length, vocab, overrides,
            load_weights, seed, dtype, name,
        )  # fmt: skip
        state = {"offset": 0.0, "scale": scale or 1.0}
        made = cls._open(path, "regression", state, given, new_head)
        asked = chosen.get("scale")
        if asked is not None and made.learned:
            assert isinstance(made.target, Number)
            cls.kept(path, "scale", float(asked), made.target.scale)
        return made

    @classmethod
    def takes(cls, task: Task) -> bool:
        """See `TaskModel.takes`."""
        return isinstance(task, TextTask) and isinstance(task.target, Number)

    def _answers(self, y: Any) -> list[Any]:
        return inputs.numbers(y, "y")

    def learn(self, examples: Sequence[Any]) -> None:
        """See `TaskModel.learn`."""
        self.task.fit(examples)

    def answers(self, outputs: Any) -> tf.Tensor:
        """Returns numbers on the data's scale, float32 [batch]."""
        target = self.target
        assert isinstance(target, Number)
        found = target.outputs(outputs.logits)["score"]
        return found * target.scale + target.offset

    def targets(self, batch: Mapping[str, tf.Tensor]) -> tuple[Any, Any]:
        """See `TaskModel.targets`."""
        target = self.target
        assert isinstance(target, Number)
        found = batch["targets"] * target.scale + target.offset
        return found[:, tf.newaxis], None

    def compared(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> Any:
        """See `CompiledTask.compared`: a column, for sample weights."""
        del batch
        return self.answers(outputs)[:, tf.newaxis]

    def default_metrics(self) -> list[Any]:
        """Returns the mean squared error."""
        return [keras.metrics.MeanSquaredError(name="mse")]

    def predicted(
        self,
        examples: Sequence[Any],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> Sequence[Any]:
        """See `TaskModel.predicted`."""
        found = self.task.predictions(examples, features, outputs)
        return [prediction["score"] for prediction in found]

    def joined(self, found: list[Any]) -> np.ndarray:
        """See `TaskModel.joined`."""
        return np.asarray(found, "float32")
