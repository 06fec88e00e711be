"""The paths of TensorFlow Serving's REST interface."""

import dataclasses
import re

from electra_tf.serving.server.request_error import invalid

PREFIX = "/v1/"
_MODEL = r"/v1/models/(?P<model>[^/:]+)"
_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_VERB = re.compile(
    _MODEL + _VERSION + r":(?P<verb>classify|regress|predict)", re.IGNORECASE
)
_READ = re.compile(_MODEL + _VERSION + r"(?P<verb>/metadata)?", re.IGNORECASE)
_LIST = re.compile(r"/v1/models/?", re.IGNORECASE)
_LARGEST_VERSION = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Target:
    """What a path names.

    Attributes:
      verb: "models", "status", "metadata", "predict", "classify", "regress".
      model: its name; "" with "models".
      version: its number; None means the newest.
    """

    verb: str
    model: str = ""
    version: int | None = None


def parse(method: str, path: str) -> Target:
    """Finds out what is asked.

    Args:
      method: of HTTP; HEAD asks as GET does.
      path: decoded, begins with `/v1/`.

    Raises:
      RequestError: 400, as TensorFlow Serving answers to what it does not
        know under this prefix.
    """
    if method == "POST":
        found = _VERB.fullmatch(path)
    elif method in ("GET", "HEAD"):
        if _LIST.fullmatch(path):
            return Target("models")
        found = _READ.fullmatch(path)
    else:
        found = None
    if not found:
        raise invalid(f"Malformed request: {method} {path[:200]}")
    if found["label"] is not None:
        raise invalid(f"Unrecognized servable version label: {found['label']}")
    version = None
    if found["version"] is not None:
        # Checked as text first: Python refuses numbers of very many digits.
        digits = found["version"].lstrip("0")
        if len(digits) > 19 or int(digits or "0") > _LARGEST_VERSION:
            raise invalid(
                f"Failed to convert version: {digits[:40]} to numeric."
            )
        version = int(digits or "0")
    verb = (found["verb"] or "status").lower().removeprefix("/")
    return Target(verb, found["model"], version)
