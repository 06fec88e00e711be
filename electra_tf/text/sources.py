"""Recognises what an input file has: text, JSON lines, a table, an archive.

Known formats that are not text are refused by name.
"""

import contextlib
import dataclasses
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text import columnar, inputs, tables
from electra_tf.text.inputs import ByteStream, Readable

# First bytes -> format. Other files that are not text fail when read.
_NOT_TEXT = {
    b"%PDF-": "a PDF document",
    b"{\\rtf": "an RTF document",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x1f\x9d": "compressed with `compress`",
    b"\x04\x22\x4d\x18": "compressed with lz4",
    b"SQLite format 3\x00": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x7fELF": "a program",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"Obj\x01": "an Avro file",
    b"WARC/": "an archive of web pages (WARC)",
    b"<mediawiki": "a dump of MediaWiki (WikiExtractor makes texts of it)",
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull gets it)",
}
_MAGICS = tuple(_NOT_TEXT)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_HEAD = 512
# Depth of archives within archives, as OpenWebText's.
_DEEPEST = 3


@dataclasses.dataclass(frozen=True)
class Source:
    """A source of text: a file, or a member of an archive.

    Attributes:
      name: name of the file, followed by the member's.
      layout: "text"; "single", a member of an archive, which is a document;
        "records" (JSON lines); or "rows" (a JSON text a line, of a table).
      stream: stream of its bytes.
    """

    name: str
    layout: str
    stream: Readable


def find(
    path: str,
    stream: ByteStream,
    text_field: str,
    counts: Counter[str],
    strict: bool = False,
) -> Iterator[Source]:
    """Yields the sources in a file; each must be read before the next.

    Args:
      path: the file.
      stream: the opened file.
      text_field: field of JSON records, or column of tables, with the text.
      counts: counts of archive members and repairs, which are updated.
      strict: whether to refuse what would be repaired.

    Raises:
      UserError: the file is not text, lacks the field or column, or is a
        damaged archive.
    """
    return _Finder(path, text_field, counts, strict).find(stream, False, 0)


