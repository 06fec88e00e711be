"""From an order of sentences to those that are taken, and baselines."""

import hashlib
from collections.abc import Sequence

import numpy as np

from electra_tf.tasks.summarization.options import Length

_N = 3  # of the n-grams that no two sentences of a summary may share


def take(
    order: Sequence[int],
    words: Sequence[Sequence[str]],
    length: Length,
    block: bool = False,
) -> list[int]:
    """The first of `order` that fill a summary, in the text's order.

    Args:
      order: numbers of sentences, the best first.
      words: of all sentences of the text.
      length: of the summary; one sentence at least is taken.
      block: passes over sentences that share three words in a row with one
        that was taken (Paulus et al. 2018).

    Returns:
      Numbers of sentences, ascending.
    """
    if length.sentences is not None:
        goal = float("inf")
    elif length.words is not None:
        goal = length.words
    else:
        goal = (length.ratio or 0.0) * sum(len(words[i]) for i in order)
    most = length.sentences or len(order)
    taken: list[int] = []
    seen: set[tuple[str, ...]] = set()
    size = 0
    for i in order:
        if len(taken) >= most or size >= goal:
            break
        grams = set(zip(*(words[i][k:] for k in range(_N))))
        if block and taken and grams & seen:
            continue
        after = size + len(words[i])
        # The last one only if the length is then less wrong than without it.
        if taken and after - goal > goal - size:
            break
        taken.append(i)
        seen |= grams
        size = after
    return sorted(taken)


def shuffled(candidates: Sequence[int], text: str) -> list[int]:
    """Sentences in an order by chance, always the same for a text."""
    digest = hashlib.blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=8
    ).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    return [int(i) for i in rng.permutation(candidates)]
