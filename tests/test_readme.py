"""Tests that the examples of README.md and docs/finetuning.md work."""

import pathlib
import re
import shlex

import pytest
from documents import pages

from electra_tf.cli import app
from electra_tf.tasks.registry import task_class

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


@pytest.fixture
def titles(tmp_path):
    """The task of your own that the page shows, with data for it."""
    page = (ROOT / "docs" / "finetuning.md").read_text("utf-8")
    code = re.search(r"```python\n(# titles\.py.*?)```", page, re.DOTALL)
    file = tmp_path / "titles.py"
    file.write_text(code.group(1))
    for split in ("train", "validation"):
        (tmp_path / f"{split}.book.txt").write_text("the sister\nlove\n")
        (tmp_path / f"{split}.film.txt").write_text("dog\n")
    name = f"{file}:Titles"
    return task_class(name)(name, None, str(tmp_path))


def test_a_task_of_your_own(titles):
    examples = titles.read("train")
    assert [e.answer for e in examples] == ["book", "book", "film"]
    assert titles.read("test") is None
    titles.fit(examples)
    assert titles.head().labels == ("book", "film")
    predictions = titles.constant(examples, examples)
    assert titles.scores(examples, predictions)[titles.metric] == (
        pytest.approx(200 / 3)
    )
    assert titles.example({"text": "cat"}, "x:1").text == "cat"


def test_the_readme_is_short():
    assert README.read_text("utf-8").count("\n") <= 165


def blocks(language):
    return [
        block.text
        for block in pages.blocks(README.read_text("utf-8"))
        if block.language == language
    ]


@pytest.mark.slow
def test_the_quickstarts_run(tmp_path, monkeypatch, capsys):
    """Both run unchanged in a folder that looks like a clone."""
    for name in ("electra_tf", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    (shell,) = [text for text in blocks("sh") if "electra-tf" in text]
    for line in shell.replace("\\\n", " ").splitlines():
        program, *words = shlex.split(line)
        assert program == "electra-tf"
        assert app.run(words) == 0, line
    printed = capsys.readouterr().out
    assert "mlm_loss" in printed and "to see him" in printed
    (python,) = blocks("python")
    exec(compile(python, "README.md", "exec"), {})
    answer = capsys.readouterr().out.splitlines()[-1]
    assert answer in ("['emma']", "['persuasion']", "['pride_and_prejudice']")
    assert (tmp_path / "runs" / "novels" / "model.safetensors").exists()
