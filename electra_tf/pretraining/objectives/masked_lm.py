"""Defines BERT's masked LM, with new masks in each epoch."""

import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import flops
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining.generators import base as generators
from electra_tf.pretraining.generators.separate import Tied
from electra_tf.pretraining.masking import MaskedBatch, SpecialIds
from electra_tf.pretraining.objectives.base import Objective


class MaskedLM(Objective):
    """Trains the model itself to predict masked tokens; nothing is sampled."""

    heads = ()
    discriminates = False

    def generator_kind(
        self, config: GeneratorConfig, special: SpecialIds | None = None
    ) -> generators.GeneratorKind:
        """Returns a tied generator: its encoder is the model, its head its
        own.
        """
        return Tied(config, special)

    def check(self) -> None:
        """Raises an error if there are settings of a generator or of
        samples.
        """
        config, generator = self.config, self.generator.config
        if not generator.traits.shares_encoder and (
            generator.traits.encoders != 1
        ):
            raise UserError(
                "objective.kind, generator.kind: a masked LM (mlm) has no "
                f"{generator.kind} generator; leave generator.kind out"
            )
        if generator.embeddings != "shared" or generator.frozen:
            raise UserError(
                "objective.kind, generator.embeddings, generator.frozen: a "
                "masked LM (mlm) has no generator beside it; leave the "
                "generator's keys out"
            )
        if config.disallow_correct or config.temperature_start:
            raise UserError(
                "objective.kind, objective.disallow_correct, "
                "objective.temperature_start: a masked LM (mlm) takes no "
                "samples; leave these keys out"
            )
        super().check()

    def draws(
        self, masked: MaskedBatch, keys: tf.Tensor, step: tf.Tensor | None
    ) -> generators.Draws:
        """Returns that nothing is sampled."""
        return generators.Draws(None)

    def head_costs(
        self, model: ModelConfig, seq_length: int, predictions: float
    ) -> flops.Head:
        """Returns the cost of a token LM at the masked positions."""
        return flops.token_lm_head(model, predictions)
