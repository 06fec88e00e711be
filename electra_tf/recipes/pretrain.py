"""Pre-trains a model, from built examples to a model directory."""

import contextlib
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from electra_tf import config as configs
from electra_tf import files
from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.recipes.arguments import checked
from electra_tf.training import precision
from electra_tf.training.settings import StrategyName

if typing.TYPE_CHECKING:
    from electra_tf.keras_api.data import PretrainingData
    from electra_tf.models import flops
    from electra_tf.training.workers import Share


@dataclasses.dataclass(frozen=True)
class PretrainResult:
    """The result of a pre-training run.

    Attributes:
      output: the run directory.
      model: its model directory; None where a signal stopped the run.
      step: number of updates done.
      stopped: whether SIGTERM or SIGINT stopped it; started again with the
        same arguments it resumes.
      resumed_from: the step of the checkpoint it resumed from, or None.
      train: the last training metrics.
      validation: the last held-out metrics.
      start: what was loaded from the checkpoint of `init_from`, in lines; ""
        without one, or where the run resumed.
    """

    output: str
    model: str | None
    step: int
    stopped: bool
    resumed_from: int | None
    train: dict[str, float]
    validation: dict[str, float]
    start: str = ""

    def __str__(self) -> str:
        """Describes the start of the weights, and the model's directory."""
        model = f"model: {self.model}" if self.model else ""
        return "\n".join(filter(None, [self.start, model]))


def settings_class(**_: Any) -> type:
    """Returns the settings class of `config` and `overrides`."""
    return PretrainSettings


