"""Opens an input file as a stream of decompressed bytes in UTF-8.

Compression is recognised by a file's first bytes, whatever its name, and UTF-16
by its byte order mark.
"""

import bz2
import codecs
import contextlib
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, Protocol

from electra_tf import files
from electra_tf.errors import UserError

_COMPRESSED = (".gz", ".xz", ".zst", ".bz2", ".lzma")
_RECORDS = (".jsonl", ".ndjson")
# First bytes -> suffix of the compression.
_MAGIC = {
    b"\x1f\x8b\x08": ".gz",
    b"\xfd7zXZ\x00": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"BZh": ".bz2",
    b"\x5d\x00\x00": ".lzma",
}
# UTF-32 first: its mark begins like that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_HEAD = 512
_ZIP = b"PK\x03\x04"
# Most nested compressions that are unpacked.
_LAYERS = 3


class Readable(Protocol):
    """An object from which bytes can be read in order."""

    def read(self, size: int, /) -> bytes:
        """Reads at most `size` bytes; empty at the end."""
        ...


class _Headed:
    """A stream whose first bytes can be read ahead."""

    def __init__(self, raw: Readable):
        self._raw = raw
        self._head = b""

    def peek(self, size: int) -> bytes:
        """Returns the next `size` bytes, or all, without consuming them."""
        while len(self._head) < size:
            block = self._raw.read(size - len(self._head))
            if not block:
                break
            self._head += block
        return self._head[:size]

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._raw.read(size)
        if size < 0:
            size = len(self._head)
        block, self._head = self._head[:size], self._head[size:]
        return block


class ByteStream:
    """An opened input: its bytes, decompressed and in UTF-8.

    Attributes:
      name: name of the file, or of the archive and its member, for messages.
      is_plain: whether its bytes are the stored ones.
    """

    def __init__(self, name: str, raw: Readable, handle: Any):
        """Reads the beginning.

        Args:
          name: name for messages; its suffix may imply a compression.
          raw: the stored bytes.
          handle: the file, which knows the position.
        """
        self.name = name
        self._handle = handle
        stream = _Headed(raw)
        self.is_plain = True
        with self._named_errors():
            for layer in range(_LAYERS):
                head = stream.peek(_HEAD)
                kind = _compression(head)
                if kind is None and head and not layer:
                    # A file without that compression is damaged, and reported.
                    kind = _suffix(name)
                if kind is None:
                    break
                stream = _Headed(_unpacker(kind, name, stream))
                self.is_plain = False
            head = stream.peek(_HEAD)
        for mark, encoding in {**_MARKS, **_unmarked(head)}.items():
            if head.startswith(mark):
                if mark in _MARKS:
                    stream.read(len(mark))
                stream = _Headed(_Transcoder(stream, encoding))
                self.is_plain = False
                break
        self._plain = stream

    def read(self, size: int) -> bytes:
        """Reads at most `size` bytes; empty at the end."""
        with self._named_errors():
            return self._plain.read(size)

    def peek(self, size: int) -> bytes:
        """Returns the next `size` bytes, or all, without consuming them."""
        with self._named_errors():
            return self._plain.peek(size)

    def position(self) -> int:
        """Returns how many bytes of the file itself were read."""
        return self._handle.tell()

    def tell(self) -> int:
        """Returns the same, as file objects do."""
        return self.position()

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (
            EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError,
            zipfile.BadZipFile,
        ) as error:  # fmt: skip
            if isinstance(error, OSError) and error.errno is not None:
                raise  # an error of the file system
            raise UserError(
                f"cannot read {self.name}: damaged or cut-off data "
                f"({error}); fetch the file again"
            ) from error


class _Zstd:
    """Wraps `zstandard`'s reader, with its error as `EOFError`."""

    def __init__(self, path: str, raw: Readable):
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

    def read(self, size: int, /) -> bytes:
        """Reads about `size` bytes; a truncated last frame is an error."""
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


