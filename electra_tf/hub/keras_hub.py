"""Reads and writes KerasHub presets of `ElectraBackbone`.

The library builds the backbone and knows the layout of its weight files; names
here are the paths of the backbone's variables. A preset has one encoder with
the tanh GELU and a pooler, optionally a tokenizer, and optionally a task's
head, a classifier's or the generator's (see `keras_hub_heads`).
"""

import contextlib
import dataclasses
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import config as configs
from electra_tf.hub import huggingface_meaning as meaning
from electra_tf.hub import keras_hub_heads as heads
from electra_tf.hub import keras_hub_tokenizer as tokenizers
from electra_tf.hub import names
from electra_tf.hub.checkpoint import (
    NETWORKS,
    Checkpoint,
    Lazy,
    Part,
    check_layers,
    chosen,
    is_pair,
    joined,
    left_out,
    write_each,
)
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.huggingface_tokenizer import read_json
from electra_tf.hub.names import Network
from electra_tf.models.config import ModelConfig, TaskHeadConfig
from electra_tf.text.vocab import Vocab

CONFIG = "config.json"
# One file, or an index of several.
_WEIGHTS, _INDEX = "model.weights.h5", "model.weights.json"
# Further files of a preset, besides its config and its shards.
_FILES = (
    tokenizers.SETTINGS, tokenizers.VOCAB, _WEIGHTS, _INDEX,
    heads.TASK, heads.WEIGHTS, heads.NAMES, "preprocessor.json",
)  # fmt: skip
FILES = (CONFIG, *_FILES)
_EPSILON = 1e-12  # the backbone's, which cannot be set
# Their argument -> our field.
_SIZES = {
    "vocab_size": "vocab_size",
    "num_layers": "num_layers",
    "num_heads": "num_heads",
    "hidden_dim": "hidden_size",
    "embedding_dim": "embedding_size",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_positions",
    "num_segments": "type_vocab_size",
}
_LEAST_BYTES = 2  # bytes of a parameter, at least
_POOLER = ("pooled_dense/kernel", "pooled_dense/bias")


def recognises(path: str) -> bool:
    """Returns whether `path` is a preset, of ELECTRA or of another model."""
    config = files.join(path, CONFIG)
    if not files.is_directory(path):
        return False
    if not files.exists(config):
        return is_pair(path, recognises)
    try:
        return "registered_name" in read_json(config)
    except UserError:
        return False


def read(
    path: str,
    overrides: Mapping[str, str] | None = None,
    vocab: Vocab | None = None,
) -> Checkpoint:
    """Opens a preset; the pooler is left over.

    Args:
      path: a local directory.
      overrides: `--set` texts; see `hub.config.override`.
      vocab: vocabulary in place of the source's, which is then not read.

    Raises:
      UserError: a file is missing, damaged or of another model; it is named.
    """
    overrides = overrides or {}
    if is_pair(path, recognises):
        one, other = (
            _read_one(files.join(path, part), overrides, part, vocab)
            for part in NETWORKS
        )
        return joined(one, other, path)
    return _read_one(path, overrides, "discriminator", vocab)


def _read_one(
    path: str,
    overrides: Mapping[str, str],
    part: Network,
    given: Vocab | None,
) -> Checkpoint:
    """Opens a preset; only its head, if any, shows which network it is."""
    model = _model_config(path)
    vocab, lower_case, strip_accents, assumed = tokenizers.read(path, given)
    head, assumptions = heads.read(path, model.hidden_size)
    assumed += assumptions
    if head is not None:
        part = head.part
        if head.gelu not in (None, model.gelu):
            model = dataclasses.replace(model, head_gelu=head.gelu)
    config = DirectoryConfig(
        discriminator=model if part == "discriminator" else None,
        generator=model if part == "generator" else None,
        lower_case=lower_case,
        strip_accents=strip_accents,
        vocab_fingerprint=vocab.fingerprint() if vocab else "",
        replaced_token_head=part != "discriminator",  # presets never have it
        token_lm_head=part != "generator" or head is not None,
        task=head.task if head else None,
    )
    if head is not None and head.gives_sets:
        about = meaning.sets_of_labels(config)
        config = meaning.named(dataclasses.replace(config, fine_tuning=about))
    config = configs.override(config, overrides)
    weights_file = _weights_file(path)
    _check_size(config, path, weights_file)
    with _named_errors(weights_file):
        network = backbone = _backbone(getattr(config, part))
        backbone.load_weights(weights_file)
    if head is not None:
        head_file = files.join(path, heads.WEIGHTS)
        with _named_errors(head_file):
            network = heads.attach(backbone, config, part) or backbone
            network.load_task_weights(head_file)
    variables = {v.path: v for v in network.weights}
    found, leftover = _table(config, part).ours(variables)

    def compute(name: str) -> np.ndarray:
        arrays = [
            keras.ops.convert_to_numpy(variables[n].value) for n in found[name]
        ]
        return names.to_ours("keras_hub", name, arrays)

    expected = names.shapes(config)
    weights = Lazy(compute, {name: expected[name] for name in found})
    return Checkpoint(
        config=config,
        weights=weights,
        vocab=vocab,
        leftover=leftover,
        assumed=tuple(assumed),
        source=path,
    )


