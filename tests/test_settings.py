"""Tests that settings classes are described, and quick to import."""

import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

import electra_tf
from electra_tf import config

PACKAGE = pathlib.Path(electra_tf.__file__).parent


def _classes() -> list[tuple[str, str]]:
    """Returns (module, class) of each subclass of `Settings`."""
    found: dict[str, str] = {}
    bases: dict[str, tuple[str, set[str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(
            ["electra_tf", *path.relative_to(PACKAGE).with_suffix("").parts]
        )
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                names = {
                    ast.unparse(base).split(".")[-1] for base in node.bases
                }
                bases[node.name] = module, names
    known = {"Settings"}
    while True:
        more = {
            name
            for name, (_, names) in bases.items()
            if names & known and name not in known
        }
        if not more:
            break
        known |= more
    for name in known - {"Settings"}:
        found[name] = bases[name][0]
    return sorted((module, name) for name, module in found.items())


CLASSES = _classes()


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_every_field_is_described(module, name):
    cls = getattr(importlib.import_module(module), name)
    silent = [key.key for key in config.describe(cls) if not key.text]
    assert not silent, f"{name}: describe these, in a Setting"


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_defaults_are_allowed(module, name):
    cls = getattr(importlib.import_module(module), name)
    if all(key.default != "required" for key in config.describe(cls)):
        made = cls()
        assert config.from_dict(cls, config.to_dict(made)) == made


def test_settings_are_known_without_tensorflow():
    modules = sorted({module for module, _ in CLASSES})
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "heavy = {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_reference_page_is_of_today():
    import settings_reference

    found = settings_reference.PAGE.read_text(encoding="utf-8")
    assert found == settings_reference.page(), (
        "run python tools/settings_reference.py"
    )
