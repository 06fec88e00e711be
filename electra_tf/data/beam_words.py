"""The counting of words for a vocabulary as Apache Beam transforms."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from electra_tf import files
from electra_tf.data import beam_parts, beam_runs
from electra_tf.text import corpus
from electra_tf.text.cleaning import Cleaning
from electra_tf.text.vocab import count_words

# Files that the counts come in; each is read back by itself.
_FILES = 16


def count(
    paths: list[str],
    scratch: str,
    *,
    lower_case: bool,
    strip_accents: bool | None,
    text_field: str,
    beam_args: str = "",
    num_workers: int = 1,
) -> Counter[str]:
    """What `text.vocab.count_words` counts, on an Apache Beam runner.

    Nothing is forgotten, however many different words there are.

    Args:
      paths: text files that all workers reach.
      scratch: a directory that all workers and this process reach; it is
        made, and removed.
      lower_case: see `count_words`.
      strip_accents: see there.
      text_field: of JSON lines.
      beam_args: see `beam_runs.run`.
      num_workers: see there.

    Raises:
      UserError: see `beam_runs.run`.
    """

    def compose(pipeline: beam.Pipeline) -> None:
        _ = (
            beam_parts.read(pipeline, paths).parts
            | "Words"
            >> beam.FlatMap(_words, lower_case, strip_accents, text_field)
            | "Count" >> beam.CombinePerKey(sum)
            | "IntoFiles" >> beam.Map(_with_file)
            | "Group" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write, scratch)
        )

    files.remove(scratch)
    files.make_directory(scratch)
    try:
        beam_runs.run(compose, beam_args, num_workers)
        counts: Counter[str] = Counter()
        for name in sorted(files.list_directory(scratch)):
            text = files.read_text(files.join(scratch, name))
            counts.update(json.loads(text))
    finally:
        files.remove(scratch)
    return counts


def _words(
    element: tuple[tuple[int, int], corpus.Part],
    lower_case: bool,
    strip_accents: bool | None,
    text_field: str,
) -> Iterator[tuple[str, int]]:
    _, part = element
    repairs: Counter[str] = Counter()
    lines = (
        line.decode("utf-8").strip()
        for found in corpus.documents(part, Cleaning(), repairs, text_field)
        for line in found
    )
    yield from count_words(lines, lower_case, strip_accents).items()


def _with_file(element: tuple[str, int]) -> tuple[int, tuple[str, int]]:
    # `hash` differs from process to process.
    return sum(element[0].encode()) % _FILES, element


def _write(element: tuple[int, Iterable[tuple[str, int]]], scratch: str) -> Any:
    number, words = element
    path = files.join(scratch, f"{number:02d}.json")
    files.write_text(path, json.dumps(dict(sorted(words))))
    return number
