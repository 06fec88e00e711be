"""Tests that training continues from a checkpoint's weights, slots and step."""

import dataclasses

import hub_random
import keras
import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.hub import checkpoint as checkpoints
from electra_tf.hub import loading, names, tf1
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.directory import (
    load_weights,
    named_variables,
    save,
    stored_weights,
)
from electra_tf.hub.loading import slot_variables, warm_start
from electra_tf.keras_api import pretrainer
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining import masking, settings
from electra_tf.pretraining.pretrainer import ElectraPretrainer
from electra_tf.training.optimizer import AdamWeightDecay

MODEL = ModelConfig(
    vocab_size=len(hub_random.VOCAB), embedding_size=6, hidden_size=8,
    num_layers=2, num_heads=2, intermediate_size=32, max_positions=7,
)  # fmt: skip


def _pretrainer(model=MODEL, fraction=0.5, **generator):
    return ElectraPretrainer(
        model,
        GeneratorConfig(fraction, **generator),
        masking.MaskingConfig(),
        settings.ObjectiveConfig(),
        masking.SpecialIds(2, 3, 4),
    )


def _config(**changes):
    generator = MODEL.generator(0.5)
    config = DirectoryConfig(MODEL, generator, True, None, "", step=9)
    return dataclasses.replace(config, **changes)


def _optimizer(model, rate, **settings):
    optimizer = AdamWeightDecay(rate, **settings)
    optimizer.build(model.trainable_variables)
    return optimizer


def test_weights_slots_and_step():
    model = _pretrainer()
    source = hub_random.checkpoint(_config(), slots=True)
    optimizer = _optimizer(model, 1e-3)
    slots = slot_variables(optimizer, model.trainable_variables)
    report = warm_start(model, source, slots, optimizer.iterations)
    assert report.new == report.leftover == ()
    assert report.slots == len(source.weights) and report.step == 9
    assert int(optimizer.iterations) == 9
    hub_random.same(
        dataclasses.replace(
            source,
            weights=stored_weights(named_variables([model])),
            slots={n: tuple(map(np.asarray, s)) for n, s in slots.items()},
        ),
        source,
    )


def test_without_slots_the_optimizer_starts_again():
    model = _pretrainer()
    source = hub_random.checkpoint(_config(), slots=True)
    optimizer = _optimizer(model, 1e-3)
    assert warm_start(model, source).slots == 0
    assert int(optimizer.iterations) == 0
    slots = slot_variables(optimizer, model.trainable_variables)
    assert not any(np.any(a) for pair in slots.values() for a in pair)
    with pytest.raises(UserError, match="no optimizer slots"):
        warm_start(model, dataclasses.replace(source, slots=None), slots)


def test_what_is_missing_is_new_and_reported():
    model = _pretrainer()
    before = {n: v.numpy() for n, v in named_variables([model]).items()}
    config = _config(generator=None, replaced_token_head=False)
    source = hub_random.checkpoint(config, slots=True)
    optimizer = _optimizer(model, 1e-3)
    slots = slot_variables(optimizer, model.trainable_variables)
    for _, variable in slots.values():
        variable.assign(keras.ops.ones_like(variable))
    report = warm_start(model, source, slots)
    assert report.new and all("/head/" in n or "gener" in n for n in report.new)
    assert "newly initialised" in str(report)
    for name in report.new:
        np.testing.assert_array_equal(
            named_variables([model])[name], before[name]
        )
        assert not np.any(slots[name][1])
    assert report.slots == len(source.weights)


def test_another_size_names_both_and_changes_nothing():
    model = _pretrainer(fraction=1.0)
    before = [v.numpy() for v in model.weights]
    with pytest.raises(UserError, match=r"generator/.*\[6, 4\].*\[6, 8\]"):
        warm_start(model, hub_random.checkpoint(_config()))
    for a, b in zip(before, model.weights):
        np.testing.assert_array_equal(a, b)


def test_disentangled_tables_are_saved_whole_and_come_back(tmp_path):
    """Two tables are stored; in the model one is a difference to the other."""
    model = _pretrainer(fraction=1.0, embeddings="disentangled")
    plain = _config(generator=MODEL.generator(1.0))
    source = hub_random.checkpoint(plain)
    report = warm_start(model, source)
    assert report.new == report.leftover == ()
    ids = tf.constant([[2, 7, 8, 3]])

    def outputs(network):
        generated = network.generator(ids).logits
        return generated, network.discriminator(ids).logits

    reference = _pretrainer(fraction=1.0)
    warm_start(reference, source)
    for a, b in zip(outputs(model), outputs(reference)):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for variable in model.weights:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    config = dataclasses.replace(
        plain,
        generator_embeddings="untied",
        vocab_fingerprint=hub_random.VOCAB.fingerprint(),
    )
    save(
        str(tmp_path), config, [model.discriminator, model.generator],
        hub_random.VOCAB,
    )  # fmt: skip
    saved = loading.open_checkpoint(str(tmp_path))
    assert saved.leftover == ()
    assert "generator/embeddings/word_embeddings" in saved.weights
    again = _pretrainer(fraction=1.0, embeddings="disentangled")
    report = warm_start(again, saved)
    assert report.new == report.leftover == ()
    for a, b in zip(outputs(again), outputs(model)):
        np.testing.assert_allclose(a, b, atol=1e-5)
    alone = checkpoints.select(saved, "generator")
    np.testing.assert_array_equal(
        alone.weights["embeddings/word_embeddings"],
        model.embeddings.word_embeddings,
    )


