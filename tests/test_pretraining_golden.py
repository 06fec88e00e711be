"""The forward pass against numbers recorded from the original.

The recorded masking and samples are fed in, so that nothing is random.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.models import randomness
from electra_tf.models.config import ModelConfig
from electra_tf.pretraining import masking, objectives
from electra_tf.pretraining.pretrainer import ElectraPretrainer, GeneratorConfig

TOLERANCE = 2e-5


def _original_names(path: str) -> list[str]:
    """Ours -> the original's variable names (query, key and value: three)."""
    path = path.removeprefix("electra/")
    path = path.replace("layer_norm/", "LayerNorm/")
    if path.startswith("embeddings/"):
        return [f"electra/{path}"]
    network, part, rest = path.split("/", 2)
    if part == "head":
        scope = {
            "generator": "generator_predictions",
            "discriminator": "discriminator_predictions",
        }[network]
        return [f"{scope}/{rest}".replace("prediction/", "dense_1/")]
    scope = {"generator": "generator", "discriminator": "electra"}[network]
    if rest.startswith("embeddings_project") or part == "embeddings_project":
        return [f"{scope}/{part}/{rest}"]
    layer, rest = part, rest
    prefix = f"{scope}/encoder/{layer}"
    if rest.startswith("attention/qkv/"):
        leaf = rest.rsplit("/", 1)[1]
        return [
            f"{prefix}/attention/self/{name}/{leaf}"
            for name in ("query", "key", "value")
        ]
    for ours, theirs in (
        ("attention/output/", "attention/output/dense/"),
        ("attention_LayerNorm/", "attention/output/LayerNorm/"),
        ("intermediate/", "intermediate/dense/"),
        ("output_LayerNorm/", "output/LayerNorm/"),
        ("output/", "output/dense/"),
    ):
        if rest.startswith(ours):
            return [f"{prefix}/{theirs}{rest.removeprefix(ours)}"]
    raise AssertionError(path)


def _name(path: str) -> list[str]:
    path = path.replace("/encoder/layer_", "/layer_")
    path = path.replace("/encoder/embeddings_project", "/embeddings_project")
    return _original_names(path)


@pytest.fixture(scope="module")
def recorded(shared_dir):
    folder = shared_dir / "golden" / "pretrain" / "electra"
    settings = json.loads((folder / "config.json").read_text())
    return folder, settings, np.load(folder / "forward.npz")


@pytest.fixture(scope="module")
def model(recorded):
    folder, settings, _ = recorded
    bert = settings["bert_config"]
    model = ElectraPretrainer(
        ModelConfig(
            vocab_size=bert["vocab_size"],
            embedding_size=settings["embedding_size"],
            hidden_size=bert["hidden_size"],
            num_layers=bert["num_hidden_layers"],
            num_heads=bert["num_attention_heads"],
            intermediate_size=bert["intermediate_size"],
            max_positions=bert["max_position_embeddings"],
        ),
        GeneratorConfig(settings["kwargs"]["generator_hidden_size"]),
        masking.MaskingConfig(),
        objectives.ObjectiveConfig(),
        masking.SpecialIds(101, 102, 103),
    )
    reader = tf.train.load_checkpoint(str(folder / "model.ckpt"))
    for variable in model.trainable_variables:
        parts = [reader.get_tensor(n) for n in _name(variable.path)]
        variable.assign(np.concatenate(parts, axis=-1))
    return model


@pytest.fixture(scope="module")
def output(model, recorded):
    _, _, golden = recorded
    masked = masking.MaskedBatch(
        *(tf.constant(golden[name]) for name in masking.MaskedBatch._fields)
    )
    generated = model.generator(
        masked.masked_input_ids,
        masked.input_mask,
        masked.segment_ids,
        masked.masked_lm_positions,
    )
    token = objectives.token_loss_and_samples(
        tf.reshape(generated.logits, [-1, 30522]),
        tf.zeros([30522]),
        tf.reshape(masked.masked_lm_ids, [-1]),
        tf.zeros([36]),
    )
    corrupted = masking.CorruptedBatch(
        tf.constant(golden["fake_input_ids"]),
        tf.constant(golden["fake_labels"]),
    )
    discriminated = model.discriminator(
        corrupted.fake_input_ids, masked.input_mask, masked.segment_ids
    )
    return masked, generated, token, corrupted, discriminated


def _close(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=1e-5)


def test_hidden_states(output, recorded):
    golden = recorded[2]
    _, generated, _, _, discriminated = output
    for scope, encoder in (
        ("generator", generated.encoder),
        ("electra", discriminated.encoder),
    ):
        _close(
            encoder.embedding_output, golden[f"bert/{scope}/embedding_output"]
        )
        _close(np.stack(encoder.all_layers), golden[f"bert/{scope}/all_layers"])


