"""Translates the hyperparameters of `run_pretraining` to our recipes.

Importing this does not import TensorFlow.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.original import hparams

_NO_PICKLE = "no pickles are written; results_txt has a .json beside it"
KNOWN = hparams.Known(
    defaults={
        "debug": False, "do_train": True, "do_eval": False,
        "electra_objective": True, "electric_objective": False,
        "gen_weight": 1.0, "disc_weight": 50.0, "mask_prob": 0.15,
        "learning_rate": 5e-4, "lr_decay_power": 1.0,
        "weight_decay_rate": 0.01, "num_warmup_steps": 10000,
        "save_checkpoints_steps": 1000, "keep_checkpoint_max": 5,
        "num_train_steps": 1_000_000, "num_eval_steps": 100,
        "model_size": "small", "model_hparam_overrides": {},
        "embedding_size": None, "vocab_size": None, "do_lower_case": True,
        "uniform_generator": False, "two_tower_generator": False,
        "untied_generator_embeddings": False, "untied_generator": True,
        "generator_layers": 1.0, "generator_hidden_size": 0.25,
        "disallow_correct": False, "temperature": 1.0,
        "max_seq_length": 128, "train_batch_size": 128,
        "eval_batch_size": 128, "use_tpu": False, "tpu_name": None,
        "pretrain_tfrecords": None, "vocab_file": None, "model_dir": None,
        "results_txt": None,
    },
    unused={
        "iterations_per_loop": "steps are not grouped, but on TPUs",
        "model_name": "is what --model-name says",
    },
    refused={
        "results_pkl": (None, _NO_PICKLE),
        "max_predictions_per_seq": (None, "it follows from mask_prob"),
        **hparams.TPU,
    },
)  # fmt: skip
_DEBUG = {"train_batch_size": 8, "num_train_steps": 20, "eval_batch_size": 4,
          "num_eval_steps": 2}  # fmt: skip
_RECORDS = "pretrain_data.tfrecord*"
_MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The arguments for our recipes.

    Attributes:
      do: "train" or "eval".
      data: a directory made by build-data, or a glob of TFRecords.
      vocab: file of the vocabulary; None where the directory has it.
      held_out: whether the data has held-out examples.
      output: the run directory.
      settings: settings of `pretrain`, section -> key -> value.
      lower_case: whether text was lower-cased, where there is no manifest.
      tpu: a TPU's name or address; None for none.
      eval_batch_size: rows in a batch of an evaluation.
      eval_steps: number of batches of an evaluation.
      results: file of the results, a .txt.
      debug: whether it is a debug run, which replaces an earlier one.
      notes: sentences on hyperparameters without effect here.
    """

    do: Literal["train", "eval"]
    data: str
    vocab: str | None
    held_out: bool
    output: str
    settings: dict[str, dict[str, Any]]
    lower_case: bool
    tpu: str | None
    eval_batch_size: int
    eval_steps: int
    results: str
    debug: bool
    notes: tuple[str, ...]


def plan(data_dir: str, model_name: str, given: Mapping[str, Any]) -> Plan:
    """Translates the flags.

    Args:
      data_dir: of --data-dir.
      model_name: of --model-name.
      given: of --hparams.

    Raises:
      UserError: see `hparams.check`; or hyperparameters do not go together.
    """
    notes = hparams.check(given, KNOWN)
    debug = _DEBUG if given.get("debug") else {}
    values = {**KNOWN.defaults, **debug, **given}
    if values["do_train"] == values["do_eval"]:
        raise UserError(
            "--hparams do_train, do_eval: expected one of them to be true"
        )
    output = values["model_dir"] or files.join(data_dir, "models", model_name)
    results = files.join(output, "results", "unsup_results.txt")
    data, vocab, held_out = _data(data_dir, values, "max_seq_length" in given)
    return Plan(
        do="train" if values["do_train"] else "eval",
        data=data,
        vocab=vocab,
        held_out=held_out,
        output=output,
        settings=_settings(values),
        lower_case=values["do_lower_case"],
        tpu=_tpu(values),
        eval_batch_size=values["eval_batch_size"],
        eval_steps=values["num_eval_steps"],
        results=values["results_txt"] or results,
        debug=values["debug"],
        notes=tuple(notes),
    )


