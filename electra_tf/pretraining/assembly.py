"""The networks that a pre-training run needs, from its settings."""

from typing import NamedTuple

from electra_tf.models import disentangled, layers, networks, two_tower
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining import combinations
from electra_tf.pretraining.generation import AnyGenerator
from electra_tf.pretraining.objectives import ObjectiveConfig

_HEADS: dict[str, tuple[networks.DiscriminatorHead, ...]] = {
    "mlm": (),
    "replaced_mlm": ("token_lm",),
    "all_tokens_mlm": ("token_lm", "copy"),
}


class Networks(NamedTuple):
    """Not built yet; `embeddings` is to be built first."""

    embeddings: layers.Embeddings  # shared, or the discriminator's
    generator: AnyGenerator
    discriminator: networks.Discriminator


def assemble(
    model: ModelConfig, generator: GeneratorConfig, objective: ObjectiveConfig
) -> Networks:
    """Makes both networks; a masked LM's discriminator has no head.

    Args:
      model: the discriminator's shape.
      generator: what the generator is.
      objective: decides the discriminator's heads.
    """
    embeddings = tables = layers.Embeddings(model)
    if generator.embeddings == "disentangled":
        tables = disentangled.DisentangledEmbeddings(model, embeddings)
    discriminator = networks.Discriminator(
        model,
        tables,
        with_heads=_HEADS.get(objective.kind, ("replaced_token",)),
    )
    shape = combinations.generator_shape(model, generator, objective)
    return Networks(
        embeddings,
        _generator(shape, generator, embeddings, discriminator),
        discriminator,
    )


def _generator(
    shape: ModelConfig | None,
    generator: GeneratorConfig,
    embeddings: layers.Embeddings,
    discriminator: networks.Discriminator,
) -> AnyGenerator:
    if shape is None:
        return networks.UniformGenerator(discriminator.config.vocab_size)
    if shape is discriminator.config:
        return networks.Generator(shape, encoder=discriminator.encoder)
    untied = generator.embeddings == "untied"
    if generator.kind == "two_tower":
        return two_tower.TwoTowerGenerator(
            shape,
            None if untied else embeddings,
            untied=untied,
            wrap_around=generator.wrap_around,
        )
    return networks.Generator(
        shape, layers.Embeddings(shape) if untied else embeddings
    )
