"""Reads the pages: headings, links, blocks of code, commands."""

import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Block(NamedTuple):
    """A fenced block of code."""

    line: int  # of its first line, from 1
    language: str
    text: str


def all_pages() -> list[pathlib.Path]:
    """Returns every page of the documents."""
    top = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[Block]:
    """Returns the fenced blocks of a page."""
    found, inside, start = [], None, 0
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"( *)```(\w*)", line)
        if fence and inside is None:
            inside, start, lines = fence, number + 1, []
        elif fence:
            assert inside is not None
            body = "\n".join(lines) + "\n"
            found.append(Block(start, inside[2], body))
            inside = None
        elif inside is not None:
            lines.append(line.removeprefix(inside[1]))
    return found


def commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields (line, words) of each `electra-tf` command in shell blocks."""
    for block in blocks(text):
        if block.language not in ("sh", "bash", "console"):
            continue
        whole = block.text.replace("\\\n", " ")
        for found in re.finditer(
            r"^(?:\s*|.*' +)(?:\$ )?electra-tf (.*)", whole, re.MULTILINE
        ):
            yield block.line, shlex.split(found[1], comments=True)


def anchors(text: str) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    found = set()
    for title in re.findall(r"^#+ (.*)", without_code(text), re.MULTILINE):
        title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w -]", "", title.strip().lower())
        found.add(slug.replace(" ", "-"))
    return found


def links(text: str) -> list[str]:
    """Returns the targets of links and pictures."""
    plain = re.sub(r"`[^`\n]*`", "", without_code(text))
    return re.findall(r"\]\(([^)\s]+)\)", plain)


def without_code(text: str) -> str:
    """Returns a page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S)


def spans(text: str) -> list[str]:
    """Returns what stands between single backticks outside of blocks."""
    return re.findall(r"`([^`\n]+)`", without_code(text))
