"""Matrix products of a pre-training step: how many, and in which shapes.

Only what must be computed counts: the language-model head at the masked
positions alone. A multiplication and an addition are two operations.
"""

from collections.abc import Iterator

from electra_tf.models.config import ModelConfig

# (rows, inner, columns, how often in a forward pass)
Shape = tuple[int, int, int, int]


def step_shapes(
    model: ModelConfig,
    generator: ModelConfig,
    batch_size: int,
    seq_length: int,
    masked: int,
) -> list[Shape]:
    """All matrix products of the forward pass of both networks.

    Args:
      model: the discriminator.
      generator: the generator.
      batch_size: B.
      seq_length: L.
      masked: N, predictions in a row.
    """
    tokens, slots = batch_size * seq_length, batch_size * masked
    hidden, size = generator.hidden_size, generator.embedding_size
    return [
        *_encoder(generator, batch_size, seq_length),
        (slots, hidden, size, 1),
        (slots, size, generator.vocab_size, 1),
        *_encoder(model, batch_size, seq_length),
        (tokens, model.hidden_size, model.hidden_size, 1),
        (tokens, model.hidden_size, 1, 1),
    ]


def step_gflop(shapes: list[Shape]) -> float:
    """GFLOP of one training step: the backward pass costs twice the forward."""
    return 3 * 2e-9 * sum(m * k * n * count for m, k, n, count in shapes)


def attainable(shapes: list[Shape], rates: list[float]) -> float:
    """GFLOP/s if each shape ran at its own measured rate (GFLOP/s)."""
    work = [2e-9 * m * k * n * count for m, k, n, count in shapes]
    return sum(work) / sum(w / rate for w, rate in zip(work, rates))


def _encoder(
    config: ModelConfig, batch_size: int, seq_length: int
) -> Iterator[Shape]:
    tokens = batch_size * seq_length
    hidden, layers = config.hidden_size, config.num_layers
    if config.embedding_size != hidden:
        yield (tokens, config.embedding_size, hidden, 1)
    yield (tokens, hidden, hidden, 4 * layers)  # query, key, value, output
    heads = config.num_heads
    pairs = batch_size * heads * layers
    yield (seq_length, hidden // heads, seq_length, pairs)  # scores
    yield (seq_length, seq_length, hidden // heads, pairs)  # context
    yield (tokens, hidden, config.intermediate_size, layers)
    yield (tokens, config.intermediate_size, hidden, layers)
