"""Tests reading and finding column files."""

import gzip

import hypothesis
import pytest
from hypothesis import strategies as st

from electra_tf.errors import UserError
from electra_tf.tasks import formats, splits
from electra_tf.tasks.tagging import marked, rows
from electra_tf.tasks.tagging.columns import read_columns


@pytest.fixture
def write(tmp_path):
    def make(text, name="train.txt"):
        path = tmp_path / name
        path.write_bytes(text.encode("utf-8"))
        return str(path)

    return make


def test_sentences_and_their_places(write):
    path = write(
        "-DOCSTART- -X- O O\n\nEU NNP B-NP I-ORG\nrejects VBZ B-VP O\n \t\n\n"
        "-DOCSTART- -X- -X- O\nPeter NNP B-NP I-PER\r\n"
    )
    first, second = read_columns(path)
    assert first.tokens == ("EU", "rejects") and first.tags == ("I-ORG", "O")
    assert first.place == f"{path}:3"
    assert (second.tokens, second.tags) == (("Peter",), ("I-PER",))
    assert second.place == f"{path}:8"
    assert read_columns(path, tag_column=1)[0].tags == ("NNP", "VBZ")
    assert read_columns(path, token_column=-3)[0].tokens == ("NNP", "VBZ")


def test_a_single_column_has_no_tags(write):
    (sentence,) = read_columns(write("a\nb\n"))
    assert sentence.tokens == ("a", "b") and sentence.tags is None


def test_unicode_white_space_is_part_of_words(write):
    (sentence,) = read_columns(write("a\u2028\u00a0b\u3000 O\n"))
    assert sentence.tokens == ("a\u2028\u00a0b\u3000",)


def test_tabs_keep_spaces_and_empty_words(write):
    path = write("New York\tB-LOC\n\tO\n\t\nx\tO\n")
    first, second = read_columns(path, separator="\t")
    assert first.tokens == ("New York", "") and first.tags == ("B-LOC", "O")
    assert second.tokens == ("x",)


def test_conllu(write):
    path = write(
        "# text = Don't\n1-2\tDon't\t_\t_\n1\tDo\tdo\tAUX\n2\tn't\tnot\tPART\n"
        "2.1\tgo\tgo\tVERB\n\n1\tGo\tgo\tVERB\n",
        "en-ud-train.conllu",
    )
    first, second = read_columns(path)
    assert (first.tokens, first.tags) == (("Do", "n't"), ("AUX", "PART"))
    assert first.place == f"{path}:3" and second.tags == ("VERB",)
    assert read_columns(path, tag_column=2)[0].tags == ("do", "not")


def test_compressed_and_marked(tmp_path):
    path = tmp_path / "train.txt.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfa O\nb B-X\n"))
    assert read_columns(str(path))[0].tokens == ("a", "b")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a O\nb\n", {}, r":2: 1 column, expected 2 as in line 1"),
        ("a O\n\nb x O\n", {}, r":3: 3 columns, expected 2"),
        ("a O\n", {"tag_column": 2}, r":1: 2 columns.*tag_column is 2"),
        ("a O\n", {"token_column": -3}, r":1: 2 columns.*token_column is -3"),
        ("\n \n", {}, r"holds no words"),
        ("a\tO\nb\t\n", {"separator": "\t"}, r":2: the tag is empty"),
    ],
)
def test_mistakes_are_named(write, text, options, message):
    with pytest.raises(UserError, match=message):
        read_columns(write(text), **options)


def test_other_encodings_are_named(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"a O\n\xe9 O\n")
    with pytest.raises(UserError, match=r"x\.txt:2: byte 1"):
        read_columns(str(path))


WORDS = st.text(
    st.characters(
        exclude_characters=" \t\n\r", exclude_categories=["Cs"]
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    st.lists(
        st.lists(
            st.tuples(WORDS, st.sampled_from(["O", "B-X"])),
            min_size=1, max_size=4,
        ),
        min_size=1, max_size=4,
    ),
    st.booleans(),
)  # fmt: skip
def test_what_is_written_is_read(write, sentences, tabs):
    hypothesis.assume(not sentences[0][0][0].startswith("\ufeff"))
    separator = "\t" if tabs else " "
    path = write(
        "\n".join(
            "".join(f"{word}{separator}{tag}\n" for word, tag in sentence)
            for sentence in sentences
        )
    )
    found = read_columns(path, separator="\t" if tabs else None)
    assert [list(zip(s.tokens, s.tags)) for s in found] == sentences


@pytest.mark.parametrize(
    "names",
    [
        ["train.txt", "dev.txt", "test.txt"],
        ["eng.train", "eng.testa", "eng.testb"],
        ["wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"],
        ["en_ewt-ud-train.conllu.gz", None, None],
        ["train.txt", "valid.txt", None],
    ],
)
def test_finds_files(tmp_path, names):
    for name in filter(None, [*names, "README.md", ".train.swp"]):
        (tmp_path / name).write_text("a O\n")
    found = [
        splits.locate(split, str(tmp_path), None, "x_file")
        for split in ("train", "validation", "test")
    ]
    assert found == [name and str(tmp_path / name) for name in names]


def test_finds_no_file_where_two_may_be_meant(tmp_path):
    for name in ("train.txt", "train.conll"):
        (tmp_path / name).write_text("a O\n")
    data = str(tmp_path)
    with pytest.raises(
        UserError, match=r"train\.conll, train\.txt.*train_file"
    ):
        splits.locate("train", data, None, "train_file")
    named = splits.locate("train", data, "train.txt", "train_file")
    assert named == f"{data}/train.txt"
    with pytest.raises(
        UserError, match=r"train_file: no such file as .*x\.txt"
    ):
        splits.locate("train", data, "x.txt", "train_file")
    with pytest.raises(UserError, match="no such file or directory as /no"):
        splits.locate("train", "/no", None, "train_file")


def test_a_share_is_held_out():
    keys = [f"sentence {i}" for i in range(4000)]
    chosen = {k for k in keys if splits.held_out(k, 0.1, 0)}
    assert 320 < len(chosen) < 480
    assert chosen == {k for k in keys if splits.held_out(k, 0.1, 0)}
    assert chosen != {k for k in keys if splits.held_out(k, 0.1, 1)}
    assert not any(splits.held_out(k, 0.0, 0) for k in keys)


def test_the_text_of_label_studio_is_not_its_first_field():
    spans = [{"start": 0, "end": 3, "labels": ["PER"]}]
    record = {
        "data": {"id": "x-17", "text": "Ada met Bob"},
        "annotations": [{"result": [{"value": spans[0]}, {"value": None}]}],
    }
    found = marked.of_label_studio(record)
    assert found == {"text": "Ada met Bob", "spans": spans}
    for made in ([None], [5], [{"result": 3}]):
        other = record | {"annotations": made}
        assert marked.of_label_studio(other) is other
    none = marked.of_label_studio(record | {"annotations": []})
    assert none == {"text": "Ada met Bob", "spans": []}


def test_a_row_with_null_for_its_words(write):
    path = write(
        '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": null}\n', "a.jsonl"
    )
    with pytest.raises(UserError, match=r"a\.jsonl:2: tokens: .* got null"):
        rows.read_rows(path, formats.detect(path))
