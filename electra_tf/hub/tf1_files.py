"""Finds the files of TF1 checkpoints: `PREFIX.index` and `PREFIX.data-…`."""

import re

from electra_tf import files
from electra_tf.errors import UserError

DATA = re.compile(r"\.data-\d{5}-of-(\d{5})$")


def find(path: str) -> str:
    """Returns the prefix of the checkpoint that `path` is or contains.

    Raises:
      UserError: there is none, several could be meant, or files are missing.
    """
    prefix = _in_directory(path) if files.is_directory(path) else ""
    prefix = prefix or prefix_of(path)
    found = files_of(prefix)
    if not found:
        raise UserError(f"{prefix}: no TF1 checkpoint of that name")
    if f"{prefix}.index" not in found:
        raise UserError(
            f"{prefix}.index: missing beside {found[0]}; copy it too"
        )
    shards = [name for name in found if DATA.search(name)]
    count = int(shards[0].rpartition("-of-")[2]) if shards else 1
    for i in range(count):
        name = f"{prefix}.data-{i:05d}-of-{count:05d}"
        if name not in shards:
            raise UserError(
                f"{name}: missing beside {prefix}.index; copy it too"
            )
    return prefix


def _in_directory(path: str) -> str:
    """Returns the only prefix in a directory, or the one its `checkpoint`
    names.
    """
    found = prefixes(path)
    state = files.join(path, "checkpoint")
    if files.exists(state):
        match = re.search(
            r'^model_checkpoint_path: "(.*)"', files.read_text(state), re.M
        )
        # The path may belong to another machine, where it was written.
        name = files.join(path, match[1].rpartition("/")[2]) if match else ""
        if name in found:
            return name
    if len(found) > 1:
        raise UserError(
            f"{path}: holds {len(found)} TF1 checkpoints, among them "
            f"{found[0]} and {found[1]}; name one"
        )
    if not found:
        raise UserError(f"{path}: holds no TF1 checkpoint")
    return found[0]


def prefixes(directory: str) -> list[str]:
    """Lists the prefixes of the checkpoints in a directory, sorted."""
    stems = {
        re.sub(r"\.index$", "", DATA.sub("", name))
        for name in files.list_directory(directory)
        if name.endswith(".index") or DATA.search(name)
    }
    return [files.join(directory, stem) for stem in sorted(stems)]


def prefix_of(path: str) -> str:
    """Returns the prefix of a checkpoint's file; a prefix is unchanged."""
    return re.sub(r"\.(index|meta)$", "", DATA.sub("", path))


def folder(prefix: str) -> str:
    """Returns the directory of a prefix."""
    return prefix.rpartition("/")[0] or "."


def files_of(prefix: str) -> list[str]:
    """Lists the existing files of a checkpoint."""
    place, stem = folder(prefix), prefix.rpartition("/")[2]
    if not stem or not files.is_directory(place):
        return []
    return [
        prefix + name.removeprefix(stem)
        for name in files.list_directory(place)
        if name.startswith(f"{stem}.")
        and (name == f"{stem}.index" or DATA.search(name))
    ]
