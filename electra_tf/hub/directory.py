"""Reads and writes model directories.

A directory has `config.json`, `vocab.txt` and `model.safetensors`. Weights are
named by their place: `embeddings/...` for the tables that both networks share,
`generator/...` and `discriminator/...` for the rest, `task/...` for a
fine-tuned head. Adam's slots, where a source had them, are in
`optimizer.safetensors`. A generator's own tables are
`generator/embeddings/...`; a model may store them as the generator's and a
difference (`models.embeddings`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from electra_tf import files, tensors
from electra_tf.errors import UserError
from electra_tf.hub import config as configs
from electra_tf.hub.checkpoint import (
    Checkpoint,
    Lazy,
    Part,
    Slots,
    check_layers,
    select,
    shapes_of,
)
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.names import EXTRA, shapes
from electra_tf.models import adaptation
from electra_tf.text.vocab import ADDED, Vocab, load_vocab

CONFIG, VOCAB, WEIGHTS = "config.json", "vocab.txt", "model.safetensors"
SLOTS = "optimizer.safetensors"
OPTIONAL = (SLOTS, ADDED)  # files that only some models have
FILES = (CONFIG, VOCAB, WEIGHTS, *OPTIONAL)
_TABLES = "embeddings/"
# Where a model has the differences, and their normalisation.
_DIFFERENCES = "discriminator/embedding_differences/"


def recognises(path: str) -> bool:
    """Returns whether `path` is a model directory, or a run with one."""
    inside = files.join(path, "model")
    names = models_in(inside)
    for candidate in [path, *(files.join(inside, name) for name in names)]:
        file = files.join(candidate, CONFIG)
        if not files.exists(file):
            continue
        try:
            content = json.loads(files.read_text(file))
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict) and (
            content.get("format") == configs.FORMAT
        ):
            return True
    return False


def read(
    path: str,
    overrides: Mapping[str, str] | None = None,
    vocab: Vocab | None = None,
) -> Checkpoint:
    """Opens a model directory; weights are read when looked up.

    Args:
      path: the directory, or a run that contains it.
      overrides: `--set` texts; see `hub.config.parse`.
      vocab: vocabulary in place of the source's, which is then not read.

    Raises:
      UserError: the directory is missing or incomplete; the file is named.
    """
    folder = find(path)
    config = load_config(folder)
    own = vocab is None
    vocab = vocab or load_vocab(files.join(folder, VOCAB))
    if own and vocab.fingerprint() != config.vocab_fingerprint:
        raise UserError(
            f"{files.join(folder, VOCAB)}: is {vocab.fingerprint()}, but "
            f"{CONFIG} says {config.vocab_fingerprint}; take both from the "
            "same model"
        )
    config = configs.override(config, overrides or {})
    weights = tensors.TensorFile(files.join(folder, WEIGHTS))
    check_layers(config, len(weights), weights.path)
    known = shapes(config)
    return Checkpoint(
        config=config,
        weights=Lazy(lambda name: _single(weights[name]), weights.shapes),
        vocab=vocab,
        slots=_read_slots(files.join(folder, SLOTS)),
        leftover=tuple(
            n for n in weights if n not in known and not n.startswith(EXTRA)
        ),
        source=weights.path,
    )


def _single(array: np.ndarray) -> np.ndarray:
    """Returns the array, converted to float32 from 16 bits."""
    half = array.dtype.itemsize == 2 and array.dtype.kind in "fV"
    return array.astype("float32") if half else array


def _read_slots(path: str) -> Slots | None:
    if not files.exists(path):
        return None
    arrays = tensors.TensorFile(path)
    return Lazy(
        lambda name: (arrays[f"{name}/m"], arrays[f"{name}/v"]),
        {
            name.removesuffix("/m"): shape
            for name, shape in arrays.shapes.items()
            if name.endswith("/m") and f"{name[:-1]}v" in arrays.shapes
        },
    )


def write(
    path: str, checkpoint: Checkpoint, part: Part = "both"
) -> tuple[str, ...]:
    """Writes a model directory, with config.json last, which marks it.

    Args:
      path: the directory; existing files are replaced one by one.
      checkpoint: the checkpoint to write.
      part: the network to write.

    Returns:
      Sentences on what the format cannot store: none.

    Raises:
      UserError: the directory cannot be written, or the checkpoint has no such
        part or no vocabulary.
    """
    checkpoint = select(checkpoint, part)
    if checkpoint.vocab is None:
        raise UserError(
            f"{checkpoint.source}: no vocabulary beside it, which a model "
            "directory has; give --vocab=FILE"
        )
    files.make_directory(path)
    checkpoint.vocab.save(files.join(path, VOCAB))
    tensors.save(files.join(path, WEIGHTS), checkpoint.weights)
    slots, file = checkpoint.slots, files.join(path, SLOTS)
    if slots is None:
        files.remove(file)  # from another model
    else:
        tensors.save(file, _flat(slots))
    content = configs.to_json(checkpoint.config)
    files.write_text(
        files.join(path, CONFIG), json.dumps(content, indent=2) + "\n"
    )
    return ()


def _flat(slots: Slots) -> Lazy[np.ndarray]:
    def slot(name: str) -> np.ndarray:
        return slots[name[:-2]]["mv".index(name[-1])]

    found = shapes_of(slots) if hasattr(slots, "shapes") else {
        name: m.shape for name, (m, _) in slots.items()
    }  # fmt: skip
    return Lazy(slot, {f"{n}/{s}": x for n, x in found.items() for s in "mv"})


def save(
    directory: str,
    config: DirectoryConfig,
    networks_: Iterable[keras.Model],
    vocab: Vocab,
) -> None:
    """Writes networks as a model directory.

    Args:
      directory: the directory; existing files are replaced one by one.
      config: content of config.json.
      networks_: the networks to save.
      vocab: the vocabulary.
    """
    networks_ = list(networks_)
    weights = _merged(stored_weights(named_variables(networks_)), networks_)
    write(directory, Checkpoint(config, weights, vocab))


def _merged(
    weights: Lazy[np.ndarray], networks_: Sequence[keras.Model]
) -> Lazy[np.ndarray]:
    """Returns the weights with LoRA's changes added to the kernels."""
    changed = {
        weight_name(path): layer
        for path, layer in adaptation.changed_kernels(networks_).items()
    }
    if not changed:
        return weights

    def array(name: str) -> np.ndarray:
        if name in changed:
            return np.asarray(changed[name].whole_kernel())
        return weights[name]

    return Lazy(array, shapes_of(weights))


