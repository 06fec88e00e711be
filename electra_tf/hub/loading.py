"""Opens checkpoints of any format, and loads them into models.

A checkpoint is a path, the name of a shipped model, such as `electra-tf-mini`,
or a handle: `hf://org/name`, `kaggle://owner/model/framework/variation`.
"""

import dataclasses
import importlib
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

import keras
import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import directory
from electra_tf.hub.checkpoint import Checkpoint, Report, check, shapes_of
from electra_tf.hub.huggingface_stores import WEIGHTS, unread
from electra_tf.hub.huggingface_tokenizer import read_json
from electra_tf.text.vocab import Vocab, load_vocab

# Name -> module of this package with recognises(), read() and write(), in the
# order in which they are asked. All but the first have imports that are made
# when needed.
FORMATS = {
    "electra_tf": "directory",
    # Before Hugging Face, whose config.json may be beside one of these.
    "tf1": "tf1",
    "huggingface": "huggingface",
    "keras_hub": "keras_hub",
}
# TensorFlow's weights, which are downloaded where there are no others.
_H5 = "tf_model.h5"
# Files that are not downloaded: other frameworks' copies of the weights.
_IGNORED = [_H5, "*.msgpack", "*.onnx", "*.ot", "*.tflite", "onnx/*"]
# Files of a run of ours before it has a model.
_UNFINISHED = ("checkpoints", "trial_1")
# Shipped models, each a folder of its name among the package's files.
SHIPPED = ("electra-tf-mini",)
_SHIPPED_FOLDER = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "shipped_models",
)
SlotVariables = Mapping[str, tuple[keras.Variable, keras.Variable]]

_SLICE = 1 << 22  # bytes of an array that are assigned at a time
_EXPECTED = (
    "expected a model directory of electra_tf, a Hugging Face directory "
    "(config.json and weights), a KerasHub preset, or a TF1 checkpoint"
)


def locate(path: files.AnyPath) -> str:
    """Resolves a path, a handle or the name of a shipped model to a path.

    Args:
      path: a path, which is returned; a handle, whose model is downloaded once;
        or the name of a shipped model, unless the working directory has
        something of that name.

    Raises:
      UserError: see `fetch`; or the installation lacks the model's weights.
    """
    path = os.fspath(path)
    if is_handle(path):
        return fetch(path)
    if path not in SHIPPED or files.exists(path):
        return path
    folder = os.path.join(_SHIPPED_FOLDER, path)
    if not is_installed(path):
        raise UserError(
            f"{path}: this installation lacks its weights, which belong into "
            f"{folder}; install electra-tf again from a wheel that has them, "
            "or give the directory of another model"
        )
    return folder


def is_installed(name: str) -> bool:
    """Returns whether the installation has the weights of a shipped model."""
    folder = os.path.join(_SHIPPED_FOLDER, name)
    return files.exists(files.join(folder, directory.WEIGHTS))


def is_handle(path: str) -> bool:
    """Returns whether `path` is a handle to download."""
    return path.startswith(("hf://", "kaggle://"))


def fetch(handle: str) -> str:
    """Downloads the model of a handle, once; returns the local directory.

    Args:
      handle: `hf://org/name` or `hf://org/name@revision`, or
        `kaggle://owner/model/framework/variation`.

    Raises:
      UserError: the handle is malformed, its package is not installed, or the
        download failed (no network, no such model, no permission).
    """
    scheme, _, name = handle.partition("://")
    if scheme == "hf":
        if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name):
            raise UserError(f"{handle}: expected hf://org/name")
        return _fetched(handle, "huggingface_hub", _from_hugging_face, name)
    if name.count("/") < 3:
        raise UserError(
            f"{handle}: expected kaggle://owner/model/framework/variation"
        )
    return _fetched(handle, "kagglehub", _from_kaggle, name)


def _from_hugging_face(name: str) -> str:
    import huggingface_hub

    name, _, revision = name.partition("@")
    folder = huggingface_hub.snapshot_download(
        name, revision=revision or None, ignore_patterns=_IGNORED
    )
    if set(WEIGHTS).isdisjoint(files.list_directory(folder)):
        folder = huggingface_hub.snapshot_download(
            name, revision=revision or None, allow_patterns=[_H5]
        )
    return folder


def _from_kaggle(name: str) -> str:
    import kagglehub

    return kagglehub.model_download(name)


