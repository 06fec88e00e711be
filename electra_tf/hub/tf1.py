"""Reads and writes TF1 checkpoints, with the original's names.

A checkpoint is `model.ckpt.index` and `.data-…`. All forms are read: released
ones, those of training (with Adam's slots and the step) and fine-tuned ones;
with any kind of generator.

Sizes follow from the variables. Heads, GELU, dropout and the like come from a
`config.json` beside the checkpoint or from `--set`; otherwise they are the
original's defaults, and each default that is used is reported.
"""

import contextlib
import dataclasses
import json
import math
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import bert, names, tf1_files
from electra_tf.hub import config as configs
from electra_tf.hub.checkpoint import (
    Checkpoint,
    Lazy,
    Part,
    check_layers,
    select,
    split_elsewhere,
)
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.names import EXTRA, shapes
from electra_tf.models.config import GENERATOR_KINDS, ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.text.vocab import ADDED, Vocab, load_vocab

CONFIG, VOCAB = "config.json", "vocab.txt"
FILES = (CONFIG, VOCAB, ADDED)  # beside the checkpoint, which has a number
_STEP = "global_step"
_SLOTS = ("adam_m", "adam_v")
# A key of TensorFlow 2's object checkpoints that name-based ones lack.
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Name of a task head whose source had none.
_TASK = "task"
_Shapes = Mapping[str, tuple[int, ...]]
_SIZES = (
    "vocab_size", "embedding_size", "hidden_size", "num_layers",
    "intermediate_size", "max_positions", "type_vocab_size",
)  # fmt: skip
# Tasks of the original whose head scores tokens; known by name, since their
# variables look like a classifier's.
_TOKEN_TASKS = ("chunk", "ner", "pos", "ccg", "depparse")
_LAYER = re.compile(r"/encoder/layer_(\d+)/")


def recognises(path: str) -> bool:
    """Returns whether `path` is a prefix or file of a checkpoint, or its
    folder.
    """
    if files.is_directory(path):
        return bool(tf1_files.prefixes(path))
    return bool(tf1_files.files_of(tf1_files.prefix_of(path)))


def read(
    path: str,
    overrides: Mapping[str, str] | None = None,
    vocab: Vocab | None = None,
) -> Checkpoint:
    """Opens a checkpoint; its variables are read when looked up.

    Args:
      path: a prefix (`…/model.ckpt-1000`), its `.index` file, or a directory
        with a `checkpoint` file or one such prefix.
      overrides: `--set` texts; see `hub.config.parse`.
      vocab: vocabulary in place of the source's, which is then not read.

    Raises:
      UserError: the checkpoint is missing, damaged, not ELECTRA's, or
        contradicts config.json or `overrides`.
    """
    prefix = tf1_files.find(path)
    reader = _Reader(prefix)
    plain = {
        name: shape
        for name, shape in reader.shapes.items()
        if name != _STEP and name.rpartition("/")[2] not in _SLOTS
    }
    folder = tf1_files.folder(prefix)
    given = _read_beside(bert.config_file(folder), overrides or {})
    if given.whole is not None:
        config = configs.override(given.whole, overrides or {})
        assumed: list[str] = []
        tasks = [n.split("/")[1] for n in plain if n.startswith("task_spec")]
        task = tasks[0] if tasks else ""
    else:
        config, task, assumed = _infer(plain, given, prefix)
    if _STEP in reader.shapes:
        config = dataclasses.replace(config, step=int(reader.read(_STEP)))
    check_layers(config, len(plain), prefix)
    asked = shapes(config)  # some have our names there too, see write()
    known, leftover = _table(config, task).ours(plain)
    kept = [n for n in leftover if n.startswith(EXTRA) or n in asked]
    known |= {name: (name,) for name in kept}
    leftover = tuple(name for name in leftover if name not in kept)
    _complete(known, plain, prefix)
    beside = files.join(folder, VOCAB)
    if vocab is None and files.exists(beside):
        vocab = load_vocab(beside)
    return Checkpoint(
        config=config,
        weights=reader.arrays(known),
        vocab=vocab,
        slots=reader.slots(known),
        leftover=leftover,
        pooler=reader.arrays(
            {
                ours: (name,)
                for ours, name in bert.TF1_POOLER.items()
                if name in leftover
            }
        ),
        assumed=tuple(assumed),
        source=prefix,
    )


