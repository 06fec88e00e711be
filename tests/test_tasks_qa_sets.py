"""Tests MRQA files, Chinese sets, and the round trip of true answers."""

import gzip
import json
import re

import check_answers
import numpy as np
import pytest
import qa_toys

from electra_tf.errors import UserError
from electra_tf.tasks import features as task_features
from electra_tf.tasks.qa import examples as qa_examples
from electra_tf.tasks.qa import features as qa_features
from electra_tf.tasks.qa import metrics as qa_metrics
from electra_tf.tasks.qa import words as qa_words
from electra_tf.tasks.qa.examples import QAExample, read_mrqa
from electra_tf.tasks.registry import task_class
from electra_tf.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def make(name, data=None, **options):
    found = task_class(name)
    return found(name, found.Options(**options), data)


# --- MRQA ------------------------------------------------------------------


def line(*qids, context=qa_toys.TEXT, **changes):
    """Returns a line of MRQA: a context with questions on "the cat"."""
    question = {
        "question": "who sat?",
        "answers": ["cat", "The Cat"],
        "detected_answers": [
            {"text": "The cat", "char_spans": [[0, 6], [9, 9]]},
            {"text": "mat", "char_spans": [[17, 19]]},
        ],
    }
    qas = [{"qid": qid, **question, **changes} for qid in qids]
    return json.dumps({"id": "", "context": context, "qas": qas})


def mrqa(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(['{"header": {"dataset": "x"}}', *lines, ""])
    path.write_bytes(gzip.compress(text.encode()))
    return str(path)


def test_mrqa_is_read(tmp_path, tokenizer):
    mrqa(tmp_path / "train" / "NewsQA.jsonl.gz", line("a", "b"), line("c"))
    mrqa(tmp_path / "NewsQA" / "dev.jsonl.gz", line("d"))
    task = make("mrqa/NewsQA", str(tmp_path))
    assert task.read("test") is None and not task.unanswerable
    examples = task.read("train")
    assert [e.question_id for e in examples] == ["a", "b", "c"]
    assert examples[2].place.endswith("NewsQA.jsonl.gz:3")
    assert examples[0].answers == ("cat", "The Cat")
    # The first place of the first detected answer is trained on.
    features = task.features(tokenizer, examples, training=True)
    assert not task.skipped
    batch = features.batch([0])
    start, end = (int(batch[f"{n}_positions"][0]) for n in ("start", "end"))
    ids = batch["input_ids"][0, start : end + 1]
    assert [tokenizer.vocab.tokens[i] for i in ids] == ["the", "cat"]
    # Scores compare with the true answers, not the detected ones.
    held_out = task.read("validation")
    found = task.features(tokenizer, held_out, training=False)
    outputs = qa_toys.knowing(found, [("cat", "mat", 0.0)])
    predictions = task.predictions(held_out, found, outputs)
    assert task.scores(held_out, predictions)["exact_match"] == 100


def test_plain_mrqa_has_files_of_other_names(tmp_path):
    mrqa(tmp_path / "train.jsonl.gz", line("a"))
    task = make("mrqa", str(tmp_path))
    assert len(task.read("train")) == 1 and task.read("validation") is None


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"context": "a"}', r"x\.jsonl\.gz:3.*form of MRQA \(no 'qas'\)"),
        ("{", r"x\.jsonl\.gz:3: not JSON"),
        (line("b", context=3), r":3.*context is not a text but 3"),
        (line(""), ":3.*no 'qid'"),
        (line("b", detected_answers=[{"text": "a", "char_spans": []}]), ":3"),
        (line("b", detected_answers=[{"text": "a", "char_spans": [[0.5, 1]]}]),
         ":3.*0.5, no whole number"),
        (line("b", answers="The cat"), ":3.*not a list of texts but 'The cat'"),
        (line("b", answers=["a", None]), ":3.*answers is not a list of texts"),
        (line("a"), r":3: question id 'a' comes twice, first at .*:2"),
    ],
)  # fmt: skip
def test_damaged_mrqa_is_reported_with_its_line(bad, message, tmp_path):
    path = mrqa(tmp_path / "x.jsonl.gz", line("a"), bad)
    with pytest.raises(UserError, match=message):
        read_mrqa(path)


# --- Chinese ---------------------------------------------------------------

CHINESE = "中国人in 中国，国人。 中人"  # noqa: RUF001


