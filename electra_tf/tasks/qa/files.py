"""Which file of --data holds a split."""

from collections.abc import Sequence

from electra_tf import files
from electra_tf.errors import UserError


def find_file(
    task: str,
    data: str | None,
    split: str,
    given: str | None,
    names: Sequence[str],
) -> str | None:
    """The path of a split's file.

    Args:
      task: its name, for messages.
      data: --data: a folder; or a file, which is the validation split.
      split: "train", "validation" or "test".
      given: the option that names the file, in `data` or as a path of its
        own; None where not set.
      names: what it may be called in `data`; with `.gz` as well.

    Returns:
      None where there is no such file; it is an error for "train" alone.

    Raises:
      UserError: no data, no training file, a file that was given and is not
        there, or several that it may be.
    """
    folder = data is not None and files.is_directory(data)
    if given is not None:
        inside = files.join(data, given) if folder else given
        for path in (inside, given):
            if files.exists(path):
                return path
        raise UserError(f"options.{split}_file: no such file as {inside}")
    if data is None:
        raise UserError(
            f"--data: {task} needs a folder with {', '.join(names)}, or "
            f"options.{split}_file"
        )
    if not folder:
        if not files.exists(data):
            raise UserError(f"--data: no such folder or file as {data}")
        return data if split == "validation" else None
    paths = [files.join(data, n + z) for n in names for z in ("", ".gz")]
    found = [path for path in paths if files.exists(path)]
    if len(found) > 1:
        raise UserError(
            f"--data: {task}: which is the {split} split, "
            f"{' or '.join(found)}? set options.{split}_file"
        )
    if found:
        return found[0]
    if split == "train":
        raise UserError(
            f"--data: {data} has no {' or '.join(names)}, which {task} is "
            "trained on; set options.train_file if it is called otherwise"
        )
    return None
