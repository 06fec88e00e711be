"""Defines the settings of a build of examples, and opens its input."""

import dataclasses
import hashlib
from typing import Any, NamedTuple

from electra_tf import files
from electra_tf.data import manifest
from electra_tf.errors import UserError
from electra_tf.text import corpus, segment
from electra_tf.text.cleaning import (
    Cleaning,
    check_segmented,
    load_stop_words,
)
from electra_tf.text.vocab import Vocab, load_vocab

_SHARD_SOURCE_BYTES = 1 << 24
_MAX_AUTOMATIC_SHARDS = 256
# Settings with their own places in the manifest, or without effect.
_NOT_KEPT = (
    "max_seq_length", "lower_case", "strip_accents", "seed", "output",
    "num_workers", "overwrite",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class BuildSettings:
    """The parameters of `recipes.build_data`, which explains them."""

    input: str
    vocab: str
    output: str
    max_seq_length: int
    num_workers: int | None
    lower_case: bool
    strip_accents: bool | None
    blank_lines_separate_documents: bool
    validation_fraction: float
    seed: int
    num_shards: int | None
    text_field: str
    stop_words: str | None
    drop_duplicates: bool
    min_line_length: int
    repair_unicode: bool
    legacy: bool
    word_segmenter: str | None
    strict: bool
    overwrite: bool

    def num_shards_of(self, input_bytes: int) -> dict[str, int]:
        """Returns the number of shards of each split, by name."""
        train = self.num_shards or min(
            _MAX_AUTOMATIC_SHARDS, -(-input_bytes // _SHARD_SOURCE_BYTES) or 1
        )
        number = {"train": train}
        if self.validation_fraction:
            number["validation"] = max(
                1, round(train * self.validation_fraction)
            )
        return number


class OpenedBuild(NamedTuple):
    """What is known before the build.

    Attributes:
      paths: the input files.
      vocab: the vocabulary.
      cleaning: options for cleaning lines.
      kept: the settings that the manifest stores.
    """

    paths: list[str]
    vocab: Vocab
    cleaning: Cleaning
    kept: dict[str, Any]


def open_build(settings: BuildSettings) -> OpenedBuild:
    """Checks settings and input before the build.

    Raises:
      UserError: settings exclude each other, there is no input, the output has
        a finished build, or a package is not installed.
    """
    from electra_tf.data import tfrecords

    if settings.legacy and settings.validation_fraction:
        raise UserError(
            "--legacy makes one sequence of examples of all documents, "
            "none held out; add --validation_fraction=0"
        )
    if manifest.is_finished(settings.output) and not settings.overwrite:
        raise UserError(
            f"{settings.output}: holds a finished build; choose another "
            "--output or add --overwrite"
        )
    paths = files.expand(settings.input)
    if files.is_among(settings.vocab, paths):
        raise UserError(
            f"--vocab: {settings.vocab} is one of the files of --input, and "
            "would be read as text; move it, or give an --input that does not "
            "match it"
        )
    vocab = load_vocab(settings.vocab)
    if len(vocab) > tfrecords.MAX_ID:
        raise UserError(
            f"{settings.vocab}: more than {tfrecords.MAX_ID} tokens"
        )
    words: frozenset[str] = frozenset()
    listed = None
    if settings.stop_words:
        check_segmented(settings.stop_words, settings.word_segmenter)
        words = load_stop_words(settings.stop_words)
        listed = hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()
    if settings.repair_unicode:
        try:
            import ftfy  # noqa: F401
        except ImportError as error:
            raise UserError(
                "--repair_unicode needs the package ftfy; install it"
            ) from error
    cleaning = Cleaning(
        repair_unicode=settings.repair_unicode,
        stop_words=words,
        word_segmenter=settings.word_segmenter if words else None,
        min_line_length=settings.min_line_length,
        strict=settings.strict,
        cut_lines=not settings.legacy,
    )
    kept = dataclasses.asdict(settings)
    for name in _NOT_KEPT:
        del kept[name]
    kept |= {"stop_words_sha256": listed, "part_bytes": corpus.PART_BYTES}
    if settings.word_segmenter is None:
        del kept["word_segmenter"]
    else:
        version = segment.check(settings.word_segmenter)
        kept["word_segmenter_version"] = version
    return OpenedBuild(paths, vocab, cleaning, kept)
