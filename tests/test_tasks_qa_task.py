"""Tests the question answering task: files, features, answers, thresholds."""

import gzip
import json
import logging

import numpy as np
import pytest
import qa_toys
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import SpanOutput
from electra_tf.models.task_networks import task_network
from electra_tf.tasks import losses
from electra_tf.tasks.qa import answers as qa_answers
from electra_tf.tasks.qa.options import QAOptions
from electra_tf.tasks.registry import task_class
from electra_tf.text.tokenizer import Tokenizer

SMALL = {"max_seq_length": 24, "doc_stride": 8, "max_query_length": 6}


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def make(name="squad", data=None, state=None, **options):
    found = task_class(name)
    return found(name, found.Options(**{**SMALL, **options}), data, state)


def read(tmp_path, qas, **options):
    """Writes questions to a file; returns a task and its examples."""
    path = qa_toys.write(tmp_path / "one.json", qa_toys.squad(qas))
    task = make(validation_file=path, **options)
    return task, task.read("validation")


# --- files -----------------------------------------------------------------


def test_official_names_are_found(tmp_path):
    for name in ("train-v1.1", "dev-v1.1", "train-v2.0", "xquad.de"):
        qa_toys.write(
            tmp_path / f"{name}.json",
            qa_toys.squad([qa_toys.question(name, "she")]),
        )

    def ids(name, split):
        found = make(name, str(tmp_path)).read(split)
        return None if found is None else [e.question_id for e in found]

    assert ids("squad/v1.1", "train") == ["train-v1.1"]
    assert ids("squad/v1.1", "validation") == ["dev-v1.1"]
    assert ids("squad/v1.1", "test") is None
    assert ids("squad/v2.0", "train") == ["train-v2.0"]
    assert ids("squad/v2.0", "validation") is None
    assert ids("xquad/de", "test") == ["xquad.de"]
    assert ids("xquad/de", "train") == ["train-v1.1"]
    assert ids("squad", "validation") == ["dev-v1.1"]
    with pytest.raises(UserError, match=r"train-v1\.1.*, train-v2.*.*train_f"):
        ids("squad", "train")


def test_files_of_other_names(tmp_path):
    content = qa_toys.squad([qa_toys.question("q", "she")])
    path = tmp_path / "mine.json.gz"
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    task = make(data=str(tmp_path), train_file="mine.json.gz")
    assert len(task.read("train")) == 1
    assert len(make(train_file=str(path)).read("train")) == 1
    # A single file is training data; for a trained model it is any split.
    task = make(data=str(path))
    assert len(task.read("train")) == 1
    assert task.read("validation") is None and task.read("test") is None
    trained = make(data=str(path), state={"unanswerable": False})
    assert len(trained.read("validation")) == 1
    assert len(trained.read("test")) == 1


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("squad/v3", None, {}, r"squad/v3.*squad/v1\.1"),
        ("xquad", None, {}, r"xquad/\*"),
        ("squad", None, {}, "--data.*train.json"),
        ("squad", "/no/such", {}, "--data.*no/such"),
        ("squad", ".", {"train_file": "no.json"}, r"options\.train_file.*no\."),
        ("squad/v2.0", "tests", {}, r"such as train-v2\.0\.json"),
    ],
)
def test_data_that_is_not_there(name, data, options, message):
    with pytest.raises(UserError, match=message):
        make(name, data, **options).read("train")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head", "both"),
        ("answerability", "no"),
        ("beam_size", 0),
        ("max_answer_length", 0),
        ("doc_stride", 0),
    ],
)
def test_impossible_options(key, value):
    with pytest.raises(UserError, match=key):
        QAOptions(**{key: value})


def test_wrong_json_is_reported_with_its_line(tmp_path):
    path = tmp_path / "dev.json"
    path.write_text('{"data": [\n{"paragraphs": }]}')
    with pytest.raises(UserError, match=r"dev\.json:2: not JSON"):
        make(validation_file=str(path)).read("validation")
    path.write_bytes(b'{"data": "\xff"}')
    with pytest.raises(UserError, match=r"dev\.json:1: byte 11 .*not UTF-8"):
        make(validation_file=str(path)).read("validation")
    path = tmp_path / "dev.json.gz"
    path.write_bytes(b"{}")
    with pytest.raises(UserError, match=r"dev\.json\.gz: damaged"):
        make(validation_file=str(path)).read("validation")


