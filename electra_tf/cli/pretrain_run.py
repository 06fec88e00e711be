"""Pre-training from settings and data to a model directory."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from electra_tf import config
from electra_tf.cli import (
    pretrain_outputs,
    pretrain_settings,
    pretrain_start,
)
from electra_tf.cli.pretrain_settings import PretrainData, PretrainSettings
from electra_tf.data import packing, reader
from electra_tf.errors import UserError
from electra_tf.hub.checkpoint import Checkpoint
from electra_tf.training import loop, workers


@dataclasses.dataclass(frozen=True)
class Start:
    """Where the weights come from; from nowhere, unless `paths` are given.

    Attributes:
      paths: see `pretrain_start.read`, as the last three.
      with_optimizer: carry over the optimizer's slots and its step.
      extend_vocab: see there.
      overrides: see there.
      vocab: see there.
    """

    paths: tuple[str, ...] = ()
    with_optimizer: bool = False
    extend_vocab: str | None = None
    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict)
    vocab: str | None = None

    def __post_init__(self) -> None:
        if len(self.paths) > 2:
            raise UserError(
                "--init_from: expected one checkpoint, or a discriminator's "
                f"and a generator's; got {len(self.paths)}"
            )
        for flag, value in (
            ("--init_optimizer", self.with_optimizer),
            ("--init_set", self.overrides),
            ("--extend_vocab", self.extend_vocab),
        ):
            if value and not self.paths:
                raise UserError(f"{flag}: needs --init_from")


def run(
    settings: PretrainSettings,
    data: PretrainData,
    output: str,
    strategy: tf.distribute.Strategy,
    start: Start = Start(),
) -> dict[str, Any]:
    """Trains to the end, or until stopped, and writes the model directory.

    Args:
      settings: all of the run's settings.
      data: examples and vocabulary.
      output: the run directory; goes on from a checkpoint there.
      strategy: see `training.strategy.make_strategy`.
      start: where the weights come from.

    Returns:
      What `training.loop.train` returns.
    """
    if settings.data.pack_examples and isinstance(
        strategy, tf.distribute.TPUStrategy
    ):
        raise UserError(
            "data.pack_examples, --strategy=tpu: TPUs need the same number of "
            "rows in every batch; set data.pack_examples to false"
        )
    loop.make_deterministic(settings.train.seed)
    team = workers.of(strategy)
    checkpoint = None
    if start.paths:
        resumed = pretrain_start.resumed_settings(settings, output)
        if resumed is None:
            checkpoint = _open(start, data)
            resumed = pretrain_start.fit_settings(settings, checkpoint)
        settings = resumed
    settings = pretrain_settings.fit_to_data(settings, data)
    described = config.to_dict(settings)
    if start.paths:
        described["init"] = {
            "from": list(start.paths),
            "optimizer": start.with_optimizer,
        }
    # With other data the position that a checkpoint keeps would be void.
    described["data"] |= {
        "fingerprint": data.fingerprint,
        "max_seq_length": data.max_seq_length,
    }
    described["vocab_fingerprint"] = data.vocab.fingerprint()
    with strategy.scope():
        model = pretrain_settings.build_model(settings, data.special)
        if checkpoint is not None:
            report = pretrain_start.load(
                model, checkpoint, start.with_optimizer
            )
            if team.is_chief:
                print(report)
            _check_step(settings, model.optimizer.iterations)
        elif settings.generator.frozen and not start.paths:
            raise UserError(
                "generator.frozen: a generator that is not trained has to come "
                "from a checkpoint; give --init_from, or set it to false"
            )
    replicas = strategy.num_replicas_in_sync // team.share.count
    held_out = None
    if data.held_out:
        held_out = data.validation(settings.train.batch_size, team.share)
    reporter = pretrain_outputs.reporter(output, settings.train)
    reporter.recording = team.is_chief
    for line in _costs(settings, data, team.share, replicas):
        reporter.note(line)
    try:
        result = loop.train(
            model,
            lambda step: data.training(settings, step, team.share, replicas),
            config=settings.train,
            run_dir=output,
            strategy=strategy,
            eval_data=held_out,
            run_config=described,
            reporter=reporter,
            initial_step=int(model.optimizer.iterations.numpy()),
        )
    except tf.errors.OpError as error:
        raise explain(error, data) from error
    if team.is_chief and not result["stopped"]:
        pretrain_outputs.save_model(
            output, model, data, described, result["step"]
        )
    return result


def _costs(
    settings: PretrainSettings,
    data: PretrainData,
    share: workers.Share,
    replicas: int,
) -> list[str]:
    """Size and FLOPs of the run, and what packing saves, in lines."""
    length, batch_size = data.max_seq_length, settings.train.batch_size
    if not settings.data.pack_examples:
        return [pretrain_settings.costs(settings, length).line()]
    batches = data.training(settings, 0, share, replicas)
    rows, filled = packing.fill(batches)
    return [
        pretrain_settings.costs(settings, length, rows * share.count).line(),
        f"packing: {batch_size // share.count} examples in {rows:.1f} rows of "
        f"{length}, {filled:.0%} of their positions filled",
    ]


def _check_step(settings: PretrainSettings, iterations: Any) -> None:
    step = int(iterations.numpy())
    if step >= settings.train.num_train_steps:
        raise UserError(
            f"train.num_train_steps: {settings.train.num_train_steps}, but "
            f"the checkpoint is at step {step} already; set it higher, or "
            "leave --init_optimizer out to start counting again"
        )


def _open(start: Start, data: PretrainData) -> Checkpoint:
    checkpoint = pretrain_start.read(
        start.paths, start.overrides, start.vocab, start.extend_vocab
    )
    pretrain_start.check_vocab(checkpoint, data)
    return checkpoint


def explain(error: tf.errors.OpError, data: PretrainData) -> Exception:
    """What to tell of an error of the graph: the data's fault, or a bug."""
    if isinstance(error, tf.errors.DataLossError):
        found = reader.data_loss_error(data.source)
        if "read it again" in str(found) and data.held_out:
            return reader.data_loss_error(data.source, "validation")
        return found
    if isinstance(
        error, (tf.errors.NotFoundError, tf.errors.PermissionDeniedError)
    ):
        return UserError(f"{data.source}: {error.message}")
    return error
