"""Tests that every path in Python may be a `pathlib.Path`."""

import inspect
import pathlib

import pytest

import electra_tf
from electra_tf.errors import UserError
from electra_tf.generation.filling import Filler
from electra_tf.generation.sampling import Sampler
from electra_tf.generation.scoring import Scorer
from electra_tf.hub import loading

MODEL = pathlib.Path(loading.locate(loading.SHIPPED[0]))
LOADERS = sorted(
    name
    for name in electra_tf.__all__
    if hasattr(getattr(electra_tf, name), "from_pretrained")
)


def _load(name, path, **arguments):
    loader = getattr(electra_tf, name).from_pretrained
    known = inspect.signature(loader).parameters
    if "load_weights" in known:
        arguments["load_weights"] = False
    if name in ("TextClassifier", "TokenClassifier"):
        arguments.setdefault("labels", ["a", "b"])
    return loader(path, **arguments)


def test_all_loaders_are_here():
    assert {"Encoder", "Tokenizer", "ElectraPretrainer"} < set(LOADERS)
    assert len(LOADERS) == 12, LOADERS


@pytest.mark.parametrize("name", LOADERS)
def test_from_pretrained(name, tmp_path):
    assert _load(name, MODEL) is not None
    missing = tmp_path / "none"
    with pytest.raises(UserError, match=f"{missing}: no such model"):
        _load(name, missing)


@pytest.mark.parametrize("name", ["Encoder", "TextClassifier"])
def test_vocabulary(name):
    found = _load(name, MODEL, vocab=MODEL / "vocab.txt")
    assert len(found.tokenizer.vocab) == 10_000


def test_pretrainer_takes_several():
    found = electra_tf.ElectraPretrainer.from_pretrained([MODEL])
    again = electra_tf.ElectraPretrainer.from_pretrained(MODEL)
    assert found.count_params() == again.count_params()


def test_saved_and_loaded(tmp_path):
    classifier = _load("TextClassifier", MODEL, max_seq_length=16)
    classifier.save_pretrained(tmp_path / "model")
    rows = electra_tf.load(tmp_path / "model").predict(["a fine film"])
    assert rows == electra_tf.load(str(tmp_path / "model")).predict(
        ["a fine film"]
    )
    encoder = _load("Encoder", MODEL)
    encoder.save_pretrained(tmp_path / "encoder")
    assert (tmp_path / "encoder" / "model.safetensors").exists()


@pytest.mark.parametrize("kind", [Filler, Sampler, Scorer])
def test_generation(kind):
    assert kind.from_pretrained(MODEL, vocab=MODEL / "vocab.txt") is not None


def test_vocabulary_files(tmp_path):
    vocab = electra_tf.load_vocab(MODEL / "vocab.txt")
    assert len(electra_tf.Tokenizer(MODEL / "vocab.txt").vocab) == len(vocab)
    with pytest.raises(UserError, match=r"none\.txt"):
        electra_tf.load_vocab(tmp_path / "none.txt")


def test_settings_file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text("model:\n  num_layers: 1\n")
    made = electra_tf.ElectraPretrainer.from_config(
        path, vocab=MODEL / "vocab.txt"
    )
    assert made.settings.model.num_layers == 1


def test_lists_of_paths(tmp_path):
    """Recipes took a single path of this kind, but no list of them."""
    text = tmp_path / "text.txt"
    text.write_text("one two three\nfour five six\n" * 9)
    found = electra_tf.build_vocab(
        [text, tmp_path / "text.txt"], tmp_path / "vocab.txt", vocab_size=60
    )
    assert found.path == str(tmp_path / "vocab.txt")
