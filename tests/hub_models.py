"""Small random models for the tests of checkpoint formats."""

import dataclasses
import json

import hypothesis.strategies as st
import numpy as np

from electra_tf import tensors
from electra_tf.hub import huggingface
from electra_tf.hub.checkpoint import Checkpoint
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.names import shapes
from electra_tf.models.config import ModelConfig
from electra_tf.text.vocab import Vocab

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "中", "c")
VOCAB = Vocab(TOKENS)
TINY = ModelConfig(
    vocab_size=11, embedding_size=3, hidden_size=8, num_layers=2, num_heads=2,
    intermediate_size=5, max_positions=6,
)  # fmt: skip


def checkpoint(config, vocab=VOCAB, seed=0):
    """Returns random weights of the shapes that `config` asks for."""
    rng = np.random.default_rng(seed)
    if vocab is not None:
        config = dataclasses.replace(
            config, vocab_fingerprint=vocab.fingerprint()
        )
    weights = {
        name: rng.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in shapes(config).items()
    }
    return Checkpoint(config, weights, vocab, source="there")


def directory_config(discriminator, generator=None, **fields):
    """Returns a config with the tokenizer's settings at their defaults."""
    fields = {"lower_case": True, "strip_accents": None} | fields
    return DirectoryConfig(
        discriminator, generator, vocab_fingerprint="", **fields
    )


@st.composite
def model_configs(draw, gelu=("erf", "tanh"), one_dropout=False):
    """Generates network configs of all kinds, with small sizes."""
    heads = draw(st.integers(1, 3))
    hidden = heads * draw(st.sampled_from([2, 4]))
    dropout = draw(st.sampled_from([0.0, 0.1, 0.3]))
    other = draw(st.sampled_from([0.0, 0.1, 0.25]))
    return ModelConfig(
        vocab_size=draw(st.integers(len(TOKENS), 12)),
        embedding_size=draw(st.sampled_from([hidden, 3, 8])),
        hidden_size=hidden,
        num_layers=draw(st.integers(1, 3)),
        num_heads=heads,
        intermediate_size=draw(st.integers(1, 9)),
        max_positions=draw(st.integers(1, 7)),
        type_vocab_size=draw(st.integers(1, 3)),
        hidden_dropout=dropout,
        attention_dropout=dropout if one_dropout else other,
        gelu=draw(st.sampled_from(gelu)),
    )


def assert_same_weights(one, other):
    """Asserts that two mappings have the same names and the same arrays."""
    assert set(one) == set(other)
    for name in one:
        a, b = np.asarray(one[name]), np.asarray(other[name])
        assert a.shape == b.shape and a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)


def saved(path, vocab=VOCAB, **fields):
    """Writes a tiny Hugging Face directory; returns the checkpoint written."""
    config = directory_config(TINY, **fields)
    ours = checkpoint(config, vocab)
    huggingface.write(str(path), ours)
    return ours


def edit(path, **changes):
    """Changes keys of a JSON file; None deletes a key."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            content.pop(key)
        else:
            content[key] = value
    path.write_text(json.dumps(content))


def rewrite(path, change):
    """Changes the arrays of a directory's model.safetensors."""
    file = str(path / "model.safetensors")
    tensors.save(file, change(tensors.load(file)), {"format": "pt"})