def _fetched(
    handle: str, package: str, download: Callable[[str], str], name: str
) -> str:
    try:
        return download(name)
    except ImportError as error:
        raise UserError(
            f"{handle}: needs the package {package}; pip install {package}"
        ) from error
    # Each package, and the HTTP library below it, has its own exceptions.
    except Exception as error:
        reason = " ".join(str(error).split())
        if len(reason) > 160:
            reason = reason[:157] + "..."
        raise UserError(
            f"{handle}: cannot be fetched ({type(error).__name__}: {reason}); "
            "without a network, give the directory of a copy"
        ) from error


def format_module(name: str) -> ModuleType:
    """Returns the module that reads and writes a format of `FORMATS`."""
    return importlib.import_module(f"electra_tf.hub.{FORMATS[name]}")


def recognise(path: str) -> str:
    """Recognises the format of `path`, a key of `FORMATS`.

    Raises:
      UserError: the path does not exist, or has no known format.
    """
    for name in FORMATS:
        if format_module(name).recognises(path):
            return name
    if not files.exists(path):
        known = (
            "" if "/" in path else f"; models that ship: {', '.join(SHIPPED)}"
        )
        raise UserError(f"{path}: no such model directory or checkpoint{known}")
    config = files.join(path, directory.CONFIG)
    if any(files.exists(files.join(path, name)) for name in _UNFINISHED):
        raise UserError(
            f"{path}: a run that has no model yet; start it again with the "
            "same arguments, and it resumes"
        )
    if files.is_directory(path) and files.exists(config):
        read_json(config)  # its error says where it is damaged
        raise UserError(f"{config}: of an unknown kind of model; {_EXPECTED}")
    if files.is_directory(path):
        present = files.list_directory(path)
        if directory.WEIGHTS in present:
            raise UserError(
                f"{path}: holds {directory.WEIGHTS}, but no config.json, which "
                "has the model's sizes; take both from the same model"
            )
        other = unread(present)
        if other:
            raise UserError(f"{path}: {other}")
        raise UserError(
            f"{path}: holds no {directory.WEIGHTS} nor another checkpoint; "
            + _EXPECTED
        )
    folder = os.path.dirname(path) or "."
    if os.path.basename(path) in (directory.CONFIG, *WEIGHTS):
        raise UserError(f"{path}: a file; name its directory, {folder}")
    raise UserError(f"{path}: no checkpoint; {_EXPECTED}")


def open_checkpoint(
    path: files.AnyPath,
    overrides: Mapping[str, str] | None = None,
    vocab: files.AnyPath | Vocab | None = None,
) -> Checkpoint:
    """Opens a checkpoint of any format; weights are read when looked up.

    Args:
      path: a directory, a TF1 prefix, a handle or the name of a shipped model
        (see `locate`).
      overrides: `--set` texts for what the source does not say.
      vocab: a vocabulary, or its file, in place of the source's.

    Raises:
      UserError: the format is unknown, or the checkpoint is damaged or
        contradicts its config.
    """
    path = locate(path)
    if vocab is not None and not isinstance(vocab, Vocab):
        vocab = load_vocab(vocab)
    checkpoint = format_module(recognise(path)).read(
        path, overrides or {}, vocab
    )
    check(checkpoint.config, checkpoint.weights, checkpoint.source)
    if checkpoint.vocab is None:
        # Its networks can still be used, on token ids.
        none = "no vocabulary beside it, hence no tokenizer (--vocab)"
        return dataclasses.replace(
            checkpoint, assumed=(*checkpoint.assumed, none)
        )
    return _with_vocab(checkpoint, checkpoint.vocab)


def _with_vocab(checkpoint: Checkpoint, vocab: Vocab) -> Checkpoint:
    rows, assumed = checkpoint.config.vocab_size, checkpoint.assumed
    if len(vocab) > rows:
        raise UserError(
            f"{checkpoint.source}: its token table has {rows} rows, but the "
            f"vocabulary {len(vocab)} tokens; take both from the same model"
        )
    if len(vocab) < rows:
        assumed += (
            f"the vocabulary's {len(vocab)} tokens are the first of the "
            f"table's {rows} rows; the other {rows - len(vocab)} are kept as "
            "they are",
        )
    config = dataclasses.replace(
        checkpoint.config, vocab_fingerprint=vocab.fingerprint()
    )
    return dataclasses.replace(checkpoint, config=config, assumed=assumed)


