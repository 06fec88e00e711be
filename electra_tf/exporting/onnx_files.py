"""Writes a model as a directory for ONNX Runtime, with its tokenizer.

    DIR/model.onnx       ids in, logits or vectors out; see `onnx_graph`
    DIR/config.json      shape, labels and class, as Hugging Face keeps them
    DIR/tokenizer.json   and vocab.txt, tokenizer_config.json,
                         special_tokens_map.json: for `tokenizers` and Optimum

The directory is made under a temporary name, run with ONNX Runtime, and
renamed when what it gives is what the model gives.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.exporting import description, onnx_graph
from electra_tf.exporting.graphs import inputs
from electra_tf.exporting.servable import Part, Servable
from electra_tf.hub import huggingface, huggingface_tokenizer
from electra_tf.hub.aside import written_aside
from electra_tf.models.rows import Rows
from electra_tf.models.task_heads import SpanOutput
from electra_tf.tasks.texts.targets import Number
from electra_tf.tasks.texts.task import TextTask

FILE = "model.onnx"
TOLERANCE = 1e-4
"""How far an output may be from the model's: by so much for each 1 of it."""

_LIMIT = 2**31 - 2**20  # bytes of a file of protocol buffers


class Written(NamedTuple):
    """What was written."""

    path: str
    outputs: dict[str, list[str | int]]  # name -> shape
    difference: float  # the largest between an output and the model's


def write(
    servable: Servable, output: str, signatures: Sequence[str] | None = None
) -> Written:
    """Writes the directory.

    Args:
      servable: the model.
      output: the directory; not there yet, or empty.
      signatures: what it computes; see `onnx_graph.model`. The head's outputs
        where None.

    Raises:
      UserError: something is there, packages are missing, the network is of a
        kind that is not covered, or ONNX Runtime computes something else.
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
    number = _number(servable)
    made = onnx_graph.model(servable.network, wanted, number)
    # Of the weights: nothing larger can be written out to be measured.
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


def _number(servable: Servable) -> tuple[float, float] | None:
    """Scale and offset of a regression."""
    task = servable.predictor.task if servable.predictor else None
    if isinstance(task, TextTask) and isinstance(task.target, Number):
        return task.target.scale, task.target.offset
    return None


def _write_beside(servable: Servable, folder: str) -> None:
    """The tokenizer's files and config.json."""
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
    """The largest difference on the examples, and on a batch with padding.

    Raises:
      UserError: it is larger than `TOLERANCE`.
    """
    worst = 0.0
    for rows in _samples(servable):
        mask = tf.sequence_mask(
            rows.lengths, tf.shape(rows.input_ids)[1], tf.int32
        )
        wanted = expected(
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
                # What stands at padding is nobody's answer.
                kept = mask.numpy().astype(bool)
                apart, theirs = apart[kept], theirs[kept]
            worst = max(worst, float(apart.max(initial=0.0)))
            allowed = TOLERANCE * np.maximum(1.0, np.abs(theirs))
            if (apart > allowed).any():
                raise UserError(
                    f"--format=onnx: ONNX Runtime gives {name} otherwise than "
                    f"the model, by {apart.max():.1g}, and nothing was "
                    "written; tell the authors, and export without the flag"
                )
    return worst


def _samples(servable: Servable) -> list[inputs.Rows]:
    """The examples of the model's kind, and random tokens as long as it reads.

    Each is a batch of rows of several lengths.
    """
    tokenizer, length = servable.tokenizer, servable.max_seq_length
    vocab = tokenizer.vocab
    language = description.language_of(vocab)
    kind = "discriminator" if servable.kind == "encoder" else servable.kind
    texts = description.examples_of(kind, servable.pair, language)
    first, *second = map(tf.constant, zip(*(row.values() for row in texts)))
    if second:
        examples = inputs.pair_rows(tokenizer, first, second[0], length)
    else:
        examples = inputs.text_rows(tokenizer, first, length)
    rng = np.random.default_rng(0)
    counts = np.array([length, max(3, length // 2), 3], "int32")
    ids = rng.integers(0, len(vocab), [3, length]).astype("int32")
    ids[np.arange(length) >= counts[:, None]] = vocab.pad_id
    segments = np.zeros_like(ids)
    if servable.pair:
        segments[:, length // 4 :] = 1
        segments[ids == vocab.pad_id] = 0
    random = inputs.Rows(*map(tf.constant, (ids, segments, counts)))
    return [examples, random]


def expected(
    network: Any,
    rows: Rows,
    signatures: Sequence[str],
    number: tuple[float, float] | None = None,
) -> Mapping[str, tf.Tensor]:
    """Computes with the network itself what an export of it gives.

    Args:
      network: see `onnx_graph.model`.
      rows: a batch.
      signatures: see there.
      number: see there.

    Returns:
      Name of an output -> float32, shaped as the export's.
    """
    found: dict[str, tf.Tensor] = {}
    if network.config.type_vocab_size == 1:
        rows = rows._replace(segment_ids=None)
    output = network(rows, training=False)
    read = getattr(output, "encoder", output)
    if "serving_default" in signatures:
        spans = getattr(output, "spans", None)
        logits = getattr(output, "logits", None)
        if isinstance(spans, SpanOutput):
            found["start_logits"] = spans.start_logits
            found["end_logits"] = spans.end_logits
            if spans.impossible_logit is not None:
                found["no_answer_logit"] = spans.impossible_logit
        elif logits is not None:
            scale, offset = number or (1.0, 0.0)
            found["logits"] = logits * scale + offset
        else:
            found["last_hidden_state"] = read.sequence_output
    hidden = read.sequence_output
    real = tf.cast(rows.mask, hidden.dtype)[:, :, tf.newaxis]
    total = tf.reduce_sum(hidden * real, 1)
    found["sentence_embedding"] = total / tf.reduce_sum(real, 1)
    found["cls_embedding"] = hidden[:, 0]
    return found