@checked
def pretrain(
    data: str,
    output: str,
    *,
    config: configs.Config = None,
    overrides: configs.Overrides = (),
    model: Mapping[str, Any] | None = None,
    generator: Mapping[str, Any] | None = None,
    masking: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    vocab: str | None = None,
    init_from: Sequence[str] = (),
    init_optimizer: bool = False,
    init_set: Sequence[str] = (),
    extend_vocab: str | None = None,
    strategy: StrategyName = "one_device",
    join_seconds: Annotated[float, Setting(at_least=0, infinite=True)] = 300.0,
    tpu: str = "",
    skip_corrupt: bool = False,
    lower_case: bool = True,
    strip_accents: bool | None = None,
    loggers: Sequence[str] = (),
    progress: bool = True,
) -> PretrainResult:
    """Trains a generator and a discriminator on built examples.

        electra-tf pretrain --config=tiny.yaml --data=DATA --output=RUN

    Started again with the same arguments it resumes from the last checkpoint;
    SIGTERM and Ctrl-C write one first. The run directory receives
    metrics.jsonl, tensorboard/, plots/, checkpoints/ and, at the end, model/:
    what `electra_tf.Discriminator.from_pretrained(RUN)` loads.

    With --init_from the run starts from a checkpoint of any format (a model
    directory, Hugging Face, KerasHub, TF1, hf:// or kaggle:// handle), whose
    shape it takes; a missing generator or head starts from random weights.

    Args:
      data: directory made by build-data, or a glob of the original's TFRecords
      output: the run directory
      config: YAML file of settings; the defaults pre-train ELECTRA-Small
      overrides: section.key=value, which override the file's
      model: settings of the discriminator's shape and dropout, which override
        the file's
      generator: settings of the generator, likewise
      masking: settings of the masking, likewise
      objective: settings of the objective, likewise
      train: settings of the training, likewise
      vocab: vocabulary file; the data's by default
      init_from: checkpoint to start from; twice for a separate discriminator
        and generator
      init_optimizer: load its optimizer's slots and step too, so that the
        learning rate's schedule continues; otherwise it starts again
      init_set: what that checkpoint does not say, as model.num_heads=4
      extend_vocab: file of tokens, one a line, to append to that checkpoint's
        vocabulary
      strategy: one_device, mirrored, multi_worker or tpu; the workers of
        multi_worker are listed in the environment variable TF_CONFIG
      join_seconds: how long to wait for the other workers at the start
      tpu: name or address of a TPU
      skip_corrupt: skip damaged records instead of stopping
      lower_case: whether the text of TFRecords without a manifest was
        lower-cased
      strip_accents: whether its accents were stripped; as lower_case if unset
      loggers: further loggers of metrics: mlflow, wandb or both
      progress: whether to show progress and notes on stderr

    Returns:
      Paths and metrics.

    Raises:
      UserError: settings are not valid; data is missing or damaged; `output`
        has a run with other settings; or a loss is not finite.
    """
    settings = configs.resolve(
        PretrainSettings,
        config,
        overrides,
        model=model,
        generator=generator,
        masking=masking,
        objective=objective,
        train=train,
    )
    init_from = [init_from] if isinstance(init_from, str) else list(init_from)
    _check_start(init_from, init_optimizer, init_set, extend_vocab)

    import tensorflow as tf

    from electra_tf.hub.config import assigned
    from electra_tf.keras_api import start
    from electra_tf.keras_api.data import PretrainingData
    from electra_tf.keras_api.pretrainer import ElectraPretrainer
    from electra_tf.training import loggers as loggers_lib
    from electra_tf.training import loop, workers
    from electra_tf.training import strategy as strategies

    loggers_lib.check(loggers)
    with strategies.distributed(
        strategy, join_seconds=join_seconds, tpu=tpu, run_dir=output
    ) as chosen:
        team = workers.of(chosen)
        if settings.data.pack_examples and isinstance(
            chosen, tf.distribute.TPUStrategy
        ):
            raise UserError(
                "data.pack_examples, --strategy=tpu: TPUs need the same number "
                "of rows in every batch; set data.pack_examples to false"
            )
        if not settings.data.pack_examples:  # else rows are made to fit
            loop.check_batch_size(
                settings.train.batch_size,
                chosen.num_replicas_in_sync,
                settings.train.gradient_accumulation,
            )
        examples = PretrainingData.open(
            data, vocab, skip_corrupt, lower_case, strip_accents
        )
        loop.make_deterministic(settings.train.seed)

        # Where the weights come from.
        checkpoint, chosen_settings = None, settings
        if init_from:
            resumed = start.resumed_settings(settings, output)
            if resumed is None:
                checkpoint = start.read(
                    init_from, assigned(init_set, "--init_set"), vocab,
                    extend_vocab, init_optimizer,
                )  # fmt: skip
                start.check_vocab(checkpoint, examples.vocab, examples.source)
                resumed = start.fit_settings(settings, checkpoint)
            settings = resumed
        # A checkpoint's table may have more rows than its vocabulary tokens.
        rows = settings.model.vocab_size if init_from else None
        settings = examples.fit(settings, rows)
        asked = settings.train
        numbers = precision.resolved(asked.precision, output, asked.jit_compile)
        settings = dataclasses.replace(
            settings, train=dataclasses.replace(asked, precision=numbers)
        )
        decided: contextlib.AbstractContextManager = contextlib.nullcontext()
        if checkpoint is not None:
            decided = start.naming_replaced(chosen_settings, settings)
        with chosen.scope():
            with decided:
                pretrainer = ElectraPretrainer.from_config(
                    settings,
                    vocab=examples.vocab,
                    lower_case=examples.lower_case,
                    strip_accents=examples.strip_accents,
                    vocab_rows=rows,
                )
            pretrainer.compile()
            report = None
            if checkpoint is not None:
                report = dataclasses.replace(
                    start.load(pretrainer, checkpoint, init_optimizer),
                    replaced=start.replaced(chosen_settings, settings),
                )
            elif settings.generator.frozen and not init_from:
                raise UserError(
                    "generator.frozen: a generator that is not trained has to "
                    "come from a checkpoint; give --init_from, or set it to "
                    "false"
                )
        first_step = int(pretrainer.optimizer.iterations.numpy())
        steps = settings.train.num_train_steps
        if checkpoint is not None and first_step >= steps:
            raise UserError(
                f"train.num_train_steps: {steps}, but the checkpoint is at "
                f"step {first_step} already; set it higher, or leave "
                "--init_optimizer out to start counting again"
            )

        # Training.
        record = _record(settings, examples, init_from, init_optimizer)
        share = team.share
        replicas = chosen.num_replicas_in_sync // share.count
        held_out = None
        if examples.held_out:
            held_out = examples.validation(settings.train.batch_size, share)
        reporter = _reporter(output, settings, progress, loggers)
        reporter.recording = team.is_chief
        if report is not None:
            reporter.note(str(report))
        description = precision.describe(numbers, asked.precision)
        if description:
            reporter.note(description)
        try:
            for line in _cost_lines(settings, examples, share, replicas):
                reporter.note(line)
            outcome = loop.train(
                pretrainer,
                lambda step: examples.training(settings, step, share, replicas),
                config=settings.train,
                run_dir=output,
                strategy=chosen,
                eval_data=held_out,
                run_config=record,
                settings_class=PretrainSettings,
                reporter=reporter,
                initial_step=first_step,
            )
        except tf.errors.OpError as error:
            raise examples.explain(error) from error
        saved = files.join(output, "model")
        if team.is_chief and not outcome["stopped"]:
            pretrainer.save_as_run(saved, record, outcome["step"])
    return PretrainResult(
        output=output,
        model=None if outcome["stopped"] else saved,
        step=outcome["step"],
        stopped=outcome["stopped"],
        resumed_from=outcome["resumed_from"],
        train=outcome["train"],
        validation=outcome["validation"],
        start=str(report) if report is not None and team.is_chief else "",
    )


