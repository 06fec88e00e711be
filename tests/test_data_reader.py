import os
import pathlib
import random
import shutil

import numpy as np
import pytest
import tensorflow as tf
from data_builds import settings_of

from electra_tf.data import (
    builder,
    examples,
    manifest,
    reader,
    shards,
    tfrecords,
)
from electra_tf.errors import UserError

ORIGINAL = (
    pathlib.Path(__file__).parent / "golden/pretrain_data.tfrecord-0-of-1000"
)
KEYS = ("input_ids", "input_mask", "segment_ids", "example_id")


@pytest.fixture(scope="module")
def data(tmp_path_factory, tiny_vocab_file):
    """A data directory of 3 + 1 shards."""
    folder = tmp_path_factory.mktemp("reader")
    rng = random.Random(1)
    words = "the cat sat on a mat and dog ran good house".split()
    with open(folder / "text.txt", "w") as handle:
        for _ in range(60):
            for _ in range(rng.randint(1, 8)):
                line = " ".join(rng.choices(words, k=rng.randint(3, 20)))
                handle.write(line + ".\n")
            handle.write("\n")
    out = str(folder / "data")
    builder.build_data(
        settings_of(
            input=str(folder / "text.txt"),
            vocab=tiny_vocab_file,
            output=out,
            max_seq_length=24,
            num_workers=1,
            num_shards=3,
            validation_fraction=0.2,
        )
    )
    return out


def _read(data, batches=None, **options):
    """Returns the stream's batches joined into arrays, and their sizes."""
    options = {"batch_size": 7, "max_seq_length": 24, "seed": 5, **options}
    dataset = reader.pretraining_dataset(data, **options)
    if batches is not None:
        dataset = dataset.take(batches)
    got = list(dataset.as_numpy_iterator())
    joined = {k: np.concatenate([b[k] for b in got]) for k in KEYS}
    return joined, [len(b["example_id"]) for b in got]


def _equal(a, b):
    for key in KEYS:
        np.testing.assert_array_equal(a[key], b[key])


def _rows(stream, a=None, b=None):
    return [row.tobytes() for row in stream["input_ids"][a:b]]


