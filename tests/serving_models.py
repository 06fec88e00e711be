"""Tiny models with random weights, of each kind, for tests of serving."""

import fine_tuned_models
import keras

from electra_tf.hub import directory
from electra_tf.models import networks, task_networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.text.vocab import load_vocab

# The weights are large enough for answers to differ.
SHAPE = dict(
    embedding_size=16, hidden_size=32, num_layers=2, num_heads=2,
    intermediate_size=64, max_positions=40, initializer_range=0.3,
)  # fmt: skip

_COLOURS = ("red", "green", "blue")
_LENGTH = {"max_seq_length": 32}

# Name -> (head, task, options, state).
FINE_TUNED = {
    "classification": (
        TaskHeadConfig("sequence", 3, _COLOURS), "classification",
        _LENGTH, {"labels": _COLOURS},
    ),
    "pair": (
        TaskHeadConfig("sequence", 3, _COLOURS), "classification",
        _LENGTH | {"text_pair_column": "other"}, {"labels": _COLOURS},
    ),
    "glue": (
        TaskHeadConfig("sequence", 2, ("entailment", "not_entailment")),
        "glue/rte", _LENGTH, {},
    ),
    "multilabel": (
        TaskHeadConfig("sequence", 3, _COLOURS), "classification",
        _LENGTH | {"multi_label": True, "threshold": 0.4},
        {"labels": _COLOURS},
    ),
    "regression": (
        TaskHeadConfig("sequence", 1), "regression",
        _LENGTH, {"offset": 3.5, "scale": 0.25},
    ),
    "ranking": (
        TaskHeadConfig("sequence", 1), "ranking",
        _LENGTH | {"max_query_length": 6}, {},
    ),
}  # fmt: skip


def fine_tuned(path, vocab_file, name, seed=3):
    """Writes a model of `FINE_TUNED` as a model directory; returns its path."""
    head, task, options, state = FINE_TUNED[name]
    vocab = load_vocab(vocab_file)
    config = ModelConfig(vocab_size=len(vocab), **SHAPE)
    keras.utils.set_random_seed(seed)
    network = task_networks.task_network(config, head)
    network.build()
    about = fine_tuned_models.about(task, options, state)
    return fine_tuned_models.save(path, network, vocab, about)


def pretrained(path, vocab_file, seed=3):
    """Writes a discriminator and a generator; returns the path."""
    vocab = load_vocab(vocab_file)
    config = ModelConfig(vocab_size=len(vocab), **SHAPE)
    keras.utils.set_random_seed(seed)
    discriminator = networks.Discriminator(config)
    discriminator.build()
    generator = networks.Generator(
        config.generator(0.5), discriminator.encoder.embeddings
    )
    generator.build()
    directory.save(
        str(path),
        directory.DirectoryConfig(
            config, config.generator(0.5), True, None, vocab.fingerprint()
        ),
        [discriminator, generator],
        vocab,
    )
    return str(path)


# Texts that users and programs may send.
ODD_TEXTS = (
    "the cat sat on the mat.",
    "",
    " \t\n ",
    "a\0b\0",
    "\0",
    "中国人 the 中 cat",
    "É é É ﬁ İ ß 😀 👨\u200d👩\u200d👧 \ufeff",
    "the dog ran to the house " * 60,
    "x" * 100_000,
    "[MASK] [CLS] [SEP]",
    "<script>alert('the cat')</script>",
    *(f"the cat {'sat ' * n}." for n in range(24)),
)
BAD_BYTES = (
    b"\xff\xfe the cat",
    b"the \xc3",
    b"\xed\xa0\x80 cat \xf4\x90\x80\x80",
    b"\x80" * 1000,
)
