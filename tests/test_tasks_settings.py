"""Tests how the settings of fine-tuning are resolved."""

import dataclasses
import math
import re

import pytest
import word_task
from finetune_command import TASK

from electra_tf import config
from electra_tf.errors import UserError
from electra_tf.finetuning import settings
from electra_tf.finetuning.settings import FinetuneTrainConfig, fit
from electra_tf.models.config import ModelConfig


@pytest.mark.parametrize(
    ("width", "rate", "decay"),
    [(128, 3e-4, 0.8), (256, 3e-4, 0.8), (768, 1e-4, 0.8), (1024, 5e-5, 0.9)],
)
def test_learning_rates_follow_the_paper(width, rate, decay):
    found, layers = fit(FinetuneTrainConfig(), width, 320, 3.0)
    assert found.learning_rate == rate
    assert layers == found.layerwise_lr_decay == decay
    assert found.batch_size == 32
    assert found.num_train_steps == 30
    assert found.num_warmup_steps == 3
    assert found.weight_decay_rate == 0.0
    assert found.max_grad_norm == 1.0
    assert not found.bias_correction
    assert (found.beta_1, found.beta_2, found.epsilon) == (0.9, 0.999, 1e-6)


def test_given_values_override_the_papers():
    given = FinetuneTrainConfig(
        learning_rate=1e-5,
        layerwise_lr_decay=1.0,
        num_train_epochs=2.5,
        batch_size=10,
        warmup_proportion=0.5,
        checkpoint_every_steps=7,
        log_every_steps=3,
    )
    found, decay = fit(given, 256, 100, 10.0)
    assert (found.learning_rate, decay) == (1e-5, 1.0)
    assert (found.num_train_steps, found.num_warmup_steps) == (25, 12)
    assert found.checkpoint_every_steps == 7
    assert found.log_every_steps == 3
    given = dataclasses.replace(given, num_train_epochs=None)
    assert fit(given, 256, 100, 10.0)[0].num_train_steps == 100
    given = dataclasses.replace(given, num_train_steps=17)
    assert fit(given, 256, 100, 10.0)[0].num_train_steps == 17


@pytest.mark.parametrize(
    ("units", "epochs", "every", "evaluations"),
    [(1000, 3.0, 1.0, 3), (1000, 3.0, 0.5, 6), (9, 3.0, 1.0, 1),
     (1000, 3.0, 9.0, 3), (67349, 3.0, 1.0, 3), (1000, 0.5, 1.0, 3),
     (1000, 1.0, 1.0, 3), (1000, 2.0, 1.0, 4), (1000, 10.0, 1.0, 10)],
)  # fmt: skip
def test_evaluations_are_evenly_apart(units, epochs, every, evaluations):
    found, _ = fit(FinetuneTrainConfig(eval_every=every), 256, units, epochs)
    steps = found.num_train_steps
    assert math.ceil(steps / found.eval_every_steps) == evaluations
    alone = FinetuneTrainConfig(eval_every=every, min_evaluations=1)
    often, _ = fit(alone, 256, units, epochs)
    assert often.eval_every_steps >= found.eval_every_steps


def test_evaluations_in_steps_or_at_the_end():
    assert fit(
        FinetuneTrainConfig(eval_every_steps=7), 256, 999, 3.0
    )[0].eval_every_steps == 7  # fmt: skip
    assert fit(
        FinetuneTrainConfig(eval_every=0), 256, 999, 3.0
    )[0].eval_every_steps == 0  # fmt: skip


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"warmup_proportion": 1.5}, "warmup_proportion"),
        ({"num_trials": 0}, "num_trials"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"seed": 2**32 - 2, "num_trials": 3}, "at most 4294967293"),
        ({"early_stopping_patience": 0}, "early_stopping_patience"),
        ({"num_train_steps": 5, "num_train_epochs": 1.0}, "num_train_steps"),
        ({"layerwise_lr_decay": -1.0}, "layerwise_lr_decay"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(UserError, match=message):
        FinetuneTrainConfig(**values)


def test_a_file_has_the_keys_of_its_task(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "task: x\noptions:\n  max_seq_length: 9\ntrain:\n  batch_size: 4\n"
        "model:\n  size: tiny\n  hidden_dropout: 0.2\n"
    )
    cls = settings.settings_class(TASK)
    found = config.resolve(cls, str(path), ["options.hidden_layer=true"])
    assert isinstance(found, settings.FinetuneSettings)
    assert dataclasses.asdict(found.options) == {
        "max_seq_length": 9, "hidden_layer": True, "extra_metric": False,
        "refused": "",
    }  # fmt: skip
    assert found.train.batch_size == 4
    assert found.model.size == "tiny"
    assert found.model.hidden_dropout == 0.2
    assert found.model.num_layers is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("options:\n  max_seq_lenght: 9\n",
         ":2: unknown key 'options.max_seq_lenght'; did you mean "
         "'options.max_seq_length'"),
        ("train:\n  batch: 9\n", ":2: unknown key 'train.batch'"),
        ("model:\n  size: giant\n", ":2: model.size: expected one of 'tiny'"),
        ("optoins: {}\n", ":1: unknown key 'optoins'; did you mean 'options'"),
        ("train:\n  batch_size: 0\n",
         ":2: train.batch_size: expected at least 1, got 0"),
    ],
)  # fmt: skip
def test_misspelt_keys_are_reported_with_their_line(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        config.resolve(settings.settings_class(TASK), str(path))
    assert str(error.value).startswith(f"{path}:")
    assert message in str(error.value)


@pytest.mark.parametrize("value", ["5", "no", "[a]", "2026-01-01"])
def test_a_task_that_is_no_name_is_reported(tmp_path, value):
    path = tmp_path / "a.yaml"
    path.write_text(f"task: {value}\n")
    with pytest.raises(UserError, match=f"{path}: task: .* the name of a task"):
        settings.load(str(path))
    with pytest.raises(UserError, match=r"^task: 5; expected the name"):
        settings.load({"task": 5})


def test_the_model_section_has_all_keys_of_a_model():
    names = {f.name for f in dataclasses.fields(settings.ModelSettings)}
    assert names == {"size", *(f.name for f in dataclasses.fields(ModelConfig))}
    assert not any(dataclasses.asdict(settings.ModelSettings()).values())


@dataclasses.dataclass(frozen=True)
class Inner:
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 2.0)


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = dataclasses.field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    free: dict | None = None


def test_options_come_back_from_json():
    import json

    value = Outer(
        Inner(("a", "b"), (3, 4.5)),
        (Inner(("c",)), Inner()),
        {"x": Inner(("d",))},
        ("l", "m"),
        {"free": [1, 2]},
    )
    plain = json.loads(json.dumps(dataclasses.asdict(value)))
    assert config.from_dict(Outer, plain) == value
    assert config.from_dict(Outer, {}) == Outer()
    with pytest.raises(UserError, match="other"):
        config.from_dict(Outer, {"other": 1})
    options = word_task.WordOptions(max_seq_length=3)
    assert config.from_dict(
        word_task.WordOptions, dataclasses.asdict(options)
    ) == options  # fmt: skip


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("classification/rte", "glue/rte"), ("classification/mine",
        "classification"), ("regression/", "regression"),
        ("extractive_summarization/cnn", "extractive_summarization"),
        ("multitask/x", "multitask"),
    ],
)  # fmt: skip
def test_a_member_of_a_family_without_members(name, meant):
    message = f"task '{name}' is not known; did you mean '{meant}'"
    with pytest.raises(UserError, match=re.escape(message)):
        settings.load(task=name)
