"""Finds the splits of data: files of their own, or parts of one file.

Importing this module imports neither TensorFlow nor NumPy.
"""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from electra_tf import files
from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError
from electra_tf.tasks import documents, formats
from electra_tf.text import inputs

SPLITS = ("train", "validation", "test")
# Words in file names that mean a split.
_NAMES = {
    "train": ("train",),
    "validation": (
        "dev", "val", "valid", "validation", "testa", "devel", "eval",
    ),
    "test": ("test", "testb"),
}  # fmt: skip
# One of several files of a split, as `datasets` writes them; older versions put
# the hash of the content in the name.
_SHARD = re.compile(
    r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]{16})?"
    r"(?P<end>(\.[A-Za-z0-9]+)*)"
)
_FOLDER = "data"  # where the files are in a repository of `datasets`
_NOT_DATA = (".md", ".yaml", ".py", ".zip", ".tar", ".tgz", ".html")

Fraction = Annotated[
    float,
    Setting(
        "Share of the training examples that is held out for validation where "
        "there is no validation file; 0 holds none out.",
        at_least=0,
        below=1,
        formerly=("validation_share",),
    ),
]


@dataclasses.dataclass(frozen=True)
class SplitOptions(Settings):
    """Where a task's examples are; every task of files has these keys."""

    train_file: Annotated[
        str | None,
        Setting(
            "The training file, in --data or anywhere; null finds it in --data "
            "by its name."
        ),
    ] = None
    validation_file: Annotated[
        str | None,
        Setting(
            "The validation file; null finds it in --data by its name (dev, "
            "valid, validation)."
        ),
    ] = None
    test_file: Annotated[
        str | None,
        Setting(
            "The test file, which may lack the answers; null finds it in "
            "--data by its name."
        ),
    ] = None
    validation_fraction: Fraction = 0.1
    split_seed: Annotated[
        int, Setting("Seed that decides which examples are held out.")
    ] = 0


@dataclasses.dataclass(frozen=True)
class TableOptions(SplitOptions):
    """Where the examples of a task of tables are, and how they are read."""

    columns: Annotated[
        tuple[str, ...] | None,
        Setting(
            "Names of all columns in order, for tables whose first line does "
            "not name them; null where it does."
        ),
    ] = None
    format: Annotated[
        Literal["auto", "tsv", "csv", "jsonl", "json", "parquet", "arrow"],
        Setting("Format of the files; auto recognises it by their content."),
    ] = "auto"
    delimiter: Annotated[
        str | None,
        Setting(
            "Separator of a table's columns: a character, or tab; null finds "
            "it from the first rows."
        ),
    ] = None


def locate(
    split: str,
    data: str | None,
    given: str | None,
    option: str,
    suffix: str = "",
    names: Sequence[str] | None = None,
) -> str | None:
    """Finds the file of a split.

    Args:
      split: "train", "validation" or "test".
      data: value of --data, a directory or the training file.
      given: the file that the options name, relative to `data` or not.
      option: the option's name, for messages.
      suffix: endings of file names that are considered, without the
        compression's.
      names: possible names of the file in the directory, also with `.gz`; None
        to find the split by a word in the name.

    Returns:
      The path; None where there is none.

    Raises:
      UserError: the given file is missing, or several files could be meant.
    """
    if given is not None:
        inside = None if data is None else files.join(data, given)
        for path in filter(None, (inside, given)):
            if files.exists(path):
                return path
        raise UserError(f"options.{option}: no such file as {inside or given}")
    if data is None:
        return None
    if not files.exists(data):
        raise UserError(f"--data: no such file or directory as {data}")
    if is_one(data):
        return data if split == "train" else None
    if names is not None:
        found = [
            name
            for plain in names
            for name in (plain, f"{plain}.gz")
            if files.exists(files.join(data, name))
        ]
    else:
        there = [
            name
            for name in files.list_directory(data)
            if tells(name, split)
            and inputs.plain_name(name).endswith(suffix)
            and is_one(files.join(data, name))
        ]
        # Other JSON often lies beside the data: settings, descriptions.
        found = [n for n in there if not n.lower().endswith(".json")] or there
        inside = None if found else _inside(data)
        if inside is not None:
            return locate(split, inside, None, option, suffix)
    found = _without_shards(found)
    bare = [name for name in found if _stem(name) in (split, *_NAMES[split])]
    if len(found) > 1 and len(bare) == 1:
        found = bare  # test.csv, beside test_labels.csv
    if len(found) > 1:
        raise UserError(
            f"{data}: which file is for {split}: {', '.join(found)}? Say "
            f"options.{option}"
        )
    return files.join(data, found[0]) if found else None


