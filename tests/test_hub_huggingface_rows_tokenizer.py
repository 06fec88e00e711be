"""Tests tokenizers of Hugging Face directories, without transformers.

The files are written here in the formats of transformers 4 and 5.
"""

import json

import pytest
import tokenizers

from electra_tf.errors import UserError
from electra_tf.hub import huggingface_tokenizer
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import SPECIALS, AddedToken, Vocab, load_vocab

WORDS = ("a", "b", "##b", "[", "]", "e", "##1", "e1", "中", "covid")
BERT = {
    "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
    "strip_accents": None, "lowercase": True,
}  # fmt: skip


def added(text, number, **about):
    return {
        "id": number, "content": text, "single_word": False, "lstrip": False,
        "rstrip": False, "normalized": False, "special": False, **about,
    }  # fmt: skip


def as_version_5(path, tokens, more=(), normalizer=BERT, ids=None, **settings):
    """Writes tokenizer.json and tokenizer_config.json alone."""
    specials = [
        added(token, i, special=True)
        for i, token in enumerate(tokens)
        if token in SPECIALS
    ]
    content = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [*specials, *more],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2],
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": ids or {token: i for i, token in enumerate(tokens)},
        },
    }  # fmt: skip
    (path / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    settings = {
        "backend": "tokenizers", "do_lower_case": True, "strip_accents": None,
        "tokenize_chinese_chars": True, "tokenizer_class": "BertTokenizer",
    } | settings  # fmt: skip
    (path / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return str(path)


def made_of(read):
    return Tokenizer(read.vocab, read.lower_case, read.strip_accents)


def theirs(path):
    return tokenizers.Tokenizer.from_file(f"{path}/tokenizer.json")


def test_tokens_that_became_empty(tmp_path):
    # Version 5 makes this of the common Chinese vocabulary, which has U+2028.
    tokens = (*SPECIALS, "a", "", "##b", "##", "中", "##\u3000")
    path = as_version_5(tmp_path, tokens)
    read = huggingface_tokenizer.read(path)
    assert read.assumed == ()
    assert read.vocab.tokens == (
        *SPECIALS, "a", "\u2028", "##b", "##\u2028", "中", "##\u3000",
    )  # fmt: skip
    texts = ["ab中##", "\u2028a \u2029", "a\u3000b", "##"]
    ours = made_of(read)(texts).to_list()
    assert ours == [
        theirs(path).encode(text, add_special_tokens=False).ids
        for text in texts
    ]
    # It is the same after writing it, and from the vocab.txt with its line.
    huggingface_tokenizer.write(path, read.vocab, True, None, 512)
    again = huggingface_tokenizer.read(path)
    assert again.vocab == read.vocab
    lines = "".join(f"{token}\n" for token in tokens)
    (tmp_path / "vocab.txt").write_text(lines, "utf-8")
    assert huggingface_tokenizer.read(path).vocab == read.vocab
    with pytest.raises(UserError, match=r"vocab\.txt: no token on line 7"):
        load_vocab(str(tmp_path / "vocab.txt"))  # an error in other files


def test_several_tokens_that_became_one(tmp_path):
    # Of U+2028 and U+2029 the later one has the entry; one id has no token.
    tokens = [*SPECIALS, *map(str, range(200)), "", "x"]
    ids = {t: i for i, t in enumerate(tokens)} | {"": 220, "y": 221}
    ids |= {f"w{i}": i for i in range(207, 220)}
    del ids["w210"]
    path = as_version_5(tmp_path, SPECIALS, ids=ids)
    read = huggingface_tokenizer.read(path)
    assert read.vocab.ids["y"] == 221 and len(read.vocab) == 222
    assert "ids of tokenizer.json have no token" in read.assumed[0]


def test_another_vocabulary_replaces_theirs_unread(tmp_path):
    vocab = Vocab((*SPECIALS, "a"))
    path = as_version_5(tmp_path, ("no", "special", "token"))
    with pytest.raises(UserError, match=r"tokenizer\.json.*\[PAD\]"):
        huggingface_tokenizer.read(path)
    read = huggingface_tokenizer.read(path, vocab)
    assert read.vocab == vocab and read.lower_case and read.assumed == ()


MARKERS = (
    added("[E1]", 15, normalized=True),
    added("[S1]", 16, special=True),
    added("covid", 17, normalized=True),
    added("[", 8, special=True),  # a token of the vocabulary
)
TEXTS = [
    "a [E1] b[S1]", "[e1] [s1]", "Covid19 covidb", "ab[E1]中", "x[S1][E1]y", "",
]  # fmt: skip


@pytest.mark.parametrize("place", ["tokenizer.json", "config", "file"])
def test_added_tokens_stay_whole(tmp_path, place):
    tokens = (*SPECIALS, *WORDS[:-1], "é")
    path = as_version_5(tmp_path, tokens, MARKERS)
    library = theirs(path)
    expected = [
        library.encode(text, add_special_tokens=False).ids for text in TEXTS
    ]
    if place != "tokenizer.json":  # as version 4 writes it
        (tmp_path / "tokenizer.json").unlink()
        lines = "".join(f"{token}\n" for token in tokens)
        (tmp_path / "vocab.txt").write_text(lines, "utf-8")
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    if place == "config":
        settings["added_tokens_decoder"] = {
            str(token["id"]): token for token in MARKERS
        }
    if place == "file":
        settings["additional_special_tokens"] = ["[S1]", "["]
        numbers = {token["content"]: token["id"] for token in MARKERS}
        (tmp_path / "added_tokens.json").write_text(json.dumps(numbers))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    read = huggingface_tokenizer.read(path)
    assert read.vocab.ids["[S1]"] == 16
    assert set(read.vocab.added) == {
        AddedToken("[E1]", True), AddedToken("[S1]"), AddedToken("covid", True),
        AddedToken("["),
    }  # fmt: skip
    assert made_of(read)(TEXTS).to_list() == expected
    # As written by this package, they are whole in the library and here.
    huggingface_tokenizer.write(path, read.vocab, True, None, 512)
    library = theirs(path)
    assert expected == [
        library.encode(text, add_special_tokens=False).ids for text in TEXTS
    ]
    back = huggingface_tokenizer.read(path).vocab
    assert back.tokens == read.vocab.tokens
    assert set(back.added) == set(read.vocab.added)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (added("wor", 15, single_word=True), "'wor'.*single_word"),
        (added("far", 40), "number"),
        (added(" x", 15), "space around the token on line 16"),
        ({"content": "[E]"}, "number"),
    ],
)
def test_what_cannot_stay_whole_is_refused_by_name(tmp_path, token, message):
    path = as_version_5(tmp_path, (*SPECIALS, *WORDS), [token])
    with pytest.raises(UserError, match=rf"tokenizer\.json.*{message}"):
        huggingface_tokenizer.read(path)
    vocab = Vocab((*SPECIALS, "a"))
    assert huggingface_tokenizer.read(path, vocab).vocab == vocab


