"""What a pre-training run leaves behind: progress, plots, model directory."""

from typing import Any

from electra_tf import files
from electra_tf.cli.pretrain_settings import PretrainData
from electra_tf.hub import directory
from electra_tf.hub.config import DirectoryConfig
from electra_tf.pretraining.pretrainer import ElectraPretrainer
from electra_tf.training.loop import TrainConfig
from electra_tf.training.plots import PlotGroup
from electra_tf.training.reporting import Reporter

_SHOWN = (
    "loss", "mlm_loss", "mlm_accuracy", "cloze_loss", "restored_loss",
    "disc_accuracy", "disc_auc",
)  # fmt: skip
_PLOTS = (
    PlotGroup("total_loss", ("loss",), "joint loss (nats, weighted)", True),
    PlotGroup(
        "generator_loss",
        ("mlm_loss", "cloze_loss"),
        "loss (nats per masked token; cloze: per token)",
    ),
    PlotGroup("discriminator_loss", ("disc_loss",), "loss (nats per token)"),
    PlotGroup(
        "restored_loss", ("restored_loss",), "loss (nats per predicted token)"
    ),
    PlotGroup(
        "generator_accuracy",
        ("mlm_accuracy", "sampled_accuracy", "cloze_accuracy"),
        "share of masked tokens; cloze: of all",
    ),
    PlotGroup(
        "discriminator_accuracy",
        ("disc_accuracy", "disc_auc", "disc_precision", "disc_recall"),
        "share; area under the curve",
    ),
    PlotGroup(
        "restored_accuracy",
        ("restored_accuracy", "restored_masked_accuracy"),
        "share of predicted tokens",
    ),
)


def reporter(run_dir: str, config: TrainConfig) -> Reporter:
    """Progress, records and plots of a pre-training run."""
    return Reporter(
        run_dir,
        num_train_steps=config.num_train_steps,
        batch_size=config.batch_size,
        shown=_SHOWN,
        plots=_PLOTS,
    )


def save_model(
    run_dir: str,
    model: ElectraPretrainer,
    data: PretrainData,
    settings: dict[str, Any],
    step: int,
) -> None:
    """Writes `<run>/model`: both networks, vocabulary and config."""
    generator = model.generator_config
    kind = "tied" if model.generator_shares_encoder else generator.kind
    shared = kind == "uniform" or generator.embeddings == "shared"
    config = DirectoryConfig(
        discriminator=model.discriminator.config,
        generator=model.generator.config,
        lower_case=data.lower_case,
        strip_accents=data.strip_accents,
        vocab_fingerprint=data.vocab.fingerprint(),
        step=step,
        pretraining=settings,
        generator_kind=kind,
        generator_embeddings="shared" if shared else "untied",
        wrap_around=generator.wrap_around,
        replaced_token_head=model.discriminator.head is not None,
        token_lm_head=kind != "uniform",
    )
    directory.save(
        files.join(run_dir, "model"),
        config,
        [model.discriminator, model.generator],
        data.vocab,
    )