def _inside(data: str) -> str | None:
    """Returns the subfolder that has the files: "data", or the only one."""
    folders = [
        name
        for name in files.list_directory(data)
        if not name.startswith(".")
        and files.is_directory(files.join(data, name))
    ]
    if _FOLDER in folders or len(folders) == 1:
        path = files.join(data, _FOLDER if _FOLDER in folders else folders[0])
        return None if is_one(path) else path
    return None


def _stem(name: str) -> str:
    return inputs.plain_name(name).lower().partition(".")[0]


def _without_shards(names: Sequence[str]) -> list[str]:
    """Returns file names with only the first shard of each split."""
    firsts: dict[tuple[str, ...], str] = {}
    for name in sorted(names):
        found = _SHARD.fullmatch(name)
        key = _split_of(found) if found else (name,)
        firsts.setdefault(key, name)
    return list(firsts.values())


def shards(path: str) -> tuple[str, ...]:
    """Returns all shards of a split, such as "train-00000-of-00002.parquet".

    Args:
      path: one of the shards, or a file that is a whole split.

    Raises:
      UserError: a shard is missing.
    """
    folder, slash, name = path.rpartition("/")
    found = _SHARD.fullmatch(name)
    if found is None:
        return (path,)
    there = {}
    for other in sorted(files.list_directory(folder or ".")):
        part = _SHARD.fullmatch(other)
        if part is not None and _split_of(part) == _split_of(found):
            there[int(part["number"])] = f"{folder}{slash}{other}"
    count = int(found["count"])
    missing = [number for number in range(count) if number not in there]
    if missing:
        raise UserError(
            f"{path}: is one of {count} parts; part {missing[0]:05d} is missing"
        )
    return tuple(there[number] for number in range(count))


def _split_of(shard: re.Match[str]) -> tuple[str, ...]:
    """Returns the part of the name that a split's shards share."""
    return shard["name"], shard["count"], shard["end"]


def are_shards(paths: Sequence[str]) -> bool:
    """Returns whether files are the shards of one split."""
    return len(paths) > 1 and tuple(paths) == shards(paths[0])


def is_one(data: str) -> bool:
    """Returns whether a path is one file, or one saved data set."""
    return (
        not files.is_directory(data)
        or formats.is_folder(data)
        or bool(documents.class_folders(data))
    )


def missing(data: str | None, usual: str) -> UserError:
    """Makes the error for a missing training file.

    Args:
      data: value of --data.
      usual: usual name of such a file.
    """
    if data is None:
        return UserError(
            f"--data: expected a directory with {usual}, or the training file "
            "itself; or give options.train_file"
        )
    listed = ", ".join(files.list_directory(data)[:8]) or "nothing"
    return UserError(
        f"{data}: found no training file such as {usual}, but {listed}; "
        "options.train_file names it, whatever it ends in"
    )


def tells(name: str, split: str) -> bool:
    """Returns whether a word in a file's name means a split."""
    name = name.lower()
    if name.startswith(".") or (
        name.endswith(_NOT_DATA) and formats.named_format(name) is None
    ):
        return False
    parts = re.split(r"[._\-]", name)
    if any(p.endswith("train") or p == "training" for p in parts):
        return split == "train"
    return any(part in _NAMES[split] for part in parts)


def held_out(key: str, fraction: float, seed: int) -> bool:
    """Decides whether an example is held out from training.

    The choice depends on the example alone: equal ones are on the same side.

    Args:
      key: the example's identity, such as its text.
      fraction: share that is held out, in [0, 1].
      seed: seed of the choice.
    """
    found = hashlib.blake2b(
        key.encode("utf-8", "surrogatepass"),
        digest_size=8,
        key=str(seed).encode(),
    )
    return int.from_bytes(found.digest(), "little") < fraction * 2**64


def fingerprint(paths: Sequence[str]) -> str:
    """Returns a fingerprint of the files' content, in order."""
    digest = hashlib.sha256()
    for path in _plain_files(paths):
        with files.open_read(path) as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _plain_files(paths: Sequence[str]) -> list[str]:
    """Returns files, and those in folders, recursively."""
    found = []
    for path in paths:
        if files.is_directory(path):
            names = files.list_directory(path)
            found += _plain_files([files.join(path, name) for name in names])
        else:
            found.append(path)
    return found
