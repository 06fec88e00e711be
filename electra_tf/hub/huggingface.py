"""Reads and writes Hugging Face directories.

A directory has `config.json`, tokenizer files and weights, `model.safetensors`
or `pytorch_model.bin`, whole or in shards. It has one network: the generator is
an ElectraForMaskedLM, the discriminator any of the other classes.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from electra_tf import files, tensors
from electra_tf.errors import UserError
from electra_tf.hub import bert, huggingface_tokenizer, names
from electra_tf.hub import config as configs
from electra_tf.hub import huggingface_answerable as answerable
from electra_tf.hub import huggingface_heads as heads
from electra_tf.hub import huggingface_meaning as meaning
from electra_tf.hub import huggingface_modules as modules
from electra_tf.hub import huggingface_stores as stores
from electra_tf.hub.checkpoint import (
    NETWORKS,
    Checkpoint,
    Lazy,
    Part,
    check,
    check_layers,
    chosen,
    is_pair,
    joined,
    left_out,
    select,
    shapes_of,
    write_each,
)
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.huggingface_tokenizer import read_json
from electra_tf.hub.names import Network
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.text.vocab import Vocab

CONFIG = "config.json"
# Files that a model may have, of transformers and sentence-transformers.
FILES = (
    CONFIG, *stores.WEIGHTS, *huggingface_tokenizer.FILES, answerable.FILE,
    *meaning.FILES, *modules.FILES,
)  # fmt: skip
# Constants that older versions saved, not weights.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")

_DEFAULTS = {  # defaults of the class ElectraConfig
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
}
_OWN_TABLE = "generator_lm_head.weight"
_KEPT_APART = (
    "the token LM head keeps its own table: config.json ties it to the "
    "embeddings, but both are stored and differ (transformers 5 keeps both, 4 "
    "takes the embeddings)"
)
_INTEGERS = [
    key for key in configs.BERT if key not in (*_DEFAULTS, "hidden_act")
]
# Sizes that config.json does not give: (variable, axis).
_FROM_SHAPES = {
    "vocab_size": ("electra.embeddings.word_embeddings.weight", 0),
    "embedding_size": ("electra.embeddings.word_embeddings.weight", 1),
    "hidden_size": ("electra.encoder.layer.0.attention.self.query.weight", 0),
    "intermediate_size": ("electra.encoder.layer.0.intermediate.dense.bias", 0),
    "max_position_embeddings": (
        "electra.embeddings.position_embeddings.weight", 0,
    ),
    "type_vocab_size": ("electra.embeddings.token_type_embeddings.weight", 0),
}  # fmt: skip


def recognises(path: str) -> bool:
    """Returns whether `path` is a Hugging Face directory, of any model."""
    if not files.is_directory(path):
        return False
    path, _ = modules.model_folder(path)
    present = set(files.list_directory(path))
    if present & set(stores.WEIGHTS[1:]):
        return True
    if CONFIG not in present:
        return is_pair(path, recognises)
    try:
        content = read_json(files.join(path, CONFIG))
    except UserError:
        return False
    return "model_type" in content or "architectures" in content


def read(
    path: str,
    overrides: Mapping[str, str] | None = None,
    vocab: Vocab | None = None,
) -> Checkpoint:
    """Opens a directory; only the names and shapes of weights are read.

    A directory with subdirectories `discriminator/` and `generator/`, as
    `write` makes it, is one model.

    Args:
      path: the directory.
      overrides: `--set` texts; see `hub.config.override`.
      vocab: in place of the source's, which is then not looked at.

    Raises:
      UserError: a file is missing, damaged or of another model; it is named.
    """
    overrides = overrides or {}
    if is_pair(path, recognises):
        one, other = (
            read(files.join(path, n), overrides, vocab) for n in NETWORKS
        )
        return joined(one, other, path)
    path, remarks = modules.model_folder(path)
    weights_file = stores.weights_file(path)
    config_file = bert.config_file(path)
    arrays = stores.arrays(weights_file)
    found = bert.as_electra(read_json(config_file), arrays)
    theirs = _normalised(found.arrays)
    content = found.content
    if content.get("tie_word_embeddings") is not False and _untied(theirs):
        content = {**content, "tie_word_embeddings": False}
        remarks.append(_KEPT_APART)
    config, assumed = _to_ours(content, config_file, theirs.shapes)
    tokenizer = huggingface_tokenizer.read(path, vocab, config.vocab_size)
    vocab = tokenizer.vocab
    config = dataclasses.replace(
        found.complete(config),
        lower_case=tokenizer.lower_case,
        strip_accents=tokenizer.strip_accents,
        vocab_fingerprint=vocab.fingerprint() if vocab else "",
    )
    config = configs.override(config, overrides)
    check_layers(config, len(theirs), weights_file)
    weights, unused = _renamed(theirs, config)
    check(config, weights, weights_file)
    remarks += found.assumed + assumed + tokenizer.assumed
    config, simpler = meaning.without_hidden_layer(config, weights)
    config, simpler = answerable.joined(path, config, simpler, remarks)
    about = meaning.heard(found.content, path, config, remarks)
    config = meaning.named(dataclasses.replace(config, fine_tuning=about))
    return Checkpoint(
        config=config,
        weights=simpler,
        vocab=vocab,
        leftover=tuple(map(found.name, unused)) + found.leftover,
        pooler=_by_our_names(
            arrays, {ours: (raw,) for ours, raw in found.pooler.items()}
        ),
        assumed=tuple(remarks),
        source=path,
    )


def _normalised(arrays: Mapping[str, np.ndarray]) -> Lazy[np.ndarray]:
    """Renames arrays to current names, with the prefix of a class with a
    head.
    """
    raw = {}
    for name in arrays:
        short = name.removeprefix("electra.")
        if short in _BUFFERS:
            continue
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
            if short.endswith("LayerNorm" + old):
                short = short.removesuffix(old) + new
        if short.startswith(("embeddings.", "embeddings_project.", "encoder.")):
            short = "electra." + short
        raw[short] = name
    found = shapes_of(arrays)
    shapes = {name: tuple(found[old]) for name, old in raw.items()}
    return Lazy(lambda name: arrays[raw[name]], shapes)


def _untied(theirs: Lazy[np.ndarray]) -> bool:
    """Returns whether a masked LM stores a table of its own, unlike the
    embeddings.
    """
    names_ = (_OWN_TABLE, _FROM_SHAPES["vocab_size"][0])
    if not all(name in theirs for name in names_):
        return False
    one, other = (_floats(theirs[name], name) for name in names_)
    return one.shape == other.shape and not np.array_equal(one, other)


def _part(config: DirectoryConfig) -> Network:
    return "generator" if config.discriminator is None else "discriminator"


def _table(config: DirectoryConfig, part: Network) -> names.Table:
    task = names.task_places(config.task) if config.task else ()
    return names.huggingface(*names.scopes(config, part), task)


def _renamed(
    theirs: Lazy[np.ndarray], config: DirectoryConfig
) -> tuple[Lazy[np.ndarray], tuple[str, ...]]:
    """Returns the arrays of `config` by our names, and the other names."""
    expected = names.shapes(config)
    found, unknown = _table(config, _part(config)).ours(theirs)
    leftover = list(unknown)
    kept = {}
    for name, sources in found.items():
        if name not in expected:
            leftover += sources
        elif all(source in theirs for source in sources):
            kept[name] = sources
    # A copy of the token table, stored although it is tied: transformers
    # replaces it.
    leftover = [n for n in leftover if n != _OWN_TABLE]
    return _by_our_names(theirs, kept), tuple(sorted(leftover))


def _by_our_names(
    arrays: Mapping[str, np.ndarray], sources: Mapping[str, Sequence[str]]
) -> Lazy[np.ndarray]:
    """Returns arrays by our names, for each of which `sources` has theirs."""

    def compute(name: str) -> np.ndarray:
        pieces = [_floats(arrays[n], n) for n in sources[name]]
        return names.to_ours("huggingface", name, pieces)

    held = shapes_of(arrays)
    shapes = {
        name: _our_shape(name, [tuple(held[n]) for n in theirs])
        for name, theirs in sources.items()
    }
    return Lazy(compute, shapes)


def _our_shape(name: str, theirs: list[tuple[int, ...]]) -> tuple[int, ...]:
    shape = theirs[0][::-1] if name.endswith("/kernel") else theirs[0]
    if len(set(theirs)) > 1 or not shape:  # reported by the check
        return shape
    return (*shape[:-1], len(theirs) * shape[-1])


def _floats(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "fV":  # V: bfloat16
        raise UserError(
            f"{name} holds {array.dtype.name} numbers; expected floating "
            "point: a quantised model has to be restored first"
        )
    return array.astype(np.float32, copy=False)


def write(
    path: str, checkpoint: Checkpoint, part: Part = "both"
) -> tuple[str, ...]:
    """Writes a directory that transformers loads with no key missing.

    Args:
      path: the directory; two networks go to `discriminator/` and `generator/`.
      checkpoint: the model.
      part: the network to write; for a model with one, "both" is that one.

    Returns:
      Sentences on what the format cannot store.

    Raises:
      UserError: the model has no such network, or there is no class for it.
    """
    for one in chosen(checkpoint.config, part):  # checks before writing
        heads.class_of(select(checkpoint, one).config, one)
    return write_each(path, checkpoint, part, _write_one)


def _write_one(
    directory: str, checkpoint: Checkpoint, part: Network
) -> list[str]:
    said = meaning.said(checkpoint.config)
    checkpoint = meaning.with_hidden_layer(checkpoint)
    config, vocab = checkpoint.config, checkpoint.vocab
    content, inexact = _from_ours(config, part, heads.class_of(config, part))
    content |= said
    weights, dropped = _their_weights(checkpoint, part)
    apart = [n for n in dropped if n in answerable.NAMES]
    notes = [*inexact, *left_out(n for n in dropped if n not in apart)]
    content["pad_token_id"] = vocab.pad_id if vocab else 0
    files.make_directory(directory)
    file = files.join(directory, stores.SAFE)
    tensors.save(file, weights, {"format": "pt"})
    if apart:
        notes.append(answerable.write(directory, checkpoint))
    if vocab is None:
        notes.append("no tokenizer files: the source has no vocabulary")
    else:
        huggingface_tokenizer.write(
            directory,
            vocab,
            config.lower_case,
            config.strip_accents,
            getattr(config, part).max_positions,
        )
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    files.write_text(files.join(directory, CONFIG), text)
    return notes


def _their_weights(
    checkpoint: Checkpoint, part: Network
) -> tuple[Lazy[np.ndarray], list[str]]:
    """Returns their names -> arrays, and our names without a counterpart."""
    config = checkpoint.config
    class_name = heads.class_of(config, part)
    if config.task is not None:  # a class has one head
        config = dataclasses.replace(config, replaced_token_head=False)
    table = _table(config, part)
    pieces = {}
    for name in names.shapes(config):
        for i, theirs in enumerate(table.theirs(name)):
            if class_name == heads.ENCODER:
                theirs = theirs.removeprefix("electra.")
            pieces[theirs] = (name, i)
    kept = {name for name, _ in pieces.values()}

    def compute(theirs: str) -> np.ndarray:
        name, i = pieces[theirs]
        array = np.asarray(checkpoint.weights[name])
        return names.to_theirs("huggingface", name, array)[i]

    dropped = sorted(set(checkpoint.weights) - kept)
    return Lazy(compute, dict.fromkeys(pieces, ())), dropped


def _to_ours(
    content: Mapping[str, Any], path: str, found: heads.Shapes
) -> tuple[DirectoryConfig, tuple[str, ...]]:
    """Builds our config from a directory, without tokenizer settings.

    Args:
      content: content of config.json.
      path: path of config.json, for messages.
      found: names of the variables, with the prefix of a class with a head, and
        their shapes.

    Returns:
      The config, and sentences on defaults that were used.

    Raises:
      UserError: it is another model, or computes what ours cannot; the key is
        named.
    """
    fields = heads.Fields(content, path)
    name, assumed = heads.class_named(fields, found)
    _refuse(fields)
    model = _model(fields, found, assumed)
    present = heads.MARKS.get(name) in found
    if name != heads.ENCODER and not present:
        assumed.append(
            f"no head: config.json names {name}, but {heads.MARKS[name]} is "
            "not among the weights"
        )
    config = DirectoryConfig(None, None, True, None, "")
    if name == heads.MASKED_LM:
        tied = fields.get("tie_word_embeddings", (bool,), True)
        generator = ModelConfig(
            **model,
            tied_head=tied or not present,
            # That class always has this GELU, whatever hidden_act says.
            head_gelu="erf" if model["gelu"] == "tanh" else None,
        )
        config = dataclasses.replace(
            config, generator=generator, token_lm_head=present
        )
        return config, tuple(assumed)
    task = None
    if name in heads.TASKS and present:
        task = heads.task_of(
            fields, heads.TASKS[name], found, model["hidden_dropout"], assumed
        )
    config = dataclasses.replace(
        config,
        discriminator=ModelConfig(**model),
        replaced_token_head=name == heads.PRETRAINING and present,
        task=task,
    )
    return config, tuple(assumed)


def _refuse(fields: heads.Fields) -> None:
    """Refuses settings under which our model would compute something else."""
    kind = fields.get("position_embedding_type", (str,), "absolute")
    if kind != "absolute":
        raise fields.error("position_embedding_type", "'absolute'")
    for key in ("is_decoder", "add_cross_attention"):
        if fields.get(key, (bool,), False):
            raise fields.error(key, "false: decoders are not read")
    if fields.content.get("pruned_heads"):
        raise fields.error("pruned_heads", "none")


def _model(
    fields: heads.Fields, found: heads.Shapes, assumed: list[str]
) -> dict[str, Any]:
    """Returns arguments of `ModelConfig`."""
    model: dict[str, Any] = {}
    default = ModelConfig()
    for key in _INTEGERS:
        ours = configs.BERT[key]
        value = fields.get(key, (int,), None)
        if value is None:
            value = getattr(default, ours)
            variable, axis = _FROM_SHAPES.get(key, ("", 0))
            if variable in found and len(found[variable]) > axis:
                value = found[variable][axis]
            elif key == "num_hidden_layers":
                value = _layers(found) or value
            else:
                assumed.append(f"model.{ours} {value}: config.json lacks it")
        model[ours] = value
    for key, number in _DEFAULTS.items():
        model[configs.BERT[key]] = float(fields.get(key, (int, float), number))
    activation = fields.get("hidden_act", (str,), "gelu")
    if activation not in configs.GELUS:
        raise fields.error("hidden_act", "one of " + ", ".join(configs.GELUS))
    model["gelu"] = configs.GELUS[activation]
    try:
        ModelConfig(**model)
    except UserError as error:
        raise UserError(f"{fields.path}: {error}") from error
    return model


def _layers(found: heads.Shapes) -> int:
    layers = [n for n in found if n.startswith("electra.encoder.layer.")]
    return len({name.split(".")[3] for name in layers})


def description(config: DirectoryConfig, part: Network) -> dict[str, Any]:
    """Makes the config.json of a network whose weights are stored elsewhere.

    Unlike `write` it takes every network, and names the class with the same
    inputs and outputs, whether that class could store its weights or not.

    Args:
      config: config of the model.
      part: the network.
    """
    content, _ = _from_ours(config, part, heads.nearest(config, part))
    return content | meaning.said(config)


def _from_ours(
    config: DirectoryConfig, part: Network, name: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns a network's config.json as a class, and what it cannot store."""
    model = getattr(config, part)
    notes = []
    content: dict[str, Any] = {
        "architectures": [name],
        "model_type": "electra",
        **{
            key: getattr(model, configs.BERT[key])
            for key in (*_INTEGERS, *_DEFAULTS)
        },
        "hidden_act": configs.ACTIVATIONS[model.gelu],
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
    }
    if name == heads.MASKED_LM:
        content["tie_word_embeddings"] = model.tied_head
        if (model.head_gelu or model.gelu) != "erf":
            notes.append(
                "the token LM head has the tanh GELU here and the erf GELU in "
                f"{name}: logits will differ in the third decimal"
            )
    task = config.task
    if name in (heads.SEQUENCE, heads.TOKEN) and task is not None:
        assert isinstance(task, TaskHeadConfig)
        labels = task.labels or heads.unnamed(task.num_labels)
        content["classifier_dropout"] = task.dropout
        content["id2label"] = {str(i): n for i, n in enumerate(labels)}
        content["label2id"] = {n: i for i, n in enumerate(labels)}
    return content, tuple(notes)
