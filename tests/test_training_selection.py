"""Tests the best checkpoint, early stopping, and both after a resume."""

import json
import os
import signal

import pytest
import training_toy as toy

from electra_tf.errors import UserError
from electra_tf.training import checkpoints, loop, reporting
from electra_tf.training.stopping import Selection, Tracker
from electra_tf.training.strategy import make_strategy

# Step -> score: it improves at 4, 8 and 16, and never later.
SCORES = {4: 10.0, 8: 30.0, 12: 30.0, 16: 40.0, 20: 39.0, 24: 1.0, 28: 40.0}


class Crash(BaseException):
    """Stands for an error that no code expects."""


class Scripted:
    """An evaluator that knows the scores; `act(step)` may interrupt it."""

    def __init__(self, model, act=None, scores=SCORES):
        self.model, self.act, self.scores = model, act, scores
        self.steps = []

    def run(self, should_stop):
        step = int(self.model.optimizer.iterations.numpy())
        if self.act:
            self.act(step)
        if should_stop():
            return None
        self.steps.append(step)
        return {"f1": self.scores[step], "loss": 1.0}


def train(run, act=None, patience=None, keep=1, on_step=None, **settings):
    model = toy.make_model()
    evaluator = Scripted(model, act, settings.pop("scores", SCORES))

    class Watched(reporting.Reporter):
        def progress(self, step):
            super().progress(step)
            if on_step:
                on_step(step)

    base = dict(
        num_train_steps=28, eval_every_steps=4, checkpoint_every_steps=3,
        keep_checkpoints=keep, log_every_steps=4,
    )  # fmt: skip
    config = toy.config(**(base | settings))
    result = loop.train(
        model,
        toy.train_data(),
        config=config,
        run_dir=str(run),
        strategy=make_strategy("one_device"),
        evaluator=evaluator,
        selection=Selection("f1", patience),
        reporter=Watched(
            str(run),
            num_train_steps=config.num_train_steps,
            batch_size=8,
            tensorboard=False,
        ),
    )
    return model, result, evaluator


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    run = tmp_path_factory.mktemp("straight")
    return run, *train(run)


def state(path):
    with open(os.path.join(path, "state.json"), encoding="utf-8") as file:
        return json.load(file)


def test_the_best_is_kept_and_comes_back(straight):
    run, model, result, evaluator = straight
    assert evaluator.steps == list(SCORES)
    best = os.path.join(str(run), "checkpoints", "step-00000016")
    assert result["best"] == {"step": 16, "value": 40.0, "checkpoint": best}
    assert not result["stopped_early"] and result["step"] == 28
    assert list(checkpoints.all_steps(str(run))) == [16, 28]
    assert state(result["checkpoint"])["selection"] == {
        "metric": "f1",
        "best": {"step": 16, "value": 40.0},
        "without_gain": 3,
    }
    before = [w.copy() for w in model.get_weights()]
    loaded = checkpoints.load_weights(best, model)
    assert loaded.step == 16
    assert any((a != b).any() for a, b in zip(before, model.get_weights()))
    other = toy.make_model(seed=2)
    checkpoints.load_weights(best, other)
    for a, b in zip(model.get_weights(), other.get_weights()):
        assert (a == b).all()
    checkpoints.load_weights(result["checkpoint"], model)
    for a, b in zip(before, model.get_weights()):
        assert (a == b).all()


def test_a_checkpoint_is_written_at_every_improvement(tmp_path):
    train(tmp_path, keep=100, checkpoint_every_steps=0)
    assert list(checkpoints.all_steps(str(tmp_path))) == [4, 8, 16, 28]


def test_it_stops_early_and_does_not_resume(tmp_path, capsys):
    _, result, evaluator = train(tmp_path, patience=2)
    assert evaluator.steps == [4, 8, 12, 16, 20, 24]
    assert result["step"] == 24 and result["stopped_early"]
    assert not result["stopped"]
    assert result["best"]["step"] == 16
    shown = "stopped early at step 24: 2 evaluations without a higher f1 than"
    assert f"{shown} 40, of step 16" in capsys.readouterr().err
    _, again, evaluator = train(tmp_path, patience=2)
    assert evaluator.steps == [] and again["resumed_from"] == 24
    for name in ("step", "stopped_early", "best", "checkpoint"):
        assert again[name] == result[name]
    _, result, _ = train(tmp_path / "one", patience=1)
    assert result["step"] == 12 and result["best"]["step"] == 8


def assert_as_straight(run, model, result, straight):
    straight_run, straight_model, expected, _ = straight
    toy.assert_same(toy.variables(model), toy.variables(straight_model))
    assert result["best"]["value"] == expected["best"]["value"]
    assert result["best"]["step"] == expected["best"]["step"]
    left, right = (
        state(checkpoints.latest(str(r)))["selection"]
        for r in (run, straight_run)
    )
    assert left == right
    best = os.path.join("checkpoints", "step-00000016", "model.safetensors")
    assert (run / best).read_bytes() == (straight_run / best).read_bytes()
    left, right = (
        [
            (r["step"], r["f1"])
            for r in reporting.read_records(str(r_ / "metrics.jsonl"))
            if r["split"] == "validation"
        ]
        for r_ in (run, straight_run)
    )
    assert left == right


