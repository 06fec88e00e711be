"""Answers questions from one's documents, with file and place.

electra-tf ask --model=QA_RUN --documents=DIR "When did she come?"
electra-tf ask --model=QA_RUN --documents=DIR --questions=FILE.txt \\
    --output=ANSWERS.jsonl

Documents are .txt, .md and .jsonl files (.gz, .xz, .zst too), in the folder
and those below it. They are divided into paragraphs. BM25 finds those that
share words with the question; with --ranker a model that was fine-tuned for
ranking orders the best of them again; the model reads --top_k of them and
finds an answer in each.

The score of an answer is its share among all answers to the question:
softmax((1 - w) * retrieval_score + w * reading_score), where w is
--reading_weight, retrieval_score is BM25's or the ranking model's, and
reading_score is the model's, of the words that it chose.

A row of the output has the question and its answers, best first: answer,
score, file, line, start and end (in characters of the file; in .jsonl, of the
text of that line), the two scores, and the passage. --index keeps the index
of the documents, and is refused once they have changed.
"""

from absl import flags

FLAGS = flags.FlagValues()
WORDS = "question"  # what other words on the command line are
flags.DEFINE_string(
    "model",
    None,
    "run of finetune for question answering, or such a model of another format",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "documents",
    None,
    "folder of documents, or files: globs, separated by commas",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "question", [], "what is asked; the flag's name may be left out",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string(
    "questions", None, "text file, a question a line", flag_values=FLAGS
)
flags.DEFINE_string(
    "output", None, "file to write: .jsonl, .tsv or .csv", flag_values=FLAGS
)
flags.DEFINE_string(
    "ranker", None, "run of finetune for ranking", flag_values=FLAGS
)
flags.DEFINE_integer(
    "top_k", 5, "passages to read, and answers", lower_bound=1,
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_integer(
    "candidates", 50, "passages for the ranking model to order", lower_bound=1,
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_float(
    "reading_weight", 0.5, "of the reading in an answer's score, 0 to 1",
    lower_bound=0, upper_bound=1, flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string(
    "language",
    "english",
    "whose word endings are left out when looking for words; none for others. "
    "Chinese and Japanese need nothing here",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "text_field", "text", "field of JSON lines with the text",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string(
    "index", None, "directory to keep the index in", flag_values=FLAGS
)
flags.DEFINE_bool(
    "overwrite", False, "replace an output, and an index, that is there",
    flag_values=FLAGS,
)  # fmt: skip

_CHUNK = 16  # questions at a time
_COLUMNS = ("question", "answers", "error")


def main(flags_: flags.FlagValues) -> int:
    """Checks, loads, finds, reads, shows or writes."""
    from electra_tf.cli import ask_run, score_outputs
    from electra_tf.errors import UserError
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import resumable
    from electra_tf.retrieval.terms import Terms
    from electra_tf.tasks.qa.task import QuestionAnswering
    from electra_tf.tasks.ranking.task import Ranking

    questions = flags_.question
    if bool(questions) == bool(flags_.questions):
        raise UserError('give "a question", in quotes, or --questions=FILE')
    if len(questions) > 1 and not any(" " in q for q in questions):
        raise UserError("put the question in quotes")
    if not all(q.strip() for q in questions):
        raise UserError("the question is empty")
    if flags_.questions:
        ask_run.check_questions(flags_.questions)
    prediction_files.check_output(flags_.output, flags_.overwrite)
    if flags_.output:
        prediction_files.check_name(flags_.output, "--output")
    terms = Terms(flags_.language)
    documents = ask_run.load_documents(flags_.documents, flags_.text_field)
    index = ask_run.load_index(
        documents, terms, flags_.text_field, flags_.index, flags_.overwrite
    )
    reader = ask_run.load_model(flags_.model, QuestionAnswering, "--model")
    ranker = None
    if flags_.ranker:
        ranker = ask_run.load_model(flags_.ranker, Ranking, "--ranker")
    score_outputs.note(
        f"{len(documents.digests):,} documents, "
        f"{len(documents.passages):,} passages"
        + (
            f"; {documents.skipped:,} lines without a text"
            * bool(documents.skipped)
        )
    )
    asker = ask_run.Asker(
        index, reader, ranker, flags_.top_k, flags_.candidates,
        flags_.reading_weight,
    )  # fmt: skip
    if flags_.questions and flags_.output:
        return _write_file(flags_, asker, documents)
    if questions:
        rows = asker.answer(questions)
    else:
        rows = resumable.answer_in_memory(
            flags_.questions, asker.answer, _CHUNK
        )
    if flags_.output:
        score_outputs.write(flags_.output, _COLUMNS, rows)
        print(flags_.output)
        return 0
    for row in rows:
        ask_run.show(row)
    return 0


def _write_file(
    flags_: flags.FlagValues, asker: object, documents: object
) -> int:
    from electra_tf import files
    from electra_tf.cli import score_outputs
    from electra_tf.prediction import resumable
    from electra_tf.recipes.progress import RowProgress

    about = {
        name: getattr(flags_, name)
        for name in (
            "model", "ranker", "top_k", "candidates", "reading_weight",
            "language", "documents",
        )
    }  # fmt: skip
    networks = [m.network for m in (asker.reader, asker.ranker) if m]
    run = resumable.ResumableRun(
        flags_.questions,
        flags_.output,
        about
        | {
            "content of the documents": documents.digests,
            "weights": resumable.weights_digest(networks),
        },
        score_outputs.note,
    )
    line = RowProgress(files.size(flags_.questions))
    try:
        run.answer(asker.answer, _CHUNK, line.update)
    finally:
        line.close()
    count = score_outputs.write(flags_.output, _COLUMNS, run.rows())
    run.close()
    print(f"{count:,} questions: {flags_.output}")
    return 0
