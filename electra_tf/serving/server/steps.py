"""Signatures that an export has in steps as well.

Beside a signature NAME there may be three more: `NAME.begin` takes its inputs,
`NAME.part` runs some of the `num_parts` parts that `begin` tells of, from
`first` to `after_last`, and `NAME.end` makes NAME's outputs. A step is given
what it names of what `begin` left, and `end` besides what the parts gave,
joined along the first axis. So a long text is answered in calls of a bounded
length.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from electra_tf.serving.server.cancelable import Stop
from electra_tf.serving.server.signatures import Arrays

BEGIN, PART, END = SUFFIXES = (".begin", ".part", ".end")
COUNT, FIRST, AFTER_LAST = "num_parts", "first", "after_last"
# What a step leaves for the next ones, which nobody looks into: tensors.
State = dict[str, Any]
Check = Callable[[Mapping[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of a signature; each is called in a thread.

    Attributes:
      begin: inputs -> what is left for the others, and how many parts there
        are.
      part: that, the first part and the one after the last -> their results.
      end: that, and the results of all parts -> the signature's outputs.
        Both are used up. The last argument is given the outputs as tensors,
        before they are made arrays: it may refuse them for their shapes.
    """

    begin: Callable[[Arrays, Stop], tuple[State, int]]
    part: Callable[[State, int, int, Stop], State]
    end: Callable[[State, Sequence[State], Stop, Check], Arrays]


def of_names(names: Iterable[str]) -> tuple[str, ...]:
    """Returns those of some signatures that are there in steps."""
    known = set(names)
    return tuple(
        name for name in known if all(name + end in known for end in SUFFIXES)
    )
