"""Answers questions by spans of a text: QuestionAnswerer."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import keras
import tensorflow as tf

from electra_tf import columns
from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.keras_api.preprocessors import QueryPreprocessor
from electra_tf.keras_api.tasks import inputs
from electra_tf.keras_api.tasks.base import TaskModel
from electra_tf.keras_api.tasks.saved import Given
from electra_tf.registration import registered
from electra_tf.tasks.features import Features
from electra_tf.tasks.qa.examples import QAExample, squad_examples
from electra_tf.tasks.qa.task import QuestionAnswering
from electra_tf.tasks.task import Prediction, Task

Q = TypeVar("Q", bound="QuestionAnswerer")

_SHOWN = ("answer", "start", "end", "score")


@registered
class QuestionAnswerer(TaskModel):
    """Finds the answers to questions in texts.

        from electra_tf import QuestionAnswerer

        answerer = QuestionAnswerer.from_pretrained("model")
        questions = ["who sat?", "who ran?"]
        contexts = ["the cat sat on the mat", "a good dog ran"]
        answerer.fit((questions, contexts), [("the cat", 0), ("dog", 7)])
        answerer.predict((questions, contexts))[0]["answer"]

    Inputs are a tuple of questions and contexts (lists, arrays or string
    tensors), a list of such pairs, a list of mappings with `question` and
    `context`, or SQuAD's JSON as Python has it. Answers are pairs of a text
    and the character at which it starts, mappings with `text` and
    `answer_start`, or texts alone, which are then looked for; None where a
    question has no answer. They may stand in the mappings under `answers`.
    Contexts of any length are taken: they are read through several windows.

    `predict` gives for each question its `answer`, `start` and `end` in
    characters of the context, and `score`; `answer` what the command `predict`
    gives, the next best answers among it; `scores` what `evaluate` gives:
    exact match and F1. Calling the model gives the probabilities of `start`
    and `end`, float32 [questions, tokens], and, of a model made with
    `unanswerable` whose head says so, `impossible`, [questions, 1].

    A loss or metric of your own gets the same for each window as y_pred, and as
    y_true the tokens where the answer starts and ends, int32 [windows], 0 where
    it is not in the window: `compile(loss={"start":
    "sparse_categorical_crossentropy", "end": ...})`.
    """

    task: QuestionAnswering
    extra_scores = ("exact_match", "exact", "f1")
    keeps_all = False
    afresh = "new_head=True"

    @classmethod
    def from_pretrained(
        cls: type[Q],
        path: AnyPath,
        *,
        unanswerable: bool = False,
        max_seq_length: int | None = None,
        options: Mapping[str, Any] | None = None,
        new_head: bool = False,
        vocab: AnyPath | None = None,
        overrides: Mapping[str, Any] | None = None,
        load_weights: bool = True,
        seed: int = 42,
        dtype: Any = None,
        name: str | None = None,
    ) -> Q:
        """Loads an encoder to answer with, or a fine-tuned answerer.

        Args:
          path: see `TextClassifier.from_pretrained`.
          unanswerable: whether there are questions without an answer.
          max_seq_length: tokens of a window; 512, or as many as the model has
            positions for.
          options: other options of the task `squad`.
          new_head: whether to start a new head even where `path` is an
            answerer.
          vocab: see `TextClassifier.from_pretrained`.
          overrides: see `TextClassifier.from_pretrained`.
          load_weights: see `TextClassifier.from_pretrained`.
          seed: see `TextClassifier.from_pretrained`.
          dtype: see `TextClassifier.from_pretrained`.
          name: see `TextClassifier.from_pretrained`.

        Raises:
          UserError: the checkpoint is missing, incomplete, or fine-tuned for
            another task; or an argument does not fit the answerer there.
        """
        given = Given(
            options, max_seq_length, vocab, overrides,
            load_weights, seed, dtype, name,
        )  # fmt: skip
        state = {"unanswerable": unanswerable}
        made = cls._open(path, "squad", state, given, new_head)
        if unanswerable:
            # Imported answerers do not say.
            there = made.task.state.setdefault("unanswerable", True)
            cls.kept(path, "unanswerable", unanswerable, there)
        return made

    @classmethod
    def takes(cls, task: Task) -> bool:
        """See `SavedTask.takes`."""
        return isinstance(task, QuestionAnswering)

    def read(self, x: Any, y: Any = None) -> list[QAExample]:
        """See `CompiledTask.read`."""
        if isinstance(x, Mapping) and "data" in x:
            return squad_examples(x, "x")
        answers: Any = None
        records = inputs.records(x)
        if records is not None:
            if any("answers" in record for record in records):
                answers = [record.get("answers") for record in records]
        else:
            questions, contexts = inputs.texts(x)
            if contexts is None:
                raise UserError(
                    "x: expected a tuple of questions and contexts, got texts "
                    "alone"
                )
            records = [
                {"question": question, "context": context}
                for question, context in zip(questions, contexts)
            ]
        if y is not None:
            answers = y if isinstance(y, list | tuple) else inputs.plain(y, "y")
            inputs.same_number(len(records), answers, "y")
        # To be answered, a text may be empty, as in `electra_tf.load`.
        make = self.task.asked if answers is None else self.task.example
        examples = [make(record, f"x[{i}]") for i, record in enumerate(records)]
        if answers is None:
            return examples
        return [
            self._answered_by(example, answer, f"y[{i}]")
            for i, (example, answer) in enumerate(zip(examples, answers))
        ]

    def _answered_by(
        self, example: QAExample, answer: Any, where: str
    ) -> QAExample:
        found = _spans(answer, example.context, where)
        if not found and not self.task.unanswerable:
            raise UserError(
                f"{where}: has no answer; make the model with "
                "unanswerable=True to learn that"
            )
        return QAExample(
            example.question_id,
            example.question,
            example.context,
            tuple(text for text, _ in found),
            found[0][1] if found else 0,
            impossible=not found,
            place=example.place,
        )

    def has_answers(self, x: Any, y: Any) -> bool:
        """See `TaskModel.has_answers`: SQuAD's mappings contain answers."""
        if y is not None or (isinstance(x, Mapping) and "data" in x):
            return True
        table = columns.names(x)
        if table is not None:
            return "answers" in table
        return isinstance(x, list) and bool(x) and "answers" in x[0]

    @property
    def texts_of_an_input(self) -> int:
        """See `SavedTask.texts_of_an_input`."""
        return 2

    def as_input(self, x: Any) -> Any:
        """See `CompiledTask.as_input`; mappings become pairs."""
        if inputs.records(x) is not None:
            examples = self.read(x)
            x = [(example.question, example.context) for example in examples]
        return super().as_input(x)

    def _make_preprocessor(self) -> keras.layers.Layer:
        options = self.task.options
        return QueryPreprocessor(
            self.tokenizer, options.max_seq_length, options.max_query_length
        )

    def answers(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns probabilities of `start` and `end`, float32 [batch,
        tokens].
        """
        start, end = outputs.spans.inside()
        found = {"start": tf.nn.softmax(start), "end": tf.nn.softmax(end)}
        impossible = outputs.spans.impossible_logit
        if impossible is not None:
            found["impossible"] = tf.sigmoid(impossible)[:, tf.newaxis]
        return found

    def targets(self, batch: Mapping[str, tf.Tensor]) -> tuple[Any, Any]:
        """See `CompiledTask.targets`."""
        found = {
            "start": batch["start_positions"],
            "end": batch["end_positions"],
        }
        if self.network.head_config.answerable:
            found["impossible"] = batch["is_impossible"][:, tf.newaxis]
        return found, None

    def predicted(
        self,
        examples: Sequence[Any],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> Sequence[Prediction]:
        """See `TaskModel.predicted`."""
        found = self.task.predictions(examples, features, outputs)
        return [{key: one[key] for key in _SHOWN} for one in found]


def _spans(answer: Any, context: str, where: str) -> list[tuple[str, int]]:
    """Returns texts and starts of an answer given in any accepted form."""
    answer = inputs.plain(answer)  # a start may be one of NumPy's numbers
    if answer is None or answer in ("", [], {}):
        return []
    if isinstance(answer, str):
        start = context.find(answer)
        if start < 0:
            raise UserError(f"{where}: '{answer:.60}' is not in its context")
        return [(answer, start)]
    if isinstance(answer, Mapping):
        texts, starts = answer.get("text"), answer.get("answer_start")
        if isinstance(texts, str):
            texts, starts = [texts], [starts]
        pairs = list(zip(inputs.plain(texts) or [], inputs.plain(starts) or []))
    elif len(answer) == 2 and isinstance(answer[0], str):
        pairs = [tuple(answer)]
    else:
        return [pair for one in answer for pair in _spans(one, context, where)]
    for text, start in pairs:
        if not isinstance(text, str) or not isinstance(start, int):
            raise UserError(
                f"{where}: expected a text and the character it starts at, "
                f"got {text!r:.40} and {start!r:.20}"
            )
    return [(text, int(start)) for text, start in pairs]
