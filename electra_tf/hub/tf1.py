"""TF1 checkpoints: `model.ckpt.index` and `.data-…`, the original's names.

Any of its forms is read: as released, as training leaves it (with Adam's
slots and the step) and fine-tuned; with any kind of generator.
"""

import contextlib
import dataclasses
import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import config as configs
from electra_tf.hub import names, tf1_config
from electra_tf.hub.checkpoint import Checkpoint, Lazy, Part, select
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.names import EXTRA, shapes
from electra_tf.text.vocab import load_vocab

CONFIG, VOCAB = "config.json", "vocab.txt"
_STEP = "global_step"
_SLOTS = ("adam_m", "adam_v")
_DATA = re.compile(r"\.data-\d{5}-of-(\d{5})$")
# What TensorFlow 2's object checkpoints have, and name-based ones have not.
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
# A task head's name where its source had none.
_TASK = "task"


def recognises(path: str) -> bool:
    """Whether `path` is a checkpoint's prefix, one of its files, or a
    directory that holds one.
    """
    if files.is_directory(path):
        return bool(_prefixes(path))
    return bool(_files_of(_prefix_of(path)))


def read(path: str, overrides: Mapping[str, str] | None = None) -> Checkpoint:
    """Reads a checkpoint; its variables are read when they are looked up.

    Args:
      path: a prefix (`…/model.ckpt-1000`), its `.index` file, or a directory
        with a `checkpoint` file or one such prefix.
      overrides: `--set` texts; see `hub.config.parse`.

    Raises:
      UserError: missing, damaged, not ELECTRA's, or at odds with what is told.
    """
    prefix = find(path)
    reader = _Reader(prefix)
    plain = {
        name: shape
        for name, shape in reader.shapes.items()
        if name != _STEP and name.rpartition("/")[2] not in _SLOTS
    }
    folder = _folder(prefix)
    told = tf1_config.read_beside(files.join(folder, CONFIG), overrides or {})
    if told.whole is not None:
        config = configs.override(told.whole, overrides or {})
        assumed: list[str] = []
        tasks = [n.split("/")[1] for n in plain if n.startswith("task_spec")]
        task = tasks[0] if tasks else ""
    else:
        config, task, assumed = tf1_config.infer(plain, told, prefix)
    if _STEP in reader.shapes:
        config = dataclasses.replace(config, step=int(reader.read(_STEP)))
    asked = shapes(config)  # some have our name there too, see write()
    known, leftover = _table(config, task).ours(plain)
    kept = [n for n in leftover if n.startswith(EXTRA) or n in asked]
    known |= {name: (name,) for name in kept}
    leftover = tuple(name for name in leftover if name not in kept)
    _complete(known, plain, prefix)
    vocab = files.join(folder, VOCAB)
    return Checkpoint(
        config=config,
        weights=reader.arrays(known),
        vocab=load_vocab(vocab) if files.exists(vocab) else None,
        slots=reader.slots(known),
        leftover=leftover,
        assumed=tuple(assumed),
        source=prefix,
    )


def write(
    path: str, checkpoint: Checkpoint, part: Part = "both"
) -> tuple[str, ...]:
    """Writes `model.ckpt` (`model.ckpt-STEP` after training) and what goes
    beside it: config.json, vocab.txt, and `checkpoint`, which names it.

    Args:
      path: directory; created if absent.
      checkpoint: what to write, slots and step included.
      part: which of the networks.

    Returns:
      Sentences on what the original's code cannot use.

    Raises:
      UserError: it cannot be written, or has no such part.
    """
    checkpoint = select(checkpoint, part)
    config = checkpoint.config
    table = _table(config, _TASK)
    arrays: dict[str, Any] = {}
    notes = []
    for name in checkpoint.weights:
        theirs = table.theirs(name)
        if not theirs:
            theirs = (name,)
            notes.append(f"the original has no {name}; it keeps this name")
        slots = (checkpoint.slots or {}).get(name)
        for suffix, array in zip(
            ("", *(f"/{slot}" for slot in _SLOTS)),
            (checkpoint.weights[name], *(slots or ())),
        ):
            pieces = names.to_theirs(
                "tf1", name, np.asarray(array), pieces=len(theirs)
            )
            arrays |= {n + suffix: a for n, a in zip(theirs, pieces)}
    arrays[_STEP] = np.asarray(config.step, np.int64)
    files.make_directory(path)
    stem = f"model.ckpt-{config.step}" if config.step else "model.ckpt"
    _save(files.join(path, stem), arrays)
    if checkpoint.vocab is not None:
        checkpoint.vocab.save(files.join(path, VOCAB))
    content = json.dumps(tf1_config.to_bert(config), indent=2) + "\n"
    files.write_text(files.join(path, CONFIG), content)
    files.write_text(
        files.join(path, "checkpoint"), f'model_checkpoint_path: "{stem}"\n'
    )
    return tuple(notes)


def find(path: str) -> str:
    """The prefix of the checkpoint that `path` is or holds.

    Raises:
      UserError: none, several with no word which, or not all of its files.
    """
    prefix = _in_directory(path) if files.is_directory(path) else ""
    prefix = prefix or _prefix_of(path)
    found = _files_of(prefix)
    if not found:
        raise UserError(f"{prefix}: no TF1 checkpoint of that name")
    if f"{prefix}.index" not in found:
        raise UserError(
            f"{prefix}.index: missing beside {found[0]}; copy it too"
        )
    shards = [name for name in found if _DATA.search(name)]
    count = int(_DATA.search(shards[0])[1]) if shards else 1
    for i in range(count):
        name = f"{prefix}.data-{i:05d}-of-{count:05d}"
        if name not in shards:
            raise UserError(
                f"{name}: missing beside {prefix}.index; copy it too"
            )
    return prefix


