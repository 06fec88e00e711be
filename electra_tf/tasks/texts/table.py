"""Tasks whose texts and answers stand in the columns of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks.task import Prediction
from electra_tf.tasks.texts import tables
from electra_tf.tasks.texts.options import TextTableOptions
from electra_tf.tasks.texts.tables import Row
from electra_tf.tasks.texts.task import TextExample, TextTask


class TableTask(TextTask):
    """Reads tables; what stands in the label column is the subclass's.

    `data` is a directory of tables, or one table. In training such a table is
    divided (`options.validation_fraction`). A model that is there already
    is evaluated on the whole of a table, unless it was trained on a part of
    that very table: then on the other part.
    """

    Options = TextTableOptions

    def __init__(
        self,
        name: str,
        options: TextTableOptions | None = None,
        data: str | None = None,
        state: Mapping[str, Any] | None = None,
    ):
        super().__init__(name, options, data, state)
        self._trained = bool(state)

    @property
    def both_orders(self) -> bool:
        """As the options say."""
        return self.options.double_unordered

    def answer(self, value: Any, place: str) -> Any:
        """What a cell of the label column means.

        Raises:
          UserError: nothing that it may hold.
        """
        raise NotImplementedError

    @property
    def may_be_empty(self) -> bool:
        """Whether an empty cell is an answer."""
        return False

    def look(self, examples: Sequence[TextExample]) -> None:
        """Sees all training rows; `fit` may get some of them alone."""

    def check(self, examples: Sequence[TextExample]) -> None:
        """Refuses answers that cannot be; what `look` saw is known."""

    def read(self, split: str) -> list[TextExample] | None:
        """See `Task.read`; a test file may have no answers."""
        path, fraction = self._source(split)
        if path is None:
            if split == "train":
                raise tables.nothing_to_train_on(self.data)
            return None
        needed = split != "test"
        rows = list(tables.read(path, self.options, labelled=needed))
        examples = self._examples(rows, needed)
        if split == "train":
            self.look(examples)
            if fraction:
                self.state["divided"] = tables.fingerprint(path)
        self.check(examples)
        if not fraction:
            return examples
        held_out = split == "validation"
        return [
            example
            for example in examples
            if tables.held_out(example.text, example.text_pair, fraction)
            == held_out
        ]

    def example(self, record: Mapping[str, Any], place: str) -> TextExample:
        """See `Task.example`."""
        row = tables.row(record, place, self.options)
        return TextExample(row.text, row.text_pair, None, place)

    def record(self, item: Any) -> Mapping[str, Any]:
        """See `Task.record`; texts are put under the columns' names."""
        found = super().record(item)
        if found is item:
            return found
        pair = self.options.text_pair_column
        if (pair is None) == ("text_pair" in found):
            wanted = "a text alone" if pair is None else "a pair of texts"
            raise UserError(f"expected {wanted}, got {item!r:.60}")
        names = {"text": self.options.text_column, "text_pair": pair}
        return {names[key]: value for key, value in found.items()}

    def scores(
        self,
        examples: Sequence[TextExample],
        predictions: Sequence[Prediction],
    ) -> dict[str, float]:
        """See `TextTask.scores`."""
        self.check(examples)
        return super().scores(examples, predictions)

    def _source(self, split: str) -> tuple[str | None, float]:
        """A split's file, and the share of it that is held out."""
        if split not in ("train", "validation", "test"):
            return None, 0.0
        options, fraction = self.options, self.options.validation_fraction
        if self._trained and self.data and not files.is_directory(self.data):
            if split != "validation":
                return None, 0.0
            divided = tables.fingerprint(self.data) == self.state.get("divided")
            return self.data, fraction if divided else 0.0
        path = tables.find(self.data, options, split)
        if split == "test" or (split == "validation" and path is not None):
            return path, 0.0
        if split == "train":
            given = tables.find(self.data, options, "validation") is not None
            return path, 0.0 if given else fraction
        train = tables.find(self.data, options, "train") if fraction else None
        return train, fraction

    def _examples(self, rows: list[Row], needed: bool) -> list[TextExample]:
        column = self.options.label_column
        empty = (None,) if self.may_be_empty else (None, "")
        filled = [row for row in rows if row.label not in empty]
        answers: list[Any] = [None] * len(rows)
        if needed or filled:
            for i, row in enumerate(rows):
                if row.label in empty:
                    raise UserError(
                        f"{row.place}: no label in column '{column}'"
                        + ("" if needed else f", and {filled[0].place} has one")
                    )
                answers[i] = self.answer(row.label, row.place)
        return [
            TextExample(row.text, row.text_pair, answer, row.place, i)
            for i, (row, answer) in enumerate(zip(rows, answers))
        ]
