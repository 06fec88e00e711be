"""Splits files of any size into parts of bounded size, between documents.

The split depends on the files alone, never on the workers, so that results are
the same for any number of workers.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text import cleaning as cleaning_lib
from electra_tf.text import inputs, sources
from electra_tf.text.cleaning import Cleaning

PART_BYTES = 1 << 21
MAX_RECORD_BYTES = 1 << 26
"""A JSON line longer than this is left out, and counted."""
# A part is not text if more than this share, and more than so many bytes, must
# be repaired; for zeros, which no text has, a lower limit holds.
MOST_FLAWS, MOST_ZEROS, FEW_FLAWS = 0.05, 0.005, 32

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of one file: whole documents, or a piece of a large one.

    Attributes:
      path: the file, followed by the member of an archive.
      data: raw bytes, at most `part_bytes`; JSON lines may be longer, and so
        may others without `cut_lines`.
      first_line: number of its first line in the file, from 1.
      layout: "blank" (blank lines end documents), "single" (the part is one
        document or a piece of one), "records" (JSON lines) or "rows" (of a
        table: a JSON string a line).
      identity: 16 bytes that identify the large document of this piece, or None
        for whole documents.
      piece: the piece's number in that document, from 0.
      inside_line: whether it starts in the middle of a line that was split.
      cut_line: whether it ends in the middle of a line.
      ends: whether it is the last piece of its document; true of whole ones.
    """

    path: str
    data: bytes
    first_line: int = 1
    layout: str = "blank"
    identity: bytes | None = None
    piece: int = 0
    inside_line: bool = False
    cut_line: bool = False
    ends: bool = True


class Reader:
    """Streams `paths` as parts, with counts.

    Attributes:
      bytes_read: bytes of the files read so far (before decompression).
      bytes_total: total size of all files.
      counts: `files`, `empty_files`, `long_lines_cut`, `bad_records`, and
        counts of kinds of files, such as `archive_members`.
    """

    def __init__(
        self,
        paths: Iterable[str],
        *,
        blank_lines_separate_documents: bool = True,
        part_bytes: int = PART_BYTES,
        strict: bool = False,
        text_field: str = "text",
        cut_lines: bool = True,
    ):
        self._paths = list(paths)
        self._layout = "blank" if blank_lines_separate_documents else "single"
        self._part_bytes = part_bytes
        self._strict = strict
        self._text_field = text_field
        self._cut_lines = cut_lines
        self._finished_bytes = 0
        self._stream: inputs.ByteStream | None = None
        self.bytes_total = sum(files.size(path) for path in self._paths)
        self.counts: Counter[str] = Counter()

    @property
    def bytes_read(self) -> int:
        """Bytes of the files read so far, before decompression."""
        now = self._stream.position() if self._stream else 0
        return self._finished_bytes + now

    def __iter__(self) -> Iterator[Part]:
        for path in self._paths:
            self.counts["files"] += 1
            empty = True
            with inputs.open_input(path) as stream:
                self._stream = stream
                for part in self._cut(path, stream):
                    empty = False
                    yield part
            if empty and self._strict:
                raise UserError(f"{path}:1: an empty file; drop --strict")
            self.counts["empty_files"] += empty
            self._stream = None
            self._finished_bytes += files.size(path)

    def _cut(self, path: str, stream: inputs.ByteStream) -> Iterator[Part]:
        for source in sources.find(
            path, stream, self._text_field, self.counts, self._strict
        ):
            name, layout = source.name, source.layout
            if layout in ("records", "rows"):
                yield from self._cut_records(name, source.stream.read, layout)
            else:
                if layout == "text":
                    layout = self._layout
                yield from self._cut_text(name, source.stream.read, layout)

    def _cut_text(
        self, path: str, read: Callable[[int], bytes], whole: str
    ) -> Iterator[Part]:
        buffer = _fill(b"", read, self._part_bytes)
        buffer = buffer.removeprefix(_BYTE_ORDER_MARK)
        line, piece, inside = 1, 0, False
        identity: bytes | None = None
        while True:
            buffer = _fill(buffer, read, self._part_bytes)
            if not buffer:
                return
            at_end = len(buffer) < self._part_bytes
            blank = whole == "blank"
            layout, cut_line, ends_document = whole, False, True
            end = len(buffer)
            if identity is not None:
                layout = "single"
                boundary = -1
                if blank:
                    boundary = cleaning_lib.first_blank_line(buffer, inside)
                if boundary >= 0:
                    end = boundary
                elif not at_end:
                    buffer, end, cut_line = self._end_of_line(buffer, read)
                    ends_document = False
            elif not at_end:
                boundary = -1
                if blank:
                    boundary = cleaning_lib.last_blank_line(buffer, inside)
                if boundary >= 0:
                    end = boundary
                else:
                    layout = "single"
                    identity = _name(buffer)
                    buffer, end, cut_line = self._end_of_line(buffer, read)
                    ends_document = False
            data, buffer = buffer[:end], buffer[end:]
            if cut_line and self._strict:
                number = line + data.count(b"\n")
                raise UserError(
                    f"{path}:{number}: a line of over "
                    f"{self._part_bytes >> 20} MiB; split it or drop --strict"
                )
            if not ends_document:
                buffer = _fill(buffer, read, 1)
            ends = ends_document or not buffer
            yield Part(
                path, data, line, layout, identity, piece, inside, cut_line,
                ends,
            )  # fmt: skip
            self.counts["long_lines_cut"] += cut_line and not inside
            line += data.count(b"\n")
            inside = cut_line
            piece = 0 if ends_document else piece + 1
            identity = None if ends_document else identity

    def _end_of_line(
        self, buffer: bytes, read: Callable[[int], bytes]
    ) -> tuple[bytes, int, bool]:
        """Returns where to split a buffer, and whether that is inside a line.

        If lines are not cut, the buffer grows to the end of one.
        """
        end = buffer.rfind(b"\n") + 1
        if end:
            return buffer, end, False
        if self._cut_lines:
            return buffer, cleaning_lib.cut_point(buffer), True
        while not end:
            searched = len(buffer)
            buffer = _fill(buffer, read, 2 * searched)
            end = buffer.find(b"\n", searched) + 1
            if not end and len(buffer) < 2 * searched:
                end = len(buffer)
        return buffer, end, False

    def _cut_records(
        self, path: str, read: Callable[[int], bytes], layout: str
    ) -> Iterator[Part]:
        buffer = _fill(b"", read, self._part_bytes)
        buffer = buffer.removeprefix(_BYTE_ORDER_MARK)
        line = 1
        while True:
            wanted = self._part_bytes
            buffer = _fill(buffer, read, wanted)
            if not buffer:
                return
            end = buffer.rfind(b"\n") + 1
            while not end and len(buffer) >= wanted:
                if wanted >= MAX_RECORD_BYTES:
                    buffer = self._skip_record(path, line, read)
                    break
                wanted *= 2
                searched = len(buffer)
                buffer = _fill(buffer, read, wanted)
                end = buffer.rfind(b"\n", searched) + 1
            else:
                end = end if end and len(buffer) >= wanted else len(buffer)
                data, buffer = buffer[:end], buffer[end:]
                yield Part(path, data, line, layout)
                line += data.count(b"\n")
                continue
            line += 1

    def _skip_record(
        self, path: str, line: int, read: Callable[[int], bytes]
    ) -> bytes:
        """Skips to the end of the line; returns what follows it."""
        if self._strict:
            raise UserError(
                f"{path}:{line}: a JSON line of more than "
                f"{MAX_RECORD_BYTES >> 20} MiB; split it or drop --strict"
            )
        self.counts["bad_records"] += 1
        while block := read(self._part_bytes):
            end = block.find(b"\n") + 1
            if end:
                return block[end:]
        return b""


