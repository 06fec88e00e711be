# ruff: noqa: RUF001  (the look-alikes are the point)
import json
import os
import pathlib
import subprocess
import sys
import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import electra_tf.text.tokenizer as tokenizer_lib
from electra_tf.errors import UserError
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import SPECIALS, AddedToken, Vocab, load_vocab

GOLDEN = pathlib.Path(__file__).parent / "golden"
MODES = {
    "lower_strip": (True, True),
    "lower_nostrip": (True, False),
    "cased": (False, False),
}
AWKWARD = (
    "aAzZiIßẞσΣςİıſéÅÑñ́̇̈ͅ中文豈𠀀。，：（…“’—'\"#[]-.$+^`"
    " \t\n\r\x00\x0b\x1f\x7f\x85\xa0\u200b\u200d\u2028\u3000\ufeff\ufffd\ue000"
    "각한ᄀ가がㇰﬁΩ½①١😀👨क्षि̖À\u0378\U0001d165\U0001d16e\u302e\U00011f00"
)
# Characters old enough to be the same in the Unicode tables of any Python.
settled = st.characters(exclude_categories=("Cs",)).filter(
    lambda c: unicodedata.ucd_3_2_0.category(c) != "Cn"
)
awkward_text = st.text(
    st.one_of(st.sampled_from(AWKWARD), settled), max_size=30
)


def words_of(text, lower_case, strip_accents):
    """Returns the words of the original's basic tokenizer, found with `str`."""
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            kept.append(" ")
        elif is_cjk(character):
            kept.append(f" {character} ")
        elif character != "\ufffd" and not category.startswith("C"):
            kept.append(character)
    words = []
    for word in "".join(kept).split():
        if lower_case:
            word = word.lower()
        if strip_accents:
            word = "".join(
                character
                for character in unicodedata.normalize("NFD", word)
                if unicodedata.category(character) != "Mn"
            )
        spaced = "".join(f" {c} " if is_punctuation(c) else c for c in word)
        words += spaced.split()
    return words


