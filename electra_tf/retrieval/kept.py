"""Keeps the index of a folder in a file, and updates it.

`index.sqlite` stores each file's size, times and hash, its passages and their
terms, and the BM25 of all. Unchanged files are not read again; changed files
are read, deleted ones are removed, and BM25 is recomputed from the stored
terms. An update is one transaction: another process, or one after a crash, sees
the index before or after.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.retrieval import index as index_lib
from electra_tf.retrieval import passages as passages_lib
from electra_tf.retrieval.passages import Documents, FileRead, Passage

FILE = "index.sqlite"
MEMORY = ":memory:"
"""The place of an index that is not kept."""

_VERSION = 3  # an index of another version is rebuilt
_OLDER = ("about.json", "bm25s")  # files of version 1, beside the index
_WAIT = 120.0  # seconds to wait for another process that writes
# File times have a limited resolution: files changed so shortly before they
# were read are checked again.
_GRAIN = 2 * 10**9
_SCHEMA = """
CREATE TABLE about (value TEXT NOT NULL);
CREATE TABLE files (
  name BLOB PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER,
  read INTEGER, digest TEXT, skipped INTEGER, notes TEXT, why TEXT,
  again INTEGER
);
CREATE TABLE passages (
  name BLOB, number INTEGER, line INTEGER, start INTEGER, text TEXT,
  place TEXT, heading TEXT, terms TEXT, PRIMARY KEY (name, number)
);
CREATE TABLE bm25 (name TEXT PRIMARY KEY, content BLOB);
"""
Told = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Kept:
    """An up-to-date index.

    Attributes:
      documents: the documents.
      index: the index of their passages.
      summary: a short description of what was done.
    """

    documents: Documents
    index: index_lib.Index
    summary: str


class _State(NamedTuple):
    """What shows whether a file is unchanged."""

    size: int
    modified: int  # ns
    changed: int  # ns; 0 where unknown


def default_place(documents: str) -> str:
    """Returns the index's directory in the user's cache.

    Args:
      documents: the folder or globs; each has its own directory.
    """
    parts = [
        os.path.abspath(part.strip()) if files.is_local(part) else part
        for part in documents.split(",")
    ]
    key = os.fsencode(",".join(parts))
    name = hashlib.blake2b(key, digest_size=10).hexdigest()
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        cache = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "electra_tf", "ask", name)


def load(
    found: Sequence[tuple[str, str]],
    terms: index_lib.Terms,
    text_field: str = "text",
    *,
    place: str = MEMORY,
    fresh: bool = False,
    longest: int = passages_lib.LONGEST,
    progress: Told = lambda done, count: None,
) -> Kept:
    """Updates the index of documents, and reads it.

    Where it cannot be stored it is made in memory, and a note says so.

    Args:
      found: result of `passages.find`.
      terms: makes terms of texts.
      text_field: the text's field in JSON lines and tables.
      place: the directory; `MEMORY` stores nothing.
      fresh: whether to make the index again in any case.
      longest: most characters of a passage.
      progress: called with the numbers of files checked and of all files.

    Raises:
      UserError: `place` is not an index, or no document has any text.
    """
    about = {
        "version": _VERSION, "language": terms.language,
        "text_field": text_field, "longest": longest,
    }  # fmt: skip
    run = _Run(found, terms, about, progress)
    if place == MEMORY:
        return run.load(MEMORY, fresh)
    if not files.is_local(place):
        raise UserError(
            f"--index: {place}: expected a directory on this machine"
        )
    check_is_index(place)
    file = os.path.join(place, FILE)
    again = ""
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        try:
            kept = run.load(file, fresh)
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise  # not caused by the file's content
            os.remove(file)
            again = "was damaged, and "
            kept = run.load(file, True)
        _remove_older(place)
        return dataclasses.replace(
            kept, summary=f"{again}{kept.summary} ({place})"
        )
    except (OSError, OverflowError, sqlite3.Error) as error:
        kept = run.load(MEMORY, True)
        return dataclasses.replace(
            kept,
            summary="made for this run, as it cannot be saved in "
            f"{place}: {error}",
        )


def _remove_older(place: str) -> None:
    """Removes the files of version 1."""
    about, folder = (os.path.join(place, name) for name in _OLDER)
    if os.path.exists(about):
        os.remove(about)
        shutil.rmtree(folder, ignore_errors=True)


def check_is_index(path: str) -> None:
    """Refuses to write into a file that is not an index.

    Args:
      path: path of the index.

    Raises:
      UserError: the file is not an index.
    """
    if not os.path.lexists(path):
        return
    names = os.listdir(path) if os.path.isdir(path) else None
    if names is None or (names and not {FILE, "about.json"} & set(names)):
        raise UserError(
            f"--index: {path}: exists, and is not an index (it has no {FILE}); "
            "name another directory"
        )


class _Run:
    """One update of an index; see `load`."""

    def __init__(
        self,
        found: Sequence[tuple[str, str]],
        terms: index_lib.Terms,
        about: dict[str, Any],
        progress: Told,
    ):
        self._paths = {os.fsencode(name): path for path, name in found}
        self._terms = terms
        self._about = about
        self._progress = progress
        self._bm25: Any = None  # set if it was made in this run
        self._keeps = True

    def load(self, file: str, fresh: bool) -> Kept:
        """Updates the index in a file, or in `MEMORY`, if needed."""
        self._bm25, self._keeps = None, file != MEMORY
        with contextlib.closing(_opened(file)) as base:
            base.execute("BEGIN")
            summary = "unchanged"
            if fresh or self._is_stale(base):
                base.rollback()
                base.execute("BEGIN IMMEDIATE")
                summary = self._update(base, fresh)
            documents, bm25 = self._read(base)
            base.commit()
        index = index_lib.Index(documents.passages, self._terms, bm25)
        return Kept(documents, index, summary)

    def _is_stale(self, base: sqlite3.Connection) -> bool:
        if self._reason(base):
            return True
        known = dict(_known(base))
        return known.keys() != self._paths.keys() or any(
            not _is_as_it_was(known[name], path)
            for name, path in self._paths.items()
        )

    def _reason(self, base: sqlite3.Connection) -> str:
        """Returns why the whole index must be made; "" if not."""
        try:
            (value,) = base.execute("SELECT value FROM about").fetchone()
        except (sqlite3.OperationalError, TypeError):
            return "made"
        before = dict(json.loads(value))
        for name, now in self._about.items():
            if before.get(name) != now:
                return f"rebuilt: {name} was {before.get(name)}, is {now}"
        return ""

    def _update(self, base: sqlite3.Connection, fresh: bool) -> str:
        """Reads changed files; returns a description of what was done."""
        reason = self._reason(base)
        if fresh and not reason:
            reason = "rebuilt"
        if reason:
            _clear(base)
            base.execute(
                "INSERT INTO about VALUES (?)", [json.dumps(self._about)]
            )
        known = dict(_known(base))
        gone = known.keys() - self._paths.keys()
        for name in gone:
            _forget(base, name)
        changed = new = 0
        for number, (name, path) in enumerate(sorted(self._paths.items())):
            self._progress(number, len(self._paths))
            before = known.get(name)
            if before is not None and _is_as_it_was(before, path):
                continue
            if self._renew(base, name, path, before):
                changed += before is not None
                new += before is None
        if gone or changed or new:
            self._index(base)
        if reason:
            return f"{reason}, of {len(self._paths):,} files"
        done = {"new": new, "changed": changed, "gone": len(gone)}
        parts = [f"{count:,} {what}" for what, count in done.items() if count]
        if not parts:
            return "unchanged"
        same = len(self._paths) - new - changed
        return f"brought up to date: {', '.join(parts)}, {same:,} unchanged"

    def _renew(
        self,
        base: sqlite3.Connection,
        name: bytes,
        path: str,
        before: "_Known | None",
    ) -> bool:
        """Reads a file; returns whether anything in it is new."""
        state, now = _state(path), time.time_ns()
        found = passages_lib.of_file(
            path, self._about["text_field"], self._about["longest"]
        )
        if before and (found.digest, found.why) == (before.digest, before.why):
            base.execute(
                "UPDATE files SET size=?, modified=?, changed=?, read=? "
                "WHERE name=?",
                [*state, now, name],
            )
            return False
        _forget(base, name)
        base.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                name, *state, now, found.digest, found.skipped,
                json.dumps(list(found.notes)), found.why, found.again,
            ],
        )  # fmt: skip
        base.executemany(
            "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            self._rows(name, found),
        )
        return True

    def _rows(self, name: bytes, found: FileRead) -> Iterator[tuple]:
        for number, one in enumerate(found.passages):
            terms = " ".join(index_lib.terms_of(one, self._terms))
            yield (
                name, number, one.line, one.start, one.text, one.where,
                one.heading, terms,
            )  # fmt: skip

    def _index(self, base: sqlite3.Connection) -> None:
        base.execute("DELETE FROM bm25")
        rows = [
            terms.split()
            for (terms,) in base.execute(
                "SELECT terms FROM passages ORDER BY name, number"
            )
        ]
        if not any(rows):
            return  # reported when it is read
        self._bm25 = index_lib.built(rows)
        if self._keeps:
            base.executemany(
                "INSERT INTO bm25 VALUES (?, ?)",
                index_lib.dumped(self._bm25).items(),
            )

    def _read(self, base: sqlite3.Connection) -> tuple[Documents, Any]:
        passages = []
        paths = {
            name: passages_lib.shown(path) for name, path in self._paths.items()
        }
        for name, line, start, text, where, heading in base.execute(
            "SELECT name, line, start, text, place, heading FROM passages "
            "ORDER BY name, number"
        ):
            passages.append(
                Passage(paths[name], line, start, text, where, heading)
            )
        documents = self._documents(base, passages)
        bm25 = self._bm25
        if bm25 is None:
            content = base.execute("SELECT name, content FROM bm25")
            bm25 = index_lib.restored(dict(content), len(passages))
        return documents, bm25

    def _documents(
        self, base: sqlite3.Connection, passages: list[Passage]
    ) -> Documents:
        digests, left_out, kept_notes, skipped, first = {}, [], [], 0, ""
        for name, digest, count, notes, why in base.execute(
            "SELECT name, digest, skipped, notes, why FROM files ORDER BY name"
        ):
            shown = passages_lib.shown(os.fsdecode(name))
            digests[shown] = digest
            skipped += count
            kept_notes += [f"{shown}: {note}" for note in json.loads(notes)]
            if why:
                place = passages_lib.shown(self._paths[name])
                first = first or f"{place}: {why}"
                left_out.append(f"{shown}: {why}")
        if not passages:
            shown_first = passages_lib.shown(next(iter(self._paths.values())))
            raise _no_text(
                first or shown_first, len(self._paths), skipped,
                self._about["text_field"],
            )  # fmt: skip
        return Documents(passages, digests, skipped, left_out, kept_notes)


def _no_text(
    first: str, count: int, skipped: int, text_field: str
) -> UserError:
    hint = ""
    if skipped:
        hint = (
            f"; {skipped} lines or rows have no text field '{text_field}': "
            "set --text_field"
        )
    return UserError(
        f"--documents: no text in {count} files, the first of them {first}"
        f"{hint}"
    )


class _Known(NamedTuple):
    """What the index stores about a file."""

    state: _State
    read: int  # ns
    digest: str
    why: str
    again: bool


def _known(base: sqlite3.Connection) -> Iterator[tuple[bytes, _Known]]:
    for name, *state, read, digest, why, again in base.execute(
        "SELECT name, size, modified, changed, read, digest, why, again "
        "FROM files"
    ):
        yield name, _Known(_State(*state), read, digest, why, bool(again))


def _is_as_it_was(known: _Known, path: str) -> bool:
    if known.again or known.state != _state(path):
        return False
    last = max(known.state.modified, known.state.changed)
    return last < known.read - _GRAIN


def _state(path: str) -> _State:
    try:
        if not files.is_local(path):
            return _State(*files.size_and_time(path), 0)
        found = os.stat(path)
    except (OSError, UserError):
        return _State(-1, 0, 0)
    return _State(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _opened(file: str) -> sqlite3.Connection:
    if file != MEMORY and os.path.exists(file) and not os.access(file, os.W_OK):
        # Without changes, it can still be read.
        return sqlite3.connect(
            f"file:{_quoted(file)}?mode=ro&immutable=1", uri=True,
            isolation_level=None,
        )  # fmt: skip
    return sqlite3.connect(file, timeout=_WAIT, isolation_level=None)


def _quoted(path: str) -> str:
    import urllib.parse

    return urllib.parse.quote(os.fsencode(path))


def _clear(base: sqlite3.Connection) -> None:
    for table in ("about", "files", "passages", "bm25"):
        base.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in _SCHEMA.split(";"):
        base.execute(statement)


def _forget(base: sqlite3.Connection, name: bytes) -> None:
    for table in ("files", "passages"):
        base.execute(f"DELETE FROM {table} WHERE name = ?", [name])