def test_a_question_twice_is_reported_with_both_places(tmp_path):
    qas = [qa_toys.question("q", "she"), qa_toys.question("q", "cat")]
    with pytest.raises(UserError, match=r"qas\[1\].*'q' comes twice.*qas\[0\]"):
        read(tmp_path, qas)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, r"qas\[1\].*no 'id'"),
        ({"question": 7}, r"qas\[1\].*question is not a text but 7"),
        ({"question": "a\ud800b"}, r"qas\[1\].*half a character.*at 1"),
        ({"answers": [{"text": "she"}]}, r"qas\[1\].*no 'answer_start'"),
    ],
)
def test_damaged_questions_are_reported_with_their_place(
    change, message, tmp_path
):
    qas = [qa_toys.question("a", "she"), qa_toys.question("b", "cat") | change]
    with pytest.raises(UserError, match=message):
        read(tmp_path, qas)


# --- features --------------------------------------------------------------


def test_what_cannot_be_trained_on_is_left_out_and_reported(
    tmp_path, tokenizer, caplog
):
    qas = [
        qa_toys.question("gone", "she") | {
            "answers": [{"text": "she", "answer_start": 4}]
        },
        qa_toys.question("good", "she ran"),
        qa_toys.question("blank", "she") | {"question": " "},
        qa_toys.question("none", None),
        qa_toys.question("shifted", "she ran") | {
            "answers": [{"text": "she ran", "answer_start": 21}]
        },
    ]  # fmt: skip
    task, examples = read(tmp_path, qas)
    task.fit(examples)
    with caplog.at_level(logging.WARNING):
        features = task.features(tokenizer, examples, training=True)
    assert set(features.examples) == {1, 3}
    assert features.rows["is_impossible"].tolist() == [
        int(i == 3) for i in features.examples
    ]
    assert len(task.skipped) == 3
    assert "3 of 5 questions are not trained on" in caplog.text
    assert "qas[0], gone: its answer 'she' is not at character" in caplog.text
    assert "qas[4], shifted: shifted: its answer 'she ran' is" in caplog.text
    assert task.skipped[2].endswith("(', she r'); it begins at 23")
    found = task.files("validation", [], [])
    assert found["skipped.txt"].count(b"\n") == 3
    # They still get predictions and scores.
    features = task.features(tokenizer, examples, training=False)
    assert set(features.examples) == set(range(5))
    assert not features.rows


def test_features_are_rows_without_padding(tmp_path, tokenizer):
    task, examples = read(
        tmp_path, [qa_toys.question("a", "good"), qa_toys.question("b", "cat")]
    )
    features = task.features(tokenizer, examples, training=True)
    # 5 tokens of a question and 3 special ones leave 16 of 18 words.
    assert features.lengths.tolist() == [24, 18, 24, 18]
    assert features.examples.tolist() == [0, 0, 1, 1]
    assert features.extra is None
    batch = features.batch([2], 26)
    tokens = [tokenizer.vocab.tokens[i] for i in batch["input_ids"][0]]
    assert tokens[:6] == ["[CLS]", "w", "##h", "##o", "ran", "?"]
    assert batch["segment_ids"][0].sum() == batch["input_mask"][0].sum() - 7
    assert tokens[-2:] == ["[PAD]", "[PAD]"]
    start, end = (batch[f"{n}_positions"][0] for n in ("start", "end"))
    assert tokens[start : end + 1] == ["cat"]


def test_a_record_to_answer(tokenizer):
    task = make("squad/v1.1")
    found = task.example(task.record(("who?", "she ran")), "row 3")
    assert (found.question, found.context) == ("who?", "she ran")
    assert found.question_id == "row 3"
    record = {"question": "who?", "context": "she", "id": 7, "more": 1}
    assert task.example(task.record(record), "x").question_id == "7"
    features = task.features(tokenizer, [found], training=False)
    assert len(features) == 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"context": "a"}, "f:2: no 'question'.*got context"),
        ({"question": "a"}, "f:2: no 'context'"),
        ({"question": "a", "context": " \n"}, "f:2: its context is empty"),
        ({"question": 3, "context": "a"}, "f:2: its question is not a text"),
        ({"question": "\udc00", "context": "a"}, "f:2: question has half"),
    ],
)
def test_records_that_cannot_be_answered(record, message):
    with pytest.raises(UserError, match=message):
        make().example(record, "f:2")
    with pytest.raises(UserError, match="a pair"):
        make().record("who ran?")


