"""BERT's masked LM, with masks of its own in each epoch."""

import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import flops
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining.generators import base as generators
from electra_tf.pretraining.generators.separate import Tied
from electra_tf.pretraining.masking import MaskedBatch, SpecialIds
from electra_tf.pretraining.objectives.base import Objective


class MaskedLM(Objective):
    """The model itself fills masked positions; nothing reads its samples."""

    heads = ()
    discriminates = False

    def generator_kind(
        self, config: GeneratorConfig, special: SpecialIds | None = None
    ) -> generators.GeneratorKind:
        """Returns the head alone is the generator's: the encoder is the
        model.
        """
        return Tied(config, special)

    def check(self) -> None:
        """Refuses settings of a generator and of samples."""
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
                "objective.temperature_start: a masked LM (mlm) draws no "
                "samples; leave these keys out"
            )
        super().check()

    def draws(
        self, masked: MaskedBatch, keys: tf.Tensor, step: tf.Tensor | None
    ) -> generators.Draws:
        """No samples are drawn."""
        return generators.Draws(None)

    def head_costs(
        self, model: ModelConfig, seq_length: int, predictions: float
    ) -> flops.Head:
        """Of a token LM at the masked positions."""
        return flops.token_lm_head(model, predictions)