def write(
    path: str, checkpoint: Checkpoint, part: Part = "both"
) -> tuple[str, ...]:
    """Writes `model.ckpt` (`model.ckpt-STEP` after training) and what goes
    beside it: config.json, vocab.txt, and `checkpoint`, which names it.

    Args:
      path: the directory; created if absent.
      checkpoint: the checkpoint to write, including slots and step.
      part: the network to write.

    Returns:
      Sentences on what the original's code cannot use.

    Raises:
      UserError: it cannot be written, or the checkpoint has no such part.
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
        notes += split_elsewhere(checkpoint.vocab)
    content = json.dumps(configs.to_bert(config), indent=2) + "\n"
    files.write_text(files.join(path, CONFIG), content)
    files.write_text(
        files.join(path, "checkpoint"), f'model_checkpoint_path: "{stem}"\n'
    )
    return tuple(notes)


def _table(config: DirectoryConfig, task: str) -> names.Table:
    return names.tf1(
        config.is_two_tower,
        names.task_places(config.task) if config.task else (),
        task or _TASK,
    )


def _complete(
    known: Mapping[str, tuple[str, ...]], shapes: Mapping, prefix: str
) -> None:
    """Drops incomplete layers: query without key, or start without end."""
    for theirs in known.values():
        for name in theirs:
            if name not in shapes:
                raise UserError(
                    f"{prefix}: lacks the variable {name}, which goes with "
                    f"{next(n for n in theirs if n in shapes)}"
                )


class _Reader:
    """Reads the variables of one checkpoint; errors name its files."""

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
        expected = sum(
            math.prod(s) * dtypes[name].size for name, s in shapes.items()
        )
        renamed = bert.tf1_names(shapes)
        self._raw = {renamed.get(name, name): name for name in shapes}
        self.shapes = {n: tuple(shapes[raw]) for n, raw in self._raw.items()}
        data = [
            n for n in tf1_files.files_of(prefix) if tf1_files.DATA.search(n)
        ]
        held = sum(map(files.size, data))
        if held < expected:
            raise UserError(
                f"{data[0]}: {held} bytes, but the variables in "
                f"{prefix}.index need {expected}; copy it again"
            )

    def read(self, name: str) -> np.ndarray:
        with self._named_errors():
            return self._reader.get_tensor(self._raw[name])

    def arrays(
        self, known: Mapping[str, tuple[str, ...]], suffix: str = ""
    ) -> Lazy[np.ndarray]:
        """Returns our names -> arrays, read when looked up."""

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
        """Returns our names -> Adam's (m, v); None where there are none."""
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
        # The reader raises an IndexError for a truncated file.
        except (tf.errors.OpError, IndexError, ValueError) as error:
            text = " ".join(str(error).split())
            raise UserError(
                f"cannot read {self.prefix}.index and its .data: not a whole "
                f"TF1 checkpoint ({text})"
            ) from error


