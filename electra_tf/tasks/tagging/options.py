"""The options of tagging, and what the members of the family have of them."""

import dataclasses
from typing import Literal

from electra_tf.errors import UserError
from electra_tf.tasks.tagging.metrics import Scorer

# What members of the family have in place of "auto" and null.
MEMBERS: dict[str, dict[str, str]] = {
    "conll2000": {},
    "conll2003": {},
    "wnut17": {"separator": "tab"},
    "pos": {"scheme": "none"},
}
SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " ", "white space": None}


@dataclasses.dataclass(frozen=True)
class TaggingOptions:
    """The files, how tags are spelled, and how they are learned."""

    # Null finds them in --data by their names: train.txt, dev.txt or
    # valid.txt or testa, test.txt or testb, whatever the ending.
    train_file: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    # Held out of the training file where there is no other for validation.
    validation_share: float = 0.1
    split_seed: int = 0  # of that choice
    token_column: int | None = None  # null: the first (CoNLL-U: the second)
    tag_column: int | None = None  # null: the last (CoNLL-U: the fourth)
    separator: str | None = None  # null: white space (CoNLL-U: a tab); "tab"
    scheme: Literal["auto", "bio", "iob1", "bioes", "bilou", "none"] = "auto"
    # The scheme that the model learns; null is the data's. Predictions and
    # scores are in the data's.
    convert_to: Literal["bio", "bioes"] | None = None
    constrained: bool = True  # only valid sequences of tags are predicted
    scorer: Scorer = "seqeval"  # or "strict", or "original"
    max_seq_length: int = 128  # longer sentences are seen in parts

    def __post_init__(self) -> None:
        if not 0 < self.validation_share < 1:
            raise UserError(
                "validation_share: expected a share between 0 and 1, got "
                f"{self.validation_share}"
            )
        if self.max_seq_length < 3:
            raise UserError(
                "max_seq_length: expected at least 3, two special tokens and "
                f"a word, got {self.max_seq_length}"
            )
