"""Small random models that score and write, of each kind."""

import dataclasses

from hub_models import checkpoint, directory_config

from electra_tf.hub import directory
from electra_tf.models.config import ModelConfig
from electra_tf.text.vocab import Vocab

CHINESE = tuple("今天气很好阳光明媚\uff0c。")
LENGTH = 24  # of the rows that the models are said to have been trained on


def vocab(tiny_tokens):
    return Vocab((*tiny_tokens, *CHINESE, "##国", "[unused1]"))


def save(
    path, tokens, objective="electra", discriminator=True, scale=3, **fields
):
    """Writes a model directory; returns its path as a str."""
    known = vocab(tokens)
    shape = ModelConfig(
        # More rows than tokens, as some checkpoints have.
        vocab_size=len(known) + 3, embedding_size=8, hidden_size=8,
        num_layers=2, num_heads=2, intermediate_size=16, max_positions=40,
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
    # By default large enough for what stands beside a token to matter.
    weights = {name: scale * value for name, value in made.weights.items()}
    directory.write(str(path), dataclasses.replace(made, weights=weights))
    return str(path)


def electric(path, tokens, **fields):
    return save(path, tokens, "electric", generator_kind="two_tower", **fields)
