"""Tests rows of tables and JSON Lines: reading them and reporting bad ones."""

import gzip
import json

import pytest

from electra_tf.errors import UserError
from electra_tf.tasks import records
from electra_tf.tasks.records import BadRow, read_records


def write(path, content):
    data = content.encode("utf-8") if isinstance(content, str) else content
    path.write_bytes(data)
    return str(path)


def rows(path, **options):
    return [row for row, _ in read_records(path, **options)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "text\tlabel\none\tx\ntwo\ty\n"),
        ("a.tsv", "\ufefftext\tlabel\r\none\tx\r\n\r\ntwo\ty"),
        ("a.csv", 'text,label\none,x\n"two","y"\n'),
        ("a.csv", '\ufefftext,label\r\n"one",x\r\ntwo,y'),
        ("a.jsonl", '{"text":"one","label":"x"}\n\n{"text":"two","label":"y"}'),
        ("a.NDJSON", '\ufeff{"text":"one","label":"x"}\n{"text":"two",'
         '"label":"y"}\n'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [False, True])
def test_the_same_rows_of_every_format(tmp_path, name, content, zipped):
    data = content.encode("utf-8")
    if zipped:
        name, data = f"{name}.gz", gzip.compress(data)
    path = write(tmp_path / name, data)
    found = list(read_records(path))
    assert [row for row, _ in found] == [
        {"text": "one", "label": "x"},
        {"text": "two", "label": "y"},
    ]
    last = found[-1][1]
    assert last.startswith(f"{path}:")
    line = int(last.rpartition(":")[2])
    assert content.split("\n")[line - 1].startswith(("two", '"two', '{"text'))
    assert records.columns_of(path) == ["text", "label"]


def test_tsv_has_no_quotes(tmp_path):
    path = write(tmp_path / "a.tsv", 'a\tb\n"x\ty"z\u2028\n')
    assert rows(path) == [{"a": '"x', "b": 'y"z\u2028'}]


def test_csv_quotes_hold_commas_quotes_and_lines(tmp_path):
    path = write(tmp_path / "a.csv", 'a,b\n"x, ""y""\nz",1\nq,2\n')
    found = list(read_records(path))
    assert found[0] == ({"a": 'x, "y"\nz', "b": "1"}, f"{path}:2")
    assert found[1] == ({"a": "q", "b": "2"}, f"{path}:4")


def test_a_long_document_in_csv(tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n" + "x" * 400_000 + ",1\n")
    assert len(rows(path)[0]["a"]) == 400_000


def test_lines_across_chunks(tmp_path):
    texts = [f"text number {i} " * (i % 40) for i in range(3000)]
    path = write(tmp_path / "a.tsv", "a\tb\n" + "".join(
        f"{text}\t{i}\n" for i, text in enumerate(texts)
    ))  # fmt: skip
    positions = []
    found = list(read_records(path, position=positions.append))
    assert [row["a"] for row, _ in found] == texts
    assert found[-1][1].endswith(":3001")
    assert positions == sorted(positions) and len(positions) > 1
    assert positions[-1] == (tmp_path / "a.tsv").stat().st_size


def test_names_given_for_a_file_without_a_header(tmp_path):
    path = write(tmp_path / "a.tsv", "q\tp\tn\n")
    assert rows(path, columns=("query", "good", "bad")) == [
        {"query": "q", "good": "p", "bad": "n"}
    ]


def test_empty_lines_are_rows_of_a_single_column(tmp_path):
    path = write(tmp_path / "a.tsv", "text\none\n\ntwo\n\n\n")
    assert [r["text"] for r in rows(path)] == ["one", "", "two"]
    path = write(tmp_path / "a.csv", "text\none\n\ntwo\n\n")
    assert [r["text"] for r in rows(path)] == ["one", "", "two"]


@pytest.mark.parametrize(
    ("name", "content", "line", "message", "later_rows"),
    [
        ("a.tsv", "a\tb\n1\t2\n3\n4\t5\n", 3, "1 columns, expected 2: a, b", 2),
        ("a.tsv", b"a\tb\n1\t\xff\n4\t5\n", 2, "UTF-8", 1),
        ("a.csv", "a,b\n1,2,3\n4,5\n", 2, "3 columns, expected 2", 1),
        ("a.csv", 'a,b\n1,2\n"4,5\n6,7\n', 3, "quote not closed", 1),
        ("a.csv", 'a,b\n"1"x,2\n4,5\n', 2, "not CSV", 1),
        ("a.csv", b"a,b\n\xe9,2\n4,5\n", 2, "UTF-8", 1),
        ("a.jsonl", '{"a": 1}\n{"a": \n{"a": 2}\n', 2, "not JSON", 2),
        ("a.jsonl", '[1, 2]\n{"a": 2}\n', 1, "a JSON object a line", 1),
        ("a.jsonl", b'{"a": "\xff"}\n{"a": 2}\n', 1, "UTF-8", 1),
        ("a.jsonl", '{"a": "\\ud800"}\n{"a": 2}\n', 1, "surrogate", 1),
    ],
)
def test_bad_rows(tmp_path, name, content, line, message, later_rows):
    path = write(tmp_path / name, content)
    with pytest.raises(UserError) as error:
        rows(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert message in str(error.value)
    found = list(read_records(path, bad_rows=True))
    bad = [(row, place) for row, place in found if isinstance(row, BadRow)]
    assert len(bad) == 1 and bad[0][1] == f"{path}:{line}"
    assert message in bad[0][0].message
    assert len(found) == later_rows + 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("5", "expected an object, got int"),
        ('{"a": "\\ud800"}', "'a' holds half of a surrogate pair"),
        ('{"b": ["c", "\\ud800"]}', "'b' holds half of a surrogate pair"),
        ('{"é": {"d": "\\udfff"}}', "'é' holds half of a surrogate pair"),
        ('{"\\ud83d": 1}', "'\\ud83d' holds half of a surrogate pair"),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "wrapped.json", "a.jsonl"])
