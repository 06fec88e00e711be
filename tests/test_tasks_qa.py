"""Tests questions on a text: files, windows and answers."""

import json

import hypothesis
import numpy as np
import pytest
import qa_toys
import tensorflow as tf
from hypothesis import strategies as st

from electra_tf.errors import UserError
from electra_tf.models.task_heads import SpanOutput
from electra_tf.tasks import losses
from electra_tf.tasks.qa import answers as qa_answers
from electra_tf.tasks.qa import examples as qa_examples
from electra_tf.tasks.qa import features as qa_features
from electra_tf.tasks.qa.examples import QAExample, locate_answer
from electra_tf.tasks.qa.features import QAFeatureConfig
from electra_tf.text.tokenizer import Tokenizer

SMALL = QAFeatureConfig(max_seq_length=16, doc_stride=4, max_query_length=4)
WIDE = QAFeatureConfig(max_seq_length=32, max_query_length=4)
TEXT = "the cat sat on a mat , she ran with the dog to his house and was good"


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def example(answer=None, context=TEXT, **fields):
    if answer is not None:
        fields["answers"] = (answer,)
        fields["answer_start"] = context.index(answer)
    return QAExample("q", "which cat sat", context, **fields)


def windows_of(tokenizer, examples, training=True, config=SMALL):
    return qa_features.make_windows(tokenizer, examples, config, training)


def squad(qas, context=TEXT):
    return {"data": [{"paragraphs": [{"context": context, "qas": qas}]}]}


def test_reads_both_versions_of_squad():
    one = {
        "id": 7, "question": "who?",
        "answers": [{"text": "she", "answer_start": 23}, {"text": "the cat",
                    "answer_start": 0}],
    }  # fmt: skip
    two = {
        "id": "b", "question": "why?", "answers": [], "is_impossible": True,
        "plausible_answers": [{"text": "dog", "answer_start": 36}],
    }  # fmt: skip
    a, b = qa_examples.squad_examples(squad([one, two]), "dev.json")
    assert (a.question_id, a.answers) == ("7", ("she", "the cat"))
    assert (a.answer_start, a.impossible, a.context) == (23, False, TEXT)
    assert (b.answers, b.impossible) == ((), True)
    assert locate_answer(a) == (7, 7) and locate_answer(b) is None


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"data": [{"paragraphs": [{"qas": []}, {"context": ""}]}]},
        squad([{"id": 1, "answers": []}]),
        squad([{"id": 1, "question": "?", "answers": [{"text": "a"}]}]),
        squad([{"id": 1, "question": "?", "answers": ["a"]}]),
    ],
)
def test_other_json_is_named(content):
    with pytest.raises(UserError, match=r"dev\.json.*form of SQuAD"):
        qa_examples.squad_examples(content, "dev.json")


@pytest.mark.parametrize(
    ("answer", "start", "expected"),
    [
        ("cat sat", 4, (1, 2)),
        ("at sa", 5, (1, 2)),  # inside words
        ("CAT", 4, (1, 1)),
        ("good", 65, (17, 17)),
        ("dog", 4, None),  # not there
        ("good", 66, None),  # beyond the end
        ("cat", -1, None),
        (" ", 3, None),
    ],
)
def test_locates_answers(answer, start, expected):
    found = QAExample("q", "?", TEXT, (answer,), start)
    assert locate_answer(found) == expected


def test_answers_before_the_first_word_are_not_found():
    found = QAExample("q", "?", "  the cat", (" ",), 0)
    assert locate_answer(found) is None
    assert locate_answer(QAExample("q", "?", "", ("a",), 0)) is None


def test_words_are_the_originals():
    words, starts = qa_examples.split_words("a\u202fb\u00a0c\n d")
    assert words == ("a", "b\u00a0c", "d")
    assert starts.tolist() == [0, 2, 7]


