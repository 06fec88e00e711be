"""Defines what all tasks on a text or a pair of texts share.

Rows are made as in the original.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.models.task_networks import ClassifierOutput
from electra_tf.tasks.features import (
    Features,
    join_pairs,
    no_pieces,
    tokenize_all,
)
from electra_tf.tasks.task import Prediction, Task
from electra_tf.tasks.texts.options import TextOptions
from electra_tf.tasks.texts.targets import Target
from electra_tf.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class TextExample:
    """A text or a pair of texts, and the answer.

    Attributes:
      text: the first or only text.
      text_pair: the second; None where there is none.
      answer: a label, a tuple of labels or a number; None if unknown.
      place: "file:line", for messages.
      index: its number in the source, where there is one.
    """

    text: str
    text_pair: str | None = None
    answer: Any = None
    place: str = ""
    index: int = 0


class TextTask(Task):
    """Predicts an answer for a text or a pair, with a "sequence" head.

    Attributes:
      both_orders: whether to train on (second, first) as well.
    """

    Options: ClassVar[type] = TextOptions
    both_orders: bool = False
    _target: Target | None = None

    @property
    def target(self) -> Target:
        """The kind of answer, known from the options, the state or `fit`."""
        if self._target is None:
            raise UserError(
                f"{self.name}: its labels are not known; give `labels`, or a "
                "model that was fine-tuned for it"
            )
        return self._target

    def head(self) -> TaskHeadConfig:
        """Returns a "sequence" head."""
        return TaskHeadConfig(
            "sequence",
            num_labels=self.target.num_outputs,
            labels=self.target.labels or None,
            hidden_layer=self.options.hidden_layer,
            hidden_activation=self.options.hidden_activation,
            dropout=self.options.dropout,
        )

    def features(
        self,
        tokenizer: Tokenizer,
        examples: Sequence[TextExample],
        training: bool,
    ) -> Features:
        """Returns a row for each example; reversed pairs follow all others."""
        first = [example.text for example in examples]
        second = None
        if any(example.text_pair is not None for example in examples):
            second = [example.text_pair or "" for example in examples]
        length = self.options.max_seq_length
        if not training:
            return pair_rows(tokenizer, first, second, length)
        answers = [example.answer for example in examples]
        rows = self.target.rows(answers)
        numbers = None
        if self.both_orders and second is not None:
            first, second = first + second, second + first
            rows = {n: np.concatenate([v, v]) for n, v in rows.items()}
            numbers = np.tile(np.arange(len(examples)), 2)
        found = pair_rows(tokenizer, first, second, length)
        return dataclasses.replace(found, rows=rows, examples=numbers)

    def loss(
        self, outputs: ClassifierOutput, batch: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Returns the target's."""
        return self.target.loss(outputs.logits, batch)

    def outputs(self, outputs: ClassifierOutput) -> dict[str, tf.Tensor]:
        """Returns the target's."""
        return self.target.outputs(outputs.logits)

    def predictions(
        self,
        examples: Sequence[TextExample],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> list[Prediction]:
        """Returns the target's predictions, one for each row."""
        return [self.target.prediction(output) for output in outputs]

    def scores(
        self,
        examples: Sequence[TextExample],
        predictions: Sequence[Prediction],
    ) -> dict[str, float]:
        """Returns the target's scores; none where an example has no answer."""
        answers = [example.answer for example in examples]
        if not answers or any(answer is None for answer in answers):
            return {}
        return self.target.scores(answers, predictions)

    def truth(self, example: TextExample) -> str | None:
        """Returns the example's label, where it has exactly one."""
        return example.answer if isinstance(example.answer, str) else None

    def constant(
        self, train: Sequence[TextExample], held_out: Sequence[TextExample]
    ) -> list[Prediction]:
        """Predicts the most frequent label, or the mean, for all."""
        found = self.target.constant([example.answer for example in train])
        return [found] * len(held_out)


def pair_rows(
    tokenizer: Tokenizer,
    first: Sequence[str],
    second: Sequence[str] | None,
    max_length: int,
) -> Features:
    """Returns rows `[CLS] first [SEP]`, or `[CLS] first [SEP] second [SEP]`.

    A pair that is too long loses tokens one by one at the end of its longer
    text, or of the second where both are equally long. A second text without
    tokens is left out, with its [SEP].

    Args:
      tokenizer: the model's.
      first: N texts.
      second: N texts; None where there are none.
      max_length: most tokens in a row, special ones included.

    Returns:
      N rows, `input_ids` padded with [PAD].

    Raises:
      UserError: `max_length` leaves no room for the special tokens.
    """
    if second is not None and len(first) != len(second):
        raise ValueError(f"{len(first)} first texts, {len(second)} second ones")
    if max_length < 3:
        raise UserError(
            f"max_length is {max_length}; expected at least 3, the special "
            "tokens of a pair"
        )
    a = tokenize_all(tokenizer, first)
    b = no_pieces(len(first))
    if second is not None:
        b = tokenize_all(tokenizer, second)
    paired = b.count > 0
    room = max_length - 2 - paired
    a_kept = np.minimum(a.count, np.maximum(-(-room // 2), room - b.count))
    b_kept = np.minimum(b.count, room - a_kept)
    made = join_pairs(tokenizer.vocab, a, b, a_kept, b_kept, paired)
    cut = (a_kept < a.count) | (b_kept < b.count)
    return dataclasses.replace(made, truncated=int(cut.sum()))
