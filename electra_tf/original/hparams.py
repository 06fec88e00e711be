"""Reads `--hparams`, a JSON dict or its file, and checks each key.

Importing this does not import TensorFlow.
"""

import argparse
import dataclasses
import difflib
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from electra_tf import files
from electra_tf.errors import UserError

_USER_ERROR, _INTERRUPTED = 2, 130
# The original's names of a network's shape -> ours.
SHAPE = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "type_vocab_size",
    "hidden_dropout_prob": "hidden_dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "initializer_range": "initializer_range",
    "hidden_act": "gelu",
}
# model_size -> the shape that other defaults follow from.
SIZES = {
    "small": {"hidden_size": 256, "num_layers": 12},
    "base": {"hidden_size": 768, "num_layers": 12},
    "large": {"hidden_size": 1024, "num_layers": 24},
}
_DEBUG_SHAPE = {
    "num_layers": 3, "hidden_size": 144, "intermediate_size": 576,
    "num_heads": 4,
}  # fmt: skip
_SMALL_EMBEDDINGS = 128
# Types of hyperparameters whose default is null; null is accepted too.
_OPTIONAL: dict[str, type] = {
    "embedding_size": int, "vocab_size": int, "save_checkpoints_steps": int,
    "tpu_name": str, "vocab_file": str, "model_dir": str, "results_txt": str,
    "init_checkpoint": str, "test_predictions": str,
}  # fmt: skip
# Keys of `model_hparam_overrides` whose values are not whole numbers.
_SHARES = (
    "hidden_dropout_prob", "attention_probs_dropout_prob",
    "initializer_range",
)  # fmt: skip
_ACTIVATION = "hidden_act"
# Hyperparameters of all commands without a counterpart, which must keep their
# defaults.
TPU = {
    "num_tpu_cores": (1, "a TPU's cores are found; leave it out"),
    "tpu_job_name": (None, "name the TPU with tpu_name"),
    "tpu_zone": (None, "give tpu_name the TPU's address"),
    "gcp_project": (None, "give tpu_name the TPU's address"),
}


class Flags(argparse.ArgumentParser):
    """The flags of a command; errors are reported in one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with a message."""
        name = self.prog.removesuffix(".py")
        self.exit(_USER_ERROR, f"{name}: {message}; --help lists the flags\n")


@dataclasses.dataclass(frozen=True)
class Known:
    """The hyperparameters of a command.

    Attributes:
      defaults: name -> the original's default, of translated ones.
      unused: name -> reason, of those without effect here.
      refused: name -> the original's default, which is accepted, and the
        replacement, of those without a counterpart.
    """

    defaults: Mapping[str, Any]
    unused: Mapping[str, str]
    refused: Mapping[str, tuple[Any, str]]


def read(text: str, flag: str = "--hparams") -> dict[str, Any]:
    """Reads a dict from a flag: JSON, or the path of a .json file.

    Raises:
      UserError: the file is missing, or it is not a JSON dict.
    """
    where = flag
    if text.strip().endswith(".json"):
        where, text = text, files.read_text(text)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"{where}: expected a JSON dict, or a .json file with one ({error})"
        ) from error
    if not isinstance(found, dict):
        raise UserError(
            f"{where}: expected a JSON dict, got {type(found).__name__}"
        )
    return found


def check(given: Mapping[str, Any], known: Known) -> list[str]:
    """Checks hyperparameters, and returns sentences on those without effect.

    Args:
      given: result of `read`.
      known: the hyperparameters of the command.

    Raises:
      UserError: a hyperparameter is unknown, has another type than its default,
        or has no counterpart.
    """
    notes = []
    names = [*known.defaults, *known.unused, *known.refused]
    for name, value in given.items():
        if name in known.defaults:
            _check_type(name, value, known.defaults[name])
        elif name in known.unused:
            notes.append(f"{name}: {known.unused[name]}")
        elif name in known.refused:
            default, instead = known.refused[name]
            if value != default:
                raise UserError(f"--hparams {name}: not supported; {instead}")
        else:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UserError(f"--hparams: no hyperparameter '{name}'{hint}")
    return notes


def _check_type(name: str, value: Any, default: Any) -> None:
    if value is None and default is None:
        return
    kind = _OPTIONAL.get(name) if default is None else type(default)
    if kind is None or isinstance(value, kind):
        if kind is int and isinstance(value, bool):
            raise UserError(f"--hparams {name}: expected a number, got {value}")
        return
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return
    names = {bool: "true or false", int: "a whole number", float: "a number",
             str: "a text", list: "a list", dict: "a dict"}  # fmt: skip
    raise UserError(
        f"--hparams {name}: expected {names[kind]}, got {json.dumps(value)}"
    )


def overridden(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Translates `model_hparam_overrides` to our names.

    Raises:
      UserError: a key is unknown, a value has another type, or the activation
        is not GELU.
    """
    found: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in SHAPE:
            raise UserError(
                f"--hparams model_hparam_overrides: no key '{name}'; expected "
                + ", ".join(SHAPE)
            )
        if name == _ACTIVATION:
            if value != "gelu":
                raise UserError(
                    "--hparams model_hparam_overrides: hidden_act: expected "
                    f"'gelu', got {value!r}"
                )
            value = "erf"
        else:
            default = 0.0 if name in _SHARES else 0
            _check_type(f"model_hparam_overrides: {name}", value, default)
        found[SHAPE[name]] = value
    return found


def shape(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys of the section `model` for the network's shape.

    Args:
      values: model_size, model_hparam_overrides, embedding_size and debug.

    Raises:
      UserError: the size is unknown, or an override is wrong.
    """
    size = values["model_size"]
    if size not in SIZES:
        raise UserError(
            f"--hparams model_size: expected one of {', '.join(SIZES)}, got "
            f"'{size}'"
        )
    found = SIZES[size] | overridden(values["model_hparam_overrides"])
    if values["debug"]:
        found |= _DEBUG_SHAPE
    hidden = found["hidden_size"]
    found.setdefault("num_heads", max(1, hidden // 64))
    found.setdefault("intermediate_size", 4 * hidden)
    small = _SMALL_EMBEDDINGS if size == "small" else hidden
    found["embedding_size"] = values["embedding_size"] or small
    return found


def run(
    command: str,
    body: Callable[[], str],
    flags: Sequence[str],
    resumes: bool = True,
) -> int:
    """Runs a command, and reports errors of the user's in one line.

    Args:
      command: its name, for messages.
      body: runs it; returns the text to print.
      flags: the command line, for the message after Ctrl-C.
      resumes: whether the same command resumes, for that message.

    Returns:
      The exit status.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        print(body(), flush=True)
    except UserError as error:
        print(f"{command}: {error}", file=sys.stderr, flush=True)
        return _USER_ERROR
    except KeyboardInterrupt:
        again = f"; {shlex.join(flags)} resumes" if resumes else ""
        print(f"{command}: interrupted{again}", file=sys.stderr)
        return _INTERRUPTED
    return 0
