"""Translates the hyperparameters of `run_finetuning` to our recipes.

Importing this does not import TensorFlow.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.original import hparams

# The original's names of tasks -> ours.
TASKS = {
    "cola": "glue/cola", "mrpc": "glue/mrpc", "mnli": "glue/mnli",
    "sst": "glue/sst2", "rte": "glue/rte", "qnli": "glue/qnli",
    "qqp": "glue/qqp", "sts": "glue/stsb",
    "squad": "squad/v2.0", "squadv2": "squad/v2.0", "squadv1": "squad/v1.1",
    "newsqa": "mrqa", "naturalqs": "mrqa", "triviaqa": "mrqa",
    "searchqa": "mrqa",
    "chunk": "tagging/conll2000",
}  # fmt: skip
_LONG = ("rte", "sts")  # ten epochs
_TURNED = ("glue/mrpc", "glue/stsb")  # pairs whose order has no meaning
_NO_CACHE = "features are always computed again, which takes seconds"
_FOLLOWS = "its place follows from results_txt"
KNOWN = hparams.Known(
    defaults={
        "debug": False, "num_trials": 1, "do_train": True, "do_eval": True,
        "do_test": False, "model_size": "small", "task_names": ["chunk"],
        "model_hparam_overrides": {}, "embedding_size": None,
        "vocab_size": None, "do_lower_case": True, "learning_rate": 1e-4,
        "weight_decay_rate": 0.01, "layerwise_lr_decay": 0.8,
        "num_train_epochs": 3.0, "warmup_proportion": 0.1,
        "save_checkpoints_steps": None, "write_test_outputs": False,
        "n_writes_test": 5, "max_seq_length": 128, "train_batch_size": 32,
        "predict_batch_size": 32, "double_unordered": True,
        "max_query_length": 64, "doc_stride": 128, "n_best_size": 20,
        "max_answer_length": 30, "answerable_classifier": True,
        "answerable_weight": 0.5, "joint_prediction": True, "beam_size": 20,
        "qa_na_threshold": -2.75, "use_tpu": False, "tpu_name": None,
        "vocab_file": None, "init_checkpoint": None, "model_dir": None,
        "results_txt": None, "test_predictions": None,
    },
    unused={
        "eval_batch_size": "predict_batch_size is what counts, there too",
        "iterations_per_loop": "steps are not grouped, but on TPUs",
        "use_tfrecords_if_existing": _NO_CACHE,
        "preprocessed_data_dir": _NO_CACHE,
        "model_name": "is what --model-name says",
        "data_dir": "is what --data-dir says",
    },
    refused={
        "log_examples": (
            False, "electra_tf.Tokenizer shows how a text is tokenized",
        ),
        "keep_all_models": (
            True, "remove trial_*/model of the trials that you do not want",
        ),
        "answerable_uses_start_logits": (
            True, "set answerable_classifier to false, for no classifier",
        ),
        "results_pkl": (
            None, "no pickles are written; results_txt has a .json beside it",
        ),
        "raw_data_dir": (None, "lay the data where --data-dir has it"),
        "qa_eval_file": (None, _FOLLOWS), "qa_preds_file": (None, _FOLLOWS),
        "qa_na_file": (None, _FOLLOWS),
        "write_distill_outputs": (
            False, "electra-tf predict writes probabilities of any file",
        ),
        "tasks": ({}, "write a task in a file: --task=FILE.py:CLASS"),
        **hparams.TPU,
    },
)  # fmt: skip
_DEBUG = {"num_trials": 1, "train_batch_size": 32, "num_train_epochs": 3.0}
_SPLITS = {"train": "train_file", "dev": "validation_file", "test": "test_file"}


@dataclasses.dataclass(frozen=True)
class Plan:
    """The arguments for our recipes.

    Attributes:
      names: the original's names of the tasks, in order.
      task: our name; "multitask" where there are several.
      data: directory of its data; None where options have it.
      options: options of the task.
      train: keys of the section `train`.
      model: changes to the checkpoint's shape; for a debug run the shape.
      start: the model to fine-tune or evaluate; None for random weights.
      vocab: file of the vocabulary, where `start` has none.
      lower_case: setting of the tokenizer.
      output: the run directory.
      results: file of the results, a .txt.
      tests: directory for predictions on test splits; None for none.
      tested_trials: number of trials to predict with.
      do_train: whether to train.
      do_eval: whether to evaluate, and write results.
      tpu: a TPU's name or address; None for none.
      notes: sentences on hyperparameters without effect here.
    """

    names: tuple[str, ...]
    task: str
    data: str | None
    options: dict[str, Any]
    train: dict[str, Any]
    model: dict[str, Any]
    start: str | None
    vocab: str | None
    lower_case: bool
    output: str
    results: str
    tests: str | None
    tested_trials: int
    do_train: bool
    do_eval: bool
    tpu: str | None
    notes: tuple[str, ...]


def plan(data_dir: str, model_name: str, given: Mapping[str, Any]) -> Plan:
    """Translates the flags.

    Args:
      data_dir: value of --data-dir.
      model_name: value of --model-name.
      given: value of --hparams.

    Raises:
      UserError: see `hparams.check`; or a task is unknown, or there is nothing
        to do.
    """
    notes = hparams.check(given, KNOWN)
    names = _names(given.get("task_names", KNOWN.defaults["task_names"]))
    values = {**KNOWN.defaults, **_of_tasks(names)}
    if given.get("model_size") == "large":
        values |= {"learning_rate": 5e-5, "layerwise_lr_decay": 0.9}
    debug = _DEBUG if given.get("debug") else {}
    values |= {**debug, **given}
    if values["num_trials"] < 1:
        raise UserError(
            f"--hparams num_trials: {values['num_trials']}: expected at least "
            "1; endless trials are not supported"
        )
    home = files.join(data_dir, "models", model_name)
    label = ",".join(names)
    made = [_member(data_dir, name, values) for name in names]
    task, options = made[0][:2]
    data: str | None = made[0][2]
    if len(made) > 1:
        task, data = "multitask", None
        options = {
            "tasks": [
                {"name": ours, "options": own, "data": where, "label": name}
                for name, (ours, own, where) in zip(names, made)
            ]
        }
    start = None if values["debug"] else values["init_checkpoint"] or home
    tests = values["write_test_outputs"] or values["do_test"]
    folder = files.join(home, "test_predictions")
    if tests and len(names) > 1:
        raise UserError(
            "--hparams write_test_outputs: for one task at a time; electra-tf "
            "evaluate --split=test does it for one of several"
        )
    return Plan(
        names=names,
        task=task,
        data=data,
        options=options,
        train=_train(values, "save_checkpoints_steps" in given),
        model=_model(values),
        start=None if start is None else _trial_of(start),
        vocab=_vocab(data_dir, home, start, values),
        lower_case=values["do_lower_case"],
        output=values["model_dir"]
        or files.join(home, "finetuning_models", f"{label}_model"),
        results=values["results_txt"]
        or files.join(home, "results", f"{label}_results.txt"),
        tests=(values["test_predictions"] or folder) if tests else None,
        tested_trials=values["n_writes_test"],
        do_train=values["do_train"],
        do_eval=values["do_eval"],
        tpu=(values["tpu_name"] or "local") if values["use_tpu"] else None,
        notes=tuple(notes),
    )


def _names(given: Any) -> tuple[str, ...]:
    if not given or not all(isinstance(name, str) for name in given):
        raise UserError(
            '--hparams task_names: expected names of tasks, as ["rte"]'
        )
    for name in given:
        if name not in TASKS:
            raise UserError(
                f"--hparams task_names: no task '{name}'; expected some of "
                + ", ".join(TASKS)
            )
    return tuple(given)


def _is_qa(name: str) -> bool:
    return TASKS[name].startswith(("squad", "mrqa"))


def _of_tasks(names: tuple[str, ...]) -> dict[str, Any]:
    """Returns the original's defaults for a single task."""
    if len(names) > 1:
        return {}
    if names[0] in _LONG:
        return {"num_train_epochs": 10.0}
    if _is_qa(names[0]):
        return {"max_seq_length": 512, "num_train_epochs": 2.0}
    return {"max_seq_length": 256} if names[0] == "chunk" else {}


