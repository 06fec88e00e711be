"""Scores how well passages answer queries: CrossEncoder."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import keras
import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.keras_api.preprocessors import QueryPreprocessor
from electra_tf.keras_api.tasks import inputs
from electra_tf.keras_api.tasks.base import TaskModel
from electra_tf.keras_api.tasks.saved import Given
from electra_tf.registration import registered
from electra_tf.tasks.features import Features
from electra_tf.tasks.ranking.pairs import Pair
from electra_tf.tasks.ranking.task import Ranking
from electra_tf.tasks.task import Task

X = TypeVar("X", bound="CrossEncoder")


class Ranked(NamedTuple):
    """A passage and its rank."""

    passage: str
    score: float  # higher is better; comparable within one query
    position: int  # its number among those given, from 0


@registered
class CrossEncoder(TaskModel):
    """Scores passages for queries, to rank them.

        from electra_tf import CrossEncoder

        ranker = CrossEncoder.from_pretrained("model")
        queries = ["which cat"] * 2 + ["which dog"] * 2
        passages = ["the cat sat", "a house", "very good", "the dog ran"]
        ranker.fit((queries, passages), [1, 0, 0, 1])
        ranker.predict((queries, passages))  # scores, [4]
        ranker.rank("which dog", passages)[0].passage

    Inputs are a tuple of queries and passages (lists, arrays or string
    tensors) or a list of such pairs; answers are relevances, higher is better.
    A query is trained on if it has a passage of relevance 1 or more and one of
    less: such a group goes into the loss together (with the option
    loss="pointwise" each pair by itself).

    A loss or metric of your own gets these groups: y_true, their relevances,
    and y_pred, their scores, each float32 [groups, passages]; pointwise, y_true
    is 0 or 1, and both are [pairs, 1]. Scores are logits:
    `compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))`.

    Calling the model and `predict` give scores, float32 [pairs], `rank` the
    passages of one query in order, `answer` what the command `predict` gives,
    `scores` what `evaluate` gives: MRR@10, nDCG@10 and MAP.
    """

    task: Ranking
    extra_scores = ("mrr@10", "ndcg@10", "map")
    gives_logits = True
    keeps_all = False
    afresh = "new_head=True"

    @classmethod
    def from_pretrained(
        cls: type[X],
        path: AnyPath,
        *,
        max_seq_length: int | None = None,
        options: Mapping[str, Any] | None = None,
        new_head: bool = False,
        vocab: AnyPath | None = None,
        overrides: Mapping[str, Any] | None = None,
        load_weights: bool = True,
        seed: int = 42,
        dtype: Any = None,
        name: str | None = None,
    ) -> X:
        """Loads an encoder to rank with, or a fine-tuned ranker.

        Args:
          path: see `TextClassifier.from_pretrained`.
          max_seq_length: tokens of a row; 256, or as many as the model has
            positions for.
          options: other options of the task `ranking`, such as `loss` and
            `num_negatives`.
          new_head: whether to start a new head even where `path` is a ranker.
          vocab: see `TextClassifier.from_pretrained`.
          overrides: see `TextClassifier.from_pretrained`.
          load_weights: see `TextClassifier.from_pretrained`.
          seed: see `TextClassifier.from_pretrained`.
          dtype: see `TextClassifier.from_pretrained`.
          name: see `TextClassifier.from_pretrained`.

        Raises:
          UserError: the checkpoint is missing, incomplete, or fine-tuned for
            another task.
        """
        given = Given(
            options, max_seq_length, vocab, overrides,
            load_weights, seed, dtype, name,
        )  # fmt: skip
        return cls._open(path, "ranking", {}, given, new_head)

    @classmethod
    def takes(cls, task: Task) -> bool:
        """See `SavedTask.takes`."""
        return isinstance(task, Ranking)

    def read(self, x: Any, y: Any = None) -> list[Pair]:
        """See `CompiledTask.read`."""
        queries, passages = inputs.texts(x)
        if passages is None:
            raise UserError(
                "x: expected a tuple of queries and passages, got texts alone"
            )
        grades: Sequence[Any] = [None] * len(queries)
        if y is not None:
            grades = inputs.numbers(y, "y")
            inputs.same_number(len(queries), grades, "y")
        return [
            Pair(query, passage, grade, query, str(i))
            for i, (query, passage, grade) in enumerate(
                zip(queries, passages, grades)
            )
        ]

    def rank(
        self, query: str, passages: Sequence[str], top_k: int | None = None
    ) -> list[Ranked]:
        """Ranks passages for a query.

        Args:
          query: the query.
          passages: the passages, in any order.
          top_k: number of passages to return; None returns all.

        Returns:
          The passages, best first.
        """
        texts = inputs.texts(passages)[0]
        found = self.predict(([query] * len(texts), texts), verbose=0)
        order = np.argsort(-found, kind="stable")[:top_k]
        return [Ranked(texts[i], float(found[i]), int(i)) for i in order]

    @property
    def texts_of_an_input(self) -> int:
        """See `SavedTask.texts_of_an_input`."""
        return 2

    def _make_preprocessor(self) -> keras.layers.Layer:
        options = self.task.options
        return QueryPreprocessor(
            self.tokenizer, options.max_seq_length, options.max_query_length
        )

    def answers(self, outputs: Any) -> tf.Tensor:
        """Returns scores, float32 [batch]."""
        return outputs.logits[:, 0]

    def targets(self, batch: Mapping[str, tf.Tensor]) -> tuple[Any, Any]:
        """See `CompiledTask.targets`."""
        relevance = batch["relevance"]
        if relevance.shape.rank == 1:
            relevance = relevance[:, tf.newaxis]
        return relevance, None

    def compared(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> Any:
        """See `CompiledTask.compared`: scores, one row for each group."""
        ids = batch["input_ids"]
        group = tf.shape(ids)[1] if ids.shape.rank == 3 else 1
        return tf.reshape(self.answers(outputs), [-1, group])

    def check_streamed(self) -> None:
        """See `TaskModel.check_streamed`."""
        if self.task.options.loss != "pointwise":
            raise UserError(
                "x: all passages of a query are needed in one batch, and a "
                "dataset may divide them; give lists, or make the model with "
                "options={'loss': 'pointwise'}"
            )

    def predicted(
        self,
        examples: Sequence[Any],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> Sequence[float]:
        """See `TaskModel.predicted`."""
        return [float(output["score"]) for output in outputs]

    def joined(self, found: list[Any]) -> np.ndarray:
        """See `TaskModel.joined`."""
        return np.asarray(found, "float32")
