"""Tests of dividing documents into passages with their positions."""

import gzip
import json
import os

import hypothesis
import pytest
from hypothesis import strategies as st

from electra_tf.errors import UserError
from electra_tf.retrieval import kept, passages
from electra_tf.retrieval.index import Terms

LONG = "The cat sat on the mat, and the dog lay in the sun before the house"


def read(found, **words):
    return kept.load(found, Terms("none"), **words).documents


def texts_of(text, **words):
    return [p.text for p in passages.divide(text, "a.txt", **words)]


def test_paragraphs_and_their_places():
    text = f"{LONG}.\r\n \r\n\n{LONG}!\nIt rained.\n\n\n  {LONG}?\n" + "\n" * 3
    found = list(passages.divide(text, "a.txt", 80))
    assert [p.text for p in found] == [
        f"{LONG}.", f"{LONG}!\nIt rained.", f"{LONG}?",
    ]  # fmt: skip
    assert [p.line for p in found] == [1, 4, 8]
    for passage in found:
        assert text[passage.start :].startswith(passage.text)
    at = found[1].text.index("It")
    assert found[1].place(at) == (5, text.index("It rained"))


def test_short_paragraphs_are_joined_with_the_next():
    text = f"# Heading\n\n{LONG * 2}.\n\nThe end\n"
    assert texts_of(text) == [f"# Heading\n\n{LONG * 2}.", "The end"]
    # Unless both together are too long.
    assert texts_of(text, longest=140)[0] == "# Heading"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aa bb cc.\ndd ee ff", ["aa bb cc.", "dd ee ff"]),
        ("aaa bbb. cc dd ee", ["aaa bbb.", "cc dd ee"]),
        ("a" * 25, ["a" * 12, "a" * 12, "a"]),
        ("今天天气很好。阳光明媚", ["今天天气很好。阳光明媚"]),
        ("今天天气很好。阳光明媚啊啊啊", ["今天天气很好。", "阳光明媚啊啊啊"]),
    ],
)
def test_long_paragraphs_are_divided(text, expected):
    assert texts_of(text, longest=12) == expected


def test_scripts_without_spaces_have_shorter_passages(tmp_path):
    (tmp_path / "a.txt").write_text("今天天气很好、阳光明媚。" * 200, "utf-8")
    (tmp_path / "b.txt").write_text("The weather is nice today. " * 200)
    sizes = {"a": set(), "b": set()}
    for passage in read(passages.find(str(tmp_path))).passages:
        sizes[passage.file[-5]].add(len(passage.text))
        assert passage.text[-1] in "。."
    assert max(sizes["a"]) <= 700 < 1900 < max(sizes["b"]) <= 2000


@hypothesis.given(
    st.text(st.sampled_from("ab .\n\r\t中。\u3000é"), max_size=80),
    st.integers(1, 30),
)
def test_no_text_is_lost_and_places_are_right(text, longest):
    found = list(passages.divide(text, "a.txt", longest))
    assert "".join("".join(p.text.split()) for p in found) == "".join(
        text.split()
    )
    for passage in found:
        start = passage.start
        assert text[start : start + len(passage.text)] == passage.text
        assert passage.line == text.count("\n", 0, start) + 1
        assert 0 < len(passage.text) <= longest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "b.txt").write_bytes(
        b"\xef\xbb\xbf" + f"{LONG} in b \xff".encode("latin-1")
    )
    with gzip.open(tmp_path / "below" / "a.md.gz", "wb") as handle:
        handle.write(LONG.encode())
    rows = [
        json.dumps({"text": f"{LONG} one\n\n{LONG} two"}), "", "no JSON",
        json.dumps({"other": 1}), json.dumps({"text": "\ud800 three"}),
    ]  # fmt: skip
    (tmp_path / "c.jsonl").write_text("\n".join(rows))
    (tmp_path / ".hidden.txt").write_text(LONG)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_a_folder(folder):
    found = passages.find(str(folder))
    assert [name for _, name in found] == ["b.txt", "below/a.md.gz", "c.jsonl"]
    documents = read(found, longest=100)
    assert set(documents.digests) == {name for _, name in found}
    assert documents.skipped == 2
    b, a, one, two, three = documents.passages
    assert b.text == f"{LONG} in b \ufffd" and b[1:3] == (1, 0)
    assert a.file == str(folder / "below/a.md.gz") and a.text == LONG
    assert one[1:4] == (1, 0, f"{LONG} one")
    assert two[1:3] == (1, len(LONG) + 6) and two.place(3) == (1, two.start + 3)
    assert three[1:4] == (5, 0, "? three")


