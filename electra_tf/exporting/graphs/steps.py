"""Makes signatures that also exist in steps, each of which is short.

Besides `serving_default` there are `serving_default.begin`, which reads texts,
`serving_default.part`, which runs some of their batches, and
`serving_default.end`, which makes the result: so a server need not process a
long text in one call. They use the same functions, and the result is the same
to the last digit.

Steps pass named tensors to the next ones. A step gets those that it names as
inputs; `part` also gets the range of batches to run, `first` and `after_last`,
of the `num_parts` from `begin`; its results are joined along the first axis, in
the order of the batches.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from electra_tf.exporting.graphs import inputs
from electra_tf.exporting.graphs.inputs import (
    Batches,
    Forward,
    Signatures,
    Tensors,
)
from electra_tf.text.rows import Rows

BEGIN, PART, END = SUFFIXES = (".begin", ".part", ".end")
_BATCHES, _REST = "batches", "rest"


@dataclasses.dataclass(frozen=True)
class Steps:
    """The functions that process texts in steps.

    Attributes:
      prepare: string tensors [B] -> rows, and a structure of tensors for
        `answer`.
      forward: runs the network on rows.
      outputs: specs of the results of `forward`, with shapes [None, ...].
      answer: that structure, and the results of rows -> tensors [B, ...].
    """

    prepare: Callable[..., tuple[Rows, Any]]
    forward: Forward
    outputs: Mapping[str, tf.TensorSpec]
    answer: Callable[[Any, Tensors], Tensors]


def suffix(name: str) -> str:
    """Returns the suffix of a step's name; "" for a whole signature."""
    return next((end for end in SUFFIXES if name.endswith(end)), "")


def signatures(steps: Steps, *names: str) -> Signatures:
    """Makes `serving_default`, and its steps.

    Args:
      steps: the functions of the steps.
      names: names of the inputs.
    """
    structure: dict[str, Any] = {}

    def begin(*texts: tf.Tensor) -> Tensors:
        rows, rest = steps.prepare(*texts)
        batches = inputs.batches_of(rows)
        structure[_REST] = tf.nest.map_structure(tf.type_spec_from_value, rest)
        return {
            "num_parts": batches.number(),
            **_named(_BATCHES, batches),
            **_named(_REST, rest),
        }

    def rest_of(state: Mapping[str, tf.Tensor]) -> Any:
        return tf.nest.pack_sequence_as(
            structure[_REST], _values(_REST, state), expand_composites=True
        )

    texts = [tf.TensorSpec([None], tf.string, name) for name in names]
    begins = _function(begin, texts)
    left = {
        name: tf.TensorSpec(spec.shape, spec.dtype, name)
        for name, spec in begins.get_concrete_function()
        .structured_outputs.items()
    }  # fmt: skip
    rows = [spec for spec in left.values() if spec.name.startswith(_BATCHES)]

    def whole(*texts: tf.Tensor) -> Tensors:
        # It is traced once, as it does not use the network.
        state = begins(*texts)
        batches = Batches(*_values(_BATCHES, state))
        rows = Rows(batches.input_ids, batches.segment_ids, batches.lengths)
        found = inputs.over_rows(steps.forward, rows, steps.outputs)
        return steps.answer(rest_of(state), found)

    def part(
        first: tf.Tensor, after_last: tf.Tensor, *given: tf.Tensor
    ) -> Tensors:
        return inputs.over_batches(
            steps.forward, Batches(*given), first, after_last, steps.outputs
        )

    def end(*given: tf.Tensor) -> Tensors:
        known = dict(zip((*left, *steps.outputs), given))
        batches = Batches(*_values(_BATCHES, known))
        found = {name: known[name] for name in steps.outputs}
        return steps.answer(rest_of(known), inputs.in_order(batches, found))

    bounds = [
        tf.TensorSpec([], tf.int32, name) for name in ("first", "after_last")
    ]
    found = [
        tf.TensorSpec(spec.shape, spec.dtype, name)
        for name, spec in steps.outputs.items()
    ]
    name = "serving_default"
    return {
        name: _function(whole, texts),
        name + BEGIN: begins,
        name + PART: _function(part, [*bounds, *rows]),
        name + END: _function(end, [*left.values(), *found]),
    }


def _named(prefix: str, structure: Any) -> Tensors:
    """Returns the tensors of a structure by names, in order."""
    tensors = tf.nest.flatten(structure, expand_composites=True)
    return {f"{prefix}_{i:02d}": tensor for i, tensor in enumerate(tensors)}


def _values(prefix: str, named: Mapping[str, Any]) -> list[Any]:
    """Returns the tensors that `_named` named, in order."""
    return [named[name] for name in sorted(named) if name.startswith(prefix)]


def _function(
    function: Callable[..., Tensors], specs: Sequence[tf.TensorSpec]
) -> tf.types.experimental.GenericFunction:
    """Makes a tf.function whose inputs are named like the specs."""
    named: Any = function
    named.__signature__ = inspect.Signature(
        [
            inspect.Parameter(
                spec.name, inspect.Parameter.POSITIONAL_OR_KEYWORD
            )
            for spec in specs
        ]
    )
    return tf.function(named, input_signature=list(specs), autograph=False)
