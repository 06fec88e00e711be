"""Opening a checkpoint of any format, and putting it into a model."""

import dataclasses
import importlib
import math
from collections.abc import Mapping
from types import ModuleType

import keras
import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import directory, handles, shapes, variables
from electra_tf.hub.report import Report
from electra_tf.hub.source import Checkpoint, shapes_of
from electra_tf.text.vocab import Vocab, load_vocab

# Name -> module of this package with recognises(), read() and write(); in the
# order in which they are asked. All but the first import more when needed.
FORMATS = {
    "electra_tf": "directory",
    # Before Hugging Face, whose config.json may stand beside one of these.
    "tf1": "tf1",
    "huggingface": "huggingface",
    "keras_hub": "keras_hub",
}
# What a run of ours holds before it holds a model.
_UNFINISHED = ("checkpoints", "trial_1")
_SLICE = 1 << 22  # bytes of an array that are assigned at once
_EXPECTED = (
    "expected a model directory of electra_tf, a Hugging Face directory "
    "(config.json and weights), a KerasHub preset, or a TF1 checkpoint"
)


def format_module(name: str) -> ModuleType:
    """The module that reads and writes a format of `FORMATS`."""
    return importlib.import_module(f"electra_tf.hub.{FORMATS[name]}")


def recognise(path: str) -> str:
    """The format, a key of `FORMATS`, of what is at `path`.

    Raises:
      UserError: nothing is there, or nothing known.
    """
    for name in FORMATS:
        if format_module(name).recognises(path):
            return name
    if not files.exists(path):
        raise UserError(f"{path}: no such model directory or checkpoint")
    config = files.join(path, directory.CONFIG)
    if any(files.exists(files.join(path, name)) for name in _UNFINISHED):
        raise UserError(
            f"{path}: a run that has no model yet; start it again with the "
            "same arguments, and it goes on to its end"
        )
    if files.is_directory(path) and files.exists(config):
        raise UserError(f"{config}: of no known kind of model; {_EXPECTED}")
    if files.is_directory(path):
        raise UserError(
            f"{path}: holds no {directory.WEIGHTS} nor another checkpoint; "
            + _EXPECTED
        )
    raise UserError(f"{path}: no checkpoint; {_EXPECTED}")


def open_checkpoint(
    path: str,
    overrides: Mapping[str, str] | None = None,
    vocab: str | Vocab | None = None,
) -> Checkpoint:
    """Opens a checkpoint of any format; weights are read when looked up.

    Args:
      path: a directory, a TF1 prefix, or a handle (see `hub.handles`).
      overrides: `--set` texts for what the source does not tell.
      vocab: a vocabulary, or its file, in place of the source's.

    Raises:
      UserError: nothing known, damaged, or at odds with its config.
    """
    if handles.is_handle(path):
        path = handles.fetch(path)
    checkpoint = format_module(recognise(path)).read(path, overrides or {})
    if vocab is not None:
        if isinstance(vocab, str):
            vocab = load_vocab(vocab)
        checkpoint = dataclasses.replace(checkpoint, vocab=vocab)
    shapes.check(checkpoint.config, checkpoint.weights, checkpoint.source)
    if checkpoint.vocab is None:
        # Its networks can be used all the same, on token ids.
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
            f"table's {rows} rows",
        )
    config = dataclasses.replace(
        checkpoint.config, vocab_fingerprint=vocab.fingerprint()
    )
    return dataclasses.replace(checkpoint, config=config, assumed=assumed)


def _fill(variable: keras.Variable, array: np.ndarray) -> None:
    """`variable.assign(array)`, without two more copies of a large array."""
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
        # `value[start:end].assign` would read the slice before.
        part = array[start : start + rows]
        tf.raw_ops.ResourceStridedSliceAssign(
            ref=value.handle,
            begin=[start],
            end=[start + len(part)],
            strides=[1],
            value=part,
        )


def assign(model: keras.Model, checkpoint: Checkpoint) -> Report:
    """Puts a checkpoint's weights into a built model, as far as both go.

    Args:
      model: a network, or a pre-trainer of two.
      checkpoint: weights that the model lacks are left over; variables that
        the checkpoint lacks stay as they are.

    Returns:
      What was done.

    Raises:
      UserError: a shape differs; the variable and both shapes are named, and
        the model is unchanged.
    """
    weights, source = checkpoint.weights, checkpoint.source
    held = shapes_of(weights)
    targets = variables.named([model])
    origin = variables.sources(targets, held)
    variables.check_shapes(targets, origin, weights, source)
    # Large ones first: what they need for a moment is then free again.
    for name in sorted(origin, key=lambda n: -math.prod(targets[n].shape)):
        _fill(targets[name], variables.value(origin[name], weights))
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
