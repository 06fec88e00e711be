"""Tests whether a trial ends with its last, best or averaged weights."""

import keras
import numpy as np
import pytest

from electra_tf.errors import UserError
from electra_tf.finetuning import trial
from electra_tf.finetuning.settings import FinetuneTrainConfig
from electra_tf.training import checkpoints


class Nearness:
    """Scores a model by how near its weight is to a number."""

    def __init__(self, model, number):
        self.model, self.number = model, number

    def run(self, should_stop):
        weight = float(self.model.layers[0].bias.numpy()[0])
        return {"nearness": -abs(weight - self.number)}


@pytest.fixture
def trained(tmp_path):
    """Returns a run directory with checkpoints of steps 1 to 4, and the model.

    The bias of the checkpoints is 1, 2, 4 and 9.
    """
    model = keras.Sequential([keras.layers.Dense(1)])
    model.build((None, 1))
    model.compile(optimizer=keras.optimizers.SGD())
    model.optimizer.build(model.trainable_variables)
    for step, value in enumerate((1.0, 2.0, 4.0, 9.0), 1):
        model.layers[0].bias.assign([value])
        checkpoints.save(
            str(tmp_path), step, model, model.optimizer, data_position=0,
            keep=4,
        )  # fmt: skip
    return str(tmp_path), model


def take(trained, count, best=None, target=0.0, select_best=True):
    run_dir, model = trained
    evaluator = Nearness(model, target)
    paths = checkpoints.all_steps(run_dir)
    outcome = {"step": 4, "best": None, "checkpoint": paths[4]}
    if best is not None:
        checkpoints.load_weights(paths[best], model)
        value = evaluator.run(None)["nearness"]
        outcome["best"] = {
            "step": best, "value": value, "checkpoint": paths[best],
        }  # fmt: skip
        checkpoints.load_weights(paths[4], model)
    config = FinetuneTrainConfig(
        average_checkpoints=count, select_best=select_best
    )
    found = trial.choose_weights(
        run_dir, model, outcome, config, evaluator, "nearness"
    )
    return found, float(model.layers[0].bias.numpy()[0])


def test_the_last_and_the_best(trained):
    assert take(trained, 1) == ((4, []), 9.0)
    assert take(trained, 1, best=2) == ((2, []), 2.0)
    assert take(trained, 1, best=2, select_best=False) == ((4, []), 9.0)


def test_the_mean_of_checkpoints_where_it_is_better(trained):
    assert take(trained, 3, best=3, target=5.0) == ((4, [2, 3, 4]), 5.0)
    assert take(trained, 3, best=2, target=2.0) == ((2, []), 2.0)
    assert take(trained, 2) == ((4, [3, 4]), 6.5)
    assert take(trained, 9, best=1, select_best=False) == (
        (4, [1, 2, 3, 4]), 4.0
    )  # fmt: skip


def test_a_damaged_checkpoint_is_reported(trained):
    run_dir, model = trained
    path = checkpoints.all_steps(run_dir)[3]
    with open(f"{path}/model.safetensors", "ab") as file:
        file.write(b"x")
    before = np.array(model.layers[0].bias.numpy())
    with pytest.raises(UserError, match=r"model\.safetensors"):
        take(trained, 3)
    np.testing.assert_array_equal(model.layers[0].bias.numpy(), before)
