"""Saves and restores checkpoints: everything a run needs to resume.

    <run>/checkpoints/step-00001234/
      model.safetensors      weights, other variables and seed generators
      optimizer.safetensors  step counter and slots
      state.json             step, data position, settings, versions, sizes

A checkpoint is written under a temporary name, `state.json` last, and then
renamed, so that a process that dies, or a full disk, leaves the older ones
intact. Metrics are not saved.
"""

import dataclasses
import json
import logging
import platform
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from electra_tf import files, tensors
from electra_tf.errors import UserError

_log = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{8,})")
_MODEL = "model.safetensors"
_OPTIMIZER = "optimizer.safetensors"
_STATE = "state.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint on disk."""

    path: str  # its directory
    step: int  # updates done
    state: dict[str, Any]  # content of state.json


def save(
    run_dir: str,
    step: int,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
    *,
    data_position: int = 0,
    run_config: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    keep: int = 3,
    keep_every_steps: int = 0,
    protected: Collection[int] = (),
) -> str:
    """Writes a checkpoint and removes old ones.

    Args:
      run_dir: the run; the checkpoint goes to `checkpoints/` in it.
      step: updates done.
      model: a built model; one copy of each variable is written.
      optimizer: a built optimizer, or None.
      data_position: number of examples taken from the training stream.
      run_config: settings of the run.
      extra: further content of `state.json`.
      keep: number of newest checkpoints to keep.
      keep_every_steps: checkpoints at multiples of this are kept too; 0 for
        none.
      protected: steps whose checkpoints are always kept.

    Returns:
      The checkpoint's directory.

    Raises:
      UserError: the checkpoint cannot be written; older ones are intact.
    """
    target = path_at(run_dir, step)
    suffix = uuid.uuid4().hex[:8]
    temporary = f"{target}.tmp-{suffix}"
    files.make_directory(temporary)
    try:
        contents = {_MODEL: _Arrays(_named_model_variables(model))}
        if optimizer is not None:
            contents[_OPTIMIZER] = _Arrays(_named(optimizer.variables))
        for name, arrays in contents.items():
            tensors.save(files.join(temporary, name), arrays)
        state = {
            "step": step,
            "data_position": data_position,
            **(extra or {}),
            "run_config": run_config,
            "versions": {
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
            },
            "bytes": {
                name: files.size(files.join(temporary, name))
                for name in contents
            },
        }
        text = json.dumps(state, indent=2) + "\n"
        files.write_text(files.join(temporary, _STATE), text)
        if files.exists(target):
            # The step was repeated: the old checkpoint was damaged or out of
            # date.
            files.rename(target, f"{target}.old-{suffix}")
        files.rename(temporary, target)
        files.remove(f"{target}.old-{suffix}")
    except BaseException:
        _remove_quietly(temporary)
        raise
    _prune(run_dir, keep, keep_every_steps, protected)
    return target


def clean(run_dir: str) -> None:
    """Removes incomplete files of a killed process; call it at the start."""
    directory = _directory(run_dir)
    if not files.is_directory(directory):
        return
    names = files.list_directory(directory)
    for name in names:
        step_name, _, rest = name.partition(".")
        if not _NAME.fullmatch(step_name) or not rest:
            continue
        path = files.join(directory, name)
        if rest.startswith("old-") and step_name not in names:
            files.rename(path, files.join(directory, step_name))
        elif rest.startswith(("old-", "tmp-")):
            _log.warning("removing the half-written checkpoint %s", path)
            files.remove(path)


def all_steps(run_dir: str) -> dict[int, str]:
    """Returns step -> directory of the finished checkpoints, oldest first."""
    directory = _directory(run_dir)
    if not files.is_directory(directory):
        return {}
    found = {}
    for name in files.list_directory(directory):
        match = _NAME.fullmatch(name)
        if match:
            found[int(match[1])] = files.join(directory, name)
    return dict(sorted(found.items()))


