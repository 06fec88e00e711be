"""Tests which part of the package imports which, and the sizes of files.

A room is a module or a folder at the top of the package.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "electra_tf"

# Importable from every room; they import only one another.
FOUNDATION = {
    "errors", "files", "tensors", "config", "backend", "registration",
    "litert", "processor", "columns",
}  # fmt: skip

# room -> the rooms it may import, besides itself and the foundation.
ARROWS = {
    "text": set(),
    "data": {"text"},
    "models": set(),
    "training": set(),
    "pretraining": {"models"},
    "hub": {"models", "text"},
    "keras_hub": {"hub"},  # registers the classes of hub/keras_hub_tasks
    "generation": {"models", "hub", "text"},
    "retrieval": {"text"},
    "tasks": {"models", "training", "text", "hub", "generation"},
    "prediction": {"tasks", "models", "training", "text", "hub"},
    "finetuning": {"prediction", "tasks", "models", "training", "text", "hub"},
    # Transforms for your own pipelines, also run by the recipes.
    "beam": {"prediction", "data"},
    "exporting": {
        "prediction", "tasks", "generation", "models", "text", "hub",
    },
    "serving": set(),  # a server learns about an export from its files
    # The networks' public interface, for programs of your own.
    "keras_api": {
        "finetuning", "prediction", "tasks", "pretraining", "generation",
        "data", "models", "training", "text", "hub",
    },
    "recipes": {
        "keras_api", "exporting", "finetuning", "prediction", "tasks", "beam",
        "retrieval", "generation", "hub", "pretraining", "training", "models",
        "data", "text", "serving",
    },
    "original": {"recipes"},  # commands with the original's flags
    "cli": {"recipes", "__init__"},
    "__main__": {"cli"},
    "__init__": None,  # lists the public names, so may import anything
}  # fmt: skip
# room -> its inner folders -> the inner folders that each may import; "" are
# the files beside these folders.
INNER_ARROWS = {
    # A kind of task imports only the common interface.
    "tasks": {
        "": set(),
        "texts": {""},
        "glue": {"", "texts"},
        "qa": {""},
        "tagging": {""},
        "ranking": {""},
        "seq2seq": {""},
        "summarization": {""},
        "multitask": {""},
    },
    "exporting": {"": {"graphs"}, "graphs": set()},
    "serving": {"": set(), "server": set(), "clients": set()},
    "pretraining": {
        "": {"objectives", "generators"},
        "objectives": {"", "generators"},
        "generators": {""},
    },
}
# Nothing imports these; they are run by `python -m`.
FRONTS = {"cli", "original", "tools"}
MAX_LINES = 600

SOURCES = sorted(PACKAGE.rglob("*.py"))
TOOLS = sorted((ROOT / "tools").rglob("*.py"))


def room_of(path: pathlib.Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def inner_room(parts: tuple[str, ...]) -> str:
    """Returns `qa` for (tasks, qa, task), and "" for (tasks, task)."""
    known = INNER_ARROWS[parts[0]]
    return parts[1] if len(parts) > 1 and parts[1] in known else ""


def imported(path: pathlib.Path, text: str) -> list[tuple[int, str]]:
    """Returns (line, absolute dotted module) of every import in a file."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                here = path.relative_to(ROOT).parts[: -node.level]
                module = ".".join([*here, *filter(None, [module])])
            found += [
                (node.lineno, f"{module}.{alias.name}") for alias in node.names
            ]
    return found


def violations(path: pathlib.Path, text: str) -> list[str]:
    room, wrong = room_of(path), []
    for line, module in imported(path, text):
        parts = module.split(".")
        place = f"{path.relative_to(ROOT)}:{line}"
        if module.startswith(("keras.src", "keras_hub.src")):
            wrong.append(f"{place}: private module {module}")
        if parts[0] in ("tools", "tests"):
            wrong.append(f"{place}: the package imports {parts[0]}")
        if parts[0] != "electra_tf":
            continue
        target = parts[1] if len(parts) > 1 else "__init__"
        known = target in ARROWS or target in FOUNDATION
        if not known:
            if room != "cli":  # `from electra_tf import __version__`
                wrong.append(f"{place}: {module} is in no known room")
            continue
        if target == room and room in INNER_ARROWS:
            here = inner_room(path.relative_to(PACKAGE).parts)
            there = inner_room(tuple(parts[1:]))
            if there not in {here, *INNER_ARROWS[room][here]}:
                wrong.append(f"{place}: {room}/{here} must not import {module}")
        if target == room or target in FOUNDATION:
            continue
        allowed = ARROWS.get(room, set()) if room not in FOUNDATION else set()
        if target in FRONTS and room not in ("__main__", "cli"):
            wrong.append(f"{place}: nothing imports {target}")
        elif allowed is not None and target not in allowed:
            wrong.append(f"{place}: {room} must not import {target}")
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: room_of(p) + p.stem)
def test_arrows(path):
    assert room_of(path) in set(ARROWS) | FOUNDATION, f"add {path} to ARROWS"
    below = path.relative_to(PACKAGE).parts[:-1]
    if below and below[0] in INNER_ARROWS:
        inner = INNER_ARROWS[below[0]]
        assert "".join(below[1:]) in inner, f"add {path} to INNER_ARROWS"
    assert violations(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", SOURCES + TOOLS, ids=lambda p: p.stem)
def test_files_stay_small(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{path} has {lines} lines: divide it"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("models/x.py", "from electra_tf.text import vocab"),
        ("models/x.py", "from electra_tf.recipes import pretrain"),
        ("models/x.py", "def f():\n    import electra_tf.hub.directory"),
        ("models/x.py", "from ..training import loop"),
        ("data/x.py", "from electra_tf.models.encoder import Encoder"),
        ("text/x.py", "from electra_tf.cli import app"),
        ("hub/x.py", "from keras.src import ops"),
        ("hub/x.py", "import tools.benchmark"),
        ("hub/x.py", "import electra_tf.keras_hub"),
        ("keras_hub/x.py", "from electra_tf.models import layers"),
        ("recipes/x.py", "import electra_tf.keras_hub"),
        ("tasks/qa/x.py", "from electra_tf.tasks.tagging import words"),
        ("tasks/x.py", "from electra_tf.tasks.qa.task import QAOptions"),
        ("prediction/x.py", "import electra_tf.finetuning.trial"),
        ("prediction/x.py", "from electra_tf.beam import Predict"),
        ("beam/x.py", "from electra_tf.recipes import spread"),
        (
            "serving/server/x.py",
            "from electra_tf.exporting.graphs import parts",
        ),
        ("files.py", "from electra_tf.text import vocab"),
    ],
)
def test_wrong_arrows_are_refused(place, text):
    assert violations(PACKAGE / place, text)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("models/x.py", "from electra_tf.errors import UserError"),
        ("models/x.py", "from electra_tf.models import layers"),
        ("pretraining/x.py", "from electra_tf.models import layers"),
        ("hub/x.py", "from electra_tf import files, tensors"),
        ("recipes/x.py", "from electra_tf.data import builder"),
        ("tasks/qa/x.py", "from electra_tf.tasks.task import Task"),
        ("tasks/qa/x.py", "from electra_tf.tasks.qa import metrics"),
        ("data/x.py", "import numpy as np"),
    ],
)
def test_right_arrows_are_accepted(place, text):
    assert violations(PACKAGE / place, text) == []