def _table(config: DirectoryConfig, part: Network) -> names.Table:
    task: tuple[names.Place, ...] = ()
    if isinstance(config.task, TaskHeadConfig):
        task = names.task_places(config.task)
    return names.keras_hub(*names.scopes(config, part), task)


def _model_config(path: str) -> ModelConfig:
    file = files.join(path, CONFIG)
    content = read_json(file)
    name = str(content.get("registered_name"))
    if name.rpartition(">")[2] != "ElectraBackbone":
        raise UserError(
            f"{file}: registered_name: expected 'keras_hub>ElectraBackbone', "
            f"got '{name}'; only ELECTRA's presets are read"
        )
    settings = content.get("config")
    if not isinstance(settings, dict):
        raise UserError(f"{file}: config: expected the backbone's arguments")
    sizes: dict[str, Any] = {}
    for theirs, ours in _SIZES.items():
        value = settings.get(theirs, 2 if theirs == "num_segments" else None)
        if type(value) is not int:
            raise UserError(
                f"{file}: config.{theirs}: expected a whole number, got "
                f"{value!r}"
            )
        sizes[ours] = value
    dropout = settings.get("dropout", 0.1)
    if isinstance(dropout, bool) or not isinstance(dropout, int | float):
        raise UserError(
            f"{file}: config.dropout: expected a number, got {dropout!r}"
        )
    try:
        return ModelConfig(
            **sizes,
            hidden_dropout=float(dropout),
            attention_dropout=float(dropout),
            gelu="tanh",
            layer_norm_epsilon=_EPSILON,
        )
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _weights_file(path: str) -> str:
    """Returns the weights' file, or the index of shards, which must all
    exist.
    """
    single, index = files.join(path, _WEIGHTS), files.join(path, _INDEX)
    if files.exists(single):
        return single
    if not files.exists(index):
        raise UserError(
            f"cannot read {single}: no such file, nor {_INDEX} beside it"
        )
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError(f"cannot read {index}: no weight_map of names to files")
    for place in places.values():
        for shard in [place] if isinstance(place, str) else place:
            file = files.join(path, str(shard))
            if not files.exists(file):
                raise UserError(
                    f"cannot read {file}: no such file, but {index} names "
                    "it; the set of shards is not whole"
                )
    return index


def _check_size(config: DirectoryConfig, path: str, weights_file: str) -> None:
    """Refuses a config larger than the files, before the backbone is built."""
    names_ = [weights_file]
    if weights_file.endswith(_INDEX):
        names_ = [
            files.join(path, name)
            for name in files.list_directory(path)
            if name.endswith(".h5")
        ]
    held = sum(map(files.size, names_)) // _LEAST_BYTES
    check_layers(config, held, path)
    asked = sum(map(math.prod, names.shapes(config).values()))
    if asked > held:
        raise UserError(
            f"{files.join(path, CONFIG)}: asks for {asked:,} parameters, but "
            f"{weights_file} holds {held:,} at most; take both from the same "
            "model"
        )


def _backbone(model: ModelConfig) -> keras.Model:
    """Returns KerasHub's backbone of that shape."""
    # Takes seconds to import, and is only needed for this format.
    import keras_hub

    return keras_hub.models.ElectraBackbone(
        **{theirs: getattr(model, ours) for theirs, ours in _SIZES.items()},
        dropout=model.hidden_dropout,
        dtype="float32",
    )


@contextlib.contextmanager
def _named_errors(path: str) -> Iterator[None]:
    """Converts the library's errors for damaged files to a `UserError`."""
    try:
        yield
    except Exception as error:  # any kind, of h5py and Keras
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"cannot read {path}: not the weights of such a backbone "
            f"({reason[:200]})"
        ) from error


