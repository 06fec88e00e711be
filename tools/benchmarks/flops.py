"""Counts the matrix products of a pre-training step, by shape.

Only what must be computed counts: the language-model head, for instance, only
at the masked positions. A multiplication and an addition are two operations.
"""

from collections.abc import Iterator

from electra_tf.models.config import ModelConfig

# (products in one call, rows, inner, columns, calls in a forward pass)
Shape = tuple[int, int, int, int, int]


def step_shapes(
    model: ModelConfig,
    generator: ModelConfig,
    batch_size: int,
    seq_length: int,
    masked: int,
) -> list[Shape]:
    """Returns all matrix products of the forward pass of both networks.

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
        (1, slots, hidden, size, 1),
        (1, slots, size, generator.vocab_size, 1),
        *_encoder(model, batch_size, seq_length),
        (1, tokens, model.hidden_size, model.hidden_size, 1),
        (1, tokens, model.hidden_size, 1, 1),
    ]


def step_gflop(shapes: list[Shape]) -> float:
    """Returns GFLOP of one training step; backward costs twice forward."""
    return 3 * sum(_forward_gflop(shapes))


def attainable(shapes: list[Shape], rates: list[float]) -> float:
    """Returns GFLOP/s if each shape ran at its measured rate (GFLOP/s)."""
    work = _forward_gflop(shapes)
    return sum(work) / sum(w / rate for w, rate in zip(work, rates))


def _forward_gflop(shapes: list[Shape]) -> list[float]:
    return [2e-9 * b * m * k * n * count for b, m, k, n, count in shapes]


def _encoder(
    config: ModelConfig, batch_size: int, seq_length: int
) -> Iterator[Shape]:
    tokens = batch_size * seq_length
    hidden, layers = config.hidden_size, config.num_layers
    if config.embedding_size != hidden:
        yield (1, tokens, config.embedding_size, hidden, 1)
    yield (1, tokens, hidden, 3 * hidden, layers)  # query, key, value
    yield (1, tokens, hidden, hidden, layers)  # attention output
    heads = config.num_heads
    pairs = batch_size * heads
    size = hidden // heads
    yield (pairs, seq_length, size, seq_length, layers)  # scores
    yield (pairs, seq_length, seq_length, size, layers)  # context
    yield (1, tokens, hidden, config.intermediate_size, layers)
    yield (1, tokens, config.intermediate_size, hidden, layers)
