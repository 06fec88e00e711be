"""Text files -> a directory of TFRecord shards with a manifest.

The parent process reads, cuts and writes; workers do the rest. Everything
that decides what is written depends on the input and the settings alone, so
the number of workers changes nothing but the time.
"""

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from electra_tf import files
from electra_tf.data import finishing, manifest, pool, worker
from electra_tf.data.build_settings import (
    BuildSettings,
    open_build,
    shard_numbers,
)
from electra_tf.data.shards import ShardWriter
from electra_tf.text import corpus

_MAX_AUTOMATIC_WORKERS = 8
_WORTH_A_WORKER_BYTES = 1 << 24


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a build is: bytes of the input files, and examples made."""

    bytes_read: int
    bytes_total: int
    examples: int


def build_data(
    settings: BuildSettings,
    progress: Callable[[Progress], None] | None = None,
) -> manifest.Manifest:
    """Builds `settings.output`: shards, a copy of the vocabulary, a manifest.

    The shards are written in a folder inside, moved when all are complete,
    and the manifest comes last: an interrupted build leaves nothing that
    looks finished, and the next one clears what it left.

    Args:
      settings: what to do.
      progress: called after each unit of work.

    Raises:
      UserError: bad settings; no input; unreadable or unwritable files; a
        finished build in the way; with `strict`, the first flaw in the text.
    """
    paths, vocab, work, kept = open_build(settings)
    building = files.join(settings.output, manifest.BUILDING)
    files.remove(building)
    files.make_directory(building)
    try:
        reader = corpus.Reader(
            paths,
            blank_lines_separate_documents=(
                settings.blank_lines_separate_documents
            ),
            part_bytes=corpus.PART_BYTES,
            strict=settings.strict,
        )
        tally = _Tally(settings, building, reader.bytes_total)
        with contextlib.closing(
            pool.results(
                _units(reader),
                work,
                _num_workers(settings, reader.bytes_total),
            )
        ) as results:
            for result in results:
                tally.add(result)
                if progress:
                    progress(
                        Progress(
                            reader.bytes_read,
                            reader.bytes_total,
                            tally.examples,
                        )
                    )
        counts = Counter(reader.counts)
        counts.update(tally.repairs)
        finished = finishing.summarise(
            settings, kept, vocab, reader.bytes_total, counts, tally.close()
        )
        vocab.save(files.join(building, manifest.VOCAB_FILE))
    except BaseException:
        with contextlib.suppress(Exception):
            files.remove(building)
        raise
    # From here on a failure leaves the folder, which says "not finished".
    finishing.publish(settings.output, building, finished)
    return finished


def _num_workers(settings: BuildSettings, input_bytes: int) -> int:
    if settings.legacy:
        return 1  # its examples depend on the ones before
    if settings.num_workers:
        return settings.num_workers
    cores = min(os.cpu_count() or 1, _MAX_AUTOMATIC_WORKERS)
    return min(cores, 1 + input_bytes // _WORTH_A_WORKER_BYTES)


def _units(parts: Iterable[corpus.Part]) -> Iterator[list[corpus.Part]]:
    """Puts small parts together, so that each unit is worth sending."""
    unit: list[corpus.Part] = []
    size = 0
    for part in parts:
        if unit and size + len(part.data) > corpus.PART_BYTES:
            yield unit
            unit, size = [], 0
        unit.append(part)
        size += len(part.data)
    if unit:
        yield unit


class _Tally:
    """Writes results in order and counts what is written."""

    def __init__(
        self, settings: BuildSettings, directory: str, input_bytes: int
    ):
        number = shard_numbers(settings, input_bytes)
        self.writers = {
            split: ShardWriter(directory, split, n)
            for split, n in number.items()
        }
        self.counts = {split: Counter[str]() for split in number}
        self.repairs: Counter[str] = Counter()
        self._drop_duplicates = settings.drop_duplicates
        self._seen: set[bytes] = set()

    @property
    def examples(self) -> int:
        """Examples written so far."""
        return sum(counts["examples"] for counts in self.counts.values())

    def add(self, result: worker.UnitResult) -> None:
        """Writes a unit's examples, documents seen before left out."""
        self.repairs.update(result.counts)
        wanted = np.ones(len(result.fingerprints), bool)
        if self._drop_duplicates:
            wanted = np.array(
                [self._is_new(name) for name in result.fingerprints], bool
            )
        for split, counts in self.counts.items():
            chosen = wanted & (result.held_out == (split == "validation"))
            if not chosen.any():
                continue
            records: Sequence[bytes] = result.records
            if not chosen.all():
                keep = np.repeat(chosen, result.examples)
                records = [r for r, k in zip(result.records, keep) if k]
            self.writers[split].write(records)
            counts["documents"] += int(result.begins[chosen].sum())
            for name in ("lines", "source_tokens", "tokens", "examples"):
                counts[name] += int(getattr(result, name)[chosen].sum())

    def close(self) -> dict[str, manifest.Split]:
        """Finishes the shards."""
        return {
            split: manifest.Split(
                **{n: self.counts[split][n] for n in finishing.SPLIT_COUNTS},
                shards=writer.close(),
            )
            for split, writer in self.writers.items()
        }

    def _is_new(self, name: bytes) -> bool:
        if name in self._seen:
            self.repairs["duplicate_documents_dropped"] += 1
            return False
        self._seen.add(name)
        return True
