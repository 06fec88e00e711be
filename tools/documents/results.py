"""Writes sections of pages from the results files.

A file `docs/results/NAME.yaml` holds measurements: entries with a text, in
Markdown, and where and when they were made. A page shows an entry between
`<!-- results/NAME.yaml#ENTRY: begin -->` and the same with `end`.
`{file.entry.key}` in a text stands for a value of another file, so that it is
written once.
"""

import pathlib
import re
from typing import Any

import yaml
from benchmarks import sections

_MARK = re.compile(r"<!-- results/([a-z][\w-]*)\.yaml#([\w-]+): begin -->")
_REFERENCE = re.compile(r"\{([a-z][\w-]*(?:\.[\w-]+)+)\}")


class Results:
    """Holds the results files of a folder."""

    def __init__(self, folder: pathlib.Path):
        self._files = {
            path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
            for path in sorted(folder.glob("*.yaml"))
        }

    def entry(self, file: str, name: str) -> dict[str, Any]:
        """Returns one entry of a file.

        Raises:
          SystemExit: there is no such entry.
        """
        try:
            return self._files[file][name]
        except KeyError:
            raise SystemExit(
                f"write_docs: docs/results/{file}.yaml has no entry '{name}'"
            ) from None

    def entries(self, file: str) -> dict[str, dict[str, Any]]:
        """Returns all entries of a file, in its order."""
        return self._files[file]

    def names(self) -> list[tuple[str, str]]:
        """Returns (file, entry) of every entry that has a text."""
        return [
            (file, name)
            for file, entries in self._files.items()
            for name, entry in entries.items()
            if "text" in entry
        ]

    def text(self, file: str, name: str) -> str:
        """Returns an entry's text, with the values that it refers to."""
        text = self.entry(file, name)["text"].strip("\n")
        return _REFERENCE.sub(self._value, text)

    def _value(self, found: re.Match) -> str:
        value: Any = self._files
        for key in found[1].split("."):
            if not isinstance(value, dict) or key not in value:
                raise SystemExit(f"write_docs: no value of name {found[0]}")
            value = value[key]
        return str(value)


def renew(page: str, results: Results) -> str:
    """Returns a page with all of its sections of results renewed."""
    for found in _MARK.finditer(page):
        file, name = found.groups()
        page = sections.replaced(
            page, f"results/{file}.yaml#{name}", results.text(file, name)
        )
    return page


def shown(page: str) -> list[tuple[str, str]]:
    """Returns (file, entry) of each section of results in a page."""
    return [found.groups() for found in _MARK.finditer(page)]
