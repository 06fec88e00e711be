"""Tests the ten sets of GLUE: files, TFDS, defaults, metrics."""

import logging

import glue_files as made
import numpy as np
import pytest
import tensorflow_datasets as tfds

from electra_tf.errors import UserError
from electra_tf.tasks import registry
from electra_tf.tasks.glue.sets import SETS
from electra_tf.tasks.glue.task import Glue, GlueOptions
from electra_tf.text.tokenizer import Tokenizer

SIZES = {"train": 5, "validation": 3, "test": 4}
SIZES_OF = {name: SIZES for name in SETS} | {
    "mnli": {
        "train": 5, "validation_matched": 3, "validation_mismatched": 2,
        "test_matched": 4, "test_mismatched": 3,
    },
    "ax": {"test": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


@pytest.mark.parametrize("name", SETS)
def test_sets_are_those_of_tfds(name):
    builder = tfds.builder(f"glue/{name}", data_dir="/none")
    about, glue_set = builder.builder_config, SETS[name]
    assert tuple(sorted(about.text_features)) == tuple(sorted(glue_set.texts))
    assert list(about.label_classes or ()) == list(glue_set.labels or ())
    if name not in ("mrpc", "ax"):
        assert about.data_dir == glue_set.folder
        columns = [about.text_features[text] for text in glue_set.texts]
        assert columns == list(glue_set.columns)
        assert about.label_column == glue_set.label_column


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("parent", [True, False])
def test_official_files(tmp_path, name, parent):
    folder = made.write(
        tmp_path, name, SIZES_OF[name], "\r\n" if parent else "\n"
    )
    task = registry.task_class(f"glue/{name}")(
        f"glue/{name}", None, str(tmp_path if parent else folder)
    )
    pairs = len(SETS[name].texts) == 2
    for split, rows in SIZES_OF[name].items():
        found = task.read(split)
        assert [e.index for e in found] == list(range(rows))
        for row, example in enumerate(found):
            assert example.text == made.text(name, split, row, 1)
            assert example.text_pair == (
                made.text(name, split, row, 2) if pairs else None
            )
            label = None
            if not split.startswith("test"):
                label = made.LABELS[name][row % 2]
                if SETS[name].labels is None:
                    label = float(label)
                elif label.isdigit():
                    label = SETS[name].labels[int(label)]
            assert example.answer == label
    header = bool(made.HEADERS[name][0])
    if "train" in SIZES_OF[name]:
        place = task.read("train")[0].place
        assert place == f"{folder}/train.tsv:{2 if header else 1}"
    assert task.read("dev") is None


def test_truncated_rows_are_left_out(tmp_path, caplog):
    folder = made.write(tmp_path, "qqp", SIZES)
    lines = made.lines("qqp", "train", 5)
    lines[2] = lines[2].rsplit("\t", 1)[0]  # no label
    lines[4] = lines[4].split("\t")[0]
    lines[5] = lines[5].rsplit("\t", 1)[0] + "\t"
    (folder / "train.tsv").write_text("\n".join(lines) + "\n\n")
    with caplog.at_level(logging.WARNING):
        found = Glue("glue/qqp", None, str(tmp_path)).read("train")
    # The indices are those of TensorFlow Datasets.
    assert [example.index for example in found] == [0, 2]
    assert "left out 3 truncated rows (lines 3, 5, 6)" in caplog.text


def test_a_missing_test_file(tmp_path):
    made.write(tmp_path, "sst2", {"train": 2, "validation": 2})
    assert Glue("glue/sst2", None, str(tmp_path)).read("test") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("index\tsentence1\tlabel\n0\ta\tb\n",
         "train.tsv:1: not a file of glue/rte: no column 'sentence2'; there"),
        ("index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentails\n",
         "train.tsv:2: unknown label 'entails' in 'label'; expected one of "
         "entailment, not_entailment, 0, 1"),
        ("index\tsentence1\tsentence2\tlabel\n0\ta\tb\t2\n",
         "train.tsv:2: unknown label '2'"),
        ("", "train.tsv: is empty"),
    ],
)  # fmt: skip
def test_wrong_files(tmp_path, content, message):
    folder = made.write(tmp_path, "rte", SIZES)
    (folder / "train.tsv").write_text(content)
    with pytest.raises(UserError) as error:
        Glue("glue/rte", None, str(tmp_path)).read("train")
    assert message in str(error.value)


