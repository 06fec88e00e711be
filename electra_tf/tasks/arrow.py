"""Rows of Parquet and Arrow files, and of folders that `datasets` saved."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError

_BATCH = 1024  # rows at once
_STREAM = b"\xff\xff\xff\xff"  # what Arrow's stream format begins with


def rows(
    path: str,
    format: str,
    position: Callable[[int], None] | None = None,
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields each row, as column -> value, and its place, "file:row".

    Numbers of classes become the classes' names where the file has them, as
    those of `datasets` do.

    Args:
      path: the file, or a folder.
      format: "parquet" or "arrow".
      position: is told how many bytes were taken, as far as can be told.

    Raises:
      UserError: no pyarrow, or damaged.
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
        for batch, names in _batches(one, format):
            for row in batch.to_pylist():
                number += 1
                for column, known in names.items():
                    row[column] = _named(row[column], known)
                yield row, f"{path}:{number}"
        taken += files.size(one)
        if position is not None:
            position(taken)


def _batches(path: str, format: str) -> Iterator[tuple[Any, dict]]:
    """Small record batches, and the names of classes by their columns."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            f"{path}: Parquet and Arrow files need pyarrow: pip install "
            "'electra-tf[arrow]'"
        ) from error
    try:
        if format == "parquet":
            file = pq.ParquetFile(path)
            names = _classes(file.schema_arrow)
            for batch in file.iter_batches(_BATCH):
                yield batch, names
            return
        with pa.memory_map(path) as source:
            stream = source.read(len(_STREAM)) == _STREAM
            source.seek(0)
            if stream:
                reader = pa.ipc.open_stream(source)
                found = iter(reader)
            else:
                reader = pa.ipc.open_file(source)
                found = map(reader.get_batch, range(reader.num_record_batches))
            names = _classes(reader.schema)
            for batch in found:
                for start in range(0, batch.num_rows, _BATCH):
                    yield batch.slice(start, _BATCH), names
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _classes(schema: Any) -> dict[str, list[str]]:
    """Column -> the names of its classes, from what `datasets` writes."""
    about = (schema.metadata or {}).get(b"huggingface")
    if about is None:
        return {}
    try:
        features = json.loads(about)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    found = {}
    for column, feature in features.items():
        while isinstance(feature, list) and feature:
            feature = feature[0]
        while isinstance(feature, dict) and "feature" in feature:
            feature = feature["feature"]
        if isinstance(feature, dict) and feature.get("names"):
            found[column] = list(feature["names"])
    return {c: names for c, names in found.items() if c in schema.names}


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(part, names) for part in value]
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return None if value == -1 else value  # -1 is no label, in test splits
