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
<<<<<<< HEAD
      directory: `assets.extra` of the version.
      about: `litert` of its electra_tf.json.
      halves: the functions of the SavedModel, by name.
      most: texts of a call that LiteRT answers; None for any number.
=======
      directory: directory `assets.extra` of the version.
      about: key `litert` of its electra_tf.json.
      halves: functions of the SavedModel, by name.
>>>>>>> main

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
            name: (halves[f"{name}_rows"], halves[f"{name}_answer"], inputs)
            for name, inputs in about["signatures"].items()
        }

    def takes(self, signature: str, texts: int | None = None) -> bool:
        """Whether LiteRT answers a call.

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
        return cancelable.call(lambda: answer(*parts, states, *texts), {}, stop)


def of_version(
    engine: litert.Engine,
    directory: str,
    description: Mapping[str, Any] | None,
    saved_model: Any,
) -> LiteSignatures | None:
    """Finds the signatures of a version that LiteRT runs.

    Args:
<<<<<<< HEAD
      engine: "auto" takes LiteRT where it is installed and the export is made
        for it: for all calls in 8 bits; else for those of one text, as
        TensorFlow computes several in less time.
      directory: of the version.
=======
      engine: "auto" uses LiteRT where it is installed and the export supports
        it.
      directory: directory of the version.
>>>>>>> main
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