def test_the_names_of_variables_themselves_are_taken_as_they_are():
    """Variables load by name; a training checkpoint has the differences."""
    model = _pretrainer(fraction=1.0, embeddings="disentangled")
    for variable in model.weights:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    weights = {n: v.numpy() for n, v in named_variables([model]).items()}
    again = _pretrainer(fraction=1.0, embeddings="disentangled")
    load_weights(again, weights, "there")
    for name, variable in named_variables([again]).items():
        np.testing.assert_array_equal(variable, weights[name])


# --- against the original --------------------------------------------------


def _opened(path, shared_dir):
    return loading.open_checkpoint(
        str(path),
        {"model.num_heads": "4"},
        str(shared_dir / "golden" / "vocab_4k.txt"),
    )


def _started(checkpoint, rate, **settings):
    """Returns a pre-trainer and its optimizer, both from the checkpoint."""
    config = checkpoint.config
    model = _pretrainer(
        config.discriminator,
        config.generator.hidden_size / config.discriminator.hidden_size,
    )
    optimizer = _optimizer(model, rate, **settings)
    slots = slot_variables(optimizer, model.trainable_variables)
    report = warm_start(model, checkpoint, slots, optimizer.iterations)
    assert report.new == report.leftover == ()
    return model, optimizer


def test_recorded_steps_from_its_slots(shared_dir):
    """The original's gradients and learning rates give its variables."""
    folder = shared_dir / "golden" / "train" / "electra"
    golden = np.load(folder / "train.npz")
    checkpoint = _opened(folder / "step0.ckpt", shared_dir)
    model, optimizer = _started(checkpoint, 1.0, max_grad_norm=0.0)
    table = names.tf1()
    variables = named_variables([model])

    def recorded(step, kind, name, slot=""):
        keys = [f"step{step}/{kind}/{n}{slot}" for n in table.theirs(name)]
        # The largest arrays are recorded only at the first and the last step.
        if keys[0] not in golden:
            return None
        return names.to_ours("tf1", name, [golden[key] for key in keys])

    def compare(step):
        for name, variable in variables.items():
            expected = recorded(step, "var", name)
            if expected is not None:
                np.testing.assert_allclose(variable, expected, atol=1e-6)

    for step in range(5):
        compare(step)
        # The recorded norm is used, as the original's counts rows of sparse
        # gradients twice.
        norm = float(golden[f"step{step}/out/global_norm"])
        gradients = [
            tf.constant(recorded(step, "grad", name) / max(1.0, norm))
            for name in variables
        ]
        optimizer.learning_rate = float(golden[f"step{step}/out/lr"])
        optimizer.apply(gradients, list(variables.values()))
    compare(5)
    slots = slot_variables(optimizer, model.trainable_variables)
    for name, pair in slots.items():
        for variable, slot in zip(pair, ("/adam_m", "/adam_v")):
            np.testing.assert_allclose(
                variable, recorded(5, "var", name, slot), atol=1e-6
            )


def _updated(weight, gradient, m, v, rate, decay):
    """Applies the original's update rule, given the clipped gradient."""
    m = 0.9 * m + 0.1 * gradient
    v = 0.999 * v + 0.001 * gradient**2
    return weight - rate * (m / (np.sqrt(v) + 1e-6) + decay * weight), m, v


def test_the_next_step_of_a_run(shared_dir):
    """The step after a checkpoint of step 6 uses its slots, which are not 0."""
    path = shared_dir / "golden" / "cli_run" / "model.ckpt-6"
    checkpoint = _opened(path, shared_dir)
    assert checkpoint.config.step == 6
    model, optimizer = _started(checkpoint, 2e-3, max_grad_norm=0.0)
    assert int(optimizer.iterations) == 6
    variables = named_variables([model])
    rng = np.random.default_rng(0)
    gradients = {
        name: rng.normal(size=v.shape).astype(np.float32)
        for name, v in variables.items()
    }
    optimizer.apply(
        [tf.constant(g) for g in gradients.values()],
        list(variables.values()),
    )
    slots = slot_variables(optimizer, model.trainable_variables)
    for name, variable in variables.items():
        no_decay = "layer_norm" in name or "bias" in name
        expected = _updated(
            checkpoint.weights[name], gradients[name],
            *checkpoint.slots[name], 2e-3, 0.0 if no_decay else 0.01,
        )  # fmt: skip
        assert np.any(checkpoint.slots[name][1])
        for actual, wanted in zip((variable, *slots[name]), expected):
            np.testing.assert_allclose(actual, wanted, atol=1e-6, err_msg=name)
    assert int(optimizer.iterations) == 7


def test_slots_survive_our_own_directory(shared_dir, tmp_path):
    path = shared_dir / "golden" / "cli_run" / "model.ckpt-6"
    checkpoint = _opened(path, shared_dir)
    ours = loading.format_module("electra_tf")
    ours.write(str(tmp_path / "ours"), checkpoint)
    hub_random.same(loading.open_checkpoint(str(tmp_path / "ours")), checkpoint)
    tf1.write(str(tmp_path / "tf1"), checkpoint)
    hub_random.same(loading.open_checkpoint(str(tmp_path / "tf1")), checkpoint)


def test_settings_that_a_checkpoint_overrides_are_reported(tiny_model):
    """Shapes and the kind of generator are the checkpoint's, and it says so."""
    made = pretrainer.ElectraPretrainer.from_pretrained(
        tiny_model, model={"num_layers": 7}, generator={"kind": "uniform"}
    )
    layers = made.settings.model.num_layers
    kind = made.settings.generator.kind
    assert layers != 7 and kind != "uniform"
    found = made.load_report.replaced
    assert f"model.num_layers {layers}, not 7" in found
    assert f"generator.kind {kind}, not uniform" in found
    assert "not by the settings: generator." in str(made.load_report)
    as_it_is = pretrainer.ElectraPretrainer.from_pretrained(tiny_model)
    assert as_it_is.load_report.replaced == ()
