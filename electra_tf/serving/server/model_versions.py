"""The versions of each model on disk, and those that are loaded.

A model is a directory of numbered ones, `DIR/1`, `DIR/2`: the newest are
served. A new one is loaded beside the old, takes its place when it is ready,
and only then is the old one let go; what is running on it ends in peace. A
version that does not load is reported, tried again when its files change, and
what was there goes on.
"""

import dataclasses
import gc
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.serving.server.loaded_model import (
    SAVED_MODEL,
    LoadedModel,
    load,
)
from electra_tf.serving.server.request_error import not_found

_LOG = logging.getLogger("electra_tf.serving")
# States of tensorflow_serving/apis/get_model_status.proto.
_LOADING, _AVAILABLE, _END = "LOADING", "AVAILABLE", "END"
_REMEMBERED = 20


@dataclasses.dataclass(frozen=True)
class State:
    """What has become of a version: a state, and why it ended."""

    name: str
    error: str = ""

    def as_json(self, version: int) -> dict[str, Any]:
        """`ModelVersionStatus` of get_model_status.proto."""
        return {
            "version": str(version),
            "state": self.name,
            "status": {
                "error_code": "UNKNOWN" if self.error else "OK",
                "error_message": self.error,
            },
        }


class ModelVersions:
    """All models of a server. Readers may be in any thread.

    Args:
      directories: model name -> its directory of versions.
      newest: how many versions of each model are served.
      changed: called with (model, version, event) when a version has been
        loaded ("loaded"), has failed to load ("failed") or was let go
        ("unloaded").
    """

    def __init__(
        self,
        directories: Mapping[str, str],
        newest: int = 1,
        changed: Callable[[str, int, str], None] = lambda *_: None,
    ) -> None:
        self._directories = dict(directories)
        self._newest = newest
        self._changed = changed
        # Replaced as a whole, never changed in place: readers need no lock.
        self._loaded: dict[str, dict[int, LoadedModel]] = {
            name: {} for name in directories
        }
        self._states: dict[str, dict[int, State]] = {
            name: {} for name in directories
        }
        self._failed: dict[tuple[str, int], object] = {}
        self._busy = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Of the models, in the order given."""
        return list(self._directories)

    def load_all(self) -> None:
        """Loads every model for the first time.

        Raises:
          UserError: a directory has no version, or none that loads.
        """
        for name, directory in self._directories.items():
            if not self._on_disk(directory):
                raise UserError(_no_version(directory))
            self._update(name)
            if not self._loaded[name]:
                errors = [s.error for s in self._states[name].values()]
                raise UserError(errors[0] if errors else _no_version(directory))
        _settle()

    def update(self) -> None:
        """Looks for new versions; never raises for what lies on disk."""
        with self._busy:
            for name in self._directories:
                before = self._loaded[name]
                try:
                    self._update(name)
                except UserError as error:
                    _LOG.warning("model %s: %s", name, error)
                if self._loaded[name] is not before:
                    _settle()

    def get(self, name: str, version: int | None = None) -> LoadedModel:
        """The version that answers.

        Args:
          name: of the model.
          version: None means the newest that is loaded.

        Raises:
          RequestError: 404, not there.
        """
        versions = self._loaded.get(name, {})
        if version is None and versions:
            return versions[max(versions)]
        if version is None or version not in versions:
            asked = (
                f"Latest({name})"
                if version is None
                else f"Specific({name}, {version})"
            )
            raise not_found(f"Servable not found for request: {asked}")
        return versions[version]

    def status(
        self, name: str, version: int | None = None
    ) -> list[dict[str, Any]]:
        """The state of one version or of all, the newest first.

        Raises:
          RequestError: 404, never heard of.
        """
        states = dict(self._states.get(name, {}))
        if not states:
            raise not_found(f"Could not find any versions of model {name}")
        if version is not None:
            if version not in states:
                raise not_found(
                    f"Could not find version {version} of model {name}"
                )
            states = {version: states[version]}
        return [
            states[number].as_json(number)
            for number in sorted(states, reverse=True)
        ]

    def _update(self, name: str) -> None:
        directory = self._directories[name]
        wanted = sorted(self._on_disk(directory), reverse=True)
        wanted = wanted[: self._newest]
        for version in sorted(wanted):
            if version not in self._loaded[name]:
                self._load(name, version)
        loaded = self._loaded[name]
        # What cannot be loaded takes no place: the newest that can are kept,
        # also if their directories are gone.
        kept = sorted(loaded, reverse=True)[: self._newest]
        for version in set(loaded) - set(kept):
            self._set_loaded(
                name, {k: model for k, model in loaded.items() if k in kept}
            )
            self._set_state(name, version, State(_END))
            self._changed(name, version, "unloaded")
            _LOG.info("model %s: version %d is let go", name, version)

    def _load(self, name: str, version: int) -> None:
        path = files.join(self._directories[name], str(version))
        found = _fingerprint(path)
        if self._failed.get((name, version)) == found:
            return
        self._set_state(name, version, State(_LOADING))
        try:
            model = load(name, version, path)
        except (UserError, MemoryError) as error:
            self._failed[name, version] = found
            self._set_state(name, version, State(_END, str(error)))
            self._changed(name, version, "failed")
            _LOG.warning("model %s: version %d: %s", name, version, error)
            return
        self._failed.pop((name, version), None)
        self._set_loaded(name, {**self._loaded[name], version: model})
        self._set_state(name, version, State(_AVAILABLE))
        self._changed(name, version, "loaded")
        _LOG.info("model %s: version %d is loaded", name, version)

    def _set_loaded(self, name: str, models: dict[int, LoadedModel]) -> None:
        self._loaded = {**self._loaded, name: models}

    def _set_state(self, name: str, version: int, state: State) -> None:
        states = {**self._states[name], version: state}
        kept = sorted(states, reverse=True)[:_REMEMBERED]
        self._states = {
            **self._states,
            name: {number: states[number] for number in kept},
        }

    def _on_disk(self, directory: str) -> list[int]:
        """The versions whose directory has a SavedModel."""
        if not files.is_directory(directory):
            return []
        numbers = {
            int(name): name
            for name in files.list_directory(directory)
            if name.isascii() and name.isdigit() and name == str(int(name))
        }
        return [
            number
            for number, name in numbers.items()
            if files.exists(files.join(directory, name, SAVED_MODEL))
        ]


class Poller:
    """Calls `update` again and again, in a thread of its own.

    Args:
      versions: what to update.
      seconds: between two looks; 0 means never.
    """

    def __init__(self, versions: ModelVersions, seconds: float) -> None:
        self._versions = versions
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._poll, name="versions", daemon=True
        )

    def start(self) -> None:
        """Begins to look."""
        if self._seconds > 0:
            self._thread.start()

    def stop(self) -> None:
        """Looks no more; waits for a version that is being loaded."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _poll(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self._versions.update()
            except Exception:
                # Whatever it is, the next look may go well.
                _LOG.exception("looking for new versions failed")


def _fingerprint(directory: str) -> object:
    """Changes when the files of a version do."""
    names = [SAVED_MODEL]
    variables = files.join(directory, "variables")
    if files.is_directory(variables):
        names += [
            files.join("variables", name)
            for name in files.list_directory(variables)
        ]
    return tuple(
        (name, files.size(files.join(directory, name))) for name in names
    )


def _settle() -> None:
    """Frees what a model has left, and sets what stays apart.

    Python's collector then passes over TensorFlow and the models; else each
    of its full rounds stops all requests for a quarter of a second.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _no_version(directory: str) -> str:
    """Why a directory cannot be served, and what may help."""
    if not files.is_directory(directory):
        if files.exists(directory):
            return f"{directory}: is a file; name a directory of versions"
        return f"{directory}: no such directory"
    if files.exists(files.join(directory, SAVED_MODEL)):
        return f"{directory}: this is one version; name the directory above it"
    return (
        f"{directory}: has no version (a directory named 1, 2, ... with "
        f"{SAVED_MODEL}); make one with electra-tf export"
    )
