"""Searches for the learning rate, batch size and epochs of a fine-tuning."""

import dataclasses
import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

from electra_tf.config import Config, Overrides, Setting, Settings
from electra_tf.errors import UserError
from electra_tf.recipes.arguments import checked

_STORAGE, _REPORT, _MARKDOWN = "study.db", "tune.json", "tune.md"
_PLOT = "plots/search.png"
_KEYS = ("learning_rate", "batch_size", "num_train_epochs")


@dataclasses.dataclass(frozen=True)
class Tuned:
    """The result of a search; its `str()` is what the command prints.

    Attributes:
      output: the directory of the search.
      model: the directory of the best run's model.
      finished: whether all runs are done; False where a signal stopped it:
        the same call resumes it.
      metric: the maximised metric, with its split.
      best: the settings of the best run.
      score: its score.
      runs: settings, score and directory of each run, in order.
    """

    output: str
    model: str
    finished: bool
    metric: str
    best: Mapping[str, Any]
    score: float
    runs: tuple[Mapping[str, Any], ...]

    def __str__(self) -> str:
        if not self.finished:
            return ""
        flags = " ".join(f"--set=train.{k}={v}" for k, v in self.best.items())
        return (
            f"{_table(self.runs)}\nbest of {len(self.runs)} runs: "
            f"{self.metric} {self.score:.2f} with {flags}\nmodel: {self.model}"
        )


