"""Tests tables of texts and labels: files, headers, columns, held-out rows."""

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from electra_tf.errors import UserError
from electra_tf.tasks import splits
from electra_tf.tasks.texts.classification import Classification
from electra_tf.tasks.texts.classification import (
    ClassificationOptions as Options,
)
from electra_tf.tasks.texts.options import TextTableOptions

ROWS = [("good cat", "yes"), ("bad dog", "no"), ("a mat, sat", "yes")]


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return str(path)


def table(kind, rows=ROWS, header=("text", "label")):
    """Returns the text of a file of `rows` in the format `kind`."""
    if kind == "jsonl":
        return "".join(json.dumps(dict(zip(header, r))) + "\n" for r in rows)
    if kind == "csv":
        lines = [[f'"{cell}"' for cell in row] for row in rows]
        return "\n".join(map(",".join, [header, *lines])) + "\n"
    return "\n".join(map("\t".join, [header, *rows])) + "\n"


def answers(task, split):
    examples = task.read(split)
    return examples and [(e.text, e.answer) for e in examples]


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl"])
@pytest.mark.parametrize("validation", ["dev", "validation", "valid"])
def test_a_directory_by_names(tmp_path, kind, validation):
    for name, rows in (("train", ROWS), (validation, ROWS[:2])):
        write(tmp_path / f"{name}.{kind}", table(kind, rows))
    unlabelled = [row[:1] for row in ROWS]
    write(tmp_path / f"test.{kind}", table(kind, unlabelled, ("text",)))
    task = Classification("classification", None, str(tmp_path))
    assert answers(task, "train") == ROWS
    assert answers(task, "validation") == ROWS[:2]
    assert answers(task, "test") == [(text, None) for text, _ in ROWS]
    train = task.read("train")
    line = 1 if kind == "jsonl" else 2
    assert train[0].place == f"{tmp_path}/train.{kind}:{line}"
    assert [example.index for example in train] == [0, 1, 2]


def test_named_files_and_columns(tmp_path):
    path = write(
        tmp_path / "mine.csv",
        table("csv", [("1", *r, r[0][::-1]) for r in ROWS],
              ("id", "review", "class", "other")),
    )  # fmt: skip
    options = Options(
        train_file=path, text_column="review", text_pair_column="other",
        label_column="class", validation_fraction=0.0,
    )  # fmt: skip
    task = Classification("classification", options)
    found = task.read("train")
    assert [(e.text, e.text_pair, e.answer) for e in found] == [
        (text, text[::-1], label) for text, label in ROWS
    ]
    assert task.read("validation") is None and task.read("test") is None


def read(path, **options):
    """Reads all rows of a table."""
    task = Classification("classification", Options(**options))
    return task.read_files([path], "train")


def test_named_columns_where_there_is_no_header(tmp_path):
    """ChnSentiCorp has a header in its test file, but not in train and dev."""
    write(tmp_path / "train.tsv", "好 國\tpositive\n坏 人\tnegative\n")
    write(tmp_path / "dev.tsv", "人\tnegative\n")
    write(tmp_path / "test.tsv", "qid\ttext_a\n0\t中\n1\t国\n")
    options = Options(text_column="text_a", columns=("text_a", "label"))
    task = Classification("classification", options, str(tmp_path))
    assert answers(task, "train") == [
        ("好 國", "positive"), ("坏 人", "negative"),
    ]  # fmt: skip
    assert answers(task, "validation") == [("人", "negative")]
    assert answers(task, "test") == [("中", None), ("国", None)]
    assert task.read("dev") is None


def test_a_wider_header_than_the_names_given(tmp_path):
    path = write(tmp_path / "a.tsv", "id\tx\ttext\tlabel\n1\t2\tcat\tno\n")
    (row,) = read(path, columns=("text", "label"))
    assert (row.text, row.answer) == ("cat", "no")


def test_headerless_rows_with_equal_cells(tmp_path):
    path = write(tmp_path / "a.tsv", "cat\tcat\tno\ndog\tdog\tyes\n")
    found = read(
        path, text_pair_column="second", columns=("text", "second", "label")
    )
    assert [row.text_pair for row in found] == ["cat", "dog"]


def test_one_file_is_divided(tmp_path):
    rows = [(f"text {i % 150}", "yes" if i % 3 else "no") for i in range(300)]
    path = write(tmp_path / "all.tsv", table("tsv", rows))
    task = Classification("classification", None, path)
    train, validation = task.read("train"), task.read("validation")
    assert task.read("test") is None
    assert len(train) + len(validation) == 300
    assert 10 <= len(validation) <= 60
    # Equal texts are in the same split.
    assert not {e.text for e in train} & {e.text for e in validation}
    # A row's split does not depend on the other rows.
    some = write(tmp_path / "some.tsv", table("tsv", rows[50:]))
    texts = {
        e.text
        for e in Classification("classification", None, some).read("validation")
    }
    assert texts <= {e.text for e in validation}


