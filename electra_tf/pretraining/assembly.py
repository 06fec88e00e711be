"""The networks that a pre-training run needs, from its settings."""

from typing import NamedTuple

import keras

from electra_tf.models import embeddings as tables_
from electra_tf.models import networks
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.models.encoder import ElectraEncoder
from electra_tf.pretraining import combinations
from electra_tf.pretraining.generation import AnyGenerator
from electra_tf.pretraining.settings import ObjectiveConfig

_HEADS: dict[str, tuple[networks.DiscriminatorHead, ...]] = {
    "mlm": (),
    "replaced_mlm": ("token_lm",),
    "all_tokens_mlm": ("token_lm", "copy"),
}


class Networks(NamedTuple):
    """Not built yet; `embeddings` is to be built first."""

    embeddings: tables_.Embeddings  # shared, or the discriminator's
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
    embeddings = tables = tables_.Embeddings(model)
    if generator.embeddings == "disentangled":
        tables = tables_.DisentangledEmbeddings(model, embeddings)
    shape = combinations.generator_shape(model, generator, objective)

    def discriminator() -> networks.Discriminator:
        return networks.Discriminator(
            model,
            tables,
            with_heads=_HEADS.get(objective.kind, ("replaced_token",)),
        )

    if shape is model:  # the generator runs in the discriminator's encoder
        first = discriminator()
        shared = networks.Generator(shape, encoder=first.encoder)
        return Networks(embeddings, shared, first)
    # In this order: initial values depend on it.
    own = _generator(shape, generator, embeddings, model.vocab_size)
    return Networks(embeddings, own, discriminator())


def _generator(
    shape: ModelConfig | None,
    generator: GeneratorConfig,
    embeddings: tables_.Embeddings,
    vocab_size: int,
) -> AnyGenerator:
    """A generator that shares no more than embeddings."""
    if shape is None:
        return networks.UniformGenerator(vocab_size)
    untied = generator.embeddings == "untied"
    if generator.kind == "two_tower":
        return networks.TwoTowerGenerator(
            shape,
            None if untied else embeddings,
            untied=untied,
            wrap_around=generator.wrap_around,
        )
    return networks.Generator(
        shape, tables_.Embeddings(shape) if untied else embeddings
    )


def encoders_of(*parts: keras.Model) -> list[ElectraEncoder]:
    """The encoders, or towers, that a pre-trainer's networks run in."""
    return [
        getattr(network, name)
        for network in parts
        for name in ("encoder", "ltr", "rtl")
        if hasattr(network, name)
    ]