@checked
def tune(
    output: str,
    *,
    config: Config = None,
    overrides: Overrides = (),
    task: str | None = None,
    model: str | None = None,
    data: str | None = None,
    num_runs: Annotated[int, Setting(at_least=1)] = 20,
    learning_rates: str = "1e-5,5e-4",
    batch_sizes: str = "16,32",
    epochs: str = "2,3,5",
    folds: Annotated[int, Setting(at_least=2)] | None = None,
    options: Mapping[str, Any] | Settings | None = None,
    train: Mapping[str, Any] | Settings | None = None,
    vocab: str | None = None,
    search_seed: Annotated[int, Setting(at_least=0, at_most=2**32 - 1)] = 0,
    progress: bool = True,
) -> Tuned:
    """Searches for the learning rate, batch size and epochs of a fine-tuning.

        electra-tf tune --config=configs/finetune/sst2.yaml --model=DIR \\
            --output=SEARCH --num_runs=20

    Each run is a fine-tuning in a directory of its own below the output; its
    best score on the validation data guides the next choice (Optuna's
    tree-structured Parzen estimator). Started again with the same arguments it
    resumes, and with a larger --num_runs it continues. The models of runs that
    are not the best are removed. The output receives tune.md, tune.json and
    plots/search.png. The score of the best run is biased, as the run was chosen
    by it: judge it on test data. Needs the extra `tune`.

    Args:
      output: the directory of the search
      config: settings of the fine-tuning: a YAML file (in Python a settings
        object or nested dicts too)
      overrides: section.key=value, which override the file's
      task: the task, which overrides the file's
      model: checkpoint to start from
      data: directory or file with the task's data
      num_runs: number of fine-tunings
      learning_rates: the lowest and the highest learning rate
      batch_sizes: batch sizes to choose from, separated by commas
      epochs: numbers of epochs to choose from, separated by commas
      folds: number of folds, to score each run by cross-validation
      options: keys of the section `options`, which override `config`'s.
      train: keys of the section `train`, which override `config`'s.
      vocab: vocabulary, where the model has none
      search_seed: seed of the search; that of the runs is train.seed
      progress: whether to report progress on stderr.

    Returns:
      The best settings, and all runs.

    Raises:
      UserError: Optuna is not installed; settings are not valid; there is no
        validation data; or the output has another search.
    """
    space = (
        _numbers("--learning_rates", learning_rates, float, 2),
        _numbers("--batch_sizes", batch_sizes, int),
        _numbers("--epochs", epochs, float),
    )
    if space[0][0] > space[0][1]:
        raise UserError("--learning_rates: the lowest comes first")
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "tune needs the package optuna; install it: pip install "
            "'electra-tf[tune]'"
        ) from error
    from electra_tf import config as configs
    from electra_tf import files
    from electra_tf.finetuning import settings as finetune_settings
    from electra_tf.recipes.finetune import finetune

    if not files.is_local(output):
        raise UserError(f"--output: {output}: tune writes to a local directory")
    # Also checks the settings, before anything is written.
    given = finetune_settings.load(
        config, overrides, task=task, folds=folds, options=options, train=train
    )
    _check_steps(given)
    _check_validation(given, data)
    about = {
        "settings": json.loads(json.dumps(configs.to_dict(given))),
        "space": [list(values) for values in space],
        "model": model, "data": data, "vocab": vocab, "seed": search_seed,
    }  # fmt: skip
    study = _opened(optuna, output, about)
    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL)

    def run(number: int, params: Mapping[str, Any]) -> float | None:
        """Returns the score of a run; None if it was stopped, NaN if it
        diverged.
        """
        text = ", ".join(f"{k} {v:.3g}" for k, v in params.items())
        if progress:
            print(
                f"run {number + 1} of {num_runs}: {text}",
                file=sys.stderr,
                flush=True,
            )
        try:
            found = finetune(
                _folder(output, number),
                config=given,
                model=model, data=data, vocab=vocab,
                train={**params, "num_train_steps": None}, progress=progress,
            )  # fmt: skip
        except UserError as error:
            if "not finite" not in str(error):
                raise
            return math.nan
        if not found.finished:
            return None
        return _score(found.report, study)

    # The run that an earlier process did not finish, if any.
    waiting = [
        (trial.number, dict(trial.params))
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
    ]
    while True:
        finished = study.get_trials(deepcopy=False, states=done)
        if not waiting and len(finished) >= num_runs:
            break
        if waiting:
            number, params = waiting.pop()
        else:
            # A new sampler for each run: the same choices after an
            # interruption.
            study.sampler = optuna.samplers.TPESampler(
                seed=(search_seed + len(finished)) % 2**32
            )
            number, params = _asked(study, space)
        if len(params) < len(_KEYS):  # it died before all were chosen
            study.tell(number, state=optuna.trial.TrialState.FAIL)
            continue
        value = run(number, params)
        if value is None:
            return _result(study, output, finished=False)
        if math.isnan(value):
            study.tell(number, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(number, value)
            _remove_models(study, output)
    found = _result(study, output, finished=True)
    _report(found, about)
    return found


def settings_class(
    config: Config = None,
    overrides: Overrides = (),
    task: str | None = None,
    **others: Any,
) -> type:
    """Returns the settings class of --config and --set."""
    from electra_tf.recipes import finetune

    return finetune.settings_class(config, overrides, task, **others)


def check_settings(
    config: Config = None,
    overrides: Overrides = (),
    task: str | None = None,
    folds: int | None = None,
    **others: Any,
) -> None:
    """Raises a `UserError` for wrong settings, without TensorFlow."""
    del others
    from electra_tf.finetuning import settings

    _check_steps(settings.load(config, overrides, task=task, folds=folds))


def _check_validation(given: Any, data: str | None) -> None:
    """Refuses, before a first run, files that leave nothing to score by."""
    from electra_tf.tasks.registry import task_class
    from electra_tf.tasks.task import FileTask

    task = task_class(given.task)(given.task, given.options, data)
    if given.train.folds or not isinstance(task, FileTask):
        return
    if not task.options.validation_fraction and not task.find("validation"):
        raise UserError(
            f"task {given.task}: no validation data to score runs by; set "
            "options.validation_fraction above 0, give "
            "options.validation_file, or --folds"
        )


def _check_steps(given: Any) -> None:
    """Refuses a number of steps: the search chooses the number of epochs."""
    steps = given.train.num_train_steps
    if steps is not None:
        raise UserError(
            f"train.num_train_steps: is {steps}, and tune chooses the epochs "
            "(--epochs); leave it out"
        )


def _numbers(flag: str, text: str, kind: type, count: int = 0) -> list[Any]:
    try:
        found = [kind(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if (
        not found
        or not all(0 < number < math.inf for number in found)
        or (count and len(found) != count)
    ):
        how = f"{count} numbers" if count else "numbers"
        raise UserError(
            f"{flag}={text}: expected {how} above 0, divided by commas"
        )
    return found


def _opened(optuna: Any, output: str, about: Mapping[str, Any]) -> Any:
    """Opens the search in `output`, or makes a new one.

    Raises:
      UserError: it cannot be made or read, or has other settings.
    """
    from electra_tf import files

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with files.named_errors(output, "create directory"):
        os.makedirs(output, exist_ok=True)
    path = os.path.abspath(os.path.join(output, _STORAGE))
    named = {"storage": f"sqlite:///{path}", "study_name": "electra-tf tune"}
    try:
        study = optuna.create_study(
            **named, direction="maximize", load_if_exists=True
        )
    except Exception as error:  # of the database that Optuna uses
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"cannot open {path}: {reason}; remove it if it is damaged, or "
            "choose another --output"
        ) from error
    before = study.user_attrs.get("about")
    if before not in (None, about) and not _begun(study, output):
        # A search that failed in its data or model refuses no other one.
        optuna.delete_study(**named)
        study = optuna.create_study(**named, direction="maximize")
        before = None
    if before is None:
        study.set_user_attr("about", dict(about))
    elif before != about:
        other = [key for key in about if before.get(key) != about[key]]
        raise UserError(
            f"{output}: holds a search with another {', '.join(other)}; use "
            "the same, or choose another --output"
        )
    return study


def _begun(study: Any, output: str) -> bool:
    """Returns whether a run of a search has ended, or written anything."""
    from electra_tf import files

    return any(
        trial.state.is_finished() or files.exists(_folder(output, trial.number))
        for trial in study.get_trials(deepcopy=False)
    )


def _asked(study: Any, space: tuple[list[Any], ...]) -> tuple[int, dict]:
    rates, sizes, epochs = space
    trial = study.ask()
    return trial.number, {
        "learning_rate": trial.suggest_float(
            "learning_rate", rates[0], rates[1], log=True
        ),
        "batch_size": trial.suggest_categorical("batch_size", sizes),
        "num_train_epochs": trial.suggest_categorical(
            "num_train_epochs", epochs
        ),
    }


def _folder(output: str, number: int) -> str:
    return os.path.join(output, f"run_{number + 1}")


def _score(report: Mapping[str, Any], study: Any) -> float:
    split, metric = report["selected_on"], report["metric"]
    found = report["summary"].get(split, {}).get(metric)
    if found is None:
        raise UserError(
            f"task {report['task']}: no validation data to score runs by; "
            "give some, or --folds"
        )
    study.set_user_attr("metric", f"{split} {metric}")
    folds = report["settings"]["train"].get("folds")
    return found["mean"] if folds else found["median"]


def _remove_models(study: Any, output: str) -> None:
    """Removes the models of all runs but the best, whose model exists."""
    from electra_tf import files

    trials = study.get_trials(deepcopy=False)
    scored = [trial for trial in trials if trial.value is not None]
    # Of equal ones the first, as in `_result`; Optuna's choice is another.
    best = max(scored, key=lambda trial: (trial.value, -trial.number)).number
    for trial in scored:
        if trial.number == best:
            continue
        folder = _folder(output, trial.number)
        if files.exists(folder):
            for name in files.list_directory(folder):
                if name == "model":
                    files.remove(os.path.join(folder, name))
                elif name.startswith("trial_"):
                    files.remove(os.path.join(folder, name, "model"))


def _result(study: Any, output: str, finished: bool) -> Tuned:
    runs = [
        {
            "run": trial.number + 1,
            **trial.params,
            "score": trial.value,
            "directory": _folder(output, trial.number),
        }
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and trial.params
    ]
    scored = [run for run in runs if run["score"] is not None]
    if not scored:
        if finished:
            raise UserError(
                "tune: no run ended with a score; give lower --learning_rates"
            )
        return Tuned(output, "", False, "", {}, math.nan, tuple(runs))
    best = max(scored, key=lambda run: (run["score"], -run["run"]))
    return Tuned(
        output=output,
        model=os.path.join(best["directory"], "model"),
        finished=finished,
        metric=study.user_attrs["metric"],
        best={key: best[key] for key in _KEYS},
        score=best["score"],
        runs=tuple(runs),
    )


def _table(runs: tuple[Mapping[str, Any], ...]) -> str:
    lines = [
        "| run | learning rate | batch size | epochs | score |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        score = "diverged" if run["score"] is None else f"{run['score']:.2f}"
        lines.append(
            f"| {run['run']} | {run['learning_rate']:.3g} | "
            f"{run['batch_size']} | {run['num_train_epochs']:g} | {score} |"
        )
    return "\n".join(lines)


def _report(found: Tuned, about: Mapping[str, Any]) -> None:
    """Writes tune.md and the plot, and tune.json last."""
    from electra_tf import files

    _draw(found)
    settings = json.dumps(about, indent=2, ensure_ascii=False)
    text = (
        f"# {found.metric} {found.score:.2f}, the best of {len(found.runs)} "
        f"runs\n\n{found}\n\n![search]({_PLOT})\n\nThe best score is too "
        "optimistic, as the run was chosen by it.\n\n## "
        f"Settings\n\n```json\n{settings}\n```\n"
    )
    files.write_text(files.join(found.output, _MARKDOWN), text)
    content = dataclasses.asdict(found) | {"settings": dict(about)}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    files.write_text(files.join(found.output, _REPORT), text + "\n")


def _draw(found: Tuned) -> None:
    import io

    from matplotlib import figure

    from electra_tf import files

    canvas = figure.Figure(figsize=(9, 3), layout="constrained")
    axes = canvas.subplots(1, len(_KEYS), sharey=True)
    scored = [run for run in found.runs if run["score"] is not None]
    for axis, key in zip(axes, _KEYS):
        axis.scatter(
            [run[key] for run in scored], [run["score"] for run in scored], s=16
        )
        axis.scatter([found.best[key]], [found.score], s=60, marker="*")
        axis.set_xlabel(key.replace("num_train_", "").replace("_", " "))
        axis.grid(alpha=0.3)
    axes[0].set_xscale("log")
    axes[0].set_ylabel(found.metric)
    content = io.BytesIO()
    canvas.savefig(content, format="png", dpi=120)
    files.write_bytes(files.join(found.output, _PLOT), content.getvalue())
