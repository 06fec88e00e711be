"""Tests that reading a table once equals reading it several times."""

import contextlib
import threading

import keras
import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

from electra_tf.models import embeddings
from electra_tf.pretraining import pretrainer


def _table():
    values = np.random.default_rng(0).normal(size=[50, 4])
    return keras.Variable(values.astype("float32"), name="table")


def _gradient(table, ids, read_once, with_outputs=True):
    with tf.GradientTape() as tape:
        if read_once:
            with embeddings.read_together(table):
                loss = _loss(table, ids, with_outputs)
        else:
            loss = _loss(table, ids, with_outputs)
    return tf.convert_to_tensor(tape.gradient(loss, table.value))


def _loss(table, ids, with_outputs):
    x = tf.gather(embeddings.read_table(table).lookups, ids)
    y = tf.gather(embeddings.read_table(table).lookups, ids[::2])
    loss = tf.reduce_sum(y**3) + tf.reduce_sum(x)
    if with_outputs:
        scores = tf.matmul(
            x, embeddings.read_table(table).outputs, transpose_b=True
        )
        loss += tf.reduce_sum(scores**2)
    return loss


@pytest.mark.parametrize("mode", ["eager", "graph", "compiled"])
@pytest.mark.parametrize("with_outputs", [True, False])
def test_the_same_gradient(mode, with_outputs):
    table, ids = _table(), tf.constant([1, 2, 3, 3, 7])

    def run(read_once):
        def gradient(ids):
            return _gradient(table, ids, read_once, with_outputs)

        if mode != "eager":
            gradient = tf.function(
                gradient, jit_compile=mode == "compiled", autograph=False
            )
        return gradient(ids)

    np.testing.assert_allclose(run(True), run(False), rtol=1e-5, atol=1e-5)


def test_only_what_is_inside_and_only_this_table_and_thread():
    table, other = _table(), _table()
    with embeddings.read_together(table):
        first = embeddings.read_table(table)
        assert embeddings.read_table(table) is first
        assert embeddings.read_table(other).lookups is not first.lookups
        with embeddings.read_together(other):
            assert embeddings.read_table(table) is first
        found = []
        thread = threading.Thread(
            target=lambda: found.append(embeddings.read_table(table))
        )
        thread.start()
        thread.join()
        assert found[0] is not first
    assert embeddings.read_table(table) is not first


@pytest.mark.parametrize("mode", ["eager", "graph", "compiled"])
def test_rows_of_a_gradient_are_added(mode):
    """Optimizers of Keras need that; several are added quicker without."""
    table, ids = _table(), tf.constant([3, 1, 3])

    def gradient(ids):
        with tf.GradientTape() as tape:
            rows = tf.gather(embeddings.read_rows(table), ids)
            loss = tf.reduce_sum(rows)
        return tape.gradient(loss, table.value)

    with embeddings.sparse_gradients():
        assert isinstance(gradient(ids), tf.IndexedSlices)
    assert isinstance(gradient(ids), tf.Tensor)
    if mode != "eager":
        gradient = tf.function(gradient, jit_compile=mode == "compiled")
    found = gradient(ids).numpy()
    assert [*found[:4, 0]] == [0, 1, 0, 2] and found.sum() == 12


@pytest.mark.parametrize(
    "name",
    [
        "electra",
        pytest.param("two_tower", marks=pytest.mark.slow),
        "disentangled",
        pytest.param("untied", marks=pytest.mark.slow),
        "mlm",
    ],
)
def test_a_step_of_pretraining(name, monkeypatch, plain_kernels):
    batch = next(iter(tiny.dataset()))

    def step():
        model = tiny.variant(name)
        model.compile(keras.optimizers.SGD(1.0))
        tf.function(model.train_step)(batch)
        return [v.numpy() for v in model.trainable_variables]

    together = step()
    monkeypatch.setattr(
        pretrainer, "read_together", lambda table: contextlib.nullcontext()
    )
    for a, b in zip(together, step(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)
