import json
import logging
import os
import pathlib
import resource

import numpy as np
import pytest
import training_toy as toy

from electra_tf import tensors
from electra_tf.errors import UserError
from electra_tf.training import checkpoints


@pytest.fixture(scope="module")
def trained():
    """Returns a toy after three updates, which changed slots and seeds."""
    model = toy.make_model()
    for step in range(3):
        model.train_step(toy.batch_at(step))
    return model


def directory(run: pathlib.Path, step: int) -> pathlib.Path:
    return run / "checkpoints" / f"step-{step:08d}"


def names(run: pathlib.Path) -> list[str]:
    return sorted(os.listdir(run / "checkpoints"))


def fresh(**settings):
    model = toy.make_model(seed=2, **settings)
    model.optimizer.build(model.trainable_variables)
    return model


def test_round_trip_brings_everything_back(tmp_path, trained):
    path = checkpoints.save(
        str(tmp_path),
        1234,
        trained,
        trained.optimizer,
        data_position=9872,
        run_config={"a": {"b": 1}},
        extra={"evaluated_step": 1000},
    )
    assert path == str(tmp_path / "checkpoints" / "step-00001234")
    other = fresh()
    restored = checkpoints.restore(str(tmp_path), other, other.optimizer)
    toy.assert_same(toy.variables(other), toy.variables(trained))
    assert (restored.step, restored.path) == (1234, path)
    state = restored.state
    assert state["data_position"] == 9872
    assert state["run_config"] == {"a": {"b": 1}}
    assert state["evaluated_step"] == 1000
    assert set(state["versions"]) == {
        "python", "tensorflow", "keras", "numpy",
    }  # fmt: skip
    saved = tensors.load(str(directory(tmp_path, 1234) / "model.safetensors"))
    assert "seed_generator_state/0" in saved
    assert not any("accuracy" in n or "total" in n for n in saved)
    # Another update from either is the same, dropout included.
    trained_copy = toy.make_model()
    checkpoints.restore(str(tmp_path), trained_copy)
    for model in (other, trained_copy):
        assert float(model(toy.batch_at(9)["x"])[0, 0]) == float(
            trained(toy.batch_at(9)["x"])[0, 0]
        )


def test_no_checkpoint_is_none(tmp_path, trained):
    assert checkpoints.restore(str(tmp_path), trained) is None
    assert checkpoints.latest(str(tmp_path)) is None
    checkpoints.clean(str(tmp_path))


def test_keeps_the_last_and_every_nth(tmp_path, trained):
    for step in (5, 10, 15, 20, 25):
        checkpoints.save(
            str(tmp_path), step, trained, keep=2, keep_every_steps=10
        )
    assert names(tmp_path) == [
        "step-00000010",
        "step-00000020",
        "step-00000025",
    ]
    assert checkpoints.latest(str(tmp_path)) == str(directory(tmp_path, 25))


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: os.truncate(d / "model.safetensors", 500),
        lambda d: os.truncate(d / "optimizer.safetensors", 0),
        lambda d: (d / "model.safetensors").unlink(),
        lambda d: (d / "state.json").write_text('{"step": 2'),
        lambda d: (d / "state.json").unlink(),
        lambda d: (d / "state.json").write_text("[]"),
        # The right size, but other content.
        lambda d: (d / "model.safetensors").write_bytes(
            b"\xff" * (d / "model.safetensors").stat().st_size
        ),
    ],
)
def test_a_damaged_checkpoint_is_named_and_skipped(
    tmp_path, trained, damage, caplog
):
    for step in (1, 2):
        checkpoints.save(str(tmp_path), step, trained, trained.optimizer)
    damage(directory(tmp_path, 2))
    other = fresh()
    with caplog.at_level(logging.WARNING):
        restored = checkpoints.restore(str(tmp_path), other, other.optimizer)
    assert restored.step == 1
    assert "damaged" in caplog.text
    assert str(directory(tmp_path, 2)) in caplog.text
    toy.assert_same(toy.variables(other), toy.variables(trained))
    # A new checkpoint of the same step replaces it.
    checkpoints.save(str(tmp_path), 2, trained, trained.optimizer)
    assert checkpoints.latest(str(tmp_path)) == str(directory(tmp_path, 2))
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


