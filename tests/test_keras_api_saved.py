"""Tests that a saved run of each objective is complete and loads as it was."""

import dataclasses

import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

import electra_tf
from electra_tf import config
from electra_tf.hub import directory, loading, names
from electra_tf.keras_api.pretrainer import ElectraPretrainer
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.recipes.evaluate_pretraining import load_weights
from electra_tf.text.vocab import SPECIALS, Vocab

VOCAB = Vocab((*SPECIALS, *(f"w{i}" for i in range(tiny.VOCAB - 5))))


def made(name):
    """Returns the public pre-trainer of a variant of the tiny one."""
    like = tiny.variant(name, dropout=0.0)
    return ElectraPretrainer.from_config(
        vocab=VOCAB,
        model=like.discriminator.config,
        generator=like.generator_config,
        masking=like.masking_config,
        objective=like.objective.config,
    )


@pytest.fixture(scope="module", params=tiny.VARIANTS)
def saved(request, tmp_path_factory):
    """A pre-trainer with all weights changed, and its saved directory."""
    model = made(request.param)
    random = np.random.default_rng(0)
    for v in model.weights:
        v.assign(v + random.normal(size=v.shape) * 0.05)
    run = str(tmp_path_factory.mktemp(request.param))
    model.save_pretrained(f"{run}/model", step=7)
    return request.param, model, run


@pytest.fixture(scope="module")
def batch():
    return next(iter(tiny.dataset(1)))


def test_the_directory_is_whole(saved):
    """The config asks for exactly the weights in the directory."""
    name, _, run = saved
    checkpoint = loading.open_checkpoint(run)
    expected = set(names.shapes(checkpoint.config))
    extra = {n for n in checkpoint.weights if n.startswith(names.EXTRA)}
    assert set(checkpoint.weights) == expected | extra
    assert bool(extra) == (name in ("replaced_mlm", "all_tokens_mlm"))
    assert not checkpoint.leftover


def test_the_pre_trainer_comes_back(saved, batch):
    name, model, run = saved
    again = tiny.variant(name, dropout=0.0)
    path = f"{run}/model/{directory.WEIGHTS}"
    load_weights(again, directory.read(run).weights, path)
    # Both use the same sampled tokens, as rounding may change a sample.
    expected = model(batch, seed=1)
    found = again.forward_masked(
        expected.masked,
        tf.zeros([tiny.BATCH], tf.uint32),
        False,
        sampled_ids=expected.token.sampled_ids,
    )
    np.testing.assert_allclose(found.token.loss, expected.token.loss, atol=1e-4)
    if name != "adversarial":  # its baseline is used in training only
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    if expected.discriminator is not None:
        np.testing.assert_allclose(
            found.discriminator.sequence_output,
            expected.discriminator.sequence_output,
            atol=1e-4,
        )


def test_from_pretrained_is_what_was_saved(saved):
    name, model, run = saved
    again = ElectraPretrainer.from_pretrained(run)
    assert again.settings == model.settings
    # The baseline of `adversarial` is not saved, as only training uses it.
    assert bool(again.load_report.new) == (name == "adversarial")
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        if "baseline" not in ours.path:
            # A difference of two tables is computed anew, with rounding.
            np.testing.assert_allclose(
                ours, theirs, rtol=0, atol=3e-8, err_msg=ours.path
            )


def test_each_network_loads_alone(saved, batch):
    name, model, run = saved
    inputs = (batch["input_ids"], batch["input_mask"], batch["segment_ids"])
    encoder = electra_tf.Encoder.from_pretrained(run)
    np.testing.assert_allclose(
        encoder(*inputs).sequence_output,
        model.discriminator.encoder(*inputs).sequence_output,
        atol=1e-5,
    )
    if name == "uniform":
        return
    generator = electra_tf.Generator.from_pretrained(run)
    np.testing.assert_allclose(
        generator(*inputs).logits, model.generator(*inputs).logits, atol=1e-5
    )


@pytest.mark.parametrize(
    "path",
    sorted((tiny.ROOT / "configs" / "pretrain" / "objectives").glob("*.yaml")),
    ids=lambda p: p.stem,
)
def test_shipped_configs_are_possible(path):
    """Shipped configs load, have instructions to run them, and build."""
    settings = config.resolve(PretrainSettings, str(path))
    small = dataclasses.replace(settings.model, max_positions=16)
    settings = dataclasses.replace(settings, model=small)
    model = ElectraPretrainer.from_config(settings, vocab=VOCAB)
    assert model.objective.config == settings.objective
    head = path.read_text().split("\n\n")[0]
    assert f"--config=configs/pretrain/objectives/{path.name}" in head
    assert "electra-tf pretrain" in head and "Expect" in head


def test_every_variant_has_a_config():
    names = {
        p.stem.removeprefix("tiny_")
        for p in (tiny.ROOT / "configs" / "pretrain" / "objectives").iterdir()
    }
    # ELECTRA itself is configs/pretrain/tiny.yaml.
    assert set(tiny.VARIANTS) - {"electra", "two_tower_untied"} == names


def test_a_disentangled_run_from_shared_tables(batch):
    """A disentangled model loaded from shared tables has the same loss."""
    shared = tiny.variant("electra", dropout=0.0, seed=1)
    disentangled = tiny.variant("disentangled", dropout=0.0, seed=2)
    networks = [shared.discriminator, shared.generator]
    weights = directory.stored_weights(directory.named_variables(networks))
    load_weights(disentangled, weights, "shared")
    assert float(disentangled(batch, seed=1).loss) == pytest.approx(
        float(shared(batch, seed=1).loss), rel=1e-5
    )