def write(
    path: str, checkpoint: Checkpoint, part: Part = "both"
) -> tuple[str, ...]:
    """Writes a preset, tokenizer included.

    A classifier becomes an `ElectraTextClassifier` of `electra_tf.keras_hub`,
    and so does a regressor, with numbers as large as in the data; a generator
    with its head becomes an `ElectraMaskedLM`.

    Args:
      path: the directory; two networks go to `discriminator/` and `generator/`.
      checkpoint: the model.
      part: the network to write; for a model with one, "both" is that one.

    Returns:
      Sentences on what the format cannot store.

    Raises:
      UserError: the model has no such network, or the backbone cannot represent
        it.
    """
    config = checkpoint.config
    if "generator" in chosen(config, part) and config.is_two_tower:
        raise UserError(
            "KerasHub has no backbone for a two_tower generator; convert "
            "with --part=discriminator"
        )
    return write_each(path, checkpoint, part, _write_one)


def _write_one(
    directory: str, checkpoint: Checkpoint, part: Network
) -> list[str]:
    checkpoint = meaning.unscaled(checkpoint)
    config = checkpoint.config
    model = getattr(config, part)
    notes = _inexact(model)
    backbone = _backbone(model)
    tokenizer, preprocessor = tokenizers.make(checkpoint), None
    if tokenizer is not None:
        preprocessor = heads.preprocessor(tokenizer, config, part)
    task = heads.attach(backbone, config, part, preprocessor)
    variables = {v.path: v for v in (task or backbone).weights}
    table = _table(config, part)
    dropped = []
    for name in checkpoint.weights:
        paths = table.theirs(name)
        if not paths or paths[0] not in variables:
            dropped.append(name)
            continue
        arrays = names.to_theirs(
            "keras_hub", name, np.asarray(checkpoint.weights[name]),
            model.num_heads,
        )  # fmt: skip
        for variable_path, array in zip(paths, arrays):
            variables[variable_path].assign(array)
    notes += left_out(dropped)
    kernel, bias = (variables[name] for name in _POOLER)
    kernel.assign(np.eye(model.hidden_size, dtype=np.float32))
    bias.assign(np.zeros(model.hidden_size, np.float32))
    notes.append(
        "its pooler, which ELECTRA does not have, is the identity: "
        "pooled_output is tanh of the first token's state"
    )
    notes += tokenizers.notes_on(checkpoint)
    with tempfile.TemporaryDirectory() as local:
        (task or backbone).save_to_preset(local)
        if task is not None:
            notes.append(
                f"its head is an {type(task).__name__}, which KerasHub does "
                "not have: import electra_tf.keras_hub before loading it"
            )
            notes += heads.write_names(local, config)
        elif tokenizer is not None:
            tokenizer.save_to_preset(local)
        _copy(local, directory)
    return notes


def _inexact(model: ModelConfig) -> list[str]:
    """Describes what the backbone computes differently."""
    notes = []
    if model.gelu != "tanh":
        notes.append(
            "KerasHub's backbone has the tanh GELU, this model the erf GELU: "
            "outputs will differ in the third decimal"
        )
    if model.layer_norm_epsilon != _EPSILON:
        notes.append(
            f"KerasHub's backbone has LayerNorm epsilon {_EPSILON}, this "
            f"model {model.layer_norm_epsilon}: outputs will differ"
        )
    if model.hidden_dropout != model.attention_dropout:
        notes.append(
            "KerasHub's backbone has one dropout: hidden_dropout "
            f"{model.hidden_dropout}, for attention too"
        )
    return notes


def _copy(local: str, directory: str) -> None:
    """Copies a preset, each file atomically, config.json last.

    Files of an earlier preset that this one lacks are removed.
    """
    found = []
    for folder, _, file_names in os.walk(local):
        found += [os.path.join(folder, name) for name in file_names]
    for name in _FILES:
        if os.path.join(local, name) not in found:
            files.remove(files.join(directory, name))
    for source in sorted(found, key=lambda s: (s.endswith(f"/{CONFIG}"), s)):
        target = files.join(
            directory, *os.path.relpath(source, local).split("/")
        )
        with open(source, "rb") as reader, files.atomic_write(target) as writer:
            shutil.copyfileobj(reader, writer, 1 << 22)
