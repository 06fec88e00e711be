"""Options of question answering."""

import dataclasses
from typing import Literal

from electra_tf.errors import UserError
from electra_tf.tasks.qa.features import QAFeatureConfig

# What the option `head` says -> `TaskHeadConfig.kind`.
HEADS = {"joint": "joint_span", "independent": "span"}


@dataclasses.dataclass(frozen=True)
class QAOptions:
    """Options of question answering; the original's defaults.

    Attributes:
      train_file: in --data, or a path; where None, the official name.
      validation_file: the same.
      test_file: the same.
      max_seq_length: tokens a window, question and special tokens too.
      doc_stride: tokens between the starts of two windows.
      max_query_length: tokens of a question that are kept.
      head: "joint" finds the end given the start; "independent" both by
        themselves, as Hugging Face's class.
      answerability: how questions without an answer are told: "head", by a
        classifier that is learned beside; "first_token", by the score of
        [CLS] as the answer.
      answerable_weight: of the classifier's loss.
      beam_size: starts that are looked at, and ends of each.
      n_best_size: answers that are kept.
      max_answer_length: in WordPieces.
      null_threshold: odds above which there is no answer; where None, chosen
        on the validation set.
      dropout: on what the head reads; the original has none there.
    """

    train_file: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    max_seq_length: int = 512
    doc_stride: int = 128
    max_query_length: int = 64
    head: Literal["joint", "independent"] = "joint"
    answerability: Literal["head", "first_token"] = "head"
    answerable_weight: float = 0.5
    beam_size: int = 20
    n_best_size: int = 20
    max_answer_length: int = 30
    null_threshold: float | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, expected in (
            ("head", tuple(HEADS)),
            ("answerability", ("head", "first_token")),
        ):
            if getattr(self, name) not in expected:
                raise UserError(
                    f"options.{name}: expected {' or '.join(expected)}, got "
                    f"'{getattr(self, name)}'"
                )
        for name in ("beam_size", "n_best_size", "max_answer_length"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"options.{name}: expected at least 1, got "
                    f"{getattr(self, name)}"
                )
        self.features()

    def features(self) -> QAFeatureConfig:
        """Of the windows."""
        return QAFeatureConfig(
            self.max_seq_length, self.doc_stride, self.max_query_length
        )
