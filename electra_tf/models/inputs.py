"""Reads a network's inputs by any usual name, in any usual form.

Token ids and masks are arrays, lists, tensors or ragged rows; positional, by
name, or in a dict, as tokenizers return it. Names are ours, Hugging Face's or
KerasHub's. Unreadable inputs are refused in one line, before TensorFlow fails
on them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError

# Any name of a part -> ours.
NAMES = {
    "input_ids": "input_ids",
    "token_ids": "input_ids",
    "input_mask": "input_mask",
    "attention_mask": "input_mask",
    "padding_mask": "input_mask",
    "segment_ids": "segment_ids",
    "token_type_ids": "segment_ids",
    "keys": "keys",
    "sequence_ids": "sequence_ids",
    "inputs_embeds": "inputs_embeds",
}
_INSTEAD = {
    "position_ids": "positions are counted from 0, in each of the "
    "sequence_ids; leave it out",
    "positions": "this network predicts at all positions; leave it out",
    "head_mask": "heads cannot be masked; leave it out",
    "output_attentions": "say return_attentions=True",
    "output_hidden_states": "all_layers of the output has them",
    "labels": "give them to fit, and the loss to compile",
    "offsets": "they are for the texts of answers; leave them out",
    "special_tokens_mask": "it is for masking; leave it out",
}
_EMBEDS = "inputs_embeds"


def named_parts(
    given: Iterable[tuple[str, Any]], others: Iterable[str], network: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides named arguments into parts of rows and others.

    Args:
      given: names of any kind -> values; None means not given.
      others: the names of the network's other arguments.
      network: its name, for messages.

    Returns:
      Parts by our names, and the other arguments.

    Raises:
      UserError: a name is unknown, or a part has two.
    """
    parts: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for name, value in given:
        ours = NAMES.get(name)
        if ours is None:
            if name not in others:
                instead = _INSTEAD.get(name) or (
                    f"known: {', '.join([*NAMES, *others])}"
                )
                raise UserError(f"{network}: takes no '{name}'; {instead}")
            found[name] = value
        elif value is not None:
            if ours in parts:
                raise UserError(
                    f"{network}: '{name}' and another name for {ours} are both "
                    "given; leave one of them out"
                )
            parts[ours] = value
    return parts, found


def read(
    parts: Mapping[str, Any],
    network: str,
    vocab_size: int | None = None,
    max_positions: int | None = None,
    segments: int | None = None,
    embedding_size: int | None = None,
) -> dict[str, Any]:
    """Makes tensors of the parts, and checks them.

    Values are only checked outside graphs.

    Args:
      parts: by our names.
      network: its name, for messages.
      vocab_size: upper limit of ids.
      max_positions: longest row.
      segments: upper limit of segment ids.
      embedding_size: E of [B, L, E] of embeddings.

    Returns:
      Tensors, int32 except keys and embeddings; KerasTensors are unchanged.

    Raises:
      UserError: a part is wrong; it is named, with what was expected.
    """
    first = "input_ids" if "input_ids" in parts else _EMBEDS
    if first not in parts:
        raise UserError(f"{network}: no token ids; give input_ids")
    if _EMBEDS in parts and first != _EMBEDS:
        raise UserError(f"{network}: give input_ids or inputs_embeds, not both")
    found = {
        name: value if name == "keys" else _tensor(value, f"{network}: {name}")
        for name, value in parts.items()
    }
    for name, value in found.items():
        if name not in ("keys", "input_mask", _EMBEDS):
            _check_whole(value, f"{network}: {name}")
        if name != "keys":
            _check_rank(value, 3 if name == _EMBEDS else 2, network, name)
    found = _dense(found, first)
    shape = found[first].shape
    for name, value in found.items():
        if name in ("keys", _EMBEDS):
            continue
        if not _fit(tuple(shape)[:2], tuple(value.shape)):
            raise UserError(
                f"{network}: {name} has shape {list(value.shape)}, {first} "
                f"has {list(shape)}; expected the same rows and tokens"
            )
        if not isinstance(value, keras.KerasTensor) and value.dtype != tf.int32:
            found[name] = tf.cast(value, tf.int32)
    if first == _EMBEDS and embedding_size and shape[2] != embedding_size:
        raise UserError(
            f"{network}: inputs_embeds has vectors of {shape[2]} numbers; "
            f"expected {embedding_size}, model.embedding_size"
        )
    length = shape[1]
    if (
        max_positions is not None
        and length is not None
        and length > max_positions
        and "sequence_ids" not in found
    ):
        raise UserError(
            f"{network}: {first} has rows of {length} tokens; it reads at most "
            f"{max_positions}, model.max_positions; cut them, as with "
            f"max_length={max_positions} of the tokenizer"
        )
    _check_range(found, "input_ids", vocab_size, network)
    _check_range(found, "segment_ids", segments, network)
    return found


