"""Draws pictures of boxes and arrows, as SVG text."""

from collections.abc import Mapping, Sequence, Set
from html import escape
from itertools import pairwise

_BOX, _HEIGHT = 132, 32
_GAP_X, _GAP_Y = 20, 44
_MARGIN = 24
_STYLE = (
    "<style>text{font:14px Helvetica,Arial,sans-serif;fill:#1f2933;"
    "text-anchor:middle}path{stroke:#7b8794;stroke-width:1.3;fill:none}"
    "rect.box{fill:#e0ecff;stroke:#1d4ed8}"
    "rect.command{fill:#dcfce7;stroke:#15803d}"
    "rect.page{fill:#fff}</style>"
    '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" '
    'markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L10 5L0 10z" style="fill:#7b8794;stroke:none"/></marker>'
    "</defs>"
)


def layers(
    arrows: Mapping[str, set[str]], title: str, commands: Set[str] = frozenset()
) -> str:
    """Draws an acyclic graph in layers; names without incoming arrows on top.

    Args:
      arrows: from a name to the names that it leads to. An arrow that follows
        from others is left out.
      title: the text for screen readers.
      commands: names that are drawn in another colour.
    """
    names = list(
        dict.fromkeys([*arrows, *(e for a in arrows.values() for e in a)])
    )
    reduced = _reduced(names, arrows)
    depth: dict[str, int] = {}

    def height(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max(map(height, reduced[name]), default=-1)
        return depth[name]

    rows: list[list[str]] = [[] for _ in range(max(map(height, names)) + 1)]
    for name in names:
        rows[depth[name]].append(name)
    # An arrow across several rows takes up a place in each, to avoid boxes.
    steps: dict[str, list[str]] = {name: [] for name in names}
    for name, reached in reduced.items():
        for each in reached:
            last = name
            for level in range(depth[name] - 1, depth[each], -1):
                place = f"{name}>{each}@{level}"
                rows[level].append(place)
                steps[last].append(place)
                steps[place] = []
                last = place
            steps[last].append(each)
    rows.reverse()
    rows = _ordered(rows, steps)
    used = [sum(_wide(name) + _GAP_X for name in row) - _GAP_X for row in rows]
    width = 2 * _MARGIN + max(used)
    places = {}
    for level, row in enumerate(rows):
        x = (width - used[level]) / 2
        for name in row:
            places[name] = (
                x + _wide(name) / 2, _MARGIN + level * (_HEIGHT + _GAP_Y)
            )  # fmt: skip
            x += _wide(name) + _GAP_X
    parts = [
        _downwards(places[name], places[each], tip=each in reduced)
        for name, reached in steps.items()
        for each in reached
    ]
    parts += [
        f'<path d="M{x:.0f} {y}V{y + _HEIGHT}"/>'
        for name, (x, y) in places.items()
        if name not in reduced
    ]
    parts += [
        _box(*places[name], name, "command" if name in commands else "box")
        for name in names
    ]
    size = (width, 2 * _MARGIN + len(rows) * (_HEIGHT + _GAP_Y) - _GAP_Y)
    return _svg(size, title, parts)


def _reduced(
    names: Sequence[str], arrows: Mapping[str, set[str]]
) -> dict[str, list[str]]:
    """Leaves out arrows that follow from others."""
    closure: dict[str, set[str]] = {}

    def below(name: str) -> set[str]:
        if name not in closure:
            closure[name] = set()
            for each in arrows.get(name, ()):
                closure[name] |= {each} | below(each)
        return closure[name]

    return {
        name: sorted(
            each
            for each in arrows.get(name, ())
            if not any(each in below(other) for other in arrows[name])
        )
        for name in names
    }


def _ordered(
    rows: list[list[str]], arrows: Mapping[str, list[str]]
) -> list[list[str]]:
    """Sorts each row by the mean position of what leads to its names."""
    for _ in range(4):
        for above, row in pairwise(rows):
            position = {name: i / len(above) for i, name in enumerate(above)}
            row.sort(
                key=lambda name, at=position: _mean(
                    [at[a] for a in at if name in arrows[a]]
                )
            )
    return rows


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.5


def _wide(name: str) -> int:
    return 14 if ">" in name else _BOX


def _downwards(
    start: tuple[float, float], end: tuple[float, float], *, tip: bool
) -> str:
    x1, y1 = start[0], start[1] + _HEIGHT
    x2, y2 = end
    bend = (y2 - y1) / 2
    marker = ' marker-end="url(#tip)"' if tip else ""
    return (
        f'<path d="M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} '
        f'{x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"{marker}/>'
    )


def _box(middle: float, y: float, text: str, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{middle - _BOX / 2:.0f}" y="{y:.0f}" '
        f'width="{_BOX}" height="{_HEIGHT}" rx="7"/>'
        f'<text x="{middle:.0f}" y="{y + 22:.0f}">{escape(text)}</text>'
    )


def _svg(size: tuple[float, float], title: str, parts: list[str]) -> str:
    width, height = (round(each) for each in size)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {width} {height}" '
        f'role="img"><title>{escape(title)}</title>{_STYLE}'
        f'<rect class="page" width="{width}" height="{height}" rx="8"/>'
        + "\n".join(parts)
        + "</svg>\n"
    )
