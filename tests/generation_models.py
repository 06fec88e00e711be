"""Small random models of each kind that scores or generates text."""

import dataclasses

from hub_models import checkpoint, directory_config

from electra_tf.hub import directory
from electra_tf.models.config import ModelConfig
from electra_tf.text.vocab import Vocab

CHINESE = tuple("今天气很好阳光明媚\uff0c。")
LENGTH = 24  # the length of rows that the models' pre-training settings have


def vocab(tiny_tokens):
    return Vocab((*tiny_tokens, *CHINESE, "##国", "[unused1]"))


def save(
    path, tokens, objective="electra", discriminator=True, scale=3,
    positions=40, **fields,
):  # fmt: skip
    """Writes a model directory; returns its path as a str."""
    known = vocab(tokens)
    shape = ModelConfig(
        # More rows than tokens, as some checkpoints have.
        vocab_size=len(known) + 3, embedding_size=8, hidden_size=8,
        num_layers=2, num_heads=2, intermediate_size=16,
        max_positions=positions,
    )  # fmt: skip
    if fields.pop("no_generator", False):
        generator = None
    else:
        generator = dataclasses.replace(shape, num_layers=1)
    config = directory_config(
        shape if discriminator else None,
        generator,
        pretraining={
            "objective": {"kind": objective},
            "data": {"max_seq_length": LENGTH},
        },
        **fields,
    )
    made = checkpoint(config, known)
    # The default scale is large enough for a token's context to matter.
    weights = {name: scale * value for name, value in made.weights.items()}
    directory.write(str(path), dataclasses.replace(made, weights=weights))
    return str(path)


def electric(path, tokens, **fields):
    return save(path, tokens, "electric", generator_kind="two_tower", **fields)
