"""Tracks the versions of each model on disk, and loads the newest.

A model is a directory of numbered ones, `DIR/1`, `DIR/2`: the newest are
served. A new version is loaded beside the old one, replaces it when it is
ready, and only then is the old one unloaded; calls running on it complete. A
version that does not load is reported and tried again when its files change,
and the old one remains.
"""

import contextlib
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
from electra_tf.serving.server import loaded_model, model_settings
from electra_tf.serving.server.limits import invalid, not_found
from electra_tf.serving.server.loaded_model import LoadedModel
from electra_tf.serving.server.served import Served, read_config

_LOG = logging.getLogger("electra_tf.serving")
# States of tensorflow_serving/apis/get_model_status.proto.
_LOADING, _AVAILABLE, _END = "LOADING", "AVAILABLE", "END"
_REMEMBERED = 20
LARGEST_VERSION = 2**63 - 1  # of the messages' type


@dataclasses.dataclass(frozen=True)
class State:
    """The state of a version, and an error if it ended."""

    name: str
    error: str = ""

    def as_json(self, version: int) -> dict[str, Any]:
        """Returns the `ModelVersionStatus` of get_model_status.proto."""
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
      models: model name -> its directory and versions.
      changed: called with (model, version, event) when a version was loaded
        ("loaded"), failed to load ("failed") or was unloaded ("unloaded").
      engine: see `lite_signatures.of_version`.
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
        # Messages with paths, for the server's operator, not for clients.
        self._errors: dict[str, dict[int, str]] = {name: {} for name in models}
        self._busy = threading.Lock()

    @property
    def served(self) -> dict[str, Served]:
        """Returns the directory and versions of each model."""
        return dict(self._models)

    @property
    def names(self) -> list[str]:
        """Returns the names of the models, in the given order."""
        return list(self._models)

    def load_all(self) -> None:
        """Loads every model for the first time.

        Raises:
          UserError: a directory has no version that can be loaded.
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
        """Loads new versions; never raises for the content of the disk."""
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
        """Replaces the served models, while those that remain keep serving.

        Args:
          models: see `ModelVersions`; one whose directory has changed is loaded
            again, one that is missing is unloaded.
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
        for name, served in models.items():
            with contextlib.suppress(UserError):  # `update` has logged it
                if not self._on_disk(served.directory):
                    problem = _no_version(served.directory)
                    _LOG.warning("model %s: %s", name, problem)

    def get(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> LoadedModel:
        """Returns the version for a request.

        Args:
          name: name of the model.
          version: its number; None means the newest loaded one.
          label: label of a version, in place of its number.

        Raises:
          RequestError: 404, there is no such model or version; 400, no such
            label.
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
        """Returns the loaded versions, newest first."""
        versions = self._loaded.get(name, {})
        return [versions[number] for number in sorted(versions, reverse=True)]

    def labels(self, name: str) -> dict[str, int]:
        """Returns label -> version, whether loaded or not."""
        return dict(self._models[name].labels) if name in self._models else {}

    def labelled(self, name: str, label: str) -> int:
        """Returns the number of the version with a label.

        Raises:
          RequestError: 400, there is no such label.
        """
        labels = self.labels(name)
        if label not in labels:
            raise invalid(f"Unrecognized servable version label: {label[:100]}")
        return labels[label]

    def status(
        self, name: str, version: int | None = None
    ) -> list[dict[str, Any]]:
        """Returns the state of one version or of all, newest first.

        Raises:
          RequestError: 404, the version is unknown.
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
        """Loads the newest versions on disk, and unloads others.

        A version whose directory is gone is unloaded once another version on
        disk has replaced it; without any on disk, the loaded one remains.
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
            reason = _without_paths(str(error), path)
            self._set_state(name, version, State(_END, reason))
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
            if number <= LARGEST_VERSION
            and files.exists(
                files.join(directory, name, loaded_model.SAVED_MODEL)
            )
        ]


class Poller:
    """Checks for new versions periodically, in a separate thread.

    Args:
      versions: the versions to update.
      seconds: interval in seconds; 0 means never.
      config: a file with the models, read again when it changes.
    """

    def __init__(
        self, versions: ModelVersions, seconds: float, config: str | None = None
    ) -> None:
        self._versions = versions
        self._seconds = seconds
        self._config = config
        # The first check reads it: it may have changed while models loaded.
        self._seen: tuple[int, int] | None = (-1, -1)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._poll, name="versions", daemon=True
        )

    def start(self) -> None:
        """Starts the thread."""
        if self._seconds > 0:
            self._thread.start()

    def stop(self) -> None:
        """Stops the thread, after a version that is being loaded."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _poll(self) -> None:
        while not self._stop.wait(min(self._seconds, threading.TIMEOUT_MAX)):
            try:
                self._read_config()
                self._versions.update()
            except Exception:
                # Whatever the error, the next check may succeed.
                _LOG.exception("looking for new versions failed")

    def _read_config(self) -> None:
        """Applies a changed file; an invalid one is reported once."""
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
        if models != self._versions.served:
            _LOG.info("%s has changed", self._config)
            self._versions.replace(models)


def _fingerprint(directory: str) -> object:
    """Returns a value that changes when a file of a version is written.

    All files count, and `serve.yaml` beside the version: any of them may be
    what it failed for.
    """
    paths = [model_settings.path_of(directory)]
    for name in files.list_directory(directory):
        path = files.join(directory, name)
        if files.is_directory(path):
            inner = files.list_directory(path)
            paths += [files.join(path, each) for each in inner]
        else:
            paths.append(path)
    return tuple(
        (path, *files.size_and_time(path))
        for path in paths
        if files.exists(path)
    )


def _without_paths(message: str, directory: str) -> str:
    """Removes paths of the server from a message for clients.

    Args:
      message: message of an error in loading.
      directory: directory of the version.

    Returns:
      The message with the directory as "the version"; a general one if it has
      another path.
    """
    for path in {directory, os.path.abspath(directory)}:
        message = message.replace(path, "the version")
    if re.search(r"(^|[\s'\"(=])([\w.+-]+:/)?/[\w.-]", message):
        return "cannot load the version; the server's log says why"
    return message


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions))


def _settle() -> None:
    """Collects garbage, and freezes the remaining objects.

    Python's collector then skips TensorFlow and the models; otherwise each full
    collection stops all requests for a quarter of a second.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _no_version(directory: str) -> str:
    """Describes why a directory cannot be served, with a hint."""
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
