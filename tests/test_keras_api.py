"""Tests the public pre-trainer, as a program of your own uses it."""

import json
import pathlib
import re
import shutil

import keras
import numpy as np
import pretrain_command
import pytest
import tensorflow as tf

import electra_tf
from electra_tf import tensors
from electra_tf.cli import app
from electra_tf.data import reader
from electra_tf.errors import UserError
from electra_tf.training import loop

PAGE = (
    pathlib.Path(__file__).resolve().parent.parent / "docs" / "pretraining.md"
)
SMALL = {
    "model": {
        "hidden_size": 32, "embedding_size": 16, "num_layers": 1,
        "num_heads": 2, "intermediate_size": 64, "local_start": False,
    },
    "generator": {"hidden_fraction": 0.5},
    "train": {"batch_size": 4, "num_warmup_steps": 2, "num_train_steps": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory, sample_text_dir):
    text = (sample_text_dir / "persuasion.txt").read_text()[:60_000]
    return pretrain_command.build_data(tmp_path_factory.mktemp("d"), text)


@pytest.fixture(scope="module")
def vocab(data):
    return str(data / "vocab.txt")


def _weights(folder):
    return tensors.load(str(pathlib.Path(folder) / "model.safetensors"))


def _same(a, b):
    assert a.keys() == b.keys() and len(a) > 10
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)


