"""Reads text files on Apache Beam, and counts their words."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from electra_tf import files
from electra_tf.data import beam_runs, manifest
from electra_tf.data.beam_runs import beam  # reports it if it is missing
from electra_tf.text import corpus
from electra_tf.text.cleaning import Cleaning
from electra_tf.text.vocab_training import count_words

# Number of files for word counts, which are read one by one.
_COUNT_FILES = 16
_READ = "read.json"
# Prefix of other counts; no word begins with it.
_DONE = ("\0done/parts", "\0done/part_bytes", "\0done/words")


class Parts(NamedTuple):
    """The parts of a corpus, and counts.

    Attributes:
      parts: ((file's number, part's number in it), `corpus.Part`).
      counts: a Counter for each file: `corpus.Reader.counts`, and counts for
        `take_read`.
    """

    parts: Any
    counts: Any


def read_parts(
    pipeline: beam.Pipeline, paths: list[str], **options: Any
) -> Parts:
    """Reads the parts of all files, distributed over the workers.

    Args:
      pipeline: the pipeline.
      paths: the files; each is read by one worker, from beginning to end.
      **options: options of `corpus.Reader`.
    """
    found = (
        pipeline
        | "Paths" >> beam.Create(list(enumerate(paths)))
        | "SpreadFiles" >> beam.Reshuffle()
        | "Read" >> beam.FlatMap(_read_file, options).with_outputs(
            "counts", main="parts"
        )
    )  # fmt: skip
    return Parts(found.parts | "SpreadParts" >> beam.Reshuffle(), found.counts)


def _read_file(
    element: tuple[int, str], options: dict[str, Any]
) -> Iterator[Any]:
    number, path = element
    reader = corpus.Reader([path], **options)
    counts: Counter[str] = Counter()
    for index, part in enumerate(reader):
        counts["read/parts"] += 1
        counts["read/part_bytes"] += len(part.data)
        yield (number, index), part
    counts["read/bytes"] = reader.bytes_read
    counts.update(reader.counts)
    yield beam.pvalue.TaggedOutput("counts", counts)


def count_done(counts: Counter[str], part: corpus.Part) -> None:
    """Adds a processed part to `counts`."""
    counts["done/parts"] += 1
    counts["done/part_bytes"] += len(part.data)


def take_read(
    counts: dict[str, int], paths: list[str]
) -> dict[str, tuple[int, int]]:
    """Removes counts of read and processed data, to compare with the input.

    Args:
      counts: sums over all files and parts; those used here are removed.
      paths: the files.

    Returns:
      See `beam_runs.compare`.
    """
    taken = {
        name: counts.pop(name, 0)
        for name in (
            "read/bytes", "read/parts", "read/part_bytes", "done/parts",
            "done/part_bytes",
        )
    }  # fmt: skip
    total = sum(files.size(path) for path in paths)
    return {
        "files": (len(paths), counts.get("files", 0)),
        "bytes of the files": (total, taken["read/bytes"]),
        "parts of the files": (taken["read/parts"], taken["done/parts"]),
        "bytes of text": (taken["read/part_bytes"], taken["done/part_bytes"]),
    }


def sum_counts(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Sums all counts."""
    total: Counter[str] = Counter()
    for found in counts:
        total.update(found)
    return total


def count_words_of(
    paths: list[str],
    scratch: str,
    *,
    lower_case: bool,
    strip_accents: bool | None,
    text_field: str,
    beam_args: str = "",
    num_workers: int = 1,
) -> Counter[str]:
    """Counts words like `vocab_training.count_words`, on Apache Beam.

    No words are dropped, however many there are.

    Args:
      paths: text files that all workers can read.
      scratch: a directory that all workers and this process can access; it is
        created and removed.
      lower_case: see `count_words`.
      strip_accents: see `count_words`.
      text_field: the text's field in JSON lines.
      beam_args: see `beam_runs.run`.
      num_workers: see `beam_runs.run`.

    Raises:
      UserError: see `beam_runs.run`, and `beam_runs.compare`.
    """

    def compose(pipeline: beam.Pipeline) -> None:
        read = read_parts(pipeline, paths, text_field=text_field)
        _ = (
            read.counts
            | "CountsOfFiles" >> beam.CombineGlobally(sum_counts)
            | "WriteCounts" >> beam.Map(_write, files.join(scratch, _READ))
        )
        _ = (
            read.parts
            | "Words"
            >> beam.FlatMap(_words, lower_case, strip_accents, text_field)
            | "Count" >> beam.CombinePerKey(sum)
            | "IntoFiles" >> beam.Map(_with_file)
            | "Group" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write_counts, scratch)
        )

    beam_runs.check(beam_args, num_workers)
    files.remove(scratch)
    files.make_directory(scratch)
    keep = False
    try:
        beam_runs.run(compose, beam_args, num_workers, scratch)
        read, counts = Counter[str](), Counter[str]()
        for name in sorted(files.list_directory(scratch)):
            text = files.read_text(files.join(scratch, name))
            (read if name == _READ else counts).update(json.loads(text))
        for name in _DONE:
            read[name[1:]] = counts.pop(name, 0)
        kept_words = read.pop("done/words")
        found = take_read(read, paths)
        found["words"] = (kept_words, sum(counts.values()))
        beam_runs.compare(found, scratch, beam_args)
    except manifest.LostData:
        keep = True
        raise
    finally:
        if not keep:
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
    done: Counter[str] = Counter()
    count_done(done, part)
    lines = (
        line.decode("utf-8").strip()
        for found in corpus.documents(part, Cleaning(), repairs, text_field)
        for line in found
    )
    words = count_words(lines, lower_case, strip_accents)
    done["done/words"] = sum(words.values())
    yield from words.items()
    yield from ((f"\0{name}", count) for name, count in done.items())


def _with_file(element: tuple[str, int]) -> tuple[int, tuple[str, int]]:
    # `hash` differs from process to process.
    return sum(element[0].encode()) % _COUNT_FILES, element


def _write_counts(
    element: tuple[int, Iterable[tuple[str, int]]], scratch: str
) -> Any:
    number, words = element
    _write(dict(sorted(words)), files.join(scratch, f"{number:02d}.json"))
    return number


def _write(counts: Mapping[str, int], path: str) -> None:
    files.write_text(path, json.dumps(counts))
