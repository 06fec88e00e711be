"""How many parameters and operations a run has, in the paper's accounting.

The rules of ELECTRA's paper (section 3 and appendix), which make its figures
comparable: a product of [m, k] and [k, n] is 2 m k n operations, any function
of one number is one; the backward pass counts as much as the forward pass;
looking a token up is a product with a one-hot vector. These are counts for
comparing methods. What a machine does is less (tables are gathered) and more
(a backward pass has twice the products of a forward pass).
"""

import dataclasses
from collections.abc import Mapping

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
    """Of a pre-training run, by part.

    Parts of the network that is kept are called `model/...`, those of the
    one that fills masked positions `generator/...`; shared tables are the
    model's.

    Attributes:
      parameters: numbers that are stored.
      training: operations of all steps.
      inference: operations of one sequence through the model and a
        classifier of each token.
    """

    parameters: Mapping[str, int]
    training: Mapping[str, float]
    inference: Mapping[str, float]

    @property
    def model_parameters(self) -> int:
        """Of the network that is kept, with its head."""
        return int(_total(self.parameters, "model/"))

    @property
    def training_flops(self) -> float:
        """Of the whole run."""
        return _total(self.training)

    @property
    def inference_flops(self) -> float:
        """Of one sequence."""
        return _total(self.inference)

    def line(self) -> str:
        """The totals in one line, for a run's report."""
        more = int(_total(self.parameters, "generator/"))
        generator = f" and {millions(more)} of the generator" if more else ""
        return (
            f"{millions(self.model_parameters)} parameters{generator}; "
            f"{self.training_flops:.2e} FLOPs to train, "
            f"{self.inference_flops:.2e} a sequence in inference"
        )


def millions(count: int) -> str:
    """13600000 -> "13.6M"."""
    return f"{count / 1e6:.1f}M"


def pretraining_costs(
    model: ModelConfig,
    generator: GeneratorConfig,
    *,
    seq_length: int,
    predictions: float,
    batch_size: float,
    num_train_steps: int,
    objective: str = "electra",
    two_stage_steps: int = 0,
) -> Costs:
    """The costs of a pre-training run.

    Args:
      model: the discriminator's shape, or the masked LM's.
      generator: what fills masked positions; not read for "mlm".
      seq_length: tokens a sequence.
      predictions: masked tokens a sequence.
      batch_size: sequences a step.
      num_train_steps: steps.
      objective: as `objective.kind` of the settings.
      two_stage_steps: as `objective.two_stage_steps`: steps that train the
        generator alone, before the others train the model alone.
    """
    slots, length = predictions, seq_length
    encoder, head = _encoder(model, length), _binary_head(model, length)
    parameters = _encoder_parameters(model)
    if objective == "mlm":
        head = _token_head(model, model.hidden_size, slots)
        parameters["head"] = _token_head_parameters(model, model.hidden_size)
        filler, filler_parameters = {}, {}
    else:
        if objective == "replaced_mlm":
            head = _token_head(model, model.hidden_size, slots)
        elif objective == "all_tokens_mlm":
            head = _token_head(model, model.hidden_size, length)
            head["copy"] = 2.0 * model.hidden_size * length
        parameters["head"] = _head_parameters(model, objective)
        filler, filler_parameters = _generator(model, generator, length, slots)
        if generator.embeddings == "disentangled":
            # The model's tables are the generator's, and differences.
            parameters["embeddings"] *= 2

    model_steps = generator_steps = _FORWARD_AND_BACKWARD * num_train_steps
    if two_stage_steps:
        rest = num_train_steps - two_stage_steps
        model_steps = _FORWARD_AND_BACKWARD * rest
        generator_steps = _FORWARD_AND_BACKWARD * two_stage_steps + rest
    elif generator.frozen:
        generator_steps = num_train_steps
    return Costs(
        _named("model", parameters) | _named("generator", filler_parameters),
        _named("model", encoder | head, batch_size * model_steps)
        | _named("generator", filler, batch_size * generator_steps),
        _named("model", encoder | _binary_head(model, length)),
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
    """Operations of a forward pass, and what it stores of its own."""
    if generator.kind == "uniform":
        return {}, {}
    if generator.kind == "tied":
        width = model.hidden_size
        return (
            _encoder(model, length) | _token_head(model, width, slots),
            {"head": _token_head_parameters(model, width)},
        )
    shape = model.generator(
        generator.hidden_fraction, generator.layers_fraction
    )
    untied = generator.embeddings == "untied"
    if untied:
        shape = dataclasses.replace(shape, embedding_size=shape.hidden_size)
    # Two towers predict every token, from the states of both.
    towers = 2 if generator.kind == "two_tower" else 1
    slots = slots if towers == 1 else length
    width = towers * shape.hidden_size
    operations = {n: towers * c for n, c in _encoder(shape, length).items()}
    stored = {n: towers * c for n, c in _encoder_parameters(shape).items()}
    if not untied:
        del stored["embeddings"]
    stored["head"] = _token_head_parameters(shape, width)
    return operations | _token_head(shape, width, slots), stored


def _encoder(config: ModelConfig, length: int) -> Parts:
    """Operations of a forward pass over one sequence."""
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


def _binary_head(config: ModelConfig, positions: float) -> Parts:
    hidden = config.hidden_size
    each = 2 * hidden * hidden + (1 + _GELU) * hidden + 2 * hidden
    return {"head": float(positions * each)}


def _token_head(config: ModelConfig, width: int, positions: float) -> Parts:
    """Of a token LM that reads states of `width` at some positions."""
    size = config.embedding_size
    dense = 2 * width * size + (1 + _GELU + _LAYER_NORM) * size
    # The product with the table, softmax, and the target's score.
    softmax = (2 * size + _SOFTMAX + 2) * config.vocab_size
    return {
        "head": float(positions * dense),
        "softmax": float(positions * softmax),
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


def _token_head_parameters(config: ModelConfig, width: int) -> int:
    size = config.embedding_size
    own = 0 if config.tied_head else config.vocab_size * size
    return width * size + 3 * size + config.vocab_size + own


def _head_parameters(config: ModelConfig, objective: str) -> int:
    hidden = config.hidden_size
    if objective == "replaced_mlm":
        return _token_head_parameters(config, hidden)
    if objective == "all_tokens_mlm":
        return _token_head_parameters(config, hidden) + hidden + 1
    return hidden * hidden + hidden + hidden + 1
