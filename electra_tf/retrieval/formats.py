"""Extracts the text of documents of several formats, with its place.

    .txt               the file
    .md                the file; its headings
    .jsonl .ndjson     a text field of each line
    .csv .tsv          each row, "column: value" a line, or a text column alone
    .html .htm .xhtml  what a reader sees, without scripts and navigation
    .pdf               each page
    .docx              paragraphs and tables; its headings

HTML, PDF and DOCX are read by Beautiful Soup, pypdf and python-docx, which the
extra `documents` installs. Damaged files may break any of them in any way: any
exception becomes the reason why a file is left out.
"""

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from electra_tf.text import inputs

_LOOKED_AT = 1 << 16  # bytes, or characters, inspected to recognise text
_MOST_WRONG = 0.1  # largest share of a text's characters that are not UTF-8
_FEW_WRONG = 4  # such characters allowed, where all others are ASCII
_LATIN = frozenset((
    "cp1250", "cp1252", "cp1254", "cp1257", "latin_1", "iso8859_2",
    "iso8859_3", "iso8859_4", "iso8859_9", "iso8859_10", "iso8859_13",
    "iso8859_14", "iso8859_15", "iso8859_16",
))  # fmt: skip
_DELIMITERS = ",;\t|"
_LARGEST_CELL = 1 << 30
_SEP = re.compile("sep=(.)")  # for Excel, before the names of the columns
_MARKDOWN_HEADING = re.compile(
    r"^(?P<fence>```|~~~)|^#{1,6}[ \t]+(?P<title>.*?)[ \t]*#*[ \t]*$",
    re.MULTILINE,
)
_OLD_OFFICE = bytes.fromhex("d0cf11e0a1b11ae1")  # signature of OLE 2 files
_HYPHEN = re.compile(r"(?<=[a-zà-ÿ])[-\u00ad]\n(?=[a-zà-ÿ])")
# Tags of HTML that are not text, or navigation.
_PASSED_OVER = (
    "script", "style", "noscript", "template", "nav", "footer", "menu", "svg",
    "math", "iframe", "object", "canvas", "audio", "video", "button", "select",
    "textarea", "input", "dialog",
)  # fmt: skip
_ROLES = ("navigation", "search", "menu", "menubar", "contentinfo", "banner")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "caption", "dd",
    "details", "div", "dl", "dt", "fieldset", "figcaption", "figure", "form",
    "header", "hgroup", "hr", "legend", "li", "main", "ol", "p", "pre",
    "section", "summary", "table", "tbody", "tfoot", "thead", "title", "ul",
    *_HEADINGS,
))  # fmt: skip


class LeftOut(Exception):
    """Raised for a file that cannot be read; the text says why.

    Attributes:
      again: whether to try the same file another time.
    """

    def __init__(self, why: str, again: bool = False):
        super().__init__(why)
        self.again = again


class Heading(NamedTuple):
    """A heading within a part: from `start` to `end`, in characters."""

    start: int
    end: int
    title: str


class Part(NamedTuple):
    """A part of a file, divided into passages by itself.

    Attributes:
      text: the text.
      line: line of the file in which it begins, from 1.
      where: its place in the file, as "page 3"; "" for the whole file.
      headings: the headings in it, in order.
    """

    text: str
    line: int = 1
    where: str = ""
    headings: tuple[Heading, ...] = ()


class Parts(NamedTuple):
    """All parts of a file.

    Attributes:
      parts: the parts, in order.
      skipped: number of lines or rows without a text.
      notes: what could not be read, or was guessed: "page 3: why".
    """

    parts: list[Part]
    skipped: int = 0
    notes: tuple[str, ...] = ()


def read(data: bytes, name: str, text_field: str = "text") -> Parts:
    """Reads the parts of a file.

    Args:
      data: its content, decompressed, UTF-16 with a byte order mark converted
        to UTF-8.
      name: its name, which implies the format.
      text_field: the text's field of JSON lines, and column of tables that have
        it.

    Raises:
      LeftOut: the file cannot be read, or is not text.
    """
    return _READERS[suffix(name)](data, text_field)