class _Finder:
    def __init__(
        self, path: str, text_field: str, counts: Counter[str], strict: bool
    ):
        self._path, self._text_field = path, text_field
        self._counts, self._strict = counts, strict

    def find(
        self, stream: ByteStream, member: bool, depth: int
    ) -> Iterator[Source]:
        name, head = stream.name, stream.peek(_HEAD)
        what = known_as(head)
        if what is not None:
            raise UserError(
                f"{name}: is {what}, not text; leave it out, or save its text "
                "as a UTF-8 text file"
            )
        if head.startswith(_ZIP):
            yield from self._zip(stream, depth)
        elif _is_tar(head):
            yield from self._tar(stream, depth)
        else:
            self._counts["archive_members"] += depth > 0
            yield from self._file(stream, member)

    def _file(self, stream: ByteStream, member: bool) -> Iterator[Source]:
        """Yields the source of a file that is not an archive."""
        name, head = stream.name, stream.peek(_HEAD)
        if columnar.is_columnar(head):
            with self._random_access(stream) as file:
                yield self._rows(
                    name, tables.columnar(file, name, self._text_field)
                )
        elif inputs.holds_records(name) or self._are_records(head, stream):
            yield Source(name, "records", stream)
        elif head.startswith(tables.EXTRACTED):
            texts = tables.extracted(stream, self._counts, self._strict)
            yield self._rows(name, texts)
        elif plain(name).endswith(".json") and head:
            if tables.holds_json_lines(stream, self._text_field):
                yield Source(name, "records", stream)
            else:
                texts = tables.json_texts(
                    stream, self._text_field, self._counts, self._strict
                )
                yield self._rows(name, texts)
        elif plain(name).endswith((".csv", ".tsv")) and head:
            texts = tables.separated(
                stream, self._text_field, self._counts, self._strict
            )
            yield self._rows(name, texts)
        else:
            yield Source(name, "single" if member else "text", stream)

    def _are_records(self, head: bytes, stream: ByteStream) -> bool:
        """Returns whether a file is JSON Lines, despite its name: "wiki_00"."""
        return head.startswith(b"{") and tables.holds_json_lines(
            stream, self._text_field
        )

    def _rows(self, name: str, texts: Iterator[str | None]) -> Source:
        return Source(name, "rows", tables.Rows(texts))

    def _tar(self, stream: ByteStream, depth: int) -> Iterator[Source]:
        self._check_depth(stream, depth)
        try:
            reads_only: Any = stream
            with tarfile.open(
                fileobj=reads_only, mode="r|", bufsize=1 << 16
            ) as archive:
                while (info := archive.next()) is not None:
                    file = archive.extractfile(info) if info.isfile() else None
                    if file is not None and self._wanted(info.name):
                        yield from self._member(
                            stream, info.name, file, True, depth
                        )
                    # Millions of members would fill memory.
                    vars(archive)["members"].clear()
        except (tarfile.TarError, EOFError) as error:
            raise UserError(
                f"cannot read {stream.name}: a damaged or cut-off tar archive "
                f"({error}); fetch the file again"
            ) from error

    def _zip(self, stream: ByteStream, depth: int) -> Iterator[Source]:
        self._check_depth(stream, depth)
        name = stream.name
        try:
            with (
                self._random_access(stream) as file,
                zipfile.ZipFile(file) as archive,
            ):
                names = [i.filename for i in archive.infolist()]
                if {"[Content_Types].xml", "mimetype"} & set(names):
                    raise UserError(
                        f"{name}: is an Office document or e-book, not text; "
                        "save its text as a UTF-8 text file"
                    )
                infos = [
                    info
                    for info in archive.infolist()
                    if not info.is_dir() and self._wanted(info.filename)
                ]
                for info in infos:
                    if info.flag_bits & 1:
                        raise UserError(
                            f"{name}/{info.filename}: is encrypted; unpack it"
                        )
                    with archive.open(info) as opened:
                        # A single compressed file counts as that file.
                        several = len(infos) > 1
                        yield from self._member(
                            stream, info.filename, opened, several, depth
                        )
        except (
            zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error,
        ) as error:  # fmt: skip
            raise UserError(
                f"cannot read {name}: a damaged or cut-off zip archive, or of "
                f"an unknown kind ({error}); fetch the file again"
            ) from error

    def _member(
        self,
        archive: ByteStream,
        name: str,
        file: Any,
        is_document: bool,
        depth: int,
    ) -> Iterator[Source]:
        name = name.removeprefix("./")
        stream = ByteStream(f"{archive.name}/{name}", file, archive)
        yield from self.find(stream, is_document, depth + 1)

    def _wanted(self, name: str) -> bool:
        """Returns whether a member is a user's file, not a system's."""
        hidden = any(
            part == "__MACOSX" or (part[:1] == "." and part not in (".", ".."))
            for part in name.split("/")
        )  # fmt: skip
        self._counts["hidden_members_skipped"] += hidden
        return not hidden

    def _check_depth(self, stream: ByteStream, depth: int) -> None:
        if depth >= _DEEPEST:
            raise UserError(
                f"{stream.name}: an archive in an archive, {depth} deep; "
                "unpack it first"
            )

    @contextlib.contextmanager
    def _random_access(self, stream: ByteStream) -> Iterator[IO[bytes]]:
        """Yields the file itself, or a decompressed copy."""
        if stream.name == self._path and stream.is_plain:
            with inputs.random_access(self._path) as file:
                yield file
            return
        with tempfile.TemporaryFile() as copy:
            with files.named_errors(stream.name, "unpack"):
                shutil.copyfileobj(stream, copy, 1 << 20)  # type: ignore
            copy.seek(0)
            yield copy


def plain(name: str) -> str:
    """Returns the name in lower case, without the compression's suffix."""
    return inputs.plain_name(name).lower()


def known_as(head: bytes) -> str | None:
    """Recognises known formats that are not text, by a file's first bytes.

    Returns:
      "a PDF document" or the like; None where it may be text.
    """
    if not head.startswith(_MAGICS):
        return None
    return next(what for m, what in _NOT_TEXT.items() if head.startswith(m))


def _is_tar(head: bytes) -> bool:
    if len(head) < tarfile.BLOCKSIZE or not head.strip(b"\0"):
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True
