"""Tests the objective that docs/objectives.md shows."""

import re

import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

from electra_tf import config
from electra_tf.errors import UserError
from electra_tf.models import kernels
from electra_tf.pretraining.objectives import base
from electra_tf.pretraining.settings import ObjectiveConfig

PAGE = tiny.ROOT / "docs" / "objectives.md"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The path of a file with the code of the page."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 42
    path = tmp_path_factory.mktemp("own") / "focal.py"
    path.write_text(code)
    return path


@pytest.fixture(scope="module")
def batch():
    return next(iter(tiny.dataset(1)))


def _step(objective, batch, parts=1, traced=False):
    model = tiny.model(objective=objective, dropout=0.0)
    model.gradient_accumulation = parts
    step = tf.function(model.train_step) if traced else model.train_step
    with kernels.use("plain"):
        found = step(batch)
    return model, {name: float(value) for name, value in found.items()}


def test_a_training_step_by_settings(file, batch, tmp_path):
    settings = tmp_path / "objective.yaml"
    settings.write_text(f"kind: {file}:FocalElectra\ndisc_weight: 20\n")
    objective = config.resolve(ObjectiveConfig, str(settings))
    model, found = _step(objective, batch)
    assert type(model.objective).__name__ == "FocalElectra"
    assert model.objective.config.disc_weight == 20.0
    _, plain = _step(ObjectiveConfig(disc_weight=20.0), batch)
    assert 0 < found["disc_loss"] < plain["disc_loss"]
    assert found["mlm_loss"] == pytest.approx(plain["mlm_loss"], rel=1e-6)
    assert set(found) - set(plain) == {"disc_sure"}
    _, parts = _step(objective, batch, parts=2, traced=True)
    assert parts == pytest.approx(found, rel=1e-5)


def test_an_object_is_taken_too(file, batch):
    """An objective object is accepted; with gamma 0 it equals ELECTRA."""
    own = base.objective_class(f"{file}:FocalElectra")
    objective = own(ObjectiveConfig())
    objective.gamma = 0.0
    model, found = _step(objective, batch)
    assert model.objective is objective
    _, plain = _step(ObjectiveConfig(), batch)
    del found["disc_sure"]
    assert found == plain


def test_it_is_saved_by_its_settings(file):
    settings = ObjectiveConfig(kind=f"{file}:FocalElectra", disc_weight=7.0)
    model = tiny.model(objective=settings)
    again = type(model).from_config(model.get_config()).objective
    assert type(again).__name__ == "FocalElectra"
    assert again.config == settings
    # Settings that name another class would make another model.
    unnamed = base.objective_class(settings.kind)(ObjectiveConfig())
    with pytest.raises(ValueError, match="name its class there"):
        tiny.model(objective=unnamed).get_config()


def test_its_loss_is_what_the_page_says(file, batch):
    objective = base.make(ObjectiveConfig(kind=f"{file}:FocalElectra"))
    judged = tiny.model(objective=objective, dropout=0.0)(batch).judged
    right = tf.sigmoid(
        tf.where(judged.labels > 0, judged.logits, -judged.logits)
    ).numpy()
    np.testing.assert_allclose(
        judged.loss, -((1 - right) ** 2) * np.log(right), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("elektra", "did you mean 'electra'"),
        ("nowhere.py:Mine", "no such file as nowhere.py"),
        ("{file}:Focus", "has no class Focus that is an .*base.Objective"),
        ("{broken}:Mine", "cannot be imported: .*NameError"),
    ],
)
def test_what_is_no_objective(kind, message, file, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("class Mine(Nothing): ...\n")
    kind = kind.format(file=file, broken=broken)
    with pytest.raises(UserError, match=message):
        tiny.model(objective=ObjectiveConfig(kind=kind))
    with pytest.raises(UserError, match=message):
        base.objective_class(kind)
