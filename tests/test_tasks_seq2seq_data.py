"""Tests pairs of files and TFDS, their rows and batches, loss and scores."""

import gzip
import json

import numpy as np
import pytest
import seq2seq_runs
import tensorflow as tf
import tensorflow_datasets as tfds

from electra_tf.errors import UserError
from electra_tf.models import kernels
from electra_tf.tasks import batches, metrics
from electra_tf.tasks.losses import smoothed_token_loss
from electra_tf.tasks.registry import task_class
from electra_tf.tasks.seq2seq import pairs as seq2seq_pairs
from electra_tf.tasks.seq2seq.pairs import Pair
from electra_tf.text.tokenizer import Tokenizer

ROWS = [("a cat", "eine Katze"), ("the dog", "der Hund"), ("", "x"), ("y", "")]


def task(data=None, name="translation", state=None, **options):
    cls = task_class(name)
    return cls(name, cls.Options(**options), data and str(data), state)


def texts(pairs):
    return [(pair.source, pair.target) for pair in pairs]


# --- files -----------------------------------------------------------------


def test_parallel_files(tmp_path):
    """Files are found by split and language, even compressed, among others."""
    seq2seq_runs.write(tmp_path, ROWS, "train")
    seq2seq_runs.write(tmp_path, ROWS[:2], "val", ("de", "en"))
    for language, side in (("en", 0), ("de", 1), ("fr", 0)):
        path = tmp_path / f"test_2016_flickr.{language}.gz"
        with gzip.open(path, "wt", encoding="utf-8") as file:
            text = "".join(f"{row[side]}\r\n" for row in ROWS)
            file.write("\ufeff" + text)
    made = task(tmp_path, source_language="en", target_language="de")
    assert texts(made.read("train")) == ROWS
    assert texts(made.read("validation")) == [(b, a) for a, b in ROWS[:2]]
    assert texts(made.read("test")) == ROWS
    assert made.read("train")[1].place.endswith("train.en:2")
    turned = task(tmp_path, source_language="de", target_language="en")
    assert texts(turned.read("test"))[0] == ROWS[0][::-1]


@pytest.mark.parametrize("kind", ["plain", "header", "jsonl", "csv"])
def test_tables(tmp_path, kind):
    rows, head = ROWS[:2], ""
    if kind == "jsonl":
        lines = [json.dumps({"source": a, "target": b}) for a, b in rows]
        path = tmp_path / "train.jsonl"
    else:
        mark = "," if kind == "csv" else "\t"
        lines = [mark.join(row) for row in rows]
        head = "" if kind == "plain" else f"source{mark}target\n"
        path = tmp_path / ("train.csv" if kind == "csv" else "train.tsv")
    path.write_text(head + "\n".join(lines) + "\n")
    found = task(path, validation_fraction=0.0).read("train")
    assert texts(found) == rows


def test_a_part_is_held_out(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("".join(f"a{i}\tb{i}\n" for i in range(300)))
    made = task(path, validation_fraction=0.2)
    train, held_out = made.read("train"), made.read("validation")
    assert len(train) + len(held_out) == 300
    assert 30 < len(held_out) < 90
    assert not {p.source for p in train} & {p.source for p in held_out}
    # After training: the held-out rows of that file, all rows of another.
    trained = task(path, state=made.state, validation_fraction=0.2)
    assert texts(trained.read("validation")) == texts(held_out)
    other = tmp_path / "other.tsv"
    other.write_text("".join(f"a{i}\tb{i}\n" for i in range(299)))
    trained = task(other, state=made.state, validation_fraction=0.2)
    assert len(trained.read("validation")) == 299


def test_columns_of_other_names(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"document": "long text", "summary": "s"}))
    made = task(path, "abstractive_summarization", validation_fraction=0.0)
    assert texts(made.read("train")) == [("long text", "s")]
    record = made.record("some text")
    assert made.example(record, "here") == Pair("some text", None, "here")
    path = tmp_path / "train.tsv"
    path.write_text("source\ttarget\nlong text\ts\n")
    made = task(path, "abstractive_summarization", validation_fraction=0.0)
    assert texts(made.read("train")) == [("long text", "s")]


def test_wrong_data_is_reported(tmp_path):
    languages = {"source_language": "en", "target_language": "de"}
    with pytest.raises(UserError, match="--data"):
        task().read("train")
    with pytest.raises(UserError, match=r"train\.en and train\.de"):
        task(tmp_path, **languages).read("train")
    (tmp_path / "train.en").write_text("a\nb\n")
    with pytest.raises(UserError, match=r"train that ends in \.de"):
        task(tmp_path, **languages).read("train")
    (tmp_path / "train.de").write_text("a\n")
    with pytest.raises(UserError, match=r"train\.de: ends after 1 lines"):
        task(tmp_path, **languages).read("train")
    (tmp_path / "train.de").write_bytes(b"a\n\xff\n")
    with pytest.raises(UserError, match=r"train\.de:2: .*UTF-8"):
        task(tmp_path, **languages).read("train")
    (tmp_path / "other.tsv").write_text("one\ttwo\tthree\n")
    with pytest.raises(UserError, match=r"other\.tsv:1"):
        task(tmp_path / "other.tsv").read("train")
    (tmp_path / "named.tsv").write_text("source\tziel\na\tb\n")
    with pytest.raises(UserError, match="'target'"):
        task(tmp_path / "named.tsv").read("train")
    with pytest.raises(UserError, match="source_language"):
        task(tmp_path, source_language="en")
    with pytest.raises(UserError, match="expected a text"):
        task().record(3)


# --- TensorFlow Datasets ---------------------------------------------------