def is_cjk(character):
    ranges = (
        (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF),
        (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
        (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
    )  # fmt: skip
    return any(a <= ord(character) <= b for a, b in ranges)


def is_punctuation(character):
    ascii_symbol = character.isascii() and (
        33 <= ord(character) <= 126 and not character.isalnum()
    )
    return ascii_symbol or unicodedata.category(character).startswith("P")


def pieces_of(word, tokens):
    """Splits a word into pieces, greedily, the longest match first."""
    if len(word) > 200:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in tokens:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def reference(text, tokens, lower_case, strip_accents):
    words = words_of(text, lower_case, strip_accents)
    return [piece for word in words for piece in pieces_of(word, tokens)]


def tokens_of(tokenizer, texts):
    rows = tokenizer(texts).to_list()
    for text, row in zip(texts, rows):
        if isinstance(text, str):  # also without TensorFlow, if possible
            assert tokenizer.plain_ids(text) in (None, row)
    return [[tokenizer.vocab.tokens[i] for i in row] for row in rows]


def spelling_vocab(characters):
    """Returns a vocabulary that can spell every word of `characters`."""
    singles = sorted(
        {
            c
            for c in characters
            # Cn is allowed: Python 3.10 lacks some of the characters.
            if not c.isspace()
            and unicodedata.category(c) not in ("Cc", "Cf", "Co", "Cs")
        }
    )
    return Vocab((*SPECIALS, *singles, *(f"##{c}" for c in singles)))


def joined(tokens):
    words = []
    for token in tokens:
        if token.startswith("##") and len(token) > 2:
            words[-1] += token[2:]
        else:
            words.append(token)
    return words


@pytest.fixture(scope="module")
def golden():
    return json.loads((GOLDEN / "tokenizer.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def awkward_tokenizers():
    closed = set(AWKWARD + AWKWARD.lower())
    closed |= {c for a in closed for c in unicodedata.normalize("NFD", a)}
    singles = spelling_vocab(closed - set("½ক")).tokens
    more = (
        "zz",
        "##zz",
        "aa",
        "##aaa",
        "ai",
        "##σς",
        "##",
        "...",
        "a.",
        "中文",
    )
    vocab = Vocab(singles + tuple(t for t in more if t not in singles))
    return {mode: Tokenizer(vocab, *MODES[mode]) for mode in MODES}


@pytest.mark.parametrize("mode", MODES)
def test_recorded_strings(golden, mode):
    tokenizer = Tokenizer(Vocab(tuple(golden["vocab"])), *MODES[mode])
    texts = [case["text"] for case in golden["cases"]]
    got = tokens_of(tokenizer, texts)
    assert len(texts) == 73
    for case, tokens in zip(golden["cases"], got, strict=True):
        assert tokens == case[mode], case["text"]
    # The ids are the same one by one, and with offsets.
    assert [tokens_of(tokenizer, [text])[0] for text in texts] == got
    assert (
        tokenizer.tokenize_with_offsets(texts).ids.to_list()
        == tokenizer(texts).to_list()
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_recorded_strings_whole_vocabulary(shared_dir, mode):
    path = shared_dir / "golden/tokenizer_and_examples/tokenizer.json"
    cases = json.loads(path.read_text("utf-8"))["cases"]
    vocab_file = str(shared_dir / "data/vocab/bert_uncased_en.txt")
    tokenizer = Tokenizer(vocab_file, *MODES[mode])
    got = tokenizer([case["text"] for case in cases]).to_list()
    assert got == [case[f"{mode}_ids"] for case in cases]


def recorded_words():
    """Returns code point -> words of a<c>b, where these are not one word."""
    recorded = json.loads((GOLDEN / "tokenizer_codepoints.json").read_text())
    words = {code: text.split(" ") for code, text in recorded["tokens"]}
    for kind, ends in recorded["ranges"].items():
        for first, last in zip(ends[::2], ends[1::2], strict=True):
            for code in range(first, last + 1):
                words[code] = {
                    "dropped": ["ab"],
                    "space": ["a", "b"],
                    "isolated": ["a", chr(code), "b"],
                }[kind]
    return words


def check_code_points(codes, words):
    expected = [words.get(code, [f"a{chr(code)}b"]) for code in codes]
    tokenizer = Tokenizer(
        spelling_vocab({c for row in expected for word in row for c in word})
    )
    got = tokens_of(tokenizer, [f"a{chr(code)}b" for code in codes])
    wrong = [
        (f"U+{code:04X}", joined(tokens), want)
        for code, tokens, want in zip(codes, got, expected)
        if joined(tokens) != want
    ]
    assert not wrong, (len(wrong), wrong[:20])


def test_code_points_at_the_edges_of_every_class():
    words = recorded_words()
    recorded = json.loads((GOLDEN / "tokenizer_codepoints.json").read_text())
    codes = {code for code, _ in recorded["tokens"]}
    for ends in recorded["ranges"].values():
        codes |= {end + shift for end in ends for shift in (-1, 0, 1)}
    codes = [
        code
        for code in sorted(codes)
        if 0 <= code < 0x30000 and not 0xAC00 <= code <= 0xDFFF
    ]
    assert len(codes) > 5000
    check_code_points(codes, words)


@pytest.mark.slow
def test_every_code_point():
    words = recorded_words()
    for code in range(0xAC00, 0xD7A4):
        words[code] = [f"a{unicodedata.normalize('NFD', chr(code))}b"]
    check_code_points(
        [c for c in range(0x30000) if not 0xD800 <= c <= 0xDFFF], words
    )


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25)
@given(data=st.data())
def test_equals_reference_with_true_offsets(awkward_tokenizers, mode, data):
    texts = data.draw(st.lists(awkward_text, max_size=10))
    tokenizer = awkward_tokenizers[mode]
    vocab = tokenizer.vocab
    flags = MODES[mode]
    expected = [
        reference(text.replace("\U00011f00", ""), vocab.ids, *flags)
        for text in texts
    ]
    assert tokens_of(tokenizer, texts) == expected
    offsets = tokenizer.tokenize_with_offsets(texts)
    assert offsets.ids.to_list() == tokenizer(texts).to_list()
    for row, text in enumerate(texts):
        check_spans(vocab, text, [part[row] for part in offsets], flags)


def check_spans(vocab, text, row, flags):
    encoded = text.encode()
    ids, start_bytes, end_bytes, starts, ends = (part.numpy() for part in row)
    for i, token_id in enumerate(ids):
        source = text[starts[i] : ends[i]]
        assert source == encoded[start_bytes[i] : end_bytes[i]].decode()
        assert source
        if i:  # in order, and disjoint unless of one character
            assert starts[i] >= starts[i - 1]
            assert starts[i] >= ends[i - 1] or ends[i] - starts[i] >= 1
        token = vocab.tokens[token_id]
        if token == "[UNK]":
            continue
        surface = token[2:] if token[:2] == "##" and token != "##" else token
        made = "".join(words_of(source, *flags)).replace("ς", "σ")
        surface = surface.replace("ς", "σ")
        if len(source) == 1:  # a syllable may give several tokens
            assert surface in made
        else:
            assert surface == made or surface in made, (source, token)


broken_bytes = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [
                b"\xe4\xb8", b"\xed\xa0\x80a", b"a\xf4\x90\x80\x80",
                b"\xc0\x80", b"\xe0\x80\x80b", b"\xff",
            ]
        ),
    ),
    max_size=6,
).map(lambda parts: b" ".join(parts) + b"a")  # fmt: skip


@settings(max_examples=30)
@given(st.lists(broken_bytes, min_size=1, max_size=10))
def test_bytes_that_are_not_utf8_are_skipped(awkward_tokenizers, texts):
    for mode in ("lower_strip", "cased"):
        tokenizer = awkward_tokenizers[mode]
        expected = tokenizer([t.decode("utf-8", "ignore") for t in texts])
        assert tokenizer(texts).to_list() == expected.to_list()
        offsets = tokenizer.tokenize_with_offsets(texts)
        assert offsets.ids.to_list() == expected.to_list()
        for row, text in enumerate(texts):
            assert offsets.end_bytes[row, -1] == len(text)
            assert offsets.end_chars[row, -1] == len(
                text.decode("utf-8", "replace")
            )


@settings(max_examples=40)
@given(
    st.lists(
        st.text("abcde.#[ \x00\u0301中\u2028", min_size=1, max_size=5),
        max_size=40,
    ),
    st.lists(st.text("abcde.#[ 中", max_size=25), max_size=5),
)
def test_any_vocabulary(pieces, texts):
    tokens = [p for p in pieces if p == p.strip(" \u2028")]
    tokens = list(
        dict.fromkeys([*SPECIALS, "z", *tokens, *("##" + t for t in tokens)])
    )
    tokenizer = Tokenizer(Vocab(tuple(tokens)))
    assert tokens_of(tokenizer, texts) == [
        reference(text, tokenizer.vocab.ids, True, True) for text in texts
    ]


printable = st.text("aAbB1\t\n\r [#]-._~!", max_size=25)


@settings(max_examples=8)
@given(
    st.lists(st.text("aAbB1#[. -", min_size=1, max_size=4), max_size=30),
    st.lists(printable, max_size=5),
    st.sampled_from(sorted(MODES)),
)
def test_plain_ids_are_the_graphs(pieces, texts, mode):
    pieces = [piece.strip() or "z" for piece in [*pieces, "z"]]
    tokens = dict.fromkeys([*SPECIALS, *pieces, *("##" + t for t in pieces)])
    tokenizer = Tokenizer(Vocab(tuple(tokens)), *MODES[mode])
    expected = tokenizer(texts).to_list()
    assert [tokenizer.plain_ids(text) for text in texts] == expected


def test_texts_that_have_no_plain_ids(tiny_vocab_file):
    tokenizer = Tokenizer(tiny_vocab_file)
    for text in ("é", "a\x00", "a\x0b", "\x7f", "中", "\u00a0", "\ud800"):
        assert tokenizer.plain_ids(f"the {text}") is None
    tokens = (*tokenizer.vocab.tokens, "[E1]")
    added = Vocab(tokens, (AddedToken("[E1]"),))
    assert Tokenizer(added).plain_ids("the") is None


def test_words_of_more_than_200_characters():
    tokenizer = Tokenizer(spelling_vocab("aя中𐐨ẹ."))
    for length in (200, 201):
        tokens_of(tokenizer, ["a" * length, "a." * length])
    letters = {"a": 1, "я": 2, "𐐨": 4}
    for letter in letters:
        for length, known in ((200, True), (201, False), (900, False)):
            text = f"a.{letter * length}.中{letter}"
            got = tokens_of(tokenizer, [text])[0]
            middle = got[2 : -1 - 2]
            assert got[:2] == ["a", "."]
            assert got[-3:] == [".", "中", letter]
            assert len(middle) == (length if known else 1)
            assert ("[UNK]" in got) != known
            offsets = tokenizer.tokenize_with_offsets(["", text, "a"])
            row = [part[1] for part in offsets]
            check_spans(tokenizer.vocab, text, row, (True, True))
            assert offsets.end_chars[1, -4] == 2 + length
    # The limit counts characters after normalising.
    assert tokens_of(tokenizer, ["a\u0301" * 200])[0] == ["a"] + ["##a"] * 199


def test_special_tokens_in_text_are_text(tiny_vocab_file):
    tokenizer = Tokenizer(tiny_vocab_file)
    assert "[MASK]" not in tokens_of(tokenizer, ["[MASK] cat"])[0]


def test_spans_of_accented_and_chinese_text():
    cases = {
        "Cafe\u0301s, İstanbul": ["cafes", ",", "istanbul"],
        "so\u00adft 中国人": ["soft", "中", "国", "人"],
        "\u0301a": ["a"],
        "ΟΔΟΣ": ["οδος"],
    }
    tokenizer = Tokenizer(
        Vocab((*SPECIALS, *dict.fromkeys(t for c in cases.values() for t in c)))
    )
    offsets = tokenizer.tokenize_with_offsets(list(cases))
    spans = [
        [text[a:b] for a, b in zip(starts, ends)]
        for text, starts, ends in zip(
            cases, offsets.start_chars.to_list(), offsets.end_chars.to_list()
        )
    ]
    assert spans == [
        ["Cafe\u0301s", ",", "İstanbul"],
        ["so\u00adft", "中", "国", "人"],
        ["a"],
        ["ΟΔΟΣ"],
    ]
    assert tokens_of(tokenizer, list(cases)) == list(cases.values())


def test_empty_texts_and_batches(tiny_vocab_file):
    tokenizer = Tokenizer(tiny_vocab_file)
    for texts, rows in (([], []), (["", " \n", "\x00"], [[], [], []])):
        ids = tokenizer(texts)
        assert ids.dtype == tf.int32
        assert ids.to_list() == rows
        for part in tokenizer.tokenize_with_offsets(texts):
            assert part.to_list() == rows
    assert tokenizer.encode([])["input_ids"].shape[0] == 0
    with pytest.raises(UserError, match="list of str"):
        tokenizer([["a"]])


def truncate_pair(first, second, room):
    first, second = list(first), list(second)
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
    return first, second


@settings(max_examples=30)
@given(st.integers(0, 9), st.integers(0, 9), st.integers(3, 16))
def test_encode_truncates_the_longer_first(tiny_tokenizer, m, n, max_length):
    vocab = tiny_tokenizer.vocab
    first, second = "abcdefghi"[:m], "jklmnopqr"[:n]
    features = tiny_tokenizer.encode(
        [" ".join(first)], [" ".join(second)], max_length=max_length
    )
    a, b = truncate_pair(
        (vocab.ids[c] for c in first), (vocab.ids[c] for c in second),
        max_length - 3,
    )  # fmt: skip
    ids = [vocab.cls_id, *a, vocab.sep_id, *b, vocab.sep_id]
    padding = [0] * (max_length - len(ids))
    assert features["input_ids"].numpy().tolist() == [ids + padding]
    assert features["input_mask"].numpy().tolist() == [[1] * len(ids) + padding]
    assert features["segment_ids"].numpy().tolist() == [
        [0] * (len(a) + 2) + [1] * (len(b) + 1) + padding
    ]


@pytest.fixture(scope="module")
def tiny_tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


def test_encode_shapes(tiny_tokenizer):
    one = tiny_tokenizer.encode("the cat")
    assert [tuple(v.shape) for v in one.values()] == [(4,)] * 3
    assert all(v.dtype == tf.int32 for v in one.values())
    batch = tiny_tokenizer.encode(["the cat", "the cat sat on"])
    assert batch["input_ids"].shape == (2, 6)
    assert batch["input_mask"].numpy().sum(axis=1).tolist() == [4, 6]
    cut = tiny_tokenizer.encode("the cat sat on", max_length=3)["input_ids"]
    assert cut.shape == (3,)
    assert cut[-1] == tiny_tokenizer.vocab.sep_id
    scalar = tiny_tokenizer.encode(tf.constant("the cat"), tf.constant("sat"))
    assert scalar["segment_ids"].numpy().tolist() == [0, 0, 0, 0, 1, 1]
    with pytest.raises(UserError, match="at least 3"):
        tiny_tokenizer.encode("a", "b", max_length=2)


def test_decode(tiny_tokenizer):
    for text in (
        'he said, "the dog (a good dog) ran."',
        "it's 3.14, isn't it?",
        "the 中国人",
    ):
        assert tiny_tokenizer.decode(tiny_tokenizer([text])) == [text]
    ids = tiny_tokenizer.encode("the cat", max_length=8)["input_ids"]
    assert tiny_tokenizer.decode(ids) == "the cat"
    assert (
        tiny_tokenizer.decode(ids[:4], skip_specials=False)
        == "[CLS] the cat [SEP]"
    )
    assert tiny_tokenizer.decode([]) == ""
    assert tiny_tokenizer.decode([[], [tiny_tokenizer.vocab.unk_id]]) == [
        "",
        "[UNK]",
    ]
    with pytest.raises(UserError, match="99999"):
        tiny_tokenizer.decode([99999])


def test_inside_functions_and_datasets(tiny_tokenizer):
    texts = ["the cat", "Café \u2014 中", ""]
    expected = tiny_tokenizer(texts).to_list()
    traced = tf.function(
        tiny_tokenizer, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    assert traced(tf.constant(texts)).to_list() == expected
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(3)
    assert [r.to_list() for r in dataset.map(tiny_tokenizer)] == [expected]


class Exported(tf.Module):
    """Maps texts to tensors, as an exported model does."""

    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        offsets = self.tokenizer.tokenize_with_offsets(texts)
        return {
            "end_bytes": offsets.end_bytes.to_tensor(),
            **self.tokenizer.encode(texts, max_length=12),
        }


@pytest.mark.slow
def test_saved_model_in_a_turkish_process(tmp_path):
    """The model loads without this package, in a locale of other lower case."""
    vocab = Vocab((*SPECIALS, "istanbul", "iii", "cafe\u0301", "ì", "."))
    tokenizer = Tokenizer(vocab, lower_case=True, strip_accents=False)
    module = Exported(tokenizer)
    texts = ["ISTANBUL III.", "CAFE\u0301 Ì ISTANBUL", "i" * 300]
    expected = module(tf.constant(texts))
    assert vocab.unk_id not in expected["input_ids"][:2].numpy()
    tf.saved_model.save(module, str(tmp_path), signatures=module.__call__)
    program = (
        "import json, sys, tensorflow as tf, tensorflow_text\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "out = model.signatures['serving_default'](\n"
        "    tf.constant(json.loads(sys.argv[2])))\n"
        "print(json.dumps({k: v.numpy().tolist() for k, v in out.items()}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), json.dumps(texts)],
        env={**os.environ, "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
        capture_output=True,
        check=True,
        text=True,
    )
    got = json.loads(done.stdout.splitlines()[-1])
    assert got == {k: v.numpy().tolist() for k, v in expected.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vocab_file", "files", "limit"),
    [
        ("bert_chinese.txt", "zh/ChnSentiCorp/dev.tsv", 2000),
        ("bert_uncased_en.txt", "glue/SST-2/train.tsv", 8000),
    ],
)
def test_equals_hugging_face_on_real_text(shared_dir, vocab_file, files, limit):
    tokenizers = pytest.importorskip("tokenizers")
    vocab = load_vocab(str(shared_dir / "data/vocab" / vocab_file))
    peer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            vocab.ids, unk_token="[UNK]", max_input_chars_per_word=200
        )
    )
    peer.normalizer = tokenizers.normalizers.BertNormalizer()
    peer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    path = shared_dir / "data" / files
    lines = path.read_text("utf-8").split("\n")[:limit]
    assert tokenizer_lib.Tokenizer(vocab)(lines).to_list() == [
        e.ids for e in peer.encode_batch(lines, add_special_tokens=False)
    ]


@pytest.mark.parametrize("text", [["a"], "a"])
@pytest.mark.parametrize("pair", [["b", "c"], []])
def test_pairs_of_unequal_numbers_are_reported(tiny_tokenizer, text, pair):
    with pytest.raises(UserError, match=r"pair: \d second texts for 1"):
        tiny_tokenizer.encode(text, pair)
