"""Defines the options of tasks that generate texts."""

import dataclasses
from typing import Annotated

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.generation.settings import SearchConfig
from electra_tf.tasks.splits import Fraction, TableOptions

_SOURCE = "Column of the text that is read."
_TARGET = "Column of the text that is written."
_PENALTY = Setting(
    "Power of the length that a hypothesis' score is divided by; 0 favours "
    "short ones.",
    at_least=0,
)
_NGRAM = Setting(
    "An output never repeats a run of this many tokens; 0 allows repeats.",
    at_least=0,
)
_LENGTH = Setting(
    "Tokens of a source, special ones included; longer ones are truncated.",
    at_least=3,
)


@dataclasses.dataclass(frozen=True)
class Seq2SeqOptions(TableOptions):
    """Options of all tasks that generate texts."""

    validation_fraction: Fraction = 0.02
    source_language: Annotated[
        str | None,
        Setting(
            "Language of the sources, as en: with both languages the data are "
            "parallel files that end in .en and .de, a text a line; null for "
            "tables."
        ),
    ] = None
    target_language: Annotated[
        str | None, Setting("Language of the targets, as de; null for tables.")
    ] = None
    source_column: Annotated[str, Setting(_SOURCE)] = "source"
    target_column: Annotated[str, Setting(_TARGET)] = "target"
    max_seq_length: Annotated[int, _LENGTH] = 128
    max_target_length: Annotated[
        int,
        Setting(
            "Tokens of a target, special ones aside; longer ones are "
            "truncated, and none that is longer is written.",
            at_least=1,
        ),
    ] = 126
    decoder_layers: Annotated[
        int,
        Setting("Blocks of the decoder, of the encoder's width.", at_least=1),
    ] = 3
    from_encoder: Annotated[
        bool,
        Setting(
            "Initialise the decoder with the encoder's weights, if these come "
            "from a checkpoint."
        ),
    ] = True
    label_smoothing: Annotated[
        float,
        Setting(
            "Label smoothing: share of the true token's probability that is "
            "spread over all tokens.",
            at_least=0,
            below=1,
        ),
    ] = 0.1
    beam_size: Annotated[
        int,
        Setting(
            "Hypotheses kept at each step; 1 takes the best token at each "
            "step, as evaluations during training do.",
            at_least=1,
        ),
    ] = 4
    length_penalty: Annotated[float, _PENALTY] = 0.6
    no_repeat_ngram: Annotated[int, _NGRAM] = 0
    n_best: Annotated[
        int, Setting("Best hypotheses that are returned.", at_least=1)
    ] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source_column == self.target_column:
            raise UserError(
                "target_column: expected another than source_column, got "
                f"'{self.target_column}' for both"
            )
        if (self.source_language is None) != (self.target_language is None):
            raise UserError(
                "source_language and target_language: give both or none"
            )
        if self.source_language and (
            self.source_language == self.target_language
        ):
            raise UserError(
                "target_language: expected another than source_language, got "
                f"'{self.target_language}' for both"
            )
        if self.n_best > self.beam_size:
            raise UserError(
                f"n_best: {self.n_best}, and beam_size is {self.beam_size}; a "
                "search returns at most beam_size"
            )

    def search(self) -> SearchConfig:
        """Returns the options of beam search; [SEP] takes one more token."""
        return SearchConfig(
            self.beam_size,
            self.max_target_length + 1,
            self.length_penalty,
            self.no_repeat_ngram,
        )


@dataclasses.dataclass(frozen=True)
class TranslationOptions(Seq2SeqOptions):
    """Options of `translation`."""

    bleu_tokenizer: Annotated[
        str | None,
        Setting(
            "sacreBLEU's name of a tokenizer; null takes that of the target "
            "language, or 13a."
        ),
    ] = None
    lower_case_scores: Annotated[
        bool, Setting("Ignore case in the metrics.")
    ] = False


@dataclasses.dataclass(frozen=True)
class SummarizationOptions(Seq2SeqOptions):
    """Options of `abstractive_summarization`."""

    source_column: Annotated[str, Setting(_SOURCE)] = "document"
    target_column: Annotated[str, Setting(_TARGET)] = "summary"
    max_seq_length: Annotated[int, _LENGTH] = 512
    no_repeat_ngram: Annotated[int, _NGRAM] = 3
    length_penalty: Annotated[float, _PENALTY] = 1.0
    stem: Annotated[
        bool, Setting("Compare English words by their stems in the metrics.")
    ] = True
