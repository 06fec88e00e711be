"""Tests that added tokens stay with a model, however it is saved."""

import dataclasses

import hub_models
import keras
import pytest

import electra_tf
from electra_tf.hub import directory
from electra_tf.hub.checkpoint import Checkpoint
from electra_tf.keras_api.pretrainer import ElectraPretrainer
from electra_tf.text.vocab import AddedToken, Vocab

PIECES = (*hub_models.TOKENS, "e", "##1", "]")
WITHOUT = Vocab((*PIECES, "[E1]"))
WITH = Vocab(WITHOUT.tokens, (AddedToken("[E1]", normalized=True),))
TEXT, ID = "a [E1] c", WITH.ids["[E1]"]
MODEL = dataclasses.replace(
    hub_models.TINY, vocab_size=len(WITH), max_positions=16
)


def checkpoint(vocab=WITH, **fields) -> Checkpoint:
    config = hub_models.directory_config(
        MODEL, MODEL.generator(0.5), replaced_token_head=True, **fields
    )
    return hub_models.checkpoint(config, vocab)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("added") / "model")
    directory.write(path, checkpoint())
    return path


def ids(vocab_or_tokenizer):
    return electra_tf.Tokenizer(vocab_or_tokenizer, output="ids")(
        [TEXT]
    ).to_list()[0]


def vocab_of(made):
    if hasattr(made, "start"):
        return made.start.vocab
    return made.vocab if hasattr(made, "vocab") else made.tokenizer.vocab


MAKERS = {
    "Encoder": electra_tf.Encoder.from_pretrained,
    "Discriminator": electra_tf.Discriminator.from_pretrained,
    "Generator": electra_tf.Generator.from_pretrained,
    "TextClassifier": lambda path: electra_tf.TextClassifier.from_pretrained(
        path, labels=["no", "yes"]
    ),
    "MaskedLM": electra_tf.MaskedLM.from_pretrained,
    "ReplacedTokenDetector": (electra_tf.ReplacedTokenDetector.from_pretrained),
    "ElectraPretrainer": ElectraPretrainer.from_pretrained,
}


@pytest.mark.parametrize("name", MAKERS)
def test_keras_files_have_them(name, model, tmp_path):
    assert ID in ids(WITH) and ID not in ids(WITHOUT)
    made = MAKERS[name](model)
    assert vocab_of(made) == WITH
    config = made.get_config()
    if name != "ElectraPretrainer":  # whose from_config takes settings
        assert vocab_of(type(made).from_config(config)) == WITH
    path = str(tmp_path / "made.keras")
    made.save(path)
    again = keras.saving.load_model(path)
    assert vocab_of(again) == WITH and ids(vocab_of(again)) == ids(WITH)


def test_files_of_earlier_versions_have_none(model):
    made = electra_tf.Encoder.from_pretrained(model)
    config = made.get_config()
    del config["tokenizer"]["added_tokens"]
    again = electra_tf.Encoder.from_config(config)
    assert vocab_of(again) == WITHOUT


def test_a_model_that_is_replaced_leaves_none(model, tmp_path):
    """Nor its optimizer, which would be taken for that of the new one."""
    path, plain = str(tmp_path / "model"), str(tmp_path / "plain")
    found = checkpoint()
    slots = {name: (a, a) for name, a in found.weights.items()}
    directory.write(path, dataclasses.replace(found, slots=slots))
    assert directory.read(path).slots
    (tmp_path / "model" / "notes.txt").write_text("kept")
    directory.write(plain, checkpoint(WITHOUT))
    electra_tf.Encoder.from_pretrained(plain).save_pretrained(path)
    read = directory.read(path)
    assert read.slots is None and read.vocab == WITHOUT
    electra_tf.Encoder.from_pretrained(model).save_pretrained(path)
    assert directory.read(path).vocab == WITH
    assert (tmp_path / "model" / "notes.txt").read_text() == "kept"