def _in_directory(path: str) -> str:
    """The one prefix in a directory, or that its `checkpoint` names."""
    prefixes = _prefixes(path)
    state = files.join(path, "checkpoint")
    if files.exists(state):
        match = re.search(
            r'^model_checkpoint_path: "(.*)"', files.read_text(state), re.M
        )
        # The path may be of the machine where it was written.
        name = files.join(path, match[1].rpartition("/")[2]) if match else ""
        if name in prefixes:
            return name
    if len(prefixes) > 1:
        raise UserError(
            f"{path}: holds {len(prefixes)} TF1 checkpoints, among them "
            f"{prefixes[0]} and {prefixes[1]}; name one"
        )
    if not prefixes:
        raise UserError(f"{path}: holds no TF1 checkpoint")
    return prefixes[0]


def _prefixes(directory: str) -> list[str]:
    stems = {
        re.sub(r"\.index$", "", _DATA.sub("", name))
        for name in files.list_directory(directory)
        if name.endswith(".index") or _DATA.search(name)
    }
    return [files.join(directory, stem) for stem in sorted(stems)]


def _prefix_of(path: str) -> str:
    return re.sub(r"\.(index|meta)$", "", _DATA.sub("", path))


def _folder(prefix: str) -> str:
    return prefix.rpartition("/")[0] or "."


def _files_of(prefix: str) -> list[str]:
    folder, stem = _folder(prefix), prefix.rpartition("/")[2]
    if not stem or not files.is_directory(folder):
        return []
    return [
        prefix + name.removeprefix(stem)
        for name in files.list_directory(folder)
        if name.startswith(f"{stem}.")
        and (name == f"{stem}.index" or _DATA.search(name))
    ]


def _table(config: DirectoryConfig, task: str) -> names.Table:
    return names.tf1(
        config.generator_kind == "two_tower",
        names.task_places(config.task) if config.task else (),
        task or _TASK,
    )


def _complete(
    known: Mapping[str, tuple[str, ...]], shapes: Mapping, prefix: str
) -> None:
    """Query without key, or start without end, is no layer."""
    for theirs in known.values():
        for name in theirs:
            if name not in shapes:
                raise UserError(
                    f"{prefix}: lacks the variable {name}, which goes with "
                    f"{next(n for n in theirs if n in shapes)}"
                )


class _Reader:
    """The variables of one checkpoint; failures name its files."""

    def __init__(self, prefix: str):
        self.prefix = prefix
        with self._named_errors():
            self._reader = tf.train.load_checkpoint(prefix)
            shapes = self._reader.get_variable_to_shape_map()
            dtypes = self._reader.get_variable_to_dtype_map()
        if _OBJECTS in shapes:
            raise UserError(
                f"{prefix}: a TensorFlow 2 object checkpoint; expected one "
                "with the original's variable names"
            )
        self.shapes = {name: tuple(s) for name, s in shapes.items()}
        expected = sum(
            math.prod(shape) * dtypes[name].size
            for name, shape in self.shapes.items()
        )
        data = [n for n in _files_of(prefix) if _DATA.search(n)]
        held = sum(map(files.size, data))
        if held < expected:
            raise UserError(
                f"{data[0]}: {held} bytes, but the variables in "
                f"{prefix}.index need {expected}; copy it again"
            )

    def read(self, name: str) -> np.ndarray:
        with self._named_errors():
            return self._reader.get_tensor(name)

    def arrays(
        self, known: Mapping[str, tuple[str, ...]], suffix: str = ""
    ) -> Lazy[np.ndarray]:
        """Our names -> arrays, read when looked up."""

        def joined(name: str) -> np.ndarray:
            pieces = [self.read(n + suffix) for n in known[name]]
            return names.to_ours("tf1", name, pieces)

        shapes = {}
        for name, theirs in known.items():
            *rows, last = self.shapes[theirs[0]]
            last = sum(self.shapes[n][-1] for n in theirs)
            shapes[name] = (*rows, last)
        return Lazy(joined, shapes)

    def slots(
        self, known: Mapping[str, tuple[str, ...]]
    ) -> Lazy[tuple[np.ndarray, np.ndarray]] | None:
        """Our names -> Adam's (m, v); None where there are none."""
        kept = {
            name: theirs
            for name, theirs in known.items()
            if all(f"{n}/{s}" in self.shapes for n in theirs for s in _SLOTS)
        }
        if not kept:
            return None
        m, v = (self.arrays(kept, f"/{slot}") for slot in _SLOTS)
        return Lazy(lambda name: (m[name], v[name]), m.shapes)

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        # The reader tells a short file by an IndexError.
        except (tf.errors.OpError, IndexError, ValueError) as error:
            text = " ".join(str(error).split())
            raise UserError(
                f"cannot read {self.prefix}.index and its .data: not a whole "
                f"TF1 checkpoint ({text})"
            ) from error


def _save(prefix: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the files under a temporary name, then renames them.

    The index comes last: without it there is no checkpoint.
    """
    temporary = f"{prefix}.tmp-{uuid.uuid4().hex[:8]}"
    ordered = sorted(arrays)
    try:
        with files.named_errors(prefix, "write"), tf.device("CPU:0"):
            tf.raw_ops.SaveV2(
                prefix=temporary,
                tensor_names=ordered,
                shape_and_slices=[""] * len(ordered),
                tensors=[tf.constant(arrays[name]) for name in ordered],
            )
        for ending in (".data-00000-of-00001", ".index"):
            files.rename(temporary + ending, prefix + ending)
    except BaseException:
        for ending in (".data-00000-of-00001", ".index"):
            with contextlib.suppress(Exception):
                files.remove(temporary + ending)
        raise