def test_a_bad_element_of_json_is_one_bad_row(tmp_path, name, bad, message):
    elements = ['{"a": "x \\ud83d\\ude00"}', bad, '{"a": 2}']
    text, place = "\n".join(elements), ":2"
    if name != "a.jsonl":
        text, place = f"[{', '.join(elements)}]", ":[1]"
    if name == "wrapped.json":
        text = f'{{"data": {text}}}'
    path = write(tmp_path / name, text)
    with pytest.raises(UserError) as error:
        rows(path)
    assert str(error.value).replace(": [", ":[").startswith(f"{path}{place}: ")
    one, two, three = read_records(path, bad_rows=True)
    assert (one[0], three[0]) == ({"a": "x \U0001f600"}, {"a": 2})
    assert isinstance(two[0], BadRow) and two[1] == f"{path}{place}"
    expected = message.partition(" got ")[2] or message
    assert expected in two[0].message and two[0].record == {}
    two[0].message.encode("utf-8")


@pytest.mark.parametrize("content", ["[]", "[ ]\n", '{"data": []}'])
def test_json_without_rows(tmp_path, content):
    path = write(tmp_path / "a.json", content)
    for options in ({}, {"bad_rows": True}):
        with pytest.raises(UserError, match=r"a\.json: holds no rows"):
            list(read_records(path, **options))


def test_a_ragged_row_keeps_its_cells(tmp_path):
    path = write(tmp_path / "a.tsv", "id\ttext\tx\n7\thello\n")
    (row,) = rows(path, bad_rows=True)
    assert row.record == {"id": "7", "text": "hello"}


# Without a time stamp: parallel workers have to collect the same tests.
DAMAGED = gzip.compress(b"a\tb\n1\t2\n" * 99, mtime=0)[:-12]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", "holds no rows"),
        ("a.tsv", "a\tb\n", "holds no rows"),
        ("a.jsonl", "\n\n", "holds no rows"),
        ("a.tsv", "a\ta\n1\t2\n", "a.tsv:1: the column 'a' is there twice"),
        ("a.csv", b"a,\xff\n1,2\n", "a.csv:1: not UTF-8"),
        ("a.csv", '"a,b\n1,2\n', "a.csv:1: not CSV"),
        ("a.xlsx", "a", "format is not recognised"),
        ("a.xlsx", b"PK\x03\x04", "a zip archive or an Excel sheet"),
        ("a.tsv.gz", "text\nnot zipped\n", "damaged"),
        ("a.tsv.gz", DAMAGED, "damaged"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(UserError, match=".*" + message.split("'")[0]):
        rows(path, bad_rows=True)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        rows(str(tmp_path / "none.tsv"))


def test_little_is_in_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "a.jsonl"
    with open(path, "w") as file:
        for i in range(60_000):
            file.write(json.dumps({"text": f"number {i} " * 8}) + "\n")
    assert path.stat().st_size > 5e6
    tracemalloc.start()
    count = sum(1 for _ in read_records(str(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60_000
    assert peak < 3e6


def test_rows_of_the_viewer_with_lists_of_classes(tmp_path):
    tags = {"feature": {"names": ["O", "B-X"]}, "_type": "Sequence"}
    kinds = {"label": {"names": ["no", "yes"]}, "tags": tags, "list": [tags],
             "texts": [{"dtype": "string"}], "none": None}  # fmt: skip
    features = [{"name": n, "type": kind} for n, kind in kinds.items()]
    rows = [
        {"row_idx": 0, "row": {"label": 1, "tags": [0, 1], "list": [[1], []]}},
        {"row_idx": 1, "row": {"label": -1, "tags": [], "texts": ["a"]}},
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"features": features, "rows": rows}))
    assert [row for row, _ in records.read_records(str(path))] == [
        {"label": "yes", "tags": ["O", "B-X"], "list": [["B-X"], []]},
        {"label": None, "tags": [], "texts": ["a"]},
    ]
    path.write_text(json.dumps({"features": [5], "rows": [{"row": None}]}))
    with pytest.raises(UserError, match="expected an object, got NoneType"):
        list(records.read_records(str(path)))
