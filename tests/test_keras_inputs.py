"""Tests networks in your own programs: forms of inputs, outputs, training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_keras_saving import BATCH, CONFIG, PACKED, SPAN

from electra_tf.errors import UserError
from electra_tf.models import networks, task_networks
from electra_tf.models.config import TaskHeadConfig
from electra_tf.models.encoder import ElectraEncoder

IDS, MASK, SEGMENTS = BATCH.values()


def ragged_ids():
    return tf.ragged.constant([[2, 7, 9, 3], [2, 8, 3]], dtype=tf.int32)


@pytest.fixture(scope="module")
def encoder():
    model = ElectraEncoder(CONFIG)
    model.build()
    return model


@pytest.fixture(scope="module")
def expected(encoder):
    return encoder(IDS, MASK, SEGMENTS).sequence_output.numpy()


def given():
    """Returns one batch in every supported form."""
    hugging = {
        "input_ids": IDS, "attention_mask": MASK, "token_type_ids": SEGMENTS,
    }  # fmt: skip
    hub = {"token_ids": IDS, "padding_mask": MASK > 0, "segment_ids": SEGMENTS}
    long = {k: v.astype("int64") for k, v in BATCH.items()}
    lists = {k: v.tolist() for k, v in BATCH.items()}
    ragged = {
        "input_ids": ragged_ids(),
        "segment_ids": tf.ragged.constant([[0, 0, 1, 1], [0, 1, 1]]),
    }
    return {
        "ours": BATCH, "hugging": hugging, "hub": hub, "int64": long,
        "lists": lists,
        "floats": {**BATCH, "input_mask": MASK.astype("float32")},
        "ragged": ragged,
        "uneven": {k: [r[:n] for r, n in zip(v.tolist(), (4, 3))]
                   for k, v in BATCH.items()},
    }  # fmt: skip


@pytest.mark.parametrize(
    "form",
    ["ours", "hugging", "hub", "int64", "lists", "floats", "ragged", "uneven"],
)
def test_forms(encoder, expected, form):
    batch, real = given()[form], MASK[:, :, None] > 0
    for found in (encoder(batch), encoder(**batch)):
        length = found.sequence_output.shape[1]
        np.testing.assert_array_equal(
            np.where(real[:, :length], found.sequence_output, 0),
            np.where(real, expected, 0)[:, :length],
        )


def keras_inputs(batch, **options):
    return {
        name: keras.Input((None,), dtype="int32", name=name, **options)
        for name in batch
    }


@pytest.mark.parametrize("batch", [BATCH, PACKED, {"input_ids": IDS}])
def test_functional(encoder, batch, tmp_path):
    inputs = keras_inputs(batch)
    model = keras.Model(inputs, encoder(inputs).sequence_output)
    wanted = encoder(**batch).sequence_output
    np.testing.assert_array_equal(model(batch), wanted)
    np.testing.assert_allclose(
        model.predict(batch, verbose=0), wanted, atol=1e-6
    )
    path = str(tmp_path / "x.keras")
    model.save(path)
    np.testing.assert_array_equal(keras.saving.load_model(path)(batch), wanted)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(batch), wanted)


def test_functional_of_ragged_rows(encoder):
    inputs = keras_inputs(["input_ids"], ragged=True)
    model = keras.Model(inputs, encoder(inputs).first_output)
    np.testing.assert_array_equal(
        model({"input_ids": ragged_ids()}), encoder(IDS, MASK).first_output
    )


HEADS = {
    "sequence": TaskHeadConfig("sequence", 3),
    "token": TaskHeadConfig("token", 3),
    "span": TaskHeadConfig("span"),
    "joint_span": SPAN,
}


@pytest.mark.parametrize("kind", HEADS)
def test_functional_outputs_are_complete(kind):
    """Functional outputs equal the eager ones, also where some are None."""
    network = task_networks.task_network(CONFIG, HEADS[kind])
    inputs = keras_inputs(BATCH)
    symbolic, real = network(inputs), network(BATCH)
    found = tf.nest.flatten(symbolic)
    assert [x is None for x in found] == [
        x is None for x in tf.nest.flatten(real)
    ]
    model = keras.Model(inputs, [x for x in found if x is not None])
    for a, b in zip(
        model(BATCH),
        [x for x in tf.nest.flatten(real) if x is not None],
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_an_encoder_without_a_head_in_a_functional_model():
    network = networks.Discriminator(CONFIG, with_heads=())
    inputs = keras_inputs(BATCH)
    output = network(inputs)
    assert output.logits is None
    model = keras.Model(inputs, output.encoder.first_output)
    np.testing.assert_array_equal(
        model(BATCH), network(BATCH).encoder.first_output
    )


def test_inputs_embeds(encoder, expected):
    table = tf.convert_to_tensor(encoder.embeddings.word_embeddings)
    embeds = tf.gather(table, IDS)
    with tf.GradientTape() as tape:
        tape.watch(embeds)
        found = encoder(
            inputs_embeds=embeds, input_mask=MASK, segment_ids=SEGMENTS
        )
        score = found.first_output[:, 0]
    np.testing.assert_array_equal(found.sequence_output, expected)
    assert np.abs(tape.gradient(score, embeds)).sum() > 0


def test_attentions(encoder):
    assert encoder(BATCH).attentions is None
    found = encoder(BATCH, return_attentions=True)
    assert [a.shape for a in found.attentions] == [(2, 2, 5, 5)] * 2
    for a in found.attentions:
        np.testing.assert_allclose(tf.reduce_sum(a, -1), 1, rtol=1e-6)
        assert np.max(np.asarray(a)[1, ..., 3:]) == 0  # padding
    # They are those that the block uses: its output follows from them.
    attention = encoder.blocks[0].attention
    value = attention.qkv(found.embedding_output)[..., 32:]
    value = tf.transpose(tf.reshape(value, [2, 5, 2, 8]), [0, 2, 1, 3])
    context = tf.transpose(found.attentions[0] @ value, [0, 2, 1, 3])
    bias = (1.0 - MASK[:, None, None].astype("float32")) * -10000.0
    np.testing.assert_allclose(
        attention.output_dense.product(tf.reshape(context, [2, 5, 16])),
        attention(found.embedding_output, tf.constant(bias)),
        atol=1e-6,
    )


def test_attentions_in_a_functional_model():
    # This needs a new network: Keras takes the outputs of a layer's later calls
    # for those of its first call.
    network, inputs = ElectraEncoder(CONFIG), keras_inputs(BATCH)
    output = network(inputs, return_attentions=True)
    model = keras.Model(inputs, list(output.attentions))
    found = network(BATCH, return_attentions=True).attentions
    for a, b in zip(model(BATCH), found, strict=True):
        np.testing.assert_array_equal(a, b)


WRONG = [
    ({"input_ids": IDS[0]}, r"one row of shape \[5\].*input_ids\[None\]"),
    ({"input_ids": IDS.astype("float32")}, "whole numbers, got float32"),
    ({"input_ids": [["a", "b"]]}, "expected token ids, got strings"),
    ({"input_ids": IDS + 35}, r"\[0, 1\] is 42; expected 0 to 39"),
    ({"input_ids": IDS - 1}, r"\[0, 4\] is -1"),
    ({**BATCH, "segment_ids": SEGMENTS * 2}, "expected 0 to 1"),
    ({"input_ids": np.ones([1, 13], int)}, "13 tokens; it reads at most 12"),
    ({**BATCH, "input_mask": MASK[:, :4]}, r"\[2, 4\], input_ids has \[2, 5\]"),
    ({"input_ids": IDS[None]}, r"shape \[1, 2, 5\]; expected \[batch, length"),
    ({**BATCH, "position_ids": IDS}, "'position_ids'; positions are counted"),
    ({**BATCH, "labels": [0, 1]}, "'labels'; give them to fit"),
    ({**BATCH, "ids": IDS}, "'ids'; known: input_ids, token_ids"),
    ({**BATCH, "token_ids": IDS}, "another name for input_ids"),
    ({"input_mask": MASK}, "give input_ids"),
    ({"inputs_embeds": np.ones([2, 5, 7])}, "vectors of 7 numbers; expected 8"),
    ({"input_ids": IDS, "inputs_embeds": np.ones([2, 5, 8])}, "not both"),
]


@pytest.mark.parametrize(("batch", "message"), WRONG)
def test_wrong_inputs_are_reported(encoder, batch, message):
    with pytest.raises(UserError, match=message) as caught:
        encoder(batch)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(encoder.name)


def test_a_keras_input_of_floats_is_reported(encoder):
    with pytest.raises(UserError, match=r"dtype='int32'"):
        encoder(keras.Input((None,)))


# Kind of head -> labels, and the shape of the predictions.
LEARNED = {
    "sequence": (np.array([0, 2]), (2, 3)),
    "token": (np.array([[0, 1, 2, 1, 0]] * 2), (2, 5, 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LEARNED)
def test_fit(kind):
    """Losses of `compile` get the logits, and `predict` returns them."""
    y, shape = LEARNED[kind]
    network = task_networks.task_network(CONFIG, HEADS[kind])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("adam", loss, metrics=["accuracy"])
    expected = float(loss(y, network(BATCH).logits))
    found = network.evaluate(BATCH, y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    history = network.fit(BATCH, y, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert set(history) == {"loss", "accuracy"}
    assert network.predict(BATCH, verbose=0).shape == shape


def test_fit_answers():
    network = task_networks.task_network(CONFIG, HEADS["span"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("sgd", {"start_logits": loss, "end_logits": loss})
    y = {"start_logits": np.array([2, 1]), "end_logits": np.array([3, 2])}
    start, end = network(BATCH).spans.inside()
    expected = loss(y["start_logits"], start) + loss(y["end_logits"], end)
    found = network.evaluate(BATCH, y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert set(network.predict(BATCH, verbose=0)) == set(y)