@pytest.mark.slow
def test_the_page_pre_trains(data, tmp_path, monkeypatch):
    """The page's code runs, and all that the page names read its result."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "ElectraPretrainer" in block]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data, "data")
    shutil.copy(data / "vocab.txt", "vocab.txt")
    names = {}
    exec(code, names)
    pretrainer = names["pretrainer"]
    steps = int(pretrainer.optimizer.iterations.numpy())
    assert (
        steps
        == names["electra_tf"]
        .pretraining_dataset("data", batch_size=16)
        .cardinality()
    )
    description = json.loads(pathlib.Path("run/config.json").read_text())
    assert description["step"] == steps
    found = electra_tf.evaluate_pretraining("run", "data")
    fitted = pretrainer.evaluate(
        electra_tf.pretraining_dataset("data", split="validation"),
        return_dict=True,
        verbose=0,
    )
    assert found.metrics["mlm_loss"] == pytest.approx(
        fitted["mlm_loss"], rel=1e-5
    )
    again = electra_tf.ElectraPretrainer.from_pretrained("run")
    assert again.settings == pretrainer.settings
    again.compile()
    again.save_pretrained("again")
    _same(_weights("run"), _weights("again"))
    words = ["--from=run", "--to=huggingface", "--output=hf", "--part=both"]
    assert app.run(["convert", *words]) == 0
    other = electra_tf.ElectraPretrainer.from_pretrained(
        ["hf/discriminator", "hf/generator"], vocab="vocab.txt"
    )
    assert not other.load_report.new
    other.save_pretrained("other")
    _same(_weights("run"), _weights("other"))


def test_fit_takes_the_steps_of_the_recipe(data, vocab, tmp_path):
    """20 steps over the same batches give the same weights, to the last bit."""
    output = str(tmp_path / "run")
    result = electra_tf.pretrain(str(data), output, progress=False, **SMALL)
    assert result.step == 20 and result.model == f"{output}/model"
    seed = 42
    loop.make_deterministic(seed)
    pretrainer = electra_tf.ElectraPretrainer.from_config(
        vocab=vocab, seed=seed, **SMALL
    )
    pretrainer.compile()
    batches = electra_tf.pretraining_dataset(str(data), batch_size=4, seed=seed)
    assert batches.cardinality() > 20
    history = pretrainer.fit(batches.take(20), epochs=1, verbose=0)
    pretrainer.save_pretrained(str(tmp_path / "fit"))
    _same(_weights(f"{output}/model"), _weights(tmp_path / "fit"))
    records = [json.loads(s) for s in open(f"{output}/metrics.jsonl")]
    (trained,) = [r for r in records if r["split"] == "train"]
    assert history.history["loss"][0] == pytest.approx(trained["loss"])


def test_initial_weights_are_the_seeds_alone(vocab):
    def first(seed):
        made = electra_tf.ElectraPretrainer.from_size(
            "tiny", vocab=vocab, seed=seed, **SMALL
        )
        return made.discriminator.weights[0].numpy()

    keras.utils.set_random_seed(1)
    ours = first(3)
    expected = keras.random.normal([2]).numpy()
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(keras.random.normal([2]), expected)
    np.testing.assert_array_equal(first(3), ours)
    assert not np.array_equal(first(4), ours)


def test_each_pass_is_an_epoch_of_its_own(data):
    found = reader.find_examples(str(data))
    batches = electra_tf.pretraining_dataset(str(data), batch_size=8)
    per_pass = found.total // 8
    assert batches.cardinality() == per_pass
    passes = [
        [batch["example_id"].numpy() for batch in batches] for _ in range(2)
    ]
    for number, ids in enumerate(passes):
        start = number * found.total
        np.testing.assert_array_equal(
            np.concatenate(ids), np.arange(start, start + per_pass * 8)
        )
    # The second pass is the second epoch of the stream.
    stream = reader.pretraining_dataset(
        str(data), batch_size=8, max_seq_length=32, seed=42,
        start_example=found.total,
    )  # fmt: skip
    expected = next(iter(stream))["input_ids"]
    third = electra_tf.pretraining_dataset(str(data), batch_size=8)
    next(iter(third))
    np.testing.assert_array_equal(next(iter(third))["input_ids"], expected)
    held_out = electra_tf.pretraining_dataset(str(data), split="validation")
    once, twice = (
        np.concatenate([batch["input_ids"] for batch in held_out])
        for _ in range(2)
    )
    np.testing.assert_array_equal(once, twice)
    assert len(once) == reader.find_examples(str(data), "validation").total


def test_the_validation_split_says_how_many_batches_it_has(data):
    found = electra_tf.pretraining_dataset(
        str(data), split="validation", batch_size=3
    )
    assert int(found.cardinality()) == sum(1 for _ in found) > 1


@pytest.mark.slow
def test_fit_under_a_strategy(data, vocab):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        pretrainer = electra_tf.ElectraPretrainer.from_size(
            "tiny", vocab=vocab, **SMALL
        )
        pretrainer.compile()
    batches = electra_tf.pretraining_dataset(str(data), batch_size=8)
    pretrainer.fit(batches, epochs=2, steps_per_epoch=3, verbose=0)
    assert int(pretrainer.optimizer.iterations.numpy()) == 6


def test_saving_replaces_a_model_and_leaves_other_files(vocab, tmp_path):
    made = electra_tf.ElectraPretrainer.from_size("tiny", vocab=vocab, **SMALL)
    path = tmp_path / "model"
    made.save_pretrained(str(path))
    (path / "notes.txt").write_text("mine")
    made.discriminator.weights[0].assign_add(
        tf.ones_like(made.discriminator.weights[0])
    )
    made.save_pretrained(str(path), step=5)
    assert (path / "notes.txt").read_text() == "mine"
    assert json.loads((path / "config.json").read_text())["step"] == 5
    again = electra_tf.ElectraPretrainer.from_pretrained(str(path))
    np.testing.assert_array_equal(
        again.discriminator.weights[0], made.discriminator.weights[0]
    )
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_mistakes_are_reported(data, vocab, tmp_path):
    make = electra_tf.ElectraPretrainer
    for call, message in (
        (lambda: make.from_size("tinny", vocab=vocab), "tinny"),
        (lambda: make.from_size("tiny"), "vocabulary"),
        (
            lambda: make.from_size("tiny", vocab=vocab, model={"heads": 2}),
            "num_heads",
        ),
        (
            lambda: make.from_config(
                overrides={"model.vocab_size": 7}, vocab=vocab
            ),
            "model.vocab_size is 7",
        ),
        (lambda: make.from_config("no.yaml", vocab=vocab), "no.yaml"),
        (lambda: make.from_pretrained(f"{tmp_path}/no"), "no"),
        (
            lambda: make.from_size("tiny", tokenizer="vocab.txt"),
            "give the path of a vocabulary as vocab=",
        ),
        (
            lambda: electra_tf.pretraining_dataset(f"{tmp_path}/no"),
            "expected a directory made by build-data",
        ),
        (
            lambda: electra_tf.pretraining_dataset([str(data)]),
            "data: expected the path",
        ),
        (
            lambda: electra_tf.pretraining_dataset(str(data), batch_size="8"),
            "batch_size: expected a whole number, got '8'",
        ),
        (
            lambda: electra_tf.pretraining_dataset(
                str(data), batch_size=100_000
            ),
            "smaller batch_size",
        ),
        (
            lambda: electra_tf.pretraining_dataset(str(data), split="test"),
            "split: expected",
        ),
        (lambda: electra_tf.make_optimizer({"epsilo": 1}, 9), "epsilon"),
        (lambda: electra_tf.make_optimizer(), "num_train_steps"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            call()


def test_an_optimizer_of_ones_own(vocab):
    made = electra_tf.ElectraPretrainer.from_size("tiny", vocab=vocab, **SMALL)
    made.compile(electra_tf.make_optimizer({"learning_rate": 0.5}, 10))
    assert made.optimizer.learning_rate.numpy() == 0.0  # warm-up
    made.compile("sgd")
    assert isinstance(made.optimizer, keras.optimizers.SGD)
