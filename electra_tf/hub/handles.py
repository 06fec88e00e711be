"""`hf://org/name` and `kaggle://owner/model/framework/variation` handles."""

import re
from collections.abc import Callable

from electra_tf.errors import UserError

# What is never needed: other frameworks' copies of the weights.
_IGNORED = ["tf_model.h5", "*.msgpack", "*.onnx", "*.ot", "*.tflite", "onnx/*"]


def is_handle(path: str) -> bool:
    """Whether `path` names something to fetch."""
    return path.startswith(("hf://", "kaggle://"))


def fetch(handle: str) -> str:
    """Downloads what a handle names, once; returns the local directory.

    Args:
      handle: `hf://org/name` or `hf://org/name@revision`, or
        `kaggle://owner/model/framework/variation`.

    Raises:
      UserError: malformed, the package for it is not installed, or it cannot
        be had (no network, no such model, no right to read it).
    """
    scheme, _, name = handle.partition("://")
    if scheme == "hf":
        if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name):
            raise UserError(f"{handle}: expected hf://org/name")
        return _fetched(handle, "huggingface_hub", _from_hugging_face, name)
    if name.count("/") < 3:
        raise UserError(
            f"{handle}: expected kaggle://owner/model/framework/variation"
        )
    return _fetched(handle, "kagglehub", _from_kaggle, name)


def _from_hugging_face(name: str) -> str:
    import huggingface_hub

    name, _, revision = name.partition("@")
    return huggingface_hub.snapshot_download(
        name, revision=revision or None, ignore_patterns=_IGNORED
    )


def _from_kaggle(name: str) -> str:
    import kagglehub

    return kagglehub.model_download(name)


def _fetched(
    handle: str, package: str, download: Callable[[str], str], name: str
) -> str:
    try:
        return download(name)
    except ImportError as error:
        raise UserError(
            f"{handle}: needs the package {package}; pip install {package}"
        ) from error
    # Each package, and the HTTP library below it, has exceptions of its own.
    except Exception as error:
        reason = " ".join(str(error).split())
        if len(reason) > 160:
            reason = reason[:157] + "..."
        raise UserError(
            f"{handle}: cannot be fetched ({type(error).__name__}: {reason}); "
            "without a network, give the directory of a copy"
        ) from error
