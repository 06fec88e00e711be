"""Writes the generated parts of the docs, or checks that they are current.

    python tools/write_docs.py            # writes
    python tools/write_docs.py --check    # names what differs; status 1

It writes docs/settings.md, docs/commands.md, docs/architecture.md,
docs/reference/, pictures, the sections of measurements in README.md and
docs/*.md (from docs/results/ and docs/performance/results.json), and the table
of flags in docs/serving.md.
"""

import argparse
import pathlib
import sys

import settings_reference
from benchmarks import sections
from documents import (
    architecture,
    card,
    commands,
    precision,
    reference,
    results,
    tables,
)
from studies.equal_compute import report

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MINI = DOCS / "results" / "electra-tf-mini"


def generated() -> dict[pathlib.Path, str]:
    """Returns the text of every file that is generated completely."""
    found = {
        DOCS / "settings.md": settings_reference.page(),
        DOCS / "commands.md": commands.page(),
        DOCS / "architecture.md": architecture.page(),
        DOCS / "pictures" / "rooms.svg": architecture.rooms_picture(),
        DOCS / "pictures" / "data.svg": architecture.data_picture(),
    }
    for name, text in reference.pages().items():
        found[DOCS / "reference" / f"{name}.md"] = text
    return found


def renewed() -> dict[pathlib.Path, str]:
    """Returns every page that has generated sections, with these renewed."""
    measured = results.Results(DOCS / "results")
    found = {}
    for path in [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        new = results.renew(text, measured)
        if path.name in ("README.md", "results.md"):
            full = path.name == "results.md"
            new = sections.replaced(
                new, "scores", tables.scores(measured, full=full)
            )
        if path.name == "README.md":
            new = sections.replaced(
                new, "speed", tables.speeds(DOCS / "performance/results.json")
            )
        if path.name == "electra-tf-mini.md":
            for name, section in card.SECTIONS.items():
                new = sections.replaced(new, name, section(MINI))
        if path.name == "equal-compute.md":
            rows = report.read(DOCS / "results/equal-compute/results.jsonl")
            compared = f"{report.conditions(rows)}\n\n{report.table(rows)}"
            new = sections.replaced(new, "equal compute", compared)
        if path.name == "performance.md":
            learned = precision.table(DOCS / "results" / "precision.jsonl")
            new = sections.replaced(new, "learning by precision", learned)
        if path.name == "serving.md":
            new = sections.replaced(
                new, "flags of serve", commands.flag_table("serve")
            )
        found[path] = new
    return found


def main() -> int:
    """Writes or checks the docs; returns the exit status."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument(
        "--check", action="store_true", help="write nothing, name differences"
    )
    check = flags.parse_args().check
    status = 0
    for path, text in (renewed() | generated()).items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        status = 1
        print(f"{'differs' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return status if check else 0


if __name__ == "__main__":
    sys.exit(main())
