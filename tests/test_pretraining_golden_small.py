"""Tests two steps against recorded ones that are in every clone.

`golden/pretraining_steps.npz` comes from a run of google-research/electra
(TensorFlow 1.15, 4,096 tokens, dropout 0). It holds all weights, except the
positions beyond the sequences; the batch, its masking and its samples; the
losses; and the first rows of each gradient and updated weight. The first step
has learning rate 0, so that the second starts from the same weights.
"""

import pathlib

import numpy as np
import pretraining_golden
import pytest
import tensorflow as tf

from electra_tf.models import randomness
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining import masking
from electra_tf.pretraining.pretrainer import ElectraPretrainer
from electra_tf.pretraining.settings import ObjectiveConfig
from electra_tf.training.optimizer import OptimizerConfig, make_optimizer

FILE = pathlib.Path(__file__).parent / "golden" / "pretraining_steps.npz"
# The index of the first recorded row, where it is not 0.
FIRST_ROW = {"electra/embeddings/word_embeddings": 1990}
MASK = 103


@pytest.fixture(scope="module")
def golden():
    with np.load(FILE) as file:
        return dict(file)


@pytest.fixture
def model(golden):
    table = golden["step0/var/electra/embeddings/word_embeddings"]
    model = ElectraPretrainer(
        ModelConfig(
            vocab_size=table.shape[0], embedding_size=table.shape[1],
            hidden_size=64, num_layers=2, num_heads=4, intermediate_size=256,
            max_positions=64, hidden_dropout=0.0, attention_dropout=0.0,
        ),
        GeneratorConfig(0.5),
        masking.MaskingConfig(),
        ObjectiveConfig(),
        masking.SpecialIds(101, 102, MASK),
    )  # fmt: skip
    pretraining_golden.load(model, lambda name: golden[f"step0/var/{name}"])
    return model


def batch(golden, step):
    """Returns the recorded masked batch, corrupted batch and samples."""

    def out(name):
        return tf.constant(golden[f"step{step}/out/{name}"])

    fields = {
        name: tf.constant(golden[name]) if name in golden else out(name)
        for name in masking.MaskedBatch._fields
        if name != "packed"
    }
    corrupted = masking.CorruptedBatch(
        out("fake_input_ids"), out("fake_labels")
    )
    return masking.MaskedBatch(**fields), corrupted, out("sampled_tokids")


def forward(model, golden, step):
    masked, corrupted, sampled = batch(golden, step)
    return model.forward_masked(
        masked,
        randomness.example_keys(tf.range(4, dtype=tf.int64), 0),
        True,
        sampled_ids=sampled,
        corrupted=corrupted,
    )


def mean(values, weights):
    return tf.reduce_sum(values * weights) / tf.reduce_sum(weights)


def check(model, golden, kind, array_of, atol, scaled):
    """Compares the recorded rows of every variable; returns their size.

    With `scaled` the tolerance is relative to a variable's largest value.
    Query, key and value are one variable: the keys' bias has no gradient.
    """
    seen = 0
    for variable in model.trainable_variables:
        names = pretraining_golden.theirs(model, variable)
        if f"{kind}/{names[0]}" not in golden:
            assert names[0] in FIRST_ROW, names  # recorded only at the end
            continue
        expected = np.concatenate(
            [golden[f"{kind}/{name}"] for name in names], axis=-1
        )
        first = FIRST_ROW.get(names[0], 0)
        ours = array_of(variable)[first : first + len(expected)]
        np.testing.assert_allclose(
            ours,
            expected,
            rtol=0,
            atol=atol * (np.abs(expected).max() if scaled else 1.0),
            err_msg=variable.path,
        )
        seen += expected.size
    return seen


@pytest.mark.parametrize("step", [0, 1])
def test_recorded_masking_and_corruption(golden, step):
    """Recorded samples are masked and replaced as in the original.

    The original may sample a position twice. Such rows are checked in part.
    """
    masked, corrupted, sampled = batch(golden, step)
    uniform = golden[f"step{step}/out/rng_uniform_replace"]
    positions = masked.masked_lm_positions.numpy()
    counts = masked.masked_lm_weights.numpy() > 0
    for row in range(len(positions)):
        there = positions[row][counts[row]]
        # The labels are the original tokens.
        ids = golden["input_ids"][row]
        np.testing.assert_array_equal(
            masked.masked_lm_ids.numpy()[row][counts[row]], ids[there]
        )
        if len(set(there)) < len(there):
            continue
        wanted = ids.copy()
        wanted[there[uniform[row][counts[row]] < 0.85]] = MASK
        np.testing.assert_array_equal(
            masked.masked_input_ids.numpy()[row], wanted
        )
        length = golden["input_mask"][row].sum()
        assert len(there) == np.clip(np.round(0.15 * length), 1, 9)
        ours = masking.corrupt(masked, sampled)
        for name in masking.CorruptedBatch._fields:
            np.testing.assert_array_equal(
                getattr(ours, name).numpy()[row],
                getattr(corrupted, name).numpy()[row],
            )


@pytest.mark.parametrize("step", [0, 1])
def test_recorded_losses(model, golden, step):
    output = forward(model, golden, step)
    masked = output.masked
    real = tf.cast(masked.input_mask, tf.float32)
    for ours, name in (
        (output.loss, "loss"),
        (mean(output.token.loss, masked.masked_lm_weights), "mlm_loss"),
        (mean(output.judged.loss, real), "disc_loss"),
    ):
        np.testing.assert_allclose(
            ours, golden[f"step{step}/out/{name}"], rtol=2e-6
        )


@pytest.mark.parametrize("step", [0, 1])
def test_recorded_gradients(model, golden, step):
    with tf.GradientTape() as tape:
        loss = forward(model, golden, step).loss
    variables = model.trainable_variables
    found = {
        variable.path: tf.convert_to_tensor(gradient).numpy()
        for variable, gradient in zip(variables, tape.gradient(loss, variables))
    }
    seen = check(
        model,
        golden,
        f"step{step}/grad",
        lambda variable: found[variable.path],
        atol=1e-5,
        scaled=True,
    )
    assert seen > 25_000


def test_recorded_updates(model, golden):
    """The optimizer gives the recorded weights after both steps."""
    optimizer = make_optimizer(
        OptimizerConfig(learning_rate=2e-3, num_warmup_steps=3), 8
    )
    model.compile(optimizer)
    before = {v.path: v.numpy() for v in model.trainable_variables}
    for step in range(2):
        np.testing.assert_allclose(
            optimizer.learning_rate, golden[f"step{step}/out/lr"], rtol=1e-6
        )
        with tf.GradientTape() as tape:
            loss = forward(model, golden, step).loss
        variables = model.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables)
        )
        np.testing.assert_allclose(
            optimizer.last_global_norm,
            golden[f"step{step}/out/global_norm"],
            rtol=1e-3,
        )
        if step == 0:  # at learning rate 0
            for variable in variables:
                np.testing.assert_array_equal(variable, before[variable.path])
    seen = check(
        model,
        golden,
        "step2/var",
        lambda variable: variable.numpy(),
        atol=1e-5,
        scaled=False,
    )
    assert seen > 20_000
    for variable in model.trainable_variables:
        moved = np.abs(variable.numpy() - before[variable.path]).max()
        assert moved > 1e-3, variable.path
