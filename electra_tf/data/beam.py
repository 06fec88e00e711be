"""Builds examples by Apache Beam transforms.

The same functions process the same parts of the files as in `builder`, and an
example's place follows from the number of earlier ones: for any runner and
order of work, the files have the same bytes as those of the local build.

    paths -> parts -> examples of each part -> counts -> where each part begins
                           |                                       |
                           +-----> records with their places <-----+
                                           |
                                   shards, one a group -> summary

A worker holds one shard in memory at a time.
"""

import dataclasses
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf import backend, files
from electra_tf.data import (
    beam_corpus,
    beam_runs,
    builder,
    manifest,
    worker,
)
from electra_tf.data.beam_runs import beam  # reports it if it is missing
from electra_tf.data.build_settings import BuildSettings, OpenedBuild
from electra_tf.data.shards import OVERHEAD, shard_name
from electra_tf.errors import UserError
from electra_tf.text import corpus
from electra_tf.text.cleaning import Cleaning

# Beam chooses coders by these types.
Order = tuple[int, int]  # file, part in it
Made = tuple[Order, worker.UnitResult]
Shard = tuple[str, int]  # split, number
Placed = tuple[Shard, tuple[int, list[bytes]]]  # first number
_SUMMARY = "summary.json"
# A shard of this much text fits easily into a worker's memory.
_LARGEST_SHARD_BYTES = 1 << 28


def build_data(
    settings: BuildSettings, beam_args: str = "", num_workers: int = 1
) -> manifest.Manifest:
    """Builds data like `builder.build_data`, on an Apache Beam runner.

    All its workers must have access to the input, the vocabulary and the output
    by the same paths, and have this package installed.

    Args:
      settings: settings of the build; `num_workers` is ignored.
      beam_args: see `beam_runs.run`.
      num_workers: see `beam_runs.run`.

    Raises:
      UserError: see `builder.build_data`; see `beam_runs.run`; the runner
        has lost data, see `beam_runs.compare`.
    """
    if settings.legacy:
        raise UserError(
            "--legacy makes one sequence of examples of all documents, in one "
            "process; leave out --runner=beam"
        )
    beam_runs.check(beam_args, num_workers)

    def make(opened: OpenedBuild, building: str) -> builder.Made:
        input_bytes = sum(files.size(path) for path in opened.paths)
        numbers = _shard_numbers(settings, input_bytes)
        beam_runs.run(
            lambda pipeline: _compose(
                pipeline, opened, settings, numbers, building
            ),
            beam_args,
            num_workers,
            building,
        )
        summary = _summary(building, beam_args)
        counts, shards = summary["counts"], summary["shards"]
        compared = beam_corpus.take_read(counts, opened.paths)
        compared["shards"] = (sum(numbers.values()), len(shards))
        for split in numbers:
            compared[f"{split} examples"] = (
                counts.get(f"{split}/examples", 0),
                sum(written for name, _, written, _ in shards if name == split),
            )
        beam_runs.compare(compared, building, beam_args)
        splits = _splits(summary, numbers)  # removes its counts
        return builder.Made(input_bytes, counts, splits)

    return builder.assemble(settings, make)


def _summary(building: str, beam_args: str) -> dict[str, Any]:
    """Reads the summary that the run wrote at its end."""
    path = files.join(building, _SUMMARY)
    beam_runs.compare(
        {"summaries": (1, int(files.exists(path)))}, building, beam_args
    )
    found: dict[str, Any] = json.loads(files.read_text(path))
    return found


