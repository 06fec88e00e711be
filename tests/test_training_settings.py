"""Tests the settings of a run: saved, compared, read under older names."""

import dataclasses
import json
import re
from typing import Annotated

import pytest

from electra_tf import config
from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError
from electra_tf.keras_api import start
from electra_tf.keras_api.settings import PretrainSettings, recorded
from electra_tf.training import precision
from electra_tf.training.settings import MAX_SEED, check_run


@dataclasses.dataclass(frozen=True)
class Options(Settings):
    share: Annotated[float, Setting("…", formerly=("fraction",))] = 0.1
    later: Annotated[int | None, Setting("Came with a later version.")] = None


@dataclasses.dataclass(frozen=True)
class RunSettings(Settings):
    options: Options = dataclasses.field(default_factory=Options)
    train: Annotated[int, Setting("…")] = 3


def _kept(folder, content):
    (folder / "config.json").write_text(json.dumps(content))


def test_an_older_run_is_read(tmp_path):
    _kept(tmp_path, {"options": {"fraction": 0.2}, "train": 3, "data": "x"})
    now = config.to_dict(RunSettings(Options(share=0.2))) | {"data": "x"}
    check_run(str(tmp_path), now, cls=RunSettings)
    # Real differences are reported, under their current names.
    now["options"]["share"] = 0.3
    now["options"]["later"] = 5
    with pytest.raises(UserError) as error:
        check_run(str(tmp_path), now, cls=RunSettings)
    message = str(error.value)
    assert "options.share: 0.2 there, 0.3 now" in message
    assert "options.later: null there, 5 now" in message
    assert "fraction" not in message


def test_a_pretraining_run_from_before_some_settings(tmp_path, monkeypatch):
    settings = PretrainSettings.of_size("tiny")
    assert settings.train.precision == "auto"
    train = dataclasses.replace(settings.train, precision="float32")
    settings = dataclasses.replace(settings, train=train)
    now = config.to_dict(settings)
    old = json.loads(json.dumps(now))
    for section, key in (
        ("train", "precision"), ("train", "gradient_accumulation"),
        ("train", "attention"), ("data", "pack_examples"),
        ("generator", "frozen"),
    ):  # fmt: skip
        del old[section][key]
    _kept(tmp_path, old)
    # As the recipe selects it for "auto"; a new run would have another.
    monkeypatch.setenv(precision.VARIABLE, "bfloat16_products")
    assert precision.resolved("auto", str(tmp_path)) == "float32"
    check_run(str(tmp_path), now, cls=PretrainSettings)
    assert recorded(old, "x") == settings


def test_a_run_with_settings_that_had_no_effect(tmp_path):
    now = config.to_dict(PretrainSettings())
    old = json.loads(json.dumps(now))
    old["train"] |= {"layerwise_lr_decay": 0.8, "precision": "auto"}
    _kept(tmp_path, old)
    check_run(str(tmp_path), now, cls=PretrainSettings)
    old["train"]["seed"] = -1
    assert recorded(old, "x").train == dataclasses.replace(
        PretrainSettings().train, seed=MAX_SEED
    )


def test_what_identifies_the_data_is_no_setting():
    record = config.to_dict(PretrainSettings())
    record["data"] |= {"fingerprint": "sha256:1", "max_seq_length": 64}
    record |= {"vocab_fingerprint": "sha256:2", "init": {"from": ["x"]}}
    assert recorded(record, "x") == PretrainSettings()


@pytest.mark.parametrize("steps", [20, 5])
def test_the_error_for_a_longer_run_says_how_to_continue(tmp_path, steps):
    _kept(tmp_path, {"train": {"num_train_steps": 10, "seed": 1}})
    with pytest.raises(UserError) as error:
        check_run(
            str(tmp_path), {"train": {"num_train_steps": steps, "seed": 1}}
        )
    hint = f"--init_from={tmp_path} --init_optimizer"
    assert (hint in str(error.value)) == (steps > 10)


def test_a_run_that_never_began_may_start_from_a_checkpoint(tmp_path):
    first, second = {"train": {"seed": 1}}, {"train": {"seed": 2}}
    second["init"] = {"from": ["x"]}
    for settings in (first, second, first):
        check_run(str(tmp_path), settings, begun=False)
        kept = json.loads((tmp_path / "config.json").read_text())
        assert kept == settings
    with pytest.raises(UserError, match=r"init\.from: absent there"):
        check_run(str(tmp_path), second, begun=True)
    with pytest.raises(UserError, match="options"):  # a run of another kind
        check_run(str(tmp_path), {"options": {}}, begun=False)


@pytest.mark.parametrize("content", ["[1]", "{", "3"])
def test_a_damaged_record_is_named(tmp_path, monkeypatch, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        check_run(str(tmp_path), {"train": {}}, begun=False)
    monkeypatch.setattr(start.checkpoints, "latest", lambda _: "a checkpoint")
    with pytest.raises(UserError, match=re.escape(str(path))):
        start.resumed_settings(PretrainSettings(), str(tmp_path))