def _tpu(values: Mapping[str, Any]) -> str | None:
    if not values["use_tpu"]:
        return None
    return values["tpu_name"] or "local"


def _data(
    data_dir: str, values: Mapping[str, Any], length_given: bool
) -> tuple[str, str | None, bool]:
    """Returns the data, its vocabulary if separate, and if some is held out."""
    vocab = values["vocab_file"]
    records = values["pretrain_tfrecords"] or files.join(
        data_dir, "pretrain_tfrecords", _RECORDS
    )
    if not isinstance(records, str):
        raise UserError(
            "--hparams pretrain_tfrecords: expected a path with wildcards"
        )
    # For files made here, the directory has more information.
    for folder in (records, records.rpartition("/")[0]):
        manifest = files.join(folder, _MANIFEST)
        if folder and files.exists(manifest):
            made = json.loads(files.read_text(manifest))
            length = made.get("max_seq_length")
            asked = values["max_seq_length"]
            if length_given and length not in (None, asked):
                raise UserError(
                    f"--hparams max_seq_length: {asked}, but {folder} has "
                    f"examples of {length} tokens"
                )
            held_out = made.get("splits", {}).get("validation", {})
            return folder, vocab, bool(held_out.get("examples"))
    return records, vocab or files.join(data_dir, "vocab.txt"), False


def _settings(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Translates hyperparameters to the sections of `pretrain`'s settings."""
    model = hparams.shape(values)
    if values["vocab_size"] is not None:
        model["vocab_size"] = values["vocab_size"]
    objective: dict[str, Any] = {
        name: values[name]
        for name in (
            "gen_weight", "disc_weight", "temperature", "disallow_correct",
        )
    }  # fmt: skip
    generator: dict[str, Any] = {}
    electric = values["electric_objective"]
    objective["kind"] = "electric" if electric else "electra"
    if not (values["electra_objective"] or electric):
        objective["kind"] = "mlm"
    elif values["uniform_generator"]:
        generator["kind"] = "uniform"
    # Electric has no other generator: its README does not name this one.
    elif values["two_tower_generator"] or electric:
        generator["kind"] = "two_tower"
    elif not values["untied_generator"]:
        generator["kind"] = "tied"
    if objective["kind"] != "mlm" and generator.get("kind") not in (
        "uniform", "tied",
    ):  # fmt: skip
        generator["hidden_fraction"] = values["generator_hidden_size"]
        generator["layers_fraction"] = values["generator_layers"]
        if values["untied_generator_embeddings"]:
            generator["embeddings"] = "untied"
    train = {
        ours: values[theirs]
        for theirs, ours in (
            ("learning_rate", "learning_rate"),
            ("lr_decay_power", "lr_decay_power"),
            ("weight_decay_rate", "weight_decay_rate"),
            ("num_warmup_steps", "num_warmup_steps"),
            ("num_train_steps", "num_train_steps"),
            ("train_batch_size", "batch_size"),
            ("save_checkpoints_steps", "checkpoint_every_steps"),
            ("keep_checkpoint_max", "keep_checkpoints"),
            ("num_eval_steps", "num_eval_steps"),
        )
    }
    # In the original, evaluation is a separate run.
    train["eval_every_steps"] = 0
    return {
        "model": model,
        "generator": generator,
        "masking": {"mask_prob": values["mask_prob"]},
        "objective": objective,
        "train": train,
    }


def continued(
    settings: Mapping[str, dict[str, Any]], step: int
) -> dict[str, dict[str, Any]]:
    """Returns settings for the rest of a run whose optimizer slots are lost.

    The learning rate continues as the original's at that step: a polynomial
    decay over the remaining steps is the tail of the whole one. An unfinished
    warm-up starts again, over its remaining steps.

    Args:
      settings: settings of the whole run.
      step: number of updates of the weights.

    Raises:
      UserError: no steps are left.
    """
    train = dict(settings["train"])
    total = train["num_train_steps"]
    if step >= total:
        raise UserError(
            f"--hparams num_train_steps: {total}, but the checkpoint is at "
            f"step {step} already; set it higher"
        )
    left = total - step
    train["num_train_steps"] = left
    train["num_warmup_steps"] = max(0, train["num_warmup_steps"] - step)
    train["learning_rate"] *= (left / total) ** train["lr_decay_power"]
    return {**settings, "train": train}
