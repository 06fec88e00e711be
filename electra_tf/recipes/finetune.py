"""Fine-tunes a model on a task, in one trial or several, and reports."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from electra_tf.config import Config, Overrides, Setting, Settings
from electra_tf.errors import UserError
from electra_tf.finetuning import settings as finetune_settings
from electra_tf.recipes.arguments import checked
from electra_tf.training.settings import StrategyName

if TYPE_CHECKING:
    from electra_tf.finetuning.start import Start


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """The result of `finetune`.

    Attributes:
      output: the run directory.
      model: the directory of the best trial's model.
      finished: whether all trials are done; False where a signal stopped it:
        the same call resumes it.
      metrics: metrics of the best trial, split -> metric -> value.
      report: the content of report.json.
    """

    output: str
    model: str
    finished: bool
    metrics: Mapping[str, Mapping[str, float]]
    report: Mapping[str, Any]

    def __str__(self) -> str:
        if not self.finished:
            return ""
        from electra_tf.finetuning import report

        lines = (report.table(self.report), report.headline(self.report))
        return "\n".join((*lines, f"model: {self.model}"))


@checked
def finetune(
    output: str,
    *,
    config: Config = None,
    overrides: Overrides = (),
    task: str | None = None,
    model: str | None = None,
    data: str | None = None,
    num_trials: Annotated[int, Setting(at_least=1)] | None = None,
    folds: Annotated[int, Setting(at_least=2)] | None = None,
    options: Mapping[str, Any] | Settings | None = None,
    train: Mapping[str, Any] | Settings | None = None,
    random_weights: bool = False,
    new_head: bool = False,
    vocab: str | None = None,
    lower_case: bool | None = None,
    strip_accents: bool | None = None,
    strategy: StrategyName = "one_device",
    join_seconds: Annotated[float, Setting(at_least=0, infinite=True)] = 300.0,
    tpu: str = "",
    loggers: Sequence[str] = (),
    overwrite: bool = False,
    progress: bool = True,
) -> FineTuned:
    """Fine-tunes a model on a task, in one trial or several, and reports.

        electra-tf finetune --config=configs/finetune/sst2.yaml --model=DIR \\
            --output=RUN

    The model is a checkpoint of any format: a model directory or run of ours, a
    Hugging Face directory, a KerasHub preset, a TF1 checkpoint, hf:// or
    kaggle://. It gets a new head, unless it is already fine-tuned with the same
    head. Without --model, or with --random_weights, training starts from random
    weights.

    Tasks: glue/NAME, classification, regression, squad, xquad, mrqa,
    chinese_qa, tagging, ranking, translation, abstractive_summarization,
    extractive_summarization, multitask, or FILE.py:CLASS for one of your own.
    Started again with the same arguments it resumes; SIGTERM and Ctrl-C
    write a checkpoint first. The run directory receives report.md,
    report.json, plots/, a directory for each trial and model/, the best one:
    what `electra_tf.load(RUN)` loads.

    Args:
      output: the run directory
      config: settings: task, options, train, model; a YAML file (in Python a
        settings object or nested dicts too)
      overrides: section.key=value, which override the file's
      task: the task, which overrides the file's
      model: checkpoint to start from
      data: directory or file with the task's data; some tasks have a default
      num_trials: number of trials, with consecutive seeds; by default the
        file's, or 1
      folds: number of folds of a cross-validation, in place of trials: each
        part of the examples is held out in turn, and the report has mean and
        standard deviation over them
      options: keys of the section `options`, which override `config`'s.
      train: keys of the section `train`, which override `config`'s.
      random_weights: take only the shape and the vocabulary of --model
      new_head: start with a new head even though the model has one that fits
      vocab: vocabulary, where the model has none
      lower_case: whether the tokenizer lower-cases, where the model does not
        say
      strip_accents: whether the tokenizer strips accents, likewise; as
        --lower_case if unset
      strategy: distribution strategy; the environment variable TF_CONFIG lists
        the workers of multi_worker
      join_seconds: how long to wait for the other workers at the start
      tpu: name or address of a TPU
      loggers: further loggers of metrics: mlflow, wandb or both
      overwrite: remove an existing run, and start again
      progress: whether to report progress on stderr.

    Returns:
      The metrics, and where the model and the report are.

    Raises:
      UserError: settings, data or model are wrong; or the run directory has a
        run with other ones.
    """
    settings = finetune_settings.load(
        config, overrides,
        task=task, num_trials=num_trials, folds=folds, options=options,
        train=train,
    )  # fmt: skip
    from electra_tf.finetuning import trials
    from electra_tf.training import loggers as loggers_lib
    from electra_tf.training import strategy as strategies

    loggers_lib.check(loggers)
    with strategies.distributed(
        strategy, join_seconds=join_seconds, tpu=tpu, run_dir=output
    ) as chosen:
        start = _start(
            settings.model, model, random_weights, new_head, vocab,
            lower_case, strip_accents,
        )  # fmt: skip
        report = trials.run_trials(
            settings, start, data, output, chosen, progress, loggers, overwrite
        )
    best: Mapping[str, Any] = report["summary"] if report else {}
    return FineTuned(
        output=output,
        model=f"{output}/model",
        finished=report is not None,
        metrics={
            split: {name: found["best"] for name, found in metrics.items()}
            for split, metrics in best.items()
        },
        report=report or {},
    )


def settings_class(
    config: Config = None,
    overrides: Overrides = (),
    task: str | None = None,
    **others: Any,
) -> type:
    """Returns the settings class of --config and --set."""
    del others
    name = finetune_settings.task_of(config, overrides, task)
    return finetune_settings.settings_class(name)


def check_settings(
    config: Config = None,
    overrides: Overrides = (),
    task: str | None = None,
    num_trials: int | None = None,
    folds: int | None = None,
    **others: Any,
) -> None:
    """Raises a `UserError` for wrong settings, without TensorFlow."""
    del others
    finetune_settings.load(
        config, overrides, task=task, num_trials=num_trials, folds=folds
    )


def _start(
    given: Any,
    path: str | None,
    random_weights: bool,
    new_head: bool,
    vocab: str | None,
    lower_case: bool | None,
    strip_accents: bool | None,
) -> "Start":
    """Opens the checkpoint at `path`, or starts from random weights."""
    from electra_tf.finetuning import start

    if path is None:
        for flag, wanted in (
            ("--random_weights", random_weights),
            ("--new_head", new_head),
        ):
            if wanted:
                raise UserError(f"{flag}: needs --model")
        return start.from_random(
            given, vocab, lower_case is not False, strip_accents
        )
    flags = {"lower_case": lower_case, "strip_accents": strip_accents}
    return start.from_checkpoint(
        path,
        given,
        vocab=vocab,
        overrides={
            name: str(value).lower()
            for name, value in flags.items()
            if value is not None
        },
        random_weights=random_weights,
        new_head=new_head,
    )
