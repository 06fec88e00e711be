"""Tests tokens that are not split: in ids, offsets, files and graphs."""

import dataclasses
import json

import hub_models
import pytest
import tensorflow as tf

import electra_tf
from electra_tf.errors import UserError
from electra_tf.hub import directory, tf1
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import SPECIALS, AddedToken, Vocab, load_vocab

WORDS = ("a", "b", "##b", "[", "]", "e", "##1", "e1", "x", "covid", "中", "é")
MARKERS = ("[E1]", "[E1", "[Ü]", "New York", "vid")
TOKENS = (*SPECIALS, *WORDS, *MARKERS)
VOCAB = Vocab(
    TOKENS,
    (
        AddedToken("[E1]"),
        AddedToken("[E1"),
        AddedToken("[Ü]", normalized=True),
        AddedToken("New York", normalized=True),
        AddedToken("vid", normalized=True),
    ),
)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(VOCAB)


def named(tokenizer, texts):
    return [[TOKENS[i] for i in row] for row in tokenizer(texts).to_list()]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a [E1] b", ["a", "[E1]", "b"]),
        ("a[E1]b", ["a", "[E1]", "b"]),  # no space is needed
        ("ab[E1][E1]中", ["a", "##b", "[E1]", "[E1]", "中"]),
        ("[E1 [E1]", ["[E1", "[E1]"]),  # the longer of two
        ("[e1] A", ["[", "e1", "]", "a"]),  # case matters
        ("[ü] [U] [Ü]", ["[Ü]"] * 3),  # found in the normalised text
        ("a new YORK", ["a", "New York"]),
        ("COVID", ["[UNK]", "vid"]),  # found within words, too
        ("", []),
        ("a\0b[E1]\0b\0", ["a", "##b", "[E1]", "b"]),
        ("[E1]", ["[E1]"]),
        ("[MASK]", ["[", "[UNK]", "]"]),  # a special token is text
    ],
)  # fmt: skip
def test_tokens_stay_whole(tokenizer, text, tokens):
    assert named(tokenizer, [text, "b", text]) == [tokens, ["b"], tokens]


def test_of_tokens_that_are_one_in_normalised_text_the_first_is_found(caplog):
    """As in transformers, where the first one added is."""
    added = (AddedToken("<e>", True), AddedToken("<E>", True))
    tokens = (*SPECIALS, "a", "<E>", "<e>")
    tokenizer = Tokenizer(Vocab(tokens, added))
    ids = tokenizer(["a <E>", "a <e>"]).to_list()
    assert ids == [[5, 6], [5, 6]]
    assert "'<E>' and '<e>' are one in normalised text" in caplog.text
    caplog.clear()
    cased = Tokenizer(Vocab(tokens, added), lower_case=False)
    assert cased(["a <E>", "a <e>"]).to_list() == [[5, 6], [5, 7]]
    assert not caplog.text


def test_offsets_are_of_the_original_text(tokenizer):
    texts = ["É [E1]b NEW york", "", "中[Ü]e1", "x" * 201 + "New York b"]
    texts.append("e\0 [E1]\0a")
    found = tokenizer.tokenize_with_offsets(texts)
    assert found.ids.to_list() == tokenizer(texts).to_list()
    spelled = [
        [text[a:b] for a, b in zip(starts, ends)]
        for text, starts, ends in zip(
            texts, found.start_chars.to_list(), found.end_chars.to_list()
        )
    ]
    assert spelled == [
        ["É", "[E1]", "b", "NEW york"],
        [],
        ["中", "[Ü]", "e1"],
        ["x" * 201, "New York", "b"],
        ["e", "[E1]", "a"],
    ]
    raw = [text.encode() for text in texts]
    assert [
        [text[a:b].decode() for a, b in zip(starts, ends)]
        for text, starts, ends in zip(
            raw, found.start_bytes.to_list(), found.end_bytes.to_list()
        )
    ] == spelled


def test_bytes_that_are_no_text(tokenizer):
    found = tokenizer.tokenize_with_offsets([b"a\xff[E1]\xfeb[E1]"])
    assert [TOKENS[i] for i in found.ids.to_list()[0]] == [
        "a", "[E1]", "b", "[E1]",
    ]  # fmt: skip
    assert found.start_chars.to_list() == [[0, 2, 7, 8]]


def test_in_a_graph(tmp_path, tokenizer):
    module = tf.Module()
    module.tokenizer = tokenizer
    module.serve = tf.function(
        lambda texts: tokenizer(texts).to_tensor(-1),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path))
    serve = tf.saved_model.load(str(tmp_path)).serve
    ids = VOCAB.ids
    assert serve(["a [E1]", "NEW YORK"]).numpy().tolist() == [
        [ids["a"], ids["[E1]"]],
        [ids["New York"], -1],
    ]


def test_files(tmp_path):
    path = str(tmp_path / "vocab.txt")
    VOCAB.save(path)
    assert load_vocab(path) == VOCAB
    plain = Vocab(TOKENS)
    assert plain.fingerprint() != VOCAB.fingerprint()
    plain.save(path)  # overwrites one with added tokens
    assert load_vocab(path) == plain
    other = str(tmp_path / "words.txt")
    VOCAB.save(other)
    assert load_vocab(other) == VOCAB and load_vocab(path) == plain


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"[N]": len(TOKENS) + 1}, r"\[N\].*ends at"),
        ({"[N]": 5}, r"\[N\].*id 5.*'a'"),
        ({"[N]": "x"}, "JSON mapping of added tokens"),
        (["[N]"], "JSON mapping of added tokens"),
    ],
)
def test_damage_is_named(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    Vocab(TOKENS).save(str(path))
    beside = tmp_path / "added_tokens.json"
    beside.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"added_tokens\.json: .*{message}"):
        load_vocab(str(path))
    beside.write_text(json.dumps({"[N]": len(TOKENS), "[CLS]": 2}))
    assert load_vocab(str(path)).added == (AddedToken("[N]", True),)


def test_a_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\ufeff".encode() + "\r\n".join(TOKENS).encode())
    assert load_vocab(str(path)) == Vocab(TOKENS)
    for encoding in ("utf-16", "utf-16-be"):
        text = "\n".join(TOKENS)
        mark = "" if encoding == "utf-16" else "\ufeff"
        path.write_bytes((mark + text).encode(encoding))
        assert load_vocab(str(path)) == Vocab(TOKENS)


def test_the_layer_and_other_formats(tmp_path):
    layer = electra_tf.Tokenizer(VOCAB)
    again = electra_tf.Tokenizer.from_config(layer.get_config())
    assert again.vocab == VOCAB
    shape = dataclasses.replace(hub_models.TINY, vocab_size=len(TOKENS))
    config = hub_models.directory_config(shape)
    notes = tf1.write(str(tmp_path), hub_models.checkpoint(config, VOCAB))
    assert notes == (
        "added tokens, which its own tokenizer splits: [E1], [E1, [Ü], "
        "New York, vid",
    )
    assert tf1.read(str(tmp_path)).vocab == VOCAB
    directory.write(str(tmp_path / "a"), tf1.read(str(tmp_path)))
    assert directory.read(str(tmp_path / "a")).vocab == VOCAB
