"""Exports a model as one .tflite file: token ids in, logits out.

LiteRT does not have the tokenizer's operations, so the file has only the
network. It takes one row at a time, of any length that the model reads
(`resize_tensor_input`). Further data for readers follows in the same file, as a
zip archive:

    electra_tf.json   task, labels, lengths, inputs and outputs
    vocab.txt         the tokens, one a line
    labels.txt        the labels, one a line, where there are any
    tokenizer.json    both, for the library `tokenizers`
"""

import contextlib
import dataclasses
import io
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf import files, litert
from electra_tf.errors import UserError
from electra_tf.exporting import network_outputs
from electra_tf.exporting.servable import Servable
from electra_tf.hub import huggingface_fast_tokenizer
from electra_tf.models import lite_encoder
from electra_tf.models.rows import Rows
from electra_tf.models.task_heads import OUTSIDE

FORMAT, VERSION = "electra_tf tflite", 1
ABOUT = "electra_tf.json"
TOLERANCE = 1e-4
"""How far a float32 output may be from the model's: for each 1 of it."""


class Prepared(NamedTuple):
    """A file that is ready to be written."""

    content: bytes
    description: dict[str, Any]  # of electra_tf.json
    difference: float  # the largest between an output and the model's


def check(path: str, signatures: Sequence[str] | None = None) -> None:
    """Checks what is wanted, before the model is read.

    Args:
      path: the file to write.
      signatures: see `prepare`.

    Raises:
      UserError: something is there, the path has no such name, or there is no
        such signature.
    """
    if not path.endswith(".tflite"):
        raise UserError(
            f"--output: {path}: with --format=tflite it is a file; give it a "
            "name that ends in .tflite"
        )
    if files.exists(path):
        raise UserError(
            f"--output: {path}: is there already; remove it, or give another "
            "name"
        )
    for name in signatures or ():
        if name not in network_outputs.SIGNATURES:
            raise UserError(
                f"--signatures: there is no '{name}' in a .tflite file; there "
                f"are {', '.join(network_outputs.SIGNATURES)}"
            )


def prepare(
    servable: Servable,
    signatures: Sequence[str] | None = None,
    int8: bool = False,
) -> Prepared:
    """Makes the file's content, and compares its outputs with the model's.

    Args:
      servable: the model.
      signatures: what it computes; see `network_outputs.expected`. The head's
        outputs where None.
      int8: keep large matrices in 8 bits and multiply in 8 bits.

    Raises:
      UserError: the network is of a kind that is not covered, or, in float32,
        its outputs are not the model's.
    """
    wanted = tuple(signatures or ("serving_default",))
    network, number = servable.network, network_outputs.number(servable)

    def compute(rows: Rows) -> Mapping[str, tf.Tensor]:
        return network_outputs.expected(network, rows, wanted, number)

    with _best_start_alone(network):
        content = lite_encoder.convert(network, compute, int8)
    difference = _compare(servable, content, compute, int8)
    about = _described(servable, content, int8, difference)
    return Prepared(content + _archive(servable, about), about, difference)


