"""What a pre-training run leaves behind: progress, plots, model directory."""

from typing import Any

from electra_tf import files
from electra_tf.cli.pretrain_settings import PretrainData
from electra_tf.hub import directory
from electra_tf.pretraining.pretrainer import ElectraPretrainer
from electra_tf.training.loop import TrainConfig
from electra_tf.training.plots import PlotGroup
from electra_tf.training.reporting import Reporter

_SHOWN = ("loss", "mlm_loss", "mlm_accuracy", "disc_accuracy", "disc_auc")
_PLOTS = (
    PlotGroup("total_loss", ("loss",), "joint loss (nats, weighted)", True),
    PlotGroup("generator_loss", ("mlm_loss",), "loss (nats per masked token)"),
    PlotGroup("discriminator_loss", ("disc_loss",), "loss (nats per token)"),
    PlotGroup(
        "generator_accuracy",
        ("mlm_accuracy", "sampled_accuracy"),
        "share of masked tokens",
    ),
    PlotGroup(
        "discriminator_accuracy",
        ("disc_accuracy", "disc_auc", "disc_precision", "disc_recall"),
        "share; area under the curve",
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
    directory.save(
        files.join(run_dir, "model"),
        directory.DirectoryConfig(
            discriminator=model.discriminator.config,
            generator=model.generator.config,
            lower_case=data.lower_case,
            strip_accents=data.strip_accents,
            vocab_fingerprint=data.vocab.fingerprint(),
            step=step,
            pretraining=settings,
        ),
        [model.discriminator, model.generator],
        data.vocab,
    )
