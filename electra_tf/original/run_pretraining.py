"""Pre-trains or evaluates an ELECTRA model, like the original's script.

    python -m electra_tf.original.run_pretraining \\
        --data-dir DIR --model-name NAME --hparams '{"model_size": "small"}'

Reads DIR/pretrain_tfrecords and DIR/vocab.txt; DIR/models/NAME is the run,
which resumes when the command is given again.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.original import hparams, pretraining, results
from electra_tf.recipes.evaluate_pretraining import evaluate_pretraining
from electra_tf.recipes.pretrain import pretrain

# Our names of metrics -> the original's.
_METRICS = {
    "mlm_accuracy": "masked_lm_accuracy",
    "mlm_loss": "masked_lm_loss",
    "sampled_accuracy": "sampled_masked_lm_accuracy",
}
_SLOT, _STEP = "/adam_m", "global_step"


def main(argv: Sequence[str] | None = None) -> int:
    """Trains or evaluates; returns the exit status."""
    flags = hparams.Flags(description=__doc__)
    flags.add_argument(
        "--data-dir", required=True, help="Where data and models are."
    )
    flags.add_argument(
        "--model-name", required=True, help="The model's name, a directory."
    )
    flags.add_argument(
        "--hparams", default="{}",
        help="JSON dict of hyperparameters, or a .json file.",
    )  # fmt: skip
    args = flags.parse_args(argv)

    def body() -> str:
        given = hparams.read(args.hparams)
        plan = pretraining.plan(args.data_dir, args.model_name, given)
        for note in plan.notes:
            print(f"--hparams {note}", file=sys.stderr)
        return _evaluate(plan) if plan.do == "eval" else _train(plan)

    return hparams.run("run_pretraining", body, argv or sys.argv)


def _train(plan: pretraining.Plan) -> str:
    if plan.debug:
        _clear(plan)
    arguments: dict[str, Any] = {}
    settings = plan.settings
    if plan.tpu is not None:
        arguments |= {"strategy": "tpu", "tpu": plan.tpu}
    prefix = _downloaded(plan.output)
    if prefix is not None:
        step, has_slots = _state(prefix)
        arguments |= {"init_from": [prefix], "init_optimizer": has_slots}
        model = settings["model"]
        arguments["init_set"] = [f"model.num_heads={model['num_heads']}"]
        if not has_slots:
            settings = pretraining.continued(settings, step)
    made = pretrain(
        data=plan.data,
        output=plan.output,
        config=settings,
        vocab=plan.vocab,
        lower_case=plan.lower_case,
        **arguments,
    )
    return str(made)


def _evaluate(plan: pretraining.Plan) -> str:
    found = evaluate_pretraining(
        plan.output,
        plan.data,
        batch_size=plan.eval_batch_size,
        max_batches=plan.eval_steps,
        split="validation" if plan.held_out else "train",
        vocab=plan.vocab,
    ).metrics
    named = {_METRICS.get(name, name): value for name, value in found.items()}
    return "\n".join(results.write_pretraining(plan.results, named))


def _clear(plan: pretraining.Plan) -> None:
    """Removes an earlier debug run, as the original does."""
    if not files.exists(plan.output) or not files.is_local(plan.output):
        return
    config = files.join(plan.output, "config.json")
    hidden = plan.settings["model"]["hidden_size"]
    there: dict[str, Any] = {}
    if files.exists(config):
        there = json.loads(files.read_text(config)).get("model") or {}
    if there.get("hidden_size") != hidden:
        raise UserError(
            f"{plan.output}: holds something else than a debug run, which "
            '"debug": true would replace; give another --model-name'
        )
    shutil.rmtree(plan.output)


def _downloaded(output: str) -> str | None:
    """Returns the original's checkpoint in the run directory, to start from.

    It is kept, so that a resumed run has the same start.
    """
    if not files.is_directory(output):
        return None
    names = files.list_directory(output)
    if not any(name.endswith(".index") for name in names):
        return None
    _forget_start(output)
    import tensorflow as tf

    prefix = tf.train.latest_checkpoint(output)
    if prefix is None:
        stems = [n.removesuffix(".index") for n in names if ".index" in n]
        if len(stems) > 1:
            raise UserError(
                f"{output}: which checkpoint: {', '.join(sorted(stems))}? "
                "Leave one, or the file 'checkpoint' that names it"
            )
        prefix = files.join(output, stems[0])
    return prefix


def _forget_start(output: str) -> None:
    """Removes the settings of a run that ended before its first checkpoint.

    They would be mistaken for those of the original's checkpoint beside them.
    """
    config = files.join(output, "config.json")
    kept = files.join(output, "checkpoints")
    if not files.exists(config) or (
        files.is_directory(kept) and files.list_directory(kept)
    ):
        return
    content = json.loads(files.read_text(config))
    if {"train", "masking", "objective"} <= content.keys():
        files.remove(config)


def _state(prefix: str) -> tuple[int, bool]:
    """Returns the step of a checkpoint, and whether it has slots."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(prefix)
    names = reader.get_variable_to_shape_map()
    step = int(reader.get_tensor(_STEP)) if _STEP in names else 0
    return step, any(name.endswith(_SLOT) for name in names)


if __name__ == "__main__":
    sys.exit(main())
