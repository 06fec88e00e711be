"""Tests tagging: files, features, predictions, scores."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.task_networks import ClassifierOutput
from electra_tf.tasks.registry import task_class
from electra_tf.tasks.tagging import answers as tagging_answers
from electra_tf.tasks.tagging import schemes as tagging_schemes
from electra_tf.tasks.tagging.task import Tagging, TaggingOptions
from electra_tf.tasks.tagging.words import Sentence
from electra_tf.text.tokenizer import Tokenizer

TRAIN = [
    Sentence(("The", "cat", "sat"), ("B-NP", "I-NP", "B-VP"), place="t:1"),
    Sentence(("she", "ran", "on"), ("B-NP", "O", "O"), place="t:5"),
]


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def fitted(examples=TRAIN, name="tagging", data=None, **options):
    task = Tagging(name, TaggingOptions(**options), data)
    task.fit(examples)
    return task


def outputs_of(task, features, labels, high=5.0):
    """Returns the outputs of a network that knows the labels of all words."""
    size = len(task.state["labels"])
    found = [np.full([n, size], -high, "float32") for n in features.lengths]
    places = features.extra
    for word, label in enumerate(labels):
        if places.row[word] >= 0:
            found[places.row[word]][places.position[word], label] = 0.0
    return [
        {"log_probs": row, "label": row.argmax(-1), "log_prob": row.max(-1)}
        for row in found
    ]


def label_numbers(task, examples):
    names = task.state["labels"]
    return [
        names.index(tag)
        for example in examples
        for tag in tagging_schemes.convert(example.tags, task.state["learned"])
    ]


# --- answers ---------------------------------------------------------------


@pytest.mark.parametrize("convert_to", [None, "bio", "bioes"])
@pytest.mark.parametrize("scheme", ["bio", "iob1", "bioes", "bilou"])
@pytest.mark.parametrize("constrained", [True, False])
def test_gold_tags_survive(tokenizer, scheme, convert_to, constrained):
    more = Sentence(("cat", "cat", "dog"), ("B-NP", "B-NP", "I-NP"))
    examples = [
        dataclasses.replace(
            s, tags=tuple(tagging_schemes.convert(s.tags, scheme)), place="t:1"
        )
        for s in [*TRAIN, more]
    ]
    task = fitted(
        examples, scheme=scheme, convert_to=convert_to, constrained=constrained
    )
    assert task.state["learned"] == (convert_to or scheme)
    features = task.features(tokenizer, examples, training=False)
    outputs = outputs_of(task, features, label_numbers(task, examples))
    found = task.predictions(examples, features, outputs)
    assert [tuple(p["tags"]) for p in found] == [e.tags for e in examples]
    assert task.scores(examples, found) == {
        "f1": 100, "precision": 100, "recall": 100, "accuracy": 100
    }  # fmt: skip


def test_constrained_tags_are_valid(tokenizer):
    task = fitted()
    features = task.features(tokenizer, TRAIN, training=False)
    wrong = [2, 1, 4, 3, 4, 2]  # I-NP B-NP I-VP, B-VP I-VP I-NP
    outputs = outputs_of(task, features, wrong)
    found = task.predictions(TRAIN, features, outputs)
    assert all(tagging_schemes.is_valid(p["tags"], "bio") for p in found)
    assert found[1]["tags"][:2] == ["B-VP", "I-VP"]
    free = fitted(constrained=False)
    found = free.predictions(TRAIN, features, outputs)
    assert found[0]["tags"] == ["I-NP", "B-NP", "I-VP"]


def test_graph_outputs_fit_the_decoding(tokenizer):
    logits = tf.constant(np.random.default_rng(1).normal(size=[2, 5, 5]))
    for options in ({}, {"constrained": False}):
        task = fitted(**options)
        features = task.features(tokenizer, TRAIN, training=False)
        arrays = task.outputs(
            ClassifierOutput(tf.cast(logits, tf.float32), None)
        )
        rows = [
            {name: value.numpy()[i] for name, value in arrays.items()}
            for i in range(2)
        ]
        found = task.predictions(TRAIN, features, rows)
        assert [len(p["tags"]) for p in found] == [3, 3]
        for prediction in found:
            for entity in prediction["entities"]:
                assert 0 < entity["probability"] <= 1


def test_entities_have_their_places_in_the_text(tokenizer):
    task = fitted()
    text = "  The cat\u200b didn't sit."
    example = task.example({"text": text}, "item 1")
    assert example.tokens == ("The", "cat\u200b", "did", "n't", "sit", ".")
    features = task.features(tokenizer, [example], training=False)
    outputs = outputs_of(task, features, [1, 2, 3, 4, 4, 0])
    (found,) = task.predictions([example], features, outputs)
    assert found["tags"] == "B-NP I-NP B-VP I-VP I-VP O".split()
    np_, vp = found["entities"]
    assert text[np_["start"] : np_["end"]] == np_["text"] == "The cat\u200b"
    assert vp["text"] == "didn't sit" and vp["type"] == "VP"
    assert np_["probability"] == pytest.approx(1.0)
    json.dumps(found)


def test_entities_of_words_are_joined_with_spaces(tokenizer):
    task = fitted()
    example = task.example(task.record(["The", "cat", "ran"]), "item 1")
    features = task.features(tokenizer, [example], training=False)
    outputs = outputs_of(task, features, [0, 1, 2], high=2.0)
    (found,) = task.predictions([example], features, outputs)
    (entity,) = found["entities"]
    assert (entity["start"], entity["end"]) == (4, 11)
    assert entity["text"] == "cat ran"


def test_words_without_pieces_get_a_tag(tokenizer):
    task = fitted()
    words = ["\u200b", "The", "\u200b", "cat", "\u200b"]
    example = task.example({"tokens": words}, "x")
    features = task.features(tokenizer, [example], training=False)
    outputs = outputs_of(task, features, [0, 1, 0, 2, 0])
    (found,) = task.predictions([example], features, outputs)
    # Between two words of a chunk only its I- tag is valid.
    assert found["tags"] == ["O", "B-NP", "I-NP", "I-NP", "O"]
    free = fitted(constrained=False)
    (found,) = free.predictions([example], features, outputs)
    assert found["tags"] == ["O", "B-NP", "O", "I-NP", "O"]


def test_parts_of_speech(tokenizer):
    examples = [
        Sentence(("the", "cat", "."), ("DT", "NN", "."), place="t:1"),
        Sentence(("cat", "\u200b"), ("NN", "NN"), place="t:5"),
    ]
    task = task_class("tagging/pos")("tagging/pos")
    task.fit(examples)
    assert task.metric == "accuracy"
    assert task.state["labels"] == [".", "DT", "NN"]
    features = task.features(tokenizer, examples, training=False)
    outputs = outputs_of(task, features, label_numbers(task, examples))
    found = task.predictions(examples, features, outputs)
    assert [p["tags"] for p in found] == [["DT", "NN", "."], ["NN", "NN"]]
    assert task.scores(examples, found) == {"accuracy": 100.0}
    constant = task.constant(examples, examples)
    assert task.scores(examples, constant) == {"accuracy": pytest.approx(60)}
    assert list(task.files("test", examples, found)) == ["test_predictions.txt"]


def test_files_for_conlleval(tokenizer):
    task = fitted()
    examples = [
        *TRAIN,
        Sentence(("New York", "", "x"), ("B-NP", "O", "B-first name")),
        Sentence(("unknown",)),
    ]
    found = [
        {"tags": list(e.tags or ["O"]), "tokens": e.tokens} for e in examples
    ]
    files = task.files("test", examples, found)
    text = files["test_predictions.txt"].decode()
    assert text.startswith("The B-NP B-NP\ncat I-NP I-NP\nsat B-VP B-VP\n\n")
    assert text.endswith(
        "New_York B-NP B-NP\n_ O O\nx B-first_name B-first_name\n\n"
        "unknown O\n\n"
    )
    assert "NP" in files["test_types.txt"].decode()


# --- scores ----------------------------------------------------------------


def test_recorded_scores(shared_dir):
    recorded = json.loads((shared_dir / "golden/metrics.json").read_text())
    tag = recorded["tag"]
    names = {number: name for name, number in tag["label_mapping"].items()}
    gold, predicted = (
        [[names[i] for i in row[key][: row["n"]]] for row in tag["rows"]]
        for key in ("labels", "predictions")
    )
    found = tagging_answers.entity_scores(gold, predicted, "bioes", "original")
    for name, value in found.items():
        assert value == pytest.approx(tag["entity"][name], abs=1e-9)
    accuracy = tagging_answers.accuracy(gold, predicted)
    assert accuracy == pytest.approx(tag["accuracy"]["accuracy"], abs=1e-9)


def test_scores_are_seqevals():
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    rng = np.random.default_rng(3)
    names = np.array(["O", "B-X", "I-X", "B-Y", "I-Y"])
    sizes = rng.integers(1, 9, 30)
    gold, given = (
        [names[rng.integers(0, 5, n)].tolist() for n in sizes] for _ in "ab"
    )
    lenient = tagging_answers.entity_scores(gold, given, "bio")
    assert lenient["f1"] == pytest.approx(100 * f1_score(gold, given))
    strict = tagging_answers.entity_scores(gold, given, "bio", "strict")
    assert strict["f1"] == pytest.approx(
        100 * f1_score(gold, given, mode="strict", scheme=IOB2)
    )
    assert strict["f1"] != lenient["f1"]
    # BILOU is BIOES with other letters.
    bioes = [tagging_schemes.convert(tags, "bioes") for tags in gold]
    bilou = [tagging_schemes.convert(tags, "bilou") for tags in gold]
    for scorer in ("seqeval", "strict", "original"):
        a = tagging_answers.entity_scores(bioes, bioes, "bioes", scorer)
        b = tagging_answers.entity_scores(bilou, bilou, "bilou", scorer)
        assert a == b == {"f1": 100, "precision": 100, "recall": 100}


def test_no_predictions_score_0():
    for scorer in ("seqeval", "strict", "original"):
        found = tagging_answers.entity_scores(
            [["B-X", "O"]], [["O", "O"]], "bio", scorer
        )
        assert set(found.values()) == {0.0}


def test_examples_without_tags_are_not_scored(tokenizer):
    task = fitted()
    prediction = {"tags": ["O"], "tokens": ["x"], "entities": []}
    assert task.scores([Sentence(("x",))], [prediction]) == {}


# --- data ------------------------------------------------------------------


def write(tmp_path, **texts):
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    return str(tmp_path)


def test_reads_all_splits(tmp_path):
    data = write(tmp_path, train="a B-X\nb O\n", dev="c O\n", test="d O\n")
    task = Tagging("tagging", data=data)
    read = {s: task.read(s) for s in ("train", "validation", "test")}
    assert [len(sentences) for sentences in read.values()] == [1, 1, 1]
    assert read["validation"][0].tokens == ("c",)


def test_holds_out_where_there_is_no_validation_file(tmp_path):
    text = "\n".join(f"w{i} B-X\nb O\n" for i in range(300))
    task = Tagging("tagging", data=write(tmp_path, train=text))
    train, held_out = task.read("train"), task.read("validation")
    assert len(train) + len(held_out) == 300 and 15 < len(held_out) < 50
    assert not {s.tokens for s in train} & {s.tokens for s in held_out}
    assert task.read("test") is None


def test_tags_that_training_lacks_count_as_wrong(tmp_path, tokenizer, caplog):
    data = write(tmp_path, train="a B-X\nb O\n", dev="c B-Y\nd O\n")
    task = Tagging("tagging", data=data)
    task.fit(task.read("train"))
    with caplog.at_level(logging.WARNING):
        (example,) = task.read("validation")
    assert "dev.txt:1: 1 words have tags that no training" in caplog.text
    found = {"tokens": ["c", "d"], "tags": ["O", "O"], "entities": []}
    assert task.scores([example], [found])["accuracy"] == 50


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ({"train": "a B-X\nb O\n", "dev": "\nc BX\n"}, {},
         r"dev\.txt:2: the tag 'BX' is none of the scheme bio"),
        ({"train": "a B_X\nb O\nc I-X\n"}, {},
         r"train\.txt:1: the tags do not fit one scheme: 'B_X'"),
        ({"train": "a B-X\nb B-X\n"}, {},
         r"train\.txt:1: all 2 .*'B-X'.*tag_column.*'a', 'B-X'"),
        ({"train": "a B-X\nb O\nc E-X\n"}, {"scheme": "bio"},
         r"train\.txt:3: the tag 'E-X' is none of the scheme bio"),
        ({"train": "a NN\nb VB\n"}, {"convert_to": "bio"},
         r"options\.convert_to"),
        ({"train": "a\nb\n"}, {}, r"train\.txt:1: no tags"),
        ({"train": "a O\n"}, {"train_file": "x"}, r"options\.train_file"),
        ({}, {}, r"no training file such as train\.txt"),
    ],
)  # fmt: skip
def test_bad_data_is_named(tmp_path, texts, options, message):
    data = write(tmp_path, **{"test": "x O\n", **texts})
    (tmp_path / "README.md").write_text("")
    task = Tagging("tagging", TaggingOptions(**options), data)
    with pytest.raises(UserError, match=message):
        held_out = "dev" in texts
        train = task.read("train")
        task.fit(train)
        assert held_out and task.read("validation")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": " "}, "f:3: the text is empty"),
        ({"body": "x"}, "f:3: expected a column 'text'.*body"),
        ({"text": 4}, "f:3: expected a column 'text'"),
        ({"tokens": []}, "f:3: tokens: the list is empty"),
        ({"tokens": ["a", 1]}, "f:3: tokens: expected a list of texts"),
    ],
)
def test_bad_records_are_named(record, message):
    with pytest.raises(UserError, match=message):
        fitted().example(record, "f:3")


def test_unknown_members_are_named():
    with pytest.raises(UserError, match="did you mean 'tagging/conll2003'"):
        task_class("tagging/connl2003")("tagging/connl2003")


def test_conll2000(shared_dir, tiny_vocab_file):
    """The tags of CoNLL-2000 survive features and perfect outputs."""
    data = shared_dir / "data" / "conll2000"
    if not data.is_dir():
        pytest.skip("no CoNLL-2000")
    options = TaggingOptions(convert_to="bioes", max_seq_length=64)
    task = Tagging("tagging/conll2000", options, str(data))
    train, test = task.read("train"), task.read("test")
    held_out = task.read("validation")
    assert (len(train) + len(held_out), len(test)) == (8936, 2012)
    task.fit(train)
    assert task.state["scheme"] == "bio" and task.state["default"] == "I-NP"
    tokenizer = Tokenizer(tiny_vocab_file)
    features = task.features(tokenizer, test, training=False)
    assert len(features) > len(test)  # long ones are split
    known = set(task.state["labels"])
    gold = [
        task.state["labels"].index(tag) if tag in known else 0
        for example in test
        for tag in tagging_schemes.convert(example.tags, "bioes")
    ]
    outputs = outputs_of(task, features, gold)
    found = task.predictions(test, features, outputs)
    assert task.scores(test, found)["f1"] == 100.0
    assert task.scores(test, task.constant(train, test))["f1"] < 1