def test_files_by_glob(folder):
    found = passages.find(f"{folder}/b*.txt,{folder}/c.jsonl")
    assert [name for _, name in found] == [
        f"{folder}/b.txt", f"{folder}/c.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing", None, "has no documents in it"),
        ("a.png", "x", "has no documents in it"),
        ("a.txt", " \n\n", "no text in 1 files"),
        ("a.jsonl", '{"body": "x"}', "no text field 'text': set --text_field"),
        ("a.txt.gz", "not gzip", "damaged or cut-off"),
    ],
)
def test_folders_without_text(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read(passages.find(str(tmp_path)))


def test_missing_paths(tmp_path):
    with pytest.raises(UserError, match="--documents: no file matches"):
        passages.find(str(tmp_path / "no"))
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match=r"a\.png: expected a name that ends"):
        passages.find(str(tmp_path / "a.png"))


def names_of(path, reasons=None):
    def left_out(name, why):
        reasons[name] = why

    return [
        name
        for _, name in passages.find(
            str(path), left_out=left_out if reasons is not None else print
        )
    ]


def test_each_file_once_whatever_links_there_are(tmp_path):
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    (root / "a.txt").write_text(LONG)
    (root / "below" / "b.txt").write_text(LONG)
    (root / "below" / "up").symlink_to(root)  # a loop
    (root / "below" / "self").symlink_to(root / "below")
    (root / "again.txt").symlink_to(root / "a.txt")
    (root / "hard.txt").hardlink_to(root / "a.txt")
    (root / "gone.txt").symlink_to(root / "none.txt")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "c.txt").write_text(LONG)
    (root / "out").symlink_to(elsewhere)
    os.mkfifo(root / "pipe.txt")
    reasons = {}
    assert names_of(root, reasons) == ["a.txt", "below/b.txt", "out/c.txt"]
    assert reasons == {
        "gone.txt": "No such file or directory",
        "pipe.txt": "is not a file but a pipe, socket or device",
    }
    assert len(read(passages.find(str(root))).passages) == 3


def test_names_that_are_not_utf8(tmp_path):
    name = os.fsencode(str(tmp_path)) + b"/caf\xe9.txt"
    try:
        with open(name, "w") as file:
            file.write(LONG)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    documents = read(passages.find(str(tmp_path)))
    assert list(documents.digests) == ["caf\\xe9.txt"]
    documents.passages[0].file.encode("utf-8")


@pytest.mark.parametrize(
    "coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"]
)
def test_byte_order_marks(tmp_path, coding):
    mark = "\ufeff" if coding.endswith(("le", "be")) else ""
    text = f"{LONG} 你好"
    (tmp_path / "a.txt").write_bytes((mark + text).encode(coding))
    (found,) = read(passages.find(str(tmp_path))).passages
    assert found.text == text


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\0\0", bytes(range(128, 256)) * 9]
)
def test_files_that_are_not_text_are_left_out_and_reported(tmp_path, content):
    (tmp_path / "a.txt").write_text(LONG)
    (tmp_path / "b.txt").write_bytes(content)
    documents = read(passages.find(str(tmp_path)))
    assert [passage.text for passage in documents.passages] == [LONG]
    assert documents.left_out == ["b.txt: is not text"]
