"""Checks that Keras runs on TensorFlow, or says what to set.

Keras reads its backend from the environment variable KERAS_BACKEND, else from
its file keras.json; the default is TensorFlow.
"""

import json
import os

from electra_tf.errors import UserError

OURS = "tensorflow"
_VARIABLE = "KERAS_BACKEND"


def keras_json() -> str:
    """Returns the path of Keras' settings file, which may not exist."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        base = os.path.expanduser("~")
        base = base if os.access(base, os.W_OK) else "/tmp"
        home = os.path.join(base, ".keras")
    return os.path.expanduser(os.path.join(home, "keras.json"))


def asked_for() -> tuple[str, str]:
    """Returns the backend that Keras will use, and where it is set.

    Returns:
      Its name, and the variable or file; an empty text for the default.
    """
    named = os.environ.get(_VARIABLE)
    if named:
        return named, f"the environment variable {_VARIABLE}"
    path = keras_json()
    try:
        with open(path, encoding="utf-8") as file:
            named = json.load(file).get("backend")
    except (OSError, ValueError, AttributeError):
        named = None
    return (str(named), path) if named else (OURS, "")


def check(running: str | None = None) -> None:
    """Refuses backends other than TensorFlow.

    Args:
      running: the backend of Keras; None means the one it will use.

    Raises:
      UserError: the backend is another; the message says what to set.
    """
    named, where = asked_for()
    if running is not None:
        where = where if running == named else ""
        named = running
    if named == OURS:
        return
    said = f", as {where} says" if where else ""
    raise UserError(
        f"Keras' backend is {named}{said}: the networks of electra_tf need "
        f"TensorFlow; set {_VARIABLE}={OURS} before Keras is imported"
        + (
            f', or "backend": "{OURS}" in {where}'
            if where.endswith(".json")
            else ""
        )
    )


def compute_in(threads: int) -> None:
    """Sets the number of TensorFlow's threads, if it has not started yet.

    One is best where a machine runs a process for each of its cores.
    """
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:  # it has already started
        return