def test_windows(tokenizer):
    windows = windows_of(tokenizer, [example("she ran")])
    # 18 words, 3 of the question and 3 special tokens: 10 fit.
    assert [(w.start, w.length) for w in windows] == [(0, 10), (4, 10), (8, 10)]
    assert [w.index for w in windows] == [0, 1, 2]
    arrays = qa_toys.window_arrays(windows, tokenizer.vocab)
    assert arrays["input_ids"].shape == (3, 16)
    tokens = [tokenizer.vocab.tokens[i] for i in arrays["input_ids"][1]]
    text = TEXT.split()
    question = "which cat sat".split()
    assert tokens == ["[CLS]", *question, "[SEP]", *text[4:14], "[SEP]"]
    assert arrays["segment_ids"][1].tolist() == [0] * 5 + [1] * 11
    # "she ran" are words 7 and 8: whole in the first two windows.
    assert arrays["start_positions"].tolist() == [12, 8, 0]
    assert arrays["end_positions"].tolist() == [13, 9, 0]
    assert all(value.dtype == "int32" for value in arrays.values())


def test_padding_to_a_length(tokenizer):
    windows = windows_of(tokenizer, [example(context="the cat")], False)
    arrays = qa_toys.window_arrays(windows, tokenizer.vocab, 20)
    assert arrays["input_ids"].shape == (1, 20)
    assert arrays["input_mask"].sum() == 8
    short = qa_toys.window_arrays(windows, tokenizer.vocab)
    assert short["input_ids"].shape == (1, 8)
    none = windows_of(tokenizer, [], False)
    none = qa_toys.window_arrays(none, tokenizer.vocab)
    assert none["input_ids"].shape[0] == 0


def test_long_questions_are_cut(tokenizer):
    long = QAExample("q", "the cat sat on a mat", "she ran")
    (window,) = windows_of(tokenizer, [long], False)
    assert len(window.question) == SMALL.max_query_length


def test_targets_are_of_training_alone(tokenizer):
    examples = [example("she ran"), example(impossible=True)]
    train = qa_toys.window_arrays(
        windows_of(tokenizer, examples), tokenizer.vocab
    )
    assert train["is_impossible"].tolist() == [0] * 3 + [1] * 3
    dev = qa_toys.window_arrays(
        windows_of(tokenizer, examples, training=False), tokenizer.vocab
    )
    for name in ("start_positions", "end_positions", "is_impossible"):
        assert not dev[name].any()
    np.testing.assert_array_equal(dev["input_ids"], train["input_ids"])


def test_unusable_answers_in_training(tokenizer):
    wrong = QAExample("q9", "?", TEXT, ("dog",), 0)
    with pytest.raises(ValueError, match="q9: answer not found"):
        windows_of(tokenizer, [wrong])


def test_answer_inside_a_word(tokenizer):
    context = "she ran (in good-house), it was"
    found = example("good", context)
    (window,) = windows_of(tokenizer, [found], config=WIDE)
    first = window.answer_start - window.offset
    last = window.answer_end - window.offset
    assert window.document.text(first, last) == "good"
    # "goo" is no piece of "good": the target is the whole word.
    wider = example("goo", "she ran good , it")
    (window,) = windows_of(tokenizer, [wider], config=WIDE)
    assert window.answer_start == window.answer_end


def test_context_without_tokens_has_no_window(tokenizer):
    empty = QAExample("q", "which", " \n ")
    assert len(windows_of(tokenizer, [empty], False)) == 0
    assert len(windows_of(tokenizer, [], False)) == 0


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("doc_stride", {"doc_stride": 0}),
        ("max_query_length", {"max_query_length": 0}),
        ("max_seq_length", {"max_seq_length": 67}),
    ],
)
def test_impossible_lengths(key, fields):
    with pytest.raises(UserError, match=key):
        QAFeatureConfig(**fields)


