"""Tags each word: TokenClassifier."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.keras_api.preprocessors import WordPreprocessor
from electra_tf.keras_api.tasks import inputs
from electra_tf.keras_api.tasks.base import TaskModel
from electra_tf.keras_api.tasks.saved import Given
from electra_tf.models.config import TaskHeadConfig
from electra_tf.prediction import task_of_model
from electra_tf.registration import registered
from electra_tf.tasks.features import Features
from electra_tf.tasks.tagging import schemes
from electra_tf.tasks.tagging.task import Tagging
from electra_tf.tasks.tagging.words import Sentence, split_words
from electra_tf.tasks.task import Task

T = TypeVar("T", bound="TokenClassifier")


@registered
class TokenClassifier(TaskModel):
    """Tags each word of sentences: entities, chunks, parts of speech.

        from electra_tf import TokenClassifier

        tagger = TokenClassifier.from_pretrained(
            "model", labels=["O", "B-ANIMAL", "I-ANIMAL"]
        )
        sentences = [["the", "good", "cat"], ["a", "house"]]
        tagger.fit(sentences, [["O", "O", "B-ANIMAL"], ["O", "O"]])
        tagger.classify(sentences)  # tags, as those of fit
        tagger.answer(["the good cat"])  # words, tags and entities

    Inputs are lists of words or a ragged string tensor; or, for predictions
    only, plain texts, which are split by English rules. Answers are lists of
    tags, names or their positions. Sentences of any length are accepted: long
    ones are split into several rows.

    `predict` gives an array [words, labels] of probabilities for each
    sentence, `classify` the tags of the best valid sequence, `answer` what
    the command `predict` gives, `scores` what `evaluate` gives: F1 of
    entities among others. Calling the model on words gives probabilities,
    float32 [sentences, tokens, labels]; a word's are at its first token.
    """

    task: Tagging
    extra_scores = ("f1",)

    @classmethod
    def from_pretrained(
        cls: type[T],
        path: AnyPath,
        *,
        labels: Sequence[str] | None = None,
        num_classes: int | None = None,
        max_seq_length: int | None = None,
        options: Mapping[str, Any] | None = None,
        vocab: AnyPath | None = None,
        overrides: Mapping[str, Any] | None = None,
        load_weights: bool = True,
        seed: int = 42,
        dtype: Any = None,
        name: str | None = None,
    ) -> T:
        """Loads an encoder for new tags, or a fine-tuned tagger.

        Args:
          path: see `TextClassifier.from_pretrained`.
          labels: the tags; the scheme is detected from "B-", "I-" and so on:
            where a type has "I-" alone it is IOB1.
          num_classes: number of tags, if they have no names.
          max_seq_length: tokens of a row; 128 unless the model says
            otherwise.
          options: other options of the task `tagging`, such as `scheme` or
            `convert_to`.
          vocab: see `TextClassifier.from_pretrained`.
          overrides: see `TextClassifier.from_pretrained`.
          load_weights: see `TextClassifier.from_pretrained`.
          seed: see `TextClassifier.from_pretrained`.
          dtype: see `TextClassifier.from_pretrained`.
          name: see `TextClassifier.from_pretrained`.

        Raises:
          UserError: the checkpoint is missing, incomplete, or without a head
            where no labels are given; or a type cannot occur with these.
        """
        given = Given(
            options, max_seq_length, vocab, overrides,
            load_weights, seed, dtype, name,
        )  # fmt: skip
        names = inputs.names(labels, num_classes)
        said, state = options or {}, None
        if names is not None:
            state = _state(names, said.get("scheme"), said.get("convert_to"))
        made = cls._open(path, "tagging", state, given)
        if names is None:
            there = made.task.state
            for key, name in (("scheme", "scheme"), ("convert_to", "learned")):
                if said.get(key) not in (None, "auto"):
                    cls.kept(path, f"options.{key}", said[key], there[name])
        return made

    @classmethod
    def takes(cls, task: Task) -> bool:
        """See `SavedTask.takes`."""
        return isinstance(task, Tagging)

    @property
    def labels(self) -> tuple[str, ...]:
        """The tags, in the form in which they are given and predicted."""
        return tuple(self.task.known())

    def read(self, x: Any, y: Any = None) -> list[Sentence]:
        """See `CompiledTask.read`."""
        found = inputs.plain(x)
        if isinstance(found, list) and found and isinstance(found[0], str):
            if y is not None:
                raise UserError(
                    "x: expected lists of words, as y has a tag for each word"
                )
            return [_sentence(t, i) for i, t in enumerate(inputs.texts(x)[0])]
        words = inputs.word_lists(found, may_be_empty=y is None)
        tags: Sequence[Any] = [None] * len(words)
        if y is not None:
            tags = self._tags(y, words)
        return [
            Sentence(tuple(tokens), tag, place=f"x:{i}")
            for i, (tokens, tag) in enumerate(zip(words, tags))
        ]

    def _tags(self, y: Any, words: list[list[str]]) -> list[tuple[str, ...]]:
        given, labels = inputs.plain(y, "y"), self.labels
        if not isinstance(given, list):
            raise UserError(f"y: expected lists of tags, got {y!r:.60}")
        inputs.same_number(len(words), given, "y")
        for i, (tags, tokens) in enumerate(zip(given, words)):
            if not isinstance(tags, list) or len(tags) != len(tokens):
                count = len(tags) if isinstance(tags, list) else tags
                raise UserError(
                    f"y[{i}]: expected {len(tokens)} tags, one for each word "
                    f"of x[{i}], got {count}"
                )
        return [
            tuple(
                labels[inputs.position(tag, labels, f"y[{i}][{j}]")]
                for j, tag in enumerate(tags)
            )
            for i, tags in enumerate(given)
        ]

    def learn(self, examples: Sequence[Any]) -> None:
        """See `CompiledTask.learn`: learns the most frequent tag."""
        if self.task.state["scheme"] == "none":
            tags = [tag for sentence in examples for tag in sentence.tags]
            if tags:
                self.task.state["default"] = max(self.labels, key=tags.count)

    @property
    def texts_of_an_input(self) -> int:
        """See `SavedTask.texts_of_an_input`."""
        return 0

    def answers(self, outputs: Any) -> tf.Tensor:
        """Returns probabilities, float32 [batch, tokens, labels]."""
        return tf.nn.softmax(outputs.logits)

    def targets(self, batch: Mapping[str, tf.Tensor]) -> tuple[Any, Any]:
        """See `CompiledTask.targets`: words have weight 1, other tokens 0."""
        labels = batch["labels"]
        mask = tf.cast(labels >= 0, tf.float32)
        labels = tf.maximum(labels, 0)
        if self.one_hot:
            labels = tf.one_hot(labels, len(self.task.state["labels"]))
        return labels, mask

    @property
    def has_classes(self) -> bool:
        """See `CompiledTask.has_classes`."""
        return True

    def default_metrics(self) -> list[Any]:
        """Returns the accuracy of words."""
        return []

    def default_weighted_metrics(self) -> list[Any]:
        """Returns the accuracy of words."""
        return ["accuracy"]

    def classify(
        self, x: Any, batch_size: int | None = None, verbose: Any = 0
    ) -> list[list[str]]:
        """Tags words.

        Args:
          x: inputs of `predict`.
          batch_size: rows in a batch, 64 where None.
          verbose: 1 for a progress bar.

        Returns:
          A tag for each word of each sentence.
        """
        return [found["tags"] for found in self.answer(x, batch_size, verbose)]

    def asked(self) -> Any:
        """See `TaskModel.asked`: all probabilities, not only the best."""
        return _Probabilities()

    def predicted(
        self,
        examples: Sequence[Any],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> Sequence[Any]:
        """See `TaskModel.predicted`."""
        places, count = features.extra, len(self.task.state["labels"])
        unseen = np.eye(count, dtype="float32")[self.task.default_label()]
        words = np.zeros([len(places.row), count], "float32")
        for i, (row, at) in enumerate(zip(places.row, places.position)):
            words[i] = outputs[row]["probabilities"][at] if row >= 0 else unseen
        return np.split(words, places.splits[1:-1])

    def as_input(self, x: Any) -> Any:
        """See `CompiledTask.as_input`."""
        words = x[0] if isinstance(x, list | tuple) and x else x
        if isinstance(words, str | bytes):
            raise UserError(
                "x: calling the model takes lists of words, got texts; "
                "`predict` and `answer` split them"
            )
        if isinstance(x, list | tuple) and x and isinstance(x[0], list | tuple):
            return tf.ragged.constant(x, ragged_rank=1)
        return x

    def _make_preprocessor(self) -> keras.layers.Layer:
        return WordPreprocessor(
            self.tokenizer, self.task.options.max_seq_length
        )


class _Probabilities:
    """Asks a network for the probabilities of all labels."""

    def infer(
        self,
        network: Any,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        segment_ids: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """See `Task.infer`."""
        outputs = network(input_ids, input_mask, segment_ids, training=False)
        return {"probabilities": tf.nn.softmax(outputs.logits)}


def _sentence(text: str, number: int) -> Sentence:
    words, starts = split_words(text)
    return Sentence(words, text=text, starts=starts, place=f"x:{number}")


def _state(
    labels: list[str], scheme: str | None, learned: str | None
) -> dict[str, Any]:
    """Returns the task's state for tags that are given by name."""
    head = TaskHeadConfig("token", len(labels), tuple(labels))
    state = task_of_model.described(head)["state"]
    if scheme == "io":
        raise UserError(
            "options.scheme: io is for files whose tags are types alone; name "
            "the labels 'I-...', and leave scheme out"
        )
    if scheme not in (None, "auto"):
        state["scheme"] = state["learned"] = scheme
    if learned in schemes.SCHEMES and state["scheme"] != "none":
        kinds = {
            schemes.split_tag(label)[1]
            for label in labels
            if label != schemes.OUTSIDE
        }
        state["learned"] = learned
        state["labels"] = list(schemes.labels(kinds, learned))
    else:
        _check_scheme(labels, state["scheme"])
    return state


def _check_scheme(labels: list[str], scheme: str) -> None:
    """Refuses labels of another scheme, and types that cannot occur."""
    if scheme not in schemes.SCHEMES:
        return  # the options report it
    for label in labels:
        if not schemes.belongs(label, scheme):
            raise UserError(
                f"labels: {label!r} is none of the scheme {scheme}; correct "
                "it, or set options={'scheme': ...}"
            )
    missing = schemes.impossible(labels, scheme)
    if missing:
        kind = missing[0]
        every = schemes.labels([kind], scheme)
        lacking = ", ".join(tag for tag in every if tag not in labels)
        raise UserError(
            f"labels: in the scheme {scheme} the type {kind!r} cannot occur "
            f"without {lacking}; name all tags of a type, "
            "or set options={'scheme': 'none'} if they mark no spans"
        )