# --- answers ---------------------------------------------------------------


def test_answers_are_in_the_context(tmp_path, tokenizer):
    context = "the  cat\nsat on a mat"
    path = qa_toys.write(
        tmp_path / "a.json",
        qa_toys.squad([qa_toys.question("q", "cat", context)], context),
    )
    task = make("squad/v1.1", path)
    examples = task.read("train")
    features = task.features(tokenizer, examples, training=False)
    outputs = qa_toys.knowing(features, [("the  cat\nsat", "a mat", 0.0)])
    (found,) = task.predictions(examples, features, outputs)
    assert found["answer"] == "the cat sat"
    assert context[found["start"] : found["end"]] == "the  cat\nsat"
    assert found["null_odds"] is None
    best = [c["text"] for c in found["n_best"]]
    assert best[:2] == ["the cat sat", "a mat"]
    assert found["score"] == found["n_best"][0]["probability"] > 0.5
    json.dumps(found)  # plain numbers and texts
    assert task.scores(examples, [found])["exact_match"] == 0
    assert task.scores(examples, [found])["f1"] == pytest.approx(200 / 3)


def unanswerable(tmp_path, tokenizer, **options):
    qas = [
        qa_toys.question("a", "cat"),
        qa_toys.question("b", "dog"),
        qa_toys.question("c", None),
        qa_toys.question("d", None),
    ]
    task, examples = read(tmp_path, qas, **options)
    task.fit(examples)
    features = task.features(tokenizer, examples, training=False)
    outputs = qa_toys.knowing(
        features,
        [("cat", "mat", 1.0), ("dog", "mat", 2.0), ("mat", "a", 3.0), None],
    )
    return task, examples, features, outputs


def test_the_threshold_is_found_on_held_out_data(tmp_path, tokenizer):
    task, examples, features, outputs = unanswerable(tmp_path, tokenizer)
    assert task.metric == "best_f1" and task.head().answerable
    found = task.predictions(examples, features, outputs)
    assert [p["answer"] for p in found] == ["", "", "", ""]
    scores = task.scores(examples, found)
    assert scores["exact"] == 50 and scores["best_exact"] == 100
    task.tune(examples, found)
    assert task.state == {"unanswerable": True, "null_threshold": 2.0}
    # Earlier predictions are scored with the new threshold.
    assert task.scores(examples, found)["exact"] == 100
    found = task.predictions(examples, features, outputs)
    assert [p["answer"] for p in found] == ["cat", "dog", "", ""]
    assert found[2]["start"] is None and found[2]["n_best"][0]["text"] == "mat"
    assert task.scores(examples, found)["f1"] == 100

    files = {
        name: json.loads(content)
        for name, content in task.files("dev", examples, found).items()
    }
    assert files["predictions.json"] == {
        "a": "cat", "b": "dog", "c": "", "d": "",
    }  # fmt: skip
    assert files["null_odds.json"]["b"] == 2.0
    assert files["nbest_predictions.json"]["c"][0]["text"] == "mat"
    # A loaded model has the threshold; the option overrides it.
    again = make(state=task.state)
    assert again.predictions(examples, features, outputs) == found
    fixed = make(state=task.state, null_threshold=1.5)
    found = fixed.predictions(examples, features, outputs)
    assert [p["answer"] for p in found] == ["cat", "", "", ""]


def test_never_to_answer_is_a_threshold_below_all_odds(tmp_path, tokenizer):
    task, examples, features, _ = unanswerable(tmp_path, tokenizer)
    outputs = qa_toys.knowing(
        features,
        [("mat", "a", -1.0), ("a", "mat", -3.0), ("mat", "a", -2.0), None],
    )
    found = task.predictions(examples, features, outputs)
    task.tune(examples, found)
    scores = task.scores(examples, found)
    assert task.state["null_threshold"] == -4.0
    assert scores["best_f1_thresh"] == 0.0  # as SQuAD's script has it
    assert scores["f1"] == scores["best_f1"] == 50
    found = task.predictions(examples, features, outputs)
    assert [p["answer"] for p in found] == ["", "", "", ""]


