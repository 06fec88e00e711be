"""Checks an export's outputs, signature by signature."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from capi import comparing
from capi.processes import Answers
from capi.questions import Asked
from capi.texts import Row


class Line(NamedTuple):
    """A line of the table: one comparison of one signature."""

    signature: str
    what: str
    rows: int
    found: comparing.Comparison


def check_answers(
    asked: Sequence[Asked], capi: Answers, tolerance: float
) -> list[Line]:
    """Checks errors, shapes, offsets, and that batching changes no row."""
    lines = {}
    first: dict[tuple[str, Row], dict[str, Any]] = {}
    for number, one in enumerate(asked):
        name = one.signature
        if name not in lines:
            found = comparing.Comparison(tolerance)
            lines[name] = Line(name, "C API", 0, found)
        line = lines[name] = lines[name]._replace(
            rows=lines[name].rows + len(one.rows)
        )
        outputs = _outputs(capi, number)
        if isinstance(outputs, str):
            line.found.problems.append(f"{_shown(one)}: {outputs}")
            continue
        wrong_batch = list(comparing.wrong_batch(outputs, len(one.rows)))
        line.found.problems += [f"{_shown(one)}: {w}" for w in wrong_batch]
        if wrong_batch:
            continue
        for i, row in enumerate(one.rows):
            own = comparing.rows_of(outputs, i)
            line.found.problems += [
                f"{_shown(one, i)}: {wrong}"
                for wrong in comparing.wrong_spans(row, own)
            ]
            before = first.setdefault((name, row), own)
            if before is not own:
                line.found.rows(_shown(one, i), own, before, either=True)
    return list(lines.values())


def check_plain(
    asked: Sequence[Asked], capi: Answers, plain: Answers, tolerance: float
) -> list[Line]:
    """Checks that the plain process returns what the C API returned."""
    lines = {}
    for number, one in enumerate(asked):
        found = comparing.Comparison(tolerance)
        line = lines.setdefault(
            one.signature, Line(one.signature, "plain Python", 0, found)
        )
        line = lines[one.signature] = line._replace(
            rows=line.rows + len(one.rows)
        )
        a, b = _outputs(capi, number), _outputs(plain, number)
        if isinstance(b, str):
            line.found.problems.append(f"{_shown(one)}: {b}")
        elif not isinstance(a, str):
            line.found.rows(_shown(one), b, a)
    return list(lines.values())


def check_model(
    asked: Sequence[Asked],
    capi: Answers,
    model: Answers,
    wanted: dict[str, list[Row]],
    tolerance: float,
) -> list[Line]:
    """Checks that the C API returns what the Python model returns."""
    expected: dict[tuple[str, Row], Any] = {}
    lines = {}
    for number, (name, rows) in enumerate(wanted.items()):
        answers = _outputs(model, number)
        found = comparing.Comparison(tolerance)
        lines[name] = Line(name, "Python model", 0, found)
        if isinstance(answers, str):
            found.problems.append(f"{name}: {answers}")
            continue
        known = sum(answer is not None for answer in answers)
        lines[name] = lines[name]._replace(rows=known)
        expected |= {(name, row): a for row, a in zip(rows, answers)}
    for number, one in enumerate(asked):
        outputs = _outputs(capi, number)
        if isinstance(outputs, str) or any(
            comparing.wrong_batch(outputs, len(one.rows))
        ):
            continue  # reported already
        for i, row in enumerate(one.rows):
            answer = expected.get((one.signature, row))
            if answer is not None:
                lines[one.signature].found.rows(
                    _shown(one, i), comparing.rows_of(outputs, i), answer
                )
    return list(lines.values())


def _outputs(answers: Answers, number: int) -> Any:
    if number < len(answers.outputs):
        return answers.outputs[number]
    return f"not answered: the process {answers.death or 'stopped'}"


def _shown(one: Asked, row: int | None = None) -> str:
    if row is None:
        return f"{one.signature}, {len(one.rows)} rows"
    shown = " | ".join(
        text[:40].decode("utf-8", "backslashreplace") for text in one.rows[row]
    )
    return f"{one.signature}, row {row} of {len(one.rows)} ({shown!r})"
