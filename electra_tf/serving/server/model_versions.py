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
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from electra_tf import files, litert
from electra_tf.errors import UserError
from electra_tf.serving.server import loaded_model
from electra_tf.serving.server.limits import invalid, not_found
from electra_tf.serving.server.loaded_model import LoadedModel
from electra_tf.serving.server.served import Served, read_config

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
        """Returns `ModelVersionStatus` of get_model_status.proto."""
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
      models: model name -> what is served of it.
      changed: called with (model, version, event) when a version has been
        loaded ("loaded"), has failed to load ("failed") or was let go
        ("unloaded").
      engine: what runs them; see `lite_signatures.of_version`.
    """

    def __init__(
        self,
        models: Mapping[str, Served],
        changed: Callable[[str, int, str], None] = lambda *_: None,
        engine: litert.Engine = "auto",
    ) -> None:
        self._engine = engine
        self._models = dict(models)
        self._changed = changed
        # Replaced as a whole, never changed in place: readers need no lock.
        self._loaded: dict[str, dict[int, LoadedModel]] = {
            name: {} for name in models
        }
        self._states: dict[str, dict[int, State]] = {
            name: {} for name in models
        }
        self._failed: dict[tuple[str, int], object] = {}
        # With paths: for whoever starts the server, not for its clients.
        self._errors: dict[str, dict[int, str]] = {name: {} for name in models}
        self._busy = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Of the models, in the order given."""
        return list(self._models)

    def load_all(self) -> None:
        """Loads every model for the first time.

        Raises:
          UserError: a directory has no version, or none that loads.
        """
        # A wrong path among several is reported before any model is loaded.
        for served in self._models.values():
            if not self._on_disk(served.directory):
                raise UserError(_no_version(served.directory))
        for name, served in self._models.items():
            self._update(name)
            if not self._loaded[name]:
                errors = self._errors[name]
                raise UserError(
                    errors[max(errors)]
                    if errors
                    else f"{served.directory}: has none of the versions that "
                    f"are to be served: {_listed(served.specific)}"
                )
        _settle()

    def update(self) -> None:
        """Looks for new versions; never raises for what lies on disk."""
        with self._busy:
            for name in self._models:
                before = self._loaded[name]
                try:
                    self._update(name)
                except UserError as error:
                    _LOG.warning("model %s: %s", name, error)
                if self._loaded[name] is not before:
                    _settle()

    def replace(self, models: Mapping[str, Served]) -> None:
        """Serves other models from now on; those that stay answer meanwhile.

        Args:
          models: as of `ModelVersions`; one whose directory has changed is
            loaded anew, one that is not named any more is unloaded.
        """
        with self._busy:
            moved = {
                name
                for name, served in self._models.items()
                if name not in models
                or models[name].directory != served.directory
            }
            for name in moved:
                for version in self._loaded[name]:
                    self._changed(name, version, "unloaded")
                    _LOG.info("model %s: version %d is unloaded", name, version)
                self._failed = {
                    key: found
                    for key, found in self._failed.items()
                    if key[0] != name
                }
            self._models = dict(models)
            self._loaded = {
                name: {} if name in moved else self._loaded.get(name, {})
                for name in models
            }
            self._states = {
                name: {} if name in moved else self._states.get(name, {})
                for name in models
            }
            self._errors = {name: {} for name in models}
        self.update()

    def get(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> LoadedModel:
        """Returns the version that answers.

        Args:
          name: of the model.
          version: None means the newest that is loaded.
          label: of a version, in place of its number.

        Raises:
          RequestError: 404, not there; 400, no such label.
        """
        if label is not None:
            version = self.labelled(name, label)
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

    def loaded(self, name: str) -> list[LoadedModel]:
        """Returns the versions that can answer, the newest first."""
        versions = self._loaded.get(name, {})
        return [versions[number] for number in sorted(versions, reverse=True)]

    def labels(self, name: str) -> dict[str, int]:
        """Returns label -> the version that it is for, loaded or not."""
        return dict(self._models[name].labels) if name in self._models else {}

    def labelled(self, name: str, label: str) -> int:
        """Returns the number of the version with a label.

        Raises:
          RequestError: 400, there is none.
        """
        labels = self.labels(name)
        if label not in labels:
            raise invalid(f"Unrecognized servable version label: {label[:100]}")
        return labels[label]

    def status(
        self, name: str, version: int | None = None
    ) -> list[dict[str, Any]]:
        """Returns the state of one version or of all, the newest first.

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
        """Serves the newest versions on disk that load, and no others.

        A version whose directory is gone is unloaded once an older one that
        is still there has taken its place; where none is left on disk, what
        is loaded goes on.
        """
        served = self._models[name]
        kept: list[int] = []
        for version in sorted(self._on_disk(served.directory), reverse=True):
            if served.specific:
                if version not in served.specific:
                    continue
            elif len(kept) == served.newest:
                break
            if version not in self._loaded[name]:
                self._load(name, version)
            if version in self._loaded[name]:
                kept.append(version)
        if not kept:
            return
        for version in sorted(set(self._loaded[name]) - set(kept)):
            models = dict(self._loaded[name])
            del models[version]
            self._set_loaded(name, models)
            self._set_state(name, version, State(_END))
            self._changed(name, version, "unloaded")
            _LOG.info("model %s: version %d is unloaded", name, version)

    def _load(self, name: str, version: int) -> None:
        path = files.join(self._models[name].directory, str(version))
        found = _fingerprint(path)
        if self._failed.get((name, version)) == found:
            return
        self._set_state(name, version, State(_LOADING))
        try:
            model = loaded_model.load(name, version, path, self._engine)
        except (UserError, MemoryError) as error:
            self._failed[name, version] = found
            self._errors[name][version] = str(error)
            told = _without_paths(str(error), path)
            self._set_state(name, version, State(_END, told))
            self._changed(name, version, "failed")
            _LOG.warning("model %s: version %d: %s", name, version, error)
            return
        self._failed.pop((name, version), None)
        self._errors[name].pop(version, None)
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
        """Returns the versions whose directory has a SavedModel."""
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
            if files.exists(
                files.join(directory, name, loaded_model.SAVED_MODEL)
            )
        ]


class Poller:
    """Looks for new versions again and again, in a thread of its own.

    Args:
      versions: what to update.
      seconds: between two looks; 0 means never.
      config: a file that names the models, read again when it changes.
    """

    def __init__(
        self, versions: ModelVersions, seconds: float, config: str | None = None
    ) -> None:
        self._versions = versions
        self._seconds = seconds
        self._config = config
        self._seen = files.size_and_time(config) if config else None
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
                self._read_config()
                self._versions.update()
            except Exception:
                # Whatever it is, the next look may go well.
                _LOG.exception("looking for new versions failed")

    def _read_config(self) -> None:
        """Takes up a changed file; a wrong one is reported once."""
        if self._config is None:
            return
        try:
            found = files.size_and_time(self._config)
            if found == self._seen:
                return
            self._seen = found
            models = read_config(self._config)
        except UserError as error:
            if self._seen is not None:
                _LOG.warning("the models stay as they are: %s", error)
            if not files.exists(self._config):
                self._seen = None
            return
        _LOG.info("%s has changed", self._config)
        self._versions.replace(models)


def _fingerprint(directory: str) -> object:
    """Changes when a file of a version is written, at whatever size."""
    names = [loaded_model.SAVED_MODEL]
    variables = files.join(directory, "variables")
    if files.is_directory(variables):
        names += [
            files.join("variables", name)
            for name in files.list_directory(variables)
        ]
    return tuple(
        (name, *files.size_and_time(files.join(directory, name)))
        for name in names
    )


def _without_paths(message: str, directory: str) -> str:
    """Returns an error for clients, who need not know where the server's files
    lie.

    Args:
      message: of an error in loading.
      directory: of the version.

    Returns:
      The message with the directory as "the version"; a general one where
      another path is left in it.
    """
    for path in {directory, os.path.abspath(directory)}:
        message = message.replace(path, "the version")
    if re.search(r"(^|[\s'\"(=])([\w.+-]+:/)?/[\w.-]", message):
        return "cannot load the version; the server's log says why"
    return message


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions))


def _settle() -> None:
    """Frees what a model has left, and sets what stays apart.

    Python's collector then passes over TensorFlow and the models; else each
    of its full rounds stops all requests for a quarter of a second.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _no_version(directory: str) -> str:
    """Returns why a directory cannot be served, and what may help."""
    if not files.is_directory(directory):
        if files.exists(directory):
            return f"{directory}: is a file; name a directory of versions"
        return f"{directory}: no such directory"
    if files.exists(files.join(directory, loaded_model.SAVED_MODEL)):
        return f"{directory}: this is one version; name the directory above it"
    return (
        f"{directory}: has no version (a directory named 1, 2, ... with "
        f"{loaded_model.SAVED_MODEL}); make one with electra-tf export"
    )
