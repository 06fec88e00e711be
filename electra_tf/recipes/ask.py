"""Answers questions from your own documents."""

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from electra_tf import config
from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.recipes import lines
from electra_tf.recipes.arguments import checked

if TYPE_CHECKING:
    from electra_tf.prediction.predictor import Predictor
    from electra_tf.retrieval.index import Found, Index, Terms
    from electra_tf.retrieval.kept import Kept

_SECONDS = 5.0  # between messages about progress
_MOST_NAMED = 20  # files left out that are named
_CHUNK = 16  # questions in a batch
_COLUMNS = ("question", "answers", "error")
_AROUND = 60  # characters of the passage shown beside an answer


@dataclasses.dataclass(frozen=True)
class Answered:
    """The answers that `ask` found.

    Attributes:
      rows: a mapping for each question: `question`, `answers` (best first) and
        `error`, None where there are answers; empty where an output was
        written.
      output: the file that was written, if one was.
      count: number of questions.
      from_file: whether the questions came from a file.
    """

    rows: Sequence[lines.Row]
    output: str | None
    count: int
    from_file: bool

    def __str__(self) -> str:
        if self.output and self.from_file:
            return f"{self.count:,} questions: {self.output}"
        if self.output:
            return self.output
        return "\n".join(line for row in self.rows for line in _shown(row))