def test_epochs_hold_every_example_in_new_orders(data):
    total = manifest.load_manifest(data).splits["train"].examples
    assert total > 60
    stream, _ = _read(data, -(-3 * total // 7), shuffle_window=16)
    plain, sizes = _read(
        data, shuffle=False, repeat=False, drop_remainder=False
    )
    assert sum(sizes) == total and sizes[-1] == total % 7
    epochs = [_rows(stream, i * total, (i + 1) * total) for i in range(3)]
    assert sorted(epochs[0]) == sorted(_rows(plain))
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert stream["example_id"].tolist() == list(range(len(_rows(stream))))


def test_order_depends_on_the_seed_alone(data):
    first, _ = _read(data, 30, shuffle_window=16)
    tf.random.set_seed(99)
    again, _ = _read(data, 30, shuffle_window=16)
    tf.random.set_seed(0)
    _equal(first, again)
    other, _ = _read(data, 30, shuffle_window=16, seed=6)
    assert _rows(first) != _rows(other)
    far, _ = _read(data, 30, shuffle_window=16, seed=5 + (1 << 40))
    assert _rows(first) != _rows(far)


@pytest.mark.parametrize("shuffle", [True, False])
def test_seek_equals_dropping(data, shuffle):
    total = manifest.load_manifest(data).splits["train"].examples
    options = {"shuffle": shuffle, "shuffle_window": 16}
    whole, _ = _read(data, -(-4 * total // 7), **options)
    starts = (1, 16, total - 1, total, 2 * total + 19) if shuffle else (37,)
    for start in starts:
        count = (len(whole["example_id"]) - start) // 5
        part, _ = _read(
            data, count, batch_size=5, start_example=start, **options
        )
        end = start + 5 * count
        _equal(part, {k: v[start:end] for k, v in whole.items()})


def test_seek_without_repeat_ends_with_the_epoch(data):
    options = {"repeat": False, "drop_remainder": False}
    whole, _ = _read(data, **options)
    total = len(whole["example_id"])
    part, _ = _read(data, start_example=total - 10, **options)
    _equal(part, {k: v[-10:] for k, v in whole.items()})
    for start in (total, total + 3):
        dataset = reader.pretraining_dataset(
            data,
            batch_size=2,
            max_seq_length=24,
            start_example=start,
            **options,
        )
        assert not list(dataset)


@pytest.mark.parametrize("workers", [2, 3])
def test_slices_of_workers_make_the_batch(data, workers):
    options = {"batch_size": 6, "start_example": 11, "shuffle_window": 16}
    whole, _ = _read(data, 40, **options)
    parts = [
        _read(data, 40, num_shards=workers, shard_index=i, **options)[0]
        for i in range(workers)
    ]
    for key in KEYS:
        slices = [
            p[key].reshape(40, 6 // workers, *p[key].shape[1:]) for p in parts
        ]
        joined = np.concatenate(slices, 1).reshape(whole[key].shape)
        np.testing.assert_array_equal(joined, whole[key])
    with pytest.raises(UserError, match="batch of 7 cannot be shared by 2"):
        _read(data, 1, num_shards=2)


def _bytes_read():
    """Returns the bytes that this process has read, by the system's count."""
    text = pathlib.Path("/proc/self/io").read_text()
    return int(text.split()[1])


@pytest.mark.skipif(
    not os.path.exists("/proc/self/io"), reason="no /proc/self/io"
)
def test_a_worker_reads_its_own_examples_alone(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows, length = 1500, 500
    made = examples.Examples(
        ids=rng.integers(200, 16000, rows * length).astype(np.int32),
        starts=np.arange(rows + 1) * length,
        first_lengths=np.full(rows, length),
        per_document=np.ones(rows, np.int64),
    )
    writer = shards.ShardWriter(str(tmp_path), "train", 3)
    writer.write(tfrecords.serialize(made))
    written = writer.close()
    size = sum(shard.bytes for shard in written)
    found = reader.ExampleFiles(
        str(tmp_path),
        tuple(str(tmp_path / shard.file) for shard in written),
        tuple(shard.examples for shard in written),
        length,
    )
    monkeypatch.setattr(reader, "find_examples", lambda *_: found)
    first = found.first_record()
    monkeypatch.setattr(reader.ExampleFiles, "first_record", lambda _: first)

    def read(workers):
        dataset = reader.pretraining_dataset(
            str(tmp_path),
            batch_size=100,
            max_seq_length=length,
            shuffle_window=400,
            repeat=False,
            num_shards=workers,
            shard_index=workers - 1,
        )
        before = _bytes_read()
        got = [b["input_ids"] for b in dataset.as_numpy_iterator()]
        assert len(got) == 15 and len(got[0]) == 100 // workers
        return (_bytes_read() - before) / size

    assert 1 <= read(1) < 1.1
    lengths = 12 * rows / size
    assert 0.5 <= read(2) - lengths < 0.55
    assert 0.2 <= read(5) - lengths < 0.25


def test_slices_stop_with_an_epoch(data):
    for options in (
        {"repeat": False, "start_example": 20, "shuffle": False},
        {"new_epochs": True, "repeat": False},
        {"repeat": False, "drop_remainder": False, "shuffle": False},
    ):
        options |= {"batch_size": 8, "shuffle_window": 32}
        whole, sizes = _read(data, **options)
        parts = [
            _read(data, num_shards=2, shard_index=i, **options)
            for i in range(2)
        ]
        assert len(parts[0][1]) == len(parts[1][1]) == len(sizes)
        order = np.argsort(
            np.concatenate([p["example_id"] for p, _ in parts]), kind="stable"
        )
        for key in KEYS:
            joined = np.concatenate([p[key] for p, _ in parts])[order]
            np.testing.assert_array_equal(joined, whole[key])


def test_validation_is_in_order(data):
    options = {"split": "validation", "repeat": False, "drop_remainder": False}
    held_out, _ = _read(data, **options)
    again, _ = _read(data, seed=77, **options)
    _equal(held_out, again)
    count = manifest.load_manifest(data).splits["validation"].examples
    assert held_out["example_id"].tolist() == list(range(count))
    train, _ = _read(data, shuffle=False, repeat=False, drop_remainder=False)
    assert not set(_rows(held_out)) & set(_rows(train))


def test_batches_have_static_shapes(data):
    spec = reader.pretraining_dataset(
        data, batch_size=6, max_seq_length=32, num_shards=2
    ).element_spec
    assert {k: tuple(v.shape) for k, v in spec.items()} == {
        "input_ids": (3, 32),
        "input_mask": (3, 32),
        "segment_ids": (3, 32),
        "example_id": (3,),
    }
    assert spec["example_id"].dtype == tf.int64


def test_examples_are_whole(data):
    stream, _ = _read(data, 20)
    for ids, mask, segments in zip(
        stream["input_ids"], stream["input_mask"], stream["segment_ids"]
    ):
        n = mask.sum()
        assert ids[0] == 2 and ids[n - 1] == 3
        assert (mask[:n] == 1).all() and not ids[n:].any()
        first = int((segments[:n] == 0).sum())
        assert (segments[first:n] == 1).all() and ids[first - 1] == 3
        assert not segments[n:].any()


def test_the_originals_records_are_read(tmp_path):
    for i in range(2):
        shutil.copy(ORIGINAL, tmp_path / f"pretrain_data.tfrecord-{i}-of-2")
    record = next(iter(tf.data.TFRecordDataset(str(ORIGINAL)))).numpy()
    features = tf.train.Example.FromString(record).features.feature
    length = len(features["input_ids"].int64_list.value)
    found = reader.find_examples(str(tmp_path))
    assert found.total == 2 * reader.find_examples(str(ORIGINAL)).total
    for source in (str(tmp_path), str(tmp_path / "*tfrecord*")):
        stream, _ = _read(
            source, 2, batch_size=1, max_seq_length=length + 2, shuffle=False
        )
        for key in KEYS[:3]:
            want = [*features[key].int64_list.value, 0, 0]
            assert stream[key][0].tolist() == want
    with pytest.raises(UserError, match=f"{length} tokens"):
        _read(str(tmp_path), 1, max_seq_length=length - 1)
    with pytest.raises(UserError, match="no validation split"):
        _read(str(tmp_path), 1, split="validation")


def test_shorter_sequences_are_refused(data):
    with pytest.raises(UserError, match="24 tokens, max_seq_length is 23"):
        _read(data, 1, max_seq_length=23)


@pytest.fixture
def copy(data, tmp_path):
    return pathlib.Path(shutil.copytree(data, tmp_path / "copy"))


def _flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_damaged_records_are_named_or_left_out(data, copy):
    shard = sorted(copy.glob("train-*"))[1]
    _flip(shard, 12 + 5)
    size = shard.stat().st_size
    with pytest.raises(UserError, match=rf"{shard}: record 0 .*--skip_corr"):
        _read(str(copy), 1)
    found = reader.find_examples(str(copy), skip_corrupt=True)
    assert found.corrupt_records == 1
    total = reader.find_examples(data).total
    assert found.total == total - 1
    options = {"repeat": False, "drop_remainder": False}
    stream, _ = _read(str(copy), skip_corrupt=True, **options)
    whole, _ = _read(data, **options)
    assert len(set(_rows(whole)) - set(_rows(stream))) <= 1
    assert len(_rows(stream)) == total - 1

    _flip(shard, 12 + 5)  # repairs the record
    with open(shard, "r+b") as handle:
        handle.truncate(size - 3)
    last = manifest.load_manifest(data).splits["train"].shards[1].examples - 1
    with pytest.raises(UserError, match=rf"record {last} .*ends inside"):
        _read(str(copy), 1)
    found = reader.find_examples(str(copy), skip_corrupt=True)
    assert found.corrupt_records == 1


def test_damage_met_while_training_is_explained(copy, monkeypatch):
    monkeypatch.setattr(reader, "_VERIFY_BYTES", 0)
    _flip(sorted(copy.glob("train-*"))[2], 12 + 5)
    with pytest.raises(tf.errors.DataLossError):
        _read(str(copy), repeat=False)
    error = reader.data_loss_error(str(copy))
    assert isinstance(error, UserError)
    assert "train-00002-of-00003.tfrecord: record 0" in str(error)
    # Damaged content fails one of two workers, the one that reads it; a damaged
    # length fails each that reads the length.
    for offset in (5, 12 + 5):
        _flip(sorted(copy.glob("train-*"))[2], 12 + 5)  # repairs the record
        _flip(sorted(copy.glob("train-*"))[2], offset)
        met = 0
        for index in range(2):
            try:
                _read(
                    str(copy),
                    batch_size=2,
                    repeat=False,
                    num_shards=2,
                    shard_index=index,
                )
            except tf.errors.InvalidArgumentError as error:
                assert shards.DAMAGED in error.message
                met += 1
        assert met == (2 if offset == 5 else 1)
        _flip(sorted(copy.glob("train-*"))[2], offset)
        _flip(sorted(copy.glob("train-*"))[2], 12 + 5)


def test_missing_shard_is_named(copy):
    sorted(copy.glob("train-*"))[0].unlink()
    with pytest.raises(UserError, match=r"train-00000-of-00003.*missing"):
        _read(str(copy), 1)


def test_damaged_original_records_are_named_or_left_out(tmp_path):
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in tf.data.TFRecordDataset([str(ORIGINAL)] * 3):
            writer.write(record.numpy())
    total = reader.find_examples(str(path)).total
    _flip(path, 12 + 5)
    with pytest.raises(UserError, match=r"a\.tfrecord: record 0"):
        reader.find_examples(str(path))
    found = reader.find_examples(str(path), skip_corrupt=True)
    assert (found.total, found.corrupt_records) == (total - 1, 1)


@pytest.mark.parametrize("rest", [1, 11])
def test_a_truncation_before_a_record_is_damage(tmp_path, rest):
    """A file cut within a record's header is damaged.

    TensorFlow alone would take the cut for the end of the file.
    """
    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(3):
            writer.write(b"twelve bytes")
    os.truncate(path, 2 * (12 + shards.OVERHEAD) + rest)
    with pytest.raises(UserError, match=r"record 2 \(at byte 56\) is damaged"):
        reader.find_examples(str(tmp_path))
    found = reader.find_examples(str(tmp_path), skip_corrupt=True)
    assert (found.counts, found.corrupt_records) == ((2,), 1)


def test_no_data(tmp_path):
    with pytest.raises(UserError, match="no file matches"):
        _read(str(tmp_path), 1)
    with pytest.raises(UserError, match="no file matches"):
        _read(str(tmp_path / "absent"), 1)
    (tmp_path / manifest.BUILDING).mkdir()
    with pytest.raises(UserError, match="did not finish"):
        _read(str(tmp_path), 1)
    empty = tmp_path / "empty.tfrecord"
    empty.write_bytes(b"")
    with pytest.raises(UserError, match="no train examples"):
        _read(str(empty), 1)


def test_packed_rows_hold_the_same_examples_from_any_step(data):
    def read(start=0, **options):
        batches = reader.pretraining_dataset(
            data,
            batch_size=16,
            max_seq_length=24,
            seed=5,
            start_example=start,
            shuffle_window=16,
            **options,
        )
        return list(batches.take(6).as_numpy_iterator())

    plain, packed = read(), read(pack_rows_by=2)
    for before, after in zip(plain, packed):
        assert len(after["input_ids"]) % 2 == 0
        assert after["input_mask"].sum() == before["input_mask"].sum()
        ids = after["example_id"]
        assert sorted(ids[ids >= 0]) == before["example_id"].tolist()
    # Started at a later step, it is the same stream.
    for expected, found in zip(packed[2:], read(32, pack_rows_by=2)):
        assert expected.keys() == found.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(array, found[name])
    # Each worker packs its own share.
    second = read(pack_rows_by=1, num_shards=2, shard_index=1)
    for before, after in zip(plain, second):
        ids = after["example_id"]
        assert sorted(ids[ids >= 0]) == before["example_id"][8:].tolist()
