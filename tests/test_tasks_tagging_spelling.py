"""Tests tags in other spellings and schemes, comments, and numbers in files."""

import logging

import pytest

from electra_tf.errors import UserError
from electra_tf.tasks.tagging import schemes, spelling
from electra_tf.tasks.tagging.columns import read_columns
from electra_tf.tasks.tagging.task import Tagging, TaggingOptions

# Two people side by side, one of three words.
BIO = ("B-PER", "B-PER", "I-PER", "I-PER", "O", "B-LOC")
SPANS = [("PER", 0, 1), ("PER", 1, 4), ("LOC", 5, 6)]


def spelled(form):
    """Returns the tags of `BIO` in the spelling of `form`."""

    def one(tag):
        if tag == "O":
            return "o" if form.islower() else "O"
        letter, kind = tag.split("-")
        if form[0] in "Bb":
            found = f"{letter}{form[1]}{kind}"
        else:
            found = f"{kind}{form[-2]}{letter}"
        return found.lower() if form.islower() else found

    return [one(tag) for tag in BIO]


def write(path, tags, name="train.txt"):
    lines = [f"w{i} {tag}" for i, tag in enumerate(tags)]
    (path / name).write_text("\n".join([*lines, "", "x O", ""]))
    return str(path)


def fitted(data, name="tagging", **options):
    options = TaggingOptions(validation_fraction=0.0, **options)
    task = Tagging(name, options, data)
    examples = task.read("train")
    task.fit(examples)
    return task, examples


@pytest.mark.parametrize(
    "form",
    ["B-PER", "B_PER", "PER-B", "PER_B", "b-per", "b_per", "per-b", "per_b"],
)
def test_spellings_are_read_as_spans(tmp_path, form, caplog):
    with caplog.at_level(logging.WARNING):
        task, examples = fitted(write(tmp_path, spelled(form)))
    expected = [t if t == "O" else t[:2] + (
        t[2:].lower() if form.islower() else t[2:]
    ) for t in BIO]  # fmt: skip
    assert list(examples[0].tags) == expected
    assert (task.state["scheme"], task.metric) == ("bio", "f1")
    found = [(s.type.upper(), s.start, s.end) for s in schemes.spans(expected)]
    assert found == SPANS
    assert ("spelled like" in caplog.text) == (form != "B-PER")
    preds = [{"tags": list(e.tags or ())} for e in examples]
    assert task.scores(examples, preds)["f1"] == 100.0


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("bio", BIO),
        ("iob1", ("I-PER", "B-PER", "I-PER", "I-PER", "O", "I-LOC")),
        ("ioe1", ("E-PER", "I-PER", "I-PER", "I-PER", "O", "I-LOC")),
        ("ioe2", ("E-PER", "I-PER", "I-PER", "E-PER", "O", "E-LOC")),
        ("bioes", ("S-PER", "B-PER", "I-PER", "E-PER", "O", "S-LOC")),
        ("bilou", ("U-PER", "B-PER", "I-PER", "L-PER", "O", "U-LOC")),
        ("bmes", ("S-PER", "B-PER", "M-PER", "E-PER", "O", "S-LOC")),
    ],
)
@pytest.mark.parametrize("form", ["before", "after"])
def test_schemes_are_found_and_scored(tmp_path, scheme, tags, form):
    given = tags
    if form == "after":
        given = ["_".join(reversed(t.split("-"))) for t in tags]
    task, examples = fitted(write(tmp_path, given))
    assert task.state["scheme"] == scheme
    assert examples[0].tags == tags
    assert schemes.is_valid(tags, scheme)
    assert schemes.convert(BIO, scheme) == list(tags)
    assert [(s.type, s.start, s.end) for s in schemes.spans(tags)] == SPANS
    wrong = schemes.write(schemes.spans(tags)[1:], len(tags), scheme)
    preds = [{"tags": wrong}, {"tags": ["O"]}]
    for scorer in ("seqeval", "strict", "original"):
        other, _ = fitted(str(tmp_path), scorer=scorer)
        scores = other.scores(examples, preds)
        assert scores["precision"] == 100.0
        assert scores["recall"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("tags", "odd"),
    [
        (("B-PER", "I_PER", "O"), "I_PER"),
        (("PER-B", "PER-I", "PER", "O"), "PER"),
        (("B_PER", "B_LOC", "XX", "O"), "XX"),
        (("b-per", "I-per", "O"), "b-per"),
    ],
)
def test_tags_that_mostly_look_like_spans_are_an_error(tmp_path, tags, odd):
    data = write(tmp_path, tags)
    with pytest.raises(UserError, match=rf"fit one scheme: '.*{odd}.*bmes"):
        fitted(data)
    task, _ = fitted(data, scheme="none")
    assert task.metric == "accuracy"


