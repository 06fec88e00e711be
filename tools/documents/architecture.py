"""Writes docs/architecture.md and its pictures from the code and its tests."""

import ast
import pathlib
import re

from documents import pictures

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "tests" / "test_imports.py"
PACKAGE = ROOT / "electra_tf"

# The way of data: what a command reads, the command, what it writes.
WAY = (
    (("text files",), "prepare-text", "clean text"),
    (("clean text",), "build-vocab", "vocab.txt"),
    (("clean text", "vocab.txt"), "build-data", "examples"),
    (("examples",), "pretrain", "pre-trained run"),
    (("other checkpoints",), "convert", "model directory"),
    (
        ("pre-trained run", "model directory", "labelled files"),
        "finetune",
        "fine-tuned run",
    ),
    (("pre-trained run",), "fill", "texts"),
    (("fine-tuned run",), "evaluate", "scores"),
    (("fine-tuned run",), "predict", "predictions"),
    (("fine-tuned run",), "export", "SavedModel"),
    (("SavedModel",), "serve", "HTTP, gRPC"),
)

_PAGE = """\
# Architecture

`tools/write_docs.py` writes this page from `tests/test_imports.py`, which
refuses every import that is not an arrow here, and from the first line of each
module.

## The way of data

![Which command reads what and writes what](pictures/data.svg)

Everything that a command writes appears under another name first and is renamed
when it is whole. A run directory holds settings, checkpoints, metrics, and at
the end `model/`: `config.json`, `vocab.txt` and `model.safetensors`.

## Rooms and arrows

A room is a package below `electra_tf/`. An arrow leads from a room to one that
it imports; arrows that follow from others are left out. The foundation
({foundation}) may be imported from everywhere.

![The rooms of the package and what they import](pictures/rooms.svg)

| room | what it is for | imports |
| --- | --- | --- |
{rooms}

### Within a room

| place | what it is for | imports of its room |
| --- | --- | --- |
{inner}

### The foundation

| module | what it is for |
| --- | --- |
{modules}

## Beside the package

| folder | what is in it |
| --- | --- |
| `configs/pretrain/` | settings of pre-training, by size and objective |
| `configs/finetune/` | settings of fine-tuning, one file for each task |
| `docs/` | these pages, and in `docs/results/` the measurements |
| `examples/` | short programs and notebooks, each run by a test |
| `findings/` | scripts, each on unexpected behaviour of a public library |
| `tests/` | `test_<room>_<file>.py`; `golden/`: recorded numbers |
| `tools/` | checks and measurements to run yourself |

### Tools

| file | what it does |
| --- | --- |
{tools}

Tests that compare with the recorded numbers of the original need a folder of
them that is too large for this repository: `ELECTRA_TF_SHARED=DIR`. Without it
they are skipped, with a message.
"""


def rules() -> dict:
    """Returns FOUNDATION, ARROWS and INNER_ARROWS of the test of imports."""
    found = {}
    for node in ast.parse(RULES.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(
            node.targets[0], ast.Name
        ):
            name = node.targets[0].id
            if name in ("FOUNDATION", "ARROWS", "INNER_ARROWS"):
                found[name] = _literal(node.value)
    return found


def page() -> str:
    """Returns the whole page, as Markdown."""
    known = rules()
    rooms = {
        name: arrows
        for name, arrows in known["ARROWS"].items()
        if not name.startswith("__")
    }
    lines = [
        _row(
            f"`{name}`",
            purpose(PACKAGE / name / "__init__.py"),
            _names(sorted(set(arrows) - {"__init__"})),
        )
        for name, arrows in rooms.items()
    ]
    inner = [
        _row(
            f"`{room}/{name}`",
            purpose(PACKAGE / room / name / "__init__.py"),
            _names([each or "the files beside it" for each in sorted(arrows)]),
        )
        for room, parts in known["INNER_ARROWS"].items()
        for name, arrows in parts.items()
        if name and (PACKAGE / room / name).is_dir()
    ]
    foundation = sorted(known["FOUNDATION"])
    modules = [
        _row(f"`{name}`", purpose(PACKAGE / f"{name}.py"))
        for name in foundation
    ]
    tools = [
        _row(f"`tools/{path.name}`", purpose(path))
        for path in sorted((ROOT / "tools").glob("*.py"))
    ]
    return _PAGE.format(
        foundation=", ".join(f"`{name}`" for name in foundation),
        rooms="\n".join(lines),
        inner="\n".join(inner),
        modules="\n".join(modules),
        tools="\n".join(tools),
    )


def rooms_picture() -> str:
    """Returns the picture of rooms and arrows, as SVG."""
    arrows = {
        name: set(reached) - {"__init__"}
        for name, reached in rules()["ARROWS"].items()
        if not name.startswith("__")
    }
    return pictures.layers(arrows, "Rooms and arrows")


def data_picture() -> str:
    """Returns the picture of the way of data, as SVG."""
    arrows: dict[str, set[str]] = {}
    for inputs, command, output in WAY:
        for each in inputs:
            arrows.setdefault(each, set()).add(command)
        arrows.setdefault(command, set()).add(output)
    commands = {command for _, command, _ in WAY}
    return pictures.layers(arrows, "The way of data", commands)


def purpose(path: pathlib.Path) -> str:
    """Returns the first sentence of a module's docstring."""
    if not path.exists():
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = " ".join(text.partition("\n\n")[0].split())
    sentence = re.match(r".*?[.?](?=\s|$)", first)
    return (sentence[0] if sentence else first).replace("|", "\\|")


def _literal(node: ast.expr):
    """Evaluates like `ast.literal_eval`, but also accepts `set()`."""
    if isinstance(node, ast.Call):
        return set()
    if isinstance(node, ast.Dict):
        return {
            _literal(key): _literal(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    return ast.literal_eval(node)


def _names(names: list[str]) -> str:
    return ", ".join(names)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