def _member(
    data_dir: str, name: str, values: Mapping[str, Any]
) -> tuple[str, dict[str, Any], str]:
    """Returns a task's name here, its options, and its data directory."""
    task = TASKS[name]
    data = files.join(data_dir, "finetuning_data", name)
    other = files.join(data_dir, name)  # where the original's README puts MRQA
    if not files.exists(data) and files.exists(other):
        data = other
    options: dict[str, Any] = {"max_seq_length": values["max_seq_length"]}
    if task.startswith("glue/"):
        if task in _TURNED:
            options["double_unordered"] = values["double_unordered"]
        return task, options, data
    ending = ".txt" if name == "chunk" else ".json"
    if task == "mrqa":
        ending = ".jsonl"
    for split, key in _SPLITS.items():
        for file in (split + ending, f"{split}{ending}.gz"):
            if files.exists(files.join(data, file)):
                options[key] = file
    if name == "chunk":
        return task, options | {
            "convert_to": "bioes",
            "constrained": False,
            "scorer": "original",
            "validation_fraction": 0.0,
        }, data  # fmt: skip
    options |= {
        key: values[key]
        for key in (
            "max_query_length", "doc_stride", "n_best_size",
            "max_answer_length", "beam_size",
        )
    }  # fmt: skip
    options["head"] = "joint" if values["joint_prediction"] else "independent"
    if task == "squad/v2.0":
        learned = values["answerable_classifier"]
        options["answerability"] = "head" if learned else "first_token"
        options["answerable_weight"] = values["answerable_weight"]
        options["null_threshold"] = values["qa_na_threshold"]
    return task, options, data