def test_sets_of_tfds(tmp_path):
    name = "ted_hrlr_translate/pt_to_en"
    with tfds.testing.mock_data(num_examples=5):
        made = task(tmp_path, f"translation/{name}")
        found = made.read("train")
    assert len(found) == 5
    assert all(isinstance(pair.target, str) for pair in found)
    assert found[3].place == f"{name} train 3"


def test_unknown_sets(tmp_path):
    with pytest.raises(UserError, match="cannot get it"):
        task(tmp_path, "translation/no_such_set").read("train")
    with pytest.raises(UserError, match="pairs of texts"):
        task(tmp_path, "translation/glue/sst2").read("train")


# --- features and batches --------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def test_rows(tokenizer):
    vocab = tokenizer.vocab
    made = task(max_seq_length=5, max_target_length=3)
    examples = [
        Pair("the cat sat", "he ran"),
        Pair("cat", ""),
        Pair("the the the the the", "his dog sat sat"),
        Pair(" ", "cat"),
    ]
    found = made.features(tokenizer, examples, training=True)

    def tokens(ids):
        return " ".join(vocab.tokens[i] for i in ids)

    rows = found.batch([0, 1])
    assert [tokens(row) for row in rows["input_ids"]] == [
        "[CLS] the cat sat [SEP]", "[CLS] the the the [SEP]",
    ]  # fmt: skip
    # The second is truncated, so that it has no [SEP].
    assert [tokens(row) for row in rows["target_ids"]] == [
        "[CLS] he ran [SEP]", "[CLS] his dog sat",
    ]  # fmt: skip
    assert rows["num_predicted"].tolist() == [3, 3]
    np.testing.assert_allclose(rows["target_weight"], 1 / 3)
    assert found.examples.tolist() == [0, 2]
    assert made.state["specials"] == seq2seq_pairs.specials(vocab)
    inference = made.features(tokenizer, examples, training=False)
    assert inference.lengths.tolist() == [5, 3, 5, 2]


def test_batches_are_padded_to_their_own_longest(tokenizer):
    rng = np.random.default_rng(0)
    examples = [
        Pair("cat " * rng.integers(1, 30), "dog " * rng.integers(1, 30))
        for _ in range(200)
    ]
    found = task().features(tokenizer, examples, training=True)
    stream = batches.BatchStream(found, 8, seed=1, pad_to_multiple=4)
    padded = real = 0
    for step in range(25):
        batch = stream.batch(step)
        lengths = batch["num_predicted"] + 1
        width = batch["target_ids"].shape[1]
        assert width == min(-(-lengths.max() // 4) * 4, 31)
        assert (batch["target_ids"] != 0).sum(axis=1).tolist() == list(lengths)
        longest = np.maximum(lengths, batch["input_mask"].sum(axis=1))
        padded, real = padded + longest.max() * 8, real + longest.sum()
    assert real / padded > 0.85
    signature = stream.signature()
    assert signature["target_ids"].shape.as_list() == [8, None]
    assert signature["target_weight"].shape.as_list() == [8]


# --- loss ------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["plain", "xla"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_smoothed_loss(smoothing, mode):
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=[2, 3, 7]).astype("float32") * 3)
    labels = tf.constant(rng.integers(0, 7, [2, 3]).astype("int32"))
    weights = tf.constant(rng.normal(size=[2, 3]).astype("float32"))

    def plain(logits):
        truth = tf.one_hot(labels, 7) * (1 - smoothing) + smoothing / 7
        return -tf.reduce_sum(truth * tf.nn.log_softmax(logits), axis=-1)

    results = []
    for function in (
        plain, lambda x: smoothed_token_loss(x, labels, smoothing)
    ):  # fmt: skip
        with kernels.use(mode), tf.GradientTape() as tape:
            tape.watch(logits)
            losses = function(logits)
            total = tf.reduce_sum(losses * weights)
        results.append((losses, tape.gradient(total, logits)))
    for expected, found in zip(*results):
        np.testing.assert_allclose(found, expected, atol=1e-5)


# --- scores ----------------------------------------------------------------


def test_scores_are_those_of_the_packages():
    import sacrebleu

    hypotheses = ["the cat sat on the mat.", "he ran to the house today."]
    references = ["the cat sat on a mat.", "he ran into the house today."]
    found = metrics.bleu(hypotheses, references)
    expected = sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert found.value == pytest.approx(expected)
    assert "tok:13a" in found.signature and "version:" in found.signature
    assert "tok:zh" in metrics.bleu(["中国"], ["中国"], "zh").signature
    assert "case:lc" in metrics.bleu(["A"], ["a"], lower_case=True).signature
    found = metrics.rouge(["the cats sat"], ["the cat ran off"])
    assert found["rouge1"] == pytest.approx(100 * 2 * (2 / 3 * 1 / 2) / (7 / 6))
    assert found["rouge2"] == pytest.approx(100 * 2 * (1 / 2 * 1 / 3) / (5 / 6))
    chinese = metrics.rouge(["今天天气好ok"], ["今天天气很好ok"])
    assert chinese["rouge1"] == pytest.approx(100 * 2 * (6 / 7) / (13 / 7))
    with pytest.raises(UserError, match="bleu_tokenizer"):
        metrics.bleu(["a"], ["a"], tokenizer="none_such")


def test_no_scores_without_targets():
    made = task()
    assert made.scores([Pair("a")], [{"text": "b"}]) == {}
    assert set(made.files("test", [Pair("a")], [{"text": "b"}])) == {
        "texts.txt"
    }
    scored = made.files("test", [Pair("a", "b c d e")], [{"text": "b c d e"}])
    assert json.loads(scored["scores.json"])["bleu"]["value"] > 99


def test_the_score_to_beat():
    train = [Pair("x", "one two three"), Pair("x", "one")]
    found = task().constant(train, [Pair("a b c d", "e")])
    assert found == [{"text": "a b", "score": 0.0}]
