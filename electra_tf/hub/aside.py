"""Writes model directories atomically."""

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import directory


@contextlib.contextmanager
def written_aside(
    path: str | os.PathLike[str], belongings: Sequence[str] = ()
) -> Iterator[str]:
    """Yields a temporary directory, which becomes or replaces `path`.

    In an existing directory files are replaced one by one, atomically, with the
    one that marks a model directory last. Other files in it are kept, but not
    those that only some models have, which would be taken for the new one's.

    Args:
      path: the directory.
      belongings: further files that belong to a model of its format: those of
        an earlier model that the new one lacks are removed.

    Raises:
      UserError: the directory cannot be written; no temporary files are left.
    """
    path = os.fspath(path)
    if not path:
        raise UserError("path: is empty; name a directory")
    if files.exists(path) and not files.is_directory(path):
        raise UserError(f"cannot write {path}: a file is there; name another")
    aside = f"{path.rstrip('/')}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        yield aside
        if not files.exists(path):
            files.rename(aside, path)
            return
        _move_into(aside, path, belongings)
    finally:
        with contextlib.suppress(UserError):
            files.remove(aside)


def _move_into(source: str, target: str, belongings: Sequence[str]) -> None:
    """Moves all files to an existing directory, folder by folder."""
    names = files.list_directory(source)
    if directory.CONFIG in names:
        belongings = (*belongings, *directory.OPTIONAL)
    for name in belongings:
        if not files.exists(files.join(source, name)):
            files.remove(files.join(target, name))
    for name in sorted(names, key=directory.CONFIG.__eq__):
        one, other = files.join(source, name), files.join(target, name)
        if files.is_directory(one) and files.is_directory(other):
            _move_into(one, other, belongings)
        else:
            files.rename(one, other)
