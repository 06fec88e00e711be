"""Tests of batches by length: order, padding, access, distribution."""

import finetuning_toy as toy
import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.tasks import batches
from electra_tf.tasks.features import INPUTS, Features
from electra_tf.training.strategy import make_strategy
from electra_tf.training.workers import Share


def take(data, count):
    return list(data.take(count).as_numpy_iterator())


def stream(features, size, **settings):
    return batches.BatchStream(features, size, **({"seed": 1} | settings))


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("bucket", [True, False])
@pytest.mark.parametrize(
    ("units", "size"), [(1000, 4), (50, 7), (64, 8), (5, 8), (1, 3), (3, 1)]
)
def test_every_epoch_has_every_unit_once(units, size, bucket):
    found = stream(toy.features(units), size, bucket=bucket)
    steps = -(-4 * units // size)
    chosen, positions = map(
        np.concatenate, zip(*[found.units(s) for s in range(steps)])
    )
    # Each position of the stream comes once, in four epochs and the part of a
    # fifth that fills the last batch.
    np.testing.assert_array_equal(np.sort(positions), np.arange(steps * size))
    for epoch in range(4):
        here = (positions >= epoch * units) & (positions < (epoch + 1) * units)
        np.testing.assert_array_equal(np.sort(chosen[here]), np.arange(units))
    # Batches of an epoch are together: none comes before its epoch does.
    for step in range(steps):
        at = found.units(step)[1]
        assert at.max() < (step * size // units + 1) * units + size


def test_orders_differ_between_epochs_and_seeds():
    features = toy.features(300)
    first = stream(features, 10)
    epochs = [
        [tuple(first.units(s)[0]) for s in range(e * 30, e * 30 + 30)]
        for e in range(2)
    ]
    assert not set(epochs[0]) & set(epochs[1])
    other = stream(features, 10, seed=2)
    assert not {tuple(other.units(s)[0]) for s in range(30)} & set(epochs[0])
    again = stream(features, 10)
    assert [tuple(again.units(s)[0]) for s in range(30)] == epochs[0]


def test_lengths_in_a_batch_are_alike():
    features = toy.features(2000, longest=200)

    def padding(**settings):
        found = stream(features, 16, **settings)
        real = total = 0
        for step in range(125):
            mask = found.batch(step)["input_mask"]
            real, total = real + mask.sum(), total + mask.size
        return 1 - real / total

    assert padding(bucket=False) > 0.4
    assert padding() < 0.06
    assert padding(pad_to_multiple=1) < 0.04


def test_batches_are_not_in_order_of_length():
    found = stream(toy.features(640, longest=200), 10)
    lengths = [found.batch(s)["input_ids"].shape[1] for s in range(64)]
    assert abs(np.corrcoef(lengths, np.arange(64))[0, 1]) < 0.4


def test_lengths_are_multiples_up_to_the_longest():
    features = toy.features(400)
    lengths = {
        b["input_ids"].shape[1]
        for b in take(batches.training_dataset(features, 4, seed=1), 100)
    }
    assert lengths <= {8, 16, 24, int(features.lengths.max())}
    assert len(lengths) >= 3 and features.lengths.max() < 32


def test_what_is_in_a_batch():
    features = toy.features(20, tags=True)
    data = batches.training_dataset(features, 4, seed=1)
    assert data.element_spec == {
        "input_ids": tf.TensorSpec([4, None], tf.int32),
        "segment_ids": tf.TensorSpec([4, None], tf.int32),
        "input_mask": tf.TensorSpec([4, None], tf.int32),
        "tags": tf.TensorSpec([4, None], tf.int32),
        "labels": tf.TensorSpec([4], tf.int32),
        "example_id": tf.TensorSpec([4], tf.int64),
    }
    units = stream(features, 4).units(2)[0]
    batch = take(data, 3)[2]
    for row, unit in enumerate(units):
        start, end = features.row_splits[unit : unit + 2]
        length = end - start
        for name in ("input_ids", "segment_ids", "tags"):
            np.testing.assert_array_equal(
                batch[name][row, :length], features.tokens[name][start:end]
            )
        assert batch["input_mask"][row].sum() == length
        assert np.all(batch["tags"][row, length:] == -1)
        assert batch["labels"][row] == features.rows["labels"][unit]


@pytest.mark.parametrize("bucket", [True, False])
@pytest.mark.parametrize("start", [0, 1, 37, 200])
def test_any_start_step_gives_the_same_batches(start, bucket):
    features = toy.features(90)
    whole = take(
        batches.training_dataset(features, 4, seed=3, bucket=bucket), start + 3
    )
    late = take(
        batches.training_dataset(
            features, 4, seed=3, bucket=bucket, start_step=start
        ),
        3,
    )
    for a, b in zip(whole[start:], late):
        same(a, b)


def test_groups_stay_together():
    features = toy.features(40, group=3)
    data = batches.training_dataset(features, 4, seed=1)
    assert data.element_spec["input_ids"].shape.as_list() == [4, 3, None]
    units = stream(features, 4).units(0)[0]
    batch = take(data, 1)[0]
    lengths = features.lengths.reshape(-1, 3)
    np.testing.assert_array_equal(batch["input_mask"].sum(-1), lengths[units])
    np.testing.assert_array_equal(
        batch["labels"], features.rows["labels"][units]
    )


def test_a_late_start_is_cheap(monkeypatch):
    features = toy.features(200)
    found = stream(features, 8)
    made = []
    monkeypatch.setattr(
        Features,
        "epoch",
        lambda self, e, seed: made.append(e) or np.arange(self.units),
    )
    found.batch(10_000)
    assert made and set(made) <= {400, 401}


def test_replicas_share_a_batch():
    strategy = make_strategy("mirrored")
    assert strategy.num_replicas_in_sync == 2
    features = toy.features(40, group=2)
    data = batches.training_dataset(features, 6, seed=1)
    shared = iter(strategy.experimental_distribute_dataset(data))
    for batch in take(data, 12):
        values = next(shared)
        for name in batch:
            parts = strategy.experimental_local_results(values[name])
            assert [len(part) for part in parts] == [3, 3]
            np.testing.assert_array_equal(np.concatenate(parts), batch[name])
    spec = shared.element_spec["input_ids"]
    assert spec._component_specs[0].shape.as_list()[1:] == [2, None]


@pytest.mark.parametrize("size", [1, 3, 32, 100])
def test_inference_batches_cover_all_rows(size):
    features = toy.features(50, group=2)
    found = list(batches.inference_batches(features, size))
    rows = np.concatenate([r for r, _ in found])
    np.testing.assert_array_equal(np.sort(rows), np.arange(100))
    widths = [b["input_ids"].shape[1] for _, b in found]
    assert widths == sorted(widths, reverse=True)
    for rows, batch in found:
        np.testing.assert_array_equal(
            batch["input_mask"].sum(1), features.lengths[rows]
        )
        assert set(INPUTS) <= batch.keys() and "labels" not in batch


def test_one_row_alone_is_its_batch():
    ids, segments = np.array([[5, 6, 7], [0, 0, 1]], "int32")
    tokens = {"input_ids": ids, "segment_ids": segments}
    features = Features(np.array([0, 3]), tokens)
    ((rows, batch),) = batches.inference_batches(features, 4)
    np.testing.assert_array_equal(rows, [0])
    expected = features.batch([0])
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(batch[name], value)
        assert batch[name].dtype == value.dtype
    none = {name: value[:0] for name, value in tokens.items()}
    ((_, batch),) = batches.inference_batches(
        Features(np.array([0, 0]), none), 4
    )
    assert batch["input_mask"].tolist() == [[0]]


def test_nothing_to_infer():
    empty = Features(np.zeros([1], "int64"), {"input_ids": np.zeros([0], "i4")})
    assert list(batches.inference_batches(empty, 4)) == []


def test_bad_arguments():
    empty = Features(np.zeros([1], "int64"), {"input_ids": np.zeros([0], "i4")})
    with pytest.raises(UserError, match="no example to train on"):
        stream(empty, 4)
    with pytest.raises(UserError, match="batch_size: expected at least 1"):
        stream(toy.features(3), 0)
    with pytest.raises(UserError, match="pad_to_multiple"):
        stream(toy.features(3), 1, pad_to_multiple=0)


def test_one_shape_where_all_is_padded_to_the_longest():
    found = toy.features(50)
    whole = batches.longest(found)
    data = batches.training_dataset(found, 8, seed=1, pad_to_multiple=whole)
    assert data.element_spec["input_ids"].shape == [8, whole]
    shapes = {batch["input_ids"].shape for batch in data.take(20)}
    assert shapes == {tf.TensorShape([8, whole])}


def test_shares_of_workers_are_the_whole_batch():
    found = toy.features(50)
    whole = batches.training_dataset(found, 8, seed=1).take(5)
    shares = [
        batches.training_dataset(found, 8, seed=1, share=Share(index, 2)).take(
            5
        )
        for index in range(2)
    ]
    assert shares[0].element_spec["labels"].shape == [4]
    for batch, *parts in zip(whole, *shares):
        for name, value in batch.items():
            joined = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(joined, value)