@checked
def ask(
    model: str,
    documents: str,
    question: Sequence[str] = (),
    *,
    questions: str | None = None,
    output: str | None = None,
    ranker: str | None = None,
    top_k: Annotated[int, Setting(at_least=1)] = 5,
    candidates: Annotated[int, Setting(at_least=1)] = 50,
    reading_weight: Annotated[float, Setting(at_least=0, at_most=1)] = 0.5,
    language: str = "english",
    text_field: str = "text",
    index: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Answered:
    """Answers questions from your documents, with file and place.

        electra-tf ask --model=QA_RUN --documents=DIR "When did she come?"
        electra-tf ask --model=QA_RUN --documents=DIR --questions=FILE.txt \\
            --output=ANSWERS.jsonl

    Documents are .txt, .md, .html, .pdf, .docx, .jsonl, .csv and .tsv files
    (.gz, .xz, .zst too), in the folder and those below it; HTML, PDF and DOCX
    need the extra documents. They are divided into paragraphs. BM25 finds those
    that share words with the question; with --ranker a model that was
    fine-tuned for ranking orders the best of them again; the model reads
    --top_k of them and finds an answer in each.

    The score of an answer is its share among all answers to the question:
    softmax((1 - w) * retrieval_score + w * reading_score), where w is
    --reading_weight, retrieval_score is BM25's or the ranking model's, and
    reading_score is the model's, of the words that it chose.

    A row of the output has the question and its answers, best first: answer,
    score, file, where (page 3, row 7; empty if the file is one text), heading,
    line, start and end (in characters of the file's text, or of the page, row
    or line), the two scores, and the passage.

    The index is kept in the user's cache, or in --index, and brought up to
    date: only what has changed is read again.

    Args:
      model: run of finetune for question answering, or such a model of
        another format
      documents: folder of documents, or files: globs, separated by commas
      question: the question; the flag's name may be left out
      questions: text file with a question on each line
      output: file to write: .jsonl, .tsv or .csv
      ranker: run of finetune for ranking
      top_k: number of passages to read, and of answers
      candidates: number of passages for the ranking model to order
      reading_weight: weight of the reading in an answer's score, 0 to 1
      language: language whose word endings are ignored in the search; none for
        other languages. Chinese and Japanese need nothing here
      text_field: field of JSON lines, or column of tables, with the text;
        tables without it are read whole
      index: directory for the index, or none to store nothing; by default in
        the user's cache
      overwrite: replace an existing output, and make the index again
      progress: whether to report on stderr what was read, and progress.

    Returns:
      The answers, or the file that has them.

    Raises:
      UserError: there is no question or no document, or a model has another
        task.
    """
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import resumable
    from electra_tf.retrieval import kept as kept_index
    from electra_tf.retrieval.index import Terms

    asked = [question] if isinstance(question, str) else list(question)
    _check_questions(asked, questions)
    prediction_files.check_output(output, overwrite)
    if output:
        prediction_files.check_name(output, "--output")
    note = lines.note_on(progress)
    kept = load_index(
        documents,
        Terms(language),
        text_field,
        path=index or kept_index.default_place(documents),
        overwrite=overwrite,
        progress=progress,
    )
    read = kept.documents
    asker = Asker(
        kept.index,
        load_model(model, "reader", "--model"),
        load_model(ranker, "ranker", "--ranker") if ranker else None,
        top_k,
        candidates,
        reading_weight,
    )
    skipped = f"; {read.skipped:,} lines without a text" if read.skipped else ""
    note(
        f"{len(read.digests):,} documents, {len(read.passages):,} passages"
        f"{skipped}; index {kept.summary}"
    )
    omitted = [f"left out: {line}" for line in read.left_out] + [*read.notes]
    for line in omitted[:_MOST_NAMED]:
        note(line)
    if len(omitted) > _MOST_NAMED:
        note(
            f"left out, or reported: {len(omitted) - _MOST_NAMED:,} files more"
        )
    if questions and output:
        models = [each for each in (asker.reader, asker.ranker) if each]
        about = {
            "model": model,
            "ranker": ranker,
            "top_k": top_k,
            "candidates": candidates,
            "reading_weight": reading_weight,
            "language": language,
            "documents": documents,
            "text_field": text_field,
            "content of the documents": read.digests,
            "weights": resumable.weights_digest(m.network for m in models),
            "options of the models": [
                config.to_dict(m.task.options) for m in models
            ],
            "tokenizers": [
                resumable.tokenizer_settings(m.tokenizer) for m in models
            ],
        }
        with lines.answered(
            questions,
            output,
            asker.answer,
            about,
            chunk=_CHUNK,
            progress=progress,
        ) as answers:
            count = lines.write(output, _COLUMNS, answers())
        return Answered((), output, count, True)
    rows: Sequence[lines.Row]
    if questions:
        rows = resumable.answer_in_memory(questions, asker.answer, _CHUNK)
    else:
        rows = asker.answer(asked)
        if output:
            lines.write(output, _COLUMNS, rows)
    return Answered(rows, output, len(rows), bool(questions))


def load_index(
    documents: str,
    terms: "Terms",
    text_field: str = "text",
    *,
    path: str = "none",
    overwrite: bool = False,
    progress: bool = False,
) -> "Kept":
    """Updates and reads the index of documents.

    Args:
      documents: a folder, or globs.
      terms: makes terms of texts.
      text_field: the text's field in JSON lines and tables.
      path: directory of the index; "none" stores nothing.
      overwrite: whether to make it again.
      progress: whether to report on stderr how many files are checked.

    Raises:
      UserError: there are no documents, or `path` is not an index.
    """
    from electra_tf.retrieval import kept, passages

    left_out: list[str] = []
    found = passages.find(
        documents, left_out=lambda name, why: left_out.append(f"{name}: {why}")
    )
    note, last = lines.note_on(progress), time.monotonic()

    def looked(done: int, count: int) -> None:
        nonlocal last
        if time.monotonic() - last > _SECONDS:
            last = time.monotonic()
            note(f"reading: {done:,} of {count:,} files")

    made = kept.load(
        found,
        terms,
        text_field,
        place=kept.MEMORY if path == "none" else path,
        fresh=overwrite,
        progress=looked,
    )
    read = made.documents
    read = dataclasses.replace(read, left_out=[*left_out, *read.left_out])
    return dataclasses.replace(made, documents=read)


def load_model(
    path: str, kind: Literal["reader", "ranker"], flag: str
) -> "Predictor":
    """Loads a model that was fine-tuned to read or to rank passages.

    Raises:
      UserError: the model is missing, or has another task; checked before it is
        loaded.
    """
    from electra_tf.prediction import predictor
    from electra_tf.tasks.qa.task import QuestionAnswering
    from electra_tf.tasks.ranking.task import Ranking
    from electra_tf.tasks.registry import task_class

    wanted, words = {
        "reader": (QuestionAnswering, "question answering"),
        "ranker": (Ranking, "ranking"),
    }[kind]
    name = predictor.fine_tuning_of(path)["task"]
    if not issubclass(task_class(name), wanted):
        raise UserError(
            f"{flag}: {path} is a model of {name}; expected one that was "
            f"fine-tuned for {words}"
        )
    return predictor.load(path)


@dataclasses.dataclass(frozen=True)
class Asker:
    """Answers questions from an index.

    Attributes:
      index: index of the documents.
      reader: model that finds answers in passages.
      ranker: model that orders passages, or None for BM25's order.
      top_k: number of passages to read.
      candidates: number of passages for the ranker.
      reading_weight: see `retrieval.index.combined`.
    """

    index: "Index"
    reader: "Predictor"
    ranker: "Predictor | None" = None
    top_k: int = 5
    candidates: int = 50
    reading_weight: float = 0.5

    def answer(
        self, questions: Sequence[str], number: int = 1
    ) -> list[dict[str, Any]]:
        """Makes a row for each question.

        Args:
          questions: the questions; an error of one is in its row.
          number: not used; part of `resumable.Answer`.

        Returns:
          `question`, `answers` (best first; see `ask`) and `error`, None
          where there are answers.
        """
        del number
        rows: list[dict[str, Any]] = [
            {"question": q, "answers": [], "error": None} for q in questions
        ]
        asked: list[tuple[dict[str, Any], list[Found]]] = []
        for row in rows:
            if not row["question"].strip():
                row["error"] = "an empty question"
                continue
            found = self.passages(row["question"])
            if not found:
                row["error"] = self._without_words(row["question"])
                continue
            asked.append((row, found))
        # All in one call, so that batches have similar lengths.
        read = iter(
            self.reader.predict(
                {"question": row["question"], "context": one.passage.text}
                for row, found in asked
                for one in found
            )
        )
        for row, found in asked:
            row["answers"] = self._answers([(one, next(read)) for one in found])
            if not row["answers"]:
                row["error"] = "no answer in the passages that were read"
        return rows

    def _without_words(self, question: str) -> str:
        from electra_tf.retrieval.index import script_of

        said = "no passage has a word of the question"
        asked = script_of(question)
        there = script_of(self.index.passages[0].text)
        if asked and there and asked != there:
            return f"{said}: it is in {asked} script, the documents in {there}"
        return said

    def passages(self, question: str) -> "list[Found]":
        """Finds the passages to read, best first."""
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
        self, read: "Sequence[tuple[Found, Any]]"
    ) -> list[dict[str, Any]]:
        from electra_tf.retrieval.index import combined

        answered = [(one, said) for one, said in read if said["answer"]]
        reading = [said["n_best"][0]["score"] for _, said in answered]
        shares = combined(
            [one.score for one, _ in answered], reading, self.reading_weight
        )
        rows: list[dict[str, Any]] = []
        # Sorted before they are rounded, in which many are equal.
        for i in sorted(range(len(shares)), key=lambda i: -shares[i]):
            (one, said), score, share = answered[i], reading[i], shares[i]
            line, start = one.passage.place(said["start"])
            rows.append(
                {
                    "answer": said["answer"],
                    "score": round(float(share), 6),
                    "file": one.passage.file,
                    "where": one.passage.where,
                    "heading": one.passage.heading,
                    "line": line,
                    "start": start,
                    "end": start + said["end"] - said["start"],
                    "retrieval_score": round(one.score, 6),
                    "reading_score": round(score, 6),
                    "passage": one.passage.text,
                    "passage_start": one.passage.start,
                }
            )
        return rows


