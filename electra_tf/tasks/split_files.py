"""Which file holds which split, and a split of the training file."""

import hashlib
import re

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text import inputs

# Words in the names of files that tell the split.
_NAMES = {
    "train": ("train",),
    "validation": ("dev", "val", "valid", "validation", "testa", "devel"),
    "test": ("test", "testb"),
}
_NOT_DATA = (".md", ".json", ".yaml", ".py", ".zip", ".tar", ".tgz", ".html")


def locate(
    split: str,
    data: str | None,
    given: str | None,
    option: str,
    suffix: str = "",
) -> str | None:
    """The file of a split.

    Args:
      split: "train", "validation" or "test".
      data: the user's --data, a directory or the training file.
      given: the file that the options name, in `data` or anywhere.
      option: its name, for messages.
      suffix: what the names of files that count end in, compression aside.

    Returns:
      None where there is none.

    Raises:
      UserError: no such file, or several that it might be.
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
    if not files.is_directory(data):
        return data if split == "train" else None
    names = [
        name
        for name in files.list_directory(data)
        if _tells(name, split)
        and inputs.plain_name(name).endswith(suffix)
        and not files.is_directory(files.join(data, name))
    ]
    if len(names) > 1:
        raise UserError(
            f"{data}: which file is for {split}: {', '.join(names)}? Say "
            f"options.{option}"
        )
    return files.join(data, names[0]) if names else None


def missing(data: str | None, usual: str) -> UserError:
    """What to raise where there is no training file.

    Args:
      data: the user's --data.
      usual: what such a file is called.
    """
    if data is None:
        return UserError(
            f"no training data: say --data=DIR, a directory with {usual}, or "
            "options.train_file"
        )
    return UserError(
        f"{data}: no file there is called {usual}; say options.train_file"
    )


def _tells(name: str, split: str) -> bool:
    name = name.lower()
    if name.startswith(".") or name.endswith(_NOT_DATA):
        return False
    parts = re.split(r"[._\-]", name)
    if any(p.endswith("train") for p in parts):
        return split == "train"
    return any(part in _NAMES[split] for part in parts)


def held_out(key: str, share: float, seed: int) -> bool:
    """Whether an example is in the share that is not trained on.

    It depends on the example alone: the same one is always on one side.

    Args:
      key: what makes it the same: its text.
      share: in [0, 1].
      seed: of the choice.
    """
    found = hashlib.blake2b(
        key.encode("utf-8", "surrogatepass"),
        digest_size=8,
        key=str(seed).encode(),
    )
    return int.from_bytes(found.digest(), "little") < share * 2**64
