"""The parts of `ask`: documents, models, and answers from both."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction import predictor
from electra_tf.retrieval import combining, passages
from electra_tf.retrieval import index as index_lib
from electra_tf.retrieval.terms import Terms
from electra_tf.tasks.qa.task import QuestionAnswering
from electra_tf.tasks.ranking.task import Ranking
from electra_tf.tasks.registry import task_class
from electra_tf.tasks.task import Task

Row = dict[str, Any]


def load_model(path: str, wanted: type[Task], flag: str) -> predictor.Predictor:
    """A fine-tuned model of one kind of task.

    Raises:
      UserError: not there, or of another task; told before it is loaded.
    """
    name = predictor.fine_tuning_of(path)["task"]
    if not issubclass(task_class(name), wanted):
        kinds = {QuestionAnswering: "question answering", Ranking: "ranking"}
        raise UserError(
            f"{flag}: {path} is a model of {name}; expected one that was "
            f"fine-tuned for {kinds[wanted]}"
        )
    return predictor.load(path)


def load_documents(path: str, text_field: str) -> passages.Documents:
    """All passages; see `passages.find` and `passages.read`."""
    return passages.read(passages.find(path), text_field)


def load_index(
    documents: passages.Documents,
    terms: Terms,
    text_field: str,
    path: str | None,
    overwrite: bool,
) -> index_lib.Index:
    """An index of the documents: read where it is kept, or made.

    Args:
      documents: what is asked about.
      terms: makes terms of texts.
      text_field: with which they were read.
      path: where the index is kept, if it is.
      overwrite: make it again.

    Raises:
      UserError: the one that is kept is of other documents, or damaged.
    """
    about = index_lib.about(
        documents, terms, text_field=text_field, longest=passages.LONGEST
    )
    if path and files.exists(path) and not overwrite:
        return index_lib.load(path, documents.passages, terms, about)
    made = index_lib.Index(documents.passages, terms)
    if path:
        if files.exists(path):
            index_lib.check_is_index(path)
        made.save(path, about)
    return made


@dataclasses.dataclass(frozen=True)
class Asker:
    """Answers questions.

    Attributes:
      index: of the documents.
      reader: finds answers in passages.
      ranker: orders passages, or None for BM25's order.
      top_k: passages that are read.
      candidates: passages that are ordered by the ranker.
      reading_weight: see `combining.combined`.
    """

    index: index_lib.Index
    reader: predictor.Predictor
    ranker: predictor.Predictor | None = None
    top_k: int = 5
    candidates: int = 50
    reading_weight: float = 0.5

    def answer(self, questions: Sequence[str], number: int = 1) -> list[Row]:
        """A row for each question.

        Args:
          questions: any; what is wrong with one is told in its row.
          number: unused; `resumable.Answer` has it.

        Returns:
          `question`, `answers` (best first; see the command's help) and
          `error`, None where there are answers.
        """
        del number
        rows: list[Row] = [
            {"question": q, "answers": [], "error": None} for q in questions
        ]
        asked: list[tuple[Row, list[index_lib.Found]]] = []
        for row in rows:
            if not row["question"].strip():
                row["error"] = "an empty question"
                continue
            found = self.passages(row["question"])
            if not found:
                row["error"] = "no passage has a word of the question"
                continue
            asked.append((row, found))
        # All at once: what is alike in length is read together.
        read = iter(
            self.reader.predict(
                {"question": row["question"], "context": one.passage.text}
                for row, found in asked
                for one in found
            )
        )
        for row, found in asked:
            own = [(one, next(read)) for one in found]
            row["answers"] = self._answers(own)
            if not row["answers"]:
                row["error"] = "no answer in the passages that were read"
        return rows

    def passages(self, question: str) -> list[index_lib.Found]:
        """The passages that are read, best first."""
        if self.ranker is None:
            return self.index.search(question, self.top_k)
        found = self.index.search(question, max(self.candidates, self.top_k))
        scores = self.ranker.predict(
            (question, one.passage.text) for one in found
        )
        ranked = [
            one._replace(score=score["score"])
            for one, score in zip(found, scores)
        ]
        ranked.sort(key=lambda one: -one.score)
        return ranked[: self.top_k]

    def _answers(
        self, read: Sequence[tuple[index_lib.Found, Any]]
    ) -> list[Row]:
        told = [(one, said) for one, said in read if said["answer"]]
        reading = [said["n_best"][0]["score"] for _, said in told]
        shares = combining.combined(
            [one.score for one, _ in told], reading, self.reading_weight
        )
        rows = []
        for (one, said), score, share in zip(told, reading, shares):
            line, start = one.passage.place(said["start"])
            rows.append(
                {
                    "answer": said["answer"],
                    "score": round(float(share), 6),
                    "file": one.passage.file,
                    "line": line,
                    "start": start,
                    "end": start + said["end"] - said["start"],
                    "retrieval_score": round(one.score, 6),
                    "reading_score": round(score, 6),
                    "passage": one.passage.text,
                    "passage_start": one.passage.start,
                }
            )
        return sorted(rows, key=lambda row: -row["score"])


def check_questions(path: str) -> None:
    """Refuses what is no file of questions.

    Raises:
      UserError: it is not there, or a table.
    """
    prediction_files.check_input(path, "--questions")
    if path.lower().endswith((".jsonl", ".ndjson", ".tsv", ".csv")):
        raise UserError(
            f"--questions: {path}: expected a text file, a question a line"
        )


def show(row: Row) -> None:
    """Prints a question's answers, with the words around them."""
    print(row["question"])
    if row["error"]:
        print(f"  {row['error']}")
    for number, answer in enumerate(row["answers"], 1):
        print(f"  {number}  {answer['score']:.3f}  {answer['answer']}")
        print(
            f"     {answer['file']}:{answer['line']}, characters "
            f"{answer['start']} to {answer['end']}"
        )
        print(f"     {_around(answer)}")


def _around(answer: Row, room: int = 60) -> str:
    text = answer["passage"]
    start = answer["start"] - answer["passage_start"]
    end = answer["end"] - answer["passage_start"]
    before, after = text[:start], text[end:]
    before = before if len(before) <= room else f"... {before[-room:]}"
    after = after if len(after) <= room else f"{after[:room]} ..."
    return " ".join(f"{before}>{text[start:end]}<{after}".split())
