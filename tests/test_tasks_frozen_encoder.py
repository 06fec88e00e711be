"""Tests train.freeze_encoder: the head learns, the encoder does not change."""

import numpy as np
import pytest
import word_task
from finetune_command import SHAPE, TASK, TRAIN

from electra_tf import tensors
from electra_tf.finetuning import settings, start, trials
from electra_tf.training import strategy


def run(data, output, begin, **train):
    chosen = settings.settings_class(TASK)(
        task=TASK,
        train=settings.FinetuneTrainConfig(**(TRAIN | train)),
        model=settings.ModelSettings(**SHAPE),
    )
    trials.run_trials(chosen, begin, data, output, strategy.make_strategy())
    return tensors.load(f"{output}/model/model.safetensors")


@pytest.fixture
def data(tmp_path):
    return word_task.write_data(tmp_path / "data")


@pytest.mark.slow  # three trainings
def test_the_head_alone_learns(data, tmp_path, tiny_vocab_file):
    random = start.from_random(settings.ModelSettings(**SHAPE), tiny_vocab_file)
    before = run(data, str(tmp_path / "a"), random, num_train_epochs=0.1)
    begin = start.from_checkpoint(
        str(tmp_path / "a"), settings.ModelSettings(**SHAPE)
    )
    frozen, free = (
        run(
            data, str(tmp_path / f"{frozen}"), begin, num_train_epochs=1,
            freeze_encoder=frozen,
        )
        for frozen in (True, False)
    )  # fmt: skip
    assert before.keys() == frozen.keys() == free.keys()
    for name in before:
        same = np.array_equal(before[name], frozen[name])
        assert same == ("task" not in name), name
    moved = [n for n in before if not np.array_equal(before[n], free[n])]
    assert len(moved) > len(before) - 3
