"""Computes the outputs of the model that an export was made of.

    python -m capi.python_model QUESTION ANSWERS

QUESTION is a pickle: `model`, a path; `kind` and `max_seq_length`, as in the
export's description; `rows`, signature -> rows of bytes. ANSWERS is a sequence
of pickles: facts, and then for each signature in order a list. It has for each
row the outputs that the export should return, without padding, or None where
Python has no counterpart.
"""

import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import electra_tf
from capi.python_tasks import ANSWERS
from capi.texts import MASK, Row
from electra_tf.models.rows import Rows

_TOGETHER = 16  # texts in one run of a network
_BEST = 5  # tokens for a [MASK]

Outputs = dict[str, Any]


def main(source: str, target: str) -> None:
    """Answers the question of `source` in `target`; see above."""
    with open(source, "rb") as file:
        question = pickle.load(file)
    kind, length = question["kind"], question["max_seq_length"]
    if kind == "discriminator":
        network = electra_tf.Discriminator.from_pretrained(question["model"])
        default = _each(replaced, network, length)
    elif kind == "generator":
        network = electra_tf.Generator.from_pretrained(question["model"])
        default = _each(filled, network, length)
    else:
        predictor = electra_tf.load(question["model"])
        network = predictor.network
        default = lambda rows: ANSWERS[kind](predictor, rows)  # noqa: E731
        network.tokenizer = predictor.tokenizer
    answers: dict[str, Callable[[Sequence[Row]], list]] = {
        "serving_default": default,
        "classification": _renamed(
            default, {"labels": "classes", "probabilities": "scores"}
        ),
        "regression": _renamed(default, {"score": "outputs"}),
        "embed": _each(embedded, network, length),
        "embed_first": _each(embedded_first, network, length),
    }
    with open(target, "wb") as file:
        pickle.dump({"version": electra_tf.__version__}, file)
        for signature, rows in question["rows"].items():
            answer = answers.get(signature, lambda rows: [None] * len(rows))
            pickle.dump(answer(rows), file)
            file.flush()


def _renamed(function: Callable, names: dict[str, str]) -> Callable:
    """Returns a function that selects and renames a function's outputs."""

    def answer(rows: Sequence[Row]) -> list[Outputs]:
        return [
            {new: outputs[old] for old, new in names.items()}
            for outputs in function(rows)
        ]

    return answer


def _each(function: Callable, network: Any, length: int) -> Callable:
    """Turns a function of a batch of texts into one of any number of rows."""

    def answer(rows: Sequence[Row]) -> list[Outputs]:
        # Batches have texts of similar length, for speed alone.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
        found: list[Outputs] = [{}] * len(rows)
        for start in range(0, len(order), _TOGETHER):
            some = order[start : start + _TOGETHER]
            texts = [rows[i][0] for i in some]
            for i, outputs in zip(some, function(network, texts, length)):
                found[i] = outputs
        return found

    return answer


def _rows(network: Any, ids: Sequence[Sequence[int]]) -> dict[str, tf.Tensor]:
    """Returns inputs of `[CLS] ids [SEP]`, padded to the longest."""
    vocab = network.tokenizer.vocab
    rows = tf.ragged.constant(
        [[vocab.cls_id, *row, vocab.sep_id] for row in ids], tf.int32
    )
    return {
        "input_ids": rows.to_tensor(vocab.pad_id),
        "input_mask": tf.cast(tf.sequence_mask(rows.row_lengths()), tf.int32),
    }


def _hidden(network: Any, texts: Sequence[bytes], length: int) -> list:
    """Returns the hidden states of each text, [tokens, H]."""
    ids = [row[: length - 2] for row in network.tokenizer(texts).to_list()]
    inputs = _rows(network, ids)
    if hasattr(network, "hidden_at"):
        hidden, _ = network.hidden_at(Rows(**inputs))
    else:
        hidden = network.encoder(**inputs).sequence_output
    return [row[: len(i) + 2] for row, i in zip(hidden.numpy(), ids)]


def embedded(network: Any, texts: Sequence[bytes], length: int) -> list:
    """Returns the outputs of `embed`: the mean of the hidden states."""
    hidden = _hidden(network, texts, length)
    return [{"embedding": row.mean(axis=0)} for row in hidden]


def embedded_first(network: Any, texts: Sequence[bytes], length: int) -> list:
    """Returns the outputs of `embed_first`: the first hidden state."""
    hidden = _hidden(network, texts, length)
    return [{"embedding": row[0]} for row in hidden]


def replaced(network: Any, texts: Sequence[bytes], length: int) -> list:
    """Returns the outputs of a discriminator's `serving_default`."""
    spans = network.tokenizer.tokenize_with_offsets(texts)
    spans = {k: v.to_list() for k, v in spans._asdict().items()}
    spans = {k: [row[: length - 2] for row in v] for k, v in spans.items()}
    logits = network(**_rows(network, spans.pop("ids"))).logits
    probabilities = tf.sigmoid(logits).numpy()
    found = []
    for i, text in enumerate(texts):
        places = {k: np.array(v[i], "int64") for k, v in spans.items()}
        cuts = list(zip(places["start_bytes"], places["end_bytes"]))
        found.append(
            {
                "tokens": _objects([text[a:b] for a, b in cuts]),
                "replaced_probability": probabilities[i, 1 : len(cuts) + 1],
                "num_tokens": len(cuts),
                **places,
            }
        )
    return found


def filled(network: Any, texts: Sequence[bytes], length: int) -> list:
    """Returns the outputs of a generator's `serving_default`."""
    vocab, ids, written = network.tokenizer.vocab, [], []
    for text in texts:
        row: list[int] = []
        for i, part in enumerate(text.split(MASK.encode())):
            row += [vocab.mask_id] * (i > 0)
            row += network.tokenizer([part]).to_list()[0]
        written.append(row.count(vocab.mask_id))
        ids.append(row[: length - 2])
    places = tf.ragged.constant(
        [
            [i + 1 for i, n in enumerate(row) if n == vocab.mask_id]
            for row in ids
        ],
        tf.int32,
    )
    positions = places.to_tensor()
    logits = network(**_rows(network, ids), positions=positions).logits
    found = []
    counts = places.row_lengths().numpy()
    for count, all_masks, scores in zip(counts, written, logits):
        best = tf.nn.top_k(tf.nn.softmax(scores[:count]), _BEST)
        names = [vocab.tokens[i].encode() for i in best.indices.numpy().ravel()]
        found.append(
            {
                "tokens": _objects(names).reshape(best.indices.shape),
                "probabilities": best.values.numpy(),
                "num_masks": int(count),
                "unread_masks": int(all_masks - count),
            }
        )
    return found


def _objects(texts: Sequence[bytes]) -> np.ndarray:
    """Returns an array of objects: NumPy's strings lose NULs at the end."""
    found = np.empty([len(texts)], object)
    found[:] = texts
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
