"""Builds a directory of TFRecord shards with a manifest from text files.

The parent process reads, splits and writes; workers do the rest. The output
depends only on the input and the settings, so the number of workers changes
only the time.
"""

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from electra_tf import files
from electra_tf.data import manifest, worker
from electra_tf.data.build_settings import (
    BuildSettings,
    OpenedBuild,
    open_build,
)
from electra_tf.data.shards import ShardWriter
from electra_tf.errors import UserError
from electra_tf.text import accents, corpus, unknown
from electra_tf.text.vocab import Vocab

_MAX_AUTOMATIC_WORKERS = 8
_WORTH_A_WORKER_BYTES = 1 << 24
_NO_REPAIRS = dict.fromkeys(
    ("invalid_utf8_replaced", "control_characters_dropped", "long_lines_cut",
     "bad_records"), 0
)  # fmt: skip
# Counts of each split, besides its shards.
SPLIT_COUNTS = (
    "documents", "lines", "source_tokens", "unknown_tokens", "tokens",
    "examples",
)  # fmt: skip
# Characters of each file that are read to find a cause of [UNK].
_CHARACTERS_OF_FILE = 50_000


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a build: bytes of input read, and examples made."""

    bytes_read: int
    bytes_total: int
    examples: int


class Made(NamedTuple):
    """The content of an unfinished build's folder.

    Attributes:
      input_bytes: bytes of all files.
      counts: counts of files and repairs, by name.
      splits: the splits, with their shards.
    """

    input_bytes: int
    counts: Mapping[str, int]
    splits: dict[str, manifest.Split]


def build_data(
    settings: BuildSettings,
    progress: Callable[[Progress], None] | None = None,
) -> manifest.Manifest:
    """Builds `settings.output` with processes of this machine.

    Args:
      settings: settings of the build.
      progress: called after each unit of work.

    Raises:
      UserError: see `assemble`.
    """

    def make(opened: OpenedBuild, building: str) -> Made:
        reader = corpus.Reader(
            opened.paths,
            blank_lines_separate_documents=(
                settings.blank_lines_separate_documents
            ),
            part_bytes=corpus.PART_BYTES,
            strict=settings.strict,
            text_field=settings.text_field,
            cut_lines=not settings.legacy,
        )
        tally = _Tally(settings, building, reader.bytes_total)
        with contextlib.closing(
            worker.results(
                _units(reader),
                settings,
                opened.cleaning,
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
        return Made(reader.bytes_total, counts, tally.close())

    return assemble(settings, make)


def assemble(
    settings: BuildSettings, make: Callable[[OpenedBuild, str], Made]
) -> manifest.Manifest:
    """Builds `settings.output`: shards, a copy of the vocabulary, a manifest.

    The shards are written in a subfolder, moved when all are complete, and the
    manifest is written last: an interrupted build leaves nothing that looks
    finished, and the next one removes its files.

    Args:
      settings: settings of the build.
      make: writes the shards into a given folder.

    Raises:
      UserError: settings are wrong; there is no input; files are unreadable or
        cannot be written; the output has a finished build; or, with `strict`,
        the text has a flaw.
      LostData: from `make`; the folder is kept.
    """
    opened = open_build(settings)
    made_here = not files.exists(settings.output)
    with files.claimed(settings.output):
        return _assembled(settings, opened, make, made_here)


def _assembled(
    settings: BuildSettings,
    opened: OpenedBuild,
    make: Callable[[OpenedBuild, str], Made],
    made_here: bool,
) -> manifest.Manifest:
    """Does what `assemble` says, in a directory that no other process uses.

    Args:
      settings: settings of the build.
      opened: what is known before it.
      make: see `assemble`.
      made_here: whether a failure removes the directory.
    """
    building = files.join(settings.output, manifest.BUILDING)
    files.remove(building)
    files.make_directory(building)
    try:
        finished = _summarise(settings, opened, make(opened, building))
    except manifest.LostData:
        raise  # it names the folder
    except BaseException:
        with contextlib.suppress(Exception):
            files.remove(building)
            if made_here and not files.list_directory(settings.output):
                files.remove(settings.output)
        raise
    # From here on a failure leaves the folder, which says "not finished".
    _publish(settings.output, building, finished, opened.vocab)
    return finished


def _summarise(
    settings: BuildSettings, opened: OpenedBuild, made: Made
) -> manifest.Manifest:
    """Makes the manifest of a build; refuses one without training text."""
    repairs = Counter(_NO_REPAIRS)
    repairs.update(made.counts)
    about = {name: repairs.pop(name, 0) for name in ("files", "empty_files")}
    for name in ("archive_members", "hidden_members_skipped"):
        if count := repairs.pop(name, 0):
            about[name] = count
    stripped = accents.warning(accents.take(repairs))
    if not made.splits["train"].examples:
        raise UserError(
            f"--input={settings.input}: no text to train on"
            f"{_why_none(settings, repairs, made.splits)}"
        )
    return manifest.Manifest(
        max_seq_length=settings.max_seq_length,
        vocab_fingerprint=opened.vocab.fingerprint(),
        vocab_size=len(opened.vocab),
        lower_case=settings.lower_case,
        strip_accents=settings.strip_accents,
        seed=settings.seed,
        splits=made.splits,
        input={**about, "bytes": made.input_bytes},
        repairs=dict(sorted(repairs.items())),
        settings=opened.kept,
        warnings=tuple(
            filter(
                None,
                (
                    _unknown_warning(settings, opened, made),
                    stripped,
                    _accents_warning(settings, opened),
                    _skipped_warning(settings.input),
                ),
            )
        ),
    )


def _why_none(
    settings: BuildSettings,
    repairs: Mapping[str, int],
    splits: Mapping[str, manifest.Split],
) -> str:
    """Returns in brackets why there is no training text, where it is known."""
    held_out = splits.get("validation")
    if held_out and held_out.examples:
        return (
            f" (--validation_fraction={settings.validation_fraction:g} holds "
            f"out all {held_out.documents} documents: lower it, or give more)"
        )
    if repairs["bad_records"]:
        return (
            f" ({repairs['bad_records']} JSON lines have no text field "
            f"'{settings.text_field}': set --text_field)"
        )
    if dropped := repairs.get("short_lines_dropped"):
        return (
            f" (--min_line_length={settings.min_line_length} leaves out all "
            f"{dropped} lines: lower it)"
        )
    return ""


def _unknown_warning(
    settings: BuildSettings, opened: OpenedBuild, made: Made
) -> str | None:
    splits = made.splits.values()
    share = unknown.unknown_share(
        sum(split.unknown_tokens or 0 for split in splits),
        sum(split.source_tokens for split in splits),
        opened.vocab,
        settings.lower_case,
        _beginnings(opened.paths, settings.text_field),
        settings.strip_accents,
    )
    return str(share) if share.notable else None


def _accents_warning(
    settings: BuildSettings, opened: OpenedBuild
) -> str | None:
    strip = settings.strip_accents
    if not (settings.lower_case if strip is None else strip):
        return None
    return accents.vocabulary_warning(opened.vocab.tokens)


def _skipped_warning(patterns: str) -> str | None:
    folders = files.directories_matching(patterns)
    if not folders:
        return None
    return (
        f"--input={patterns}: {len(folders)} directories that it matches were "
        f"not looked into, as {folders[0]}; '{folders[0]}/**' would be"
    )


def _beginnings(paths: Iterable[str], text_field: str) -> Iterator[str]:
    """Yields lines from the beginnings of all files."""
    for path in paths:
        left = _CHARACTERS_OF_FILE
        for line in corpus.iter_lines([path], text_field):
            yield line
            left -= len(line)
            if left <= 0:
                break


def _publish(
    output: str, building: str, finished: manifest.Manifest, vocab: Vocab
) -> None:
    """Moves the shards in place, after removing old ones, with the
    vocabulary.
    """
    files.remove(files.join(output, manifest.FILE))
    for name in files.list_directory(output):
        if name.startswith(("train-", "validation-")) and name.endswith(
            ".tfrecord"
        ):
            files.remove(files.join(output, name))
    for split in finished.splits.values():
        for shard in split.shards:
            files.rename(
                files.join(building, shard.file),
                files.join(output, shard.file),
            )
    vocab.save(files.join(output, manifest.VOCAB_FILE))
    finished.save(output)
    files.remove(building)


def _num_workers(settings: BuildSettings, input_bytes: int) -> int:
    if settings.legacy:
        return 1  # its examples depend on earlier ones
    if settings.num_workers:
        return settings.num_workers
    cores = min(os.cpu_count() or 1, _MAX_AUTOMATIC_WORKERS)
    return min(cores, 1 + input_bytes // _WORTH_A_WORKER_BYTES)


def _units(parts: Iterable[corpus.Part]) -> Iterator[list[corpus.Part]]:
    """Joins small parts to units that are worth sending to a worker."""
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
    """Writes results in order, and counts them."""

    def __init__(
        self, settings: BuildSettings, directory: str, input_bytes: int
    ):
        number = settings.num_shards_of(input_bytes)
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
        """The number of examples written so far."""
        return sum(counts["examples"] for counts in self.counts.values())

    def add(self, result: worker.UnitResult) -> None:
        """Writes a unit's examples, except repeated documents."""
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
            for name in SPLIT_COUNTS[1:]:
                counts[name] += int(getattr(result, name)[chosen].sum())

    def close(self) -> dict[str, manifest.Split]:
        """Completes the shards."""
        return {
            split: manifest.Split(
                **{n: self.counts[split][n] for n in SPLIT_COUNTS},
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