@hypothesis.given(st.integers(1, 60), st.integers(8, 20), st.integers(1, 12))
@hypothesis.settings(max_examples=40)
def test_each_token_has_one_best_window(tokenizer, words, length, stride):
    config = QAFeatureConfig(length, stride, 3)
    context = " ".join(["cat"] * words)
    windows = windows_of(tokenizer, [example(context=context)], False, config)
    assert all(w.size <= length for w in windows)
    seen = {}
    for w in windows:
        for i in range(w.start, w.start + w.length):
            left, right = i - w.start, w.start + w.length - 1 - i
            score = min(left, right) + 0.01 * w.length
            seen.setdefault(i, []).append((-score, w.index))
    # Nothing is skipped unless the stride is longer than a window.
    if stride <= length - 6:
        assert sorted(seen) == list(range(words))
    for w in windows:
        expected = [
            min(seen[i])[1] == w.index
            for i in range(w.start, w.start + w.length)
        ]
        assert w.max_context.tolist() == expected


def test_text_of_pieces(tokenizer):
    context = "Thé  cats\n(sat) 中国"
    (document,) = qa_features.make_documents(tokenizer, [context])
    pieces = [tokenizer.vocab.tokens[i] for i in document.ids]
    assert pieces == ["the", "cat", "##s", "(", "sat", ")", "中", "国"]
    assert document.text(0, 0) == "Thé"
    assert document.text(0, 7) == "Thé cats (sat) 中国"
    assert document.text(2, 4) == "s (sat"
    assert document.text(7, 7) == "国"
    assert document.first_piece.tolist() == [0, 1, 3, 6]


def beam_for(window, spans, impossible=None):
    """Returns a beam of `spans`: (first piece, last piece, score)."""
    first = np.array([s for s, _, _ in spans]) - window.start + window.offset
    last = np.array([e for _, e, _ in spans]) - window.start + window.offset
    ends = np.tile(last, (len(spans), 1))
    scores = np.full(ends.shape, -100.0, "float32")
    np.fill_diagonal(scores, [score for _, _, score in spans])
    return qa_answers.Beam(
        first, np.zeros(len(spans), "float32"), ends, scores, impossible
    )


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("head", [True, False])
def test_all_windows_of_a_question_decide_whether_it_has_an_answer(
    tokenizer, least, head
):
    """The window with the lowest score of no answer decides, at any place."""
    windows = list(windows_of(tokenizer, [example()], training=False))
    assert len(windows) > 1
    odds = [2.5 - 4.0 * (i == least) for i in range(len(windows))]
    beams = []
    for window, value in zip(windows, odds):
        piece = window.start + int(np.argmax(window.max_context))
        row = beam_for(window, [(piece, piece, -3.0)])._asdict()
        row |= {"null_score": np.float32(value), "impossible": None}
        if head:
            row |= {"impossible": value, "null_score": np.float32(-9.0)}
        beams.append(qa_answers.Beam(**row))
    found = qa_answers.predict(windows, beams, qa_answers.AnswerConfig())
    assert found.text and found.null_odds == (-1.5 if head else -1.5 + 3.0)
    # The first window alone gives other odds, unless it is that window.
    alone = qa_answers.predict(
        windows[:1], beams[:1], qa_answers.AnswerConfig()
    ).null_odds
    assert (alone == found.null_odds) == (least == 0)


def test_best_answers(tokenizer):
    windows = windows_of(tokenizer, [example()], training=False)
    beams = [
        beam_for(windows[0], [(0, 1, -1.0), (3, 3, -2.0), (2, 1, 9.0)], 0.5),
        # Word 5 has its best context in the first window, word 7 in this one.
        beam_for(windows[1], [(5, 5, 7.0), (7, 9, -0.5)], -0.25),
        beam_for(windows[2], [(8, 9, 5.0), (17, 18, 8.0), (0, 2, 9.0)], 2.0),
    ]
    found = qa_answers.predict(
        windows, beams, qa_answers.AnswerConfig(n_best_size=3)
    )
    assert [c.text for c in found.n_best] == ["she ran with", "the cat", "on"]
    assert found.text == "she ran with"
    assert [c.score for c in found.n_best] == [-0.5, -1.0, -2.0]
    assert sum(c.probability for c in found.n_best) == pytest.approx(1)
    assert found.null_odds == -0.25
    short = qa_answers.predict(
        windows, beams, qa_answers.AnswerConfig(max_answer_length=2)
    )
    assert short.text == "the cat"


