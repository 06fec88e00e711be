"""Tests of the search for settings: choices, results, resuming."""

import json
import math
import sys
import types
from unittest import mock

import pytest

from electra_tf.errors import UserError
from electra_tf.recipes import finetune as recipe
from electra_tf.recipes import tune as recipe_of_tune
from electra_tf.recipes.tune import check_settings, tune

TASK = {"task": "classification", "progress": False}


class FakeRuns:
    """Replaces fine-tuning: learning rate 1e-4 with batch size 32 is best."""

    def __init__(self):
        self.given, self.stop_at, self.diverge = [], None, False

    def __call__(self, output, *, train, **others):
        self.given.append((output, dict(train)))
        rate, size = train["learning_rate"], train["batch_size"]
        if self.stop_at == len(self.given):
            return self.result(output, None)
        if self.diverge:
            raise UserError("the loss is not finite")
        score = 90 - 5 * abs(math.log10(rate / 1e-4)) + (size == 32)
        return self.result(output, score)

    def result(self, output, score):
        report = {
            "selected_on": "validation",
            "metric": "accuracy",
            "task": "classification",
            "settings": {"train": {}},
            "summary": {"validation": {"accuracy": {"median": score}}},
        }
        return recipe.FineTuned(output, "", score is not None, {}, report)


@pytest.fixture
def runs(monkeypatch, tmp_path):
    pytest.importorskip("optuna")
    found = FakeRuns()
    monkeypatch.setattr(recipe, "finetune", found)
    return found


def test_it_finds_the_best_and_reports(runs, tmp_path):
    output = str(tmp_path / "search")
    found = tune(output, num_runs=12, **TASK)
    assert len(runs.given) == 12 and found.finished
    rates = [train["learning_rate"] for _, train in runs.given]
    assert 1e-5 <= min(rates) < max(rates) <= 5e-4
    assert {t["batch_size"] for _, t in runs.given} == {16, 32}
    assert {t["num_train_epochs"] for _, t in runs.given} <= {2, 3, 5}
    assert found.score == max(run["score"] for run in found.runs) > 88
    assert found.metric == "validation accuracy"
    content = json.loads((tmp_path / "search" / "tune.json").read_text())
    assert content["best"] == found.best
    assert f"{found.score:.2f}" in (tmp_path / "search/tune.md").read_text()
    plot = (tmp_path / "search/plots/search.png").read_bytes()
    assert plot.startswith(b"\x89PNG")
    assert f"train.learning_rate={found.best['learning_rate']}" in str(found)
    again = tune(output, num_runs=12, **TASK)
    assert len(runs.given) == 12 and again == found


def test_it_resumes_with_the_same_choices(runs, tmp_path):
    whole = tune(str(tmp_path / "a"), num_runs=6, **TASK)
    first = [train for _, train in runs.given]
    runs.given.clear()
    runs.stop_at = 3
    stopped = tune(str(tmp_path / "b"), num_runs=6, **TASK)
    assert not stopped.finished and str(stopped) == ""
    runs.stop_at = None
    resumed = tune(str(tmp_path / "b"), num_runs=6, **TASK)
    given = [train for _, train in runs.given]
    assert given == [*first[:3], *first[2:]]
    assert runs.given[2][0] == runs.given[3][0]  # in the same directory
    assert resumed.best == whole.best and resumed.score == whole.score
    more = tune(str(tmp_path / "b"), num_runs=8, **TASK)
    assert len(more.runs) == 8


def test_models_of_other_runs_are_removed(runs, tmp_path):
    def kept():
        return [p.parent.parent.name for p in tmp_path.glob("s/run_*/*/model")]

    made = runs.result

    def with_model(output, score):
        import pathlib

        folder = pathlib.Path(output) / "trial_1" / "model"
        folder.mkdir(parents=True)
        return made(output, score)

    runs.result = with_model
    found = tune(str(tmp_path / "s"), num_runs=5, **TASK)
    assert [f"{tmp_path}/s/{name}/model" for name in kept()] == [found.model]


