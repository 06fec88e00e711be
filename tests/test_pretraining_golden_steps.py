"""Tests training steps against recorded steps of the original, end to end.

The recorded masking and samples are fed in. The forward pass, the backward
pass and the optimizer are ours; they start from recorded weights and moments.
"""

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

STEPS = 5


@pytest.fixture(scope="module")
def folder(shared_dir):
    return shared_dir / "golden" / "train" / "electra"


@pytest.fixture(scope="module")
def golden(folder):
    with np.load(folder / "train.npz") as file:
        return dict(file)


@pytest.fixture
def model(golden):
    table = golden["step0/var/electra/embeddings/word_embeddings"]
    model = ElectraPretrainer(
        ModelConfig(
            vocab_size=table.shape[0], embedding_size=table.shape[1],
            hidden_size=64, num_layers=2, num_heads=4, intermediate_size=256,
            hidden_dropout=0.0, attention_dropout=0.0,
        ),
        GeneratorConfig(0.5),
        masking.MaskingConfig(),
        ObjectiveConfig(),
        masking.SpecialIds(101, 102, 103),
    )  # fmt: skip
    pretraining_golden.load(model, lambda name: golden[f"step0/var/{name}"])
    return model


def _forward(model, golden, step):
    def out(name):
        return tf.constant(golden[f"step{step}/out/{name}"])

    fields = {
        name: tf.constant(golden[name]) if name in golden else out(name)
        for name in masking.MaskedBatch._fields
        if name != "packed"
    }
    masked = masking.MaskedBatch(**fields)
    keys = randomness.example_keys(tf.range(4, dtype=tf.int64), 0)
    return model.forward_masked(
        masked,
        keys,
        True,
        sampled_ids=out("sampled_tokids"),
        corrupted=masking.CorruptedBatch(
            out("fake_input_ids"), out("fake_labels")
        ),
    )


def _mean(values, weights):
    return tf.reduce_sum(values * weights) / tf.reduce_sum(weights)


def test_gradients_of_a_training_step(model, golden):
    """The fused path gives the recorded gradients of all variables."""
    with tf.GradientTape() as tape:
        loss = _forward(model, golden, 0).loss
    np.testing.assert_allclose(loss, golden["step0/out/loss"], rtol=1e-6)
    variables = model.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, variables)):
        expected = pretraining_golden.recorded_of(
            model, variable, lambda name: golden[f"step0/grad/{name}"]
        )
        np.testing.assert_allclose(
            tf.convert_to_tensor(gradient),
            expected,
            atol=1e-5 * np.abs(expected).max(),
            err_msg=variable.path,
        )


def test_five_steps_end_to_end(model, golden, folder):
    optimizer = make_optimizer(
        OptimizerConfig(learning_rate=2e-3, num_warmup_steps=3), 8
    )
    model.compile(optimizer)
    start = tf.train.load_checkpoint(str(folder / "step0.ckpt"))
    slots = {v.path: v for v in optimizer.variables}
    for slot in ("m", "v"):

        def moment(name, slot=slot):
            return start.get_tensor(f"{name}/adam_{slot}")

        for variable in model.trainable_variables:
            name = f"{variable.path.replace('/', '_')}_{slot}"
            slots[f"{optimizer.name}/{name}"].assign(
                pretraining_golden.recorded_of(model, variable, moment)
            )
    for step in range(STEPS):
        np.testing.assert_allclose(
            optimizer.learning_rate, golden[f"step{step}/out/lr"], rtol=1e-6
        )
        with tf.GradientTape() as tape:
            output = _forward(model, golden, step)
        weights = output.masked.masked_lm_weights
        real = tf.cast(output.masked.input_mask, tf.float32)
        for ours, name in (
            (output.loss, "loss"),
            (_mean(output.token.loss, weights), "mlm_loss"),
            (_mean(output.judged.loss, real), "disc_loss"),
        ):
            np.testing.assert_allclose(
                ours, golden[f"step{step}/out/{name}"], rtol=2e-6, atol=1e-4
            )
        variables = model.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(output.loss, variables), variables)
        )
        np.testing.assert_allclose(
            optimizer.last_global_norm,
            golden[f"step{step}/out/global_norm"],
            rtol=1e-3,
        )
        for variable in variables:
            names = pretraining_golden.theirs(model, variable)
            keys = [f"step{step + 1}/var/{name}" for name in names]
            if keys[0] not in golden:
                continue  # of the largest table: only first and last
            expected = np.concatenate([golden[k] for k in keys], axis=-1)
            np.testing.assert_allclose(
                variable, expected, rtol=0, atol=1e-4, err_msg=variable.path
            )
