"""Tests tokenizer files: each of the three alone, and the ids they give."""

import json
import os
import pathlib

import pytest
import tokenizers

from electra_tf.errors import UserError
from electra_tf.hub import huggingface_tokenizer
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab

GOLDEN = pathlib.Path(__file__).parent / "golden" / "tokenizer.json"


@pytest.fixture
def vocab(tiny_tokens):
    return Vocab(tiny_tokens)


@pytest.fixture
def write(tmp_path, vocab):
    def written(lower_case=True, strip_accents=None):
        huggingface_tokenizer.write(
            str(tmp_path), vocab, lower_case, strip_accents, 512
        )
        return tmp_path

    return written


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("strip_accents", [None, True, False])
def test_what_is_written_is_read(write, vocab, lower_case, strip_accents):
    path = write(lower_case, strip_accents)
    for absent in ("", "tokenizer.json", "tokenizer_config.json"):
        write(lower_case, strip_accents)
        if absent:
            os.remove(path / absent)
        read = huggingface_tokenizer.read(str(path))
        assert read.vocab == vocab and read.assumed == ()
        assert read.lower_case is lower_case
        if absent != "tokenizer_config.json":
            assert read.strip_accents is strip_accents
        elif strip_accents is None:
            assert read.strip_accents is lower_case  # what None means
        else:
            assert read.strip_accents is strip_accents


@pytest.mark.parametrize("lower_case", [True, False])
def test_the_library_gives_the_same_ids(write, vocab, lower_case):
    path = write(lower_case)
    theirs = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    ours = Tokenizer(vocab, lower_case)
    texts = [
        "The house of her sister!",
        "Café, naïve: 中国人 ran-ning\tx\u00a0y",
        "a" * 150 + " " + "b" * 201 + "!",
        "",
        "«ümlaut» 3.14 $5 #tag",
    ]
    for text, ids in zip(texts, ours(texts).to_list()):
        got = theirs.encode(text, add_special_tokens=False).ids
        assert got == ids, text
    pair = theirs.encode("the cat", "sat")
    expected = ours.encode("the cat", "sat")
    assert pair.ids == expected["input_ids"].numpy().tolist()
    assert pair.type_ids == expected["segment_ids"].numpy().tolist()
    assert theirs.encode("[MASK]", add_special_tokens=False).ids == [
        vocab.mask_id
    ]


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
def test_the_library_gives_the_recorded_tokens(
    tmp_path, lower_case, strip_accents
):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    vocab = Vocab(tuple(golden["vocab"]))
    huggingface_tokenizer.write(
        str(tmp_path), vocab, lower_case, strip_accents, 512
    )
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer(vocab, lower_case, strip_accents)
    final_sigmas = "ΑΣ ΑΣ. ΑΣ'Α Σ ΑΣΒ\u0301 Σ\u0301Α ΑΣ\u0301Α"  # noqa: RUF001
    texts = [final_sigmas, *(case["text"] for case in golden["cases"])]
    for text, ids in zip(texts, ours(texts).to_list()):
        # In a text, a special token is a token in the library, but text here.
        if not any(special in text for special in vocab.tokens[:5]):
            got = theirs.encode(text, add_special_tokens=False)
            assert got.ids == ids, text


def test_the_vocabulary_of_tokenizer_json(write, vocab):
    path = write()
    os.remove(path / "vocab.txt")
    assert huggingface_tokenizer.read(str(path)).vocab == vocab
    file = path / "tokenizer.json"
    content = json.loads(file.read_text())
    extra = {"content": "[NEW]", "id": len(vocab)}
    content["added_tokens"].append(extra)
    file.write_text(json.dumps(content))
    read = huggingface_tokenizer.read(str(path)).vocab
    assert read.tokens == (*vocab.tokens, "[NEW]")
    content["model"]["vocab"]["the"] = 10_000
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"tokenizer\.json.*number"):
        huggingface_tokenizer.read(str(path))
    content["model"] = {"type": "Unigram", "vocab": []}
    file.write_text(json.dumps(content))
    read = huggingface_tokenizer.read(str(path))
    assert read.vocab is None and "Unigram" in read.assumed[0]


def test_differences_are_reported(write):
    path = write()
    file = path / "tokenizer_config.json"
    content = json.loads(file.read_text())
    content["tokenize_chinese_chars"] = False
    content["tokenizer_class"] = "BertJapaneseTokenizer"
    file.write_text(json.dumps(content))
    assumed = huggingface_tokenizer.read(str(path)).assumed
    assert len(assumed) == 2
    assert "tokenize_chinese_chars" in assumed[0]
    assert "BertJapaneseTokenizer" in assumed[1]


def test_no_tokenizer_files(tmp_path):
    read = huggingface_tokenizer.read(str(tmp_path))
    assert read.vocab is None and "no vocabulary" in read.assumed[0]
    (tmp_path / "tokenizer.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        huggingface_tokenizer.read(str(tmp_path))
