"""Counts a run's parameters and operations, by the paper's rules.

The rules are those of ELECTRA's paper (section 3 and appendix), which make its
numbers comparable: a product of [m, k] and [k, n] is 2 m k n operations, any
function of one number is one; the backward pass counts as much as the forward
pass; a token lookup is a product with a one-hot vector. These counts are for
comparing methods. A machine does less (tables are gathered) and more (a
backward pass has twice the products of a forward pass).
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from electra_tf.models.config import GeneratorConfig, ModelConfig

# Operations for one number.
_DROPOUT = 4  # draw, compare, mask, scale
_LAYER_NORM = 5  # sum, square, sum, offset, scale
_GELU = 8
_SOFTMAX = 5  # maximum, subtract, exp, sum, divide
_FORWARD_AND_BACKWARD = 2

Parts = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Costs:
    """The costs of a pre-training run, by part.

    Parts of the network that is kept are called `model/...`, those of the
    generator `generator/...`; shared tables are the model's.

    Attributes:
      parameters: number of parameters.
      training: number of operations of all steps.
      inference: number of operations for one sequence, with a classifier of
        each token.
    """

    parameters: Mapping[str, int]
    training: Mapping[str, float]
    inference: Mapping[str, float]

    @property
    def model_parameters(self) -> int:
        """The parameters of the network that is kept, with its head."""
        return int(_total(self.parameters, "model/"))

    @property
    def training_flops(self) -> float:
        """The operations of the whole run."""
        return _total(self.training)

    @property
    def inference_flops(self) -> float:
        """The operations of inference for one sequence."""
        return _total(self.inference)

    def line(self) -> str:
        """Formats the totals in one line, for a run's report."""
        more = int(_total(self.parameters, "generator/"))
        generator = f" and {millions(more)} of the generator" if more else ""
        return (
            f"{millions(self.model_parameters)} parameters{generator}; "
            f"{self.training_flops:.2e} FLOPs to train, "
            f"{self.inference_flops:.2e} a sequence in inference"
        )


def millions(count: int) -> str:
    """Formats a count in millions: 13600000 as "13.6M"."""
    return f"{count / 1e6:.1f}M"


class Head(NamedTuple):
    """The head on the model's encoder in pre-training."""

    operations: Parts  # for a forward pass over one sequence
    parameters: int


def replaced_token_head(model: ModelConfig, positions: float) -> Head:
    """Counts a head with one logit for each of some positions."""
    hidden = model.hidden_size
    each = 2 * hidden * hidden + (1 + _GELU) * hidden + 2 * hidden
    return Head(
        {"head": float(positions * each)}, hidden * hidden + 2 * hidden + 1
    )


def token_lm_head(
    model: ModelConfig,
    positions: float,
    width: int | None = None,
    copies: bool = False,
) -> Head:
    """Counts a head with scores of all tokens at some positions.

    Args:
      model: shape of the encoder.
      positions: number of positions.
      width: width of the states that it reads; None is the encoder's.
      copies: whether it has a copy mechanism.
    """
    width, size = width or model.hidden_size, model.embedding_size
    dense = 2 * width * size + (1 + _GELU + _LAYER_NORM) * size
    # The product with the table, softmax, and the target's score.
    softmax = (2 * size + _SOFTMAX + 2) * model.vocab_size
    operations = {
        "head": float(positions * dense),
        "softmax": float(positions * softmax),
    }
    own = 0 if model.tied_head else model.vocab_size * size
    parameters = width * size + 3 * size + model.vocab_size + own
    if copies:
        operations["copy"] = 2.0 * width * positions
        parameters += width + 1
    return Head(operations, parameters)


