"""Tests of cleaning texts, and of its report."""

import gzip
import json
import re
import signal
from unittest.mock import ANY

import pytest

from electra_tf.errors import UserError
from electra_tf.recipes.build_data import build_data
from electra_tf.recipes.prepare_text import prepare_text
from electra_tf.text import corpus, prepare

ENGLISH = "The caf\u00c3\u00a9 was closed, and the cat sat in the sun."
CHINESE = "今天的天气很好\uff0c我们在公园里散步。"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(f"{ENGLISH}\n\n{ENGLISH}\n\n{CHINESE}\nshort\n", "utf-8")
    return path


def test_all_of_it(text, tmp_path):
    pytest.importorskip("jieba")
    target = tmp_path / "out.txt.gz"
    made = prepare_text(
        str(text),
        str(target),
        stop_words="english,chinese",
        word_segmenter="jieba",
        divide_words=True,
        repair_unicode=True,
        drop_duplicates=True,
        min_line_length=6,
    )
    with gzip.open(target, "rt", encoding="utf-8") as handle:
        text = handle.read()
    # The Chinese comma is unchanged.
    assert text == (
        "café closed, cat sat sun.\n\n今天天气 好 \uff0c 公园 散步 。\n"
    )
    assert (made.before["documents"], made.after["documents"]) == (3, 2)
    assert (made.before["lines"], made.after["lines"]) == (4, 2)
    assert made.before["words"] > 2 * made.after["words"]
    assert made.repairs == {
        "duplicate_documents_dropped": 1, "short_lines_dropped": 1,
        "lines_repaired": 2, "stop_words_removed": ANY,
    }  # fmt: skip
    lines = str(made).splitlines()
    assert re.fullmatch(r"documents +3 +2 +66\.7 %", lines[1])
    assert "short lines dropped: 1" in lines
    assert lines[-1] == made.path == str(target)


def test_chinese_stop_words_need_a_segmenter(text, tmp_path, tiny_vocab_file):
    message = "--stop_words=chinese: .* add it"
    with pytest.raises(UserError, match=message):
        prepare_text(str(text), stop_words="english, chinese", progress=False)
    with pytest.raises(UserError, match=message):
        build_data(
            str(text), tiny_vocab_file, str(tmp_path / "out"),
            stop_words="chinese", progress=False,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_counts_alone(text):
    made = prepare_text(str(text))
    assert made.before == made.after and made.path is None
    assert all(made.before.values())


def test_json_lines(tmp_path):
    source, target = tmp_path / "a.jsonl", tmp_path / "out.txt"
    rows = [json.dumps({"body": "one two"}), json.dumps({"x": 1}), "no JSON"]
    source.write_text("\n".join(rows))
    made = prepare_text(str(source), str(target), text_field="body")
    assert target.read_text() == "one two\n"
    assert made.repairs == {"bad_records": 2}


def test_an_empty_file(tmp_path):
    source, target = tmp_path / "a.txt", tmp_path / "out.txt"
    source.touch()
    made = prepare_text(str(source), str(target))
    assert target.read_bytes() == b""
    assert made.before["lines"] == made.after["lines"] == 0
    assert made.repairs == {"empty_files": 1}


def test_what_build_data_reads(text, tmp_path, tiny_vocab_file):
    """`build_data` with the same arguments reads the cleaned text."""
    more = {
        "drop_duplicates": True, "stop_words": "english", "min_line_length": 6,
    }  # fmt: skip
    clean = tmp_path / "clean.txt"
    prepare_text(str(text), str(clean), **more)
    for source, options, name in ((text, more, "a"), (clean, {}, "b")):
        build_data(
            str(source),
            tiny_vocab_file,
            str(tmp_path / name),
            num_workers=1,
            validation_fraction=0,
            **options,
        )
    shards = sorted((tmp_path / "a").glob("*.tfrecord"))
    assert shards
    for shard in shards:
        again = tmp_path / "b" / shard.name
        assert shard.read_bytes() == again.read_bytes()


def test_pieces_of_a_document_stay_together(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus.Reader.__init__, "__kwdefaults__", {
        **corpus.Reader.__init__.__kwdefaults__, "part_bytes": 128,
    })  # fmt: skip
    source, target = tmp_path / "a.txt", tmp_path / "out.txt"
    documents = ["\n".join(f"{n} {i}" for i in range(60)) for n in "abc"]
    source.write_text("\n\n".join(documents).replace("b 9", "\u2003"), "utf-8")
    prepare_text(str(source), str(target))
    assert target.read_text() == "\n\n".join(documents).replace(
        "b 9\n", ""
    ) + "\n"  # fmt: skip


def test_sigterm_leaves_no_file(text, tmp_path, monkeypatch):
    def killed(*_):
        signal.raise_signal(signal.SIGTERM)
        yield []

    monkeypatch.setattr(prepare.Preparation, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare_text(str(text), str(tmp_path / "out.txt"))
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]


def test_a_failure_leaves_no_file(text, tmp_path):
    text.write_bytes(b"good line\nbad \xff line\n")
    target = tmp_path / "out.txt"
    with pytest.raises(UserError, match=r"text\.txt:2: byte 0xff"):
        prepare_text(str(text), str(target), strict=True)
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]
    target.write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        prepare_text(str(text), str(target))
    assert target.read_text() == "mine"
