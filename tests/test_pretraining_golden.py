"""Tests the forward pass against values recorded from the original.

The recorded masking and samples are fed in, so that nothing is random.
"""

import keras
import numpy as np
import pretraining_golden
import pytest
import tensorflow as tf

from electra_tf.models import randomness
from electra_tf.pretraining import masking

TOLERANCE = 2e-5
CONFIGS = ("electra", "electric", "mlm", "tied", "uniform", "disallow")


@pytest.fixture(scope="module", params=CONFIGS)
def recorded(request, shared_dir):
    return pretraining_golden.Recorded(
        shared_dir / "golden" / "pretrain" / request.param
    )


@pytest.fixture(scope="module")
def model(recorded):
    return recorded.model()


@pytest.fixture(scope="module")
def output(model, recorded):
    masked = recorded.masked()
    keys = randomness.example_keys(tf.range(4, dtype=tf.int64), 0)
    return model.forward_masked(
        masked,
        keys,
        False,
        sampled_ids=tf.constant(recorded["sampled_tokids"]),
        corrupted=recorded.corrupted(),
    )


def _close(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=1e-5)


def test_every_variable_is_loaded(model, recorded):
    """Every variable is loaded, and every entry of the checkpoint used."""
    taken = [
        name
        for variable in model.trainable_variables
        for name in pretraining_golden.theirs(model, variable)
    ]
    reader = tf.train.load_checkpoint(str(recorded.folder / "model.ckpt"))
    there = set(reader.get_variable_to_shape_map()) - {"global_step"}
    assert sorted(taken) == sorted(there)


def test_hidden_states(output, recorded, model):
    scopes = {
        name.split("/")[1]
        for name in recorded.numbers
        if name.startswith("bert/")
    }
    found = {}
    if model.generator_config.kind == "two_tower":
        found["generator_ltr"] = output.generator.ltr
        found["generator_rtl"] = output.generator.rtl
    elif output.generator is not None and not model.generator_shares_encoder:
        found["generator"] = output.generator
    elif output.generator is not None:
        found["electra"] = output.generator
    if output.discriminator is not None:
        # The same encoder is run for the second time.
        again = "#2" if "electra" in found else ""
        found[f"electra{again}"] = output.discriminator
    assert set(found) == scopes
    for scope, encoder in found.items():
        for name in ("embedding_output", "all_layers", "sequence_output"):
            _close(
                np.asarray(getattr(encoder, name)),
                recorded[f"bert/{scope}/{name}"],
            )


def test_generator(output, recorded, model):
    masked = output.masked
    ids = masked.masked_input_ids
    if not model.generator.reads_masked:
        ids = masked.input_ids
    logits = model.generator(
        ids, masked.input_mask, masked.segment_ids, masked.masked_lm_positions
    ).logits
    _close(logits[:1, :2], recorded["mlm_logits"])
    _close(output.token.loss, recorded["mlm_per_example_loss"])
    np.testing.assert_array_equal(
        output.token.predictions, recorded["mlm_preds"]
    )
    weights = recorded["masked_lm_weights"]
    mean = np.sum(output.token.loss * weights) / (1e-6 + weights.sum())
    _close(mean, recorded["mlm_loss"])


def test_cloze(output, recorded):
    if "cloze_loss" not in recorded:
        assert output.cloze is None
        return
    cloze = output.cloze
    _close(cloze.token.loss, recorded["cloze_per_example_loss"])
    _close(cloze.token.log_z, recorded["cloze_log_z"])
    logits = tf.reshape(cloze.scores.scores + cloze.scores.bias, [4, 64, -1])
    _close(logits[:1, 0, :2], recorded["cloze_logits_b0"])
    np.testing.assert_array_equal(
        cloze.token.predictions, recorded["cloze_preds"]
    )
    np.testing.assert_array_equal(cloze.weights, recorded["cloze_weights"])
    weights = recorded["cloze_weights"]
    mean = np.sum(cloze.token.loss * weights) / (1e-6 + weights.sum())
    _close(mean, recorded["cloze_loss"])


def test_discriminator(output, recorded):
    if "disc_loss" not in recorded:
        assert output.judged is None and output.discriminator is None
        return
    judged = output.judged
    _close(judged.logits, recorded["disc_logits"])
    _close(tf.sigmoid(judged.logits), recorded["disc_probs"])
    np.testing.assert_array_equal(judged.logits > 0, recorded["disc_preds"])
    np.testing.assert_array_equal(
        output.corrupted.fake_labels, recorded["disc_labels"]
    )
    weights = recorded["input_mask"].astype("float32")
    losses = judged.loss * weights
    _close(
        np.sum(losses, -1) / (1e-6 + weights.sum(-1)),
        recorded["disc_per_example_loss"],
    )
    _close(np.sum(losses) / (1e-6 + weights.sum()), recorded["disc_loss"])


def test_total_loss(output, recorded):
    np.testing.assert_allclose(
        output.loss, recorded["total_loss"], rtol=1e-6, atol=TOLERANCE
    )


def test_metrics_that_mean_the_same(output, recorded, model):
    model.reset_metrics()
    model._update_metrics(output)
    ours = model.get_metrics_result()
    model.reset_metrics()
    for theirs, name in {
        "masked_lm_accuracy": "mlm_accuracy",
        "masked_lm_loss": "mlm_loss",
        "sampled_masked_lm_accuracy": "sampled_accuracy",
        "disc_accuracy": "disc_accuracy",
    }.items():
        if name in ours and f"metric/{theirs}" in recorded:
            _close(ours[name], recorded[f"metric/{theirs}"])


def test_metrics_that_mean_another_thing(output, recorded):
    """The original's formulas on our outputs give its recorded metrics.

    Our metrics differ on purpose. The original's disc_loss is the mean over
    rows of the rows' means, its precision and recall are weighted accuracies,
    and padding counts in its AUC.
    """
    if "metric/disc_auc" not in recorded:
        return
    weights = recorded["input_mask"].astype("float32")
    labels = recorded["disc_labels"]
    called = np.asarray(output.judged.logits > 0)
    right = (called == labels).astype("float32")
    auc = keras.metrics.AUC(num_thresholds=200)
    auc.update_state(
        np.ravel(labels * weights),
        np.ravel(tf.sigmoid(output.judged.logits) * weights),
    )

    def mean(values, weights):
        return np.sum(values * weights) / max(1e-6, np.sum(weights))

    rows = np.sum(output.judged.loss * weights, -1) / weights.sum(-1)
    _close(rows.mean(), recorded["metric/disc_loss"])
    _close(mean(right, called * weights), recorded["metric/disc_precision"])
    _close(mean(right, labels * weights), recorded["metric/disc_recall"])
    _close(auc.result(), recorded["metric/disc_auc"])


def test_corruption_of_the_recorded_samples(recorded, model):
    """Where positions are distinct our corruption equals the original's."""
    masked = recorded.masked()
    distinct = [
        len(set(row[weight > 0])) == int((weight > 0).sum())
        for row, weight in zip(
            recorded["masked_lm_positions"], recorded["masked_lm_weights"]
        )
    ]
    ours = model.objective.corrupt(
        masked, tf.constant(recorded["sampled_tokids"])
    )
    for name in masking.CorruptedBatch._fields:
        np.testing.assert_array_equal(
            getattr(ours, name).numpy()[distinct], recorded[name][distinct]
        )
