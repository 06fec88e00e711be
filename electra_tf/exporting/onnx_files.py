"""Writes a model as a directory for ONNX Runtime, with its tokenizer.

    DIR/model.onnx       ids in, logits or vectors out; see `onnx_graph`
    DIR/config.json      shape, labels and class, as Hugging Face keeps them
    DIR/tokenizer.json   and vocab.txt, tokenizer_config.json,
                         special_tokens_map.json: for `tokenizers` and Optimum

The directory is made under a temporary name, run with ONNX Runtime, and renamed
if its outputs equal the model's.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.exporting import network_outputs, onnx_graph
from electra_tf.exporting.servable import Part, Servable
from electra_tf.hub import huggingface, huggingface_tokenizer
from electra_tf.hub.aside import written_aside
from electra_tf.models.rows import Rows

FILE = "model.onnx"
TOLERANCE = 1e-4
"""How far an output may be from the model's: by so much for each 1 of it."""

_LIMIT = 2**31 - 2**20  # bytes of a file of protocol buffers


class Written(NamedTuple):
    """The result of an export."""

    path: str
    outputs: dict[str, list[str | int]]  # name -> shape
    difference: float  # largest difference from the model's outputs


def write(
    servable: Servable, output: str, signatures: Sequence[str] | None = None
) -> Written:
    """Writes the directory.

    Args:
      servable: the model.
      output: the directory, which must be new or empty.
      signatures: signatures; see `onnx_graph.model`. None means the head's
        outputs.

    Raises:
      UserError: the output exists, packages are missing, the network is not
        supported, or ONNX Runtime computes something else.
    """
    if files.exists(output) and (
        not files.is_directory(output) or files.list_directory(output)
    ):
        raise UserError(
            f"--output: {output}: is there already; remove it, or name another "
            "directory"
        )
    wanted = tuple(signatures or ("serving_default",))
    onnxruntime = onnx_graph.package("onnxruntime")
    number = network_outputs.number(servable)
    made = onnx_graph.model(servable.network, wanted, number)
    # Checked on the weights, as a larger model cannot be serialized.
    size = sum(len(one.raw_data) for one in made.graph.initializer)
    if size > _LIMIT:
        raise UserError(
            f"--format=onnx: the model has {size:,} bytes, and a file of this "
            "format holds 2 GB"
        )
    outputs = {
        one.name: [
            axis.dim_param or axis.dim_value
            for axis in one.type.tensor_type.shape.dim
        ]
        for one in made.graph.output
    }
    content = made.SerializeToString()
    onnx_graph.package("onnx").checker.check_model(content)
    session = onnxruntime.InferenceSession(
        content, providers=["CPUExecutionProvider"]
    )
    difference = _compare(servable, session, list(outputs), wanted, number)
    with written_aside(output) as temporary:
        files.make_directory(temporary)
        files.write_bytes(files.join(temporary, FILE), content)
        _write_beside(servable, temporary)
    return Written(output, outputs, difference)


def _write_beside(servable: Servable, folder: str) -> None:
    """Writes the tokenizer's files and config.json."""
    network, tokenizer = servable.network, servable.tokenizer
    config = (servable.predictor or network).directory_config
    part: Part = (
        "generator" if servable.kind == "generator" else "discriminator"
    )
    huggingface_tokenizer.write(
        folder,
        tokenizer.vocab,
        tokenizer.lower_case,
        tokenizer.strip_accents,
        min(servable.max_seq_length, network.config.max_positions),
    )
    content = huggingface.description(config, part)
    content["pad_token_id"] = tokenizer.vocab.pad_id
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    files.write_text(files.join(folder, huggingface.CONFIG), text)


def _compare(
    servable: Servable,
    session: Any,
    names: Sequence[str],
    signatures: Sequence[str],
    number: tuple[float, float] | None,
) -> float:
    """Returns the largest difference on samples, including padded batches.

    Raises:
      UserError: it is larger than `TOLERANCE`.
    """
    worst = 0.0
    for rows in network_outputs.samples(servable):
        mask = tf.sequence_mask(
            rows.lengths, tf.shape(rows.input_ids)[1], tf.int32
        )
        wanted = network_outputs.expected(
            servable.network,
            Rows(rows.input_ids, mask, rows.segment_ids),
            signatures,
            number,
        )
        values = (rows.input_ids, mask, rows.segment_ids)
        found = session.run(
            list(names),
            {
                name: value.numpy().astype("int64")
                for name, value in zip(onnx_graph.INPUTS, values)
            },
        )
        for name, value in zip(names, found):
            theirs = wanted[name].numpy()
            apart = np.nan_to_num(np.abs(value - theirs), nan=np.inf)
            if theirs.ndim > 1 and theirs.shape[1:2] == mask.shape[1:]:
                # Outputs at padding are not used.
                kept = mask.numpy().astype(bool)
                apart, theirs = apart[kept], theirs[kept]
            worst = max(worst, float(apart.max(initial=0.0)))
            allowed = TOLERANCE * np.maximum(1.0, np.abs(theirs))
            if (apart > allowed).any():
                raise UserError(
                    f"--format=onnx: the output {name} of ONNX Runtime differs "
                    f"from the model's by {apart.max():.1g}, so nothing was "
                    "written; export without the flag, and report this to the "
                    "authors"
                )
    return worst
