"""Tests the code of the studies: cleaned books, valid methods, the table."""

import json
import pathlib
import sys

import pytest
from studies import results
from studies.mini import books
from studies.minilm import study as minilm

from electra_tf import config
from electra_tf.errors import UserError
from electra_tf.keras_api.settings import PretrainSettings

ROOT = pathlib.Path(__file__).resolve().parent.parent
STUDY = ROOT / "tools" / "studies" / "equal_compute"
BOOK = """# Title: A Book

-------

## CHAPTER I - _The Beginning_

\u201cIt\u2019s late,\u201d said _she_. \u201cGo on\u2014or stay.\u201d[12]
He *went*.

THE END

* * *

_Transcriber's Note:_ from Project Gutenberg.

Mr. Hyde stayed. So did I.
"""


@pytest.fixture(scope="module")
def study():
    sys.path.insert(0, str(STUDY))
    try:
        import study
    finally:
        sys.path.remove(str(STUDY))
    return study


def test_a_book_is_cleaned():
    assert list(books.paragraphs(BOOK)) == [
        '"It\'s late," said she. "Go on--or stay." He went.',
        "Mr. Hyde stayed. So did I.",
    ]


def test_documents_are_paragraphs_or_sentences():
    blocks = [f"Mr. Hyde said {i}. So did I." for i in range(40)]
    found = list(books.documents(blocks))
    assert sum(len(document) for document in found) == 80
    assert 10 < sum(len(document) == 1 for document in found) < 70
    assert ["Mr. Hyde said 0.", "So did I."] in found or (
        ["Mr. Hyde said 0."] in found
    )


def test_the_shape_that_ships():
    path = ROOT / "configs" / "pretrain" / "electra_tf_mini.yaml"
    settings = config.resolve(PretrainSettings, str(path))
    from electra_tf.recipes.pretrain import costs

    settings = settings.with_vocab_size(10_000, None)
    found = costs(settings, 128, rows=40)
    assert sum(found.parameters.values()) < 12e6
    assert found.training_flops < 2e16


def test_every_method_has_valid_settings(study):
    base = str(STUDY / "base.yaml")
    for method, changes in (study.METHODS | study.PRECISIONS).items():
        settings = study._resolved(base, changes, 10)
        assert settings.train.num_train_steps == 10, method
        if method in study.PRECISIONS:
            assert settings.train.precision == method


def test_table(study, tmp_path):
    def row(method, seed, measure, **more):
        return {"method": method, "seed": seed, "measure": measure, **more}

    rows = [
        row("electra", 1, "pretrain", steps=10, flops=1e9, scores={}),
        row("electra", 2, "pretrain", steps=10, flops=1e9, scores={}),
        row("mlm", 1, "pretrain", steps=20, flops=1e9, scores={}),
        row("electra", 1, "pairs", scores={"pll": 60.0, "replaced": 66.0}),
        row("electra", 2, "pairs", scores={"pll": 62.0, "replaced": 66.0}),
        row("mlm", 1, "pairs", scores={"pll": 61.0}),
        row("mlm", 1, "sst2", scores={"validation": {"accuracy": 80.0}}),
        row("electra", 1, "sst2", scores={"validation": {"accuracy": 82.0}}),
    ]
    path = tmp_path / "results.jsonl"
    text = "".join(json.dumps(each) + "\n" for each in rows)
    path.write_text(text + '{"method": "cut of', "utf-8")
    found = study.report.read(str(path))
    assert len(found) == len(rows)
    head, _, first, second = study.report.table(found).splitlines()
    assert "BLiMP, pll | BLiMP, replaced | SST-2" in head
    assert "| electra | 2 | 10 | 1.00e+09 | 61.0 ± 1.4 | 66.0 ± 0.0 | 82.0" in (
        first
    )
    assert "| mlm | 1 | 20 | 1.00e+09 | 61.0 |  | 80.0" in second


def test_units_are_read_and_chosen(tmp_path):
    path = tmp_path / "results.jsonl"
    assert results.read(path, lambda row: row["task"]) == {}
    for row in ({"task": "a", "f1": 1}, {"task": "b"}, {"task": "a", "f1": 2}):
        results.append(path, row)
    found = results.read(path, lambda row: row["task"])
    assert found == {"a": {"task": "a", "f1": 2}, "b": {"task": "b"}}
    assert results.chosen("", ("a", "b"), "--tasks") == ["a", "b"]
    assert results.chosen("b,", ("a", "b"), "--tasks") == ["b"]
    with pytest.raises(UserError, match=r"--tasks=c: expected some of \['a',"):
        results.chosen("a,c", ("a", "b"), "--tasks")


def test_the_table_of_minilm():
    def row(task, recipe, side, seed, **scores):
        about = {"task": task, "recipe": recipe, "side": side, "seed": seed}
        speed = 20.0 if side == "trainer" else 30.0
        return about | {"scores": scores, "examples_per_second": speed}

    rows = [
        row("sst2", "equal", side, seed, accuracy=80.0 + seed)
        for side in ("trainer", "ours")
        for seed in (1, 2, 3)
    ]
    rows.append(row("sst2", "pooler", "ours", 1, accuracy=85.0))
    rows[3] |= {
        "float32_scores": {"accuracy": 81.0},
        "int8_scores": {"accuracy": 80.5},
    }
    lines = {
        line.split(" | ")[0][2:]: line
        for line in minilm.table(rows).splitlines()
    }
    assert lines["SST-2, accuracy"] == (
        "| SST-2, accuracy | 82.0 (81.0 to 83.0) | 82.0 (81.0 to 83.0) | "
        "85.0 (85.0 to 85.0) | not measured | -0.50 | 1.50 |"
    )
    assert lines["CoNLL-2000, F1"].count("not measured") == 3


def test_recipes_of_minilm():
    for unit, measured in {
        ("sst2", "equal", "trainer", 1): True,
        ("sst2", "pooler", "ours", 1): True,
        ("sst2", "pooler", "trainer", 1): False,
        ("squad", "pooler", "ours", 1): False,
        ("squad", "defaults", "trainer", 1): False,
    }.items():
        assert minilm.is_measured(unit) == measured
