"""Opens the files of weights in a Hugging Face directory."""

import re
from collections.abc import Mapping

import numpy as np

from electra_tf import files, tensors
from electra_tf.errors import UserError
from electra_tf.hub import huggingface_h5
from electra_tf.hub.checkpoint import Lazy, shapes_of
from electra_tf.hub.huggingface_tokenizer import read_json
from electra_tf.hub.pickle_reader import TorchFile

SAFE, _TORCH = "model.safetensors", "pytorch_model.bin"
_INDEX, _H5 = ".index.json", "tf_model.h5"
# In transformers' order: safetensors before pickles, whole files before shards.
WEIGHTS = (SAFE, SAFE + _INDEX, _TORCH, _TORCH + _INDEX, _H5)
_WRAPPERS = ("module.", "_orig_mod.")
# Endings of other files with weights -> what to do about them.
_OTHERS = {
    "adapter_model.safetensors": "an adapter alone; merge it into its model "
    "first (merge_and_unload of peft), and save that",
    "adapter_model.bin": "an adapter alone; merge it into its model first "
    "(merge_and_unload of peft), and save that",
    ".msgpack": "weights of Flax; load them with transformers (from_flax) and "
    "save them again",
    "openvino_model.bin": "a graph of OpenVINO; take the model that it was "
    "exported from",
    ".ot": "weights of rust-bert; take the model that they were made from",
    ".onnx": "a graph of ONNX; take the model that it was exported from",
    ".gguf": "quantised weights; take the model that they were made from",
    ".safetensors": "not named as transformers' default; rename it to "
    f"{SAFE} if it is the whole model",
    ".bin": f"not named as transformers' default; rename it to {_TORCH} if it "
    "is the whole model",
}


# Folders of transformers' Trainer.
_FOLDERS = re.compile(r"checkpoint-\d+")


def weights_file(directory: str) -> str:
    """Finds a model's file of weights, or index of shards.

    Args:
      directory: the directory.

    Raises:
      UserError: there is none, or only of an unsupported kind.
    """
    present = files.list_directory(directory)
    name = next((n for n in WEIGHTS if n in present), None)
    if name is not None:
        return files.join(directory, name)
    raise UserError(
        f"{directory}: "
        + (
            unread(present)
            or f"no weights there; expected {', '.join(WEIGHTS[:-1])} or "
            f"{WEIGHTS[-1]}"
        )
    )


def unread(present: list[str]) -> str | None:
    """Names a file or folder with weights that are not read, and why.

    Args:
      present: names of a directory's files and folders.

    Returns:
      The sentence; None where there is no such file.
    """
    inside = [name for name in sorted(present) if _FOLDERS.fullmatch(name)]
    if inside:
        return f"the weights are in {', '.join(inside)}; name one such folder"
    if "snapshots" in present:  # of the cache of huggingface_hub
        return "the models are in the folders of snapshots; name one of them"
    if "onnx" in present:
        return f"onnx is not read: {_OTHERS['.onnx']}"
    for end, why in _OTHERS.items():
        for name in sorted(present):
            if name.endswith(end) and name not in ("training_args.bin", SAFE):
                return f"{name} is not read: {why}"
    return None


def arrays(path: str) -> Mapping[str, np.ndarray]:
    """Opens a file of weights, or the shards of an index.

    Args:
      path: the file.

    Returns:
      Name -> array, read when looked up; without the prefix that wrappers of a
      model (DistributedDataParallel, torch.compile) add to all names.

    Raises:
      UserError: a file is damaged or incomplete.
    """
    return _unwrapped(_read(path))


def _read(path: str) -> Mapping[str, np.ndarray]:
    files.refuse_pointer(path)
    if path.endswith(SAFE):
        return tensors.TensorFile(path)
    if path.endswith(_TORCH):
        return TorchFile(path)
    if path.endswith(_H5):
        return huggingface_h5.read(path)
    places = read_json(path).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError(f"cannot read {path}: no weight_map of names to files")
    shards = {}
    for shard in sorted(set(map(str, places.values()))):
        # An index must not point outside its directory.
        if "/" in shard or "\\" in shard:
            raise UserError(
                f"{path}: weight_map: expected names of files beside it, got "
                f"'{shard}'"
            )
        file = files.join(path.rpartition("/")[0] or ".", shard)
        if not files.exists(file):
            raise UserError(
                f"cannot read {file}: no such file, but {path} names it; the "
                "set of shards is not whole"
            )
        files.refuse_pointer(file)
        reader = TorchFile if ".bin" in path else tensors.TensorFile
        shards[shard] = reader(file)
        lacking = sorted(
            name
            for name, place in places.items()
            if place == shard and name not in shards[shard]
        )
        if lacking:
            raise UserError(
                f"cannot read {file}: lacks {lacking[0]}, which {path} says "
                "it holds; the shards are not of one set"
            )
    return Lazy(
        lambda name: shards[places[name]][name],
        {name: shards[place].shapes[name] for name, place in places.items()},
    )


def _unwrapped(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    for start in _WRAPPERS:
        if arrays and all(name.startswith(start) for name in arrays):
            return _unwrapped(_without(start, arrays))
    return arrays


def _without(
    start: str, arrays: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    found = shapes_of(arrays)
    shapes = {name.removeprefix(start): found[name] for name in arrays}
    return Lazy(lambda name: arrays[start + name], shapes)