def _save(prefix: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the files under temporary names, then renames them.

    The index is last: without it there is no checkpoint.
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


@dataclasses.dataclass(frozen=True)
class _Known:
    """What is known besides the variables.

    Attributes:
      values: dotted key -> value, as for `--set`.
      origins: dotted key -> its source.
      whole: the complete config, where we wrote the config.json.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    whole: DirectoryConfig | None = None

    def of(self, section: str) -> dict[str, Any]:
        """Returns the values below `model`, `generator` or `task`."""
        return configs.of_section(self.values, section)


def _read_beside(path: str, overrides: Mapping[str, str]) -> _Known:
    """Reads the config.json at `path`, if any; `overrides` take precedence.

    Raises:
      UserError: the file is not valid, or an override is wrong.
    """
    values: dict[str, Any] = {}
    whole = None
    if files.exists(path):
        try:
            content = json.loads(files.read_text(path))
            if not isinstance(content, dict):
                raise ValueError("no mapping")
            if configs.OURS in content:
                whole = configs.from_json(content[configs.OURS], path)
            else:
                values = configs.of_bert(content)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}: expected the settings of a BERT or ELECTRA model "
                f"in JSON ({error})"
            ) from error
    origins = dict.fromkeys(values, path)
    said = configs.parse(overrides)
    origins |= dict.fromkeys(said, "--set")
    return _Known({**values, **said}, origins, whole)


def _infer(
    shapes: _Shapes, given: _Known, source: str
) -> tuple[DirectoryConfig, str, list[str]]:
    """Infers the config of a checkpoint from its variables and `given`.

    Args:
      shapes: the checkpoint's names -> shapes.
      given: what is known besides them.
      source: the checkpoint, for messages.

    Returns:
      The config (without fingerprint and step), the name of its task ("" if
      none), and what was assumed.

    Raises:
      UserError: it is not an ELECTRA checkpoint, or contradicts `given`.
    """
    look = _Look(shapes, given, source)
    discriminator = generator = None
    kind, untied = given.values.get("generator_kind", "separate"), False
    if look.has("electra/encoder/"):
        discriminator = look.network("electra", "electra", "model", {})
    shared = {
        name: getattr(discriminator, name)
        for name in configs.BOTH
        if discriminator is not None
    } | {k: v for k, v in given.of("model").items() if k in configs.BOTH}
    for scope in ("generator", "generator_ltr"):
        if look.has(f"{scope}/encoder/"):
            kind = "two_tower" if scope == "generator_ltr" else "separate"
            untied = look.has(f"{scope}/embeddings/")
            generator = look.network(
                scope, scope if untied else "electra", "generator", shared
            )
    if generator is None and look.has("generator_predictions/"):
        kind, generator = "tied", discriminator
    if discriminator is None and generator is None:
        raise UserError(
            f"{source}: no ELECTRA or BERT checkpoint: it has no variables "
            "below electra/encoder or bert/encoder"
        )
    task, task_name = look.task()
    if "lower_case" not in given.values:
        look.assumed.append("lower_case true (--lower_case)")
    config = DirectoryConfig(
        discriminator,
        generator,
        given.values.get("lower_case", True),
        given.values.get("strip_accents"),
        "",
        generator_kind=kind,
        generator_embeddings="untied" if untied else "shared",
        # The original's towers wrap around.
        wrap_around=given.values.get(
            "wrap_around", GENERATOR_KINDS[kind].two_towers
        ),
        replaced_token_head=look.has("discriminator_predictions/"),
        token_lm_head=generator is not None
        and (look.has("generator_predictions/") or look.has("cloze_pred")),
        task=task,
    )
    return config, task_name, look.assumed


class _Look:
    """Infers configs from the variables of a checkpoint."""

    def __init__(self, shapes: _Shapes, given: _Known, source: str):
        self.shapes = shapes
        self.given = given
        self.source = source
        self.assumed: list[str] = []

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.shapes)

    def shape(self, name: str, rank: int = 2) -> tuple[int, ...]:
        if name not in self.shapes:
            raise UserError(f"{self.source}: lacks the variable {name}")
        if len(self.shapes[name]) != rank:
            raise UserError(
                f"{self.source}: {name} has shape {list(self.shapes[name])}, "
                f"expected {rank} dimensions"
            )
        return self.shapes[name]

    def network(
        self, scope: str, tables: str, section: str, shared: Mapping[str, Any]
    ) -> ModelConfig:
        """Infers the config of one encoder.

        Args:
          scope: scope of the encoder.
          tables: scope of its embeddings.
          section: "model" or "generator": the section of its settings.
          shared: fields that it shares with the other network.
        """
        layer = f"{scope}/encoder/layer_0"
        words = self.shape(f"{tables}/embeddings/word_embeddings")
        hidden = self.shape(f"{layer}/attention/self/query/kernel")[0]
        sizes = {
            "vocab_size": words[0],
            "embedding_size": words[1],
            "hidden_size": hidden,
            "num_layers": 1 + max(self._layers(scope)),
            "intermediate_size": self.shape(
                f"{layer}/intermediate/dense/kernel"
            )[1],
            "max_positions": self.shape(
                f"{tables}/embeddings/position_embeddings"
            )[0],
            "type_vocab_size": self.shape(
                f"{tables}/embeddings/token_type_embeddings"
            )[0],
        }
        given = self.given.of(section)
        for name in _SIZES:
            if given.get(name, sizes[name]) != sizes[name]:
                key = f"{section}.{name}"
                raise UserError(
                    f"{self.given.origins[key]}: {key} is {given[name]} there, "
                    f"but {sizes[name]} in {self.source}"
                )
        settings = {
            "num_heads": max(1, hidden // 64), **shared, **given, **sizes
        }  # fmt: skip
        if "num_heads" not in given:
            self.assumed.append(
                f"{section}.num_heads {settings['num_heads']} "
                f"(hidden size {hidden} // 64)"
            )
        try:
            return ModelConfig(**settings)
        except UserError as error:
            text = str(error).replace("model.", f"{section}.")
            raise UserError(
                f"{self.source}: {text}; say it with --set "
                f"{section}.num_heads=…"
            ) from error

    def _layers(self, scope: str) -> Iterable[int]:
        for name in self.shapes:
            match = _LAYER.search(name)
            if match and name[: match.start()] == scope:
                yield int(match[1])

    def task(self) -> tuple[TaskHeadConfig | None, str]:
        """Returns the head of a fine-tuned checkpoint and its name there."""
        names = sorted(
            {n.split("/")[1] for n in self.shapes if _is_task(n)}
        )  # fmt: skip
        if not names:
            return None, ""
        wanted = self.given.values.get("task.name", names[0])
        if wanted not in names:
            raise UserError(
                f"--set task.name={wanted}: {self.source} has "
                f"{', '.join(names)}"
            )
        if len(names) > 1 and "task.name" not in self.given.values:
            self.assumed.append(f"task.name {wanted} (of {', '.join(names)})")
        given = self.given.of("task")
        given.pop("name", None)
        kind = self._task_kind(wanted, given)
        return TaskHeadConfig(**{**kind, **given}), wanted

    def _task_kind(self, task: str, given: Mapping[str, Any]) -> dict[str, Any]:
        scope = f"task_specific/{task}"

        def found(name: str) -> bool:
            return f"{scope}/{name}/kernel" in self.shapes

        if found("qa_hidden"):
            return {
                "kind": "joint_span",
                "joint_size": self.shape(f"{scope}/qa_hidden/kernel")[1],
                "answerable": found("dense_3"),
            }
        first = self.shape(f"{scope}/dense/kernel")
        if found("dense_1"):
            second = self.shape(f"{scope}/dense_1/kernel")
            if first[1] == second[1] == 1 and first[0] > 1:
                span: dict[str, Any] = {"kind": "span"}
                if found("dense_3"):
                    joint_size = self.shape(f"{scope}/dense_2/kernel")[1]
                    span |= {"answerable": True, "joint_size": joint_size}
                return span
            labels = second[1]
            return dict(kind="sequence", hidden_layer=True, num_labels=labels)
        kind = "token" if task in _TOKEN_TASKS else "sequence"
        if "kind" not in given:
            self.assumed.append(f"task.kind {kind} (of its name, {task})")
        return {"kind": kind, "num_labels": first[1]}


def _is_task(name: str) -> bool:
    return name.startswith("task_specific/") and name.count("/") > 1
