"""Uploads a model directory to a hub."""

import re
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import directory, loading

# Files that are not published: the state of training.
_PRIVATE = ("*.tmp-*", "optimizer*", "checkpoints/*")


def push(
    path: str, handle: str, private: bool = False, message: str | None = None
) -> str:
    """Uploads a model, with the hub's own package.

    Args:
      path: a model directory of ours or of another format, or a run.
      handle: `hf://org/name`, or `kaggle://owner/model/framework/variation`.
      private: whether a new repository is private.
      message: description of the change.

    Returns:
      The model's address.

    Raises:
      UserError: the model is missing, the handle has another form, the package
        is not installed, or there is no network or no permission to write.
    """
    scheme, _, name = handle.partition("://")
    upload: Any
    if scheme == "hf":
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise UserError(f"{handle}: expected hf://org/name")
        package, upload = "huggingface_hub", _to_hugging_face
    elif scheme == "kaggle":
        if name.count("/") != 3:
            raise UserError(
                f"{handle}: expected kaggle://owner/model/framework/variation"
            )
        package, upload = "kagglehub", _to_kaggle
    else:
        raise UserError(
            f"--to={handle}: expected hf://org/name or "
            "kaggle://owner/model/framework/variation"
        )
    folder = _model_in(path)
    message = message or "A model of electra_tf"
    try:
        return upload(folder, name, private, message)
    except ImportError as error:
        raise UserError(
            f"{handle}: needs the package {package}; pip install {package}"
        ) from error
    # Each package, and the HTTP library below it, has its own exceptions.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{handle}: cannot upload {folder} ({type(error).__name__}: "
            f"{reason}); is there a network, and a token that may write?"
        ) from error


def _model_in(path: str) -> str:
    """Returns the folder to upload: a run's model, or one of any format."""
    if not files.is_local(path) or not files.is_directory(path):
        raise UserError(f"{path}: no such local directory")
    names = files.list_directory(path)
    if "config.json" in names and any(
        name.endswith((".safetensors", ".bin", ".h5")) for name in names
    ):
        return path
    others = [name for name in loading.FORMATS if name != "electra_tf"]
    if not directory.recognises(path) and any(
        loading.format_module(name).recognises(path) for name in others
    ):
        return path  # a TF1 checkpoint, or two networks in two folders
    return directory.find(path)


def _to_hugging_face(
    folder: str, name: str, private: bool, message: str
) -> str:
    import huggingface_hub

    api = huggingface_hub.HfApi()
    api.create_repo(name, private=private, exist_ok=True)
    api.upload_folder(
        repo_id=name,
        folder_path=folder,
        commit_message=message,
        ignore_patterns=list(_PRIVATE),
    )
    return f"hf://{name}"


def _to_kaggle(folder: str, name: str, private: bool, message: str) -> str:
    del private  # new models there are private until their owner changes it
    import kagglehub

    kagglehub.model_upload(
        name, folder, version_notes=message, ignore_patterns=list(_PRIVATE)
    )
    return f"kaggle://{name}"