def _check_questions(asked: Sequence[str], path: str | None) -> None:
    """Refuses empty questions, and a missing file of questions."""
    from electra_tf.prediction import files as prediction_files

    if bool(asked) == bool(path):
        raise UserError('give "a question", in quotes, or --questions=FILE')
    if len(asked) > 1 and not any(" " in q for q in asked):
        raise UserError("put the question in quotes")
    if not all(q.strip() for q in asked):
        raise UserError("the question is empty")
    if path:
        prediction_files.check_input(path, "--questions")
        if path.lower().endswith((".jsonl", ".ndjson", ".tsv", ".csv")):
            raise UserError(
                f"--questions: {path}: expected a text file, a question a line"
            )


def _shown(row: lines.Row) -> list[str]:
    """Formats a question's answers, with the words around them."""
    shown = [row["question"]]
    if row["error"]:
        shown.append(f"  {row['error']}")
    for number, answer in enumerate(row["answers"], 1):
        shown += [
            f"  {number}  {answer['score']:.3f}  {answer['answer']}",
            f"     {_place(answer)}, characters {answer['start']} to "
            f"{answer['end']}",
            f"     {_around(answer)}",
        ]
    return shown


def _place(answer: lines.Row) -> str:
    place = f"{answer['file']}:{answer['line']}"
    if answer["where"]:
        place = f"{answer['file']}, {answer['where']}"
    heading = " ".join(answer["heading"].split())
    return f"{place}, under “{heading}”" if heading else place


def _around(answer: lines.Row) -> str:
    text = answer["passage"]
    start = answer["start"] - answer["passage_start"]
    end = answer["end"] - answer["passage_start"]
    before, after = text[:start], text[end:]
    if len(before) > _AROUND:
        before = f"... {before[-_AROUND:]}"
    if len(after) > _AROUND:
        after = f"{after[:_AROUND]} ..."
    return " ".join(f"{before}>{text[start:end]}<{after}".split())