def _shard_numbers(settings: BuildSettings, input_bytes: int) -> dict[str, int]:
    """Returns the local build's number of shards, or more if they are large."""
    numbers = settings.num_shards_of(input_bytes)
    if settings.num_shards is not None:
        return numbers
    train = max(numbers["train"], -(-input_bytes // _LARGEST_SHARD_BYTES))
    return dataclasses.replace(settings, num_shards=train).num_shards_of(
        input_bytes
    )


def _compose(
    pipeline: beam.Pipeline,
    opened: OpenedBuild,
    settings: BuildSettings,
    numbers: Mapping[str, int],
    building: str,
) -> None:
    parts = beam_corpus.read_parts(
        pipeline,
        opened.paths,
        blank_lines_separate_documents=settings.blank_lines_separate_documents,
        strict=settings.strict,
        text_field=settings.text_field,
    )
    made = parts.parts | "Examples" >> beam.ParDo(
        MakeExamples(settings, opened.cleaning)
    )
    if settings.drop_duplicates:
        made = _without_duplicates(made)
    counts = made | "CountPart" >> beam.Map(_count_part)
    begins = beam.pvalue.AsSingleton(
        counts
        | "SizesOfPart" >> beam.Map(lambda part: (part[0], part[1]))
        | "ListSizes" >> beam.combiners.ToList()
        | "WherePartsBegin" >> beam.Map(_begins)
    )
    shards = [
        (split, index)
        for split, number in numbers.items()
        for index in range(number)
    ]
    records = made | "Place" >> beam.FlatMap(_placed, begins, dict(numbers))
    # Shards without records must be written too.
    empty = (
        pipeline
        | "AllShards"
        >> beam.Create([(s, (0, [])) for s in shards]).with_output_types(Placed)
    )  # fmt: skip
    written = (
        (records, empty)
        | "WithAllShards" >> beam.Flatten()
        | "Group" >> beam.GroupByKey()
        | "Write" >> beam.Map(_write, building, dict(numbers))
    )
    figures = (
        (
            counts | "CountsOfParts" >> beam.Map(lambda part: part[2]),
            parts.counts,
        )
        | "AllCounts" >> beam.Flatten()
        | "Sum" >> beam.CombineGlobally(beam_corpus.sum_counts)
    )
    _ = (
        written
        | "ListShards" >> beam.combiners.ToList()
        | "Summary"
        >> beam.Map(_write_summary, beam.pvalue.AsSingleton(figures), building)
    )


class MakeExamples(beam.DoFn):
    """Maps (order, part) to (order, UnitResult)."""

    _worker: worker.UnitWorker  # made by `setup`, in the worker

    def __init__(self, settings: BuildSettings, cleaning: Cleaning):
        self._arguments = settings, cleaning

    def setup(self) -> None:
        """Loads the vocabulary, once for each thread of a worker."""
        backend.compute_in(1)
        self._worker = worker.UnitWorker(*self._arguments)

    def process(self, element: tuple[Order, corpus.Part]) -> Iterator[Made]:
        """Processes one part."""
        order, part = element
        result = self._worker([part])
        beam_corpus.count_done(result.counts, part)
        yield order, result


def _without_duplicates(made: Any) -> Any:
    """Drops repeated documents, except the first."""
    dropped = (
        made
        | "Fingerprints" >> beam.FlatMap(_fingerprints)
        | "SameDocuments" >> beam.GroupByKey()
        | "AllButFirst" >> beam.FlatMap(_all_but_first)
    )
    return (
        {"made": made, "dropped": dropped}
        | "WithDropped" >> beam.CoGroupByKey()
        | "Drop" >> beam.Map(_drop)
    )


def _fingerprints(
    element: Made,
) -> Iterator[tuple[bytes, tuple[Order, int]]]:
    order, result = element
    for number, name in enumerate(result.fingerprints):
        yield name, (order, number)


def _all_but_first(
    same: tuple[bytes, Iterable[tuple[Order, int]]],
) -> list[tuple[Order, int]]:
    return sorted(same[1])[1:]


def _drop(element: tuple[Order, dict[str, Iterable[Any]]]) -> Made:
    order, found = element
    (result,) = found["made"]
    wanted = np.ones(len(result.fingerprints), bool)
    wanted[list(found["dropped"])] = False
    keep = np.repeat(wanted, result.examples)
    counts = Counter(result.counts)
    if not wanted.all():
        counts["duplicate_documents_dropped"] += int((~wanted).sum())
    arrays = (
        "examples",
        "tokens",
        "lines",
        "source_tokens",
        "unknown_tokens",
        "held_out",
        "begins",
    )
    return order, dataclasses.replace(
        result,
        records=list(itertools.compress(result.records, keep)),
        fingerprints=list(itertools.compress(result.fingerprints, wanted)),
        counts=counts,
        **{name: getattr(result, name)[wanted] for name in arrays},
    )


def _count_part(element: Made) -> tuple[Order, dict[str, int], Counter]:
    """Returns order, examples of each split, and counts by "split/name"."""
    order, result = element
    sizes, counts = {}, Counter(result.counts)
    for split, chosen in _of_split(result).items():
        sizes[split] = int(result.examples[chosen].sum())
        counts[f"{split}/documents"] = int(result.begins[chosen].sum())
        for name in builder.SPLIT_COUNTS[1:]:
            total = int(getattr(result, name)[chosen].sum())
            counts[f"{split}/{name}"] = total
    return order, sizes, counts


def _of_split(result: worker.UnitResult) -> dict[str, np.ndarray]:
    return {"train": ~result.held_out, "validation": result.held_out}


def _begins(
    parts: Iterable[tuple[Order, dict[str, int]]],
) -> dict[Order, dict[str, int]]:
    """Returns the number of examples before each part, for each split."""
    before: Counter[str] = Counter()
    found = {}
    for order, sizes in sorted(parts, key=lambda part: part[0]):
        found[order] = dict(before)
        before.update(sizes)
    return found


def _placed(
    element: Made,
    begins: Mapping[Order, Mapping[str, int]],
    numbers: Mapping[str, int],
) -> Iterator[Placed]:
    """Yields ((split, shard), (place, records)): what a part gives to each
    shard.
    """
    order, result = element
    for split, chosen in _of_split(result).items():
        if not chosen.any():
            continue
        keep = np.repeat(chosen, result.examples)
        records = list(itertools.compress(result.records, keep))
        first, number = begins[order].get(split, 0), numbers[split]
        for start in range(min(number, len(records))):
            place = first + start
            yield (split, place % number), (place, records[start::number])


def _write(
    element: tuple[Shard, Iterable[tuple[int, list[bytes]]]],
    building: str,
    numbers: Mapping[str, int],
) -> tuple[str, int, int, int]:
    """Writes one shard; a repeated worker writes it again."""
    (split, index), pieces = element
    name = shard_name(split, index, numbers[split])
    path = files.join(building, name)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}"
    examples = size = 0
    with files.named_errors(path, "write"):
        with tf.io.TFRecordWriter(temporary) as writer:
            for _, records in sorted(pieces, key=lambda piece: piece[0]):
                for record in records:
                    writer.write(record)
                    examples += 1
                    size += len(record) + OVERHEAD
    files.rename(temporary, path)
    return split, index, examples, size


def _write_summary(
    shards: list[tuple[str, int, int, int]],
    counts: Mapping[str, int],
    building: str,
) -> None:
    found = {"shards": sorted(shards), "counts": dict(counts)}
    files.write_text(files.join(building, _SUMMARY), json.dumps(found))


def _splits(
    summary: dict[str, Any], numbers: Mapping[str, int]
) -> dict[str, manifest.Split]:
    """From the summary, which keeps the other counts."""
    counts = summary["counts"]
    splits = {}
    for split in ("train", "validation"):
        figures = {
            name: counts.pop(f"{split}/{name}", 0)
            for name in builder.SPLIT_COUNTS
        }
        if split in numbers:
            shards = tuple(
                manifest.Shard(
                    shard_name(split, index, numbers[split]), examples, size
                )
                for name, index, examples, size in summary["shards"]
                if name == split
            )
            splits[split] = manifest.Split(**figures, shards=shards)
    return splits
