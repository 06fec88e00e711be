"""Divides documents into passages, each with its file and place.

Paragraphs end at blank lines. A very short one, as a heading, is joined to the
next; a very long one is divided at the ends of lines, sentences or words.
Documents within a file, as pages of a PDF or rows of a table, are divided
separately; see `formats`.
"""

import collections
import dataclasses
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.retrieval import formats

LONGEST = 2000
"""Characters of a passage at most: a window or two of a reader."""

_SHORT = 100  # characters of a paragraph that is joined to the next
# The same for scripts in which each character is a token.
_DENSE, _DENSE_LONGEST, _DENSE_SHORT = 0.5, 700, 35
_LOOKED_AT = 1 << 16  # characters that the script is detected by
_MOST_KINDS = 8  # suffixes of unsupported files to name
_BLANK_LINES = re.compile(r"\r?\n(?:[ \t\r\f\v\u00a0\u3000]*\n)+")
_SENTENCE_END = re.compile(
    "[.!?\u2026\u061f\u06d4][\"'\u201d\u2019)\\]]*\\s+"
    "|[\u3002\uff01\uff1f\uff0e\uff61\u0964\u0965]"
    "[\u201d\u2019\u300d\u300f\uff09]*"
)
_SPACE = re.compile(r"\s+")
_ANY_SPACE = re.compile(r"\s*")
UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\U00020000-\U0003ffff"
)
"""Characters of scripts without spaces between words, for a class of `re`.

Han with its extensions and compatibility forms, kana, Thai, Lao, Burmese,
Khmer; and Hangul, whose words carry their particles.
"""
_UNSPACED = re.compile(f"[{UNSPACED}]")


class Passage(NamedTuple):
    """A passage of a document."""

    file: str
    line: int  # of its beginning, from 1; of a record, the record's
    start: int  # in characters of the file, or of a part of it
    text: str
    where: str = ""  # what part of the file: "page 3", "row 7", "line 2"
    heading: str = ""  # above it

    def place(self, offset: int) -> tuple[int, int]:
        """Returns line and character of the file at `offset` in the passage."""
        lines = 0
        if not self.file_holds_records:
            lines = self.text.count("\n", 0, offset)
        return self.line + lines, self.start + offset

    @property
    def file_holds_records(self) -> bool:
        """Whether the file consists of records."""
        return self.where.startswith(("line", "row"))


@dataclasses.dataclass(frozen=True)
class Documents:
    """All documents that were read.

    Attributes:
      passages: all passages, in order.
      digests: file name below the folder -> digest of its bytes.
      skipped: number of lines and rows without a text.
      left_out: files and folders that could not be read: "NAME: why".
      notes: the same for parts of files, and what was guessed.
    """

    passages: Sequence[Passage]
    digests: dict[str, str]
    skipped: int
    left_out: Sequence[str] = ()
    notes: Sequence[str] = ()


def find(
    path: str,
    flag: str = "--documents",
    left_out: Callable[[str, str], None] = lambda name, why: None,
) -> list[tuple[str, str]]:
    """Finds documents: returns (file, name below the folder), sorted.

    Each file is listed once, whatever links lead to it.

    Args:
      path: a folder, searched recursively; a file; or globs.
      flag: the flag that gave it, for messages.
      left_out: called with the name of a path that is left out, and why.

    Raises:
      UserError: there is no readable document.
    """
    expected = f"{', '.join(formats.SUFFIXES)}, also .gz, .xz, .zst"
    if not files.is_directory(path):
        matching = files.expand(path, flag)
        wrong = [f for f in matching if not _is_document(f)]
        if wrong:
            raise UserError(
                f"{flag}: {wrong[0]}: expected a name that ends in {expected}"
            )
        return [(f, f) for f in matching]
    found, others = [], collections.Counter[str]()
    for name in _walk(path, left_out):
        if _is_document(name):
            found.append((files.join(path, name), name))
        else:
            others[os.path.splitext(name)[1].lower() or "no suffix"] += 1
    kinds = ", ".join(
        f"{shown(kind)} {count:,}"
        for kind, count in others.most_common(_MOST_KINDS)
    )
    if not found:
        there = f"; there are {kinds}" if kinds else ""
        raise UserError(
            f"{flag}: {path}: has no documents in it; expected files that end "
            f"in {expected}{there}"
        )
    if others:
        left_out(f"{others.total():,} files", f"are of other kinds: {kinds}")
    return found


class FileRead(NamedTuple):
    """The result of reading a file.

    Attributes:
      passages: its passages, in order.
      digest: digest of its bytes; "" where unreadable.
      skipped: number of lines or rows without a text.
      notes: what could not be read, or was guessed.
      why: why it is left out, if it is.
      again: whether to try it another time, even if unchanged.
    """

    passages: Sequence[Passage] = ()
    digest: str = ""
    skipped: int = 0
    notes: Sequence[str] = ()
    why: str = ""
    again: bool = False


def of_file(
    path: str, text_field: str = "text", longest: int = LONGEST
) -> FileRead:
    """Reads a document and divides it.

    UTF-16 and UTF-32 are recognised by their byte order marks, other encodings
    than UTF-8 are guessed; single bytes that are not UTF-8 become U+FFFD. Files
    that are not text, or unreadable, are reported.

    Args:
      path: path of the file.
      text_field: the text's field in JSON lines and tables.
      longest: most characters of a passage; fewer in scripts without spaces.
    """
    try:
        data = formats.opened(path)
    except UserError as error:
        return FileRead(why=str(error), again=True)
    digest = digest_of(data)
    try:
        found = formats.read(data, path, text_field)
    except formats.LeftOut as error:
        return FileRead(digest=digest, why=str(error), again=error.again)
    name = shown(path)
    passages = [
        passage
        for part in found.parts
        for passage in _of_part(part, name, longest)
    ]
    why = "" if passages or found.skipped else "has no text"
    return FileRead(passages, digest, found.skipped, found.notes, why)


