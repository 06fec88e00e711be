"""Tests that shipped models are found by name; their weights are float16."""

import generation_models as models
import numpy as np
import pytest
from studies.mini.ship import ship

import electra_tf
from electra_tf import tensors
from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.generation.scoring import Scorer
from electra_tf.hub import directory, loading
from electra_tf.prediction import predictor
from electra_tf.recipes.fill import fill

NAME = "electra-tf-mini"


@pytest.fixture
def shipped(monkeypatch, tmp_path, tiny_tokens):
    """Ships a tiny model in place of the package's; gives the original run."""
    run = models.save(tmp_path / "run", tiny_tokens)
    folder = tmp_path / "shipped_models"
    monkeypatch.setattr(loading, "_SHIPPED_FOLDER", str(folder))
    ship(run, str(folder / NAME))
    return run


def test_found_by_name(shipped, tmp_path, capsys):
    half = tensors.TensorFile(
        str(tmp_path / "shipped_models" / NAME / directory.WEIGHTS)
    )
    assert {half[name].dtype for name in half} == {np.dtype("float16")}
    encoder = electra_tf.Encoder.from_pretrained(NAME)
    original = electra_tf.Encoder.from_pretrained(shipped)
    for mine, its in zip(encoder.weights, original.weights, strict=True):
        assert mine.dtype == "float32"
        np.testing.assert_array_equal(
            mine.numpy(), its.numpy().astype("float16")
        )
    (filled,) = fill(NAME, text=["the [MASK] sat"]).rows
    assert filled["filled"] and not filled["error"]
    text = tmp_path / "text.txt"
    text.write_text("the cat\n", "utf-8")
    words = [f"--model={NAME}", f"--input={text}", "--method=replaced"]
    assert app.run(["score", *words]) == 0
    assert "the cat" in capsys.readouterr().out


def test_it_is_found_where_a_task_is_asked_for(shipped):
    for call in (predictor.load_task, predictor.fine_tuning_of):
        with pytest.raises(UserError, match="fine-tuned"):
            call(NAME)


@pytest.mark.slow
def test_scores_as_the_run_does(shipped):
    for method in ("pll", "pll_word", "replaced"):
        ours, its = (
            Scorer.from_pretrained(path, method).score(["the cat sat"])[0]
            for path in (NAME, shipped)
        )
        assert ours.score == pytest.approx(its.score, rel=5e-3)


def test_a_path_of_that_name_comes_first(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    assert loading.locate(NAME) == NAME
    assert loading.locate("runs/mine") == "runs/mine"


def test_without_the_weights(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "_SHIPPED_FOLDER", str(tmp_path / "none"))
    with pytest.raises(UserError, match="lacks its weights") as error:
        electra_tf.Generator.from_pretrained(NAME)
    assert str(tmp_path / "none" / NAME) in str(error.value)
    with pytest.raises(UserError, match=f"models that ship: {NAME}"):
        loading.open_checkpoint("electra-tf-min")


def test_too_large_for_half_the_bytes(tmp_path, tiny_tokens):
    run = models.save(tmp_path / "run", tiny_tokens, scale=1e7)
    with pytest.raises(UserError, match="too large for float16"):
        ship(run, str(tmp_path / "to"))