@pytest.mark.parametrize(
    "tags",
    [("NN", "VB", "DT"), ("NN-S", "VBZ", "PRP$"), ("B", "I", "E"),
     ("DET", "S_CONJ", "NOUN")],
)  # fmt: skip
def test_parts_of_speech_stay_plain(tmp_path, tags):
    assert spelling.find(set(tags)) is None
    if tags != ("B", "I", "E"):
        task, _ = fitted(write(tmp_path, tags, "train.txt"))
        assert task.state["scheme"] == "none"


def test_spellings_may_differ_between_files(tmp_path):
    write(tmp_path, spelled("PER_B"))
    data = write(tmp_path, BIO, "dev.txt")
    options = TaggingOptions()
    task = Tagging("tagging", options, data)
    task.fit(task.read("train"))
    assert task.read("validation")[0].tags == BIO


# --- comments, numbers, CoNLL-U ----------------------------------------------


def test_comments_before_sentences(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(
        "# id 7\nthe O\n# O\n#berlin B-LOC\n\n# O\n#\tB-LOC\n\n"
        "# newdoc\n# text = a\nx O\n\n#begin document (bc/cctv)\ny O\n"
    )
    found = read_columns(str(path))
    assert [s.tokens for s in found] == [
        ("the", "#", "#berlin"), ("#", "#"), ("x",), ("y",),
    ]  # fmt: skip
    assert found[2].place.endswith(":11")


def test_comments_by_the_options(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("% id\nthe O\n% O\n\n# a\n")
    found = read_columns(str(path), comment="%")
    assert [s.tokens for s in found] == [("the",), ("#",)]
    path.write_text("# a\nx O\n")
    assert read_columns(str(path), comment="")[0].tokens == ("#", "x")
    assert read_columns(str(path), comment="#")[0].tokens == ("x",)
    assert read_columns(str(path))[0].tokens == ("x",)


GERMEVAL = (
    "#\thttp://de.wikipedia.org/wiki/X\t[2009-10-17]\n1\tSchartau\tB-PER\tO\n"
    "2\tsagte\tO\tO\n\n#\thttp://y\t[2010-01-01]\n1\tUni\tB-ORG\tO\n"
    "2\tBonn\tI-ORG\tB-LOC\n"
)


@pytest.mark.parametrize(
    ("name", "options"),
    [("tagging/germeval2014", {}), ("tagging", {"tag_column": 2})],
)
def test_germeval(tmp_path, name, options):
    (tmp_path / "NER-de-train.tsv").write_text(GERMEVAL)
    _, examples = fitted(str(tmp_path), name, **options)
    assert [s.tokens for s in examples] == [
        ("Schartau", "sagte"), ("Uni", "Bonn"),
    ]  # fmt: skip
    assert [s.tags for s in examples] == [("B-PER", "O"), ("B-ORG", "I-ORG")]


def test_conllu_by_its_content_and_its_lines(tmp_path, caplog):
    rest = "_\t_\t_\t_\t_\t_"
    path = tmp_path / "train.txt"
    path.write_text(
        f"# sent_id = 1\n# text = Don't\n1-2\tDon't\t_\t_\t{rest}\n"
        f"1\tDo\tdo\tAUX\t{rest}\n2\tn't\tnot\tPART\t{rest}\n"
        f"2.1\tgo\tgo\tVERB\t{rest}\n3\t#x\tx\tX\t{rest}\n"
    )
    (sentence,) = read_columns(str(path))
    assert sentence.tokens == ("Do", "n't", "#x")
    assert sentence.tags == ("AUX", "PART", "X")
    places = [sentence.place_of(i).rpartition(":")[2] for i in range(3)]
    assert places == ["4", "5", "7"]


def test_numbers_that_are_words(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 CD O\n2 CD O\n\n7 CD O\nx NN O\n")
    assert read_columns(str(path))[0].tokens == ("1", "2")
    path.write_text("1 O\n2 O\n")
    assert read_columns(str(path))[0].tokens == ("1", "2")


def test_entity_types_and_collapse_in_the_report(tmp_path):
    task, examples = fitted(write(tmp_path, BIO))
    assert task.classes(examples) == {"PER": 2, "LOC": 1}
    assert task.texts(examples[0])[:2] == ["w0", "w1"]
    preds = [{"tags": ["B-PER", *["O"] * 5]}, {"tags": ["O"]}]
    assert task.details(examples, preds) == {
        "LOC": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        "PER": {
            "precision": 100.0, "recall": 50.0,
            "f1": pytest.approx(200 / 3), "support": 2,
        },
    }  # fmt: skip
    assert task.one_answer(examples, preds) is None
    preds[0]["tags"][0] = "O"
    assert task.one_answer(examples, preds) == "O"
