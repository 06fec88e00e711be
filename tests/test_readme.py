"""What the README shows does what it says."""

import pathlib
import re

import pytest

from electra_tf.tasks.registry import task_class

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"


@pytest.fixture
def titles(tmp_path):
    """The README's task of one's own, and data for it."""
    code = re.search(
        r"```python\n(# titles\.py.*?)```", README.read_text("utf-8"), re.DOTALL
    )
    file = tmp_path / "titles.py"
    file.write_text(code.group(1))
    for split in ("train", "validation"):
        (tmp_path / f"{split}.book.txt").write_text("the sister\nlove\n")
        (tmp_path / f"{split}.film.txt").write_text("dog\n")
    name = f"{file}:Titles"
    return task_class(name)(name, None, str(tmp_path))


def test_a_task_of_ones_own(titles):
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
