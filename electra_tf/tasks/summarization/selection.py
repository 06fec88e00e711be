"""Selects the sentences of a summary: predictions, baselines and labels.

The labels are the sentences of a text that its reference summary is made of; a
model is trained on them.
"""

import collections
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from electra_tf.tasks.summarization.articles import words as words_of
from electra_tf.tasks.summarization.options import Length

# Share of a summary that must be in the text for its sentences to be the
# labels. It is below 1, as the writers of a summary may split sentences
# differently.
_FOUND = 0.9

_N = 3  # length of n-grams that no two sentences of a summary may share


def take(
    order: Sequence[int],
    words: Sequence[Sequence[str]],
    length: Length,
    block: bool = False,
) -> list[int]:
    """Takes the best sentences that fill a summary, in the text's order.

    Args:
      order: numbers of sentences, best first.
      words: the words of all sentences of the text.
      length: length of the summary; at least one sentence is taken.
      block: whether to skip sentences that share a trigram with one that was
        taken (Paulus et al. 2018).

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
        # The last one only if it brings the length nearer to the target.
        if taken and after - goal > goal - size:
            break
        taken.append(i)
        seen |= grams
        size = after
    return sorted(taken)


def shuffled(candidates: Sequence[int], text: str) -> list[int]:
    """Returns sentences in a random order that depends on the text alone."""
    digest = hashlib.blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=8
    ).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    return [int(i) for i in rng.permutation(candidates)]


def labels(texts: Sequence[str], summary: str) -> list[bool]:
    """Returns whether each sentence belongs to the summary.

    Where the summary's own sentences are in the text, they are the labels;
    otherwise the sentences that together are most like it.

    Args:
      texts: the sentences.
      summary: the reference.

    Returns:
      A list of bool; all False where no sentence shares a word with the
      summary.
    """
    found, share = verbatim(texts, summary)
    return found if share >= _FOUND else greedy(texts, summary)


def verbatim(texts: Sequence[str], summary: str) -> tuple[list[bool], float]:
    """Returns which sentences are in the summary, and their share of it.

    White space is ignored. Each place in the summary counts once, for the
    longest sentence there.
    """
    rest = _without_space(summary)
    size = max(1, len(rest))
    found, seen = [False] * len(texts), 0
    bare = [_without_space(text) for text in texts]
    for i in sorted(range(len(texts)), key=lambda i: -len(bare[i])):
        if bare[i] and bare[i] in rest:
            rest = rest.replace(bare[i], "\0", 1)
            found[i] = True
            seen += len(bare[i])
    return found, seen / size


def greedy(texts: Sequence[str], summary: str) -> list[bool]:
    """Adds the sentence that raises ROUGE-1 + ROUGE-2 F most, while any does.

    (Nallapati et al. 2017; Liu & Lapata 2019.)
    """
    reference = words_of(summary)
    own = [words_of(text) for text in texts]
    measures = [_Overlap(own, reference, n) for n in (1, 2)]
    found, best = np.zeros(len(texts), bool), 0.0
    while not found.all():
        gains = measures[0].after() + measures[1].after()
        gains[found] = -1.0
        top = int(gains.argmax())
        if gains[top] <= best:
            break
        best, found[top] = gains[top], True
        for measure in measures:
            measure.add(top)
    return found.tolist()


class _Overlap:
    """ROUGE-N F of the sentences chosen so far with one more added."""

    def __init__(
        self, texts: Sequence[Sequence[str]], reference: Sequence[str], n: int
    ):
        wanted = collections.Counter(_grams(reference, n))
        number = {gram: i for i, gram in enumerate(wanted)}
        self._wanted = np.array(list(wanted.values()), "int64")  # [G]
        self._own = np.zeros([len(texts), len(number)], "int64")  # [S, G]
        for row, text in zip(self._own, texts):
            for gram in _grams(text, n):
                if gram in number:
                    row[number[gram]] += 1
        # All n-grams count for precision, in the reference or not.
        self._sizes = np.array([max(0, len(t) - n + 1) for t in texts], "int64")
        self._have, self._size = np.zeros_like(self._wanted), 0

    def after(self) -> np.ndarray:
        """Returns the F with each of the sentences added, float64 [S]."""
        hits = np.minimum(self._have + self._own, self._wanted).sum(axis=1)
        total = self._size + self._sizes + self._wanted.sum()
        return 2.0 * hits / np.maximum(total, 1)

    def add(self, i: int) -> None:
        """Chooses a sentence."""
        self._have += self._own[i]
        self._size += self._sizes[i]


def _grams(found: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(found[i:] for i in range(n)))


def _without_space(text: str) -> str:
    return "".join(text.split())
