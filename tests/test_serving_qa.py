"""Tests that exported readers predict as the Python ones."""

import dataclasses

import numpy as np
import pytest
import qa_toys
import span_models
import tensorflow as tf
from qa_toys import TEXT

from electra_tf.exporting.graphs import qa_signatures
from electra_tf.tasks.qa import features as qa_features
from electra_tf.tasks.qa.examples import QAExample
from electra_tf.tasks.qa.features import QAFeatureConfig
from electra_tf.tasks.qa.words import CHARACTERS, WORDS
from electra_tf.text.tokenizer import Tokenizer

PAIRS = [
    ("who ran?", TEXT),
    ("which cat sat on the mat with the dog of his house?", TEXT * 3),
    ("what?", "cat"),
    ("what?", "the the the \u202f the\tthe  the"),
    ("谁?", "中国人 love 中国。the “中国” cat\u2019s caf\u0301e, 国人。" * 4),
    ("who?", "Ce\u0301line \u200b ΑΣ\u2019s \U0001f600 house\xa0was good\n\n"),
    ("who?", "\u200b"),
]

EMPTY = [("", ""), ("who?", ""), ("", "the cat ran."), (" \n", " \t")]


@pytest.mark.parametrize("splitter", [WORDS, CHARACTERS], ids=["en", "zh"])
@pytest.mark.parametrize("lengths", [(31, 7, 6), (12, 128, 4), (20, 1, 3)])
def test_windows_are_those_of_python(tiny_vocab_file, splitter, lengths):
    tokenizer = Tokenizer(tiny_vocab_file)
    config = QAFeatureConfig(*lengths)
    examples = [QAExample(str(i), *pair) for i, pair in enumerate(PAIRS)]
    expected = qa_features.make_windows(
        tokenizer, examples, config, False, splitter
    )
    batch = qa_toys.window_arrays(expected, tokenizer.vocab)
    questions, contexts = (tf.constant(texts) for texts in zip(*PAIRS))
    pieces = qa_signatures.context_pieces(tokenizer, contexts, splitter)
    rows, found = qa_signatures.make_windows(
        tokenizer, questions, pieces, config
    )
    for i, (_, context) in enumerate(PAIRS):
        document = expected.documents[expected.document[i]]
        np.testing.assert_array_equal(pieces.start_chars[i], document.starts)
        np.testing.assert_array_equal(pieces.end_chars[i], document.ends)
        for a, b, c, d in zip(*(column[i].numpy() for column in pieces[1:])):
            assert context.encode()[a:b].decode() == context[c:d]
    for name in ("splits", "example", "index", "start", "length"):
        np.testing.assert_array_equal(
            getattr(found, name), getattr(expected, name)
        )
    np.testing.assert_array_equal(rows.input_ids, batch["input_ids"])
    np.testing.assert_array_equal(rows.segment_ids, batch["segment_ids"])
    np.testing.assert_array_equal(rows.lengths, batch["input_mask"].sum(axis=1))
    for window in expected:
        seen = np.arange(window.start, window.start + window.length)
        owner = found.shows_most(np.full(seen.shape, window.example), seen)
        np.testing.assert_array_equal(owner == window.index, window.max_context)


KINDS = {
    "joint": ("squad/v2.0", {"null_threshold": 0.0}),
    "joint_all": ("squad/v1.1", {"beam_size": 5, "n_best_size": 3}),
    "independent": ("squad/v2.0", {
        "head": "independent", "answerability": "first_token",
        "null_threshold": -0.5,
    }),
    "chinese": ("chinese_qa", {"head": "independent", "beam_size": 40}),
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory, tiny_vocab_file):
    """A predictor and its export."""
    name, options = KINDS[request.param]
    path = tmp_path_factory.mktemp(request.param)
    predictor = span_models.make(
        path / "model", tiny_vocab_file, name,
        {"max_seq_length": 24, "doc_stride": 7, "max_query_length": 6,
         "max_answer_length": 12, **options},
        {"unanswerable": name.endswith("v2.0")},
    )  # fmt: skip
    signatures = qa_signatures.signatures(predictor)
    export = span_models.exported(
        predictor, signatures["serving_default"], path / "export"
    )
    export.signatures = signatures
    return predictor, export


