"""How often the units of several kinds are seen in an epoch."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Units of S kinds, those of a kind side by side.

    Attributes:
      sizes: how many units of each kind there are, each at least 1.
      draws: how many of each an epoch has. Where that is fewer than there
        are, the next epoch goes on with the others; where more, some come
        again. Over the epochs all units of a kind are seen equally often.
    """

    sizes: tuple[int, ...]
    draws: tuple[int, ...]

    def epoch(self, number: int, seed: int) -> np.ndarray:
        """The units of an epoch, int64 [sum of draws], kind by kind.

        Args:
          number: the epoch, from 0.
          seed: of the order in which a kind's units are taken.
        """
        found, first = [], 0
        for kind, (size, draws) in enumerate(zip(self.sizes, self.draws)):
            rounds, within = np.divmod(
                np.arange(number * draws, (number + 1) * draws), size
            )
            units = np.empty_like(within)
            for turn in np.unique(rounds):
                rng = np.random.default_rng([seed, 2, kind, int(turn)])
                here = rounds == turn
                units[here] = rng.permutation(size)[within[here]]
            found.append(first + units)
            first += size
        return np.concatenate(found).astype("int64")


def by_size(sizes: Sequence[int], power: float) -> Mixture:
    """Kinds drawn in proportion to their size to a power.

    An epoch is as long as all units together; each kind is drawn at least
    once in it.

    Args:
      sizes: units of each kind, each at least 1.
      power: 1 draws every unit once, 0 all kinds equally often.
    """
    shares = np.asarray(sizes, "float64") ** power
    exact = shares / shares.sum() * sum(sizes)
    draws = np.maximum(np.floor(exact), 1).astype("int64")
    # What rounding down left goes to those that lost most.
    for kind in np.argsort(draws - exact, kind="stable"):
        if draws.sum() >= sum(sizes):
            break
        draws[kind] += 1
    return Mixture(tuple(map(int, sizes)), tuple(map(int, draws)))
