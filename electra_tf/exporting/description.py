"""Describes an export, for `assets.extra/electra_tf.json`.

The description has texts to try the model with: the page shows them, and a
server warms up on them. They do not depend on the training data, only on the
kind and language of the model.
"""

import os
from typing import Any, Literal

import tensorflow as tf
import yaml

from electra_tf import files
from electra_tf.exporting.graphs import example_signatures, steps
from electra_tf.exporting.graphs.inputs import Signatures
from electra_tf.exporting.servable import Servable
from electra_tf.text import normalize
from electra_tf.text.vocab import Vocab

FORMAT, VERSION = "electra_tf export", 1
FILE = "electra_tf.json"
FOLDER = "assets.extra"

# Shares of the vocabulary that decide a model's language.
_CHINESE_SHARE, _ENGLISH_SHARE = 0.2, 0.7

Rows = list[dict[str, str]]
Language = Literal["en", "zh"] | None


def describe(
    servable: Servable, name: str, signatures: Signatures
) -> dict[str, Any]:
    """Returns the content of electra_tf.json.

    Args:
      servable: the model to export.
      name: name under which the model is served.
      signatures: name -> tf.function with an input signature.
    """
    language = language_of(servable.tokenizer.vocab)
    labels, scale = servable.labels, servable.scale
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "task": servable.kind,
        "task_name": servable.task_name,
        "labels": None if labels is None else list(labels),
        "pair": servable.pair,
        "language": language,
        "max_seq_length": servable.max_seq_length,
        "score_mean": scale and scale[0],
        "score_spread": scale and scale[1],
        "unknown_percent": servable.unknown_percent,
        "signatures": {
            key: _signature(function.get_concrete_function()) | _method(key)
            for key, function in signatures.items()
            if not steps.suffix(key)
        },
        "examples": examples_of(servable.kind, servable.pair, language),
    }


def language_of(vocab: Vocab) -> Language:
    """Detects a vocabulary's language by its pieces: Chinese, English or None.

    It is Chinese if more than a fifth of the pieces are Chinese characters,
    English if nearly all are ASCII.
    """
    pieces = [token.removeprefix("##") for token in vocab.tokens]
    chinese = tf.strings.regex_full_match(pieces, f"[{normalize.CJK}]+")
    if int(tf.math.count_nonzero(chinese)) > _CHINESE_SHARE * len(pieces):
        return "zh"
    plain = sum(piece.isascii() for piece in pieces)
    return "en" if plain > _ENGLISH_SHARE * len(pieces) else None


def _signature(function: Any) -> dict[str, Any]:
    _, inputs = function.structured_input_signature
    positional, _ = function.structured_input_signature
    specs = {spec.name: spec for spec in (*positional, *inputs.values())}
    return {
        "inputs": {name: _tensor(spec) for name, spec in specs.items()},
        "outputs": {
            name: _tensor(spec)
            for name, spec in function.structured_outputs.items()
        },
    }


def _method(name: str) -> dict[str, str]:
    """Returns the method of a signature, unless it is Predict."""
    methods = example_signatures.METHODS
    return {"method_name": methods[name]} if name in methods else {}


def _tensor(spec: Any) -> dict[str, Any]:
    dtype = "float" if spec.dtype == tf.float32 else spec.dtype.name
    return {"dtype": dtype, "shape": spec.shape.as_list()}


def examples_of(kind: str, pair: bool, language: Language) -> Rows:
    """Returns 3 to 5 rows, each input name -> text.

    Args:
      kind: as in `servable.Kind`.
      pair: whether the model takes two texts.
      language: the model's language; None gives English texts.
    """
    path = os.path.join(os.path.dirname(__file__), "examples.yaml")
    table = yaml.safe_load(files.read_text(path))[language or "en"]
    if kind in ("classification", "multilabel", "regression"):
        kind = "pair" if pair else "text"
    return table[kind]
