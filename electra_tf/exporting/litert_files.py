"""Makes the files of an export for `serve` with LiteRT.

    DIR/1/assets.extra/encoder.tflite   the encoder; see `lite_encoder`
    DIR/1/saved_model.pb                has the halves of signatures too, as
                                        functions below `HALVES`

`electra_tf.json` says which: `litert`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf import litert
from electra_tf.errors import UserError
from electra_tf.exporting import tflite
from electra_tf.exporting.graphs import halves
from electra_tf.exporting.graphs.inputs import Signatures
from electra_tf.exporting.servable import Servable
from electra_tf.models import lite_encoder

FILE = "encoder.tflite"
HALVES = "litert"
TOLERANCE = 1e-4
_SIGNATURES = ("serving_default", "embed", "embed_first")


class Prepared(NamedTuple):
    """The content to write."""

    content: bytes  # of the file
    functions: Signatures  # NAME_rows and NAME_answer of each signature
    description: dict[str, Any]  # of electra_tf.json, `litert`


def prepare(servable: Servable, made: Signatures, int8: bool) -> Prepared:
    """Divides signatures, and converts the encoder.

    Args:
      servable: the model.
      made: its signatures.
      int8: whether LiteRT multiplies in 8 bits.

    Raises:
      UserError: the encoder is not supported, or no signature runs it.
    """
    network = servable.network
    wanted = [name for name in made if name in _SIGNATURES]
    states: lite_encoder.States = "sequence_output"
    if wanted == ["serving_default"]:
        states = lite_encoder.states_of(network)
    content = lite_encoder.convert_encoder(network, int8, states)
    functions: Signatures = {}
    names = {}
    for name in wanted:
        found = halves.divided(made[name], network, states)
        if found is not None:
            functions[f"{name}_rows"], functions[f"{name}_answer"] = found
            names[name] = [spec.name for spec in made[name].input_signature]
    if not names:
        raise UserError(
            "--litert: no signature of the export runs the network; leave it "
            "out"
        )
    about = {
        "file": FILE,
        "weights": "int8" if int8 else "float32",
        "states": states,
        "longest": network.config.max_positions,
        "signatures": names,
    }
    return Prepared(content, functions, about)


def difference(
    prepared: Prepared, made: Signatures, requests: Any
) -> dict[str, float]:
    """Returns the largest difference on the examples, by output.

    Args:
      prepared: the content to write.
      made: the model's own signatures.
      requests: (signature, texts by input name).

    Raises:
      UserError: a difference in float32 is larger than `TOLERANCE`.
    """
    about = prepared.description
    int8 = about["weights"] == "int8"
    lite = litert.LiteNetwork(
        prepared.content, about["longest"], int8, tflite.interpreter_class()
    )
    found: dict[str, float] = {}
    for name, texts in requests:
        if name not in about["signatures"]:
            continue
        columns = [tf.constant(texts[key]) for key in about["signatures"][name]]
        rows = prepared.functions[f"{name}_rows"](*columns)
        read = [rows[key] for key in litert.INPUTS]
        states = lite(about["states"], [part.numpy() for part in read])
        other = prepared.functions[f"{name}_answer"](*read, states, *columns)
        _note(found, name, made[name](*columns), other, int8)
    return found


def _note(
    found: dict[str, float],
    signature: str,
    one: Mapping[str, tf.Tensor],
    other: Mapping[str, tf.Tensor],
    int8: bool,
) -> None:
    """Adds the differences of a request's outputs that are floats."""
    for name, value in one.items():
        if not value.dtype.is_floating or not tf.size(value):
            continue
        a, b = value.numpy(), other[name].numpy()
        apart = np.nan_to_num(np.abs(a - b), nan=np.inf)
        key = f"{signature}/{name}"
        found[key] = max(found.get(key, 0.0), float(apart.max()))
        if not int8 and (apart > TOLERANCE * np.maximum(1.0, np.abs(a))).any():
            raise UserError(
                f"--litert: the output {name} of {signature} differs from the "
                f"model's by {apart.max():.1g}, so nothing was written; leave "
                "the flag out, and report this to the authors"
            )