def suffix(name: str) -> str | None:
    """Returns a document's suffix, without the compression's; None for
    others.
    """
    lower = inputs.plain_name(name).lower()
    return next((s for s in SUFFIXES if lower.endswith(s)), None)


def _package(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise LeftOut(
            "needs another package: pip install 'electra-tf[documents]'", True
        ) from error


class _Decoded(NamedTuple):
    """The text of a file, and notes about it."""

    text: str
    notes: tuple[str, ...] = ()


def _decoded(data: bytes) -> _Decoded:
    if b"\0" in data[:_LOOKED_AT]:
        raise LeftOut("is not text")
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    wrong = text.count("\ufffd")
    if not wrong:
        return _Decoded(text)
    start = text[:_LOOKED_AT]
    known = sum(c > "\x7f" and c != "\ufffd" for c in start)
    most = start.count("\ufffd") > _MOST_WRONG * len(start)
    if most or (wrong >= _FEW_WRONG and not known):
        encoding = _encoding(data)
        if encoding:
            text = data.decode(encoding, "replace")
            return _Decoded(
                text, (f"is read as {encoding}, guessed from its bytes",)
            )
    if most:
        raise LeftOut("is not text")
    return _Decoded(text, (f"{wrong:,} bytes or more are not UTF-8",))


def _encoding(data: bytes) -> str:
    """Guesses the encoding of bytes; "" if none fits."""
    detector = _package("charset_normalizer")
    head = data[:_LOOKED_AT]
    if len(data) > len(head):
        head = head[: head.rfind(b"\n") + 1] or head
    best = detector.from_bytes(head).best()
    if best is None or best.language == "Unknown":
        return ""
    # Western and Central European encodings look alike; the first is likelier.
    return "cp1252" if best.encoding in _LATIN else best.encoding


def _plain(data: bytes, text_field: str) -> Parts:
    text, notes = _decoded(data)
    return Parts([Part(text)], 0, notes)


def _markdown(data: bytes, text_field: str) -> Parts:
    (text, notes), headings, fence = _decoded(data), [], ""
    for match in _MARKDOWN_HEADING.finditer(text):
        mark = match["fence"]
        if mark and (not fence or fence == mark):
            fence = "" if fence else mark
        elif not mark and not fence and match["title"]:
            headings.append(Heading(*match.span(), match["title"]))
    return Parts([Part(text, headings=tuple(headings))], 0, notes)


# --- records ---------------------------------------------------------------


def _json_lines(data: bytes, text_field: str) -> Parts:
    parts, skipped = [], 0
    text, notes = _decoded(data)
    for line, record in enumerate(text.split("\n"), 1):
        if not record.strip():
            continue
        try:
            found = json.loads(record)[text_field]
        except (ValueError, LookupError, TypeError, RecursionError):
            found = None
        if not isinstance(found, str):
            skipped += 1
            continue
        # An escaped lone surrogate is not text.
        found = found.encode("utf-8", "replace").decode("utf-8")
        parts.append(Part(found, line, f"line {line}"))
    return Parts(parts, skipped, notes)


def _table(data: bytes, text_field: str, delimiters: str) -> Parts:
    text, notes = _decoded(data)
    csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))
    lines = io.StringIO(text, newline="")  # a lone \r ends a line too
    first = next(lines, "").rstrip("\r\n")
    for_excel = _SEP.fullmatch(first)

    def cells(delimiter: str) -> int:
        return len(next(csv.reader([first], delimiter=delimiter), []))

    before = 0  # lines that `rows` does not count
    if for_excel:
        delimiter, before = for_excel[1], 1
    else:
        delimiter = max(delimiters, key=cells)
        lines.seek(0)
    rows = csv.reader(
        lines, delimiter=delimiter, quoting=_quoting(first, delimiters)
    )
    parts, skipped = [], 0
    try:
        names = [name.strip() for name in next(rows, [])]
        begins = before + rows.line_num + 1
        for number, row in enumerate(rows, 2):
            found = _row_text(names, row, text_field)
            if found:
                parts.append(Part(found, begins, f"row {number}"))
            elif row:
                skipped += 1
            begins = before + rows.line_num + 1
    except csv.Error as error:
        raise LeftOut(
            f"is not a table from line {before + rows.line_num} on: {error}"
        ) from error
    return Parts(parts, skipped, notes)


