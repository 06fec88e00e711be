"""Which settings of a pre-training run go together: one place for all."""

import dataclasses

from electra_tf.errors import UserError
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining.masking import MaskingConfig
from electra_tf.pretraining.settings import ObjectiveConfig


def generator_shape(
    model: ModelConfig, generator: GeneratorConfig, objective: ObjectiveConfig
) -> ModelConfig | None:
    """The shape of the generator's encoder, or of each of its towers.

    Args:
      model: the discriminator's.
      generator: its kind, and its size relative to the discriminator's.
      objective: of a masked LM the generator is the model itself.

    Returns:
      None for a uniform generator.
    """
    if objective.kind == "mlm" or generator.kind == "tied":
        return model
    if generator.kind == "uniform":
        return None
    shape = model.generator(
        generator.hidden_fraction, generator.layers_fraction
    )
    if generator.embeddings == "untied":
        # Tables of its own fit its width: there is no projection.
        shape = dataclasses.replace(
            shape,
            embedding_size=shape.hidden_size,
            local_start=model.local_start,
        )
    if generator.frozen:
        # It only answers; nothing is to be regularised.
        shape = dataclasses.replace(
            shape, hidden_dropout=0.0, attention_dropout=0.0
        )
    return shape


def check(
    model: ModelConfig,
    generator: GeneratorConfig,
    masking: MaskingConfig,
    objective: ObjectiveConfig,
) -> None:
    """Refuses settings that contradict each other.

    Raises:
      UserError: it names the keys, and what to do.
    """
    _check_kind(generator, masking, objective)
    if generator.frozen:
        _check_frozen(generator)
    if objective.adversarial:
        _check_adversarial(generator, objective)
    if objective.two_stage_steps:
        _check_two_stage(model, generator, objective)


def _refuse(keys: str, why: str) -> None:
    raise UserError(f"{keys}: {why}")


def _check_kind(
    generator: GeneratorConfig,
    masking: MaskingConfig,
    objective: ObjectiveConfig,
) -> None:
    if objective.kind == "mlm":
        if generator.kind not in ("separate", "tied"):
            _refuse(
                "objective.kind, generator.kind",
                f"a masked LM (mlm) has no {generator.kind} generator; leave "
                "generator.kind out",
            )
        if generator.embeddings != "shared" or generator.frozen:
            _refuse(
                "objective.kind, generator.embeddings, generator.frozen",
                "a masked LM (mlm) has no generator beside it; leave the "
                "generator's keys out",
            )
        if objective.disallow_correct or objective.temperature_start:
            _refuse(
                "objective.kind, objective.disallow_correct, "
                "objective.temperature_start",
                "a masked LM (mlm) draws no samples; leave these keys out",
            )
    if objective.kind == "electric":
        if generator.kind != "two_tower":
            _refuse(
                "objective.kind, generator.kind",
                "electric needs the probability of every token given all "
                f"others, which a {generator.kind} generator does not give; "
                "set generator.kind to two_tower",
            )
        if masking.mask_prob >= 1:
            _refuse(
                "objective.kind, masking.mask_prob",
                "electric needs tokens that are not replaced; set "
                "masking.mask_prob below 1",
            )


def _check_frozen(generator: GeneratorConfig) -> None:
    if generator.kind not in ("separate", "two_tower"):
        _refuse(
            "generator.frozen, generator.kind",
            f"a {generator.kind} generator has no weights of its own to stay "
            "as they are; set generator.kind to separate or two_tower",
        )
    if generator.embeddings == "shared":
        _refuse(
            "generator.frozen, generator.embeddings",
            "shared tables are trained with the discriminator; set "
            "generator.embeddings to untied or disentangled",
        )


def _check_single_generator(
    key: str, generator: GeneratorConfig, objective: ObjectiveConfig
) -> None:
    if objective.kind not in ("electra", "electra_15"):
        _refuse(
            f"objective.{key}, objective.kind",
            f"is for electra and electra_15, not for {objective.kind}",
        )
    if generator.kind != "separate" or generator.frozen:
        _refuse(
            f"objective.{key}, generator.kind, generator.frozen",
            "needs a generator of kind separate that is trained",
        )


def _check_adversarial(
    generator: GeneratorConfig, objective: ObjectiveConfig
) -> None:
    _check_single_generator("adversarial", generator, objective)
    if (
        objective.disallow_correct
        or objective.temperature != 1
        or objective.temperature_start
        or objective.two_stage_steps
    ):
        _refuse(
            "objective.adversarial, objective.disallow_correct, "
            "objective.temperature, objective.temperature_start, "
            "objective.two_stage_steps",
            "the generator learns from samples of its own distribution; "
            "leave the others out",
        )


def _check_two_stage(
    model: ModelConfig, generator: GeneratorConfig, objective: ObjectiveConfig
) -> None:
    _check_single_generator("two_stage_steps", generator, objective)
    if generator.embeddings != "untied":
        _refuse(
            "objective.two_stage_steps, generator.embeddings",
            "the second stage must not move the generator's tables; set "
            "generator.embeddings to untied",
        )
    shape = generator_shape(model, generator, objective)
    unlike = [
        f"{field.name} {getattr(shape, field.name)} against "
        f"{getattr(model, field.name)}"
        for field in dataclasses.fields(ModelConfig)
        if getattr(shape, field.name) != getattr(model, field.name)
    ]
    if unlike:
        _refuse(
            "objective.two_stage_steps, generator.hidden_fraction, "
            "generator.layers_fraction, model",
            "the discriminator starts from the generator's weights, so both "
            f"need one shape, with 64 units a head; {', '.join(unlike)}",
        )