def test_words_of_chinese_are_characters():
    words, starts = qa_words.split_words(CHINESE, qa_words.CHARACTERS)
    expected = [*"中国人", "in", *"中国，国人。中人"]  # noqa: RUF001
    assert list(words) == expected
    assert all(
        CHINESE.startswith(word, start) for word, start in zip(words, starts)
    )


@pytest.mark.parametrize("split", [qa_words.WORDS, qa_words.CHARACTERS])
def test_splitting_leaves_the_tokens_as_they_are(split, tokenizer):
    (document,) = qa_words.make_documents(tokenizer, [CHINESE], split)
    whole = tokenizer.tokenize_with_offsets([CHINESE])
    for ours, theirs in (
        (document.ids, whole.ids),
        (document.starts, whole.start_chars),
        (document.ends, whole.end_chars),
    ):
        np.testing.assert_array_equal(ours, theirs.flat_values)


def test_the_place_of_a_repeated_answer_counts(tokenizer, tmp_path):
    answer = {"text": "中国", "answer_start": CHINESE.index(" ") + 1}
    qas = [{"id": "a", "question": "国人", "answers": [answer]}]
    path = qa_toys.write(tmp_path / "d.json", qa_toys.squad(qas, CHINESE))
    task = make("chinese_qa/drcd", path, max_seq_length=24, max_query_length=4)
    examples = task.read("train")
    features = task.features(tokenizer, examples, training=True)
    windows = qa_features.make_windows(
        tokenizer, examples, task.options.features(), True, task.splitter
    )
    (window,) = windows
    start = window.answer_start - window.offset
    assert window.document.span(start, start + 1) == (6, 8)
    assert features.rows["start_positions"] == [window.answer_start]
    # An answer is the text of the context, including its spaces.
    found = task.features(tokenizer, examples, training=False)
    outputs = qa_toys.knowing(found, [("人in 中国", "人", 0.0)])
    (prediction,) = task.predictions(examples, found, outputs)
    assert prediction["answer"] == "人in 中国"
    scores = task.scores(examples, [prediction])
    # Recall is 2 of 2 units, precision 2 of 4.
    assert scores["f1"] == pytest.approx(200 / 3)
    assert scores["average"] == pytest.approx(100 / 3)


def test_official_names_of_chinese_sets(tmp_path):
    qas = [{"id": "a", "question": "?", "answers": []}]
    content = json.dumps(qa_toys.squad(qas))
    for name in ("cmrc2018_train", "DRCD_training"):
        text = "\ufeff" + content  # some copies have it
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
    for name in ("cmrc2018", "drcd"):
        task = make(f"chinese_qa/{name}", str(tmp_path))
        assert len(task.read("train")) == 1
        assert task.read("validation") is None
    with pytest.raises(UserError, match="chinese_qa/drcd"):
        make("chinese_qa/dcrd")


@pytest.mark.parametrize(
    ("truth", "answer", "same", "f1"),
    [
        ("《中国》", "中国。", 1, 1.0),
        ("中国人民", "中国的人民", 0, 2 * (2 / 5) * (2 / 4) / (2 / 5 + 2 / 4)),
        ("NBA球員", "nba", 0, 2 / 4),
        ("3.5公里", "3.5公里", 1, 1.0),
        ("3.5公里", "3", 0, 0.0),
        ("in-1990", "in1990", 1, 1.0),
        ("中国", "", 0, 0.0),
        ("……", "……", 1, 1.0),  # not in the script's punctuation
    ],
)
def test_scores_by_character(truth, answer, same, f1):
    assert qa_metrics.cmrc_exact(truth, answer) == same
    assert qa_metrics.cmrc_f1(truth, answer) == pytest.approx(f1)
    found = qa_metrics.cmrc_scores([["无", truth]], [answer])
    assert found["exact_match"] == 100 * same
    assert found["average"] == pytest.approx(50 * (same + f1))


# --- round trip of answers -------------------------------------------------


