"""Opens Parquet and Arrow files."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

from electra_tf.errors import UserError

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_BATCH_ROWS = 1024


def is_columnar(head: bytes) -> bool:
    """Returns whether a file with these first bytes is Parquet or Arrow."""
    return head.startswith((PARQUET, ARROW_FILE, ARROW_STREAM))


class Columnar:
    """An opened Parquet or Arrow file.

    Attributes:
      schema: pyarrow's schema of its columns.
    """

    def __init__(self, file: IO[bytes]):
        """Reads the schema; see `opened`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        head = file.read(8)
        file.seek(0)
        self._parquet: Any = None
        self._batches: Iterable[Any] = ()
        if head.startswith(PARQUET):
            self._parquet = pq.ParquetFile(file)
            self.schema = self._parquet.schema_arrow
        elif head.startswith(ARROW_STREAM):
            reader = pa.ipc.open_stream(file)
            self.schema, self._batches = reader.schema, reader
        else:
            reader = pa.ipc.open_file(file)
            numbers = range(reader.num_record_batches)
            self.schema = reader.schema
            self._batches = map(reader.get_batch, numbers)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Yields pyarrow's record batches, of about a thousand rows.

        Args:
          columns: the columns needed; Parquet reads no others.
        """
        if self._parquet is not None:
            chosen = None if columns is None else list(columns)
            yield from self._parquet.iter_batches(_BATCH_ROWS, columns=chosen)
            return
        for batch in self._batches:
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(start, _BATCH_ROWS)


@contextlib.contextmanager
def opened(file: IO[bytes], name: str) -> Iterator[Columnar]:
    """Opens a Parquet or Arrow file, recognised by its first bytes.

    Args:
      file: the file, opened for random access.
      name: its name, for messages.

    Raises:
      UserError: pyarrow is not installed, or the file is damaged, even if found
        later.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise UserError(
            f"cannot read {name}: Parquet and Arrow files need pyarrow: pip "
            "install 'electra-tf[arrow]'"
        ) from error
    try:
        yield Columnar(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"cannot read {name}: a damaged Parquet or Arrow file ({error}); "
            "fetch the file again"
        ) from error
