"""Reads which versions of models are served, in TensorFlow Serving's form."""

import dataclasses
import posixpath
from collections.abc import Mapping
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Served:
    """The directory of a model, and its served versions.

    Attributes:
      directory: directory of the versions.
      newest: number of newest versions; None is all.
      specific: if not empty, only these versions.
      labels: label -> version, as `stable`.
    """

    directory: str
    newest: int | None = 1
    specific: tuple[int, ...] = ()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)


def is_name(name: str) -> bool:
    """Returns whether a path of the REST interface can hold a model's name."""
    return bool(name) and not set(name) & set("/:") and name.isprintable()


def read_config(path: str) -> dict[str, Served]:
    """Reads a `ModelServerConfig` in text form, as `models.config`.

    Args:
      path: the file; a relative `base_path` in it starts at its folder.

    Returns:
      Model name -> directory and versions.

    Raises:
      UserError: the file is missing or has another form, or needs something
        unsupported.
    """
    try:
        from google.protobuf import text_format
        from tensorflow_serving.config import model_server_config_pb2
    except ImportError as error:
        raise UserError(
            "--model_config_file needs more packages: pip install "
            f"'electra-tf[serving]' ({error})"
        ) from error
    config = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(files.read_text(path), config)
    except text_format.ParseError as error:
        raise UserError(f"{path}:{error}") from error
    if config.HasField("custom_model_config"):
        raise UserError(
            f"{path}: custom_model_config is not served here; expected "
            "model_config_list"
        )
    found: dict[str, Served] = {}
    for model in config.model_config_list.config:
        if not model.name or not model.base_path:
            raise UserError(f"{path}: a model needs a name and a base_path")
        if not is_name(model.name):
            raise UserError(
                f"{path}: {model.name!r} is not a valid model name: no request "
                "could name it"
            )
        if model.name in found:
            raise UserError(f"{path}: two models are named '{model.name}'")
        if model.model_platform not in ("", "tensorflow"):
            raise UserError(
                f"{path}: model '{model.name}': model_platform: expected "
                f'"tensorflow", got "{model.model_platform}"'
            )
        found[model.name] = _served(path, model)
    if not found:
        raise UserError(f"{path}: names no model")
    return found


def _served(path: str, model: Any) -> Served:
    directory = model.base_path
    if files.is_local(directory):
        directory = posixpath.join(posixpath.dirname(path), directory)
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    newest: int | None = 1
    if kind == "latest" and policy.latest.num_versions:
        newest = policy.latest.num_versions
    elif kind == "all":
        newest = None
    return Served(
        directory,
        newest,
        tuple(policy.specific.versions) if kind == "specific" else (),
        dict(model.version_labels),
    )