@pytest.mark.parametrize("at", [5, 8, 16, 17])
def test_stopped_between_steps(tmp_path, straight, at):
    def stop(step):
        if step == at:
            signal.raise_signal(signal.SIGTERM)

    _, first, _ = train(tmp_path, on_step=stop)
    assert first["stopped"] and first["step"] == at
    model, result, _ = train(tmp_path)
    assert_as_straight(tmp_path, model, result, straight)


@pytest.mark.parametrize("at", [8, 16, 28])
def test_stopped_within_an_evaluation(tmp_path, straight, at):
    def stop(step):
        if step == at:
            signal.raise_signal(signal.SIGTERM)

    _, first, evaluator = train(tmp_path, act=stop)
    assert first["stopped"] and first["step"] == at
    assert at not in evaluator.steps
    model, result, evaluator = train(tmp_path)
    assert evaluator.steps[0] == at
    assert_as_straight(tmp_path, model, result, straight)
    # Now no evaluation is missing.
    _, _, evaluator = train(tmp_path)
    assert evaluator.steps == []


@pytest.mark.parametrize("where", ["evaluating", "writing", "pruning"])
def test_killed_again_and_again(tmp_path, straight, monkeypatch, where):
    """Each start gets through three more of these events than the last."""
    left = 0

    def count(*_):
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    act = None
    if where == "evaluating":
        act = count
    else:
        name = {"writing": "save", "pruning": "_prune"}[where]
        owner = checkpoints.tensors if where == "writing" else checkpoints
        real = getattr(owner, name)

        def counted(*args, **kwargs):
            real(*args, **kwargs)
            count()

        monkeypatch.setattr(owner, name, counted)
    for start in range(20):
        left = 1 + 3 * start
        try:
            model, result, _ = train(tmp_path, act=act)
            break
        except Crash:
            pass
    assert start > 0
    assert_as_straight(tmp_path, model, result, straight)


def test_a_lost_newest_checkpoint_is_made_again(tmp_path, straight):
    train(tmp_path, keep=100)
    for step, path in checkpoints.all_steps(str(tmp_path)).items():
        if step > 15:
            os.remove(os.path.join(path, "model.safetensors"))
    model, result, evaluator = train(tmp_path)
    assert result["resumed_from"] == 15 and evaluator.steps[0] == 16
    assert_as_straight(tmp_path, model, result, straight)


def test_another_metric_starts_again():
    tracker = Tracker(Selection("a"), None)
    assert tracker.update(1, {"a": 1.0})
    saved = json.loads(json.dumps(tracker.state()["selection"]))
    assert Tracker(Selection("a"), saved).best == {"step": 1, "value": 1.0}
    assert Tracker(Selection("b"), saved).best is None
    assert Tracker(None, saved).best is None
    assert Tracker(None, None).state() == {}


def test_nan_is_no_improvement():
    tracker = Tracker(Selection("a", 2), None)
    nan = float("nan")
    assert tracker.update(1, {"a": nan}) and not tracker.update(2, {"a": nan})
    assert json.loads(json.dumps(tracker.state()))["selection"]["best"] == {
        "step": 1,
        "value": None,
    }
    assert tracker.update(3, {"a": -5.0}) and not tracker.exhausted
    assert not tracker.update(4, {"a": nan})
    assert not tracker.update(5, {"a": -5.0})
    assert tracker.exhausted and tracker.best == {"step": 3, "value": -5.0}


def test_bad_arguments(tmp_path):
    with pytest.raises(UserError, match="patience: expected at least 1"):
        Selection("f1", 0)
    scores = {4: 1.0}
    with pytest.raises(UserError, match=r"cannot select by 'em': .* f1"):
        tracker = Tracker(Selection("em"), None)
        tracker.update(4, {"f1": scores[4], "loss": 1.0})
    model = toy.make_model()
    given = dict(
        config=toy.config(),
        run_dir=str(tmp_path),
        strategy=make_strategy("one_device"),
    )
    with pytest.raises(ValueError, match="selection needs"):
        loop.train(model, toy.train_data(), selection=Selection("f1"), **given)
    with pytest.raises(ValueError, match="not both"):
        loop.train(
            model,
            toy.train_data(),
            eval_data=toy.eval_data(),
            evaluator=Scripted(model),
            **given,
        )
    with pytest.raises(UserError, match=r"step-00000009.*no such file"):
        checkpoints.load_weights(str(tmp_path / "step-00000009"), model)


def test_held_out_data_can_select(tmp_path):
    model = toy.make_model()
    result = loop.train(
        model,
        toy.train_data(),
        config=toy.config(num_train_steps=10, eval_every_steps=5),
        run_dir=str(tmp_path),
        strategy=make_strategy("one_device"),
        eval_data=toy.eval_data(),
        selection=Selection("accuracy"),
    )
    assert result["best"]["step"] in (5, 10)
