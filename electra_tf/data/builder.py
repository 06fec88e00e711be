"""Text files -> a directory of TFRecord shards with a manifest.

The parent process reads, cuts and writes; workers do the rest. Everything
that decides what is written depends on the input and the settings alone, so
the number of workers changes nothing but the time.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from electra_tf import files
from electra_tf.data import manifest, pool, tfrecords, worker
from electra_tf.data.shards import ShardWriter
from electra_tf.errors import UserError
from electra_tf.text import corpus, segment
from electra_tf.text.cleaning import Cleaning
from electra_tf.text.vocab import Vocab, load_vocab

_SHARD_SOURCE_BYTES = 1 << 24
_MAX_AUTOMATIC_SHARDS = 256
_SHORTEST_EXAMPLE = 8
_MAX_AUTOMATIC_WORKERS = 8
_WORTH_A_WORKER_BYTES = 1 << 24


@dataclasses.dataclass(frozen=True)
class BuildSettings:
    """What `build_data` is asked for.

    Attributes:
      input: comma-separated globs.
      vocab: path of the vocabulary.
      output: the directory to make.
      max_seq_length: the longest example, specials included.
      num_workers: processes; changes nothing but the time. None takes all
        cores, 8 at most, and fewer for small input.
      lower_case: of the tokenizer.
      strip_accents: of the tokenizer; None does as `lower_case`.
      blank_lines_separate_documents: else each file is one document.
      validation_fraction: share of documents that is held out.
      seed: of the random numbers.
      num_shards: training shards; None makes one for each 16 MiB of input,
        256 at most.
      text_field: the field of JSON lines that holds the text.
      stop_words: a file with one word a line; they are removed from the text.
      drop_duplicates: leave out documents that were there before.
      min_line_length: leave out lines with fewer characters.
      repair_unicode: mend mojibake with `ftfy`.
      legacy: make the original's examples, draw for draw.
      word_segmenter: tells where words begin in text without spaces, for
        masking by words; one of `text.segment.SEGMENTERS`, or None.
      strict: stop at the first bad byte or record.
      overwrite: replace a finished build in `output`.
    """

    input: str
    vocab: str
    output: str
    max_seq_length: int = 128
    num_workers: int | None = None
    lower_case: bool = True
    strip_accents: bool | None = None
    blank_lines_separate_documents: bool = True
    validation_fraction: float = 0.01
    seed: int = 0
    num_shards: int | None = None
    text_field: str = "text"
    stop_words: str | None = None
    drop_duplicates: bool = False
    min_line_length: int = 0
    repair_unicode: bool = False
    legacy: bool = False
    word_segmenter: str | None = None
    strict: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Raises `UserError` for values that make no sense."""
        if self.max_seq_length < _SHORTEST_EXAMPLE:
            raise UserError(
                f"--max_seq_length={self.max_seq_length}: expected "
                f"{_SHORTEST_EXAMPLE} or more"
            )
        if not 0 <= self.validation_fraction < 1:
            raise UserError(
                f"--validation_fraction={self.validation_fraction}: expected "
                "0 or more, and less than 1"
            )
        if self.num_shards is not None and self.num_shards < 1:
            raise UserError(
                f"--num_shards={self.num_shards}: expected 1 or more"
            )
        if self.num_workers is not None and self.num_workers < 1:
            raise UserError(
                f"--num_workers={self.num_workers}: expected 1 or more"
            )
        if self.legacy and self.validation_fraction:
            raise UserError(
                "--legacy makes one sequence of examples of all documents, "
                "none held out; add --validation_fraction=0"
            )


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
    settings.check()
    if manifest.is_finished(settings.output) and not settings.overwrite:
        raise UserError(
            f"{settings.output}: holds a finished build; choose another "
            "--output or add --overwrite"
        )
    paths = files.expand(settings.input)
    vocab = load_vocab(settings.vocab)
    if len(vocab) > tfrecords.MAX_ID:
        raise UserError(
            f"{settings.vocab}: more than {tfrecords.MAX_ID} tokens"
        )
    work, options = _work_settings(settings)

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
        finished = _manifest(settings, options, vocab, reader, tally)
        vocab.save(files.join(building, manifest.VOCAB_FILE))
    except BaseException:
        with contextlib.suppress(Exception):
            files.remove(building)
        raise
    # From here on a failure leaves the folder, which says "not finished".
    _publish(settings.output, building, finished)
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
        train = settings.num_shards or min(
            _MAX_AUTOMATIC_SHARDS, -(-input_bytes // _SHARD_SOURCE_BYTES) or 1
        )
        number = {"train": train}
        if settings.validation_fraction:
            number["validation"] = max(
                1, round(train * settings.validation_fraction)
            )
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

    def _is_new(self, name: bytes) -> bool:
        if name in self._seen:
            self.repairs["duplicate_documents_dropped"] += 1
            return False
        self._seen.add(name)
        return True


def _work_settings(
    settings: BuildSettings,
) -> tuple[worker.WorkSettings, dict[str, Any]]:
    """Settings for the workers, and those the manifest keeps."""
    words: frozenset[str] = frozenset()
    listed = None
    if settings.stop_words:
        text = files.read_text(settings.stop_words)
        words = frozenset(w.strip().lower() for w in text.split("\n")) - {""}
        listed = hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()
    if settings.repair_unicode:
        try:
            import ftfy  # noqa: F401
        except ImportError as error:
            raise UserError(
                "--repair_unicode needs the package ftfy; install it"
            ) from error
    work = worker.WorkSettings(
        vocab=settings.vocab,
        lower_case=settings.lower_case,
        strip_accents=settings.strip_accents,
        max_seq_length=settings.max_seq_length,
        cleaning=Cleaning(
            repair_unicode=settings.repair_unicode,
            stop_words=words,
            min_line_length=settings.min_line_length,
            strict=settings.strict,
        ),
        text_field=settings.text_field,
        seed=settings.seed,
        validation_fraction=settings.validation_fraction,
        legacy=settings.legacy,
        word_segmenter=settings.word_segmenter,
    )
    kept = dataclasses.asdict(settings)
    # These have their own places in the manifest, or change nothing.
    for name in (
        "max_seq_length", "lower_case", "strip_accents", "seed",
        "output", "num_workers", "overwrite",
    ):  # fmt: skip
        del kept[name]
    kept |= {"stop_words_sha256": listed, "part_bytes": corpus.PART_BYTES}
    if settings.word_segmenter is None:
        del kept["word_segmenter"]
    else:
        version = segment.check(settings.word_segmenter)
        kept["word_segmenter_version"] = version
    return work, kept


_NO_REPAIRS = dict.fromkeys(
    ("invalid_utf8_replaced", "control_characters_dropped", "long_lines_cut",
     "bad_records"), 0
)  # fmt: skip


def _manifest(
    settings: BuildSettings,
    options: dict[str, Any],
    vocab: Vocab,
    reader: corpus.Reader,
    tally: _Tally,
) -> manifest.Manifest:
    """Closes the shards and sums up."""
    found = Counter(reader.counts)
    about = {name: found.pop(name, 0) for name in ("files", "empty_files")}
    repairs = Counter(_NO_REPAIRS)
    repairs.update(found)
    repairs.update(tally.repairs)
    splits = {}
    for split, writer in tally.writers.items():
        counts = tally.counts[split]
        splits[split] = manifest.Split(
            **{
                name: counts[name]
                for name in (
                    "documents", "lines", "source_tokens", "tokens", "examples"
                )
            },
            shards=writer.close(),
        )  # fmt: skip
    if not splits["train"].examples:
        hint = ""
        if repairs["bad_records"]:
            hint = (
                f" ({repairs['bad_records']} JSON lines have no text field "
                f"'{settings.text_field}': set --text_field)"
            )
        raise UserError(f"--input={settings.input}: no text to train on{hint}")
    return manifest.Manifest(
        max_seq_length=settings.max_seq_length,
        vocab_fingerprint=vocab.fingerprint(),
        vocab_size=len(vocab),
        lower_case=settings.lower_case,
        strip_accents=settings.strip_accents,
        seed=settings.seed,
        splits=splits,
        input={**about, "bytes": reader.bytes_total},
        repairs=dict(sorted(repairs.items())),
        settings=options,
    )


def _publish(output: str, building: str, finished: manifest.Manifest) -> None:
    """Moves the shards in place; what they replace goes first."""
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
    files.rename(
        files.join(building, manifest.VOCAB_FILE),
        files.join(output, manifest.VOCAB_FILE),
    )
    finished.save(output)
    files.remove(building)