def find(directory: str) -> str:
    """Finds a model directory: `directory` itself, or the one in a run.

    Raises:
      UserError: `directory` is neither; it is named.
    """
    if not files.is_directory(directory):
        raise UserError(f"{directory}: no such model directory")
    for candidate in (directory, files.join(directory, "model")):
        if files.exists(files.join(candidate, WEIGHTS)):
            return candidate
    inside = files.join(directory, "model")
    several = models_in(inside)
    if several:
        raise UserError(
            f"{directory}: holds several models; name one: "
            + ", ".join(files.join(inside, name) for name in several)
        )
    if files.exists(files.join(directory, CONFIG)):
        raise UserError(
            f"{directory}: holds a {CONFIG} and no weights: a run that ended "
            "before it had a model? Start it again; expected a model "
            "directory, or a run that has ended"
        )
    raise UserError(
        f"{directory}: no {WEIGHTS} there; expected a model directory, or a "
        "run of `electra-tf pretrain` or `finetune` that has ended"
    )


def models_in(folder: str) -> list[str]:
    """Returns names of model directories in a folder; "" if it is one
    itself.
    """
    if not files.is_directory(folder):
        return []
    names = files.list_directory(folder)
    if CONFIG in names:
        return [""]
    return [n for n in names if files.exists(files.join(folder, n, CONFIG))]


def load_config(directory: str) -> DirectoryConfig:
    """Reads config.json of a model directory.

    Raises:
      UserError: the file is missing or not ours; it is named.
    """
    path = files.join(directory, CONFIG)
    try:
        content = json.loads(files.read_text(path))
        if not isinstance(content, dict):
            raise ValueError("no mapping")
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: not the config of an electra_tf model ({error})"
        ) from error
    return configs.from_json(content, path)


def load_weights(
    model: keras.Model, weights: Mapping[str, np.ndarray], source: str
) -> None:
    """Assigns all variables of `model` from `weights`.

    Args:
      model: a built network.
      weights: name on disk -> array; further ones are accepted.
      source: the file, for messages.

    Raises:
      UserError: a name is missing, or a shape differs; the variable and both
        shapes are named. The model is unchanged then.
    """
    targets = named_variables([model])
    origin = sources(targets, weights)
    missing = [name for name in targets if name not in origin]
    if missing:
        raise UserError(
            f"{source}: lacks {len(missing)} of the model's {len(targets)} "
            f"weights, among them {missing[0]}"
        )
    check_shapes(targets, origin, weights, source)
    for name, variable in targets.items():
        variable.assign(value_of(origin[name], weights))


def weight_name(path: str) -> str:
    """Converts a variable's path in a model to its name on disk."""
    parts = path.split("/")
    if "embeddings" in parts:
        at = parts.index("embeddings")
        return "/".join([*_tables_scope(parts[:at]), *parts[at:]])
    if "task" in parts:
        return "/".join(parts[parts.index("task") :])
    for i, part in enumerate(parts):
        if part in ("generator", "discriminator"):
            return "/".join(parts[i:])
    # A bare encoder is the discriminator's, which is what is fine-tuned.
    return "/".join(["discriminator", *parts])


def _tables_scope(above: list[str]) -> list[str]:
    """Returns the scope on disk of the tables that a model has below `above`.

    The tables of a lone network are "embeddings"; beside another, a network's
    own tables have its scope, and those of a tower always do.
    """
    for tower in ("ltr", "rtl"):
        if tower in above:
            return ["generator", tower]
    return ["generator"] if "generator" in above[1:] else []


