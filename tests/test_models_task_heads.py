"""Tests of task heads and their networks on small shapes."""

import math

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import randomness, task_networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig

CONFIG = ModelConfig.of_size(
    "tiny", vocab_size=100, embedding_size=16, hidden_size=32, num_heads=2,
    intermediate_size=64, max_positions=32,
)  # fmt: skip
CONFIGS = {
    "sequence": TaskHeadConfig(num_labels=3, labels=("a", "b", "c")),
    "hidden": TaskHeadConfig(num_labels=3, hidden_layer=True),
    "token": TaskHeadConfig("token", num_labels=5),
    "span": TaskHeadConfig("span"),
    "span_answerable": TaskHeadConfig("span", joint_size=24, answerable=True),
    "joint": TaskHeadConfig("joint_span", joint_size=24, beam_size=4),
    "answerable": TaskHeadConfig(
        "joint_span", joint_size=24, beam_size=4, answerable=True
    ),
}
NAMES = {
    "sequence": {"output": (32, 3)},
    "hidden": {"dense": (32, 32), "output": (32, 3)},
    "token": {"output": (32, 5)},
    "span": {"output": (32, 2)},
    "span_answerable": {
        "output": (32, 2), "answerable_hidden": (64, 24), "answerable": (24, 1),
    },
    "joint": {"start": (32, 1), "end_hidden": (64, 24), "end": (24, 1)},
    "answerable": {
        "start": (32, 1), "end_hidden": (64, 24), "end": (24, 1),
        "answerable_hidden": (64, 24), "answerable": (24, 1),
    },
}  # fmt: skip


def network(name, scale=1.0):
    model = task_networks.task_network(CONFIG, CONFIGS[name])
    model.build()
    for i, variable in enumerate(model.head.trainable_variables):
        noise = tf.random.stateless_normal(variable.shape, [i, 7], stddev=scale)
        variable.assign(noise * 0.3)
    return model


def inputs(rows=3, length=12, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 100, [rows, length]).astype("int32")
    segments = np.zeros_like(ids)
    segments[:, 4:] = 1
    mask = np.ones_like(ids)
    mask[1, 9:] = 0
    return tf.constant(ids), tf.constant(mask), tf.constant(segments)


def numbers(output):
    """Returns all tensors of a head's output as arrays."""
    first = output[0]
    found = (
        [first] if tf.is_tensor(first) else [t for t in first if t is not None]
    )
    return [np.asarray(t) for t in found]


@pytest.mark.parametrize("name", CONFIGS)
def test_variables_have_their_names(name):
    model = network(name)
    kernels = {
        v.path: tuple(v.shape)
        for v in model.head.trainable_variables
        if v.path.endswith("/kernel")
    }
    assert kernels == {
        f"discriminator/task/{layer}/kernel": shape
        for layer, shape in NAMES[name].items()
    }
    assert len(model.head.trainable_variables) == 2 * len(kernels)
    for v in model.encoder.trainable_variables:
        assert v.path.startswith("discriminator/encoder/")


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_and_padding(name):
    model = network(name)
    ids, mask, segments = inputs()
    output = model(ids, mask, segments)
    shape = {
        "sequence": (3, 3), "hidden": (3, 3), "token": (3, 12, 5),
    }.get(name, (3, 12))  # fmt: skip
    assert numbers(output)[0].shape == shape
    wider = [tf.pad(t, [[0, 0], [0, 5]]) for t in (ids, mask, segments)]
    padded = numbers(model(*wider))
    real = np.asarray(mask, bool)
    for few, many in zip(numbers(output), padded):
        if few.shape[:2] == (3, 12):
            # Outputs at padding are undefined.
            few, many = few[real], many[:, :12][real]
        np.testing.assert_allclose(few, many, atol=1e-4)


def test_hidden_layer_is_exact_gelu():
    model = network("hidden")
    output = model(*inputs())
    x = output.encoder.sequence_output[:, 0].numpy()
    head = model.head
    x = x @ head.dense.kernel.numpy() + head.dense.bias.numpy()
    x = np.vectorize(lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))))(x)
    x = x @ head.output_dense.kernel.numpy() + head.output_dense.bias.numpy()
    np.testing.assert_allclose(output.logits, x, atol=1e-5)


def test_beam_is_the_end_given_each_start():
    model = network("answerable", scale=3.0)
    spans = model(*inputs()).spans
    start, index = spans.start_top_log_probs, spans.start_top_index.numpy()
    assert start.shape == (3, 4) and spans.end_top_index.shape == (3, 4, 4)
    assert np.all(np.diff(start) <= 0)
    for k in range(4):
        given = tf.constant(index[:, k])
        one = model(*inputs(), start_positions=given).spans
        assert one.end_top_index is None
        np.testing.assert_allclose(one.start_logits, spans.start_logits)
        log_probs = tf.nn.log_softmax(one.end_logits)
        best, where = tf.nn.top_k(log_probs, 4)
        np.testing.assert_allclose(
            best, spans.end_top_log_probs[:, k], atol=1e-4
        )
        np.testing.assert_array_equal(where, spans.end_top_index[:, k])
        if k == 0:
            np.testing.assert_allclose(
                spans.end_logits, one.end_logits, atol=1e-4
            )


