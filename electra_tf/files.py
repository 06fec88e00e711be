"""Finds, opens and atomically replaces files, local or remote.

Remote paths use `tf.io.gfile`, so `gs://` works for every path. TensorFlow is
imported on first use, and reading a small local file does not need it, so that
help and errors in settings appear at once.
"""

import contextlib
import glob
import importlib.util
import os
import pathlib
import sys
import uuid
from collections.abc import Iterable, Iterator
from typing import IO, Any, TypeAlias, TypeVar

try:
    import fcntl
except ImportError:  # Windows has other locks
    fcntl = None  # type: ignore[assignment]

from electra_tf.errors import UserError

C = TypeVar("C")
AnyPath: TypeAlias = str | os.PathLike[str]

_POINTER_BYTES = 1024  # Git LFS's own limit
# Directories that this process alone works on: path -> open descriptor.
_claimed: dict[str, int] = {}


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


@contextlib.contextmanager
def named_errors(path: str, doing: str) -> Iterator[None]:
    """Converts file-system errors on `path` to a `UserError` that names it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot {doing} {path}: {reason}") from error
    except Exception as error:
        if "tensorflow" not in sys.modules:  # then it is not its error
            raise
        import tensorflow as tf

        if not isinstance(error, tf.errors.OpError):
            raise
        raise UserError(f"cannot {doing} {path}: {error.message}") from error


def is_local(path: AnyPath) -> bool:
    """Returns whether the operating system itself can open `path`."""
    return "://" not in os.fspath(path)


def join(directory: str, *names: str) -> str:
    """Joins path parts; keeps URL-like prefixes (`gs://bucket`) intact."""
    return os.path.join(directory, *names)


def exists(path: str) -> bool:
    """Returns whether a file or directory exists."""
    if is_local(path):
        return os.path.exists(path)
    return _gfile().exists(path)


def is_directory(path: str) -> bool:
    """Returns whether `path` is a directory."""
    if is_local(path):
        return os.path.isdir(path)
    return _gfile().isdir(path)


def check_place(
    path: str, flag: str = "--output", folder: bool = False
) -> None:
    """Refuses a path where nothing can be written, before long work.

    Args:
      path: a file or directory, which need not exist; nor need its parents.
      flag: the flag that names it, for the message.
      folder: whether it is a directory.

    Raises:
      UserError: a file is in a directory's place, or a local directory must not
        be written in.
    """
    if folder and exists(path) and not is_directory(path):
        raise UserError(f"{flag}: {path} is a file; name a folder")
    if not is_local(path):
        return
    place = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        place = os.path.abspath(path)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise UserError(
            f"{flag}: {path}: {place} is not a directory; name another place"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(
            f"{flag}: {path}: no permission to write in {place}; name another "
            "place"
        )


def make_directory(path: str) -> None:
    """Creates `path` and its parents, unless it exists."""
    with named_errors(path, "create directory"):
        _gfile().makedirs(path)


def list_directory(path: str) -> list[str]:
    """Returns the names inside `path`, sorted, without trailing slashes."""
    with named_errors(path, "list"):
        return sorted(name.rstrip("/") for name in _gfile().listdir(path))


def size(path: str) -> int:
    """Returns the length of the file in bytes."""
    return size_and_time(path)[0]


def size_and_time(path: str) -> tuple[int, int]:
    """Returns size in bytes and time of modification in ns, local or remote."""
    with named_errors(path, "read"):
        if is_local(path):
            found = os.stat(path)
            return found.st_size, found.st_mtime_ns
        stat = _gfile().stat(path)
        return stat.length, stat.mtime_nsec


def remove(path: str) -> None:
    """Deletes a file or a whole directory, if it exists."""
    gfile = _gfile()
    with named_errors(path, "remove"):
        if gfile.isdir(path):
            gfile.rmtree(path)
        elif gfile.exists(path):
            gfile.remove(path)


def rename(source: str, target: str) -> None:
    """Moves `source` to `target`, replacing an existing file."""
    with named_errors(target, "write"):
        _gfile().rename(source, target, overwrite=True)


def expand(patterns: str, flag: str = "--input") -> list[str]:
    """Returns the files that comma-separated glob `patterns` match, sorted.

    A name that contains a comma is found too, if its pieces match nothing. In
    local patterns `**` matches nested folders.

    Raises:
      UserError: a pattern matches no file; it and `flag` are named.
    """
    found: set[str] = set()
    pieces = patterns.split(",")
    while pieces:
        for count in range(1, len(pieces) + 1):
            pattern = ",".join(pieces[:count]).strip()
            if matches := _files_matching(pattern):
                break
        else:
            count, pattern = 1, pieces[0].strip()
            if pattern:
                raise UserError(
                    f"{flag}: no file matches '{pattern}'{_hint(pattern)}"
                )
        found.update(matches)
        pieces = pieces[count:]
    if not found:
        raise UserError(f"{flag}: expected a path or glob, got '{patterns}'")
    return sorted(found)


def is_among(path: str, others: Iterable[str]) -> bool:
    """Returns whether a file is one of others, by whatever path or link."""
    if not is_local(path):
        return path in others
    real = os.path.realpath(path)
    return any(os.path.realpath(o) == real for o in others if is_local(o))


def _files_matching(pattern: str) -> list[str]:
    """Returns the files that match a pattern, or the file of that name."""
    gfile = _gfile()
    with named_errors(pattern, "look for"):
        if not pattern:
            return []
        if "**" in pattern and is_local(pattern):
            matches = glob.glob(pattern, recursive=True)
        else:
            matches = gfile.glob(pattern)
        if not matches and exists(pattern):  # a name such as "notes [1].txt"
            matches = [pattern]
        return [match for match in matches if not gfile.isdir(match)]


def _hint(pattern: str) -> str:
    """Suggests what a pattern without matches may have meant."""
    gfile = _gfile()
    if gfile.isdir(pattern):
        return f" (it is a directory: did you mean '{pattern}/*'?)"
    folders = gfile.glob(pattern)
    if folders:
        deeper = f"{pattern}/*"
        if is_local(pattern) and deeper.endswith(("/*/*",)):
            deeper = f"{pattern}*"  # at any depth
        return (
            f", but {len(folders)} directories, as {folders[0]}: did you mean "
            f"'{deeper}'?"
        )
    return ""


def directories_matching(patterns: str) -> list[str]:
    """Returns the directories that comma-separated globs match, sorted."""
    found: set[str] = set()
    for pattern in filter(None, (p.strip() for p in patterns.split(","))):
        if "**" not in pattern:
            with named_errors(pattern, "look for"):
                found.update(filter(_gfile().isdir, _gfile().glob(pattern)))
    return sorted(found)


def claim(directory: str) -> None:
    """Claims a directory for this process, until it ends or releases it.

    Remote directories, those that do not exist, and those of file systems
    without locks, cannot be claimed: nothing happens.

    Raises:
      UserError: another process has claimed it.
    """
    if fcntl is None or not is_local(directory):
        return
    key = os.path.realpath(directory)
    if key in _claimed:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(_claimed[key]), os.stat(key)):
                return
        release(directory)  # it was removed and made again
    try:
        handle = os.open(key, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UserError(
            f"{directory}: another process works on this output; wait for its "
            "end, or name another output"
        ) from error
    except OSError:
        os.close(handle)
        return
    _claimed[key] = handle


def release(directory: str) -> None:
    """Lets other processes claim the directory."""
    handle = _claimed.pop(os.path.realpath(directory), None)
    if handle is not None:
        os.close(handle)


@contextlib.contextmanager
def claimed(directory: str) -> Iterator[None]:
    """Makes a directory, and claims it as `claim` does while entered."""
    make_directory(directory)
    claim(directory)
    try:
        yield
    finally:
        release(directory)


@contextlib.contextmanager
def open_read(path: str) -> Iterator[IO[bytes]]:
    """Opens `path` for reading bytes; errors become `UserError`."""
    with named_errors(path, "read"):
        if not exists(path):
            raise UserError(f"cannot read {path}: no such file")
        if is_directory(path):
            raise UserError(f"cannot read {path}: it is a directory")
        # TensorFlow cannot open local names that are not UTF-8.
        opened = (
            open(path, "rb") if is_local(path) else _gfile().GFile(path, "rb")
        )
        with opened as handle:
            yield handle


def read_bytes(path: str) -> bytes:
    """Reads the whole file."""
    if not (is_local(path) and os.path.isfile(path)):
        with open_read(path) as handle:
            return handle.read()
    with named_errors(path, "read"), open(path, "rb") as handle:
        return handle.read()


def refuse_pointer(path: str) -> None:
    """Refuses a file that only points to its content in Git LFS.

    Args:
      path: the file; other files, and a missing one, are passed over.

    Raises:
      UserError: it is such a file.
    """
    if not exists(path) or is_directory(path) or size(path) > _POINTER_BYTES:
        return
    if read_bytes(path).startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path}: a pointer of Git LFS in place of the file; fetch it with "
            "`git lfs pull`, or download it by itself"
        )


def read_text(path: str) -> str:
    """Reads the whole file as UTF-8 text.

    Raises:
      UserError: the file is unreadable, or not UTF-8; the byte offset is named.
    """
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot read {path}: byte {error.start} is not UTF-8 text"
        ) from error


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[IO[bytes]]:
    """Writes bytes to a temporary file, which is renamed to `path` at the end.

    If the block fails, or the process dies in it, `path` keeps its old content
    or remains absent.
    """
    temporary = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
    gfile = _gfile()
    try:
        with named_errors(path, "write"):
            if os.path.dirname(path):
                gfile.makedirs(os.path.dirname(path))
            with gfile.GFile(temporary, "wb") as handle:
                handle.write(b"")  # or an empty file would not be created
                yield handle
            gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        with contextlib.suppress(Exception):
            gfile.remove(temporary)
        raise


def write_bytes(path: str, content: bytes) -> None:
    """Replaces the file's content atomically."""
    with atomic_write(path) as handle:
        handle.write(content)


def write_text(path: str, content: str) -> None:
    """Replaces the file's content atomically, as UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def class_of_file(path: str, name: str, parent: type[C], what: str) -> type[C]:
    """Imports a class from a user's Python file, which is executed.

    Args:
      path: the file.
      name: name of the class.
      parent: required base class.
      what: kind of the class, for messages.

    Raises:
      UserError: the file is missing, cannot be imported, or has no such class.
    """
    file = pathlib.Path(path)
    if not file.is_file():
        raise UserError(f"{what} {path}:{name}: no such file as {path}")
    module_name = f"electra_tf_{what}_{file.stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look up their module there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path}: cannot be imported: {error!r}") from error
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, parent)):
        raise UserError(
            f"{path}: has no class {name} that is an "
            f"{parent.__module__}.{parent.__name__}"
        )
    return found
