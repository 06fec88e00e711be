"""Tests that there are no circular imports, direct or indirect."""

import graphlib

import pytest
from test_imports import PACKAGE, ROOT, SOURCES, imported


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def arrows(sources):
    """Returns module -> modules of the package that it imports anywhere."""
    modules = {module_of(path): (path, text) for path, text in sources}
    found = {}
    for module, (path, text) in modules.items():
        found[module] = set()
        for _, name in imported(path, text):
            while name not in modules and "." in name:
                name = name.rpartition(".")[0]
            # The package's __init__ lists all modules and does not count.
            if name in modules and name not in (PACKAGE.name, module):
                found[module].add(name)
    del found[PACKAGE.name]
    return found


def circle(found):
    """Returns a circle's modules, each imported by the next; else none."""
    try:
        graphlib.TopologicalSorter(found).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_circles():
    sources = [(path, path.read_text(encoding="utf-8")) for path in SOURCES]
    assert circle(arrows(sources)) == []


@pytest.mark.parametrize("last", ["b", "a"])
def test_circles_are_seen(last):
    sources = [
        (PACKAGE / "__init__.py", ""),
        (PACKAGE / "text/a.py", "from electra_tf.text import b"),
        (PACKAGE / "text/b.py", "def f():\n    from ..data.c import name"),
        (PACKAGE / "data/c.py", f"import electra_tf.text.{last}"),
    ]
    assert len(circle(arrows(sources))) == (4 if last == "a" else 3)
