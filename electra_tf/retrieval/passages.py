"""Documents -> passages, each with its file and place.

Paragraphs end at blank lines. A very short one, as a heading, goes with the
next; a very long one is divided, at the ends of lines, of sentences, or of
words. In JSON lines each object is a document.
"""

import dataclasses
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text import inputs

SUFFIXES = (".txt", ".md", ".jsonl", ".ndjson")
LONGEST = 2000
"""Characters of a passage at most: a window or two of a reader."""

_SHORT = 100  # characters of a paragraph that goes with the next
_BLOCK = 1 << 20
_BLANK_LINES = re.compile(r"\r?\n(?:[ \t\r\f\v\u00a0\u3000]*\n)+")
_SENTENCE_END = re.compile(
    "[.!?\u2026][\"'\u201d\u2019)\\]]*\\s+|[\u3002\uff01\uff1f]"
    "[\u201d\u2019\u300d\u300f\uff09]*"
)
_SPACE = re.compile(r"\s+")
_LOOKED_AT = 1 << 16  # bytes, or characters, that tell whether it is text
_MOST_WRONG = 0.1  # of the characters of a text: what is no UTF-8


class Passage(NamedTuple):
    """A stretch of a document."""

    file: str
    line: int  # in which it begins, from 1; of JSON lines, the object's
    start: int  # in characters of the file; of JSON lines, of the text
    text: str

    def place(self, offset: int) -> tuple[int, int]:
        """Line and character of what is `offset` characters into it."""
        lines = 0
        if not self.file_holds_records:
            lines = self.text.count("\n", 0, offset)
        return self.line + lines, self.start + offset

    @property
    def file_holds_records(self) -> bool:
        """Whether lines and characters are those of JSON lines."""
        return inputs.holds_records(self.file)


@dataclasses.dataclass(frozen=True)
class Documents:
    """Files, read.

    Attributes:
      passages: all of them, in order.
      digests: a file's name below the folder -> of its bytes.
      skipped: JSON lines without a text.
      left_out: files that are no text, and what could not be looked into:
        "NAME: why".
    """

    passages: Sequence[Passage]
    digests: dict[str, str]
    skipped: int
    left_out: Sequence[str] = ()


def find(
    path: str,
    flag: str = "--documents",
    left_out: Callable[[str, str], None] = lambda name, why: None,
) -> list[tuple[str, str]]:
    """(file, its name below the folder) of each document, sorted.

    Each file is there once, whatever links lead to it.

    Args:
      path: a folder, searched to its bottom; a file; or globs.
      flag: what gave it, for messages.
      left_out: called with the name of what is no file, or is one that is
        there already, and why it is left out.

    Raises:
      UserError: nothing is there that could be read.
    """
    expected = f"{', '.join(SUFFIXES)}, also .gz, .xz, .zst"
    if not files.is_directory(path):
        matching = files.expand(path, flag)
        wrong = [f for f in matching if not _is_document(f)]
        if wrong:
            raise UserError(
                f"{flag}: {wrong[0]}: expected a name that ends in {expected}"
            )
        return [(f, f) for f in matching]
    found = [
        (files.join(path, name), name)
        for name in _walk(path, left_out)
        if _is_document(name)
    ]
    if not found:
        raise UserError(
            f"{flag}: {path}: has no documents in it; expected files that end "
            f"in {expected}"
        )
    return found


def read(
    documents: Sequence[tuple[str, str]],
    text_field: str = "text",
    longest: int = LONGEST,
) -> Documents:
    """Reads documents and divides them.

    UTF-16 and UTF-32 are told by their byte order marks; of the rest, what is
    not UTF-8 becomes U+FFFD. Files that are no text are left out.

    Args:
      documents: what `find` gave.
      text_field: of JSON lines.
      longest: characters of a passage at most.

    Raises:
      UserError: a file cannot be read, or none has any text.
    """
    passages: list[Passage] = []
    digests, skipped = {}, 0
    left_out: list[str] = []
    for path, name in documents:
        data = _content(path)
        digests[shown(name)] = hashlib.blake2b(data, digest_size=16).hexdigest()
        decoded = _decoded(data)
        if decoded is None:
            left_out.append(f"{shown(name)}: is no text")
            continue
        text = decoded
        path = shown(path)
        if not inputs.holds_records(path):
            passages += divide(text, path, longest)
            continue
        for line, record in enumerate(text.split("\n"), 1):
            if not record.strip():
                continue
            found = _field(record, text_field)
            if found is None:
                skipped += 1
                continue
            passages += (
                passage._replace(line=line)
                for passage in divide(found, path, longest)
            )
    if not passages:
        hint = ""
        if skipped:
            hint = (
                f"; {skipped} JSON lines have no text field '{text_field}': "
                "set --text_field"
            )
        raise UserError(
            f"--documents: no text in {len(documents)} files, the first of "
            f"them {shown(documents[0][0])}{hint}"
        )
    return Documents(passages, digests, skipped, left_out)


def divide(text: str, file: str, longest: int = LONGEST) -> Iterator[Passage]:
    """The passages of one text."""
    line, counted = 1, 0
    for start, end in _spans(text, longest):
        line += text.count("\n", counted, start)
        counted = start
        yield Passage(file, line, start, text[start:end])


def _spans(text: str, longest: int) -> Iterator[tuple[int, int]]:
    short: tuple[int, int] | None = None  # one that waits for the next
    for start, end in _paragraphs(text):
        if short is not None:
            if end - short[0] <= longest:
                start = short[0]
            else:
                yield short
            short = None
        if end - start < min(_SHORT, longest):
            short = start, end
        else:
            yield from _parts(text, start, end, longest)
    if short is not None:
        yield short


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _BLANK_LINES.finditer(text):
        yield from _stripped(text, start, match.start())
        start = match.end()
    yield from _stripped(text, start, len(text))


def _parts(
    text: str, start: int, end: int, longest: int
) -> Iterator[tuple[int, int]]:
    """A stretch in parts of at most `longest` characters."""
    while end - start > longest:
        cut = _cut(text[start : start + longest])
        yield from _stripped(text, start, start + cut)
        start += cut
    yield from _stripped(text, start, end)


def _cut(text: str) -> int:
    """Where to divide: in the second half, best at the end of a line."""
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
    """The stretch without the white space around it, if more is there."""
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    part = part.strip()
    if part:
        yield start, start + len(part)


def _content(path: str) -> bytes:
    with inputs.open_input(path) as stream:
        return b"".join(iter(lambda: stream.read(_BLOCK), b""))


def _field(record: str, name: str) -> str | None:
    try:
        found = json.loads(record)[name]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(found, str):
        return None
    # An escaped half of a surrogate pair is no text.
    return found.encode("utf-8", "replace").decode("utf-8")


def _is_document(name: str) -> bool:
    return inputs.plain_name(name).lower().endswith(SUFFIXES)


def shown(name: str) -> str:
    """A file's name that can be written; bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _decoded(data: bytes) -> str | None:
    """The text of a file that `inputs` gave in UTF-8; None if it has none."""
    if b"\0" in data[:_LOOKED_AT]:
        return None
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    start = text[:_LOOKED_AT]
    if start.count("\ufffd") > _MOST_WRONG * len(start):
        return None
    return text


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
    """The name of a file that was not there under another; else nothing."""
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
