"""The variables that a config asks for: our names and their shapes."""

from collections.abc import Mapping

from electra_tf.errors import UserError
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.source import shapes_of
from electra_tf.models.config import (
    DecoderConfig,
    ModelConfig,
    SentenceHeadConfig,
    TaskHeadConfig,
)

Shapes = dict[str, tuple[int, ...]]

# Heads of pre-training objectives that no other format knows, nor a config
# tells of: kept where they are found.
EXTRA = ("discriminator/lm_head/", "discriminator/copy/")


def shapes(config: DirectoryConfig) -> Shapes:
    """Our name -> shape of every variable of a model."""
    result: Shapes = {}
    discriminator, generator = config.discriminator, config.generator
    if discriminator is not None:
        result |= _embeddings("embeddings", discriminator)
        result |= encoder_shapes("discriminator/encoder", discriminator)
        if config.replaced_token_head:
            size = discriminator.hidden_size
            result |= _linear("discriminator/head/dense", size, size)
            result |= _linear("discriminator/head/prediction", size, 1)
    if generator is not None:
        result |= _generator(config, generator)
    encoder = discriminator or generator
    if isinstance(config.task, DecoderConfig) and encoder is not None:
        result |= decoder_shapes(config.task, encoder)
    elif isinstance(config.task, SentenceHeadConfig) and encoder is not None:
        size = encoder.hidden_size
        result |= _linear("task/dense", 2 * size, size)
        result |= _linear("task/output", size, 1)
    elif config.task is not None and encoder is not None:
        result |= task_shapes(config.task, encoder.hidden_size)
    return result


def _generator(config: DirectoryConfig, generator: ModelConfig) -> Shapes:
    result: Shapes = {}
    kind, hidden = config.generator_kind, generator.hidden_size
    untied = config.generator_embeddings == "untied"
    if kind == "two_tower":
        for tower in ("generator/ltr", "generator/rtl"):
            result |= encoder_shapes(tower, generator)
            if untied:
                result |= _embeddings(f"{tower}/embeddings", generator)
        hidden *= 2
    elif kind == "tied":
        result |= encoder_shapes("discriminator/encoder", generator)
    else:
        result |= encoder_shapes("generator/encoder", generator)
        if untied:
            result |= _embeddings("generator/embeddings", generator)
    if not untied:
        result |= _embeddings("embeddings", generator)
    if config.token_lm_head:
        result |= _linear(
            "generator/head/dense", hidden, generator.embedding_size
        )
        result |= _norm("generator/head/layer_norm", generator.embedding_size)
        result["generator/head/output_bias"] = (generator.vocab_size,)
        if not generator.tied_head:
            result["generator/head/output_weights"] = (
                generator.vocab_size, generator.embedding_size,
            )  # fmt: skip
    return result


def encoder_shapes(scope: str, config: ModelConfig) -> Shapes:
    """Shapes of an encoder's variables, without its embeddings."""
    size, inner = config.hidden_size, config.intermediate_size
    result: Shapes = {}
    if config.embedding_size != size:
        result |= _linear(
            f"{scope}/embeddings_project", config.embedding_size, size
        )
    for i in range(config.num_layers):
        result |= _block(f"{scope}/layer_{i}", size, inner)
    return result


def decoder_shapes(decoder: DecoderConfig, config: ModelConfig) -> Shapes:
    """Shapes of a decoder's variables, without the shared embeddings."""
    size, narrow = config.hidden_size, config.embedding_size
    result: Shapes = {}
    for i in range(decoder.num_layers):
        layer = f"task/layer_{i}"
        result |= _block(f"{layer}/block", size, config.intermediate_size)
        cross = f"{layer}/cross_attention"
        result |= _linear(f"{cross}/query", size, size)
        result |= _linear(f"{cross}/key_value", size, 2 * size)
        result |= _linear(f"{cross}/output", size, size)
        result |= _norm(f"{cross}_layer_norm", size)
    result |= _linear("task/prediction/dense", size, narrow)
    result |= _norm("task/prediction/layer_norm", narrow)
    return result | {"task/prediction/output_bias": (config.vocab_size,)}


def task_shapes(head: TaskHeadConfig, hidden_size: int) -> Shapes:
    """Shapes of a fine-tuned head's variables."""
    result: Shapes = {}
    wide, joint = 2 * hidden_size, head.joint_size
    if head.answerable:
        result |= _linear("task/answerable_hidden", wide, joint)
        result |= _linear("task/answerable", joint, 1)
    if head.kind == "joint_span":
        result |= _linear("task/start", hidden_size, 1)
        result |= _linear("task/end_hidden", wide, joint)
        return result | _linear("task/end", joint, 1)
    if head.hidden_layer:
        result |= _linear("task/dense", hidden_size, hidden_size)
    labels = 2 if head.kind == "span" else head.num_labels
    return result | _linear("task/output", hidden_size, labels)


def _block(layer: str, size: int, inner: int) -> Shapes:
    return {
        **_linear(f"{layer}/attention/qkv", size, 3 * size),
        **_linear(f"{layer}/attention/output", size, size),
        **_norm(f"{layer}/attention_layer_norm", size),
        **_linear(f"{layer}/intermediate", size, inner),
        **_linear(f"{layer}/output", inner, size),
        **_norm(f"{layer}/output_layer_norm", size),
    }


def _linear(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}/kernel": (rows, columns), f"{name}/bias": (columns,)}


def _norm(name: str, size: int) -> Shapes:
    return {f"{name}/gamma": (size,), f"{name}/beta": (size,)}


def _embeddings(scope: str, config: ModelConfig) -> Shapes:
    size = config.embedding_size
    return {
        f"{scope}/word_embeddings": (config.vocab_size, size),
        f"{scope}/token_type_embeddings": (config.type_vocab_size, size),
        f"{scope}/position_embeddings": (config.max_positions, size),
        **_norm(f"{scope}/layer_norm", size),
    }


def check(
    config: DirectoryConfig, weights: Mapping[str, object], source: str
) -> None:
    """Compares the shapes of `weights` to those that `config` asks for.

    More than it asks for is fine.

    Raises:
      UserError: one is missing or has another shape; it is named, with both.
    """
    expected, found = shapes(config), shapes_of(weights)
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise UserError(
            f"{source}: lacks {len(missing)} of the {len(expected)} "
            f"variables of such a model, among them {missing[0]}; expected a "
            "whole checkpoint"
        )
    for name, shape in expected.items():
        if tuple(found[name]) != shape:
            raise UserError(
                f"{source}: {name} has shape {list(found[name])}, but its "
                f"config asks for {list(shape)}"
            )