def pretraining_costs(
    model: ModelConfig,
    generator: GeneratorConfig | None,
    head: Head,
    *,
    seq_length: int,
    predictions: float,
    batch_size: float,
    num_train_steps: int,
    two_stage_steps: int = 0,
) -> Costs:
    """Counts the costs of a pre-training run.

    Args:
      model: shape of the network that is kept.
      generator: the generator; None for a masked LM.
      head: the head on the model's encoder.
      seq_length: tokens in a sequence.
      predictions: masked tokens in a sequence.
      batch_size: sequences in a step.
      num_train_steps: number of steps.
      two_stage_steps: number of steps that train only the generator, before the
        others train only the model.
    """
    encoder = _encoder(model, seq_length)
    parameters = _encoder_parameters(model) | {"head": head.parameters}
    filler: Parts = {}
    filler_parameters: dict[str, int] = {}
    model_steps = generator_steps = _FORWARD_AND_BACKWARD * num_train_steps
    if generator is not None:
        filler, filler_parameters = _generator(
            model, generator, seq_length, predictions
        )
        if generator.embeddings == "disentangled":
            # The model's tables are the generator's, and differences.
            parameters["embeddings"] *= 2
        if generator.frozen:
            generator_steps = num_train_steps
    if two_stage_steps:
        rest = num_train_steps - two_stage_steps
        model_steps = _FORWARD_AND_BACKWARD * rest
        generator_steps = _FORWARD_AND_BACKWARD * two_stage_steps + rest
    binary = replaced_token_head(model, seq_length)
    return Costs(
        _named("model", parameters) | _named("generator", filler_parameters),
        _named("model", encoder | head.operations, batch_size * model_steps)
        | _named("generator", filler, batch_size * generator_steps),
        _named("model", encoder | binary.operations),
    )


def _total(parts: Mapping[str, float], prefix: str = "") -> float:
    return sum(n for name, n in parts.items() if name.startswith(prefix))


def _named(scope: str, parts: Mapping[str, float], times: float = 1) -> dict:
    return {f"{scope}/{name}": times * n for name, n in parts.items()}


def _generator(
    model: ModelConfig,
    generator: GeneratorConfig,
    length: int,
    slots: float,
) -> tuple[Parts, dict[str, int]]:
    """Counts the operations of a generator, and its own parameters."""
    traits = generator.traits
    if not traits.has_weights:
        return {}, {}
    if traits.shares_encoder:
        head = token_lm_head(model, slots)
        encoder = _encoder(model, length)
        return encoder | head.operations, {"head": head.parameters}
    untied = generator.embeddings == "untied"
    shape = model.generator(
        generator.hidden_fraction, generator.layers_fraction, untied
    )
    # Two towers predict every token, from the states of both.
    towers = traits.encoders
    slots = slots if towers == 1 else length
    head = token_lm_head(shape, slots, towers * shape.hidden_size)
    operations = {n: towers * c for n, c in _encoder(shape, length).items()}
    stored = {n: towers * c for n, c in _encoder_parameters(shape).items()}
    if not untied:
        del stored["embeddings"]
    return operations | head.operations, stored | {"head": head.parameters}


def _encoder(config: ModelConfig, length: int) -> Parts:
    """Counts the operations of an encoder for one sequence."""
    hidden, inner = config.hidden_size, config.intermediate_size
    size = config.embedding_size
    rows = config.vocab_size + config.type_vocab_size + length
    embeddings = 2 * size * rows + (2 + _LAYER_NORM + _DROPOUT) * size
    projection = 0
    if size != hidden:
        projection = 2 * size * hidden + hidden
    # Bias, dropout, residual, normalisation: the end of each sub-layer.
    end = (1 + _DROPOUT + 1 + _LAYER_NORM) * hidden
    scores = 1 + _SOFTMAX + _DROPOUT  # scaled first
    attention = (
        3 * (2 * hidden * hidden + hidden)  # query, key, value
        + 2 * (2 * hidden * length)  # scores, weighted mean
        + scores * length * config.num_heads
        + 2 * hidden * hidden
        + end
    )
    feed_forward = 2 * (2 * hidden * inner) + (1 + _GELU) * inner + end
    layers = config.num_layers
    return {
        "embeddings": float(length * embeddings),
        "projection": float(length * projection),
        "attention": float(length * layers * attention),
        "feed_forward": float(length * layers * feed_forward),
    }


def _encoder_parameters(config: ModelConfig) -> dict[str, int]:
    hidden, inner = config.hidden_size, config.intermediate_size
    size = config.embedding_size
    rows = config.vocab_size + config.type_vocab_size + config.max_positions
    projection = size * hidden + hidden if size != hidden else 0
    norm = 2 * hidden
    attention = 4 * (hidden * hidden + hidden) + norm
    feed_forward = 2 * hidden * inner + inner + hidden + norm
    return {
        "embeddings": rows * size + 2 * size,
        "projection": projection,
        "attention": config.num_layers * attention,
        "feed_forward": config.num_layers * feed_forward,
    }
