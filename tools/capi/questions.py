"""Makes the requests that an export is checked with."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from capi import texts
from capi.processes import Request
from capi.signatures import Signature
from capi.texts import Row
from electra_tf.errors import UserError

_ORDER = ("text", "text_pair", "query", "passage", "question", "context")
_BATCH = 64
_ALONE = 3  # real rows that are also sent in requests of their own


class Asked(NamedTuple):
    """A request to a signature."""

    signature: str
    inputs: tuple[str, ...]  # in the order of a row's texts
    rows: list[Row]
    examples: str | None = None  # the input that takes rows as `tf.Example`s

    @property
    def request(self) -> Request:
        """The request in the form that processes take."""
        if self.examples is not None:
            rows = [_example(self.inputs, row) for row in self.rows]
            return self.signature, {self.examples: rows}
        columns = list(zip(*self.rows)) or [()] * len(self.inputs)
        return self.signature, dict(zip(self.inputs, map(list, columns)))


def find(path: str) -> tuple[pathlib.Path, dict[str, Any]]:
    """Returns the newest version of an export, and its description.

    Raises:
      UserError: there is no version.
    """
    folder = pathlib.Path(path)
    if not (folder / "saved_model.pb").exists():
        versions = [
            child
            for child in (folder.iterdir() if folder.is_dir() else ())
            if child.name.isdigit() and (child / "saved_model.pb").exists()
        ]
        if not versions:
            raise UserError(
                f"{path}: not an export; expected what electra-tf export "
                "--output=DIR writes"
            )
        folder = max(versions, key=lambda child: int(child.name))
    about = folder / "assets.extra" / "electra_tf.json"
    if not about.exists():
        return folder, {}
    return folder, json.loads(about.read_text(encoding="utf-8"))


def ask(
    signatures: Mapping[str, Signature],
    kind: str | None,
    lines: Sequence[str],
    records: Sequence[dict[str, str]],
    longest: int,
) -> list[Asked]:
    """Returns all requests: real rows in batches and alone, no, odd, long."""
    found = []
    for name, signature in signatures.items():
        examples, inputs = None, signature.inputs
        if signature.by_examples:
            (examples,) = inputs
            if "serving_default" not in signatures:
                continue
            # The features of `tf.Example`s are named like its inputs.
            inputs = signatures["serving_default"].inputs
        inputs = tuple(sorted(inputs, key=_place))
        width = len(inputs)
        masked = kind == "generator" and name == "serving_default"
        real = texts.rows(inputs, lines, records, masked)
        batches = [real[i : i + _BATCH] for i in range(0, len(real), _BATCH)]
        batches += [[row] for row in real[:_ALONE]]
        batches += [[], texts.odd(width)]
        if longest:
            long = texts.long(width, longest)
            batches += [long, [long[0]]]
        found += [Asked(name, inputs, rows, examples) for rows in batches]
    return found


def _example(names: Sequence[str], row: Row) -> bytes:
    import tensorflow as tf

    found = tf.train.Example()
    for name, text in zip(names, row):
        found.features.feature[name].bytes_list.value.append(text)
    return found.SerializeToString()


def rows(asked: Sequence[Asked]) -> dict[str, list[Row]]:
    """Returns signature -> its different rows."""
    found: dict[str, dict[Row, None]] = {}
    for one in asked:
        found.setdefault(one.signature, {}).update(dict.fromkeys(one.rows))
    return {name: list(rows) for name, rows in found.items()}


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)