def _quoting(first: str, delimiters: str) -> Any:
    """Returns whether quotes of a table mean something, as csv's constant.

    In TSV they do not, or a lone one would join all rows up to the next;
    unless all names of the columns are quoted, as in CSV.

    Args:
      first: the first line.
      delimiters: those of the format.
    """
    names = first.rstrip("\r").split("\t")
    quoted = all(len(n) > 1 and n[0] == n[-1] == '"' for n in names)
    return csv.QUOTE_MINIMAL if delimiters != "\t" or quoted else csv.QUOTE_NONE


def _row_text(names: list[str], row: list[str], text_field: str) -> str:
    if text_field in names:
        at = names.index(text_field)
        return row[at].strip() if at < len(row) else ""
    cells = []
    for i, cell in enumerate(row):
        name = names[i] if i < len(names) else ""
        if cell.strip():
            cells.append(f"{name}: {cell.strip()}" if name else cell.strip())
    return "\n".join(cells)


# --- HTML ------------------------------------------------------------------


def _html(data: bytes, text_field: str) -> Parts:
    soup = _soup(data)
    made = _Text()
    if soup.title:
        made.heading(soup.title.get_text(" "))
    for tag in soup.find_all(_PASSED_OVER):
        tag.extract()
    for tag in soup.find_all(attrs={"role": _ROLES}):
        tag.extract()
    for tag in soup.find_all(["head", "title"]):
        tag.extract()
    for tag in soup.find_all(hidden=True):
        tag.extract()
    _walk(soup, made)
    return Parts([made.part()])


def _soup(data: bytes) -> Any:
    bs4 = _package("bs4")
    logging.getLogger("bs4.dammit").setLevel(logging.CRITICAL)
    encoding = None
    try:
        data.decode("utf-8")
        # The declared encoding matters where the bytes are ambiguous, and in
        # encodings with escapes. Text converted from UTF-16 may still declare
        # it.
        if b"\x1b" not in data:
            encoding = "utf-8"
    except UnicodeDecodeError:
        if b"\0" in data[:_LOOKED_AT]:
            raise LeftOut("is not text") from None
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about texts that look like file names
        return bs4.BeautifulSoup(data, "html.parser", from_encoding=encoding)


def _walk(root: Any, made: "_Text") -> None:
    """Adds the text of a tree of tags of any depth."""
    import bs4

    kinds = (
        bs4.Comment, bs4.Declaration, bs4.Doctype, bs4.ProcessingInstruction,
    )  # fmt: skip
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if callable(node) and not isinstance(node, bs4.PageElement):
            node()
        elif isinstance(node, bs4.Tag):
            name = node.name
            if name == "br":
                made.line()
            elif name in _HEADINGS:
                made.heading(node.get_text(" "))
            else:
                block = name in _BLOCKS
                end: Callable[[], None] | None = made.block if block else None
                if name == "tr":
                    end = made.line
                elif name in ("td", "th"):
                    end = made.cell
                if block:
                    made.block()
                if end is not None:
                    waiting.append(end)
                waiting += reversed(node.contents)
        elif isinstance(node, bs4.NavigableString) and not isinstance(
            node, kinds
        ):
            made.add(str(node))


