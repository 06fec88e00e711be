"""Cleans raw bytes to lines and documents, and counts every repair.

Everything works on UTF-8 bytes, which the tokenizer takes; a line becomes a
`str` only for the options that need one.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text import segment

MAX_LINE_BYTES = 1 << 15
"""A longer line is cut at white space into pieces of at most this size."""

# C0 controls and DEL are removed; vertical tab, form feed and the separators
# FS..US separate words, so they become spaces.
_CONTROLS = bytes(
    c for c in (*range(32), 127) if c not in b"\t\n\r\v\f\x1c\x1d\x1e\x1f"
)
_SPACES = bytes.maketrans(b"\v\f\x1c\x1d\x1e\x1f", b" " * 6)
_C1_CONTROL = re.compile(rb"\xc2[\x80-\x9f]")
_ANY_CONTROL = re.compile(b"[" + re.escape(_CONTROLS) + rb"]|\xc2[\x80-\x9f]")
_BLANK = rb"(?:[\x00-\x09\x0b-\x20\x7f]|\xc2\xa0|\xe3\x80\x80|\xef\xbb\xbf)*"
_BLANK_LINE = re.compile(_BLANK)
_BLANK_LATER = re.compile(rb"\n" + _BLANK + rb"\n")
_BLANK_FIRST = re.compile(_BLANK + rb"\n")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_REPLACEMENT = "\ufffd".encode()
# Function words of a language, for programs that count words (topics, search);
# networks that read sentences need them.
_STOP_WORD_LISTS = pathlib.Path(__file__).parent / "stop_word_lists"
# Only ftfy's repairs of wrong decoding, not of other spellings, such as Chinese
# commas and curly quotes.
_MENDED: dict[str, Any] = {"fix_character_width": False, "uncurl_quotes": False}


@dataclasses.dataclass(frozen=True)
class Cleaning:
    """What is done to lines, besides replacing bad bytes and controls.

    Attributes:
      repair_unicode: whether to repair mojibake and the like with `ftfy`.
      stop_words: words to remove, in lower case.
      word_segmenter: finds them in text without spaces; see `text.segment`.
      min_line_length: shorter lines (in characters) are left out.
      strict: whether a bad byte is a `UserError` with file and line.
      cut_lines: whether lines over `MAX_LINE_BYTES` are cut.
    """

    repair_unicode: bool = False
    stop_words: frozenset[str] = frozenset()
    word_segmenter: str | None = None
    min_line_length: int = 0
    strict: bool = False
    cut_lines: bool = True

    @property
    def looks_at_text(self) -> bool:
        """Whether lines have to be decoded one by one."""
        return bool(
            self.repair_unicode or self.stop_words or self.min_line_length
        )


def first_blank_line(data: bytes, inside_line: bool) -> int:
    """Returns the offset just after the first blank line of `data`, or -1.

    A line is blank if it only has ASCII white space or controls, no-break or
    ideographic spaces, or byte order marks.

    Args:
      data: raw bytes, from anywhere to anywhere.
      inside_line: whether `data` starts in the middle of a line.
    """
    if not inside_line and (match := _BLANK_FIRST.match(data)):
        return match.end()
    match = _BLANK_LATER.search(data)
    return match.end() if match else -1


def last_blank_line(data: bytes, inside_line: bool) -> int:
    """Returns the offset just after a late blank line of `data`, or -1.

    It need not be the last: any boundary will do to split a file, and searching
    for plain `\\n\\n` from the end is fast.
    """
    found = data.rfind(b"\n\n")
    if found >= 0:
        return found + 2
    last = -1
    for match in _BLANK_LATER.finditer(data):
        last = match.end()
    return last if last >= 0 else first_blank_line(data, inside_line)


def _refuse_flaws(
    data: bytes, where: Callable[[int], str], cut_lines: bool
) -> None:
    """Raises a `UserError` for the first byte that would not be kept, and
    with `cut_lines` for a line that would be cut.
    """
    bad = len(data)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = error.start
    if match := _ANY_CONTROL.search(data, 0, bad):
        raise UserError(
            f"{where(match.start())}: control character "
            f"0x{match[0][-1]:02x}; drop --strict to have it removed"
        )
    if bad < len(data):
        raise UserError(
            f"{where(bad)}: byte 0x{data[bad]:02x} is not UTF-8; drop "
            "--strict to have it replaced"
        )
    offset = 0
    for line in data.split(b"\n") if cut_lines else ():
        if len(line) > MAX_LINE_BYTES:
            raise UserError(
                f"{where(offset)}: a line of {len(line)} bytes, over "
                f"{MAX_LINE_BYTES}; drop --strict to have it cut"
            )
        offset += len(line) + 1


def _clean_bytes(
    data: bytes,
    cleaning: Cleaning,
    counts: Counter[str],
    where: Callable[[int], str],
) -> bytes:
    """Replaces invalid UTF-8, drops control characters, and counts both."""
    if cleaning.strict:
        _refuse_flaws(data, where, cleaning.cut_lines)
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            there = data.count(_REPLACEMENT)
            data = data.decode("utf-8", "replace").encode("utf-8")
            counts["invalid_utf8_replaced"] += data.count(_REPLACEMENT) - there
        data, dropped = _C1_CONTROL.subn(b"", data)
        counts["control_characters_dropped"] += dropped
    cleaned = data.translate(_SPACES, _CONTROLS)
    counts["control_characters_dropped"] += len(data) - len(cleaned)
    return cleaned


def _cut_long(line: bytes) -> list[bytes]:
    """Splits a line into pieces of `MAX_LINE_BYTES`, at white space if any."""
    pieces = []
    while len(line) > MAX_LINE_BYTES:
        at = cut_point(line[:MAX_LINE_BYTES])
        pieces.append(line[:at])
        line = line[at:]
    pieces.append(line)
    return pieces


def cut_point(data: bytes) -> int:
    """Returns where to split a line that continues after `data`.

    It is after the last ASCII white space in the second half, or else before
    the last UTF-8 character, which may be incomplete.
    """
    half = len(data) // 2
    at = max(data.rfind(b" ", half), data.rfind(b"\t", half)) + 1
    if at:
        return at
    for back in range(1, min(4, half) + 1):
        if data[-back] & 0xC0 != 0x80:  # not a continuation byte
            # An ASCII byte is complete; anything else may be incomplete.
            return len(data) - back + (data[-back] < 0x80)
    return len(data)


def _edit(line: bytes, cleaning: Cleaning, counts: Counter[str]) -> bytes:
    """Applies the options that need text; an empty result drops the line."""
    text = line.decode("utf-8").strip()
    if cleaning.repair_unicode:
        import ftfy

        repaired = " ".join(ftfy.fix_text(text, **_MENDED).split("\n"))
        counts["lines_repaired"] += repaired != text
        text = repaired
    if cleaning.stop_words:
        text = _without_stop_words(text, cleaning, counts)
    if len(text) < cleaning.min_line_length:
        counts["short_lines_dropped"] += 1
        return b""
    return text.encode("utf-8")


def _without_stop_words(
    text: str, cleaning: Cleaning, counts: Counter[str]
) -> str:
    words = cleaning.stop_words
    cut = None
    if cleaning.word_segmenter and not text.isascii():
        cut = segment.segmenter(cleaning.word_segmenter).cut

    def keep(match: re.Match[str]) -> str:
        run = match[0]
        if run.lower() in words:
            counts["stop_words_removed"] += 1
            return ""
        if cut is None or run.isascii():
            return run
        found = cut(run)
        kept = [word for word in found if word.lower() not in words]
        counts["stop_words_removed"] += len(found) - len(kept)
        return "".join(kept)

    return " ".join(_WORD.sub(keep, text).split())


def _lines(
    data: bytes,
    cleaning: Cleaning,
    counts: Counter[str],
    split_at_blank: bool,
    continues_line: bool = False,
) -> list[list[bytes]]:
    """Splits clean `data` into documents, lists of lines that are not blank.

    If `split_at_blank` is false there is at most one document.
    """
    documents: list[list[bytes]] = []
    current: list[bytes] = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        blank = not line or line.isspace()
        if not blank and line[0] > 0x7F:
            blank = _BLANK_LINE.fullmatch(line) is not None
        if blank:
            if split_at_blank and current:
                documents.append(current)
                current = []
            continue
        if cleaning.cut_lines and len(line) > MAX_LINE_BYTES:
            counts["long_lines_cut"] += number > 0 or not continues_line
            current.extend(_cut_long(line))
        else:
            current.append(line)
    if current:
        documents.append(current)
    if cleaning.looks_at_text:
        documents = [
            [e for line in lines if (e := _edit(line, cleaning, counts))]
            for lines in documents
        ]
        documents = [lines for lines in documents if lines]
    return documents


def clean_text(
    data: bytes,
    cleaning: Cleaning,
    counts: Counter[str],
    *,
    split_at_blank: bool,
    path: str,
    first_line: int = 1,
    continues_line: bool = False,
) -> list[list[bytes]]:
    """Splits raw `data` into documents, as lists of clean UTF-8 lines.

    Args:
      data: raw bytes of whole lines.
      cleaning: the options.
      counts: counts of repairs by name, which are updated.
      split_at_blank: whether blank lines end a document (if not, all is one).
      path: the file, for messages.
      first_line: number of the first line of `data` in the file.
      continues_line: whether the first line is the rest of a line that was
        split, and already counted.

    Raises:
      UserError: `cleaning.strict`, and there is a bad byte.
    """

    def where(offset: int) -> str:
        return f"{path}:{first_line + data.count(bytes([10]), 0, offset)}"

    clean = _clean_bytes(data, cleaning, counts, where)
    return _lines(clean, cleaning, counts, split_at_blank, continues_line)


def clean_records(
    data: bytes,
    cleaning: Cleaning,
    counts: Counter[str],
    *,
    text_field: str | None,
    path: str,
    first_line: int = 1,
) -> list[list[bytes]]:
    """Makes a document from each JSON line in `data` that has `text_field`.

    A line that is not a JSON object with that field as text is counted as
    `bad_records` and left out. If the field is None, lines are the texts of a
    table's rows: JSON strings, or null. For arguments and errors see
    `clean_text`.
    """
    documents = []
    for number, line in enumerate(data.split(b"\n"), first_line):
        if not line or line.isspace():
            continue
        place = f"{path}:{number}"
        if text_field is None:
            place = f"{path}: row {number}"
        try:
            found = json.loads(line)
            if text_field is not None:
                found = found[text_field]
            raw = found.encode("utf-8", "surrogatepass")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if cleaning.strict:
                expected = f"a JSON object with the text field '{text_field}'"
                if text_field is None:
                    expected = "a row with text"
                raise UserError(
                    f"{place}: not {expected}; set --text_field or drop "
                    "--strict"
                ) from error
            counts["bad_records"] += 1
            continue

        def where(_: int, place: str = place) -> str:
            return place

        clean = _clean_bytes(raw, cleaning, counts, where)
        documents.extend(_lines(clean, cleaning, counts, False))
    return documents


def fingerprint(lines: list[bytes]) -> bytes:
    """Returns a digest of 16 bytes of a document's clean content."""
    return hashlib.blake2b(b"\n".join(lines), digest_size=16).digest()


