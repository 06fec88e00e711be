"""What every layer and network of ours writes down, so that Keras can save it.

A layer declares which of its constructor's arguments describe it; its
`get_config` gives them as plain values, `from_config` makes a layer of these.
Beside that a network has parts that others may share: tables, an encoder.
Within one file Keras makes one object of all that are written with one
`shared_object_id`, so each network writes its shared parts in full.

Paths of variables come back as they were: learning rates may depend on them.
"""

import contextlib
import importlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import keras

from electra_tf import config as configs
from electra_tf import files
from electra_tf.errors import UserError

L = TypeVar("L", bound="Saved")

# Kinds of settings, by the names that files have for them.
SETTINGS: dict[str, str] = {
    "ModelConfig": "models.config",
    "GeneratorConfig": "models.config",
    "TaskHeadConfig": "models.config",
    "DecoderConfig": "models.config",
    "SentenceHeadConfig": "models.config",
    "MultiHeadConfig": "models.config",
    "MaskingConfig": "pretraining.settings",
    "ObjectiveConfig": "pretraining.settings",
    "PretrainSettings": "keras_api.settings",
}
_KIND, _VALUES = "settings", "values"
_SHARED, _BUILD = "shared_object_id", "build_config"


# --- values ----------------------------------------------------------------


def settings_config(settings: Any) -> dict[str, Any]:
    """Returns settings as plain values with the name of their kind.

    Args:
      settings: a dataclass that `SETTINGS` lists.
    """
    kind = type(settings).__name__
    if kind not in SETTINGS:
        raise ValueError(f"saved.SETTINGS lacks {kind}")
    return {_KIND: kind, _VALUES: configs.to_dict(settings)}


def settings_of(value: Mapping[str, Any]) -> Any:
    """Returns the inverse of `settings_config`.

    Raises:
      UserError: no such kind, or values that it does not take.
    """
    kind = value[_KIND]
    if kind not in SETTINGS:
        raise UserError(
            f"settings of kind '{kind}': written by another version of "
            f"electra_tf; known here: {', '.join(SETTINGS)}"
        )
    module = importlib.import_module(f"electra_tf.{SETTINGS[kind]}")
    return configs.from_dict(getattr(module, kind), value[_VALUES], kind)


