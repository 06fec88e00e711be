"""Commands in README and docs have flags, settings and files that exist."""

import importlib
import inspect
import pathlib
import re
import shlex

import pytest

from electra_tf.cli import app, flags
from electra_tf.finetuning import settings as finetune_settings
from electra_tf.recipes import serve as recipes

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page):
    """The words of each indented command, of all its lines."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        found = re.match(r" {4,}(?:\$ )?electra-tf (.*)", line)
        if found:
            words = shlex.split(found[1], comments=True)
            yield [w for w in words if not w.startswith("$")]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_exist(page):
    for name, *words in commands(page):
        known = flags_of(name)
        for word in words:
            flag = re.match(r"--(?:no)?(\w+)", word)
            assert flag is None or (flag[1] in known or flag[0][2:] in known), (
                f"{page.name}: electra-tf {name} {word}"
            )


def flags_of(name):
    """The flags of a command."""
    command = app.COMMANDS[name]
    if not isinstance(command, app.Command):
        module = importlib.import_module(f"electra_tf.cli.{command[0]}")
        return module.FLAGS
    module, _, function = command.function.partition(":")
    module = importlib.import_module(f"electra_tf.{module}")
    return flags.define(getattr(module, function))


def test_all_flags_of_serving_are_told():
    text = (ROOT / "docs" / "serving.md").read_text("utf-8")
    for name in inspect.signature(recipes.serve).parameters:
        assert f"`--{name}`" in text, name


def test_commands_are_found():
    counts = {page.name: len(list(commands(page))) for page in PAGES}
    assert counts["README.md"] > 10
    assert counts["what-electra-does.md"] > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_tools_exist(page):
    text = page.read_text("utf-8").replace("\\\n", " ")
    for path, rest in re.findall(r"python (tools/\w+\.py)(.*)", text):
        assert (ROOT / path).exists(), path
        sources = [ROOT / path, *(ROOT / "tools" / "benchmarks").glob("*.py")]
        known = "".join(each.read_text("utf-8") for each in sources)
        for flag in re.findall(r" (--\w+)", rest):
            assert f'"{flag}"' in known, f"{page.name}: {path} {flag}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_settings_exist(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for name, *words in commands(page):
        configs = [w.partition("=")[2] for w in words if "--config=" in w]
        for config in configs:
            assert pathlib.Path(config).exists(), config
        if name == "finetune" and configs:
            # "--set=key=value" and "--set key=value" alike.
            given = [
                w.removeprefix("--set=")
                for before, w in zip(["", *words], words)
                if before == "--set" or w.startswith("--set=")
            ]
            finetune_settings.load(configs[0], given)


def test_links_lead_somewhere():
    page = ROOT / "docs" / "what-electra-does.md"
    text = page.read_text("utf-8")
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.*)", text, re.MULTILINE)
    }
    anchors = re.findall(r"\]\(#([^)]*)\)", text)
    assert len(anchors) > 10 and set(anchors) <= headings
    for path in re.findall(r"`((?:tools|electra_tf)/[\w/]+\.py)`", text):
        assert (ROOT / path).exists(), path