def test_large_data_is_tokenized_in_parts(tokenizer, monkeypatch):
    contexts = [f"the cats {'sat ' * i}\n中国 (mat)" for i in range(9)] + [""]
    whole = qa_words.make_documents(tokenizer, contexts)
    monkeypatch.setattr(qa_words, "_CHARACTERS_AT_ONCE", 40)
    monkeypatch.setattr(task_features, "_TEXTS", 2)
    parts = qa_words.make_documents(tokenizer, contexts)
    for name in ("ids", "starts", "ends", "splits"):
        np.testing.assert_array_equal(
            getattr(whole, name), getattr(parts, name)
        )
    monkeypatch.setattr(task_features, "_ROWS", 3)
    examples = [QAExample(str(i), "who?", c) for i, c in enumerate(contexts)]
    windows = qa_features.make_windows(
        tokenizer, examples, qa_features.QAFeatureConfig(16, 4, 4), False
    )
    features = qa_features.window_features(windows, tokenizer.vocab)
    for row, window in enumerate(windows):
        own = slice(*features.row_splits[row : row + 2])
        ids = features.tokens["input_ids"][own]
        seen = slice(window.start, window.start + window.length)
        expected = [
            tokenizer.vocab.cls_id, *window.question, tokenizer.vocab.sep_id,
            *window.document.ids[seen], tokenizer.vocab.sep_id,
        ]  # fmt: skip
        assert ids.tolist() == expected
        assert features.tokens["segment_ids"][own].sum() == window.length + 1


@pytest.mark.parametrize(
    ("answer", "start", "pieces"),
    [
        ("cats", 4, "cat ##s"),
        ("cat", 4, "cat"),
        ("s", 7, "##s"),  # a piece of the word, not the word "s"
        (" cats ", 3, "cat ##s"),
        ("CATS", 4, "cat ##s"),
        ("ran  the", 10, "ran the"),  # other white space than the context's
        ("a", 11, "ran"),  # not a piece: the word around it
    ],
)
def test_pieces_of_answers(answer, start, pieces, tokenizer):
    context = "the cats (ran the) dog"
    example = QAExample("q", "who?", context, (answer,), start)
    assert qa_examples.unusable(example) is None
    (window,) = qa_features.make_windows(
        tokenizer, [example], qa_features.QAFeatureConfig(32, 8, 4), True
    )
    shift = window.offset
    own = window.document.ids[
        window.answer_start - shift : window.answer_end - shift + 1
    ]
    found = " ".join(tokenizer.vocab.tokens[i] for i in own)
    assert re.fullmatch(rf"\W*{re.escape(pieces)}\W*", found)


def test_true_answers_are_checked(tmp_path, tiny_vocab_file, capsys):
    qas = [
        qa_toys.question("a", "she ran"),
        qa_toys.question("b", "a") | {"answers": [
            {"text": "h", "answer_start": 1}, {"text": "sat", "answer_start": 8}
        ]},
        qa_toys.question("c", "h"),
    ]  # fmt: skip
    path = qa_toys.write(tmp_path / "a.json", qa_toys.squad(qas))
    argv = [f"--input={path}", f"--vocab={tiny_vocab_file}"]
    assert check_answers.main(argv) == 0
    out = capsys.readouterr().out
    assert "questions with an answer: 3\n" in out
    assert "an answer is recovered:   2 (66" in out
    assert "different true answers:   4\n" in out
    assert "b: 'h' -> 'the': it begins and ends inside a WordPiece" in out
    assert "Questions with no recovered answer: 1\n  c\n" in out
    # An answer that is too long to be predicted is an error.
    assert check_answers.main([*argv, "--max_answer_length=1"]) == 1
    assert "a: 'she ran' -> '': no window" in capsys.readouterr().out


@pytest.mark.slow
def test_the_answers_of_squad_are_recovered(shared_dir):
    """All answers come back but those that begin or end inside a WordPiece."""
    path = shared_dir / "data" / "squad" / "dev-v1.1.json"
    vocab = shared_dir / "data" / "vocab" / "bert_uncased_en.txt"
    if not (path.exists() and vocab.exists()):
        pytest.skip(f"no {path} or no {vocab}")
    found = check_answers.there_and_back(
        check_answers.true_answers(str(path)),
        Tokenizer(str(vocab)),
        qa_features.QAFeatureConfig(),
    )
    assert found.questions == 10570
    # The only true answer of this question is "four", inside "fourth".
    assert found.whole == ["56dfa1d34a1a83140091ebd4"]
    assert found.exact == 10569
    assert len(found.lost) == 62 and found.answers == 18216
    assert all("inside a WordPiece" in line for line in found.lost)


@pytest.mark.parametrize("control", ["\x0b", "\x0c", "\x1c", "\x1f", "\x85"])
def test_controls_do_not_divide_words(tokenizer, control):
    """Controls that Python takes for white space are left out of a word."""
    context = f"中国 cat{control}s。"
    found = qa_words.make_documents(tokenizer, [context], qa_words.CHARACTERS)
    whole = tokenizer.tokenize_with_offsets([context])
    assert found.ids.tolist() == whole.ids.flat_values.numpy().tolist()
    assert found.ends.tolist() == whole.end_chars.flat_values.numpy().tolist()