def plain(value: Any) -> Any:
    """Returns a constructor's argument as Keras can write it to JSON."""
    if type(value).__name__ in SETTINGS:
        return settings_config(value)
    if isinstance(value, keras.layers.Layer | keras.initializers.Initializer):
        return keras.saving.serialize_keras_object(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    return value


def made(value: Any) -> Any:
    """Returns the inverse of `plain`; sequences are lists."""
    if isinstance(value, Mapping):
        if set(value) == {_KIND, _VALUES}:
            return settings_of(value)
        if "class_name" in value and "config" in value:
            return keras.saving.deserialize_keras_object(value)
    return value


def shared(layer: keras.layers.Layer, owned: bool) -> dict[str, Any]:
    """Returns a part that others may share, for the config of one that reads
    it.

    Args:
      layer: the part.
      owned: whether the reader creates its variables, below its own scope;
        else they are created as soon as the part is loaded.
    """
    value = dict(keras.saving.serialize_keras_object(layer))
    value[_SHARED] = id(layer)
    if owned:
        value.pop(_BUILD, None)
    return value


# --- files -----------------------------------------------------------------


def save_whole(
    save: Callable[..., None],
    filepath: Any,
    overwrite: bool,
    zipped: bool | None,
    **named: Any,
) -> None:
    """Saves a model in a `.keras` file that is whole, or is not there.

    Args:
      save: of `keras.Model`.
      filepath: its argument; what is not a local file is left to Keras.
      overwrite: its argument.
      zipped: its argument.
      **named: others of it.

    Raises:
      UserError: it cannot be written, or something in the model cannot be
        saved.
    """
    path = os.fspath(filepath)
    if (
        "://" in path
        or zipped is False
        or path.endswith((".h5", ".hdf5"))
        or (os.path.exists(path) and not overwrite)
    ):
        save(filepath, overwrite, zipped, **named)
        return
    if not path.endswith(".keras"):
        raise UserError(
            f"{path}: expected a name that ends in .keras; save_pretrained "
            "writes a directory"
        )
    aside = f"{path.removesuffix('.keras')}.tmp-{uuid.uuid4().hex[:8]}.keras"
    try:
        with files.named_errors(path, "write"):
            save(aside, overwrite, zipped, **named)
            os.replace(aside, path)
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot save {path}: {reason:.300}") from error
    finally:
        if os.path.exists(aside):
            os.remove(aside)


# --- layers ----------------------------------------------------------------


class Saved(keras.layers.Layer):
    """A layer that Keras can save; see the module.

    Of a subclass, `_arguments` names the constructor's arguments that are
    attributes too, beside Keras' own; `_options` attributes that are set
    after it.
    """

    _arguments: ClassVar[tuple[str, ...]] = ("config",)
    _options: ClassVar[tuple[str, ...]] = ()

    def get_config(self) -> dict[str, Any]:
        """Gives the constructor's arguments as plain values."""
        config = keras.layers.Layer.get_config(self)
        for name in (*self._arguments, *self._options):
            config[name] = plain(getattr(self, name))
        switched = dict(_switched(self, self.trainable, ""))
        if switched:
            config["trainable_parts"] = switched
        return config

    @classmethod
    def from_config(cls: type[L], config: Mapping[str, Any]) -> L:
        """Makes a layer, not yet built, of what `get_config` gave.

        Args:
          config: its own values, and only these.
        """
        values = {name: made(value) for name, value in config.items()}
        switched = values.pop("trainable_parts", {})
        options = {n: values.pop(n) for n in cls._options if n in values}
        layer = cls._from_values(values)
        for name, value in options.items():
            setattr(layer, name, value)
        _switch(layer, switched)
        return layer

    @classmethod
    def _from_values(cls: type[L], values: dict[str, Any]) -> L:
        """Makes it of the constructor's arguments."""
        return cls(**values)

    def get_build_config(self) -> dict[str, Any] | None:
        """Gives what the variables' shapes and paths follow from."""
        if not self.built:
            return None
        config = dict(super().get_build_config() or {})
        return config | ({"path": self.path} if self.path else {})

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Creates the variables where they were.

        Args:
          config: what `get_build_config` gave.
        """
        layer: Any = self
        today = layer.name
        above, _, then = config.get("path", today).rpartition("/")
        # It may have been renamed since its variables were created.
        layer.name = then
        try:
            with _scope(above):
                self._build_again(config)
        finally:
            layer.name = today

    def _build_again(self, config: Mapping[str, Any]) -> None:
        if config.get("input_shape") is not None:
            self.build(tuple(config["input_shape"]))
        else:
            self.build(**config.get("shapes_dict", {}))


@contextlib.contextmanager
def _scope(above: str) -> Iterator[None]:
    """Variables created inside have this path before their own."""
    if not above:
        yield
        return
    outer, _, last = above.rpartition("/")
    with keras.name_scope(last, override_parent=outer):
        yield


def _parts(layer: Any) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields the layers that are attributes of a layer, alone or in lists."""
    for name, value in vars(layer).items():
        if name.startswith("_"):
            continue
        if isinstance(value, keras.layers.Layer):
            yield name, value
        elif isinstance(value, list | tuple):
            for i, part in enumerate(value):
                if isinstance(part, keras.layers.Layer):
                    yield f"{name}.{i}", part
        elif isinstance(value, dict):
            for key, part in value.items():
                if isinstance(part, keras.layers.Layer):
                    yield f"{name}.{key}", part


def _switched(
    layer: Any, trainable: bool, prefix: str
) -> Iterator[tuple[str, bool]]:
    """Yields (name, trainable) of the parts that differ from what is above
    them.
    """
    for name, part in _parts(layer):
        path = f"{prefix}{name}"
        if part.trainable != trainable:
            yield path, part.trainable
        yield from _switched(part, part.trainable, f"{path}/")


def _switch(layer: keras.layers.Layer, switched: Mapping[str, bool]) -> None:
    """The inverse of `_switched`; parts that are not there are passed over."""
    if not layer.trainable:
        layer.trainable = False  # its parts too, as Keras has it
    for path, trainable in switched.items():
        part: Any = layer
        for name in path.split("/"):
            part = dict(_parts(part)).get(name)
            if part is None:
                break
        else:
            part.trainable = trainable
