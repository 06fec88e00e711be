"""The contract of a task: what fine-tuning must know of it, and no more."""

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

# Attributes of examples that hold texts.
_TEXTS = (
    "text", "text_pair", "tokens", "question", "context", "query", "passage",
    "source", "target",
)  # fmt: skip

Prediction = dict[str, Any]  # one example's answer, ready for JSON


class Task(abc.ABC):
    """Something an encoder is fine-tuned for.

    A task reads splits into examples (objects of its own), makes features of
    them, says which head stands on the encoder and what its loss is, turns
    outputs into predictions and scores those. It holds no network and no
    training state, so one object serves training, evaluation and serving.

    What it learns from the data (labels, class weights, a threshold) goes into
    `state`, which is kept in the model directory and given back to the
    constructor when that is loaded.

    Attributes:
      Options: a frozen dataclass, its fields all with defaults; the keys that
        a settings file may have under `options`.
      name: as the user gave it, such as "glue/rte".
      options: an instance of `Options`.
      data: the user's --data, a directory or file; None where not given.
      state: JSON values; see above.
      trained: whether it was made with a state, of a model that is there.
    """

    Options: ClassVar[type]
    # The metric that chooses the best checkpoint; higher is better.
    metric: str
    # Passes over the training data, where the settings do not say; a class or
    # a property may have another number (paper, appendix: 10 for RTE and
    # STS-B, 2 for SQuAD).
    default_epochs: float = 3.0

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
        """Ends the construction: what follows from name, options and state.

        Raises:
          UserError: a name or options that cannot be.
        """

    # --- examples ----------------------------------------------------------

    @property
    def validation_splits(self) -> tuple[str, ...]:
        """Scored during and after training; the first one selects."""
        return ("validation",)

    @property
    def test_splits(self) -> tuple[str, ...]:
        """Predicted, and where labels are there scored, at the end."""
        return ("test",)

    @abc.abstractmethod
    def read(self, split: str) -> Sequence[Any] | None:
        """Returns the examples of a split, in its order.

        Args:
          split: "train", or one of the above.

        Returns:
          None where the data has no such split.

        Raises:
          UserError: data that is missing or wrong; file and line are named.
        """

    def draw(
        self, examples: Sequence[Any], count: int, seed: int
    ) -> Sequence[Any]:
        """Returns `count` of the training examples at random, in their
        order.
        """
        chosen = np.random.default_rng(seed).choice(
            len(examples), count, replace=False
        )
        return [examples[i] for i in np.sort(chosen)]

    def fit(self, examples: Sequence[Any]) -> None:  # noqa: B027
        """Learns what there is to learn from training examples: `state`.

        Called once, before `head` and `features`.
        """

    @abc.abstractmethod
    def example(self, record: Mapping[str, Any], place: str) -> Any:
        """One example without its answer, from a record to predict for.

        Args:
          record: column -> value; values are texts from TSV and CSV, JSON
            values from JSON Lines and from Python.
          place: where it stands ("file:line"), for messages.

        Raises:
          UserError: a column is missing or wrong.
        """

    def asked(self, record: Mapping[str, Any], place: str) -> Any:
        """One example from what a program asks, not from a row of a file.

        By default as `example`. Tasks of texts take an empty text too, as an
        exported model does.
        """
        return self.example(record, place)

    def record(self, item: Any) -> Mapping[str, Any]:
        """Returns what `predict` takes in Python -> a record for `asked`.

        By default a mapping is one already, a text is {"text": text}, and
        a pair is {"text": first, "text_pair": second}.

        Raises:
          UserError: neither.
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
        """Model inputs, and in training targets, of examples in order.

        Args:
          tokenizer: the model's.
          examples: as `read` or `example` give them.
          training: whether targets are wanted; an example that cannot be
            trained on is left out then, counted and told.
        """

    @abc.abstractmethod
    def loss(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns [B] float32, the loss of each unit (row, or group of rows).

        Args:
          outputs: what the network returns (`models.task_networks`), for the
            B * G rows of a batch with groups of G.
          batch: inputs and targets, groups still together: [B, G, L].
        """

    def network_inputs(
        self, batch: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns what of the batch the network is given beside the three
        inputs.

        In training alone; a joint span head takes `start_positions`.
        """
        return {}

    @abc.abstractmethod
    def outputs(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Of the network's outputs, what predictions need: [rows, ...].

        Runs in the graph; small tensors make prediction fast.
        """

    def models(self, network: Any) -> dict[str, "tuple[Task, Any]"]:
        """Returns what of a trained network is kept as model directories.

        Args:
          network: with the head that `head` asked for.

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
        """From rows to what predictions need of them, in the graph.

        By default the network's outputs, as `outputs` keeps them. A task
        that writes texts searches here.

        Args:
          network: with the head that `head` asked for.
          input_ids: [B, L] int32.
          input_mask: [B, L] int32.
          segment_ids: [B, L] int32.
        """
        return self.outputs(
            network(input_ids, input_mask, segment_ids, training=False)
        )

    def quick(self) -> "Task":
        """Returns the task as it is scored while it is trained.

        Itself, unless its answers can be had at less cost.
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
        """One prediction for each example.

        Args:
          examples: N of them.
          features: what `features(..., training=False)` made of them.
          outputs: for each row of the features, in order, what `outputs` gave,
            as arrays; a dimension of padded length is still padded.
        """

    @abc.abstractmethod
    def scores(
        self, examples: Sequence[Any], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns metrics of predictions against the examples' answers.

        All as the field reports them: shares in percent (0 to 100).

        Returns:
          Name -> value, `metric` among them; empty where the examples have
          no answers.
        """

    def tune(  # noqa: B027
        self, examples: Sequence[Any], predictions: Sequence[Prediction]
    ) -> None:
        """Chooses what is chosen on held-out data (a threshold): `state`.

        Called at the end of training, with the best weights.
        """

    def files(
        self,
        split: str,
        examples: Sequence[Any],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Files to write beside the predictions of a split: name -> content.

        Such as n-best lists, or what a leaderboard takes.
        """
        return {}

    def truth(self, example: Any) -> str | None:
        """Returns the label to set against `prediction["label"]` in a confusion
        matrix.

        None where answers are no labels, or the example has none; by default
        its attribute `label`, if that is a text.
        """
        label = getattr(example, "label", None)
        return label if isinstance(label, str) else None

    def texts(self, example: Any) -> Sequence[str]:
        """Returns the texts of an example; by default its attributes of usual
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
        """Returns how many examples have each answer; empty where that says
        nothing.

        By default of what `truth` gives, the most frequent first.
        """
        truths = (self.truth(example) for example in examples)
        counts = collections.Counter(t for t in truths if t is not None)
        return dict(counts.most_common())

    def one_answer(
        self, examples: Sequence[Any], predictions: Sequence[Prediction]
    ) -> str | None:
        """Returns the answer that all predictions give, though the truths
        differ.

        None where they give several, or that cannot be told: a network that
        has collapsed while it was trained gives one.
        """
        said = {prediction.get("label") for prediction in predictions}
        truths = {self.truth(example) for example in examples} - {None}
        if len(said) == 1 and len(truths) > 1 and None not in said:
            return str(said.pop())
        return None

    def details(
        self, examples: Sequence[Any], predictions: Sequence[Prediction]
    ) -> dict[str, dict[str, float]]:
        """Scores by class or type: name -> metric -> value, for the report.

        `support` among them is a count. Empty where there is no such thing.
        """
        return {}

    def constant(self, train: Sequence[Any], held_out: Sequence[Any]) -> list:
        """Returns predictions for `held_out` that look at the training answers
        alone.

        The score to beat: the most frequent label, the mean, the first
        words. An empty list where there is no such thing.
        """
        return []


class FileTask(Task):
    """A task whose splits are files, or parts of the training file.

    `data` is a directory, or the training file: without a validation file a
    part of it is held out (`SplitOptions.validation_fraction`). A model that
    is there already reads whichever split is asked for from such a file, and
    all of it; unless it was trained on a part of that very file: then
    "validation" is the other part.

    In `state`, `divided` is the fingerprint of a training file that a part was
    held out of.
    """

    # What a training file is called, for messages.
    usual_file: ClassVar[str]
    # A part without an example is an error, not an empty one. Models of such
    # tasks that know nothing of `divided` were made before it was kept: they
    # read the part that is held out of any file.
    strict_parts: ClassVar[bool] = False

    @abc.abstractmethod
    def read_files(self, paths: Sequence[str], split: str) -> Sequence[Any]:
        """Reads all examples of a split's files, as `find` gives them.

        Raises:
          UserError: data that is wrong; file and line are named.
        """

    @abc.abstractmethod
    def identity(self, example: Any) -> str:
        """Returns the text that makes an example the same: it decides on its
        side.
        """

    def find(self, split: str) -> tuple[str, ...]:
        """Returns the files of a split; none where there is no such split.

        Raises:
          UserError: a file that is named is missing, or there are several to
            choose from.
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
        """Returns what a split's file may be called; None: a word in it
        tells.
        """
        return None

    def look(self, examples: Sequence[Any]) -> None:
        """Sees all training examples; `fit` may get some of them alone."""

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
        """Of all training examples, those that are trained on or held out.

        Args:
          examples: all.
          split: "train" or "validation".
          place: where they were read, for messages.
        """
        fraction = self.options.validation_fraction
        seed = self.options.split_seed
        wanted = split == "validation"
        found = [
            example
            for example in examples
            if splits.held_out(self.identity(example), fraction, seed) == wanted
        ]
        if not found and self.strict_parts:
            raise UserError(
                f"{place}: too few examples: with a validation_fraction of "
                f"{fraction} none of the {len(examples)} is for {split}; set "
                "options.validation_fraction to another share (0 holds none "
                "out), or give options.validation_file"
            )
        return found

    def _source(self, split: str) -> tuple[tuple[str, ...], bool]:
        """Returns a split's files, and whether it is but a part of them."""
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
