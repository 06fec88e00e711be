"""Tests the reading of n-best lists, and their new order."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from electra_tf.errors import UserError
from electra_tf.generation.scoring import Candidate, rerank
from electra_tf.generation.scoring import candidate_lists as lists
from electra_tf.generation.scoring import parse_candidate as parse


def test_lines():
    assert parse("a\tthe cat", 3, "f") == Candidate("a", "the cat", None, 3)
    assert parse("a\tthe cat\t-1.5", 3, "f").other == -1.5
    assert parse("a\t", 1, "f").text == "" and parse(" ", 1, "f") is None
    for line, message in (
        ("a the cat", "f:7: expected id, candidate"),
        ("a\tb\tc\td", "got 4 field"),
        ("a\tb\tgood", "'good' is not a number"),
        ("a\tb\tnan", "'nan' is not a number"),
        ("a\tb\t-inf", "'-inf' is not a number"),
    ):
        with pytest.raises(UserError, match=message):
            parse(line, 7, "f")


def candidates(*lines):
    return [parse(line, i, "f") for i, line in enumerate(lines, 1)]


def test_lists_of_one_id():
    found = list(lists(candidates("a\tx", "a\ty", "b\tz")))
    assert [[c.text for c in one] for one in found] == [["x", "y"], ["z"]]
    assert list(lists([])) == []
    with pytest.raises(UserError, match="line 3: the id 'a' comes again"):
        list(lists(candidates("a\tx", "b\ty", "a\tz")))
    with pytest.raises(UserError, match="line 2: has no score"):
        list(lists(candidates("a\tx\t1", "a\ty")))


def test_the_given_score_and_the_weight():
    nbest = candidates("a\tx\t-1", "a\ty\t-2")
    assert [r.candidate.text for r in rerank(nbest, [-9.0, -1.0])] == ["y", "x"]
    first, second = rerank(nbest, [-9.0, -1.0], weight=0.1)
    assert (first.candidate.text, first.total) == ("x", pytest.approx(-1.9))
    assert (second.rank, second.score) == (2, -1.0)


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(-5, 5)), st.integers(-5, 5)),
        min_size=1,
    ),
    st.floats(0, 3),
)
def test_the_order(scored, weight):
    nbest = [Candidate("a", str(i), o) for i, (_, o) in enumerate(scored)]
    found = rerank(nbest, [s for s, _ in scored], weight)
    assert sorted(r.candidate.text for r in found) == sorted(
        c.text for c in nbest
    )
    assert [r.rank for r in found] == list(range(1, len(nbest) + 1))
    totals = [r.total for r in found]
    known = [t for t in totals if t is not None]
    assert known == sorted(known, reverse=True)
    assert totals == known + [None] * (len(totals) - len(known))
