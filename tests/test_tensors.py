"""Tests safetensors files: exact values, other readers, damaged files."""

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from electra_tf import tensors
from electra_tf.errors import UserError

RNG = np.random.default_rng(0)
ARRAYS = {
    "b/kernel": RNG.normal(size=(4, 3)).astype(np.float32),
    "a/bias": RNG.normal(size=(3,)),
    "brain": RNG.normal(size=(2, 2)).astype(ml_dtypes.bfloat16),
    "whole": np.arange(5),
    "scalar": np.array(1.5, np.float32),
    "empty": np.zeros((0, 7), np.float16),
    "flags": np.array([True, False, True]),
}


@pytest.fixture
def path(tmp_path):
    file = str(tmp_path / "x.safetensors")
    tensors.save(file, ARRAYS, {"format": "pt"})
    return file


def _assert_equal(read):
    assert set(read) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_what_is_saved_is_read(path):
    file = tensors.TensorFile(path)
    _assert_equal(file)
    _assert_equal(tensors.load(path))
    assert file.metadata == {"format": "pt"}
    assert file.shapes == {n: a.shape for n, a in ARRAYS.items()}
    assert "other" not in file
    array = file["b/kernel"]
    array += 1  # no shared memory
    np.testing.assert_array_equal(file["b/kernel"], ARRAYS["b/kernel"])


def test_the_library_agrees(path, tmp_path):
    plain = {n: a for n, a in ARRAYS.items() if n != "brain"}
    _assert_equal(safetensors.numpy.load_file(path))
    other = str(tmp_path / "theirs.safetensors")
    safetensors.numpy.save_file(plain, other)
    read = tensors.TensorFile(other)
    for name, array in plain.items():
        np.testing.assert_array_equal(read[name], array)


def test_remote_files_are_read_alike(path):
    _assert_equal(tensors.load(f"file://{path}"))


def _rewritten(path, change):
    with open(path, "rb") as handle:
        content = handle.read()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    with open(path, "wb") as handle:
        handle.write(len(text).to_bytes(8, "little"))
        handle.write(text + content[8 + length :])


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["whole"].update(data_offsets=[0, 10_000]),
        lambda h: h["whole"].update(data_offsets=[8, 48]),
        lambda h: h["whole"].update(shape=[50]),
        lambda h: h["whole"].update(shape="5"),
        lambda h: h["whole"].pop("dtype"),
        lambda h: h.pop("whole"),
        lambda h: h.update(whole=3),
    ],
)
def test_wrong_headers(path, change):
    _rewritten(path, change)
    with pytest.raises(UserError, match=r"x\.safetensors: not a whole"):
        tensors.TensorFile(path)


def test_damage_is_named(path):
    with open(path, "rb") as handle:
        content = handle.read()
    for damaged in (b"", b"abc", content[:20], content[:-1], content + b"x"):
        with open(path, "wb") as handle:
            handle.write(damaged)
        with pytest.raises(UserError) as error:
            tensors.load(path)
        assert path in str(error.value) and "\n" not in str(error.value)


def test_missing_and_unknown(path, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        tensors.TensorFile(str(tmp_path / "absent"))
    _rewritten(path, lambda h: h["flags"].update(dtype="F8_E4M3"))
    file = tensors.TensorFile(path)
    with pytest.raises(UserError, match="flags is of type F8_E4M3"):
        file["flags"]