def _train(values: Mapping[str, Any], checkpoints: bool) -> dict[str, Any]:
    decay = values["layerwise_lr_decay"]
    found = {
        "num_trials": values["num_trials"],
        "num_train_epochs": values["num_train_epochs"],
        "batch_size": values["train_batch_size"],
        "eval_batch_size": values["predict_batch_size"],
        "learning_rate": values["learning_rate"],
        "layerwise_lr_decay": decay if decay > 0 else 1.0,
        "weight_decay_rate": values["weight_decay_rate"],
        "warmup_proportion": values["warmup_proportion"],
        # Only the last weights are the result, and are evaluated.
        "eval_every": 0,
        "select_best": False,
    }
    if checkpoints:
        found["checkpoint_every_steps"] = values["save_checkpoints_steps"]
    return found


def _model(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings that the checkpoint lacks; for debug runs the shape."""
    if values["debug"]:
        return hparams.shape(values)
    if values["model_size"] not in hparams.SIZES:
        hparams.shape(values)  # raises
    found = hparams.overridden(values["model_hparam_overrides"])
    for name in ("embedding_size", "vocab_size"):
        if values[name] is not None:
            found[name] = values[name]
    return found


def _vocab(
    data_dir: str, home: str, start: str | None, values: Mapping[str, Any]
) -> str | None:
    if values["vocab_file"] is not None:
        return values["vocab_file"]
    if start is not None:
        folder = start if files.is_directory(start) else _parent(start)
        for place in (folder, files.join(folder, "model")):
            if files.exists(files.join(place, "vocab.txt")):
                return None
    for place in (home, data_dir):
        file = files.join(place, "vocab.txt")
        if files.exists(file):
            return file
    return None


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "."


def _trial_of(path: str) -> str:
    """Returns our path of the model that the original has at `path`.

    Its trials are directories TASK_model_1, ours TASK_model/trial_1/model.
    """
    match = re.fullmatch(r"(.*_model)_(\d+)/?", path)
    if match is None or files.exists(path):
        return path
    ours = files.join(match[1], f"trial_{match[2]}", "model")
    return ours if files.exists(ours) else path