def check(predictor, export, pairs):
    """Asserts that the export's answers equal the predictor's."""
    questions, contexts = zip(*pairs)
    found = export(question=questions, context=contexts)
    expected = predictor.predict(pairs)
    for i, (answer, (_, context)) in enumerate(zip(expected, pairs)):
        assert found["answer"][i].decode() == answer["answer"]
        assert found["score"][i] == pytest.approx(answer["score"], abs=1e-5)
        odds = answer["null_odds"] or 0.0
        assert found["no_answer"][i] == pytest.approx(odds, rel=1e-5, abs=1e-5)
        places = answer["start"], answer["end"]
        if answer["start"] is None:
            assert not answer["answer"]
            places = (-1, -1)
        assert (found["start"][i], found["end"][i]) == places
        cut = context.encode()[found["start_byte"][i] : found["end_byte"][i]]
        if answer["answer"]:
            assert cut.decode() == context[slice(*places)]
    return expected


def test_answers_are_those_of_python(pair):
    predictor, export = pair
    expected = check(predictor, export, PAIRS)
    check(predictor, export, PAIRS[2:3])
    # Alone, an empty text may give no row for the network.
    check(predictor, export, [*EMPTY, PAIRS[0]])
    for one in EMPTY:
        check(predictor, export, [one])
    assert any(answer["answer"] for answer in expected)


def test_thresholds(pair):
    """With a threshold amid the odds only some questions are answered."""
    predictor, _ = pair
    if not predictor.task.unanswerable:
        pytest.skip("there is always an answer")
    odds = [a["null_odds"] for a in predictor.predict(PAIRS[:-1])]
    options, task = predictor.task.options, predictor.task
    try:
        task.options = dataclasses.replace(
            options, null_threshold=float(np.median(odds))
        )
        function = qa_signatures.signatures(predictor)["serving_default"]
        expected = check(
            predictor,
            lambda **inputs: {
                name: value.numpy() for name, value in function(
                    **{k: tf.constant(v) for k, v in inputs.items()}
                ).items()
            },
            PAIRS,
        )  # fmt: skip
    finally:
        task.options = options
    assert len({answer["answer"] == "" for answer in expected}) == 2


def test_as_many_questions_as_contexts(pair):
    _, export = pair
    for questions in (["who?"], [], ["who?"] * 3):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="question and context: exp"
        ):
            export(question=questions, context=["the cat.", "the dog."])


def test_any_bytes_are_answered(pair):
    _, export = pair
    empty = export(question=[], context=[])
    assert all(value.shape == (0,) for value in empty.values())
    questions = [b"", b"\xff", b"who?", b"who?", b"who?"]
    contexts = [b"", b"\xff\xfe", b"", b"\x00 \xff", b"cat \xff dog\xe4\xb8"]
    found = export(question=questions, context=contexts)
    assert found["answer"].tolist()[:4] == [b""] * 4
    assert found["start"].tolist()[:4] == [-1] * 4
    assert (np.isfinite(found["score"])).all()
    assert (np.isfinite(found["no_answer"])).all()
    long = export(question=["who?"], context=["the cat sat. " * 500])
    assert 0 <= long["score"][0] <= 1


def test_steps_give_what_the_whole_gives(pair):
    """Steps equal the whole to the last digit, however they are grouped."""
    predictor, export = pair
    if predictor.task.name != "chinese_qa":
        pytest.skip("a single kind is enough")
    columns = [tf.constant(texts) for texts in zip(*PAIRS * 3)]
    span_models.check_steps(export.signatures, columns, 1)
