"""Rows of Parquet and Arrow files, and of folders that `datasets` saved."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text import columnar, inputs


def rows(
    path: str,
    position: Callable[[int], None] | None = None,
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields each row, as column -> value, and its place, "file:row".

    Class numbers become class names where the file has them, as files of
    `datasets` do.

    Args:
      path: the file, or a folder.
      position: called with the number of bytes read so far, where it is known.

    Raises:
      UserError: pyarrow is not installed, or the file is damaged.
    """
    paths = [path]
    if files.is_directory(path):
        paths = [
            files.join(path, name)
            for name in files.list_directory(path)
            if name.endswith(".arrow") and not name.startswith("cache-")
        ]
    taken = number = 0
    for one in paths:
        with (
            inputs.random_access(one) as file,
            columnar.opened(file, one) as table,
        ):
            names = _classes(table.schema)
            binary = _binary(table.schema)
            for batch in table.batches():
                for row in _rows_of(batch, path):
                    number += 1
                    for column in binary:
                        row[column] = _text(row[column])
                    for column, known in names.items():
                        row[column] = named(row[column], known)
                    yield row, f"{path}:{number}"
        taken += files.size(one)
        if position is not None:
            position(taken)


def _rows_of(batch: Any, path: str) -> list[dict[str, Any]]:
    """Returns a batch's rows; times that Python's types cannot hold as texts.

    Raises:
      UserError: a nested value cannot be held either.
    """
    import pyarrow as pa

    def held(column: Any) -> Any:
        if pa.types.is_duration(column.type):
            return column.cast(pa.int64())
        temporal = pa.types.is_temporal(column.type)
        return column.cast(pa.string()) if temporal else column

    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):
        columns = [held(column) for column in batch.columns]
    try:
        names = batch.schema.names
        return pa.RecordBatch.from_arrays(columns, names).to_pylist()
    except (ValueError, OverflowError) as error:
        raise UserError(f"{path}: {error}") from error


def _classes(schema: Any) -> dict[str, list[str]]:
    """Returns column -> class names, from the metadata of `datasets`."""
    about = (schema.metadata or {}).get(b"huggingface")
    if about is None:
        return {}
    try:
        features = json.loads(about)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    found = {column: class_names(f) for column, f in features.items()}
    return {
        c: names for c, names in found.items() if names and c in schema.names
    }


def class_names(feature: Any) -> list[str]:
    """Returns the names of a feature's classes, as `datasets` describes it.

    Args:
      feature: its type: a mapping, or of lists one within another.
    """
    while True:
        if isinstance(feature, list) and feature:
            feature = feature[0]
        elif isinstance(feature, dict) and "feature" in feature:
            feature = feature["feature"]
        else:
            break
    names = feature.get("names") if isinstance(feature, dict) else None
    return list(names) if isinstance(names, list) else []


def _binary(schema: Any) -> list[str]:
    """Returns the columns of bytes: TensorFlow Datasets stores texts so."""
    import pyarrow as pa

    kinds = (pa.types.is_binary, pa.types.is_large_binary)
    return [f.name for f in schema if any(kind(f.type) for kind in kinds)]


def _text(value: Any) -> Any:
    """Decodes bytes as UTF-8; anything else is returned unchanged."""
    try:
        return value if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def named(value: Any, names: list[str]) -> Any:
    """Returns the name of a class number, of each in a list; None for -1."""
    if isinstance(value, list):
        return [named(part, names) for part in value]
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return None if value == -1 else value  # -1 is no label, in test splits