class _Transcoder:
    """Converts UTF-16 or UTF-32 to UTF-8; errors remain errors."""

    def __init__(self, raw: Readable, encoding: str):
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._rest = b""
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """Reads at most `size` bytes."""
        while not self._rest and not self._ended:
            block = self._raw.read(1 << 16)
            try:
                text = self._decoder.decode(block)
            except UnicodeDecodeError as error:  # beyond Unicode, in UTF-32
                raise EOFError(str(error)) from error
            self._rest = text.encode("utf-8", "surrogatepass")
            if not block:
                self._ended = True
                if self._decoder.getstate()[0]:  # an incomplete character
                    self._rest += b"\xff"
        block, self._rest = self._rest[:size], self._rest[size:]
        return block


def plain_name(path: str) -> str:
    """Returns `path` without the suffix of its compression."""
    return path[: len(path) - len(_suffix(path) or "")]


def holds_records(path: str) -> bool:
    """Returns whether a file name means JSON lines, one document per line."""
    return plain_name(path).lower().endswith(_RECORDS)


@contextlib.contextmanager
def open_input(path: str) -> Iterator[ByteStream]:
    """Opens `path` for reading, as a `ByteStream`.

    Gzip, xz, zstd and bzip2 are decompressed, by content; text in UTF-16 or
    UTF-32 that begins with a byte order mark becomes UTF-8.

    Raises:
      UserError: the file is unreadable, or its compressed data is damaged; it
        is named.
    """
    with files.open_read(path) as raw:
        yield ByteStream(path, raw, raw)


@contextlib.contextmanager
def random_access(path: str) -> Iterator[IO[bytes]]:
    """Opens `path` for formats that are read from the end, such as zip files.

    Raises:
      UserError: the file is unreadable.
    """
    if not files.is_local(path):
        with files.open_read(path) as raw:
            yield raw
        return
    with files.named_errors(path, "read"), open(path, "rb") as raw:
        yield raw


@contextlib.contextmanager
def open_single(path: str) -> Iterator[ByteStream]:
    """Opens `path` like `open_input`, or the only file in a zip archive.

    Raises:
      UserError: see `open_input`; or it is a zip archive of several files, or
        another format based on zip.
    """
    with open_input(path) as stream:
        if not stream.peek(len(_ZIP)).startswith(_ZIP):
            yield stream
            return
    with random_access(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise UserError(
                f"{path}: is a zip archive or an Excel sheet, damaged or cut "
                f"off ({error}); fetch the file again"
            ) from error
        names = [
            name
            for name in archive.namelist()
            if not name.endswith("/")
            and not any(
                part[:1] == "." or part == "__MACOSX"
                for part in name.split("/")
            )
        ]
        if {"[Content_Types].xml", "mimetype"} & set(archive.namelist()):
            raise UserError(
                f"{path}: is a sheet of Excel or another Office document; save "
                "it as CSV"
            )
        if len(names) != 1:
            raise UserError(
                f"{path}: is a zip archive of {len(names)} files "
                f"({', '.join(names[:4])}); unpack it"
            )
        with archive, archive.open(names[0]) as raw:
            yield ByteStream(f"{path}/{names[0]}", raw, file)


def _suffix(path: str) -> str | None:
    lower = path.lower()
    return next((s for s in _COMPRESSED if lower.endswith(s)), None)


def _unmarked(head: bytes) -> dict[bytes, str]:
    """Detects UTF-16 without a mark, by ASCII in every other byte; returns its
    beginning and encoding.
    """
    start = head[: len(head) // 2 * 2]
    for zeros, others, encoding in (
        (start[1::2], start[::2], "utf-16-le"),
        (start[::2], start[1::2], "utf-16-be"),
    ):
        if len(start) >= 8 and not any(zeros) and others.isascii():
            return {start: encoding} if 0 not in others else {}
    return {}


def _compression(head: bytes) -> str | None:
    for magic, suffix in _MAGIC.items():
        if head.startswith(magic):
            if suffix == ".bz2" and head[4:10] not in (
                b"1AY&SY", b"\x17rE8P\x90",
            ):  # fmt: skip
                continue  # plain text that begins with "BZh"
            return suffix
    return None


def _unpacker(kind: str, name: str, raw: Any) -> Readable:
    if kind == ".gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if kind == ".bz2":
        return bz2.BZ2File(raw)
    if kind == ".zst":
        return _Zstd(name, raw)
    return lzma.LZMAFile(raw)
