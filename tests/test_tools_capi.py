"""Tests the requests to an export and the comparison of its outputs."""

import numpy as np
import pytest
from capi import checks, comparing, processes, questions, texts

from electra_tf.errors import UserError


def compared(found, wanted, tolerance=1e-5, **flags):
    comparison = comparing.Comparison(tolerance)
    comparison.rows("here", found, wanted, **flags)
    return comparison


def strings(*values):
    found = np.empty([len(values)], object)
    found[:] = values
    return found


def test_rows_are_the_same_but_for_padding():
    wanted = {
        "tokens": strings(b"a\0", b""),
        "starts": np.array([0, 2]),
        "score": 2.5,
        "best": np.array([[0.5, 0.25]]),
        "label": b"x\0",
    }
    found = {
        "tokens": strings(b"a\0", b"", b""),
        "starts": np.array([0, 2, -1]),
        "score": np.float32(2.50001),
        "best": np.array([[0.5, 0.25], [0, 0]], "float32"),
        "label": b"x\0",
    }
    same = compared(found, wanted)
    assert same.problems == [] and same.values == 8
    assert same.difference == pytest.approx(4e-6, rel=0.1)
    assert compared(wanted, found, either=True).problems == []
    assert len(compared(wanted, found).problems) == 3  # too short


@pytest.mark.parametrize(
    ("found", "expected", "message"),
    [
        (1.0, 1.1, "here: x has 1 where 1.1 is expected"),
        (np.nan, 1.0, "here: x has nan where 1 is expected"),
        ([1, 2, 5], [1, 2], "here: x: [5] stands in the padding"),
        ([1], [1, 2], "here: x is int64 (1,), expected int64 (2,)"),
        (
            b"a",
            b"a\0",
            r"here: x has 'a' where 'a\x00' is expected, and 0 more",
        ),
        (b"a", 1, "here: x is object (), expected int64 ()"),
    ],
)
def test_differences_are_reported(found, expected, message):
    assert compared({"x": found}, {"x": expected}).problems == [message]


def test_missing_outputs_are_reported():
    assert compared({"x": 1}, {"y": 1}).problems == [
        "here: the output x is not expected",
        "here: the output y is missing",
    ]


def test_impossible_outputs_are_reported():
    outputs = {
        "a": np.zeros([2, 3]),
        "b": np.array([np.inf]),
        "c": np.zeros([]),
    }
    assert list(comparing.wrong_batch(outputs, 2)) == [
        "b is (1,) for 2 rows", "c is () for 2 rows",
    ]  # fmt: skip
    assert list(comparing.wrong_batch({"b": outputs["b"]}, 1)) == [
        "b has numbers that are not finite"
    ]


def test_offsets_must_cut_their_tokens():
    text = "ein Käse".encode()
    outputs = {
        "tokens": strings(b"ein", "Käse".encode(), b""),
        "start_bytes": np.array([0, 4, -1]),
        "end_bytes": np.array([3, 9, -1]),
        "start_chars": np.array([0, 4, -1]),
        "end_chars": np.array([3, 8, -1]),
        "num_tokens": np.int32(2),
    }
    assert comparing.wrong_spans((text,), outputs) == []
    outputs["end_chars"][1] = 7
    outputs["end_bytes"][0] = 2
    assert comparing.wrong_spans((text,), outputs) == [
        "'ei' for 'ein'", "characters 4 to 7: not 'Käse'",
    ]  # fmt: skip
    answer = {
        "answer": "Käse".encode(), "start": 4, "end": 8, "start_byte": 4,
        "end_byte": 9,
    }  # fmt: skip
    assert comparing.wrong_spans((b"?", text), answer) == []
    answer["end_byte"] = 12
    assert comparing.wrong_spans((b"?", text), answer) == ["bytes 4 to 12 of 9"]
    answer |= {"answer": b"", "start_byte": -1}
    assert comparing.wrong_spans((b"?", text), answer) == []