def test_impossible_arguments_are_refused(runs, tmp_path):
    output = str(tmp_path / "search")
    for flags, message in [
        ({"learning_rates": "1e-4"}, "expected 2 numbers"),
        ({"learning_rates": "1e-3,1e-5"}, "lowest comes first"),
        ({"batch_sizes": "a,b"}, "--batch_sizes=a,b"),
        ({"epochs": "0"}, "--epochs=0"),
        ({"num_runs": 0}, "num_runs"),
        ({"search_seed": -1}, "--search_seed=-1: expected at least 0"),
    ]:
        with pytest.raises(UserError, match=message):
            tune(output, **TASK, **flags)
    assert not (tmp_path / "search").exists()
    runs.diverge = True
    with pytest.raises(UserError, match="no run ended with a score"):
        tune(output, num_runs=2, **TASK)
    with pytest.raises(UserError, match="holds a search with another space"):
        tune(output, num_runs=2, epochs="7", **TASK)


def test_optuna_is_an_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"electra-tf\[tune\]"):
        tune(str(tmp_path / "s"), **TASK)
    assert not (tmp_path / "s").exists()


def test_a_number_of_steps_is_refused(tmp_path):
    """num_train_steps is refused, because the search chooses epochs."""
    with pytest.raises(UserError, match=r"num_train_steps: is 4, and tune"):
        check_settings(overrides=["train.num_train_steps=4"], **TASK)


def test_numbers_that_no_search_has(tmp_path):
    for flags in (
        {"learning_rates": "1e-5,inf"}, {"learning_rates": "nan,nan"},
        {"epochs": "inf"},
    ):  # fmt: skip
        with pytest.raises(UserError, match="numbers above 0"):
            tune(str(tmp_path / "s"), **TASK, **flags)


def test_an_output_that_is_a_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", mock.MagicMock())
    (tmp_path / "s").write_text("mine")
    with pytest.raises(UserError, match=f"{tmp_path}/s: File exists"):
        tune(str(tmp_path / "s"), **TASK)


def test_a_damaged_study_is_named(tmp_path, monkeypatch):
    optuna = mock.MagicMock()
    optuna.create_study.side_effect = RuntimeError("no database\n(details)")
    monkeypatch.setitem(sys.modules, "optuna", optuna)
    message = r"cannot open .*study\.db: no database; remove it if it is damag"
    with pytest.raises(UserError, match=message):
        tune(str(tmp_path), **TASK)


def test_of_equal_runs_the_named_ones_model_is_kept(tmp_path):
    values = (1.0, 2.0, 2.0, None)
    trials = [
        types.SimpleNamespace(number=i, value=v) for i, v in enumerate(values)
    ]
    study = types.SimpleNamespace(
        get_trials=lambda deepcopy: trials, best_trial=trials[2]
    )
    for trial in trials:
        (tmp_path / f"run_{trial.number + 1}" / "model").mkdir(parents=True)
    recipe_of_tune._remove_models(study, str(tmp_path))
    left = [path.parent.name for path in sorted(tmp_path.glob("*/model"))]
    assert left == ["run_2", "run_4"]  # the first of the best; not scored


def test_a_start_that_failed_refuses_no_other_one(runs, tmp_path, monkeypatch):
    """The settings of a search are kept only once a run of it has begun."""
    output = str(tmp_path / "search")

    def fails(output, **others):
        raise UserError("--data: no such file")

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "finetune", fails)
        with pytest.raises(UserError, match="no such file"):
            tune(output, num_runs=2, data="wrong", batch_sizes="8", **TASK)
    found = tune(output, num_runs=2, data="right", **TASK)
    assert [run["run"] for run in found.runs] == [1, 2]
    assert {train["batch_size"] for _, train in runs.given} <= {16, 32}
    with pytest.raises(UserError, match="another data"):
        tune(output, num_runs=2, data="wrong", **TASK)


def test_files_without_validation_data_are_refused_before_a_run(runs, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.tsv").write_text("text\tlabel\na\tx\nb\ty\n")
    search = {
        "data": str(data), "options": {"validation_fraction": 0}, **TASK
    }  # fmt: skip
    with pytest.raises(UserError, match="no validation data to score runs by"):
        tune(str(tmp_path / "search"), num_runs=1, **search)
    assert not runs.given and not (tmp_path / "search").exists()
    tune(str(tmp_path / "folds"), num_runs=1, folds=2, **search)
    (data / "dev.tsv").write_text("text\tlabel\nc\tx\n")
    tune(str(tmp_path / "search"), num_runs=1, **search)
    assert len(runs.given) == 2
