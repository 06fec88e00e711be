"""Fine-tunes an ELECTRA model on a task, like the original's script.

    python -m electra_tf.original.run_finetuning \\
        --data-dir DIR --model-name NAME \\
        --hparams '{"model_size": "small", "task_names": ["mrpc"]}'

Reads DIR/models/NAME, DIR/finetuning_data/TASK and DIR/vocab.txt; writes
DIR/models/NAME/results and .../finetuning_models, and resumes when the command
is given again.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.original import finetuning, hparams, results
from electra_tf.recipes.convert import convert
from electra_tf.recipes.evaluate import evaluate
from electra_tf.recipes.finetune import finetune


def main(argv: Sequence[str] | None = None) -> int:
    """Trains and evaluates; returns the exit status."""
    flags = hparams.Flags(description=__doc__)
    flags.add_argument(
        "--data-dir", required=True, help="Where data and models are."
    )
    flags.add_argument(
        "--model-name", required=True, help="The pre-trained model's name."
    )
    flags.add_argument(
        "--hparams", default="{}",
        help="JSON dict of hyperparameters, or a .json file.",
    )  # fmt: skip
    flags.add_argument(
        "--task-config", default="{}",
        help="Not supported: electra-tf finetune trains a task of your own.",
    )  # fmt: skip
    args = flags.parse_args(argv)

    def body() -> str:
        given = hparams.read(args.hparams)
        tasks = hparams.read(args.task_config, "--task-config")
        if tasks:
            given["tasks"] = tasks
        plan = finetuning.plan(args.data_dir, args.model_name, given)
        for note in plan.notes:
            print(f"--hparams {note}", file=sys.stderr)
        if not plan.do_train:
            return _evaluate(plan)
        return _train(plan)

    return hparams.run("run_finetuning", body, argv or sys.argv)


def _train(plan: finetuning.Plan) -> str:
    arguments: dict[str, Any] = {}
    if plan.tpu is not None:
        arguments |= {"strategy": "tpu", "tpu": plan.tpu}
    found = finetune(
        plan.output,
        config={"task": plan.task, "model": plan.model},
        model=plan.start,
        data=plan.data,
        options=plan.options,
        train=plan.train,
        vocab=plan.vocab,
        lower_case=plan.lower_case,
        **arguments,
    )
    if not found.finished:
        return "stopped; the same command resumes"
    if plan.do_eval:
        trials = [
            _by_task(plan, trial["scores"]) for trial in found.report["trials"]
        ]
        results.write_finetuning(plan.results, trials)
        if plan.tests is not None:
            count = min(len(trials), plan.tested_trials)
            for number in range(1, count + 1):
                model = files.join(plan.output, f"trial_{number}", "model")
                _test(plan, plan.tests, number, model)
    return str(found)


def _evaluate(plan: finetuning.Plan) -> str:
    """Evaluates `init_checkpoint` on the dev set."""
    if not plan.do_eval and plan.tests is None:
        raise UserError("--hparams do_train, do_eval: nothing to do")
    if len(plan.names) > 1:
        raise UserError(
            "--hparams task_names: name one task to evaluate, and a model "
            "that was fine-tuned for it"
        )
    if plan.start is None:
        raise UserError(
            "--hparams init_checkpoint: name the model to evaluate; debug has "
            "none"
        )
    with tempfile.TemporaryDirectory() as folder:
        model = _ours(plan, plan.start, files.join(folder, "model"))
        shown = []
        if plan.do_eval:
            answers = files.join(folder, "answers")
            found = evaluate(
                model,
                data=plan.data,
                task=plan.task,
                options=plan.options,
                batch_size=plan.train["eval_batch_size"],
                predictions=answers,
            )
            trial = _by_task(plan, found.metrics)
            results.write_finetuning(plan.results, [trial])
            shown.append(str(found))
        if plan.tests is not None:
            _test(plan, plan.tests, 1, model)
            shown.append(f"predictions: {plan.tests}")
    return "\n".join(shown)


def _ours(plan: finetuning.Plan, start: str, folder: str) -> str:
    """Returns the fine-tuned model as our directory, converted if needed.

    A checkpoint of the original's has neither its vocabulary nor its whole
    shape; the hyperparameters have.
    """
    for place in (start, files.join(start, "model")):
        if files.exists(files.join(place, "model.safetensors")):
            return start
    known = {f"model.{key}": value for key, value in plan.model.items()}
    convert(
        start,
        "electra_tf",
        folder,
        vocab=plan.vocab,
        lower_case=plan.lower_case,
        overrides=[f"{key}={value}" for key, value in known.items()],
    )
    return folder


def _test(plan: finetuning.Plan, folder: str, number: int, model: str) -> None:
    """Writes predictions for the test splits of a trial."""
    for split in _test_splits(plan):
        evaluate(
            model,
            data=plan.data,
            split=[split],
            task=plan.task,
            options=plan.options,
            batch_size=plan.train["eval_batch_size"],
            predictions=files.join(folder, f"{plan.names[0]}_{number}"),
        )


def _test_splits(plan: finetuning.Plan) -> Sequence[str]:
    if plan.task == "glue/mnli":
        return ("test_matched", "test_mismatched")
    return ("test",)


def _by_task(
    plan: finetuning.Plan, scores: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Returns metrics on the dev set, by the original's task names."""
    found: dict[str, dict[str, float]] = {name: {} for name in plan.names}
    for split, metrics in scores.items():
        if not split.startswith("validation"):
            continue
        for metric, value in metrics.items():
            task, slash, rest = metric.partition("/")
            if len(plan.names) == 1:
                task, rest = plan.names[0], metric
            elif not slash:
                continue  # the mean over tasks
            found.setdefault(task, {}).setdefault(rest, value)
    return found


if __name__ == "__main__":
    sys.exit(main())
