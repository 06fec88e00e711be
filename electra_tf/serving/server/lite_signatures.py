"""Signatures whose encoder LiteRT runs, as an export describes them.

TensorFlow makes rows of the texts, LiteRT runs the encoder over them, and
TensorFlow makes answers of its states: a call is answered sooner, above all
one of a single short text.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from electra_tf import files, litert
from electra_tf.errors import UserError
from electra_tf.serving.server import cancelable
from electra_tf.serving.server.limits import RequestError


class LiteSignatures:
    """Those signatures of a version that LiteRT helps to answer.

    Args:
      directory: `assets.extra` of the version.
      about: `litert` of its electra_tf.json.
      halves: the functions of the SavedModel, by name.
      most: texts of a call that LiteRT answers; None for any number.

    Raises:
      UserError: its file is not there, or cannot be run.
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
        """Answers a call.

        Args:
          signature: one of these.
          tensors: string [B], by input.
          stop: ends the call, between rows too.

        Returns:
          A tensor for each output.

        Raises:
          RequestError: it was asked to stop.
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
    """Finds out what LiteRT runs of a version.

    Args:
      engine: "auto" takes LiteRT where it is installed and the export is made
        for it: for all calls in 8 bits; else for those of one text, as
        TensorFlow computes several in less time.
      directory: of the version.
      description: its electra_tf.json.
      saved_model: what TensorFlow loaded.

    Raises:
      UserError: LiteRT was asked for and cannot be had.
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