def test_all_damaged_is_an_error(tmp_path, trained):
    checkpoints.save(str(tmp_path), 1, trained)
    os.truncate(directory(tmp_path, 1) / "model.safetensors", 20)
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged"):
        checkpoints.restore(str(tmp_path), fresh())
    assert checkpoints.latest(str(tmp_path)) is None


def test_another_model_is_named_with_both_shapes(tmp_path, trained):
    checkpoints.save(str(tmp_path), 1, trained)
    path = str(directory(tmp_path, 1) / "model.safetensors")
    arrays = tensors.load(path)
    before = [v.numpy() for v in trained.variables]

    def rewrite(changed):
        tensors.save(path, changed)
        state = directory(tmp_path, 1) / "state.json"
        content = json.loads(state.read_text())
        content["bytes"]["model.safetensors"] = os.path.getsize(path)
        state.write_text(json.dumps(content))

    kernel = "toy/classifier/kernel"
    rewrite(arrays | {kernel: np.zeros([8, 9], np.float32)})
    with pytest.raises(UserError, match=rf"{kernel}.*\[8, 9\].*\[8, 4\]"):
        checkpoints.restore(str(tmp_path), trained)
    rewrite({k: v for k, v in arrays.items() if k != kernel})
    with pytest.raises(UserError, match=f"has no variable {kernel}"):
        checkpoints.restore(str(tmp_path), trained)
    rewrite(arrays | {"extra": np.zeros([1])})
    with pytest.raises(UserError, match="a variable extra"):
        checkpoints.restore(str(tmp_path), trained)
    for left, right in zip(before, trained.variables):
        np.testing.assert_array_equal(left, right.numpy())


def test_full_disk_leaves_the_older_one(tmp_path, trained):
    checkpoints.save(str(tmp_path), 1, trained, trained.optimizer)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*safetensors"):
            checkpoints.save(str(tmp_path), 2, trained, trained.optimizer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["step-00000001"]
    other = fresh()
    assert checkpoints.restore(str(tmp_path), other, other.optimizer).step == 1


@pytest.mark.parametrize("renames_done", [0, 1])
def test_killed_while_saving(tmp_path, trained, monkeypatch, renames_done):
    """A save that dies at a rename, without clean-up, loses no checkpoint."""
    checkpoints.save(str(tmp_path), 1, trained, trained.optimizer)
    real_rename, real_remove = (
        checkpoints.files.rename,
        (checkpoints.files.remove),
    )
    done = 0

    class KilledError(BaseException):
        pass

    def rename(source, target):
        nonlocal done
        if done == renames_done:
            raise KilledError
        done += 1
        real_rename(source, target)

    monkeypatch.setattr(checkpoints.files, "rename", rename)
    monkeypatch.setattr(checkpoints.files, "remove", lambda path: None)
    with pytest.raises(KilledError):
        checkpoints.save(str(tmp_path), 1, trained, trained.optimizer)
    monkeypatch.setattr(checkpoints.files, "rename", real_rename)
    monkeypatch.setattr(checkpoints.files, "remove", real_remove)
    assert len(names(tmp_path)) == 2
    checkpoints.clean(str(tmp_path))
    assert names(tmp_path) == ["step-00000001"]
    other = fresh()
    assert checkpoints.restore(str(tmp_path), other, other.optimizer).step == 1
    toy.assert_same(toy.variables(other), toy.variables(trained))


def test_clean_leaves_files_of_others(tmp_path):
    (tmp_path / "checkpoints" / "step-00000007.tmp-ab12").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000007.notes").write_text("mine")
    (tmp_path / "checkpoints" / "my.tmp-x").write_text("mine")
    checkpoints.clean(str(tmp_path))
    assert names(tmp_path) == ["my.tmp-x", "step-00000007.notes"]
