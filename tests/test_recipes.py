"""Tests of what holds for every recipe."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "electra_tf" / "recipes").glob("*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_leaves_the_process_alone(path):
    """A recipe neither reads the command line nor ends the process."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in ("sys.exit", "sys.argv", "os._exit")
        if isinstance(node, ast.Name):
            assert node.id not in ("SystemExit", "exit", "quit")
        if isinstance(node, ast.ImportFrom) and node.module == "sys":
            assert not {"exit", "argv"} & {n.name for n in node.names}
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert "absl" not in ast.unparse(node)


def test_importing_recipes_starts_nothing_heavy():
    names = [f"electra_tf.recipes.{path.stem}" for path in RECIPES]
    code = (
        f"import sys, {', '.join(names)}\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