def named_variables(models: Iterable[keras.Model]) -> dict[str, keras.Variable]:
    """Returns `weight_name` -> variable of networks, which may share some.

    LoRA's changes are not among them: on disk they are part of the kernels.
    """
    found = {}
    for model in models:
        # A network's own name may differ; below its scope paths are the same.
        scope, own = getattr(model, "scope", ""), f"{model.path}/"
        above = own[: own.rfind("/", 0, -1) + 1]
        for variable in model.weights:
            path = variable.path
            if "lora" in path.split("/"):
                continue
            if scope and path.startswith(own):
                path = f"{above}{scope}/{path.removeprefix(own)}"
            found[weight_name(path)] = variable
    return found


def stored_names(names: Iterable[str]) -> dict[str, str]:
    """Returns names on disk -> the variable that trains what is there.

    Of disentangled tables, the discriminator's is a sum with the generator's,
    but its gradient moves the difference alone.

    Args:
      names: those of variables, see `weight_name`.
    """
    names = list(names)
    found = {name: name for name in names}
    if not _is_disentangled(names):
        return found
    for name in names:
        if name.startswith(_TABLES):
            del found[name]
            found |= dict.fromkeys(_generators(name, names), name)
    for name in names:
        if name.startswith(_DIFFERENCES):
            del found[name]
            found[name.replace(_DIFFERENCES, _TABLES)] = name
    return found


def stored_weights(variables: Mapping[str, keras.Variable]) -> Lazy[np.ndarray]:
    """Returns name on disk -> array, for the result of `named_variables`.

    Disentangled tables are stored as each network reads them, like untied ones.
    """
    sums: dict[str, tuple[keras.Variable, ...]] = {}
    disentangled = _is_disentangled(variables)
    for name, variable in variables.items():
        if disentangled and name.startswith(_TABLES):
            for own in _generators(name, variables):
                sums[own] = (variable,)
        elif name.startswith(_DIFFERENCES):
            own = name.replace(_DIFFERENCES, _TABLES)
            sums[own] = (variable,)
            if not _is_norm(name):
                sums[own] = (variables[own], variable)
        else:
            sums[name] = (variable,)

    def array(name: str) -> np.ndarray:
        first, *rest = sums[name]
        return sum(map(np.asarray, rest), np.asarray(first))

    return Lazy(array, {name: tuple(s[0].shape) for name, s in sums.items()})


def sources(
    variables: Mapping[str, keras.Variable], held: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Returns the names on disk that each variable is made from.

    Args:
      variables: result of `named_variables`.
      held: the existing names, including those of a training checkpoint, which
        are the variables' own.

    Returns:
      The variable's name -> a name on disk, or two where the variable is the
      first minus the second (twice the same: 0). Variables without a source are
      left out.
    """
    held = set(held)
    found: dict[str, tuple[str, ...]] = {}
    sums = _is_disentangled(variables) and not _is_disentangled(held)
    for name in variables:
        wanted: tuple[str, ...] = (name,)
        own = name.replace(_DIFFERENCES, _TABLES)
        if sums and own.startswith(_TABLES):
            base = next(
                (n for n in _generators(own, variables) if n in held), own
            )
            if name == own:
                wanted = (base,)
            else:
                wanted = (own,) if _is_norm(name) else (own, base)
        if held.issuperset(wanted):
            found[name] = wanted
    return found


def _generators(name: str, variables: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of the generator's own copy of a shared table."""
    if any(n.startswith("generator/ltr/") for n in variables):
        return f"generator/ltr/{name}", f"generator/rtl/{name}"
    return (f"generator/{name}",)


def value_of(
    names: tuple[str, ...], weights: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Computes the value of a variable from its `sources`."""
    if len(names) == 1:
        return weights[names[0]]
    return weights[names[0]] - weights[names[1]]


def check_shapes(
    variables: Mapping[str, keras.Variable],
    origin: Mapping[str, tuple[str, ...]],
    weights: Mapping[str, np.ndarray],
    source: str,
) -> None:
    """Checks the shapes of variables against their sources.

    Args:
      variables: result of `named_variables`.
      origin: result of `sources`.
      weights: name on disk -> array.
      source: the file, for messages.

    Raises:
      UserError: a shape differs; the first such variable and both shapes are
        named.
    """
    held = shapes_of(weights)
    for name, names in origin.items():
        for there in names:
            if tuple(held[there]) != tuple(variables[name].shape):
                raise UserError(
                    f"{source}: {there} has shape {list(held[there])}, the "
                    f"model's has {list(variables[name].shape)}"
                )


def _is_disentangled(variables: Iterable[str]) -> bool:
    return any(name.startswith(_DIFFERENCES) for name in variables)


def _is_norm(name: str) -> bool:
    return "/layer_norm/" in name
