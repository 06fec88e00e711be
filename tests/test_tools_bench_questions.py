"""Tests the benchmark of questions, and our windows against plain Python."""

import argparse
import importlib
import json

import hypothesis
import numpy as np
import pytest
import qa_toys
from benchmarks import questions, workers
from hypothesis import strategies as st

from electra_tf.tasks.qa import examples as qa_examples
from electra_tf.tasks.qa import features as qa_features
from electra_tf.text.tokenizer import Tokenizer

WORDS = "the cats mat , (ran good) house. Was hers it's".split()


@pytest.fixture(scope="module")
def peer():
    """Returns the module benchmarks/peers/squad_python.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(workers.PEERS))
        yield importlib.import_module("squad_python")


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


@hypothesis.given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=40),
    st.sampled_from([" ", "\n ", "\u202f"]),
    st.data(),
    st.integers(12, 24),
    st.integers(1, 9),
)
@hypothesis.settings(max_examples=25)
def test_windows_are_those_of_the_plain_algorithm(
    peer, tokenizer, words, space, data, length, stride
):
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    context = space.join(words)
    start = len(space.join([*words[:first], ""]))
    answer = space.join(words[first : last + 1])
    content = qa_toys.squad(
        [{"id": "q", "question": "who sat on it", "answers": [
            {"text": answer, "answer_start": start}]}],
        context,
    )  # fmt: skip
    vocab = tokenizer.vocab.tokens
    ids = {token: i for i, token in enumerate(vocab)}

    def tokenize(text):
        return [vocab[i] for i in tokenizer([text]).flat_values.numpy()]

    settings = {
        "max_seq_length": length, "doc_stride": stride, "max_query_length": 5,
    }  # fmt: skip
    (one,) = peer.examples(content)
    expected = peer.features(one, tokenize, ids, settings)
    windows = qa_features.make_windows(
        tokenizer,
        qa_examples.squad_examples(content, "x"),
        qa_features.QAFeatureConfig(length, stride, 5),
        training=True,
    )
    found = qa_toys.window_arrays(windows, tokenizer.vocab, length)
    for name, values in found.items():
        if name != "is_impossible":
            np.testing.assert_array_equal(values, [r[name] for r in expected])
    for window, row in zip(windows, expected):
        best = [row["shown_best"][at] for at in sorted(row["shown_best"])]
        assert window.max_context.tolist() == best


def test_questions_are_made_of_running_text(peer):
    text = " ".join(f"w{i}" for i in range(1000))
    content = questions.made_up(text)
    examples = qa_examples.squad_examples(content, "x")
    assert len(examples) == 40
    assert not any(qa_examples.unusable(e) for e in examples)
    assert all(answer is not None for _, _, answer in peer.examples(content))
    assert questions.cut(content, 12) == 15
    assert len(qa_examples.squad_examples(content, "x")) == 15


def test_a_file_of_questions_is_taken(tmp_path, tiny_vocab_file):
    path = qa_toys.write(
        tmp_path / "a.json", qa_toys.squad([qa_toys.question("a", "she")])
    )
    args = argparse.Namespace(
        input=path, vocab=tiny_vocab_file, questions=9, megabytes=1.0
    )
    with questions._questions(args) as (found, vocab, count):
        assert (vocab, count) == (tiny_vocab_file, 1)
        with open(found, encoding="utf-8") as handle:
            assert json.load(handle)["data"]


@pytest.mark.slow
def test_ours_is_measured_alone(tmp_path, tiny_vocab_file, capsys):
    import benchmark

    path = qa_toys.write(
        tmp_path / "a.json", qa_toys.squad([qa_toys.question("a", "she")])
    )
    argv = ["questions", "--rounds=1", f"--input={path}"]
    assert benchmark.main([*argv, f"--vocab={tiny_vocab_file}"]) == 0
    out = capsys.readouterr().out
    assert "### questions" in out and "no --peer_python" in out