def test_answers_are_in_the_second_segment():
    spans = network("joint", scale=3.0)(*inputs()).spans
    # The beam holds four starts; at least five positions are possible.
    starts, ends = spans.start_top_index.numpy(), spans.end_top_index.numpy()
    for positions in (starts, ends):
        assert np.all((positions == 0) | (positions >= 4))
        assert np.all(positions[1] < 9)  # a row with padding
    assert spans.impossible_logit is None


def test_beam_of_a_short_input():
    spans = network("joint")(*inputs(length=3)).spans
    assert spans.start_top_index.shape == (3, 3)
    assert spans.end_top_index.shape == (3, 3, 3)


@pytest.mark.parametrize("name", CONFIGS)
def test_dropout_follows_its_keys(name):
    model = network(name)
    ids, mask, segments = inputs()
    extra = {}
    if CONFIGS[name].kind == "joint_span":
        extra["start_positions"] = tf.constant([4, 5, 6])

    def run(keys=None, rows=slice(None)):
        given = {n: v[rows] for n, v in extra.items()}
        output = model(
            ids[rows], mask[rows], segments[rows], training=True, keys=keys,
            **given,
        )  # fmt: skip
        return numbers(output)[0]

    keys = randomness.example_keys(tf.range(3), 5)
    first = run(keys)
    np.testing.assert_array_equal(first, run(keys))
    # An example's dropout does not depend on its batch.
    np.testing.assert_allclose(
        first[1:2], run(keys[1:2], slice(1, 2)), atol=1e-5
    )
    assert not np.allclose(first, run(keys + tf.constant(1, tf.uint32)))
    assert not np.allclose(run(), run())
    still = numbers(model(ids, mask, segments, **extra))[0]
    assert not np.allclose(first, still)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_variable_learns(name):
    model = network(name)
    batch, extra = inputs(), {}
    if CONFIGS[name].kind == "joint_span":
        extra["start_positions"] = tf.constant([4, 5, 6])
    with tf.GradientTape() as tape:
        head = model(*batch, training=True, **extra)[0]
        outputs = head if isinstance(head, tuple) else [head]
        loss = tf.add_n(
            [
                tf.reduce_sum(tf.sin(tf.maximum(t, -30.0)))
                for t in outputs
                if t is not None and t.dtype.is_floating
            ]
        )
    for variable, gradient in zip(
        model.trainable_variables,
        tape.gradient(loss, model.trainable_variables),
    ):
        assert gradient is not None, variable.path
        size = np.abs(tf.convert_to_tensor(gradient)).max()
        assert size > 0, variable.path


def test_masks_may_be_left_out():
    ids = inputs()[0]
    full, none = tf.ones_like(ids), tf.zeros_like(ids)
    for name in ("sequence", "token", "span", "joint"):
        model = network(name)
        given, left_out = model(ids, full, none), model(ids)
        for a, b in zip(numbers(given), numbers(left_out)):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("^kind: expected", {"kind": "sentence"}),
        ("^num_labels: expected", {"num_labels": 0}),
        ("^beam_size: expected", {"beam_size": 0}),
        ("^dropout: expected", {"dropout": 1.0}),
        ("task.labels", {"labels": ("yes",)}),
        ("task.hidden_layer", {"kind": "token", "hidden_layer": True}),
        ("task.answerable", {"kind": "token", "answerable": True}),
    ],
)
def test_impossible_heads(key, fields):
    with pytest.raises(UserError, match=key):
        TaskHeadConfig(**fields)


def test_labels_from_json_become_a_tuple():
    assert TaskHeadConfig(labels=["no", "yes"]).labels == ("no", "yes")


def test_network_of_another_kind_is_refused():
    with pytest.raises(UserError, match="SequenceClassifier needs sequence"):
        task_networks.SequenceClassifier(CONFIG, CONFIGS["span"])


def test_layer_learning_rates():
    share = task_networks.layer_rates(0.5, 3)
    model = network("sequence")
    assert share("discriminator/task/output/kernel") == 1.0
    assert share("discriminator/encoder/layer_2/attention/qkv/kernel") == 0.25
    assert share("discriminator/encoder/layer_0/output/bias") == 0.0625
    assert share("discriminator/encoder/embeddings_project/kernel") == 0.03125
    paths = {v.path: share(v.path) for v in model.trainable_variables}
    tables = [p for p in paths if "/embeddings/" in p]
    assert len(tables) == 5
    assert all(paths[p] == 0.03125 for p in tables)
    assert set(map(task_networks.layer_rates(1.0, 3), paths)) == {1.0}
