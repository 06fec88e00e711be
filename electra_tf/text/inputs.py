"""Opens an input file, compressed or not, as one stream of bytes."""

import contextlib
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, TypeAlias

from electra_tf import files
from electra_tf.errors import UserError

_COMPRESSED = (".gz", ".xz", ".zst")
_RECORDS = (".jsonl", ".ndjson")


class ByteStream:
    """An opened input: bytes after decompression, place before it."""

    def __init__(self, path: str, raw: IO[bytes], plain: "_Plain"):
        self._path, self._raw, self._plain = path, raw, plain

    def read(self, size: int) -> bytes:
        """Reads at most `size` bytes; empty at the end."""
        try:
            return self._plain.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as e:
            raise UserError(
                f"cannot read {self._path}: damaged or cut-off compressed "
                f"data ({e}); fetch the file again"
            ) from e

    def position(self) -> int:
        """Says how many bytes of the file itself have been taken."""
        return self._raw.tell()


class _Zstd:
    """`zstandard`'s reader with its error turned into `EOFError`."""

    def __init__(self, path: str, raw: IO[bytes]):
        try:
            import zstandard
        except ImportError as error:
            raise UserError(
                f"cannot read {path}: .zst files need the package zstandard; "
                "install it or decompress the file"
            ) from error
        self._error = zstandard.ZstdError
        self._raw = raw
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._open = False
        self._rest = b""

    def read(self, size: int) -> bytes:
        """About `size` bytes; a frame cut off at the end is an error."""
        while True:
            block = self._rest or self._raw.read(1 << 14)
            self._rest = b""
            if not block:
                if self._open:
                    raise EOFError("the last zstd frame is incomplete")
                return b""
            try:
                out = self._frame.decompress(block)
            except self._error as error:
                raise EOFError(str(error)) from error
            self._open = not self._frame.eof
            if self._frame.eof:
                self._rest = self._frame.unused_data
                self._frame = self._new()
            if out:
                return out


def plain_name(path: str) -> str:
    """`path` without the suffix that tells its compression."""
    for suffix in _COMPRESSED:
        if path.endswith(suffix):
            return path[: -len(suffix)]
    return path


def holds_records(path: str) -> bool:
    """Whether the file is JSON lines, one document a line, by its name."""
    return plain_name(path).endswith(_RECORDS)


_Plain: TypeAlias = IO[bytes] | gzip.GzipFile | _Zstd


@contextlib.contextmanager
def open_input(path: str) -> Iterator[ByteStream]:
    """Opens `path` for reading; `.gz`, `.xz` and `.zst` are decompressed.

    Raises:
      UserError: unreadable, or damaged compressed data; names the file.
    """
    with files.open_read(path) as raw:
        plain: _Plain = raw
        if path.endswith(".gz"):
            plain = gzip.GzipFile(fileobj=raw, mode="rb")
        elif path.endswith(".xz"):
            plain = lzma.LZMAFile(raw)
        elif path.endswith(".zst"):
            plain = _Zstd(path, raw)
        yield ByteStream(path, raw, plain)
