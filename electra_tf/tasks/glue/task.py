"""The GLUE benchmark: ten sets of English sentences and pairs."""

import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks.glue import files as glue_files
from electra_tf.tasks.glue import sets as glue_sets
from electra_tf.tasks.glue.files import GlueRow
from electra_tf.tasks.glue.sets import SETS, GlueOptions, GlueSet
from electra_tf.tasks.records import missing_column, text_in
from electra_tf.tasks.task import Prediction
from electra_tf.tasks.texts.targets import Classes, Number
from electra_tf.tasks.texts.task import TextExample, TextTask

_log = logging.getLogger(__name__)

_DIAGNOSTIC = "ax"


class DiagnosticExample(TextExample):
    """An example of AX, which has another metric than MNLI."""


class Glue(TextTask):
    """ "glue/NAME": cola sst2 mrpc stsb qqp mnli qnli rte wnli ax.

    `data` is a folder of official TSV files (the set's own, or the one with
    all sets' folders), or else where TensorFlow Datasets keeps its data; its
    default place where `data` is not given.

    MNLI is also tested on AX, the diagnostic set, where it is available. AX has
    no training data: evaluate a model of MNLI on it.
    """

    Options = GlueOptions

    def set_up(self) -> None:
        """See `Task.set_up`."""
        self.set = _set_of(self.name)
        self.metric = self.set.metric
        self._target = Number(scale=glue_sets.SCALE)
        if self.set.labels is not None:
            self._target = Classes(self.set.labels)
        self._downloaded: dict[str, dict[str, list[GlueRow]]] = {}

    @property
    def default_epochs(self) -> float:  # type: ignore[override]
        """The number of epochs in the paper."""
        return self.set.epochs

    @property
    def both_orders(self) -> bool:  # type: ignore[override]
        """The option `both_orders`; by default as in the original."""
        asked = self.options.double_unordered
        return self.set.turn_pairs if asked is None else asked

    @property
    def validation_splits(self) -> tuple[str, ...]:
        """The validation splits; MNLI has two."""
        return self.set.validation_splits

    @property
    def test_splits(self) -> tuple[str, ...]:
        """The test splits; MNLI has two, and AX."""
        extra = (_DIAGNOSTIC,) if self.set.name == "mnli" else ()
        return self.set.test_splits + extra

    def read(self, split: str) -> list[TextExample] | None:
        """See `Task.read`; test sets have no answers."""
        if split == _DIAGNOSTIC:
            found = self._diagnostic()
        elif split in self.set.files:
            found = self._rows(self.set, split)
        elif split == "train":
            raise UserError(
                f"{self.name}: is a test set alone; fine-tune glue/mnli, which "
                "is tested on it"
            )
        else:
            found = None
        if found is None:
            return None
        diagnostic = _DIAGNOSTIC in (split, self.set.name)
        kind = DiagnosticExample if diagnostic else TextExample
        return [_example(row, kind) for row in found]

    def asked(self, record: Mapping[str, Any], place: str) -> TextExample:
        """See `Task.asked`."""
        return self._single(record, place, may_be_empty=True)

    def example(self, record: Mapping[str, Any], place: str) -> TextExample:
        """See `Task.example`.

        Texts have the keys of TensorFlow Datasets, those of the official files,
        or "text" and "text_pair".
        """
        return self._single(record, place, may_be_empty=False)

    def _single(
        self, record: Mapping[str, Any], place: str, may_be_empty: bool
    ) -> TextExample:
        texts = []
        for names in zip(self.set.texts, self.set.columns, _PLAIN):
            name = next((name for name in names if name in record), None)
            if name is None:
                raise missing_column(record, place, names[0])
            texts.append(
                text_in(record, name, place, may_be_empty=may_be_empty)
            )
        return _example(GlueRow(tuple(texts), None, 0, place))

    def scores(
        self,
        examples: Sequence[TextExample],
        predictions: Sequence[Prediction],
    ) -> dict[str, float]:
        """Returns the official metrics, and the loss."""
        found = super().scores(examples, predictions)
        glue_set = self.set
        if found and isinstance(examples[0], DiagnosticExample):
            glue_set = SETS[_DIAGNOSTIC]
        kept = (*glue_set.metrics, "loss")
        return {name: found[name] for name in kept if name in found}

    def files(
        self,
        split: str,
        examples: Sequence[TextExample],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Returns the file for gluebenchmark.com, for a test split."""
        glue_set = SETS[_DIAGNOSTIC] if split == _DIAGNOSTIC else self.set
        name = glue_set.site.get("test" if split == _DIAGNOSTIC else split)
        if name is None:
            return {}
        indices = [example.index for example in examples]
        content = glue_sets.tsv(glue_set, indices, predictions)
        return {f"{name}.tsv": content}

    def _rows(self, glue_set: GlueSet, split: str) -> list[GlueRow] | None:
        folder = self._folder(glue_set)
        if folder is not None:
            path = glue_files.path_of(glue_set, folder, split)
            return None if path is None else list(
                glue_files.rows(glue_set, path)
            )  # fmt: skip
        if glue_set.name not in self._downloaded:
            self._downloaded[glue_set.name] = glue_files.downloaded_rows(
                glue_set, tuple(glue_set.files), self.data
            )
        return self._downloaded[glue_set.name].get(split)

    def _folder(self, glue_set: GlueSet) -> str | None:
        """Returns the folder of the official files; None to read from TFDS."""
        if self.data is None:
            return None
        if not files.is_directory(self.data):
            raise UserError(
                f"--data: no such directory as {self.data}; expected a folder "
                "of official GLUE files, or where TensorFlow Datasets is to "
                "keep its data"
            )
        return glue_files.folder_of(glue_set, self.data)

    def _diagnostic(self) -> list[GlueRow] | None:
        """Returns AX's rows for a model of MNLI, from the same source."""
        glue_set = SETS[_DIAGNOSTIC]
        try:
            if self._folder(self.set) and not self._folder(glue_set):
                return None
            return self._rows(glue_set, "test")
        except UserError as error:
            _log.info("glue/mnli without the diagnostic set: %s", error)
            return None


_PLAIN = ("text", "text_pair")


def _set_of(name: str) -> GlueSet:
    member = name.partition("/")[2]
    if member in SETS:
        return SETS[member]
    near = difflib.get_close_matches(
        member.lower().replace("-", ""), SETS, n=1, cutoff=0.5
    )
    hint = f"did you mean 'glue/{near[0]}'? " if near else ""
    raise UserError(
        f"task '{name}' is not known; {hint}known: glue/" + ", glue/".join(SETS)
    )


def _example(
    row: GlueRow, kind: type[TextExample] = TextExample
) -> TextExample:
    second = row.texts[1] if len(row.texts) > 1 else None
    return kind(row.texts[0], second, row.answer, row.place, row.index)
