"""Tests that a stored index follows its documents and survives damage."""

import multiprocessing
import os
import sqlite3

import pytest

from electra_tf.errors import UserError
from electra_tf.retrieval import kept, passages
from electra_tf.retrieval.index import Terms

SHIPS = "Ships carried grain and coal along the river until the winter came."
CAFE = "The café opened in 1921 and was rebuilt by two sisters from Vienna."
GAS = "Chemists isolated the gas by heating minerals, which glowed faintly."


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "documents"
    path.mkdir()
    for name, text in {"a": SHIPS, "b": CAFE, "c": GAS}.items():
        (path / f"{name}.txt").write_text(text, "utf-8")
        os.utime(path / f"{name}.txt", (1e9, 1e9))
    return path


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Makes files count as old, though a test has just written them."""
    monkeypatch.setattr(kept, "_GRAIN", -(10**18))


@pytest.fixture
def load(folder, tmp_path):
    def call(place="index", terms=None, **words):
        place = kept.MEMORY if place is None else str(tmp_path / place)
        return kept.load(
            passages.find(str(folder)), terms or Terms("none"), place=place,
            **words,
        )  # fmt: skip

    return call


def best(found, question):
    hits = found.index.search(question, 1)
    return hits[0].passage.text if hits else None


def first_words(found):
    return found.summary.partition(" (")[0]


def read_names(monkeypatch):
    """Returns a list to which the name of each file read is appended."""
    names, whole = [], passages.of_file

    def of_file(path, *words):
        names.append(os.path.basename(path))
        return whole(path, *words)

    monkeypatch.setattr(passages, "of_file", of_file)
    return names


def test_only_changed_files_are_read(load, folder, monkeypatch):
    names = read_names(monkeypatch)
    made = load()
    assert first_words(made) == "made, of 3 files"
    assert names == ["a.txt", "b.txt", "c.txt"]
    del names[:]
    again = load()
    assert first_words(again) == "unchanged" and names == []
    assert again.documents == made.documents
    for question in ("the river", "Vienna", "xylophone", "heating the gas"):
        assert again.index.search(question, 9) == made.index.search(question, 9)
    (folder / "a.txt").write_text("Sheep were counted on the island in spring.")
    (folder / "d.txt").write_text("A door was painted green by its owner.")
    (folder / "b.txt").unlink()
    now = load()
    assert first_words(now) == (
        "brought up to date: 1 new, 1 changed, 1 gone, 1 unchanged"
    )
    assert names == ["a.txt", "d.txt"]
    assert best(now, "Vienna") is None and best(now, "river") is None
    assert "Sheep" in best(now, "sheep") and "green" in best(now, "green door")
    whole = load(None)
    assert now.documents == whole.documents
    assert now.index.search("the door of the gas", 9) == whole.index.search(
        "the door of the gas", 9
    )


def test_times_alone(load, folder, monkeypatch):
    load()
    names = read_names(monkeypatch)
    os.utime(folder / "a.txt", (2e9, 2e9))
    assert first_words(load()) == "unchanged" and names == ["a.txt"]
    assert first_words(load()) == "unchanged" and names == ["a.txt"]
    # The same size and the same time, but other bytes.
    text = CAFE.replace("1921", "1922")
    (folder / "b.txt").write_text(text, "utf-8")
    os.utime(folder / "b.txt", (1e9, 1e9))
    assert "1 changed" in load().summary
    assert best(load(), "Vienna") == text


def test_a_file_changed_while_being_read_is_read_again(
    load, folder, monkeypatch
):
    monkeypatch.setattr(kept, "_GRAIN", 2 * 10**9)
    load()
    names = read_names(monkeypatch)
    assert first_words(load()) == "unchanged"
    assert names == ["a.txt", "b.txt", "c.txt"]  # their ctime is now


def test_other_settings_make_it_again(load):
    load()
    message = first_words(load(terms=Terms("english")))
    assert message == "rebuilt: language was none, is english, of 3 files"
    assert first_words(load(terms=Terms("english"))) == "unchanged"
    message = load(terms=Terms("english"), text_field="body").summary
    assert "text_field was text, is body" in message
    message = load(
        terms=Terms("english"), text_field="body", fresh=True
    ).summary
    assert message.startswith("rebuilt, of 3 files")


def test_damage(load, tmp_path):
    whole = load()
    file = tmp_path / "index" / kept.FILE
    data = file.read_bytes()
    for damaged in (b"hello" * 500, data[:9000], b""):
        file.write_bytes(damaged)
        found = load()
        assert "made" in found.summary
        assert found.documents == whole.documents
        assert first_words(load()) == "unchanged"
    with sqlite3.connect(file) as base:  # only the data of BM25
        base.execute("UPDATE bm25 SET content = x'00' WHERE name LIKE 'data%'")
    assert best(load(), "Vienna") == CAFE


def test_a_directory_that_is_not_an_index_is_kept(load, tmp_path, folder):
    with pytest.raises(UserError, match="exists, and is not an index"):
        load("documents")
    assert sorted(p.name for p in folder.iterdir())[0] == "a.txt"
    with pytest.raises(UserError, match="exists, and is not an index"):
        load("documents/a.txt")
    older = tmp_path / "older"
    (older / "bm25s").mkdir(parents=True)
    (older / "about.json").write_text("{}")
    assert "made" in load("older").summary
    assert [p.name for p in older.iterdir()] == [kept.FILE]


def test_where_it_cannot_be_saved(load, folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    found = load("file/index")
    assert found.summary.startswith(
        "made for this run, as it cannot be saved in"
    )
    assert best(found, "Vienna") == CAFE
    load()
    # SQLite reports a full disk in the middle of the update.
    (folder / "d.txt").write_text("A door was painted green by its owner.")

    def full(bm25):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(kept.index_lib, "dumped", full)
        found = load()
    assert "cannot be saved" in found.summary
    assert "disk is full" in found.summary
    assert "green" in best(found, "door")
    assert "1 new, 3 unchanged" in load().summary  # no part of it was stored


def test_a_read_only_folder(load, folder, tmp_path):
    load()
    (tmp_path / "index" / kept.FILE).chmod(0o400)
    (tmp_path / "index").chmod(0o500)
    if os.access(tmp_path / "index" / kept.FILE, os.W_OK):
        pytest.skip("root may write everywhere")
    assert first_words(load()) == "unchanged"
    (folder / "d.txt").write_text("A door was painted green by its owner.")
    found = load()
    assert "cannot be saved" in found.summary and "green" in best(found, "door")
    (tmp_path / "index").chmod(0o700)


def _update(folder, place, number, queue):
    kept._GRAIN = -(10**18)
    (folder / f"new{number}.txt").write_text(f"Number{number} is a text.")
    found = kept.load(
        passages.find(str(folder)), Terms("none"), place=str(place)
    )
    queue.put((number, best(found, f"Number{number}"), found.summary))


def test_two_at_once(load, folder, tmp_path):
    load()
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    runs = [
        context.Process(
            target=_update, args=(folder, tmp_path / "index", n, queue)
        )
        for n in range(2)
    ]
    for run in runs:
        run.start()
    message = [queue.get(timeout=60) for _ in runs]
    for run in runs:
        run.join()
    for number, text, done in message:
        assert text == f"Number{number} is a text."
        assert "cannot be saved" not in done
    assert len(load().documents.passages) == 5
    assert first_words(load()) == "unchanged"


def test_the_place_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = kept.default_place("notes")
    assert place.startswith(f"{tmp_path}/electra_tf/ask/")
    assert kept.default_place(os.path.abspath("notes")) == place
    assert kept.default_place("other") != place
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert kept.default_place("notes").startswith(os.path.expanduser("~"))
