"""Lets Keras save our layers and networks.

A layer declares which of its constructor's arguments describe it; its
`get_config` returns them as plain values, and `from_config` makes a layer from
these. A network also has parts that others may share: tables, an encoder.
Within one file Keras makes one object of all configs with the same
`shared_object_id`, so each network writes its shared parts in full.

Paths of variables are restored, as learning rates may depend on them.
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

# Kinds of settings, by their names in files.
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
    """Converts settings to plain values, with the name of their kind.

    Args:
      settings: a dataclass that `SETTINGS` lists.
    """
    kind = type(settings).__name__
    if kind not in SETTINGS:
        raise ValueError(f"saved.SETTINGS lacks {kind}")
    return {_KIND: kind, _VALUES: configs.to_dict(settings)}


def settings_of(value: Mapping[str, Any]) -> Any:
    """Restores settings: the inverse of `settings_config`.

    Raises:
      UserError: the kind is unknown, or does not accept the values.
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
    """Converts a constructor's argument to a form that Keras writes as JSON."""
    if type(value).__name__ in SETTINGS:
        return settings_config(value)
    if isinstance(value, keras.layers.Layer | keras.initializers.Initializer):
        return keras.saving.serialize_keras_object(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    return value


def made(value: Any) -> Any:
    """Restores an argument: the inverse of `plain`; sequences are lists."""
    if isinstance(value, Mapping):
        if set(value) == {_KIND, _VALUES}:
            return settings_of(value)
        if "class_name" in value and "config" in value:
            return keras.saving.deserialize_keras_object(value)
    return value


def shared(layer: keras.layers.Layer, owned: bool) -> dict[str, Any]:
    """Returns the config of a part that others may share.

    Args:
      layer: the part.
      owned: whether the reader creates its variables, below its own scope; if
        not, they are created as soon as the part is loaded.
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
    """Saves a model to a `.keras` file, without leaving a partial one.

    Args:
      save: `save` of `keras.Model`.
      filepath: its argument; paths other than local files are left to Keras.
      overwrite: its argument.
      zipped: its argument.
      **named: its other arguments.

    Raises:
      UserError: the file cannot be written, or a part of the model cannot be
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
    """A layer that Keras can save; see this module.

    In a subclass, `_arguments` names the constructor's arguments that are also
    attributes, besides Keras' own; `_options` names attributes that are set
    later.
    """

    _arguments: ClassVar[tuple[str, ...]] = ("config",)
    _options: ClassVar[tuple[str, ...]] = ()

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        config = keras.layers.Layer.get_config(self)
        for name in (*self._arguments, *self._options):
            config[name] = plain(getattr(self, name))
        switched = dict(_switched(self, self.trainable, ""))
        if switched:
            config["trainable_parts"] = switched
        return config

    @classmethod
    def from_config(cls: type[L], config: Mapping[str, Any]) -> L:
        """Makes an unbuilt layer from the result of `get_config`.

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
        """Makes the layer from the constructor's arguments."""
        return cls(**values)

    def get_build_config(self) -> dict[str, Any] | None:
        """Returns what the variables' shapes and paths depend on."""
        if not self.built:
            return None
        config = dict(super().get_build_config() or {})
        return config | ({"path": self.path} if self.path else {})

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Creates the variables under their previous paths.

        Args:
          config: result of `get_build_config`.
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
    """Prefixes the paths of variables created inside."""
    if not above:
        yield
        return
    outer, _, last = above.rpartition("/")
    with keras.name_scope(last, override_parent=outer):
        yield


def _parts(layer: Any) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields the layers among a layer's attributes, single or in lists."""
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
    """Yields (name, trainable) of parts that differ from their parent."""
    for name, part in _parts(layer):
        path = f"{prefix}{name}"
        if part.trainable != trainable:
            yield path, part.trainable
        yield from _switched(part, part.trainable, f"{path}/")


def trained_parts(layer: keras.layers.Layer) -> dict[str, bool]:
    """Returns which parts of a layer train, where they differ from the whole.

    Args:
      layer: the layer, or a model; its own `trainable` is under "".
    """
    return {"": layer.trainable, **dict(_switched(layer, layer.trainable, ""))}


def switch_parts(
    layer: keras.layers.Layer, switched: Mapping[str, bool]
) -> None:
    """Applies the result of `trained_parts` to a layer of the same parts.

    Args:
      layer: the layer, or a model.
      switched: that result; parts that the layer lacks are ignored.
    """
    parts = dict(switched)
    layer.trainable = parts.pop("", True)
    _switch(layer, parts)


def _switch(layer: keras.layers.Layer, switched: Mapping[str, bool]) -> None:
    """Applies the result of `_switched`; missing parts are ignored."""
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
