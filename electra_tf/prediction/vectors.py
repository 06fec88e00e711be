"""Embeds texts as vectors: the rows of a file, written to files.

The parts of an interrupted run store a vector as text; the output stores
numbers: `.npy`, Parquet or JSON Lines.
"""

import base64
import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub.pretrained import Encoder
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction import task_of_model
from electra_tf.prediction.predictor import Inference, Row
from electra_tf.prediction.resumable import (
    Done,
    tokenizer_settings,
    weights_digest,
)
from electra_tf.tasks import records
from electra_tf.tasks.records import BadRow
from electra_tf.tasks.texts.task import pair_rows

Pooling = Literal["mean", "first"]

COLUMN = "embedding"
ROWS_AT_ONCE = 1024
_PARQUET_ROWS = 4096  # rows in a row group
_ERROR = "error"


class Vectors:
    """Makes vectors of texts, like the signatures `embed` of an export.

    Args:
      encoder: an encoder with its tokenizer.
      column: the column with the text.
      pooling: the mean over all positions, including special tokens, or the
        first position.
      normalize: whether to normalize vectors to length 1.
      max_seq_length: tokens in a row, special ones included; longer texts are
        truncated. None means those of a fine-tuned model's task
        (`options.max_seq_length`), and of another as many as it can read.
      batch_size: rows in a batch; vectors do not depend on it.
      keep: columns of the input to repeat; None means all.

    Raises:
      UserError: there is no vocabulary, or the length does not fit the model.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        column: str = "text",
        pooling: Pooling = "mean",
        normalize: bool = False,
        max_seq_length: int | None = None,
        batch_size: int = 64,
        keep: Sequence[str] | None = None,
    ):
        most = encoder.config.max_positions
        own = task_of_model.row_length(encoder.directory_config)
        self.length = max_seq_length or min(own or most, most)
        if not 3 <= self.length <= most:
            raise UserError(
                f"--max_seq_length={max_seq_length}: expected 3 to {most}, "
                "what the model reads"
            )
        if encoder.tokenizer is None:
            raise UserError("the model has no vocabulary beside it")
        self._tokenizer = encoder.tokenizer
        self.encoder = encoder
        self._column, self._keep = column, keep
        self._pooling, self._normalize = pooling, normalize
        network: Any = types.SimpleNamespace(
            encoder=encoder, dtype_policy=encoder.dtype_policy
        )
        task: Any = types.SimpleNamespace(infer=self._infer)
        self._inference = Inference(network, task, batch_size)
        self._done = Done()

    def about(self) -> dict[str, Any]:
        """Returns what decides the vectors."""
        return {
            "weights": weights_digest([self.encoder]),
            **tokenizer_settings(self._tokenizer),
            "column": self._column,
            "pooling": self._pooling, "normalize": self._normalize,
            "max_seq_length": self.length, "columns to keep": self._keep,
        }  # fmt: skip

    def _infer(
        self,
        network: Any,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        segment_ids: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        output = network.encoder(
            input_ids, input_mask, segment_ids, training=False
        )
        if self._pooling == "first":
            return {COLUMN: output.first_output}
        hidden = output.sequence_output
        real = tf.cast(input_mask, hidden.dtype)
        # By a matrix product: a sum along the middle axis changes its order
        # with the padding, and so the last digit.
        total = tf.matmul(real[:, tf.newaxis], hidden)[:, 0]
        return {COLUMN: total / tf.reduce_sum(real, 1, keepdims=True)}

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the vectors, float32 [texts, hidden]."""
        if not texts:
            return np.zeros([0, self.encoder.config.hidden_size], "float32")
        rows = pair_rows(self._tokenizer, texts, None, self.length)
        outputs = self._inference.run(rows)
        assert outputs is not None  # it is never asked to stop
        found = np.stack([row[COLUMN] for row in outputs]).astype("float32")
        if self._normalize:
            lengths = np.linalg.norm(found, axis=1, keepdims=True)
            found /= np.maximum(lengths, np.float32(1e-12))
        return found

    def answer(
        self, rows: Sequence[tuple[Row, str]], number: int
    ) -> list[dict[str, Any]]:
        """Returns rows of the output; see `resumable.Answers`."""
        del number
        found: list[dict[str, Any]] = []
        texts: dict[int, str] = {}
        for i, (row, place) in enumerate(rows):
            record = row.record if isinstance(row, BadRow) else row
            kept = dict(record)
            if self._keep is not None:
                kept = {n: record[n] for n in self._keep if n in record}
            for name in (COLUMN, _ERROR):  # ours, even without a value
                kept.pop(name, None)
            found.append(kept)
            try:
                if isinstance(row, BadRow):
                    raise UserError(f"{place}: {row.message}")
                texts[i] = records.text_in(
                    row, self._column, place, "name it with --column"
                )
            except UserError as error:
                kept[_ERROR] = str(error)
                self._done.errors += 1
                self._done.first_error = self._done.first_error or str(error)
            self._done.inputs |= dict.fromkeys(kept)
        for i, vector in zip(texts, self.vectors(list(texts.values()))):
            data = vector.astype("<f4").tobytes()
            found[i][COLUMN] = base64.b64encode(data).decode()
        self._done.outputs[COLUMN] = None
        self._done.rows += len(rows)
        return found

    def head(self) -> dict[str, Any]:
        """Returns the summary of the rows since the last call."""
        done, self._done = self._done, Done()
        names = [n for n in done.inputs if n not in (_ERROR, COLUMN)]
        return vars(done) | {"inputs": names, "outputs": [COLUMN]}


