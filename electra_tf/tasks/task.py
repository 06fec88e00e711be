"""Defines the interface of a task: what fine-tuning needs to know of it."""

import abc
import collections
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.tasks import splits
from electra_tf.tasks.features import Features
from electra_tf.text.tokenizer import Tokenizer

# Attributes of examples that have texts.
_TEXTS = (
    "text", "text_pair", "tokens", "question", "context", "query", "passage",
    "source", "target",
)  # fmt: skip

Prediction = dict[str, Any]  # one example's answer, ready for JSON


class Task(abc.ABC):
    """A task that an encoder is fine-tuned for.

    A task reads splits into examples (objects of its own), makes features of
    them, defines the head on the encoder and its loss, turns outputs into
    predictions and scores those. It has no network and no training state, so
    one object serves training, evaluation and serving.

    What it learns from the data (labels, class weights, a threshold) goes into
    `state`, which is saved in the model directory and passed to the constructor
    when that is loaded.

    Attributes:
      Options: a frozen dataclass whose fields all have defaults: the keys that
        a settings file may have under `options`.
      name: the name that the user gave, such as "glue/rte".
      options: an instance of `Options`.
      data: value of --data, a directory or file; None where not given.
      state: what the task learned from data, as JSON values.
      trained: whether it was made with the state of an existing model.
    """

    Options: ClassVar[type]
    # The metric that chooses the best checkpoint; higher is better.
    metric: str
    # Default number of epochs; a class or a property may have another one
    # (paper, appendix: 10 for RTE and STS-B, 2 for SQuAD).
    default_epochs: float = 3.0
    # Whether training and validation examples are joined and divided again, as
    # for a cross-validation: then there may be too few of the latter.
    parts_joined: bool = False

    def __init__(
        self,
        name: str = "",
        options: Any = None,
        data: str | None = None,
        state: Mapping[str, Any] | None = None,
    ):
        self.name = name or type(self).__name__.lower()
        self.options = self.Options() if options is None else options
        self.data = data
        self.state: dict[str, Any] = dict(state or {})
        self.trained = bool(state)
        self.set_up()

    def set_up(self) -> None:  # noqa: B027
        """Finishes construction with what follows from name, options and state.

        Raises:
          UserError: the name or the options are not valid.
        """

    # --- examples ----------------------------------------------------------

    @property
    def validation_splits(self) -> tuple[str, ...]:
        """The splits scored during and after training; the first selects."""
        return ("validation",)

    @property
    def test_splits(self) -> tuple[str, ...]:
        """The splits predicted at the end, and scored where they have
        labels.
        """
        return ("test",)

    @abc.abstractmethod
    def read(self, split: str) -> Sequence[Any] | None:
        """Reads the examples of a split, in order.

        Args:
          split: "train", or one of the validation and test splits.

        Returns:
          The examples; None where the data has no such split.

        Raises:
          UserError: data is missing or wrong; file and line are named.
        """

    def draw(
        self, examples: Sequence[Any], count: int, seed: int
    ) -> Sequence[Any]:
        """Samples `count` of the training examples, in their order."""
        chosen = np.random.default_rng(seed).choice(
            len(examples), count, replace=False
        )
        return [examples[i] for i in np.sort(chosen)]

    def identity(self, example: Any) -> str | None:
        """Returns what examples that are held out together share.

        By default it is None: each example may be held out alone.
        """
        return None

    def stratum(self, examples: Sequence[Any]) -> str:
        """Returns what the parts of a cross-validation have in equal shares.

        By default these are the true labels of the examples.

        Args:
          examples: examples of one `identity`.
        """
        truths = {self.truth(example) or "" for example in examples}
        return "\0".join(sorted(truths))

    def check_held_out(  # noqa: B027
        self, examples: Sequence[Any], place: str
    ) -> None:
        """Refuses held-out examples that cannot be scored.

        Args:
          examples: those of the split that chooses the weights.
          place: the file or part that they come from, for messages.

        Raises:
          UserError: nothing can be scored.
        """

    def fit(self, examples: Sequence[Any]) -> None:  # noqa: B027
        """Learns `state` from training examples.

        Called once, before `head` and `features`.
        """

    @abc.abstractmethod
    def example(self, record: Mapping[str, Any], place: str) -> Any:
        """Makes an example without its answer, from a record to predict for.

        Args:
          record: column -> value; values are texts from TSV and CSV, and JSON
            values from JSON Lines and Python.
          place: its place ("file:line"), for messages.

        Raises:
          UserError: a column is missing or wrong.
        """

    def asked(self, record: Mapping[str, Any], place: str) -> Any:
        """Makes an example from a program's request, not from a row of a file.

        By default the same as `example`. Tasks of texts also accept an empty
        text, as an exported model does.
        """
        return self.example(record, place)

    def record(self, item: Any) -> Mapping[str, Any]:
        """Converts an input of `predict` in Python to a record for `asked`.

        By default a mapping is a record already, a text is {"text": text}, and
        a pair is {"text": first, "text_pair": second}.

        Raises:
          UserError: the input is none of these.
        """
        if isinstance(item, Mapping):
            return item
        if isinstance(item, str):
            return {"text": item}
        if isinstance(item, tuple | list) and len(item) == 2:
            return {"text": item[0], "text_pair": item[1]}
        raise UserError(
            f"expected a text, a pair of texts or a mapping, got {item!r:.60}"
        )

    # --- the model's side --------------------------------------------------

    @abc.abstractmethod
    def head(self) -> TaskHeadConfig:
        """Returns the head on the encoder."""

    @abc.abstractmethod
    def features(
        self, tokenizer: Tokenizer, examples: Sequence[Any], training: bool
    ) -> Features:
        """Returns the model inputs, and in training targets, of examples in
        order.

        Args:
          tokenizer: the model's tokenizer.
          examples: examples from `read` or `example`.
          training: whether to add targets; examples that cannot be trained on
            are then left out, counted and logged.
        """

    @abc.abstractmethod
    def loss(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the loss of each unit (row, or group of rows), [B] float32.

        Args:
          outputs: the network's output (`models.task_networks`), for the B * G
            rows of a batch with groups of G.
          batch: inputs and targets, with groups as an axis: [B, G, L].
        """

    def network_inputs(
        self, batch: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns the arrays of a batch that are further inputs of the network.

        They are used in training only: a joint span head takes
        `start_positions`.
        """
        return {}

    @abc.abstractmethod
    def outputs(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns what predictions need of the network's outputs, [rows, ...].

        It runs in the graph; small tensors make prediction fast.
        """

    def models(self, network: Any) -> dict[str, "tuple[Task, Any]"]:
        """Returns the models of a trained network to save as directories.

        Args:
          network: a network with the head from `head`.

        Returns:
          Folder in RUN/model -> a task and its network; "" is RUN/model.
        """
        return {"": (self, network)}

    def infer(
        self,
        network: Any,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        segment_ids: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Computes what predictions need from rows, in the graph.

        By default these are the network's outputs, reduced by `outputs`. A task
        that generates texts searches here.

        Args:
          network: a network with the head from `head`.
          input_ids: [B, L] int32.
          input_mask: [B, L] int32.
          segment_ids: [B, L] int32.
        """
        return self.outputs(
            network(input_ids, input_mask, segment_ids, training=False)
        )

    def quick(self) -> "Task":
        """Returns the task that is scored during training.

        It is the task itself, unless there is a cheaper way to predict.
        """
        return self

    # --- answers -----------------------------------------------------------

    @abc.abstractmethod
    def predictions(
        self,
        examples: Sequence[Any],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> list[Prediction]:
        """Returns one prediction for each example.

        Args:
          examples: N examples.
          features: their features, made with `training=False`.
          outputs: the values of `outputs` for each row of the features, in
            order, as arrays; padded dimensions are still padded.
        """

    @abc.abstractmethod
    def scores(
        self, examples: Sequence[Any], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns metrics of predictions against the examples' answers.

        Shares are in percent (0 to 100), as the field reports them.

        Returns:
          Name -> value, including `metric`; empty where the examples have no
          answers.
        """

    def tune(  # noqa: B027
        self, examples: Sequence[Any], predictions: Sequence[Prediction]
    ) -> None:
        """Chooses on held-out data what `state` keeps, such as a threshold.

        It is called at the end of training, with the best weights.
        """

    def files(
        self,
        split: str,
        examples: Sequence[Any],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Returns files to write beside a split's predictions: name -> content.

        Examples are n-best lists, and the files of a leaderboard.
        """
        return {}

    def truth(self, example: Any) -> str | None:
        """Returns the true label, to count against `prediction["label"]`.

        It is None where answers are not labels, or the example has none; by
        default it is the attribute `label`, if that is a text.
        """
        label = getattr(example, "label", None)
        return label if isinstance(label, str) else None

    def texts(self, example: Any) -> Sequence[str]:
        """Returns the texts of an example; by default attributes of usual
        names.
        """
        found: list[str] = []
        for name in _TEXTS:
            value = getattr(example, name, None)
            if isinstance(value, str):
                found.append(value)
            elif isinstance(value, tuple) and name == "tokens":
                found += value
        return found

    def classes(self, examples: Sequence[Any]) -> dict[str, int]:
        """Counts the examples of each answer; empty where that says nothing.

        By default it counts the values of `truth`, most frequent first.
        """
        truths = (self.truth(example) for example in examples)
        counts = collections.Counter(t for t in truths if t is not None)
        return dict(counts.most_common())

    def one_answer(
        self, examples: Sequence[Any], predictions: Sequence[Prediction]
    ) -> str | None:
        """Returns the answer of all predictions, if it is one though truths
        differ.

        It is None where they differ, or cannot be compared. A network that has
        collapsed in training gives one answer.
        """
        said = {prediction.get("label") for prediction in predictions}
        truths = {self.truth(example) for example in examples} - {None}
        if len(said) == 1 and len(truths) > 1 and None not in said:
            return str(said.pop())
        return None

    def details(
        self, examples: Sequence[Any], predictions: Sequence[Prediction]
    ) -> dict[str, dict[str, float]]:
        """Returns scores by class or type, name -> metric -> value, to report.

        `support` among them is a count. Empty for tasks without classes.
        """
        return {}

    def constant(self, train: Sequence[Any], held_out: Sequence[Any]) -> list:
        """Returns predictions for `held_out` from the training answers alone.

        They are the baseline to beat: the most frequent label, the mean, the
        first words. Empty for tasks without one.
        """
        return []


class FileTask(Task):
    """A task whose splits are files, or parts of the training file.

    `data` is a directory, or the training file: without a validation file a
    part of it is held out (`SplitOptions.validation_fraction`). A trained model
    reads any split from the whole of such a file, unless it was trained on a
    part of that very file: then "validation" is the other part.

    `divided` in `state` is the fingerprint of a training file from which a part
    was held out.
    """

    # The usual name of a training file, for messages.
    usual_file: ClassVar[str]
    # A part without an example is an error. Models of such tasks without
    # `divided` are from before it was saved: they read the held-out part of any
    # file.
    strict_parts: ClassVar[bool] = False

    @abc.abstractmethod
    def read_files(self, paths: Sequence[str], split: str) -> Sequence[Any]:
        """Reads all examples of a split's files, which `find` returned.

        Raises:
          UserError: data is wrong; file and line are named.
        """

    @abc.abstractmethod
    def identity(self, example: Any) -> str:
        """Returns the text that decides whether an example is held out."""

    def find(self, split: str) -> tuple[str, ...]:
        """Returns the files of a split; none where there is no such split.

        Raises:
          UserError: a named file is missing, or several files could be meant.
        """
        option = f"{split}_file"
        given = getattr(self.options, option)
        names = self.file_names(split)
        path = splits.locate(split, self.data, given, option, names=names)
        if path is None:
            return ()
        named = given is not None or self.data == path
        return (path,) if named else splits.shards(path)

    def read_shards(self, paths: Sequence[str], split: str) -> Sequence[Any]:
        """Reads a split whose examples are in several files, in order."""
        return [e for path in paths for e in self.read_files((path,), split)]

    def file_names(self, split: str) -> Sequence[str] | None:
        """Returns possible names of a split's file; None to search by a
        word.
        """
        return None

    def look(self, examples: Sequence[Any]) -> None:
        """Sees all training examples, of which `fit` may get only some."""

    def read(self, split: str) -> Sequence[Any] | None:
        """Returns the examples of a split; see `Task.read`."""
        if split not in splits.SPLITS:
            return None
        paths, divided = self._source(split)
        if not paths:
            if split == "train":
                raise splits.missing(self.data, self.usual_file)
            return None
        found = (
            self.read_shards(paths, split)
            if splits.are_shards(paths)
            else self.read_files(paths, split)
        )
        if split == "train":
            self.look(found)
            if divided or self.strict_parts:
                self.state["divided"] = (
                    splits.fingerprint(paths) if divided else None
                )
        return self.part(found, split, paths[0]) if divided else found

    def part(
        self, examples: Sequence[Any], split: str, place: str
    ) -> list[Any]:
        """Returns the training examples to train on, or those held out.

        Args:
          examples: all training examples.
          split: "train" or "validation".
          place: the file that they come from, for messages.
        """
        fraction = self.options.validation_fraction
        seed = self.options.split_seed
        wanted = split == "validation"
        found = [
            example
            for example in examples
            if splits.held_out(self.identity(example), fraction, seed) == wanted
        ]
        needed = split == "train" or not self.parts_joined
        if not found and self.strict_parts and needed:
            raise UserError(
                f"{place}: too few examples: with a validation_fraction of "
                f"{fraction} none of the {len(examples)} is for {split}; set "
                "options.validation_fraction to another share (0 holds none "
                "out), or give options.validation_file"
            )
        return found

    def _source(self, split: str) -> tuple[tuple[str, ...], bool]:
        """Returns a split's files, and whether it is only a part of them."""
        fraction = self.options.validation_fraction
        if self.trained and self.data and splits.is_one(self.data):
            paths: tuple[str, ...] = (self.data,)
            known = not self.strict_parts or "divided" in self.state
            divided = bool(fraction) and (
                not known
                or splits.fingerprint(paths) == self.state.get("divided")
            )
            return ((), False) if divided and split == "test" else (
                paths, divided,
            )  # fmt: skip
        paths = self.find(split)
        if split == "test" or (split == "validation" and paths):
            return paths, False
        if split == "train":
            return paths, fraction > 0 and not self.find("validation")
        return (self.find("train") if fraction else ()), True
