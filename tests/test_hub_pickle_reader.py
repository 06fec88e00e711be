"""Tests that tensors of PyTorch files are read, and that no code is run."""

import collections
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
import torch_layout

from electra_tf.errors import UserError
from electra_tf.hub.pickle_reader import TorchFile

RNG = np.random.default_rng(0)
ARRAYS = {
    "float": RNG.normal(size=(4, 3)).astype(np.float32),
    "double": RNG.normal(size=(2,)),
    "half": RNG.normal(size=(2, 2, 2)).astype(np.float16),
    "brain": RNG.normal(size=(5,)).astype(ml_dtypes.bfloat16),
    "long": np.arange(6).reshape(1, 6),
    "flags": np.array([True, False]),
    "scalar": np.array(2.5, np.float32),
    "nothing": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("save", [torch_layout.save, torch_layout.save_legacy])
def test_every_type_comes_out(tmp_path, save):
    path = str(tmp_path / "model.bin")
    save(path, ARRAYS)
    read = TorchFile(path)
    assert set(read) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert read.shapes[name] == array.shape
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_views_of_one_storage(tmp_path):
    path = str(tmp_path / "model.bin")
    storage = np.arange(24, dtype=np.float32)
    torch_layout.save(
        path,
        {
            "all": torch_layout.View(storage, (4, 6), (6, 1)),
            "transposed": torch_layout.View(storage, (6, 4), (1, 6)),
            "part": torch_layout.View(storage, (2, 2), (6, 1), offset=8),
        },
    )
    read = TorchFile(path)
    whole = storage.reshape(4, 6)
    np.testing.assert_array_equal(read["all"], whole)
    np.testing.assert_array_equal(read["transposed"], whole.T)
    np.testing.assert_array_equal(read["part"], whole[1:3, 2:4])
    with zipfile.ZipFile(path) as archive:
        assert sum("/data/" in n for n in archive.namelist()) == 1


@pytest.mark.parametrize(
    "layout",
    [
        ((5, 5), (5, 1), 0),  # one number more than the storage has
        ((4, 6), (6, 1), 1),
        ((2,), (-1,), 3),
        ((1 << 40,), (0,), 0),  # numbers repeated until memory is full
        ((2, 2), (1,), 0),
        ((2.5,), (1,), 0),
    ],
)
def test_layouts_beyond_the_storage(tmp_path, layout):
    path = str(tmp_path / "model.bin")
    shape, strides, offset = layout
    storage = np.zeros(24, np.float32)
    torch_layout.save(
        path, {"a": torch_layout.View(storage, shape, strides, offset)}
    )
    with pytest.raises(UserError, match=r"model\.bin.*tensor"):
        TorchFile(path)


class Attack:
    """An object that would create a file if Python's `pickle` loaded it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "attack", [os.system, os.mkdir, eval, __import__, getattr, open]
)
def test_a_pickle_that_calls_is_refused(tmp_path, attack, legacy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argument = {
        os.system: "touch stolen", eval: "open('stolen', 'w')",
    }.get(attack, "stolen")  # fmt: skip
    content = {"a": Attack(attack, argument)}
    if legacy:
        with open("model.bin", "wb") as handle:
            for part in (0x1950A86A20F9469CFC6C, 1001, content):
                pickle.dump(part, handle, protocol=2)
    else:
        torch_layout.save("model.bin", content)
    with pytest.raises(UserError) as error:
        TorchFile("model.bin")
    message = str(error.value)
    assert "model.bin" in message and "\n" not in message
    assert f".{attack.__name__}," in message
    assert os.listdir() == ["model.bin"]


def test_a_pickle_cannot_change_what_the_next_one_gets(tmp_path):
    # BUILD sets attributes, which none of the allowed objects accepts.
    for name in (
        b"torch._utils\n_rebuild_tensor_v2",
        b"torch._utils\n_rebuild_parameter",
        b"torch\nFloatStorage",
        b"torch\nSize",
    ):
        state = b"}X\x01\x00\x00\x00xK\x01s"  # {"x": 1}
        pickled = b"\x80\x02c" + name + b"\n" + state + b"b."
        path = str(tmp_path / "model.bin")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
        with pytest.raises(UserError, match=r"model\.bin"):
            TorchFile(path)
    assert not hasattr(collections.OrderedDict, "x")


@pytest.mark.parametrize("save", [torch_layout.save, torch_layout.save_legacy])
def test_damage_is_named(tmp_path, save):
    path = tmp_path / "model.bin"
    save(str(path), ARRAYS)
    content = path.read_bytes()
    for damaged in (
        content[: len(content) // 2],
        content[:-20],
        b"",
        b"x" * 99,
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError) as error:
            TorchFile(str(path))
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="no such file"):
        TorchFile(str(tmp_path / "absent.bin"))


def test_lacking_data_is_named(tmp_path):
    path, other = str(tmp_path / "model.bin"), str(tmp_path / "other.bin")
    torch_layout.save(path, ARRAYS)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            if not name.endswith("data/0"):
                target.writestr(name, source.read(name))
    with pytest.raises(UserError, match=r"other\.bin.*storage 0"):
        TorchFile(other)


def test_other_content_is_refused(tmp_path):
    path = str(tmp_path / "model.bin")
    for content in ({}, {"a": 1}):
        torch_layout.save(path, content)
        with pytest.raises(UserError, match=r"model\.bin.*no tensor"):
            TorchFile(path)