def _check_start(
    init_from: Sequence[str],
    init_optimizer: bool,
    init_set: Sequence[str],
    extend_vocab: str | None,
) -> None:
    """Refuses flags of --init_from that do not go together."""
    if len(init_from) > 2:
        raise UserError(
            "--init_from: expected one checkpoint, or a discriminator's and a "
            f"generator's; got {len(init_from)}"
        )
    for flag, value in (
        ("--init_optimizer", init_optimizer),
        ("--init_set", init_set),
        ("--extend_vocab", extend_vocab),
    ):
        if value and not init_from:
            raise UserError(f"{flag}: needs --init_from")


def _record(
    settings: PretrainSettings,
    data: "PretrainingData",
    init_from: list[str],
    init_optimizer: bool,
) -> dict[str, Any]:
    """Returns what the run saves about its settings, data and start."""
    record = configs.to_dict(settings)
    if init_from:
        record["init"] = {"from": init_from, "optimizer": init_optimizer}
    # With other data a checkpoint's data position would be meaningless.
    record["data"] |= {
        "fingerprint": data.fingerprint,
        "max_seq_length": data.max_seq_length,
    }
    record["vocab_fingerprint"] = data.vocab.fingerprint()
    return record


def costs(
    settings: PretrainSettings, max_seq_length: int, rows: float | None = None
) -> "flops.Costs":
    """Counts parameters and FLOPs of a run, in the paper's accounting.

    Args:
      settings: settings of the run.
      max_seq_length: L, the length of rows.
      rows: rows of a batch, [rows, L]; None means one per example.
    """
    from electra_tf.data import packing as data_packing
    from electra_tf.pretraining import packing
    from electra_tf.pretraining.objectives import base as objectives

    places = 1
    if settings.data.pack_examples:
        places = data_packing.places(max_seq_length)
    return objectives.make(settings.objective).costs(
        settings.model,
        settings.generator,
        seq_length=max_seq_length,
        predictions=packing.slots(settings.masking, max_seq_length, places),
        batch_size=rows or settings.train.batch_size,
        num_train_steps=settings.train.num_train_steps,
    )


def _cost_lines(
    settings: PretrainSettings,
    data: "PretrainingData",
    share: "Share",
    replicas: int,
) -> list[str]:
    """Describes size and FLOPs of the run, and what packing saves."""
    length, batch_size = data.max_seq_length, settings.train.batch_size
    if not settings.data.pack_examples:
        return [costs(settings, length).line()]
    from electra_tf.data import packing

    rows, filled = packing.fill(data.training(settings, 0, share, replicas))
    return [
        costs(settings, length, rows * share.count).line(),
        f"packing: {batch_size // share.count} examples in {rows:.1f} rows of "
        f"{length}, {filled:.0%} of their positions filled",
    ]


def _reporter(
    output: str,
    settings: PretrainSettings,
    progress: bool,
    loggers: Sequence[str],
) -> Any:
    """Makes the reporter of the run: progress, records and plots."""
    from electra_tf.training.reporting import PlotGroup, Reporter

    return Reporter(
        output,
        num_train_steps=settings.train.num_train_steps,
        batch_size=settings.train.batch_size,
        loggers=loggers,
        shown=(
            "loss", "mlm_loss", "mlm_accuracy", "cloze_loss", "restored_loss",
            "disc_accuracy", "disc_auc",
        ),
        plots=(
            PlotGroup(
                "total_loss", ("loss",), "joint loss (nats, weighted)", True
            ),
            PlotGroup(
                "generator_loss",
                ("mlm_loss", "cloze_loss"),
                "loss (nats per masked token; cloze: per token)",
            ),
            PlotGroup(
                "discriminator_loss", ("disc_loss",), "loss (nats per token)"
            ),
            PlotGroup(
                "restored_loss",
                ("restored_loss",),
                "loss (nats per predicted token)",
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
        ),
        progress=progress,
    )  # fmt: skip
