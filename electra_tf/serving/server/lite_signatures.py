"""Runs signatures whose encoder is computed by LiteRT.

TensorFlow makes rows from texts, LiteRT runs the encoder, and TensorFlow makes
predictions from its states: calls are faster, above all with a single short
text.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from electra_tf import files, litert
from electra_tf.errors import UserError
from electra_tf.serving.server import cancelable
from electra_tf.serving.server.limits import RequestError


class LiteSignatures:
    """The signatures of a version that LiteRT supports.

    Args:
      directory: directory `assets.extra` of the version.
      about: key `litert` of its electra_tf.json.
      halves: functions of the SavedModel, by name.
      most: texts of a call that LiteRT answers at most; None for any number.

    Raises:
      UserError: its file is missing, or cannot be run.
    """

    def __init__(
        self,
        directory: str,
        about: Mapping[str, Any],
        halves: Mapping,
        most: int | None = None,
    ) -> None:
        self._most = most
        path = files.join(directory, about["file"])
        self._network = litert.LiteNetwork(
            files.read_bytes(path),
            about["longest"],
            about["weights"] == "int8",
        )
        self._states: str = about["states"]
        self._halves = {
            name: (
                *self._traced(halves, name, len(inputs)),
                inputs,
            )
            for name, inputs in about["signatures"].items()
        }

    def _traced(self, halves: Mapping, name: str, texts: int) -> tuple:
        """Finds both functions of a signature, for calls without a search.

        Args:
          halves: see the class.
          name: the signature's.
          texts: how many it takes.
        """
        import tensorflow as tf

        shape = self._network.shapes[self._states]
        known = tf.TensorSpec([None, *(None if n < 0 else n for n in shape)])
        parts = [tf.TensorSpec([None, None], tf.int32)] * len(litert.INPUTS)
        columns = [tf.TensorSpec([None], tf.string)] * texts
        read, answer = halves[f"{name}_rows"], halves[f"{name}_answer"]
        return (
            read.get_concrete_function(*columns),
            answer.get_concrete_function(*parts, known, *columns),
        )

    def takes(self, signature: str, texts: int | None = None) -> bool:
        """Returns whether LiteRT answers a call.

        Args:
          signature: its name.
          texts: how many it has; None asks whether of any number.
        """
        if signature not in self._halves:
            return False
        return self._most is None or (texts is not None and texts <= self._most)

    def call(
        self,
        signature: str,
        tensors: Mapping[str, Any],
        stop: cancelable.Stop,
    ) -> Mapping[str, Any]:
        """Runs a call.

        Args:
          signature: one of these signatures.
          tensors: inputs, string [B], by name.
          stop: ends the call, also between rows.

        Returns:
          A tensor for each output.

        Raises:
          RequestError: it was stopped.
        """
        import tensorflow as tf

        read, answer, names = self._halves[signature]
        texts = [tensors[name] for name in names]
        rows = cancelable.call(lambda: read(*texts), {}, stop)
        parts = [rows[name] for name in litert.INPUTS]
        try:
            states = self._network(
                self._states,
                [part.numpy() for part in parts],
                stopped=lambda: stop.requested,
            )
        except litert.Stopped as error:
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE, "The call was cancelled"
            ) from error
        known = tf.constant(states)
        return cancelable.call(lambda: answer(*parts, known, *texts), {}, stop)


def of_version(
    engine: litert.Engine,
    directory: str,
    description: Mapping[str, Any] | None,
    saved_model: Any,
) -> LiteSignatures | None:
    """Finds the signatures of a version that LiteRT runs.

    Args:
      engine: "auto" uses LiteRT where it is installed and the export supports
        it: for all calls in 8 bits, in float32 for those of one text.
        TensorFlow computes several in less time.
      directory: directory of the version.
      description: its electra_tf.json.
      saved_model: the SavedModel loaded by TensorFlow.

    Raises:
      UserError: LiteRT was asked for and is not available.
    """
    about = (description or {}).get("litert")
    if engine == "tensorflow" or (engine == "auto" and not about):
        return None
    if not about:
        raise UserError(
            f"{directory}: --engine=litert: has no encoder for LiteRT; export "
            "it with --litert, or give --engine=auto"
        )
    if engine == "auto" and not litert.installed():
        return None
    extra = files.join(directory, "assets.extra")
    alone = engine == "auto" and about["weights"] != "int8"
    most = 1 if alone else None
    return LiteSignatures(extra, about, saved_model.litert, most)
