"""The options of extractive summarisation."""

import dataclasses

from electra_tf.errors import UserError
from electra_tf.tasks.summarization.selection import Length


@dataclasses.dataclass(frozen=True)
class SummaryOptions:
    """Options of `extractive_summarization`.

    Attributes:
      train_file: JSON Lines (or a table) of documents with their summaries,
        inside --data or anywhere; found by its name where None (train, dev
        or validation, test), or --data itself.
      validation_file: the same.
      test_file: the same; it may lack the summaries.
      validation_fraction: of the training documents, held out by a hash of
        their text where there is no validation file.
      document_column: the text that is read.
      summary_column: its summary.
      language: of the documents, as "en"; for the abbreviations in them.
      title_line: the document's first sentence is a title: it is read, and
        never part of a summary.
      num_sentences: sentences of a summary.
      num_words: in place of it, words of a summary; as near as whole
        sentences come.
      ratio: in place of both, its share of the document's words. Where none
        of the three is given, it is the training summaries' mean share.
      trigram_blocking: no sentence is taken that shares three words in a row
        with one taken before it.
      max_seq_length: tokens of a window; a longer document is read through
        several, which overlap and cut no sentence.
      stem: whether scores compare English words by their stems.
      baselines: scores are given of the first three sentences, too; and of
        the first ones, and of ones by chance, of our summary's length.
    """

    train_file: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    validation_fraction: float = 0.05
    document_column: str = "document"
    summary_column: str = "summary"
    language: str = "en"
    title_line: bool = False
    num_sentences: int | None = None
    num_words: int | None = None
    ratio: float | None = None
    trigram_blocking: bool = True
    max_seq_length: int = 512
    stem: bool = True
    baselines: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise UserError(
                "validation_fraction: expected a share in [0, 1), got "
                f"{self.validation_fraction}"
            )
        if self.max_seq_length < 3:
            raise UserError(
                "max_seq_length: expected at least 3, two special tokens and "
                f"a word, got {self.max_seq_length}"
            )
        for name in ("num_sentences", "num_words"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}: expected at least 1, got {value}")
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise UserError(
                f"ratio: expected a share in (0, 1], got {self.ratio}"
            )
        given = [
            name
            for name in ("num_sentences", "num_words", "ratio")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)}: give one of them")
        if self.document_column == self.summary_column:
            raise UserError(
                "summary_column: expected another than document_column, got "
                f"'{self.summary_column}' for both"
            )

    def length(self, learned: float) -> Length:
        """Of summaries; `learned` is the ratio where none is given."""
        given = Length(self.num_sentences, self.num_words, self.ratio)
        return given if any(given) else Length(ratio=learned)
