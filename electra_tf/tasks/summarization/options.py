"""Defines the options of extractive summarization."""

import dataclasses
from typing import Annotated, NamedTuple

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.tasks.splits import Fraction, TableOptions


class Length(NamedTuple):
    """The length of a summary, given by one of the attributes.

    Attributes:
      sentences: number of sentences.
      words: number of words, approximated by whole sentences.
      ratio: the same, as a share of the text's words.
    """

    sentences: int | None = None
    words: float | None = None
    ratio: float | None = None


@dataclasses.dataclass(frozen=True)
class SummaryOptions(TableOptions):
    """Options of `extractive_summarization`."""

    validation_fraction: Fraction = 0.05
    document_column: Annotated[
        str, Setting("Column of the text that is read.")
    ] = "document"
    summary_column: Annotated[str, Setting("Column of its summary.")] = (
        "summary"
    )
    language: Annotated[
        str,
        Setting("Language of the documents, as en, for its abbreviations."),
    ] = "en"
    title_line: Annotated[
        bool,
        Setting(
            "Take each document's first sentence for a title: it is read, and "
            "never part of a summary."
        ),
    ] = False
    num_sentences: Annotated[
        int | None,
        Setting(
            "Sentences of a summary; null, with num_words and ratio null too, "
            "makes summaries as long as in training.",
            at_least=1,
        ),
    ] = None
    num_words: Annotated[
        int | None,
        Setting(
            "Words of a summary, as close as whole sentences allow; null where "
            "another option gives its length.",
            at_least=1,
        ),
    ] = None
    ratio: Annotated[
        float | None,
        Setting(
            "A summary's share of the document's words; null where another "
            "option gives its length.",
            above=0,
            at_most=1,
        ),
    ] = None
    trigram_blocking: Annotated[
        bool,
        Setting(
            "Take no sentence that shares three words in a row with one taken "
            "before it."
        ),
    ] = True
    max_seq_length: Annotated[
        int,
        Setting(
            "Tokens of a window; longer documents are read through several "
            "that overlap.",
            at_least=3,
        ),
    ] = 512
    stem: Annotated[
        bool, Setting("Compare English words by their stems in the metrics.")
    ] = True
    baselines: Annotated[
        bool,
        Setting(
            "Score the first three sentences too, and first and random ones of "
            "our summary's length."
        ),
    ] = True

    def __post_init__(self) -> None:
        super().__post_init__()
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
        """Returns the length of summaries; by default the `learned` ratio."""
        given = Length(self.num_sentences, self.num_words, self.ratio)
        return given if any(given) else Length(ratio=learned)