def load(model: str, vocab: str | None = None, **options: Any) -> Vectors:
    """Loads a `Vectors`.

    Args:
      model: any model with an encoder; see `Encoder.from_pretrained`.
      vocab: its vocabulary, where the model has none.
      **options: options of `Vectors`.

    Raises:
      UserError: see `Encoder.from_pretrained`.
    """
    encoder = Encoder.from_pretrained(model, vocab=vocab)
    return Vectors(encoder, **options)


def check_name(path: str) -> str:
    """Returns the ending of an output's name, and checks it.

    Raises:
      UserError: vectors cannot be written with this ending.
    """
    for ending in (".npy", ".parquet", ".jsonl", ".jsonl.gz"):
        if path.endswith(ending):
            return ending
    raise UserError(
        f"--output: {path}: expected a name that ends in .npy, .parquet, "
        ".jsonl or .jsonl.gz"
    )


def write(
    path: str,
    columns: Sequence[str],
    rows: Iterable[bytes],
    count: int,
    width: int,
) -> None:
    """Writes vectors, in Parquet and JSON Lines with the other columns.

    In `.npy` a row without a vector is NaN. In Parquet the other columns are
    texts; values that are not texts become JSON, as in a table.

    Args:
      path: the file; its ending is the format.
      columns: the columns, in order.
      rows: lines of JSON, from `Vectors.answer`.
      count: number of rows.
      width: size of a vector.
    """
    parsed = map(json.loads, rows)
    ending = check_name(path)
    if ending == ".npy":
        _write_npy(path, parsed, count, width)
    elif ending == ".parquet":
        _write_parquet(path, columns, parsed, width)
    else:
        prediction_files.write_rows(
            path, "jsonl", columns, map(_json_line, parsed)
        )


def _vector(row: Mapping[str, Any]) -> np.ndarray | None:
    data = row.get(COLUMN)
    if data is None:
        return None
    return np.frombuffer(base64.b64decode(data), "<f4")


def _json_line(row: dict[str, Any]) -> bytes:
    vector = _vector(row)
    if vector is not None:  # nine digits are enough to distinguish all float32
        row[COLUMN] = [float(f"{value:.9g}") for value in vector]
    return f"{prediction_files.dumps(row)}\n".encode()


def _write_npy(
    path: str, rows: Iterable[Mapping[str, Any]], count: int, width: int
) -> None:
    none = np.full([width], np.nan, "<f4")
    about = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    with files.atomic_write(path) as handle:
        np.lib.format.write_array_header_1_0(handle, about)
        for row in rows:
            vector = _vector(row)
            handle.write((none if vector is None else vector).tobytes())


def _write_parquet(
    path: str,
    columns: Sequence[str],
    rows: Iterator[Mapping[str, Any]],
    width: int,
) -> None:
    pa, pq = _pyarrow()
    kinds = {n: pa.string() for n in columns} | {
        COLUMN: pa.list_(pa.float32(), width)
    }
    schema = pa.schema([(n, kinds[n]) for n in kinds])
    with (
        files.atomic_write(path) as handle,
        pq.ParquetWriter(pa.PythonFile(_Sink(handle), mode="w"), schema) as out,
    ):
        while chunk := [row for _, row in zip(range(_PARQUET_ROWS), rows)]:
            found = [_vector(row) for row in chunk]
            values = np.concatenate(
                [np.zeros(width, "<f4") if v is None else v for v in found]
            )
            arrays = {
                COLUMN: pa.FixedSizeListArray.from_arrays(
                    pa.array(values), width,
                    mask=pa.array([v is None for v in found]),
                )
            }  # fmt: skip
            for name in columns:
                if name != COLUMN:
                    arrays[name] = pa.array(
                        [_text(row.get(name)) for row in chunk], pa.string()
                    )
            out.write_table(
                pa.table([arrays[n] for n in schema.names], schema=schema)
            )


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return prediction_files.dumps(value)


class _Sink:
    """A sink for pyarrow that writes to a file opened by TensorFlow."""

    closed = False

    def __init__(self, handle: Any):
        self._handle, self._size = handle, 0

    def write(self, data: Any) -> int:
        content = bytes(data)
        self._handle.write(content)
        self._size += len(content)
        return len(content)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        self._handle.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            "--output: Parquet needs the package pyarrow: pip install "
            "'electra-tf[arrow]'"
        ) from error
    return pa, pq