def read_description(content: bytes) -> dict[str, Any]:
    """Reads electra_tf.json of a .tflite file.

    Raises:
      UserError: it has none.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return json.loads(archive.read(ABOUT))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(
            f"the .tflite file has no {ABOUT} in it: {error}; expected one "
            "that electra-tf export --format=tflite wrote"
        ) from error


@contextlib.contextmanager
def _best_start_alone(network: Any) -> Iterator[None]:
    """Makes a joint span head return the ends for its best start as logits."""
    head: Any = getattr(network, "head", None)
    config: Any = getattr(head, "config", None)
    if getattr(config, "kind", None) != "joint_span":
        yield
        return
    head.config = dataclasses.replace(config, beam_size=1)
    try:
        yield
    finally:
        head.config = config


def interpreter_class() -> Any:
    """Returns LiteRT's `Interpreter`, or TensorFlow's own where it is not
    there.
    """
    if litert.installed():
        return litert.interpreter_class()

    def make(**arguments: Any) -> Any:
        with warnings.catch_warnings():
            # That it is a package of its own now.
            warnings.simplefilter("ignore")
            return tf.lite.Interpreter(**arguments)

    return make


def _compare(
    servable: Servable, content: bytes, compute: Any, int8: bool
) -> float:
    """Returns the largest difference on the examples and on rows of random
    tokens.

    Raises:
      UserError: it is larger than `TOLERANCE`, and not for the 8 bits.
    """
    longest = servable.network.config.max_positions
    lite = litert.LiteNetwork(content, longest, int8, interpreter_class())
    worst = 0.0
    for rows in network_outputs.samples(servable):
        ids, segments, lengths = (part.numpy() for part in rows)
        width = max(1, ids.shape[1])
        mask = (np.arange(width) < lengths[:, None]).astype("int32")
        wanted = compute(Rows(*map(tf.constant, (ids, mask, segments))))
        for name, value in wanted.items():
            if name not in lite.outputs:
                continue
            theirs = value.numpy()
            apart = np.abs(lite(name, [ids, mask, segments]) - theirs)
            if theirs.ndim > 1 and theirs.shape[1:2] == mask.shape[1:]:
                # What stands at padding is nobody's answer.
                apart, theirs = apart[mask > 0], theirs[mask > 0]
            apart = np.nan_to_num(apart, nan=np.inf)
            # Where no answer can be, logits are so low that their last digit
            # alone is more than others differ by.
            unmasked = apart[theirs > OUTSIDE / 2]
            worst = max(worst, float(unmasked.max(initial=0.0)))
            allowed = TOLERANCE * np.maximum(1.0, np.abs(theirs))
            if not int8 and (apart > allowed).any():
                raise UserError(
                    f"--format=tflite: the output {name} of LiteRT differs "
                    f"from the model's by {apart.max():.1g}, so nothing was "
                    "written; use another format, and report this to the "
                    "authors"
                )
    return worst


def _described(
    servable: Servable, content: bytes, int8: bool, difference: float
) -> dict[str, Any]:
    """Returns the content of electra_tf.json."""
    interpreter = interpreter_class()(model_content=content)
    runner = interpreter.get_signature_runner()

    def shapes(details: Mapping[str, Any]) -> dict[str, list[int]]:
        """Returns shapes with -1 for the length."""
        return {
            name: [int(size) for size in detail["shape_signature"]]
            for name, detail in details.items()
        }

    tokenizer, labels = servable.tokenizer, servable.labels
    return {
        "format": FORMAT,
        "version": VERSION,
        "task": servable.kind,
        "task_name": servable.task_name,
        "labels": None if labels is None else list(labels),
        "pair": servable.pair,
        "max_seq_length": servable.max_seq_length,
        "lower_case": tokenizer.lower_case,
        "strip_accents": tokenizer.strip_accents,
        "weights": "int8" if int8 else "float32",
        "inputs": shapes(runner.get_input_details()),
        "outputs": shapes(runner.get_output_details()),
        "largest_difference": difference,
    }


def _archive(servable: Servable, about: Mapping[str, Any]) -> bytes:
    """Returns the archive that follows the network in the file."""
    tokenizer = servable.tokenizer
    fast = huggingface_fast_tokenizer.content(
        tokenizer.vocab, tokenizer.lower_case, tokenizer.strip_accents
    )
    texts = {
        ABOUT: json.dumps(about, ensure_ascii=False, indent=2) + "\n",
        "vocab.txt": "".join(f"{token}\n" for token in tokenizer.vocab.tokens),
        "tokenizer.json": json.dumps(fast, ensure_ascii=False),
    }
    if about["labels"] is not None:
        texts["labels.txt"] = "".join(f"{name}\n" for name in about["labels"])
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name), text.encode("utf-8"))
    return target.getvalue()