def _fill(variable: keras.Variable, array: np.ndarray) -> None:
    """Assigns an array to a variable, without two more copies of a large
    one.
    """
    value = variable.value
    if (
        array.nbytes <= _SLICE
        or array.dtype.name != variable.dtype
        or isinstance(value, tf.distribute.DistributedValues)
    ):
        variable.assign(array)
        return
    rows = max(1, len(array) * _SLICE // array.nbytes)
    for start in range(0, len(array), rows):
        # `value[start:end].assign` would read the slice first.
        part = array[start : start + rows]
        tf.raw_ops.ResourceStridedSliceAssign(
            ref=value.handle,
            begin=[start],
            end=[start + len(part)],
            strides=[1],
            value=part,
        )


def assign(model: keras.Model, checkpoint: Checkpoint) -> Report:
    """Assigns a checkpoint's weights to a built model, as far as they match.

    Args:
      model: a network, or a pre-trainer of two.
      checkpoint: the checkpoint; weights that the model lacks are left over,
        and variables that the checkpoint lacks are unchanged.

    Returns:
      The report.

    Raises:
      UserError: a shape differs; the variable and both shapes are named, and
        the model is unchanged.
    """
    weights, source = checkpoint.weights, checkpoint.source
    held = shapes_of(weights)
    targets = directory.named_variables([model])
    origin = directory.sources(targets, held)
    directory.check_shapes(targets, origin, weights, source)
    # Large ones first, as their temporary memory is then free again.
    for name in sorted(origin, key=lambda n: -math.prod(targets[n].shape)):
        _fill(targets[name], directory.value_of(origin[name], weights))
    used = {name for names in origin.values() for name in names}
    return Report(
        source=source,
        loaded=tuple(used),
        parameters=sum(math.prod(held[name]) for name in used),
        new=tuple(name for name in targets if name not in origin),
        leftover=tuple(
            dict.fromkeys(
                [name for name in held if name not in used]
                + list(checkpoint.leftover)
            )
        ),
        assumed=checkpoint.assumed,
    )


def warm_start(
    model: keras.Model,
    checkpoint: Checkpoint,
    slots: SlotVariables | None = None,
    iterations: keras.Variable | None = None,
) -> Report:
    """Assigns weights, and optionally Adam's slots and the step, to a model.

    Args:
      model: a built pre-trainer. A generator or head that the checkpoint lacks
        keeps its initial weights.
      checkpoint: a checkpoint of any format.
      slots: name on disk -> the (m, v) variables of its optimizer, see
        `slot_variables`, to continue where training stopped; None starts the
        optimizer again. Those that the checkpoint lacks become 0.
      iterations: the optimizer's counter, which is set to the checkpoint's step
        if `slots` are given.

    Returns:
      The report: what was loaded, newly initialised and left over.

    Raises:
      UserError: a shape differs, or slots are wanted and the checkpoint has
        none; the model is unchanged.
    """
    held = checkpoint.slots or {}
    if slots is not None and checkpoint.slots is None:
        raise UserError(
            f"{checkpoint.source}: has no optimizer slots to resume with; "
            "start the optimizer from zero"
        )
    report = assign(model, checkpoint)
    if slots is None:
        return report
    origin = directory.sources(
        directory.named_variables([model]), report.loaded
    )
    filled = 0
    for name, (m, v) in slots.items():
        there = origin.get(name, ())
        # A difference of tables is trained as the first of the two is; it is
        # new where they are one.
        if there and there[0] in held and (there[0] not in there[1:]):
            filled += 1
            for variable, array in zip((m, v), held[there[0]]):
                variable.assign(array)
        else:
            for variable in (m, v):
                variable.assign(keras.ops.zeros_like(variable))
    step = checkpoint.config.step
    if iterations is not None:
        iterations.assign(step)
    return dataclasses.replace(report, slots=filled, step=step)


def slot_variables(
    optimizer: keras.optimizers.Optimizer, trained: Sequence[keras.Variable]
) -> SlotVariables:
    """Returns name on disk -> (m, v) variables of a built Adam-like optimizer.

    Args:
      optimizer: an optimizer whose slots are named by a variable's path, with
        `_` for `/`, and `_m` or `_v`.
      trained: the variables that it was built with.

    Raises:
      ValueError: the optimizer has no such slots.
    """
    by_path = {v.path.rpartition("/")[2]: v for v in optimizer.variables}
    found = {}
    for variable in trained:
        stem = variable.path.replace("/", "_")
        try:
            slots = by_path[f"{stem}_m"], by_path[f"{stem}_v"]
        except KeyError as error:
            raise ValueError(f"no slots for {variable.path}") from error
        found[directory.weight_name(variable.path)] = slots
    return found
