"""Tests stop words, words of Chinese, and the counts before and after."""

from collections import Counter

import pytest

from electra_tf.errors import UserError
from electra_tf.text import cleaning, corpus, prepare
from electra_tf.text.cleaning import Cleaning, load_stop_words

ENGLISH = "The weather isn't good, and the sun is not in the sky."
CHINESE = "今天的天气很好\uff0c我们在公园里散步。"


def lines_of(text, **options):
    counts = Counter()
    made = cleaning.clean_text(
        text.encode(), Cleaning(**options), counts, split_at_blank=True,
        path="x",
    )  # fmt: skip
    return [line.decode() for lines in made for line in lines], counts


def test_shipped_stop_word_lists():
    english, chinese = map(load_stop_words, ("english", "chinese"))
    assert {"the", "and", "it's"} <= english and {"的", "我们"} <= chinese
    # These negate a meaning.
    assert not {"not", "no", "never", "n't"} & english
    assert not {"不", "没", "没有", "别", "非"} & chinese
    assert load_stop_words("english, chinese") == english | chinese
    assert not any(w.startswith("#") or w != w.strip() for w in chinese)


def test_your_own_stop_word_lists(tmp_path):
    path = tmp_path / "words"
    path.write_text("# mine\nSky\r\n\nsun\n")
    assert load_stop_words(f"{path},") == {"sky", "sun"}
    with pytest.raises(UserError, match=r"klingon: .*\(chinese, english"):
        load_stop_words("klingon")


def test_english():
    found, counts = lines_of(ENGLISH, stop_words=load_stop_words("english"))
    assert found == ["weather isn't good, sun not sky."]
    assert counts["stop_words_removed"] == 6


def test_chinese_needs_a_segmenter():
    pytest.importorskip("jieba")
    words = load_stop_words("chinese")
    found, _ = lines_of(CHINESE, stop_words=words)
    assert found == [CHINESE]
    found, counts = lines_of(
        f"{CHINESE} {ENGLISH}", stop_words=words, word_segmenter="jieba"
    )
    assert found == [f"今天天气好\uff0c公园散步。 {ENGLISH}"]
    assert counts["stop_words_removed"] == 5  # 的 很 我们 在 里


def test_repair_leaves_punctuation_unchanged():
    text = f"{CHINESE} “so” it\u2019s caf\u00c3\u00a9"
    found, counts = lines_of(text, repair_unicode=True)
    assert found == [f"{CHINESE} “so” it\u2019s café"]
    assert counts["lines_repaired"] == 1


def prepared(tmp_path, text, part_bytes=corpus.PART_BYTES, **options):
    path = tmp_path / "a.txt"
    path.write_text(text, "utf-8")
    made = prepare.Preparation(options.pop("cleaning", Cleaning()), **options)
    reader = corpus.Reader([str(path)], part_bytes=part_bytes)
    found = []
    for document in made.run(reader):
        if document.continues:
            found[-1] += document.lines
        else:
            found.append(document.lines)
    return found, made


def test_counts(tmp_path):
    text = f"One two.\nIt's\n\n{CHINESE}\n\nOne two.\nIt's\n\nx\x01\n"
    found, made = prepared(
        tmp_path, text, drop_duplicates=True,
        cleaning=Cleaning(min_line_length=2),
    )  # fmt: skip
    assert found == [["One two.", "It's"], [CHINESE]]
    assert made.before == {
        "documents": 4, "lines": 6, "words": 22, "characters": 42,
    }  # fmt: skip
    assert made.after == {
        "documents": 2, "lines": 3, "words": 18, "characters": 29,
    }  # fmt: skip
    done = {name: n for name, n in made.repairs.items() if n}
    assert done == {
        "duplicate_documents_dropped": 1, "short_lines_dropped": 1,
        "control_characters_dropped": 1,
    }  # fmt: skip


def test_words_of_chinese(tmp_path):
    pytest.importorskip("jieba")
    found, made = prepared(
        tmp_path, f"{CHINESE}\nplain words", word_segmenter="jieba",
        divide_words=True,
    )  # fmt: skip
    assert found == [
        ["今天 的 天气 很 好 \uff0c 我们 在 公园 里 散步 。", "plain words"]
    ]
    assert made.before["words"] == made.after["words"] == 12


def test_a_document_in_pieces_counts_once(tmp_path):
    text = "\n".join(f"line number {i}" for i in range(100))
    found, made = prepared(tmp_path, text, part_bytes=256)
    assert found == [text.split("\n")]
    assert made.after["documents"] == made.before["documents"] == 1
    assert made.after["lines"] == 100


def test_documents_after_one_in_pieces(tmp_path):
    long = [f"line number {i}" for i in range(40)]
    documents = [["a short one"], long, ["b"], long, ["x", "y"], long]
    text = "\n\n".join("\n".join(lines) for lines in documents)
    found, made = prepared(tmp_path, text, part_bytes=256)
    assert found == documents
    assert made.after["documents"] == made.before["documents"] == 6
    # Without its first pieces, which are short lines, it begins later.
    cleaning = Cleaning(min_line_length=14)
    found, made = prepared(tmp_path, text, part_bytes=64, cleaning=cleaning)
    assert found == [long[10:]] * 3
    assert (made.before["documents"], made.after["documents"]) == (6, 3)


@pytest.mark.parametrize("blank", ["\u2003", "\u2003 \ufeff", "\u2028\u3000"])
def test_lines_of_space_alone_are_left_out(tmp_path, blank):
    found, made = prepared(tmp_path, f"a\n{blank}\nb\n\n{blank}\n\nc\n")
    assert found == [["a", "b"], ["c"]]
    assert made.before == made.after
    assert (made.after["documents"], made.after["lines"]) == (2, 3)