class _Text:
    """Collects a text, with its headings."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = 0
        self._breaks = ""  # separator before the next piece
        self._headings: list[Heading] = []

    def add(self, text: str) -> None:
        """Adds a run of text; its white space collapses to one space."""
        words = text.split()
        if not words:
            if text and not self._breaks:
                self._breaks = " "
            return
        if text[0].isspace() and not self._breaks:
            self._breaks = " "
        if self._pieces:
            self._append(self._breaks)
        self._append(" ".join(words))
        self._breaks = " " if text[-1].isspace() else ""

    def line(self) -> None:
        """Ends a line."""
        if "\n" not in self._breaks:
            self._breaks = "\n"

    def cell(self) -> None:
        """Ends a cell of a table."""
        if "\n" not in self._breaks:
            self._breaks = " | "

    def block(self) -> None:
        """Ends a paragraph."""
        self._breaks = "\n\n"

    def heading(self, title: str) -> None:
        """Adds a heading, unless the same one was just added."""
        title = " ".join(title.split())
        if not title or (self._headings and self._headings[-1].title == title):
            return
        self.block()
        self.add(title)
        self._headings.append(
            Heading(self._size - len(title), self._size, title)
        )
        self.block()

    def part(self) -> Part:
        """Returns the collected text as a part."""
        text = "".join(self._pieces)
        return Part(text, headings=tuple(self._headings))

    def _append(self, text: str) -> None:
        self._pieces.append(text)
        self._size += len(text)


# --- PDF and DOCX ----------------------------------------------------------


def _pdf(data: bytes, text_field: str) -> Parts:
    pypdf = _package("pypdf")
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise LeftOut("is encrypted, with a password")
        count = len(reader.pages)
    except LeftOut:
        raise
    except Exception as error:  # any kind, see above
        if type(error).__name__ == "DependencyError":
            raise LeftOut(
                f"is encrypted, and pypdf says: {error}", True
            ) from error
        raise LeftOut(f"is a damaged PDF: {_said(error)}") from error
    parts, left_out = [], []
    for number in range(1, count + 1):
        try:
            text = reader.pages[number - 1].extract_text()
        except Exception as error:
            left_out.append(f"page {number}: cannot be read: {_said(error)}")
            continue
        text = _HYPHEN.sub("", text.encode("utf-8", "replace").decode("utf-8"))
        if text.strip():
            parts.append(Part(text, 1, f"page {number}"))
    if not parts and not left_out:
        raise LeftOut(
            f"has no text on its {count} pages: they are pictures, as of a "
            "scanner; recognise the text first, as with ocrmypdf"
        )
    if not parts:
        raise LeftOut(f"is a damaged PDF: {left_out[0]}")
    return Parts(parts, 0, tuple(left_out))


def _docx(data: bytes, text_field: str) -> Parts:
    docx = _package("docx")
    if data.startswith(_OLD_OFFICE):
        raise LeftOut("is encrypted, or of Word's older format; save it again")
    try:
        made = _Text()
        for item in docx.Document(io.BytesIO(data)).iter_inner_content():
            if hasattr(item, "rows"):
                _docx_table(item, made)
                continue
            style = str(getattr(item.style, "name", "") or "")
            if style.startswith(("Heading", "Title")):
                made.heading(item.text)
                continue
            for line in item.text.split("\n"):
                made.add(line)
                made.line()
            made.block()
        return Parts([made.part()])
    except Exception as error:  # any kind, see above
        raise LeftOut(
            f"is not a DOCX file, or is damaged: {_said(error)}"
        ) from (error)


def _docx_table(table: Any, made: _Text) -> None:
    made.block()
    for row in table.rows:
        seen = None  # a cell over several columns is listed several times
        for cell in row.cells:
            if cell.text and cell.text != seen:
                made.add(cell.text)
                made.cell()
            seen = cell.text
        made.line()
    made.block()


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())[:100]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


_READERS: dict[str | None, Callable[[bytes, str], Parts]] = {
    ".txt": _plain,
    ".md": _markdown,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": lambda data, field: _table(data, field, _DELIMITERS),
    ".tsv": lambda data, field: _table(data, field, "\t"),
    ".html": _html,
    ".htm": _html,
    ".xhtml": _html,
    ".pdf": _pdf,
    ".docx": _docx,
}
SUFFIXES = tuple(s for s in _READERS if s)


def opened(path: str) -> bytes:
    """Returns a file's content, decompressed, marked UTF-16 as UTF-8."""
    with inputs.open_input(path) as stream:
        return b"".join(_blocks(stream))


def _blocks(stream: inputs.ByteStream) -> Iterator[bytes]:
    while block := stream.read(1 << 20):
        yield block