def symbolic(parts: Mapping[str, Any]) -> bool:
    """Returns whether a part is a KerasTensor, of a functional model."""
    return any(isinstance(v, keras.KerasTensor) for v in parts.values())


def placeholder(value: Any) -> Any:
    """Returns a dense KerasTensor for a ragged one, as networks make it."""
    if isinstance(value, keras.KerasTensor) and _is_ragged(value):
        return keras.KerasTensor(value.shape, dtype=value.dtype)
    return value


def _is_ragged(value: Any) -> bool:
    if isinstance(value, keras.KerasTensor):
        return bool(getattr(value, "ragged", False))
    return isinstance(value, tf.RaggedTensor)


def _tensor(value: Any, what: str) -> Any:
    """Converts a program's value to a tensor, dense or ragged."""
    if isinstance(value, keras.KerasTensor | tf.RaggedTensor):
        return value
    if tf.is_tensor(value):
        return value
    try:
        if isinstance(value, list | tuple) and _uneven(value):
            return tf.ragged.constant(value)
        return tf.convert_to_tensor(
            np.asarray(value) if isinstance(value, list | tuple) else value
        )
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{what}: expected numbers in rows [batch, length], got "
            f"{type(value).__name__}"
        ) from error


def _uneven(rows: list | tuple) -> bool:
    return len({len(row) for row in rows if isinstance(row, list | tuple)}) > 1


def _check_whole(value: Any, what: str) -> None:
    dtype = str(getattr(value.dtype, "name", value.dtype))
    if dtype == "string":
        raise UserError(
            f"{what}: expected token ids, got strings; a tokenizer makes ids "
            "of texts: tokenizer.encode(texts)"
        )
    if not (dtype.startswith(("int", "uint")) or dtype == "bool"):
        hint = (
            "; make it keras.Input(shape=(None,), dtype='int32')"
            if isinstance(value, keras.KerasTensor)
            else ""
        )
        raise UserError(f"{what}: expected whole numbers, got {dtype}{hint}")


def _check_rank(value: Any, rank: int, network: str, name: str) -> None:
    shape = value.shape
    if isinstance(shape, tf.TensorShape) and shape.rank is None:
        return
    wanted = "[batch, length, size]" if rank == 3 else "[batch, length]"
    if len(shape) == rank - 1:
        raise UserError(
            f"{network}: {name} is one row of shape {list(shape)}; expected "
            f"{wanted}: add a first axis, as in {name}[None]"
        )
    if len(shape) != rank:
        raise UserError(
            f"{network}: {name} has shape {list(shape)}; expected {wanted}"
        )


def _dense(parts: dict[str, Any], first: str) -> dict[str, Any]:
    """Pads ragged rows with 0, and adds a mask."""
    ragged = {n: v for n, v in parts.items() if isinstance(v, tf.RaggedTensor)}
    if not ragged:
        return parts
    found = {n: v.to_tensor() if n in ragged else v for n, v in parts.items()}
    if first in ragged and "input_mask" not in parts:
        lengths = ragged[first].row_lengths()
        width = tf.shape(found[first], out_type=lengths.dtype)[1]
        found["input_mask"] = tf.sequence_mask(lengths, width, dtype=tf.int32)
    return found


def _fit(one: tuple, other: tuple) -> bool:
    return len(one) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(one, other)
    )


def _check_range(
    parts: Mapping[str, Any], name: str, size: int | None, network: str
) -> None:
    """Checks values outside graphs only, where it costs no step time."""
    value = parts.get(name)
    if size is None or value is None or not tf.executing_eagerly():
        return
    if not tf.is_tensor(value) or isinstance(value, keras.KerasTensor):
        return
    ids = np.asarray(value)
    wrong = np.argwhere((ids < 0) | (ids >= size))
    if len(wrong):
        row, place = (int(i) for i in wrong[0])
        raise UserError(
            f"{network}: {name}[{row}, {place}] is {ids[row, place]}; expected "
            f"0 to {size - 1}"
            + (
                ": the ids are of another vocabulary"
                if name == "input_ids"
                else ", model.type_vocab_size"
            )
        )
