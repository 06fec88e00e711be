"""Documents -> passages, each with its file and place.

Paragraphs end at blank lines. A very short one, as a heading, goes with the
next; a very long one is divided, at the ends of lines, of sentences, or of
words. What is a document of its own within a file, as a page of a PDF or a row
of a table, is divided by itself; see `formats`.
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

_SHORT = 100  # characters of a paragraph that goes with the next
# The same of texts in scripts of which a character is a token.
_DENSE, _DENSE_LONGEST, _DENSE_SHORT = 0.5, 700, 35
_LOOKED_AT = 1 << 16  # characters that tell the script
_MOST_KINDS = 8  # of suffixes of other files, by name
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
    """A stretch of a document."""

    file: str
    line: int  # in which it begins, from 1; of a record, the record's
    start: int  # in characters of the file; of a part of it, of the part
    text: str
    where: str = ""  # what part of the file: "page 3", "row 7", "line 2"
    heading: str = ""  # above it

    def place(self, offset: int) -> tuple[int, int]:
        """Returns line and character of what is `offset` characters into it."""
        lines = 0
        if not self.file_holds_records:
            lines = self.text.count("\n", 0, offset)
        return self.line + lines, self.start + offset

    @property
    def file_holds_records(self) -> bool:
        """Whether the file has records, one after another."""
        return self.where.startswith(("line", "row"))


@dataclasses.dataclass(frozen=True)
class Documents:
    """Files, read.

    Attributes:
      passages: all of them, in order.
      digests: a file's name below the folder -> of its bytes.
      skipped: lines and rows without a text.
      left_out: files that cannot be read, and what could not be looked into:
        "NAME: why".
      notes: the same of parts of files, and what was guessed of them.
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
    """Returns (file, its name below the folder) of each document, sorted.

    Each file is there once, whatever links lead to it.

    Args:
      path: a folder, searched to its bottom; a file; or globs.
      flag: what gave it, for messages.
      left_out: called with the name of what is no file, or is one that is
        there already, and why it is left out.

    Raises:
      UserError: nothing is there that could be read.
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
    """What a file gives.

    Attributes:
      passages: in order.
      digest: of its bytes; "" where they could not be read.
      skipped: lines or rows without a text.
      notes: what could not be read of it, or was guessed.
      why: why it is left out, where it is.
      again: whether it may be read another time, unchanged.
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
    than UTF-8 by their looks; single bytes that are not UTF-8 become U+FFFD.
    What is no text, or cannot be read, is told.

    Args:
      path: of the file.
      text_field: of JSON lines and tables.
      longest: characters of a passage at most; of scripts without spaces
        fewer.
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
    """Of the bytes of a file, unpacked."""
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
            # It is of the last of the headings that it begins with.
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
    """Yields the passages of one text.

    Args:
      text: it.
      file: its name, for the passages.
      longest: characters of a passage at most.
      short: characters of a paragraph that is joined to the next.
    """
    line, counted = 1, 0
    for start, end in _spans(text, longest, short):
        line += text.count("\n", counted, start)
        counted = start
        yield Passage(file, line, start, text[start:end])


def _spans(text: str, longest: int, short: int) -> Iterator[tuple[int, int]]:
    held: tuple[int, int] | None = None  # a short one waits for the next
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
    """Yields a stretch in parts of at most `longest` characters."""
    while end - start > longest:
        cut = _cut(text[start : start + longest])
        yield from _stripped(text, start, start + cut)
        start += cut
    yield from _stripped(text, start, end)


def _cut(text: str) -> int:
    """Returns where to divide: in the second half, best at the end of a
    line.
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
    """Yields the stretch without the white space around it, if more is
    there.
    """
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    part = part.strip()
    if part:
        yield start, start + len(part)


def _is_document(name: str) -> bool:
    return formats.suffix(name) is not None


def shown(name: str) -> str:
    """Returns a file's name that can be written; bytes that are no UTF-8 as
    \\xNN.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _walk(
    root: str, left_out: Callable[[str, str], None], below: str = ""
) -> Iterator[str]:
    """Names of files below `root`; nothing that begins with a dot."""
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
    """As `_walk`; each folder and file once, by what it is on the disk."""
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
            # A folder or file is known by its own name before any link's.
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
    """Yields the name of a file that was not there under another; else
    nothing.
    """
    try:
        status = os.stat(os.path.join(root, name))
    except OSError as error:
        left_out(shown(name), error.strerror or str(error))
        return
    if not stat.S_ISREG(status.st_mode):
        left_out(shown(name), "is no file but a pipe, socket or device")
        return
    identity = (status.st_dev, status.st_ino)
    if identity not in seen:
        seen.add(identity)
        yield name
