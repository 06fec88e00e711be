"""Tests `minimal-pairs` as a user runs it: input formats, ties, output."""

import gzip
import json

import generation_models as models
import numpy as np
import pytest
from PIL import Image

from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.generation.scoring import Scorer
from electra_tf.prediction import minimal_pairs as pairs_
from electra_tf.recipes.minimal_pairs import minimal_pairs

GOOD = ["the cat sat on the mat.", "a good dog", "the dogs ran", "sisters ran"]
BAD = ["mat the on sat cat the.", "a dog good dog", "the dogs ran", "ran the"]
UIDS = ["order", "order", "order", "length"]
TERMS = ["syntax", "syntax", "syntax", "size"]


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_tokens):
    return models.save(tmp_path_factory.mktemp("m"), tiny_tokens)


@pytest.fixture(scope="module")
def sums(model):
    """Sentence -> its score."""
    found = Scorer.from_pretrained(model, "pll").score(sorted({*GOOD, *BAD}))
    return {each.text: each for each in found}


def table(header=True):
    rows = list(zip(UIDS, TERMS, GOOD, BAD))
    names = [("uid", "phenomenon", "good", "bad")] * header
    return "".join("\t".join(row) + "\n" for row in [*names, *rows])


def blimp():
    """Returns the pairs in BLiMP's format."""
    keys = ("UID", "linguistics_term", "sentence_good", "sentence_bad")
    return "".join(
        json.dumps(dict(zip(keys, row)) | {"field": "f", "pairID": "0"}) + "\n"
        for row in zip(UIDS, TERMS, GOOD, BAD)
    )


def zorro(first="bad"):
    both = zip(BAD, GOOD) if first == "bad" else zip(GOOD, BAD)
    return "".join(f"{one}\n{other}\n" for one, other in both)