def load_stop_words(names: str) -> frozenset[str]:
    """Reads lists of stop words, in lower case.

    Args:
      names: files with one word on each line, or languages with a shipped
        list, separated by commas. Lines that begin with # are comments.

    Raises:
      UserError: a name is neither a file nor such a language.
    """
    shipped = {path.stem: path for path in _STOP_WORD_LISTS.glob("*.txt")}
    words: set[str] = set()
    for name in filter(None, (n.strip() for n in names.split(","))):
        if files.exists(name):
            text = files.read_text(name)
        elif name in shipped:
            text = shipped[name].read_text("utf-8")
        else:
            raise UserError(
                f"--stop_words: {name}: no such file, and not the name of a "
                f"list ({', '.join(sorted(shipped))})"
            )
        words |= {
            word.strip().lower()
            for word in text.split("\n")
            if not word.startswith("#")
        }
    return frozenset(words - {""})


def check_segmented(names: str, word_segmenter: str | None) -> None:
    """Refuses the shipped Chinese stop words where no words are found.

    Args:
      names: as `load_stop_words` takes them.
      word_segmenter: finds words in Chinese text, or None.

    Raises:
      UserError: next to none of them would be removed.
    """
    chinese = "chinese" in {name.strip() for name in names.split(",")}
    if chinese and not word_segmenter and not files.exists("chinese"):
        raise UserError(
            "--stop_words=chinese: words of Chinese text, which has no spaces, "
            f"are found with --word_segmenter={segment.SEGMENTERS[0]}; add it"
        )
