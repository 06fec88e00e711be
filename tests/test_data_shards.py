import numpy as np
import pytest
import tensorflow as tf

from electra_tf.data import shards

RECORDS = [b"", b"a", b"hello", bytes(range(256)) * 3, b"x" * 37]


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for record in RECORDS:
            writer.write(record)
    return path


def _begin(record):
    return sum(len(r) + shards.OVERHEAD for r in RECORDS[:record])


def _damage(path, offset):
    with open(path, "r+b") as handle:
        handle.seek(offset)
        byte = handle.read(1)
        handle.seek(offset)
        handle.write(bytes([byte[0] ^ 4]))


def test_undamaged_file_has_no_corruption(path, tmp_path):
    assert shards.find_corruption(path) is None
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert shards.find_corruption(str(empty)) is None


def test_crc_is_castagnoli_masked():
    data = np.frombuffer(b"123456789", np.uint8)
    crc = shards.masked_crcs(data, np.array([0]), np.array([9]))[0]
    value = 0xE3069283  # the check value of CRC-32C
    rotated = (value >> 15 | value << 17) & 0xFFFFFFFF
    assert crc == (rotated + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("offset", "reason"),
    [(0, "length"), (9, "length"), (12, "data"), (300, "data"), (-1, "data")],
)
def test_damaged_record_is_named(path, offset, reason):
    end = _begin(3) + len(RECORDS[3]) + shards.OVERHEAD
    _damage(path, end - 1 if offset < 0 else _begin(3) + offset)
    found = shards.find_corruption(path)
    assert (found.record, found.offset) == (3, _begin(3))
    assert reason in found.reason


@pytest.mark.parametrize("kept", [1, 11, 12, 100])
def test_truncated_record_is_named(path, kept):
    with open(path, "r+b") as handle:
        handle.truncate(_begin(3) + kept)
    found = shards.find_corruption(path)
    assert (found.record, found.offset) == (3, _begin(3))
    assert "ends inside" in found.reason


def test_good_records_are_copied(path, tmp_path):
    _damage(path, _begin(2) + 13)
    copy = str(tmp_path / "copy")
    assert shards.copy_good_records(path, copy) == (4, 1)
    records = [r.numpy() for r in tf.data.TFRecordDataset(copy)]
    assert records == RECORDS[:2] + RECORDS[3:]
    _damage(path, _begin(4))
    assert shards.copy_good_records(path, copy) == (3, 2)
