"""Writes model directories atomically."""

import contextlib
import os
import uuid
from collections.abc import Iterator

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import directory


@contextlib.contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yields a temporary directory, which becomes or replaces `path`.

    In an existing directory files are replaced one by one, atomically, with the
    one that marks a model directory last. Other files in it are kept, but not
    those that only some models have, which would be taken for the new one's.

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
        names = files.list_directory(aside)
        for name in directory.OPTIONAL:
            if directory.CONFIG in names and name not in names:
                files.remove(files.join(path, name))
        for name in sorted(names, key=directory.CONFIG.__eq__):
            files.rename(files.join(aside, name), files.join(path, name))
    finally:
        with contextlib.suppress(UserError):
            files.remove(aside)
