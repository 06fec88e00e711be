"""Defines the options of question answering; defaults are the original's."""

import dataclasses
from typing import Annotated, Literal

from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError
from electra_tf.tasks.splits import Fraction, SplitOptions

# Value of the option `head` -> `TaskHeadConfig.kind`.
HEADS: dict[str, Literal["joint_span", "span"]] = {
    "joint": "joint_span",
    "independent": "span",
}


@dataclasses.dataclass(frozen=True)
class QAFeatureConfig(Settings):
    """How questions and their contexts become windows."""

    max_seq_length: Annotated[
        int,
        Setting("Tokens of a window, question and special tokens included."),
    ] = 512
    doc_stride: Annotated[
        int, Setting("Tokens between the starts of two windows.", at_least=1)
    ] = 128
    max_query_length: Annotated[
        int,
        Setting(
            "Maximum tokens of a question; longer ones are truncated.",
            at_least=1,
        ),
    ] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_seq_length < self.max_query_length + 4:
            raise UserError(
                f"max_seq_length: expected at least {self.max_query_length} "
                "(max_query_length) and 4 more for special tokens and the "
                f"text, got {self.max_seq_length}"
            )


@dataclasses.dataclass(frozen=True)
class QAOptions(QAFeatureConfig, SplitOptions):
    """Options of `squad`, `xquad` and `mrqa`."""

    validation_fraction: Fraction = 0.0
    format: Annotated[
        Literal["auto", "squad", "mrqa"],
        Setting(
            "Form of the files: SQuAD's JSON or MRQA's JSON Lines; auto "
            "recognises these and others by their content."
        ),
    ] = "auto"
    head: Annotated[
        Literal["joint", "independent"],
        Setting(
            "joint finds the end given the start; independent finds both by "
            "themselves, as Hugging Face's class."
        ),
    ] = "joint"
    answerability: Annotated[
        Literal["head", "first_token"],
        Setting(
            "How questions without an answer are recognised: by a classifier "
            "that is trained together with the spans, or by the score of [CLS] "
            "as the answer."
        ),
    ] = "head"
    answerable_weight: Annotated[
        float, Setting("Weight of that classifier's loss.", at_least=0)
    ] = 0.5
    beam_size: Annotated[
        int,
        Setting("Starts that are considered, and ends for each.", at_least=1),
    ] = 20
    n_best_size: Annotated[
        int,
        Setting(
            "Best answers that are returned for each question.", at_least=1
        ),
    ] = 20
    max_answer_length: Annotated[
        int, Setting("Longest answer, in WordPieces.", at_least=1)
    ] = 30
    null_threshold: Annotated[
        float | None,
        Setting(
            "Odds above which there is no answer; null chooses them on the "
            "validation set.",
            infinite=True,
        ),
    ] = None
    dropout: Annotated[
        float,
        Setting(
            "Dropout rate on what the head reads; the original has none there.",
            at_least=0,
            below=1,
        ),
    ] = 0.0

    def features(self) -> QAFeatureConfig:
        """Returns the options that windows are made by."""
        return QAFeatureConfig(
            self.max_seq_length, self.doc_stride, self.max_query_length
        )


@dataclasses.dataclass(frozen=True)
class ChineseQAOptions(QAOptions):
    """Options of `chinese_qa`; answers may be whole clauses, so longer."""

    max_answer_length: Annotated[
        int, Setting("Longest answer, in WordPieces.", at_least=1)
    ] = 50