def plain(path, **options):
    return [
        (pair.paradigm, pair.phenomenon, pair.good, pair.bad)
        for pair in pairs_.read(str(path), **options)
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.tsv", table()),
        ("p.tsv", table(header=False)),
        ("p.data", table()),
        ("p.jsonl", blimp()),
        ("p.txt", blimp()),
        ("p.csv", table().replace("\t", ",")),
    ],
)
def test_forms_of_tables(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    assert plain(path) == list(zip(UIDS, TERMS, GOOD, BAD))
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert plain(packed) == plain(path)


def test_lines_in_turn(tmp_path):
    path = tmp_path / "agreement-across_clause.txt"
    path.write_text(zorro(), "utf-8")
    want = [
        ("agreement-across_clause", "agreement", *p) for p in zip(GOOD, BAD)
    ]
    assert plain(path) == want
    path.write_text(zorro("good") + "\n", "utf-8")
    assert plain(path, first="good") == want


def test_columns_of_other_names(tmp_path):
    path = tmp_path / "own.tsv"
    path.write_text("yes\tno\tkind\na\tb\tk\n", "utf-8")
    columns = {"good": "yes", "bad": "no", "paradigm": "kind"}
    assert plain(path, columns=columns) == [("k", "", "a", "b")]
    path.write_text("a good one\ta bad one\n", "utf-8")
    assert plain(path) == [("own", "", "a good one", "a bad one")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.txt", "one\ntwo\nthree\n", "x.txt: has 3 lines, the last one"),
        ("x.txt", "", "x.txt: holds no pairs"),
        ("x.tsv", "uid\tgood\n", "holds no rows"),
        ("x.tsv", "uid\tgood\nu\ta\n", "x.tsv:2: no column 'bad"),
        ("x.tsv", "a\tb\tc\td\te\n", "x.tsv:1: expected a line that names"),
        ("x.tsv", "good\tbad\na\t\n", "x.tsv:2"),
        ("x.jsonl", '{"good": "a"}\n', "x.jsonl:1: no column 'bad or"),
        ("x.jsonl", '{"good": "a", "bad": 3}\n', "x.jsonl:1"),
    ],
)
def test_files_without_pairs(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    with pytest.raises(UserError, match=message) as error:
        pairs_.read(str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("column", ["good", "bad", "paradigm", "phenomenon"])
def test_columns_that_are_given_must_be_there(tmp_path, column):
    table, rows = tmp_path / "x.tsv", tmp_path / "x.jsonl"
    table.write_text("good\tbad\tuid\na\tb\tk\n", "utf-8")
    rows.write_text('{"good": "a", "bad": "b", "uid": "k"}\n', "utf-8")
    for path, line in ((table, 2), (rows, 1)):
        with pytest.raises(UserError) as error:
            pairs_.read(str(path), {column: "kidn"})
        assert str(error.value) == (
            f"{path}:{line}: no column 'kidn'; there are 'good', 'bad', 'uid' "
            f"(--{column}_column names another)"
        )


def test_files_without_columns_take_no_names_of_them(tmp_path, capsys):
    path = tmp_path / "agreement-x.txt"
    path.write_text("a bad one\na good one\n", "utf-8")
    flags = [f"--input={path}", "--phenomenon_column=kind"]
    assert app.run(["minimal-pairs", "--model=none", *flags]) == 2
    message = capsys.readouterr().err
    assert f"{path}: has no columns" in message
    assert "--phenomenon_column" in message


def test_ties_are_half():
    assert pairs_.judge(-10.0, -10.0 - 1e-6) == 0.5 == pairs_.judge(0, 0)
    assert pairs_.judge(-10.0, -10.1) == 1 and pairs_.judge(-10.1, -10) == 0
    counted = pairs_.count([1.0, 0.5, 0.5, 0.0, 0.0])
    assert (counted.pairs, counted.right, counted.ties) == (5, 1, 2)
    assert counted.percent == pytest.approx(40)


def test_the_command(model, sums, tmp_path, capsys):
    source, out = tmp_path / "p.tsv", tmp_path / "out"
    source.write_text(table(), "utf-8")
    words = [f"--model={model}", f"--input={source}", f"--output={out}"]
    assert app.run(["minimal-pairs", *words]) == 0
    shown = capsys.readouterr()
    found = json.loads((out / "accuracy.json").read_text("utf-8"))
    right = [
        0.5 if good == bad else sums[good].score > sums[bad].score
        for good, bad in zip(GOOD, BAD)
    ]
    want = [100 * sum(right[:3]) / 3, 100 * right[3]]
    pll = found["methods"]["pll"]
    by_name = {x["paradigm"]: x["accuracy"] for x in pll["paradigms"]}
    assert by_name["order"] == pytest.approx(want[0], abs=1e-3)
    assert by_name["length"] == pytest.approx(want[1])
    assert pll["accuracy"] == pytest.approx(sum(want) / 2, abs=1e-3)
    assert pll["ties"] == 1
    assert f"{sum(want) / 2:9.2f}" in shown.out
    assert found["same_tokens"] == 1 and "1 pairs are the same" in shown.err
    pairs = [
        json.loads(x) for x in (out / "pairs.jsonl").open(encoding="utf-8")
    ]
    assert [pair["good"] for pair in pairs] == GOOD
    scored = pairs[0]["scores"]["pll"]
    assert scored == pytest.approx(
        [sums[GOOD[0]].score, sums[BAD[0]].score], rel=1e-4
    )
    picture = np.asarray(Image.open(out / "accuracy.png").convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20  # bars, letters
    assert app.run(["minimal-pairs", *words]) == 2  # the output exists


@pytest.mark.slow
def test_scores_a_token(model, sums, tmp_path):
    source = tmp_path / "p.tsv"
    source.write_text(table(), "utf-8")
    found = minimal_pairs(model, str(source), normalize=True, progress=False)
    assert found.paradigms["pll"]["size", "length"].right == (
        sums[GOOD[3]].mean > sums[BAD[3]].mean
    )


@pytest.mark.parametrize(
    "method",
    [
        "pll",
        pytest.param("pll_word", marks=pytest.mark.slow),
        pytest.param("replaced", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_distinguishes_nothing_scores_half(
    tmp_path, tiny_tokens, method
):
    """Equal token scores are ties, even where the texts' lengths differ."""
    blank = models.save(tmp_path / "m", tiny_tokens, scale=0)
    source = tmp_path / "p.tsv"
    source.write_text(table(), "utf-8")
    found = minimal_pairs(
        blank, str(source), method=method, normalize=True, progress=False
    )
    assert found.accuracy == {method: 50} == found.of_phenomena
    assert found.ties == {method: 4}
    assert "50.00" in str(found)


@pytest.mark.slow
def test_all_methods_that_the_model_has(model, tmp_path, tiny_tokens):
    source = tmp_path / "p.txt"
    source.write_text("the cat\ncat the\n", "utf-8")
    found = minimal_pairs(model, str(source), method="all", progress=False)
    assert list(found.accuracy) == ["pll", "pll_word", "replaced"]
    assert found.of_phenomena == {}
    with pytest.raises(UserError, match="not pre-trained with"):
        minimal_pairs(model, str(source), method="electric")
    electric = models.electric(tmp_path / "e", tiny_tokens)
    found = minimal_pairs(electric, str(source), method="all", progress=False)
    assert list(found.accuracy) == ["pll", "electric"]


@pytest.mark.slow
def test_a_score_that_is_no_number(tmp_path, tiny_tokens):
    broken = models.save(tmp_path / "m", tiny_tokens, scale=float("nan"))
    source = tmp_path / "p.txt"
    source.write_text("the cat\ncat the\n", "utf-8")
    with pytest.raises(UserError, match=r"p\.txt:1: the model has a score"):
        minimal_pairs(broken, str(source), progress=False)
    source.write_text("the cat\n\u200b\n", "utf-8")
    with pytest.raises(UserError, match=r"p\.txt:1: the model has no tokens"):
        minimal_pairs(broken, str(source), progress=False)


def test_an_output_that_is_a_file_is_refused_at_once(tmp_path, capfd):
    (tmp_path / "file").write_text("mine")
    words = [f"--output={tmp_path}/file", "--overwrite", "--input=none.tsv"]
    assert app.run(["minimal-pairs", "--model=none", *words]) == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.endswith(f"{tmp_path}/file is a file; name a folder")


@pytest.mark.parametrize("name", ["pairs.json", "pairs"])
def test_an_array_of_json_has_columns(tmp_path, name):
    path = tmp_path / name
    rows = [{"good": g, "bad": b} for g, b in zip(GOOD, BAD)]
    for text in (json.dumps(rows), json.dumps(rows, indent=1)):
        path.write_text(text)
        assert [(p[2], p[3]) for p in plain(path)] == list(zip(GOOD, BAD))
        with pytest.raises(UserError, match="leave out --first_line"):
            plain(path, first="good")