@pytest.mark.parametrize("cell", ["nan", "inf", "1_0", "1e300", "-"])
def test_wrong_similarities(tmp_path, cell):
    folder = made.write(tmp_path, "stsb", SIZES)
    name, lines = "train.tsv", (folder / "train.tsv").read_text().splitlines()
    lines[1] = "\t".join([*lines[1].split("\t")[:-1], cell])
    (folder / name).write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError) as error:
        Glue("glue/stsb", None, str(tmp_path)).read("train")
    expected = f"{name}:2: unknown label '{cell}' in 'score'; expected a number"
    assert expected in str(error.value)


def test_wrong_names_and_places(tmp_path):
    with pytest.raises(UserError, match="did you mean 'glue/sst2'"):
        Glue("glue/SST-2")
    with pytest.raises(UserError, match=r"task 'glue' is not known; known: gl"):
        Glue("glue")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as error:
        Glue("glue/rte", None, str(tmp_path / "empty")).read("train")
    assert "give --data" not in str(error.value)
    assert "(--data) holds no official files: expected train.tsv, dev.tsv" in (
        str(error.value)
    )
    made.write(tmp_path, "rte", SIZES)
    with pytest.raises(UserError, match="holds RTE, but no CoLA for glue/cola"):
        Glue("glue/cola", None, str(tmp_path)).read("train")
    with pytest.raises(UserError, match="no such directory as /none"):
        Glue("glue/cola", None, "/none").read("train")
    with pytest.raises(UserError, match="fine-tune glue/mnli"):
        Glue("glue/ax").read("train")


def test_no_network(tmp_path, monkeypatch):
    def resolve(*args):
        raise OSError("no such host")

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(
        UserError, match=r"glue/wnli: .*no connection to .*tools/prepare_glue"
    ):
        Glue("glue/wnli", None, str(tmp_path)).read("train")


@pytest.mark.parametrize("name", ["cola", "stsb", "mnli", "ax"])
def test_through_tfds(name):
    with tfds.testing.mock_data(num_examples=5):
        task = Glue(f"glue/{name}")
        splits = (*task.validation_splits, *task.test_splits)
        for split in splits if name == "ax" else ("train", *splits):
            examples = task.read(split)
            assert len(examples) == 5
            indices = [example.index for example in examples]
            assert indices == sorted(indices)
            for example in examples:
                assert isinstance(example.text, str)
                pair = example.text_pair
                assert (pair is None) == (name == "cola")
                if SETS[name].labels is None:
                    assert isinstance(example.answer, float)
                else:
                    assert example.answer in SETS[name].labels


def test_defaults_are_the_papers_and_the_originals(tokenizer, tmp_path):
    tasks = {name: Glue(f"glue/{name}") for name in SETS}
    assert {n for n, t in tasks.items() if t.default_epochs == 10} == {
        "rte", "stsb",
    }  # fmt: skip
    assert {n for n, t in tasks.items() if t.both_orders} == {"mrpc", "stsb"}
    made.write(tmp_path, "mrpc", SIZES)
    for option, rows in ((None, 10), (False, 5), (True, 10)):
        options = GlueOptions(double_unordered=option, max_seq_length=16)
        task = Glue("glue/mrpc", options, str(tmp_path))
        features = task.features(tokenizer, task.read("train"), training=True)
        assert len(features) == rows
        assert features.lengths.max() <= 16


def test_similarity_is_learned_in_fifths(tokenizer, tmp_path):
    made.write(tmp_path, "stsb", SIZES)
    task = Glue("glue/stsb", None, str(tmp_path))
    train = task.read("train")
    features = task.features(tokenizer, train, training=True)
    np.testing.assert_allclose(
        features.rows["targets"][:5], [0.76, 0, 0.76, 0, 0.76], rtol=1e-6
    )
    found = task.predictions(train[:1], features, [{"score": np.float32(0.5)}])
    assert found == [{"score": 2.5}]


def answered(task, labels):
    """Returns predictions of `labels` with probability 1."""
    return [
        {"label": pred, "probabilities": {
            label: float(label == pred) for label in task.set.labels
        }}
        for pred in labels
    ]  # fmt: skip


