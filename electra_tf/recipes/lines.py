"""Helps recipes that process a text line by line, or show rows."""

import contextlib
import gzip
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from electra_tf.errors import UserError

Row = Mapping[str, Any]
Note = Callable[[str], None]

# Endings of packed files that are read, but not written.
_PACKED = (".xz", ".zst", ".bz2", ".lzma", ".zip", ".tar", ".tgz", ".tar.gz")
# Endings of files whose lines, if any, are not texts.
_NO_LINES = (".jsonl", ".ndjson", ".json", ".parquet", ".arrow")
# Endings that mean records, not lines of text, when the file is read.
_RECORDS = (*_NO_LINES, ".csv", ".tsv")


def note_on(progress: bool) -> Note:
    """Returns a function that prints to stderr, or one that does nothing."""

    def note(text: str) -> None:
        if progress:
            print(text, file=sys.stderr, flush=True)

    return note


@contextlib.contextmanager
def answered(
    source: str,
    output: str,
    answer: Callable[[Sequence[str], int], Sequence[Row]],
    about: Mapping[str, Any],
    *,
    chunk: int,
    progress: bool,
) -> Iterator[Callable[[], Iterable[Row]]]:
    """Computes a result for each line of a file; resumes after interruption.

    Args:
      source: the file.
      output: the output; until it is complete the results are in
        `<output>.partial`, which is removed when the block ends without error.
      answer: (lines, number of the first from 1) -> their results.
      about: what decides the results, except the file: a change starts again.
      chunk: lines that are computed together.
      progress: whether to report progress on stderr.

    Yields:
      A function that reads the results, in the order of the lines.
    """
    from electra_tf import files
    from electra_tf.prediction import resumable
    from electra_tf.recipes.progress import RowProgress

    with resumable.ResumableRun(
        source, output, about, note_on(progress)
    ) as run:
        line = RowProgress(files.size(source), progress)
        try:
            run.answer(answer, chunk, line.update)
        finally:
            line.close()
        yield run.rows
        run.close()


def write(output: str, columns: Sequence[str], rows: Iterable[Row]) -> int:
    """Writes rows in the format of the file's name; returns their number."""
    from electra_tf.prediction import files as prediction_files

    count = 0

    def encoded() -> Iterator[bytes]:
        nonlocal count
        for row in rows:
            count += 1
            yield (prediction_files.dumps(row) + "\n").encode()

    format_ = prediction_files.check_name(output, "--output")
    prediction_files.write_rows(output, format_, columns, encoded())
    return count


def table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Formats rows as lines of cells separated by tabs, with a header."""
    return "\n".join(
        ["\t".join(columns)]
        + ["\t".join(_shown(row.get(n)) for n in columns) for row in rows]
    )


def check_text_input(path: str, flag: str = "--input") -> None:
    """Refuses a file of records, by its name, where a text a line is read.

    Raises:
      UserError: the name has such an ending.
    """
    name = path.lower()
    for ending in (".gz", *_PACKED):
        name = name.removesuffix(ending)
    if name.endswith(_NO_LINES):
        raise UserError(
            f"{flag}: {path}: expected a text file, with a text on each line"
        )


def check_text_name(path: str, flag: str = "--output") -> None:
    """Refuses a name that means something else than text, or text in `.gz`.

    Raises:
      UserError: the name has such an ending.
    """
    name = path.lower()
    if name.endswith(_PACKED) or name.removesuffix(".gz").endswith(_RECORDS):
        raise UserError(
            f"{flag}: {path}: is written as text, or text in .gz; give it a "
            "name that ends in .txt or .txt.gz"
        )


def check_plain_name(path: str, ending: str, flag: str = "--output") -> None:
    """Refuses a name of a packed file for what is written as it is.

    Args:
      path: the file.
      ending: a name's ending that is fit, for the message.
      flag: the flag, for the message.

    Raises:
      UserError: the name has such an ending.
    """
    if path.lower().endswith((".gz", *_PACKED)):
        raise UserError(
            f"{flag}: {path}: is written as text; give it a name that ends in "
            f"{ending}"
        )


def write_lines(output: str, lines: Iterable[str]) -> None:
    """Writes text lines, atomically; compressed if the name ends in `.gz`.

    Commands check the name by `check_text_name` before they begin.
    """
    from electra_tf import files

    with files.atomic_write(output) as raw, contextlib.ExitStack() as stack:
        handle: Any = raw
        if output.lower().endswith(".gz"):
            handle = stack.enter_context(
                gzip.GzipFile("", "wb", fileobj=raw, mtime=0)
            )
        for line in lines:
            handle.write(f"{line}\n".encode())


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return " ".join(value.split("\t"))
    from electra_tf.prediction import files as prediction_files

    return prediction_files.dumps(value)