def test_a_dead_process_and_errors_are_reported():
    requests = [questions.Asked("s", ("text",), [(b"a",), (b"b",)])] * 2
    dead = processes.Answers({}, ["s: no"], "was ended by SIGABRT\nlast words")
    [line] = checks.check_answers(requests, dead, 1e-5)
    assert line.rows == 4
    assert line.found.problems == [
        "s, 2 rows: s: no",
        "s, 2 rows: not answered: the process was ended by SIGABRT\nlast words",
    ]


def test_a_dead_model_and_wrong_shapes_are_reported():
    requests = [questions.Asked("s", ("text",), [(b"a",), (b"b",)])]
    rows = questions.rows(requests)
    assert rows == {"s": [(b"a",), (b"b",)]}
    capi = processes.Answers({}, [{"x": np.array([1.0, 2.0])}], None)
    dead = processes.Answers({}, [], "ended with status 1")
    [line] = checks.check_model(requests, capi, dead, rows, 1e-5)
    assert line.found.problems == [
        "s: not answered: the process ended with status 1"
    ]
    model = processes.Answers({}, [[{"x": 1.0}, {"x": 3.0}]], None)
    [line] = checks.check_model(requests, capi, model, rows, 1e-5)
    assert line.rows == 2 and len(line.found.problems) == 1
    assert "row 1 of 2 ('b'): x has 2 where 3 is" in line.found.problems[0]
    model = processes.Answers({}, [[{"x": 1.0}, None]], None)
    [line] = checks.check_model(requests, capi, model, rows, 1e-5)
    assert line.rows == 1 and line.found.problems == []
    short = processes.Answers({}, [{"x": np.array([1.0])}], None)
    [line] = checks.check_answers(requests, short, 1e-5)
    assert line.found.problems == ["s, 2 rows: x is (1,) for 2 rows"]


# --- texts -----------------------------------------------------------------


def test_built_in_texts_are_of_both_languages():
    found = texts.built_in()
    chinese = [text for text in found if "\u4e00" <= text[0] <= "\u9fff"]
    assert len(found) >= 200 and 90 <= len(chinese) <= 120


def test_rows_out_of_lines():
    lines = ["a b c d", "道可道", "x", "y", "z", "w"]
    assert texts.rows(("text",), lines[:2]) == [
        (b"a b c d",), ("道可道".encode(),),
    ]  # fmt: skip
    assert texts.rows(("text", "text_pair"), lines)[-1] == (b"w", b"a b c d")
    question, context = texts.rows(("question", "context"), lines)[1]
    assert question.decode() == "道可道" and context == b"x y z w a b c d"
    masked = texts.rows(("text",), lines[:2], masked=True)
    assert [text.decode() for (text,) in masked] == [
        "a [MASK] [MASK] d", "道[MASK]道",
    ]  # fmt: skip
    records = [{"text": "1"}, {"text": "2", "text_pair": "3"}]
    assert texts.rows(("text", "text_pair"), lines, records) == [(b"2", b"3")]
    assert len(texts.rows(("query", "passage"), lines, records)) == len(lines)


def test_odd_rows_have_every_odd_text_in_every_place():
    for width in (1, 2):
        rows = texts.odd(width)
        assert (texts.GOOD,) * width in rows
        for column in zip(*rows):
            assert set(texts.ODD) <= set(column)
        assert {len(row) for row in texts.long(width, 500)} == {width}


def test_files_of_texts(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "n": 1}\n\n{"text": "b"}\n')
    found = (["a", "b"], [{"text": "a"}, {"text": "b"}])
    assert texts.read(str(path)) == found
    for content, message in (
        (b"", "has no texts"),
        (b"\xff", "is not UTF-8 text"),
        (b"[1]\n", "x.jsonl:1: expected an object"),
        (b"{\n", "x.jsonl:1: not JSON"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            texts.read(str(path))
