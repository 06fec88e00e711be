"""Runs signatures that an export also has in steps.

Besides a signature NAME there may be three more: `NAME.begin` takes its inputs,
`NAME.part` runs some of the `num_parts` parts that `begin` returns, from
`first` to `after_last`, and `NAME.end` makes NAME's outputs. A step gets those
results of `begin` that it names as inputs, and `end` also the results of the
parts, joined along the first axis. So a long text is computed in calls of
bounded duration.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from electra_tf.serving.server.cancelable import Stop
from electra_tf.serving.server.signatures import Arrays

BEGIN, PART, END = SUFFIXES = (".begin", ".part", ".end")
COUNT, FIRST, AFTER_LAST = "num_parts", "first", "after_last"
# Opaque results that a step passes to the next ones: tensors.
State = dict[str, Any]
Check = Callable[[Mapping[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of a signature; each is called in a thread.

    Attributes:
      begin: inputs -> state for the other steps, and the number of parts.
      part: state, first part and the one after the last -> their results.
      end: state and the results of all parts -> the signature's outputs. Both
        are consumed. The last argument is called with the outputs as tensors,
        before they become arrays: it may refuse them for their shapes.
    """

    begin: Callable[[Arrays, Stop], tuple[State, int]]
    part: Callable[[State, int, int, Stop], State]
    end: Callable[[State, Sequence[State], Stop, Check], Arrays]


def of_names(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the signatures among `names` that have steps."""
    known = set(names)
    return tuple(
        name for name in known if all(name + end in known for end in SUFFIXES)
    )
