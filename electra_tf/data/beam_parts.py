"""Files as parts, in an Apache Beam pipeline."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam

from electra_tf.text import corpus


class Parts(NamedTuple):
    """Two collections.

    Attributes:
      parts: ((file's number, part's number in it), `corpus.Part`).
      counts: a Counter for each file: `corpus.Reader.counts`.
    """

    parts: Any
    counts: Any


def read(pipeline: beam.Pipeline, paths: list[str], **options: Any) -> Parts:
    """The parts of all files, spread over the workers.

    Args:
      pipeline: what they are added to.
      paths: each is read by one worker, from its beginning to its end.
      **options: of `corpus.Reader`.
    """
    found = (
        pipeline
        | "Paths" >> beam.Create(list(enumerate(paths)))
        | "SpreadFiles" >> beam.Reshuffle()
        | "Read" >> beam.FlatMap(_read, options).with_outputs(
            "counts", main="parts"
        )
    )  # fmt: skip
    return Parts(found.parts | "SpreadParts" >> beam.Reshuffle(), found.counts)


def _read(element: tuple[int, str], options: dict[str, Any]) -> Iterator[Any]:
    number, path = element
    reader = corpus.Reader([path], **options)
    for index, part in enumerate(reader):
        yield (number, index), part
    yield beam.pvalue.TaggedOutput("counts", Counter(reader.counts))
