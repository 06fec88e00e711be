"""Computes expected outputs of exports to ONNX and LiteRT."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf.exporting import description
from electra_tf.exporting.servable import Servable
from electra_tf.models.rows import Rows
from electra_tf.models.task_heads import SpanOutput
from electra_tf.tasks.texts.targets import Number
from electra_tf.tasks.texts.task import TextTask
from electra_tf.text import rows as text_rows

SIGNATURES = ("serving_default", "embed", "embed_first")


def number(servable: Servable) -> tuple[float, float] | None:
    """Returns scale and offset of a regression."""
    task = servable.predictor.task if servable.predictor else None
    if isinstance(task, TextTask) and isinstance(task.target, Number):
        return task.target.scale, task.target.offset
    return None


def samples(servable: Servable) -> list[text_rows.Rows]:
    """Returns sample batches: texts of the model's kind, and random tokens.

    Each is a batch of rows of several lengths.
    """
    tokenizer, length = servable.tokenizer, servable.max_seq_length
    vocab = tokenizer.vocab
    language = description.language_of(vocab)
    kind = "discriminator" if servable.kind == "encoder" else servable.kind
    texts = description.examples_of(kind, servable.pair, language)
    first, *second = map(tf.constant, zip(*(row.values() for row in texts)))
    if second:
        examples = text_rows.pair_rows(tokenizer, first, second[0], length)
    else:
        examples = text_rows.text_rows(tokenizer, first, length)
    rng = np.random.default_rng(0)
    counts = np.array([length, max(3, length // 2), 3], "int32")
    ids = rng.integers(0, len(vocab), [3, length]).astype("int32")
    ids[np.arange(length) >= counts[:, None]] = vocab.pad_id
    segments = np.zeros_like(ids)
    if servable.pair:
        segments[:, length // 4 :] = 1
        segments[ids == vocab.pad_id] = 0
    random = text_rows.Rows(*map(tf.constant, (ids, segments, counts)))
    return [examples, random]


def expected(
    network: Any,
    rows: Rows,
    signatures: Sequence[str],
    number: tuple[float, float] | None = None,
) -> Mapping[str, tf.Tensor]:
    """Computes the expected outputs of an export by the network itself.

    Args:
      network: a network with one encoder.
      rows: a batch.
      signatures: "serving_default", the head's outputs, or the last hidden
        states without a head; "embed" and "embed_first", one vector for each
        row.
      number: scale and offset from a regression's logit to its number; None for
        others.

    Returns:
      Name of an output -> float32, in the export's shape.
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
    if "embed" in signatures:
        real = tf.cast(rows.mask, hidden.dtype)[:, :, tf.newaxis]
        total = tf.reduce_sum(hidden * real, 1)
        found["sentence_embedding"] = total / tf.reduce_sum(real, 1)
    if "embed_first" in signatures:
        found["cls_embedding"] = read.first_output
    return found
