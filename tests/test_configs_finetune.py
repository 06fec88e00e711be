"""Tests the settings files of fine-tuning."""

import pathlib

import pytest

from electra_tf.finetuning import settings as finetune_settings
from electra_tf.tasks.glue.sets import SETS
from electra_tf.tasks.glue.task import Glue
from electra_tf.tasks.registry import task_class

FOLDER = pathlib.Path(__file__).parent.parent / "configs" / "finetune"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_loads_and_opens_with_its_command(path):
    settings = finetune_settings.load(str(path))
    assert issubclass(task_class(settings.task), object)
    text = path.read_text(encoding="utf-8")
    command = f"# electra-tf finetune --config=configs/finetune/{path.name} "
    assert text.startswith(command)


def test_every_set_of_glue_has_one():
    for name, glue_set in SETS.items():
        if name == "ax":  # predicted by a model of MNLI
            continue
        path = str(FOLDER / f"{name}.yaml")
        settings = finetune_settings.load(path)
        task = Glue(settings.task, settings.options)
        assert task.set == glue_set
        assert settings.train.num_train_epochs == task.default_epochs
        assert task.both_orders == glue_set.turn_pairs