def latest(run_dir: str) -> str | None:
    """Returns the directory of the newest undamaged checkpoint, or None.

    Only `state.json` and the sizes of the files are checked.
    """
    for path in reversed(all_steps(run_dir).values()):
        try:
            _read_state(path)
        except UserError as error:
            _log.warning("skipping a damaged checkpoint: %s", error)
        else:
            return path
    return None


def restore(
    run_dir: str,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> Checkpoint | None:
    """Loads the newest undamaged checkpoint into the model and optimizer.

    A damaged one is named in a warning, and the previous one is taken.

    Args:
      run_dir: the run.
      model: a built model; every copy of each variable is assigned.
      optimizer: a built optimizer, or None to load only the model.

    Returns:
      The checkpoint, or None if the run has none.

    Raises:
      UserError: all checkpoints are damaged; or the newest good one does not
        fit the model: the variable and both shapes are named.
    """
    found = all_steps(run_dir)
    for step, path in reversed(found.items()):
        try:
            state = _read_state(path)
            weights = tensors.load(files.join(path, _MODEL))
            slots: dict[str, np.ndarray] = {}
            if optimizer is not None:
                slots = tensors.load(files.join(path, _OPTIMIZER))
        except UserError as error:
            _log.warning("skipping a damaged checkpoint: %s", error)
            continue
        model_variables = _named_model_variables(model)
        _check(model_variables, weights, files.join(path, _MODEL))
        if optimizer is not None:
            optimizer_variables = _named(optimizer.variables)
            _check(optimizer_variables, slots, files.join(path, _OPTIMIZER))
            _assign(optimizer_variables, slots)
        _assign(model_variables, weights)
        return Checkpoint(path=path, step=step, state=state)
    if found:
        raise UserError(
            f"every checkpoint in {_directory(run_dir)} is damaged: remove it "
            "to start from step 0, or restore a good copy"
        )
    return None


def load_weights(checkpoint_dir: str, model: keras.Model) -> Checkpoint:
    """Loads one checkpoint into the model; the optimizer is unchanged.

    Args:
      checkpoint_dir: a directory from `save`.
      model: a built model; every copy of each variable is assigned.

    Raises:
      UserError: the checkpoint is missing or damaged, or does not fit the
        model.
    """
    state = _read_state(checkpoint_dir)
    path = files.join(checkpoint_dir, _MODEL)
    weights = tensors.load(path)
    variables = _named_model_variables(model)
    _check(variables, weights, path)
    _assign(variables, weights)
    return Checkpoint(checkpoint_dir, state["step"], state)


def load_mean(
    checkpoint_dirs: Sequence[str], model: keras.Model
) -> list[Checkpoint]:
    """Loads the mean of several checkpoints' weights into the model.

    Args:
      checkpoint_dirs: at least one; variables that are not floats are taken
        from the last.
      model: see `load_weights`.

    Raises:
      UserError: see `load_weights`.
    """
    variables = _named_model_variables(model)
    sums: dict[str, np.ndarray] = {}
    found = []
    for directory in checkpoint_dirs:
        state = _read_state(directory)
        path = files.join(directory, _MODEL)
        weights = tensors.load(path)
        _check(variables, weights, path)
        found.append(Checkpoint(directory, state["step"], state))
        for name, array in weights.items():
            if name in sums and np.issubdtype(array.dtype, np.floating):
                sums[name] = sums[name] + array.astype("float64")
            else:
                sums[name] = array
    means = {
        name: (total / len(found)).astype(variables[name].dtype)
        if np.issubdtype(total.dtype, np.floating)
        else total
        for name, total in sums.items()
    }
    _assign(variables, means)
    return found


def open_slots(
    checkpoint_dir: str,
) -> tuple[tensors.TensorFile, dict[str, str]] | None:
    """Opens the slots of an Adam-like optimizer that a checkpoint holds.

    Args:
      checkpoint_dir: a directory from `save`, whether it exists or not.

    Returns:
      The file, and for each variable's path the name of its slots there,
      without `_m` and `_v`; None without such a checkpoint.

    Raises:
      UserError: the checkpoint is damaged.
    """
    if not files.exists(files.join(checkpoint_dir, _OPTIMIZER)):
        return None
    _read_state(checkpoint_dir)
    held = tensors.TensorFile(files.join(checkpoint_dir, _OPTIMIZER))
    # An optimizer names a slot by the variable's path, with `_` for `/`.
    stems = {
        name.rpartition("/")[2].removesuffix("_m"): name.removesuffix("_m")
        for name in held
        if name.endswith("_m") and f"{name.removesuffix('_m')}_v" in held
    }
    paths = tensors.TensorFile(files.join(checkpoint_dir, _MODEL))
    found = {path: stems.get(path.replace("/", "_")) for path in paths}
    return held, {path: stem for path, stem in found.items() if stem}


def path_at(run_dir: str, step: int) -> str:
    """Returns the directory of a step's checkpoint, whether it exists or
    not.
    """
    return files.join(_directory(run_dir), f"step-{step:08d}")


def _directory(run_dir: str) -> str:
    return files.join(run_dir, "checkpoints")


def _read_state(path: str) -> dict[str, Any]:
    """Reads a checkpoint's state, and checks the sizes of its files."""
    state_path = files.join(path, _STATE)
    try:
        state = json.loads(files.read_text(state_path))
        sizes = dict(state["bytes"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{state_path} is damaged ({error})") from error
    for name, expected in sizes.items():
        file = files.join(path, name)
        if not files.exists(file):
            raise UserError(f"{file} is missing")
        if files.size(file) != expected:
            raise UserError(
                f"{file} has {files.size(file)} bytes, expected {expected}"
            )
    return state


def _prune(
    run_dir: str, keep: int, keep_every_steps: int, protected: Collection[int]
) -> None:
    for step, path in list(all_steps(run_dir).items())[: -max(1, keep)]:
        if step in protected:
            continue
        if not keep_every_steps or step % keep_every_steps:
            files.remove(path)


def _remove_quietly(path: str) -> None:
    try:
        files.remove(path)
    except UserError as error:
        _log.warning("%s", error)


def _named_model_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns name -> variable: weights, other state and seed generators.

    Keras numbers seed generators by how many the process has made, so their
    names here count within the model instead.
    """
    variables = list(model.variables)
    seeds = [v for v in variables if v.name == "seed_generator_state"]
    others = [v for v in variables if v.name != "seed_generator_state"]
    named = _named(others)
    for number, variable in enumerate(seeds):
        named[f"seed_generator_state/{number}"] = variable
    return named


def _named(variables: Sequence[keras.Variable]) -> dict[str, keras.Variable]:
    named = {}
    for variable in variables:
        if variable.path in named:
            raise ValueError(
                f"two variables are called {variable.path}: name their layers"
            )
        named[variable.path] = variable
    return named


class _Arrays(Mapping[str, np.ndarray]):
    """A mapping of variables as arrays, fetched one at a time while written."""

    def __init__(self, variables: dict[str, keras.Variable]):
        self._variables = variables

    def __getitem__(self, name: str) -> np.ndarray:
        return self._variables[name].numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def _check(
    variables: dict[str, keras.Variable],
    arrays: dict[str, np.ndarray],
    path: str,
) -> None:
    for name, variable in variables.items():
        if name not in arrays:
            raise UserError(
                f"{path} has no variable {name}: it belongs to another model"
            )
        wanted, got = tuple(variable.shape), arrays[name].shape
        if wanted != got:
            raise UserError(
                f"{path}: variable {name} has shape {list(got)}, the model's"
                f" has {list(wanted)}: it belongs to another model"
            )
    unknown = sorted(set(arrays) - set(variables))
    if unknown:
        raise UserError(
            f"{path} has a variable {unknown[0]} that the model does not have: "
            "it belongs to another model"
        )


def _assign(
    variables: dict[str, keras.Variable], arrays: dict[str, np.ndarray]
) -> None:
    for name, variable in variables.items():
        variable.assign(arrays[name])