def test_a_trained_model_takes_the_whole_of_another_file(tmp_path):
    rows = [(f"text {i}", "yes" if i % 3 else "no") for i in range(200)]
    path = write(tmp_path / "all.tsv", table("tsv", rows))
    task = Classification("classification", None, path)
    train = task.read("train")
    held_out = answers(task, "validation")
    task.fit(train)
    other = write(tmp_path / "other.tsv", table("tsv", rows[:90]))
    trained = Classification("classification", None, other, task.state)
    assert answers(trained, "validation") == rows[:90]
    # Of the training file it takes only the held-out rows.
    trained = Classification("classification", None, path, task.state)
    assert answers(trained, "validation") == held_out


@hypothesis.given(st.text(), st.none() | st.text())
@hypothesis.settings(max_examples=50)
def test_held_out_in_steps(first, second):
    steps = [splits.held_out(f"{first}\0{second}", i / 8, 0) for i in range(9)]
    assert steps == sorted(steps)
    assert not steps[0] and steps[-1]


def test_held_out_share():
    chosen = [splits.held_out(f"{i}", 0.25, 0) for i in range(4000)]
    assert 900 < sum(chosen) < 1100


CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\ufeff"),
    min_size=1,
    max_size=12,
).filter(str.strip)


@hypothesis.given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
    kind=st.sampled_from(["tsv", "jsonl"]),
)
@hypothesis.settings(
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_what_is_written_is_read(tmp_path, rows, kind):
    path = write(tmp_path / f"a.{kind}", table(kind, rows))
    found = read(path)
    assert [(row.text, row.answer) for row in found] == [
        (text, label.strip()) for text, label in rows
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label\tx\nyes\t1\n", "a.tsv:2: no column 'text'; there are 'label'"),
        ("text\tx\ncat\t1\n", "a.tsv:2: no column 'label'; there are 'text'"),
        ("text\tlabel\ncat\tyes\n \tno\n", "a.tsv:3: the text in 'text' is"),
        ("text\tlabel\ncat\tyes\ndog\t\n", "a.tsv:3: no label in column"),
        ("text\tlabel\ncat\tyes\ndog\n", "a.tsv:3: 1 columns, expected 2"),
        ("text\tlabel\n", "a.tsv: holds no rows"),
    ],
)
def test_wrong_tables(tmp_path, content, message):
    path = write(tmp_path / "a.tsv", content)
    with pytest.raises(UserError) as error:
        Classification("classification", None, path).read("train")
    assert message in str(error.value)


def test_a_text_that_is_none(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": 5, "label": "x"}\n')
    with pytest.raises(UserError, match=r"a.jsonl:1: expected a text .* 5"):
        Classification("classification", None, path).read("train")


def test_a_test_file_has_all_labels_or_none(tmp_path):
    write(tmp_path / "test.tsv", "text\tlabel\ncat\tyes\ndog\t\n")
    task = Classification("classification", None, str(tmp_path))
    with pytest.raises(UserError, match=r"test.tsv:3: no label .*:2 has one"):
        task.read("test")
    write(tmp_path / "test.tsv", "text\tlabel\ncat\t\ndog\t\n")
    assert answers(task, "test") == [("cat", None), ("dog", None)]


def test_wrong_data(tmp_path):
    def read(data, **options):
        Classification("classification", Options(**options), data).read("train")

    with pytest.raises(UserError, match=r"a table of texts, train.tsv"):
        read(None)
    with pytest.raises(UserError, match="no such file or directory as none"):
        read("none")
    with pytest.raises(UserError, match="train_file: no such file as x"):
        read(None, train_file="x.tsv")
    write(tmp_path / "other.txt", "")
    with pytest.raises(
        UserError, match=r"such as .*train.tsv .*, but other.txt"
    ):
        read(str(tmp_path))
    write(tmp_path / "train.tsv", table("tsv"))
    write(tmp_path / "train.csv", table("csv"))
    with pytest.raises(UserError, match=r"train.csv, train.tsv\? Say options"):
        read(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_seq_length": 2}, "max_seq_length: expected at least 3"),
        ({"validation_fraction": 1.0}, "validation_fraction: .* below 1"),
        ({"columns": ("a", "label")}, "columns: 'text' is not among them"),
        ({"double_unordered": True}, "double_unordered: is for pairs"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        TextTableOptions(**options)
