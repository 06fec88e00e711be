"""What a build of examples is asked for, and what follows from it."""

import dataclasses
import hashlib
from typing import Any

from electra_tf import files
from electra_tf.data import manifest, tfrecords, worker
from electra_tf.errors import UserError
from electra_tf.text import corpus, segment, stop_words
from electra_tf.text.cleaning import Cleaning
from electra_tf.text.vocab import Vocab, load_vocab

_SHARD_SOURCE_BYTES = 1 << 24
_MAX_AUTOMATIC_SHARDS = 256
_SHORTEST_EXAMPLE = 8


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
      stop_words: files with a word a line, or languages; see `text.stop_words`.
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


def open_build(
    settings: BuildSettings,
) -> tuple[list[str], Vocab, worker.WorkSettings, dict[str, Any]]:
    """Checks what can be checked before the work.

    Returns:
      The input files; the vocabulary; settings for the workers, and those
      that the manifest keeps.

    Raises:
      UserError: bad settings, no input, a finished build in the way.
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
    return paths, vocab, *_work_settings(settings)


def shard_numbers(settings: BuildSettings, input_bytes: int) -> dict[str, int]:
    """Split -> how many shards it has."""
    train = settings.num_shards or min(
        _MAX_AUTOMATIC_SHARDS, -(-input_bytes // _SHARD_SOURCE_BYTES) or 1
    )
    number = {"train": train}
    if settings.validation_fraction:
        number["validation"] = max(
            1, round(train * settings.validation_fraction)
        )
    return number


def _work_settings(
    settings: BuildSettings,
) -> tuple[worker.WorkSettings, dict[str, Any]]:
    """Settings for the workers, and those the manifest keeps."""
    words: frozenset[str] = frozenset()
    listed = None
    if settings.stop_words:
        words = stop_words.load(settings.stop_words)
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
            word_segmenter=settings.word_segmenter if words else None,
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