def test_generator(output, recorded):
    golden = recorded[2]
    _, generated, token, _, _ = output
    _close(generated.logits[:1, :2], golden["mlm_logits"])
    _close(np.reshape(token.loss, [4, 9]), golden["mlm_per_example_loss"])
    np.testing.assert_array_equal(
        np.reshape(token.predictions, [4, 9]), golden["mlm_preds"]
    )


def test_discriminator(output, recorded):
    golden = recorded[2]
    masked, _, _, corrupted, discriminated = output
    _close(discriminated.logits, golden["disc_logits"])
    real = tf.cast(masked.input_mask, tf.float32)
    loss = objectives.replaced_token_loss(
        discriminated.logits, corrupted.fake_labels
    )
    _close(
        objectives.weighted_mean(loss, real, tf.reduce_sum(real)),
        golden["disc_loss"],
    )


def test_total_loss(model, output, recorded):
    golden = recorded[2]
    masked, _, token, corrupted, discriminated = output
    token = objectives.TokenLoss(*(tf.reshape(t, [4, 9]) for t in token))
    loss = objectives.replaced_token_loss(
        discriminated.logits, corrupted.fake_labels
    )
    np.testing.assert_allclose(
        model._total_loss(masked, token, loss),
        golden["total_loss"],
        rtol=1e-5,
    )


def test_corruption_of_the_recorded_samples(recorded):
    """Where positions are distinct our corruption equals the original's."""
    golden = recorded[2]
    masked = masking.MaskedBatch(
        *(tf.constant(golden[n]) for n in masking.MaskedBatch._fields)
    )
    distinct = [
        len(set(row[weight > 0])) == int((weight > 0).sum())
        for row, weight in zip(
            golden["masked_lm_positions"], golden["masked_lm_weights"]
        )
    ]
    ours = masking.corrupt(masked, tf.constant(golden["sampled_tokids"]))
    np.testing.assert_array_equal(
        ours.fake_input_ids.numpy()[distinct],
        golden["fake_input_ids"][distinct],
    )


def test_gradients_of_a_training_step(shared_dir):
    """The fused path, against the recorded gradients of all variables."""
    golden = np.load(shared_dir / "golden" / "train" / "electra" / "train.npz")

    def out(name):
        return tf.constant(golden[f"step0/out/{name}"])

    table = golden["step0/var/electra/embeddings/word_embeddings"]
    model = ElectraPretrainer(
        ModelConfig(
            vocab_size=table.shape[0], embedding_size=table.shape[1],
            hidden_size=64, num_layers=2, num_heads=4, intermediate_size=256,
            hidden_dropout=0.0, attention_dropout=0.0,
        ),
        GeneratorConfig(0.5),
        masking.MaskingConfig(),
        objectives.ObjectiveConfig(),
        masking.SpecialIds(101, 102, 103),
    )  # fmt: skip

    def recorded_of(kind, variable):
        parts = [golden[f"step0/{kind}/{n}"] for n in _name(variable.path)]
        return np.concatenate(parts, axis=-1)

    for variable in model.trainable_variables:
        variable.assign(recorded_of("var", variable))
    inputs = [tf.constant(golden[n]) for n in ("input_mask", "segment_ids")]
    labels = out("masked_lm_ids")
    keys = randomness.example_keys(tf.range(labels.shape[0]), 0)
    masked = masking.MaskedBatch(
        tf.constant(golden["input_ids"]), *inputs, out("masked_input_ids"),
        out("masked_lm_positions"), labels, out("masked_lm_weights"),
    )  # fmt: skip
    with tf.GradientTape() as tape:
        hidden, _ = model.generator.hidden_at(
            masked.masked_input_ids, *inputs, masked.masked_lm_positions,
            True, keys,
        )  # fmt: skip
        token = objectives.token_loss_and_samples(
            model.generator.head.scores(hidden, True),
            tf.convert_to_tensor(model.generator.head.output_bias),
            tf.reshape(labels, [-1]),
            tf.zeros([tf.size(labels)]),
        )
        token = objectives.TokenLoss(
            *(tf.reshape(t, labels.shape) for t in token)
        )
        logits, _ = model.discriminator(
            out("fake_input_ids"), *inputs, training=True, keys=keys
        )
        disc = objectives.replaced_token_loss(logits, out("fake_labels"))
        loss = model._total_loss(masked, token, disc)
    np.testing.assert_allclose(loss, out("loss"), rtol=1e-6)
    variables = model.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, variables)):
        expected = recorded_of("grad", variable)
        np.testing.assert_allclose(
            tf.convert_to_tensor(gradient),
            expected,
            atol=1e-5 * np.abs(expected).max(),
            err_msg=variable.path,
        )
