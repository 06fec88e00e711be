"""What loading did: loaded, newly initialised, left over, assumed."""

import dataclasses
from collections.abc import Sequence

_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of loading a checkpoint, or of converting it.

    Attributes:
      source: the checkpoint.
      loaded: our names of what came from it.
      parameters: how many numbers those are.
      new: our names of variables that it lacks and that start afresh.
      leftover: what it has and was not used: our names, or the source's.
      assumed: what it does not tell and was taken by default.
      slots: for how many variables Adam's slots came too.
      step: where training goes on.
    """

    source: str
    loaded: tuple[str, ...]
    parameters: int = 0
    new: tuple[str, ...] = ()
    leftover: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    slots: int = 0
    step: int = 0

    def __str__(self) -> str:
        """A line for each of the attributes that says something."""
        lines = [
            f"loaded {len(self.loaded)} variables "
            f"({self.parameters:,} parameters) from {self.source}"
        ]
        if self.slots:
            lines.append(
                f"with the optimizer's slots of {self.slots} variables, at "
                f"step {self.step:,}"
            )
        if self.assumed:
            lines.append("taken by default: " + "; ".join(self.assumed))
        if self.new:
            lines.append(
                f"newly initialised ({len(self.new)}): {_some(self.new)}"
            )
        if self.leftover:
            lines.append(
                f"left over ({len(self.leftover)}): {_some(self.leftover)}"
            )
        return "\n".join(lines)


def _some(names: Sequence[str]) -> str:
    """The names by their place, few enough to read."""
    groups: dict[str, int] = {}
    for name in names:
        # The layers of an encoder are one place, and so is a head.
        place = "/".join(name.split("/")[:2])
        place = ".".join(place.split(".")[:2])
        groups[place] = groups.get(place, 0) + 1
    shown = [
        place if count == 1 else f"{place} ({count})"
        for place, count in list(groups.items())[:_SHOWN]
    ]
    if len(groups) > _SHOWN:
        shown.append(f"{len(groups) - _SHOWN} more places")
    return ", ".join(shown)