def test_official_metrics(tmp_path):
    expected = {
        "cola": {"mcc"},
        "mrpc": {"accuracy", "f1", "accuracy_f1"},
        "stsb": {"pearson", "spearman", "pearson_spearman"},
        "rte": {"accuracy"},
    }
    for name, metrics in expected.items():
        made.write(tmp_path, name, SIZES)
        task = Glue(f"glue/{name}", None, str(tmp_path))
        task.fit(task.read("train"))
        examples = task.read("validation")
        scores = task.scores(examples, task.constant(examples, examples))
        assert set(scores) == metrics | {"loss"}
        assert task.metric in scores
        test = task.read("test")
        assert task.scores(test, task.constant(examples, test)) == {}
    task = Glue("glue/mrpc", None, str(tmp_path))
    examples = task.read("validation")  # true labels: 0, 1, 0
    found = answered(task, [task.set.labels[1]] * 2 + [task.set.labels[0]])
    scores = task.scores(examples, found)
    assert scores["accuracy"] == pytest.approx(200 / 3)
    assert scores["f1"] == pytest.approx(200 / 3)  # of "equivalent"
    assert task.truth(examples[0]) == "not_equivalent"


def test_mnli_is_tested_on_ax_too(tmp_path):
    made.write(tmp_path, "mnli", SIZES_OF["mnli"])
    task = Glue("glue/mnli", None, str(tmp_path))
    assert task.validation_splits[0] == "validation_matched"
    assert task.test_splits == ("test_matched", "test_mismatched", "ax")
    assert task.read("ax") is None
    made.write(tmp_path, "ax", SIZES_OF["ax"])
    examples = task.read("ax")
    assert len(examples) == 4 and examples[0].answer is None
    alone = Glue("glue/ax", None, str(tmp_path))
    assert alone.read("test") == examples
    assert alone.head() == task.head()
    assert alone.validation_splits == () and alone.test_splits == ("test",)


def test_ax_with_labels(tmp_path):
    (tmp_path / "AX").mkdir()
    (tmp_path / "AX" / "diagnostic-full.tsv").write_text(
        "Logic\tPremise\tHypothesis\tLabel\n"
        "\tone\ttwo\tneutral\n\tthree\tfour\tentailment\n"
    )
    task = Glue("glue/ax", None, str(tmp_path))
    examples = task.read("test")
    assert [(e.text_pair, e.answer) for e in examples] == [
        ("two", "neutral"), ("four", "entailment"),
    ]  # fmt: skip
    found = answered(task, ["neutral", "entailment"])
    scores = task.scores(examples, found)
    assert set(scores) == {"mcc", "accuracy", "loss"}
    assert scores["mcc"] == pytest.approx(100)
    mnli = Glue("glue/mnli", None, str(tmp_path))
    made.write(tmp_path, "mnli", SIZES_OF["mnli"])
    assert mnli.scores(mnli.read("ax"), found) == scores
    train = mnli.read("train")
    assert set(mnli.scores(train, mnli.constant(train, train))) == {
        "accuracy", "loss",
    }  # fmt: skip


def test_records_to_predict_for():
    task = Glue("glue/mrpc")
    for record in (
        {"sentence1": "a", "sentence2": "b", "x": 1},
        {"#1 String": "a", "#2 String": "b"},
        task.record(("a", "b")),
    ):
        example = task.example(record, "f:2")
        assert (example.text, example.text_pair) == ("a", "b")
    with pytest.raises(UserError, match="f:2: no column 'sentence2'; there"):
        task.example({"sentence1": "a"}, "f:2")
    with pytest.raises(UserError, match=r"f:2: the text in .sentence1"):
        task.example({"sentence1": " ", "sentence2": "b"}, "f:2")
    assert Glue("glue/cola").example({"sentence": "a"}, "").text_pair is None


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("CoLA", (8551, 1043, 1063)), ("SST-2", (67349, 872, None)),
        ("MRPC", (3668, 408, 1725)), ("RTE", (2490, 277, 3000)),
        ("STS-B", (5749, 1500, None)),
    ],
)  # fmt: skip
def test_row_counts_of_the_real_files(shared_dir, name, sizes):
    folder = shared_dir / "data" / "glue"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    glue_set = next(s for s in SETS.values() if s.folder == name)
    task = Glue(f"glue/{glue_set.name}", None, str(folder))
    for split, rows in zip(("train", "validation", "test"), sizes):
        examples = task.read(split)
        if rows is None:
            assert examples is None
        else:
            assert len(examples) == rows == glue_set.rows[split]


def test_a_program_may_ask_of_empty_texts():
    task = Glue("glue/rte")
    example = task.asked(task.record(("", "a")), "item 1")
    assert (example.text, example.text_pair) == ("", "a")
    with pytest.raises(UserError, match="x:2: the text in 'text' is empty"):
        task.example(task.record(("", "a")), "x:2")