def _fill(buffer: bytes, read: Callable[[int], bytes], size: int) -> bytes:
    """Extends `buffer` to at least `size` bytes, unless the file ends."""
    blocks, have = [buffer], len(buffer)
    while have < size and (block := read(size - have)):
        blocks.append(block)
        have += len(block)
    return b"".join(blocks) if len(blocks) > 1 else buffer


def _name(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def documents(
    part: Part, cleaning: Cleaning, counts: Counter[str], text_field: str
) -> list[list[bytes]]:
    """Splits a part into documents, lists of clean UTF-8 lines.

    Args:
      part: a part from `Reader`; a piece of a large document counts as one.
      cleaning: the options.
      counts: repairs are added to it, by name.
      text_field: field of JSON lines with the text.

    Raises:
      UserError: it is not text, by its share of repairs; or, with
        `cleaning.strict`, a byte or record is bad.
    """
    if part.layout in ("records", "rows"):
        return cleaning_lib.clean_records(
            part.data,
            cleaning,
            counts,
            text_field=text_field if part.layout == "records" else None,
            path=part.path,
            first_line=part.first_line,
        )
    before = _flaws(counts)
    found = cleaning_lib.clean_text(
        part.data,
        cleaning,
        counts,
        split_at_blank=part.layout == "blank",
        path=part.path,
        first_line=part.first_line,
        continues_line=part.inside_line or part.cut_line,
    )
    if flaws := _flaws(counts) - before:
        _check_is_text(part, flaws)
    return found


def _flaws(counts: Counter[str]) -> int:
    return (
        counts["invalid_utf8_replaced"] + counts["control_characters_dropped"]
    )


def _check_is_text(part: Part, flaws: int) -> None:
    """Refuses a part with too many repairs."""
    size, zeros = len(part.data), part.data.count(0)
    if flaws <= max(FEW_FLAWS, size * MOST_FLAWS) and (
        zeros <= max(FEW_FLAWS, size * MOST_ZEROS)
    ):
        return
    hint = "a file of another kind, or text in another encoding"
    if zeros > size * 0.3:
        hint = "UTF-16 without a byte order mark?"
    raise UserError(
        f"{part.path}:{part.first_line}: is not UTF-8 text: {flaws} of {size} "
        f"bytes from here on are none ({hint}); convert it, as with `iconv -f "
        "ENCODING -t UTF-8`, or leave it out"
    )


def iter_lines(paths: Iterable[str], text_field: str = "text") -> Iterator[str]:
    """Yields all clean lines of all `paths` that are not blank, in order.

    Memory is bounded for any size of files and lines: a line of more than 32
    KiB is split.

    Args:
      paths: paths for `Reader`.
      text_field: field of JSON, or column of tables, with the text.
    """
    counts: Counter[str] = Counter()
    for part in Reader(paths, text_field=text_field):
        for lines in documents(part, Cleaning(), counts, text_field):
            for line in lines:
                yield line.decode("utf-8").strip()
