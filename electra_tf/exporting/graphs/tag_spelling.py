"""Labels that were learned -> tags as the data spells them, in the graph."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from electra_tf.exporting.graphs import tag_search
from electra_tf.tasks.tagging import schemes
from electra_tf.tasks.tagging.schemes import Span


class TagSpelling:
    """`schemes.convert`, by tables over pairs of labels.

    Where spans begin follows from a label and the one before it, and how a
    word is spelled from where its span begins and ends.

    Args:
      labels: the K names that were learned, in the scheme `learned`.
      learned: that scheme.
      scheme: the data's.
    """

    def __init__(self, labels: Sequence[str], learned: str, scheme: str):
        self._labels = tuple(labels)
        self._converts = learned != scheme
        if not self._converts:
            return
        tags = (*labels, schemes.OUTSIDE)  # the last: beyond the sentence
        kinds = [
            None if t == schemes.OUTSIDE else schemes.split_tag(t)[1]
            for t in tags
        ]
        self._inside = np.array([kind is not None for kind in kinds])
        self._begins = np.array(
            [[_begins(a, b) for b in tags] for a in tags], bool
        )
        self._touches = np.array(
            [[a is not None and a == b for b in kinds] for a in kinds], bool
        )
        self._spellings = [
            spelling for kind in kinds for spelling in _spellings(kind, scheme)
        ]

    def __call__(self, labels: tf.Tensor, splits: tf.Tensor) -> tf.Tensor:
        """The tags of words.

        Args:
          labels: int32 [W].
          splits: int64 [B + 1], where each sentence starts among the words.

        Returns:
          string [W].
        """
        if not self._converts:
            return tf.gather(tf.constant(self._labels), labels)
        edge = len(self._labels)
        before, after = tag_search.neighbours(labels, splits, edge)

        def of_pairs(
            table: np.ndarray, a: tf.Tensor, b: tf.Tensor
        ) -> tf.Tensor:
            return tf.gather_nd(tf.constant(table), tf.stack([a, b], axis=-1))

        begins = of_pairs(self._begins, before, labels)
        ends = ~tf.gather(tf.constant(self._inside), after)
        ends |= of_pairs(self._begins, labels, after)
        touches = begins & of_pairs(self._touches, before, labels)
        form = sum(
            tf.cast(bit, tf.int32) * weight
            for bit, weight in ((begins, 4), (ends, 2), (touches, 1))
        )
        return tf.gather(tf.constant(self._spellings), labels * 8 + form)


def _begins(before: str, tag: str) -> bool:
    return any(span.start == 1 for span in schemes.spans([before, tag]))


def _spellings(kind: str | None, scheme: str) -> list[str]:
    """Of a word, by 4 * begins + 2 * ends + touches an equal span before."""
    if kind is None:
        return [schemes.OUTSIDE] * 8
    found = []
    for begins in (False, True):
        for ends in (False, True):
            for touches in (False, True):
                start = 1 if touches else 2
                first = start if begins else start - 1
                before = [Span(0, 1, kind)] if begins and touches else []
                span = Span(first, start + (1 if ends else 2), kind)
                tags = schemes.write([*before, span], start + 2, scheme)
                found.append(tags[start])
    return found