def test_an_added_word_of_the_vocabulary_remains_a_word(tmp_path):
    """As written it stays whole; in another case it is still a word."""
    tokens = (*SPECIALS, "covid", "##b", "a")
    beyond = added("fever", len(tokens))
    path = as_version_5(tmp_path, tokens, [added("covid", 5), beyond])
    texts = ["covidb Covidb COVID", "fever Fever", "a"]
    ours = made_of(huggingface_tokenizer.read(path))(texts).to_list()
    assert ours == [[5, 1, 5, 6, 5], [8, 1], [7]]
    expected = [
        theirs(path).encode(text, add_special_tokens=False).ids
        for text in texts
    ]
    assert ours == expected
    # What is written of it does the same.
    read = huggingface_tokenizer.read(path)
    huggingface_tokenizer.write(path, read.vocab, True, None, 512)
    assert expected == [
        theirs(path).encode(text, add_special_tokens=False).ids
        for text in texts
    ]


def test_never_split(tmp_path):
    tokens = (*SPECIALS, *WORDS, "[E1]")
    path = as_version_5(tmp_path, tokens, never_split=["[E1]", "[CLS]"])
    assumed = huggingface_tokenizer.read(path).assumed
    assert len(assumed) == 1 and "never_split '[E1]'" in assumed[0]
    # Without that file the slow tokenizer is used, which obeys never_split.
    (tmp_path / "tokenizer.json").unlink()
    Vocab(tokens).save(str(tmp_path / "vocab.txt"))
    read = huggingface_tokenizer.read(path)
    assert read.assumed == () and read.vocab.added == (AddedToken("[E1]"),)
    assert made_of(read)(["a [E1] b"]).to_list() == [[5, 15, 6]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer": {**BERT, "clean_text": False}}, "clean_text false"),
        ({"normalizer": {"type": "NFKC"}}, "NFKC"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"pre_tokenizer": None}, "pre_tokenizer null"),
    ],
)
def test_steps_of_another_kind_are_reported(tmp_path, changes, message):
    path = as_version_5(tmp_path, (*SPECIALS, *WORDS))
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    notes = huggingface_tokenizer.read(path).assumed
    assert len(notes) == 1 and message in notes[0]


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "BertTokenizer"])
def test_whose_settings_count(tmp_path, kind):
    # A class that runs the file as written ignores do_lower_case.
    path = as_version_5(
        tmp_path, (*SPECIALS, *WORDS), tokenizer_class=kind,
        normalizer=BERT | {"lowercase": False, "strip_accents": True},
    )  # fmt: skip
    read = huggingface_tokenizer.read(path)
    as_written = kind == "PreTrainedTokenizerFast"
    assert read.lower_case is not as_written
    assert read.strip_accents is (True if as_written else None)


def test_what_is_written_is_run_as_written(tmp_path):
    huggingface_tokenizer.write(
        str(tmp_path), Vocab((*SPECIALS, *WORDS)), True, None, 512
    )
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    # By default that class would leave out token types.
    assert settings["model_input_names"] == [
        "input_ids", "token_type_ids", "attention_mask",
    ]  # fmt: skip
    again = huggingface_tokenizer.read(str(tmp_path))
    assert again.assumed == ()


@pytest.mark.parametrize("lower_case", [True, False])
def test_characters_newer_than_our_tables(tmp_path, lower_case):
    vocab = Vocab((*SPECIALS, "a", "b", "ab"))
    path = str(tmp_path)
    huggingface_tokenizer.write(path, vocab, lower_case, None, 512)
    # Characters of Unicode 14 to 16, and unassigned code points.
    codes = (
        0x378, 0x897, 0x1C89, 0x2427, 0x2FFC, 0x31EF, 0xA7CB, 0x105C0,
        0x10D40, 0x11380, 0x16100, 0x1C89, 0x1E5D0, 0x1FAE9, 0x2B820, 0x2EBF0,
        0x31350, 0x323AF, 0x1FFFF, 0xE01F0,
    )  # fmt: skip
    texts = [f"a{chr(code)}b" for code in codes]
    found = theirs(path).encode_batch(texts, add_special_tokens=False)
    ours = Tokenizer(vocab, lower_case)(texts).to_list()
    assert ours == [row.ids for row in found]
    assert [7] in ours  # dropped