def digest_of(data: bytes) -> str:
    """Returns the digest of a file's decompressed bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _of_part(part: formats.Part, name: str, longest: int) -> Iterator[Passage]:
    start = part.text[:_LOOKED_AT]
    dense = len(_UNSPACED.findall(start)) > _DENSE * len("".join(start.split()))
    short = _DENSE_SHORT if dense else _SHORT
    if dense:
        longest = min(longest, _DENSE_LONGEST)
    number, headings = -1, part.headings
    for passage in divide(part.text, name, longest, short):
        passage = passage._replace(where=part.where)
        at = passage.start
        while number + 1 < len(headings) and headings[number + 1].start <= at:
            number += 1
            # A passage that begins with headings belongs to the last of them.
            if headings[number].start >= passage.start:
                after = _ANY_SPACE.match(part.text, headings[number].end)
                at = after.end() if after else at
        line = 0 if passage.file_holds_records else passage.line - 1
        yield passage._replace(
            line=part.line + line,
            heading=headings[number].title if number >= 0 else "",
        )


def divide(
    text: str, file: str, longest: int = LONGEST, short: int = _SHORT
) -> Iterator[Passage]:
    """Divides one text into passages.

    Args:
      text: the text.
      file: its name, for the passages.
      longest: most characters of a passage.
      short: characters of a paragraph that is joined to the next.
    """
    line, counted = 1, 0
    for start, end in _spans(text, longest, short):
        line += text.count("\n", counted, start)
        counted = start
        yield Passage(file, line, start, text[start:end])


def _spans(text: str, longest: int, short: int) -> Iterator[tuple[int, int]]:
    held: tuple[int, int] | None = None  # a short one, waiting for the next
    for start, end in _paragraphs(text):
        if held is not None:
            if end - held[0] <= longest:
                start = held[0]
            else:
                yield held
            held = None
        if end - start < min(short, longest):
            held = start, end
        else:
            yield from _parts(text, start, end, longest)
    if held is not None:
        yield held


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _BLANK_LINES.finditer(text):
        yield from _stripped(text, start, match.start())
        start = match.end()
    yield from _stripped(text, start, len(text))


def _parts(
    text: str, start: int, end: int, longest: int
) -> Iterator[tuple[int, int]]:
    """Divides a span into parts of at most `longest` characters."""
    while end - start > longest:
        cut = _cut(text[start : start + longest])
        yield from _stripped(text, start, start + cut)
        start += cut
    yield from _stripped(text, start, end)


def _cut(text: str) -> int:
    """Returns where to divide a text: in its second half, best at a line's
    end.
    """
    half = len(text) // 2
    at = text.rfind("\n", half) + 1
    if at:
        return at
    for pattern in (_SENTENCE_END, _SPACE):
        ends = [match.end() for match in pattern.finditer(text, half)]
        if ends:
            return ends[-1]
    return len(text)


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yields a span without surrounding white space, if anything is left."""
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    part = part.strip()
    if part:
        yield start, start + len(part)


def _is_document(name: str) -> bool:
    return formats.suffix(name) is not None


def shown(name: str) -> str:
    """Returns a printable file name, with bytes that are not UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _walk(
    root: str, left_out: Callable[[str, str], None], below: str = ""
) -> Iterator[str]:
    """Yields names of files below `root`, except those with a leading dot."""
    if files.is_local(root):
        yield from sorted(_walk_local(root, left_out))
        return
    here = files.join(root, below) if below else root
    for name in files.list_directory(here):
        if name.startswith("."):
            continue
        inner = files.join(below, name) if below else name
        if files.is_directory(files.join(root, inner)):
            yield from _walk(root, left_out, inner)
        else:
            yield inner


def _walk_local(
    root: str, left_out: Callable[[str, str], None]
) -> Iterator[str]:
    """Walks like `_walk`, but visits each folder and file once despite
    links.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        below = waiting.pop()
        here = os.path.join(root, below)
        try:
            status = os.stat(here)
            names = sorted(os.listdir(here))
        except OSError as error:
            left_out(shown(below or root), error.strerror or str(error))
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        links = []
        for name in names:
            if name.startswith("."):
                continue
            inner = os.path.join(below, name)
            # A folder or file gets its own name rather than a link's.
            if os.path.islink(os.path.join(root, inner)):
                links.append(inner)
            elif os.path.isdir(os.path.join(root, inner)):
                waiting.append(inner)
            else:
                yield from _once(root, inner, seen, left_out)
        for inner in links:
            target = os.path.join(root, inner)
            if os.path.isdir(target):
                waiting.insert(0, inner)
            else:
                yield from _once(root, inner, seen, left_out)


def _once(
    root: str,
    name: str,
    seen: set[tuple[int, int]],
    left_out: Callable[[str, str], None],
) -> Iterator[str]:
    """Yields the name of a file, unless it was seen under another name."""
    try:
        status = os.stat(os.path.join(root, name))
    except OSError as error:
        left_out(shown(name), error.strerror or str(error))
        return
    if not stat.S_ISREG(status.st_mode):
        left_out(shown(name), "is not a file but a pipe, socket or device")
        return
    identity = (status.st_dev, status.st_ino)
    if identity not in seen:
        seen.add(identity)
        yield name