def test_equal_texts_are_one_answer(tokenizer):
    (window,) = windows_of(tokenizer, [example(context="cat sat cat")], False)
    beam = beam_for(window, [(0, 0, -1.0), (2, 2, -2.0), (1, 1, -3.0)])
    found = qa_answers.predict([window], [beam], qa_answers.AnswerConfig())
    texts = [c.text for c in found.n_best]
    assert texts[:2] == ["cat", "sat"] and texts.count("cat") == 1
    assert found.null_odds is None


def test_no_valid_answer(tokenizer):
    (window,) = windows_of(tokenizer, [example(context="the cat")], False)
    beam = qa_answers.Beam(
        np.array([0, 1]), np.zeros(2, "float32"), np.array([[0, 5], [5, 7]]),
        np.zeros([2, 2], "float32"), None, -1.5,
    )  # fmt: skip
    found = qa_answers.predict([window], [beam], qa_answers.AnswerConfig())
    assert (found.text, found.n_best, found.null_odds) == ("", (), -1.5)


def test_independent_heads(tokenizer):
    (window,) = windows_of(tokenizer, [example(context="the cat sat")], False)
    start = np.full([window.size], -9.0, "float32")
    end = start.copy()
    first = window.offset
    start[[0, first + 1, first + 2]] = 1.0, 4.0, 3.0
    end[[0, first + 1, first + 2]] = 0.5, 2.0, 3.5
    spans = SpanOutput(tf.constant([start]), tf.constant([end]))
    arrays = qa_answers.beam_tensors(spans, 3)
    beam = qa_answers.beam_of(
        {n: v[0].numpy() for n, v in arrays.items()}, True
    )
    found = qa_answers.predict([window], [beam], qa_answers.AnswerConfig())
    assert [c.text for c in found.n_best] == ["cat sat", "sat", "cat"]
    assert [c.score for c in found.n_best] == [7.5, 6.5, 6.0]
    assert found.null_odds == 1.5 - 7.5


def test_true_spans_come_back(shared_dir):
    """Nearly every answer of SQuAD is a run of whole pieces."""
    path = shared_dir / "data" / "squad" / "dev-v1.1.json"
    vocab = shared_dir / "data" / "vocab" / "bert_uncased_en.txt"
    if not (path.exists() and vocab.exists()):
        pytest.skip(f"no {path} or no {vocab}")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["data"] = content["data"][:6]
    examples = qa_examples.squad_examples(content, str(path))
    assert all(locate_answer(e) for e in examples)
    windows = qa_features.make_windows(
        Tokenizer(str(vocab)), examples, QAFeatureConfig(384), True
    )
    texts = {}
    for w in windows:
        if w.answer_start:
            shift = w.start - w.offset
            texts[w.example] = w.document.text(
                w.answer_start + shift, w.answer_end + shift
            )
    assert len(texts) == len(examples)
    same = [
        texts[i].strip(".,\"'()") in {a.strip(".,\"'()") for a in e.answers}
        for i, e in enumerate(examples)
    ]
    assert np.mean(same) > 0.99


def test_span_loss():
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]).astype("float32")
    spans = SpanOutput(logits, logits[:, ::-1])
    start, end = np.array([0, 1]), np.array([2, 1])
    loss = losses.span_loss(spans, start, end)
    np.testing.assert_allclose(loss, -np.log([0.5, 0.8]), rtol=1e-6)
    spans = spans._replace(impossible_logit=np.zeros([2], "float32"))
    loss = losses.span_loss(spans, start, end, np.array([0, 1]))
    np.testing.assert_allclose(
        loss, -np.log([0.5, 0.8]) + 0.5 * np.log(2), rtol=1e-6
    )
    with pytest.raises(ValueError, match="is_impossible"):
        losses.span_loss(spans, start, end)
