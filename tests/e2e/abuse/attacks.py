"""What an attack is, and how one is carried out."""

import asyncio
import dataclasses
import time
from collections.abc import Iterable

from abuse import wire
from abuse.world import Good, Serving, World, difference

# How long the server may take to be rid of a client that does nothing. Its
# own limits are 10 to 30 seconds.
PATIENCE = 90.0


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What may be answered to one request.

    Attributes:
      statuses: any of these.
      good: if it is a good request, that; then the answer must be right.
      head: the answer has no body.
    """

    statuses: frozenset[int] = frozenset()
    good: Good | None = None
    head: bool = False


@dataclasses.dataclass(frozen=True)
class Attack:
    """Bytes that no honest client sends, or not in that way.

    Attributes:
      kind: for the counts.
      steps: bytes to send, and seconds to wait between them.
      wanted: the answers, in order.
      silence: the server may also close without an answer.
      end: "keep" the connection for other requests, "close" or "reset" it
        when the answers are there; "gone" and "torn" the same at once;
        "wait" until the server closes it.
      slow: it takes many seconds.
      small_buffer: do not read what comes.
    """

    kind: str
    steps: tuple[bytes | float, ...]
    wanted: tuple[Wanted, ...] = ()
    silence: bool = False
    end: str = "keep"
    slow: bool = False
    small_buffer: bool = False


@dataclasses.dataclass
class Outcome:
    """How an attack, or a good request, went.

    Attributes:
      statuses: that were seen; 0 is a connection closed without an answer.
      problems: what was wrong, in words.
      unanswered: good requests among it without an answer.
      wrong: good requests among it with a wrong answer.
    """

    statuses: list[int] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    unanswered: int = 0
    wrong: int = 0


def refused(*statuses: int, head: bool = False) -> tuple[Wanted, ...]:
    """One answer with any of these statuses."""
    return (Wanted(frozenset(statuses), None, head),)


def answered(goods: Iterable[Good]) -> tuple[Wanted, ...]:
    """The right answers to good requests."""
    return tuple(Wanted(good=good, head=good.head) for good in goods)


async def carry_out(
    attack: Attack,
    world: World,
    connection: wire.Connection,
    tolerance: float,
) -> tuple[Outcome, bool]:
    """Sends an attack and judges the answers.

    Returns:
      The outcome, and whether the connection can be used further.
    """
    outcome, began = Outcome(), time.monotonic()
    if attack.small_buffer:
        connection.small_buffer()
    sent = await _send(attack, connection)
    if attack.end in ("gone", "torn"):
        await connection.close(reset=attack.end == "torn")
        outcome.statuses.append(0)
        return outcome, False
    if attack.end == "wait":
        await _wait(attack, connection, outcome)
        await connection.close()
        return outcome, False
    for wanted in attack.wanted:
        try:
            answer = await connection.answer(wanted.head)
        except wire.NoAnswer as error:
            outcome.statuses.append(0)
            # What the server refuses unread it may cut off.
            if wanted.good or not (attack.silence or not sent):
                outcome.problems.append(f"no answer: {error}")
                outcome.unanswered += wanted.good is not None
            await connection.close()
            return outcome, False
        judge(wanted, answer, outcome, tolerance, world.serving, began)
        if answer.last:
            await connection.close()
            return outcome, False
    if attack.end == "keep":
        return outcome, True
    await connection.close(reset=attack.end == "reset")
    return outcome, False


def judge(
    wanted: Wanted,
    answer: wire.Answer,
    outcome: Outcome,
    tolerance: float,
    serving: Serving,
    began: float,
) -> None:
    """Adds to `outcome` what is to be said of an answer."""
    outcome.statuses.append(answer.status)
    if wanted.good:
        wrong = difference(wanted.good, answer, tolerance, serving, began)
        if wrong:
            outcome.problems.append(wrong)
            outcome.wrong += 1
        return
    if answer.status not in wanted.statuses:
        outcome.problems.append(
            f"status {answer.status}, not one of {sorted(wanted.statuses)}: "
            f"{answer.body[:200]!r}"
        )
    elif answer.status >= 400 and not wanted.head:
        problem = _form(answer)
        if problem:
            outcome.problems.append(problem)


def _form(answer: wire.Answer) -> str:
    """What is wrong with the form of an error."""
    if answer.headers.get("content-type") != "application/json":
        return f"an error of type {answer.headers.get('content-type')}"
    try:
        found = answer.json()
    except ValueError:
        return f"an error that is no JSON: {answer.body[:100]!r}"
    if list(found) != ["error"] or not isinstance(found["error"], str):
        return f"an error of another form: {answer.body[:100]!r}"
    if len(found["error"]) > 1000:
        return f"an error of {len(found['error'])} characters"
    return ""


async def _send(attack: Attack, connection: wire.Connection) -> bool:
    for step in attack.steps:
        if isinstance(step, bytes):
            if not await connection.send(step):
                return False
            if attack.slow and connection.ended:
                return False
        else:
            await asyncio.sleep(step)
    return True


async def _wait(
    attack: Attack, connection: wire.Connection, outcome: Outcome
) -> None:
    found = await connection.until_closed(PATIENCE)
    if found is None:
        outcome.problems.append(
            f"the server has kept the connection for {PATIENCE:g} seconds"
        )
        return
    status = 0
    if found.startswith(b"HTTP/1.1 "):
        status = int(found[9:12])
    outcome.statuses.append(status)
    allowed = {each for wanted in attack.wanted for each in wanted.statuses}
    if status not in allowed | ({0} if attack.silence else set()):
        outcome.problems.append(f"status {status}: {found[-200:]!r}")
