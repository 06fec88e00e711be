"""The versions of each model on disk, and those that are loaded.

A model is a directory of numbered ones, `DIR/1`, `DIR/2`: the newest are
served. A new one is loaded beside the old, takes its place when it is ready,
and only then is the old one let go; what is running on it ends in peace. A
version that does not load is reported, tried again when its files change, and
what was there goes on. TensorFlow is imported when a model is loaded.
"""

import dataclasses
import gc
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.serving.server.limits import RequestError, invalid, not_found
from electra_tf.serving.server.signatures import (
    PREDICT,
    SignatureInfo,
    TensorInfo,
)

_LOG = logging.getLogger("electra_tf.serving")
# States of tensorflow_serving/apis/get_model_status.proto.
_LOADING, _AVAILABLE, _END = "LOADING", "AVAILABLE", "END"
_REMEMBERED = 20
SAVED_MODEL = "saved_model.pb"
_DESCRIPTION = ("assets.extra", "electra_tf.json")
_INIT_SIGNATURE = "__saved_model_init_op"
# Lines of TensorFlow's messages that tell nothing of the cause.
_NO_REASONS = ("Graph execution", "Detected at", "You may be trying")

# HTTP statuses of TensorFlow's errors, as TensorFlow Serving gives them.
_STATUSES = {
    "CancelledError": HTTPStatus.SERVICE_UNAVAILABLE,
    "InvalidArgumentError": HTTPStatus.BAD_REQUEST,
    "DeadlineExceededError": HTTPStatus.GATEWAY_TIMEOUT,
    "NotFoundError": HTTPStatus.NOT_FOUND,
    "ResourceExhaustedError": HTTPStatus.TOO_MANY_REQUESTS,
    "FailedPreconditionError": HTTPStatus.BAD_REQUEST,
    "OutOfRangeError": HTTPStatus.BAD_REQUEST,
    "UnimplementedError": HTTPStatus.NOT_IMPLEMENTED,
    "UnavailableError": HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version that can answer.

    Attributes:
      name: of the model.
      version: its number.
      signatures: what it takes and returns, by signature.
      description: `assets.extra/electra_tf.json`; None if it has none.
      functions: the callables of the SavedModel, by signature.
      saved_model: what TensorFlow loaded; it owns the variables.
    """

    name: str
    version: int
    signatures: dict[str, SignatureInfo]
    description: dict[str, Any] | None
    functions: Mapping[str, Any]
    saved_model: Any

    def find_signature(self, name: str) -> SignatureInfo:
        """What a signature takes and returns.

        Raises:
          RequestError: 400, the model has none of this name.
        """
        if name not in self.signatures:
            raise invalid(
                f'Serving signature name: "{name[:100]}" not found in '
                "signature def"
            )
        return self.signatures[name]

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Calls a signature; several threads may do so at once.

        Args:
          signature: its name.
          inputs: an array for each input; strings are `bytes` objects.

        Returns:
          An array for each output, in the order of their names.

        Raises:
          RequestError: TensorFlow refused; the status is the one that
            TensorFlow Serving gives.
        """
        import tensorflow as tf

        info = self.signatures[signature]
        try:
            tensors = {
                name: tf.constant(
                    # An empty array of objects does not tell its type.
                    array.tolist() if not array.size else array,
                    _tensorflow_type(info.inputs[name]),
                    shape=array.shape,
                )
                for name, array in inputs.items()
            }
            outputs = self.functions[signature](**tensors)
            return {name: outputs[name].numpy() for name in info.outputs}
        except tf.errors.OpError as error:
            status = _STATUSES.get(
                type(error).__name__, HTTPStatus.INTERNAL_SERVER_ERROR
            )
            raise RequestError(status, _reason(error.message)) from error

    def warm_up(self) -> None:
        """Runs each signature once, on the examples of the description.

        The first call of a signature is slow; no client shall meet it.
        """
        examples = (self.description or {}).get("examples") or []
        rows = [row for row in examples if isinstance(row, dict) and row]
        if not rows:
            return
        for name, info in self.signatures.items():
            if any(
                each.dtype != "DT_STRING" or each.shape != (None,)
                for each in info.inputs.values()
            ):
                continue
            columns = {
                key: [str(row.get(key) or next(iter(row.values())))
                      for row in rows]
                for key in info.inputs
            }  # fmt: skip
            self.run(name, {k: _strings(v) for k, v in columns.items()})


def _load(name: str, version: int, directory: str) -> LoadedModel:
    """Loads a SavedModel and warms it up.

    Args:
      name: the model's.
      version: its number.
      directory: with `saved_model.pb`.

    Raises:
      UserError: unreadable or damaged, or made with operations that are not
        there; the directory is named.
    """
    import tensorflow as tf

    try:
        # Its operations are known to TensorFlow once it is imported.
        import tensorflow_text  # noqa: F401
    except ImportError as error:
        _LOG.warning("tensorflow-text is not there: %s", error)
    try:
        infos = _signatures(directory)
        loaded = tf.saved_model.load(directory, tags=["serve"])
        model = LoadedModel(
            name,
            version,
            {key: infos[key] for key in loaded.signatures if key in infos},
            _description(directory),
            dict(loaded.signatures),
            loaded,
        )
        if not model.signatures:
            raise UserError(f"{directory}: the SavedModel has no signatures")
        model.warm_up()
    except UserError:
        raise
    except (MemoryError, ImportError):
        raise
    except Exception as error:
        # TensorFlow has no one exception for what it cannot load.
        raise UserError(
            f"cannot load {directory}: {_reason(str(error))}; if it is not "
            "whole, copy or export it again"
        ) from error
    return model


def _signatures(directory: str) -> dict[str, SignatureInfo]:
    """The signatures as `saved_model.pb` describes them."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(files.read_bytes(files.join(directory, SAVED_MODEL)))
    graphs = [
        graph
        for graph in saved.meta_graphs
        if "serve" in graph.meta_info_def.tags
    ]
    if not graphs:
        raise UserError(f"{directory}: no graph is tagged for serving")
    return {
        name: SignatureInfo(
            # Protocol buffers keep them in another order in each process.
            {k: _tensor_info(v) for k, v in sorted(definition.inputs.items())},
            {k: _tensor_info(v) for k, v in sorted(definition.outputs.items())},
            definition.method_name or PREDICT,
        )
        for name, definition in sorted(graphs[0].signature_def.items())
        if name != _INIT_SIGNATURE
    }


def _tensor_info(proto: Any) -> TensorInfo:
    from tensorflow.core.framework import types_pb2

    shape = proto.tensor_shape
    sizes = tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
    return TensorInfo(
        types_pb2.DataType.Name(proto.dtype),
        None if shape.unknown_rank else sizes,
        proto.name,
    )


def _tensorflow_type(info: TensorInfo) -> Any:
    import tensorflow as tf
    from tensorflow.core.framework import types_pb2

    return tf.dtypes.as_dtype(types_pb2.DataType.Value(info.dtype))


def _description(directory: str) -> dict[str, Any] | None:
    path = files.join(directory, *_DESCRIPTION)
    if not files.exists(path):
        return None
    try:
        found = json.loads(files.read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    return found if isinstance(found, dict) else None


def _strings(texts: list[str]) -> np.ndarray:
    array = np.empty(len(texts), object)
    array[:] = [text.encode("utf-8") for text in texts]
    return array


def _reason(message: str) -> str:
    """What went wrong, without the node and the lines that made it."""
    head = message.partition("[[{{node")[0]
    lines = [line.strip() for line in head.splitlines()]
    told = [line for line in lines if line and not line.startswith(_NO_REASONS)]
    # Where the graph was made comes first, if it comes at all.
    return (told[-1] if told else message)[:500]


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
        # With paths: for whoever starts the server, not for its clients.
        self._errors: dict[str, dict[int, str]] = {
            name: {} for name in directories
        }
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
        # A wrong path among several is reported before any model is loaded.
        for directory in self._directories.values():
            if not self._on_disk(directory):
                raise UserError(_no_version(directory))
        for name, directory in self._directories.items():
            self._update(name)
            if not self._loaded[name]:
                errors = self._errors[name]
                raise UserError(
                    errors[max(errors)] if errors else _no_version(directory)
                )
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
        """Serves the newest versions on disk that load, and no others.

        A version whose directory is gone is unloaded once an older one that
        is still there has taken its place; where none is left on disk, what
        is loaded goes on.
        """
        kept: list[int] = []
        for version in sorted(
            self._on_disk(self._directories[name]), reverse=True
        ):
            if len(kept) == self._newest:
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
        path = files.join(self._directories[name], str(version))
        found = _fingerprint(path)
        if self._failed.get((name, version)) == found:
            return
        self._set_state(name, version, State(_LOADING))
        try:
            model = _load(name, version, path)
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
    """Changes when a file of a version is written, at whatever size."""
    names = [SAVED_MODEL]
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
    """An error for clients, who need not know where the server's files lie.

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