def test_the_first_token_can_predict_that_there_is_no_answer(
    tmp_path, tokenizer
):
    task, examples, features, outputs = unanswerable(
        tmp_path, tokenizer, answerability="first_token"
    )
    assert not task.head().answerable
    for row in outputs:
        del row["impossible"]
    found = task.predictions(examples, features, outputs)
    # [CLS] scores -3, the best answer -1.
    assert [p["null_odds"] for p in found[:3]] == [-2.0] * 3


def test_data_decides_whether_there_is_always_an_answer(tmp_path):
    task, examples = read(tmp_path, [qa_toys.question("a", "cat")])
    task.fit(examples)
    assert task.state == {"unanswerable": False}
    assert task.metric == "f1" and not task.head().answerable
    assert make("squad/v2.0").metric == "best_f1"
    assert not make("squad/v1.1", state={"unanswerable": True}).unanswerable


def test_a_context_without_tokens_has_no_answer(tokenizer):
    task = make("squad/v1.1")
    example = task.example({"question": "who?", "context": "\u200b"}, "x")
    features = task.features(tokenizer, [example], training=False)
    (found,) = task.predictions([example], features, [])
    assert found["answer"] == "" and found["n_best"] == []
    assert task.scores([example], [found]) == {}
    scored = make("squad/v2.0")
    (odd,) = scored.predictions([example], features, [])
    assert odd["null_odds"] is None


def test_constant_answers(tmp_path):
    task, examples = read(
        tmp_path, [qa_toys.question("a", "the cat sat"), ]
    )  # fmt: skip
    task.fit(examples)
    (found,) = task.constant(examples, examples)
    assert found["answer"] == "the cat sat"
    assert task.scores(examples, [found])["exact_match"] == 100
    task = make("squad/v2.0")
    (found,) = task.constant(examples, examples)
    assert found["answer"] == ""
    assert task.scores(examples, [found])["HasAns_exact"] == 0


# --- the network's side ----------------------------------------------------

NETWORK = ModelConfig(
    vocab_size=200, embedding_size=16, hidden_size=16, num_layers=1,
    num_heads=1, intermediate_size=32, max_positions=32,
)  # fmt: skip


@pytest.mark.parametrize("head", ["joint", "independent"])
def test_outputs_and_losses_do_not_depend_on_padding(head, tmp_path, tokenizer):
    qas = [qa_toys.question("a", "cat"), qa_toys.question("b", None)]
    task, examples = read(tmp_path, qas, head=head, beam_size=3)
    task.fit(examples)
    features = task.features(tokenizer, examples, training=True)
    network = task_network(NETWORK, task.head())
    network.build()
    found = []
    for length in (24, 30):
        batch = {
            name: tf.constant(value)
            for name, value in features.batch([0, 1], length).items()
        }
        inputs = [batch[n] for n in ("input_ids", "input_mask", "segment_ids")]
        given = task.network_inputs(batch)
        loss = task.loss(network(*inputs, **given), batch)
        assert loss.shape == (2,)
        outputs = task.outputs(network(*inputs))
        assert max(v.shape.num_elements() for v in outputs.values()) <= 18
        found.append([loss, *(outputs[n] for n in sorted(outputs))])
    for short, long in zip(*found):
        np.testing.assert_allclose(short, long, atol=1e-4)
    # Every start is [CLS] or in the context.
    starts = outputs["starts"].numpy()
    assert np.all((starts == 0) | (starts > 6))


def test_an_independent_heads_loss_is_of_the_context_alone():
    start = tf.constant([[0.0, 9.0, 1.0]])
    outside = tf.constant([[0.0, -1000.0, 0.0]])
    spans = SpanOutput(start, start, outside=outside)
    loss = losses.span_loss(spans, tf.constant([2]), tf.constant([2]))
    np.testing.assert_allclose(loss, [np.log(1 + np.exp(-1))], rtol=1e-5)
    beam = qa_answers.beam_tensors(spans, 2)
    assert beam["starts"].numpy().tolist() == [[2, 0]]
