import hashlib
import subprocess
import sys
from collections import Counter

import pytest

from electra_tf.errors import UserError
from electra_tf.recipes.build_vocab import build_vocab
from electra_tf.text import vocab_training
from electra_tf.text.vocab import SPECIALS, Vocab, load_vocab
from electra_tf.text.vocab_training import (
    count_words,
    train_vocab,
    unknown_share,
)

LINES = [
    "The quick brown fox jumps over the lazy dog.",
    "A quick brown dog; a lazy fox!",
    "Café déjà vu: quickest, laziest, jumping.",
    "狐狸跳过懒狗。快狐狸。",
] * 20


def write(tmp_path, content):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    return str(path)


def lines_of(tokens, end="\n"):
    return "".join(f"{token}{end}" for token in tokens).encode()


def test_ids_fingerprint_and_round_trip(tmp_path):
    tokens = ("a", "[PAD]", "##b", *SPECIALS[:0:-1], "\u2028", "\u3000c")
    vocab = Vocab(tokens)
    assert len(vocab) == len(tokens)
    assert [tokens[i] for i in vocab.special_ids] == list(SPECIALS)
    assert (vocab.pad_id, vocab.mask_id, vocab.unk_id) == (1, 3, 6)
    assert (vocab.sep_id, vocab.cls_id) == (4, 5)
    digest = hashlib.sha256("\n".join(tokens).encode()).hexdigest()
    assert vocab.fingerprint() == f"sha256:{digest}"
    path = str(tmp_path / "new" / "vocab.txt")
    vocab.save(path)
    assert load_vocab(path) == vocab


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends(tmp_path, end, last):
    content = lines_of((*SPECIALS, "a"), end)
    path = write(tmp_path, content if last else content[: -len(end)])
    assert load_vocab(path).tokens == (*SPECIALS, "a")


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        (b"", ["empty"]),
        (b"\n\n", ["no token on", "[MASK]"]),
        (lines_of(SPECIALS[:4]), ["no line", "holds [MASK]"]),
        (
            lines_of([*SPECIALS, "a", "b", "a", "b", "b", "b"]),
            ["4 duplicate", "line 8 'a' repeats line 6", "line 9 'b'"],
        ),
        (lines_of([*SPECIALS, "a ", "b", "\tc"]), ["space", "lines (6, 8)"]),
        (lines_of([*SPECIALS, "", "b"]), ["no token on line 6"]),
        (lines_of(SPECIALS) + b"a\n\xff\xfe\n", ["UTF-8", "line 7"]),
        (
            lines_of(SPECIALS) + b"x \n" * 9,
            ["8 duplicate", "space around the token on line 6"],
        ),
        (lines_of(f"w{i} " for i in range(9)), ["9 lines (1, 2, 3, 4, 5, …)"]),
    ],
)
def test_damaged_files_name_their_lines(tmp_path, content, messages):
    path = write(tmp_path, content)
    with pytest.raises(UserError) as caught:
        load_vocab(path)
    for message in (path, *messages):
        assert message in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_vocab(str(tmp_path / "absent.txt"))


def test_published_vocabularies_load(shared_dir):
    english = load_vocab(str(shared_dir / "data/vocab/bert_uncased_en.txt"))
    chinese = load_vocab(str(shared_dir / "data/vocab/bert_chinese.txt"))
    assert (len(english), len(chinese)) == (30522, 21128)
    for vocab in (english, chinese):
        assert vocab.special_ids == (0, 100, 101, 102, 103)
    assert len(load_vocab(str(shared_dir / "golden/vocab_4k.txt"))) == 4096


def test_trained_vocabulary(tmp_path):
    counts = count_words(LINES)
    assert counts["quick"] == 40
    assert counts["cafe"] == counts["deja"] == counts["快"] == 20
    vocab = train_vocab(counts, 100)
    assert len(vocab) == 100
    assert vocab.tokens[:5] == SPECIALS
    assert {"狐", "狸", "跳", "。", "quick", "##u"} <= vocab.ids.keys()
    assert not any(len(t) > 1 and "狐" in t for t in vocab.tokens)
    assert unknown_share(vocab, counts) == 0
    assert unknown_share(vocab, {"fox": 3, "ж": 1}) == 0.25
    cased = train_vocab(count_words(LINES, lower_case=False), 120)
    assert "é" in cased.ids and "T" in cased.ids
    # The text has fewer pieces than that.
    assert 100 < len(train_vocab(counts, 10_000)) < 10_000


def test_rare_characters_are_left_out():
    counts = count_words([*LINES, "ж ж ж q" + "ж", "ы"])
    assert "ы" not in train_vocab(counts, 100).ids
    assert "ж" in train_vocab(counts, 100, min_frequency=4).ids
    assert "ж" not in train_vocab(counts, 100, min_frequency=5).ids
    assert "ы" in train_vocab(counts, 110, min_frequency=1).ids


def test_the_rarest_words_are_dropped_where_memory_ends(monkeypatch, tmp_path):
    monkeypatch.setattr(vocab_training, "_MAX_DISTINCT_WORDS", 4)
    dropped = Counter()
    counts = count_words(["a a a b b c d e"], dropped=dropped)
    assert counts == {"a": 3, "b": 2}
    assert dropped == {"words": 3}
    # As many are dropped as it takes, not those seen once alone.
    assert count_words(["a a a b b c c d d e e"]) == {"a": 3}

    text = tmp_path / "text.txt"
    text.write_text("a a a b b c d e\n")
    built = build_vocab(str(text), str(tmp_path / "vocab.txt"))
    assert built.words == 8
    assert "3 words, the rarest, were left out" in str(built)


def test_scaled_counts_keep_the_shares_of_rare_words(monkeypatch):
    """So many rare words would else outweigh a frequent one."""
    monkeypatch.setattr(vocab_training, "_MAX_TRAINING_WORDS", 50)
    rare = {f"uv{a}{b}": 1 for a in "abcdefgh" for b in "abcdefgh"}
    counts = {"gh": 200, **rare}
    letters = {c for word in counts for c in word}
    continuing = {c for word in counts for c in word[1:]}
    size = len(SPECIALS) + len(letters) + len(continuing) + 1
    assert "gh" in train_vocab(counts, size, min_frequency=1).ids
    # Of five occurrences the trainer sees one, which is not less than two.
    counts = {"the": 200, "qz": 5}
    assert "qz" in train_vocab(counts, 100, min_frequency=2).ids


def test_too_small_for_the_alphabet():
    with pytest.raises(UserError, match=r"vocab_size is 30.* raise vocab_size"):
        train_vocab(count_words(LINES), 30)


@pytest.mark.slow
def test_same_text_same_bytes_in_any_process(sample_text_dir):
    """Fresh hash seeds and other thread counts change nothing."""
    program = (
        "import pathlib, sys\n"
        "from electra_tf.text.vocab_training import count_words, train_vocab\n"
        "text = sorted(pathlib.Path(sys.argv[1]).glob('*.txt'))[0]\n"
        "lines = text.read_text('utf-8').splitlines()\n"
        "print(train_vocab(count_words(lines), 3000).fingerprint())\n"
    )
    prints = set()
    for threads in ("1", "3"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(sample_text_dir)],
            env=_environment(RAYON_NUM_THREADS=threads),
            capture_output=True,
            check=True,
            text=True,
        )
        prints.add(done.stdout.splitlines()[-1])
    assert len(prints) == 1
    assert prints.pop().startswith("sha256:")


def _environment(**changes):
    import os

    import electra_tf

    root = os.path.dirname(os.path.dirname(electra_tf.__file__))
    return {**os.environ, "PYTHONPATH": root, **changes}
