"""Tests tokenizer files with unusual, contradictory or malformed content.

What is expected was seen in transformers 4.57 and 5.23, which agree.
"""

import copy
import json

import hub_models
import pytest
from test_hub_huggingface_rows import VOCAB, model_of
from test_hub_huggingface_rows_tokenizer import (
    BERT,
    WORDS,
    added,
    as_version_5,
)

from electra_tf.errors import UserError
from electra_tf.hub import huggingface, loading
from electra_tf.hub import huggingface_tokenizer as files_of
from electra_tf.text.vocab import SPECIALS, AddedToken, Vocab

TOKENS = (*SPECIALS, *WORDS)
AS_WRITTEN = {"tokenizer_class": "PreTrainedTokenizerFast"}


def sequence(*steps):
    steps = [s if isinstance(s, dict) else {"type": s} for s in steps]
    return {"type": "Sequence", "normalizers": steps}


CASED = BERT | {"lowercase": False}


@pytest.mark.parametrize(
    ("normalizer", "lower_case", "strips", "messages"),
    [
        (BERT, True, True, ()),
        (sequence(BERT), True, True, ()),
        (sequence(sequence(CASED)), False, False, ()),
        (CASED | {"strip_accents": True}, False, True, ()),
        (BERT | {"strip_accents": False}, True, False, ()),
        (sequence(CASED, "Lowercase"), True, False, ("steps",)),
        ({"type": "Lowercase"}, True, False, ("Chinese", "steps")),
        (sequence("Lowercase"), True, False, ("Chinese", "steps")),
        (sequence("NFD", "StripAccents"), False, True, ("Chinese", "steps")),
        (sequence(), False, False, ("Chinese", "control")),
        (sequence("Replace", BERT), True, True, ("Replace, Bert",)),
        (sequence(BERT | {"clean_text": False}), True, True, ("control",)),
        (
            sequence(BERT | {"handle_chinese_chars": False}),
            True, True, ("Chinese",),
        ),
    ],
)  # fmt: skip
def test_steps_of_a_normaliser(
    tmp_path, normalizer, lower_case, strips, messages
):
    path = as_version_5(tmp_path, TOKENS, normalizer=normalizer, **AS_WRITTEN)
    found = files_of.read(path)
    stripped = found.strip_accents
    assert found.lower_case is lower_case
    assert (lower_case if stripped is None else stripped) is strips
    assert len(found.assumed) == len(messages)
    for words, sentence in zip(messages, found.assumed):
        assert words in sentence


def test_a_splitter_inside_a_sequence(tmp_path):
    path = as_version_5(tmp_path, TOKENS)
    inside = [{"type": "BertPreTokenizer"}]
    for more, message in ([], ""), ([{"type": "Digits"}], "Digits"):
        parts = {"type": "Sequence", "pretokenizers": inside + more}
        hub_models.edit(tmp_path / "tokenizer.json", pre_tokenizer=parts)
        found = files_of.read(path).assumed
        assert bool(found) == bool(message) and message in " ".join(found)


@pytest.mark.parametrize(
    "kind", ["ElectraTokenizer", "BertTokenizerFast", None]
)
def test_settings_that_are_missing_have_the_class_s_defaults(tmp_path, kind):
    unlike = BERT | {"lowercase": False, "handle_chinese_chars": False}
    path = as_version_5(tmp_path, TOKENS, normalizer=unlike)
    kept = {"tokenizer_class": kind} if kind else {}
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(json.dumps(kept))
    found = files_of.read(path)
    assert found.lower_case and found.strip_accents is None
    (note,) = found.assumed
    assert "has no do_lower_case" in note
    settings.write_text(json.dumps(kept | {"do_lower_case": True}))
    unlike = BERT | {"strip_accents": False}
    hub_models.edit(tmp_path / "tokenizer.json", normalizer=unlike)
    found = files_of.read(path)
    assert found.strip_accents is None and not found.assumed


def test_sentence_transformers_may_lower_case_first(tmp_path):
    path = as_version_5(tmp_path, TOKENS, do_lower_case=False)
    beside = tmp_path / "sentence_bert_config.json"
    for first in False, True:
        beside.write_text(json.dumps({"do_lower_case": first}))
        found = files_of.read(path)
        assert found.lower_case is first
        assert found.strip_accents is (False if first else None)
        assert bool(found.assumed) == first


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer_config.json", ["[E1]", "covid"]),
        ("tokenizer_config.json", [{"content": "[E1]"}, "covid"]),
        ("special_tokens_map.json", ["[E1]", "covid"]),
    ],
)
def test_further_special_tokens_without_ids(tmp_path, file, content):
    path = as_version_5(tmp_path, TOKENS)
    place = tmp_path / file
    settings = json.loads(place.read_text()) if place.exists() else {}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        place.write_text(json.dumps({**settings, key: content}))
        found = files_of.read(path)
        assert found.vocab.tokens == (*TOKENS, "[E1]")
        assert set(found.vocab.added) == {
            AddedToken("[E1]"), AddedToken("covid"),
        }  # fmt: skip
    # The table has no row for it.
    found = files_of.read(path, rows=len(TOKENS))
    assert found.vocab.added == (AddedToken("covid"),)
    assert "'[E1]' is split" in found.assumed[0]


@pytest.mark.parametrize("other", [("a", ""), ("", ""), ("b", "a")])
def test_lines_that_no_text_gives(tmp_path, other):
    tokens = (*SPECIALS, "a", "b", *other, *map(str, range(200)))
    (tmp_path / "vocab.txt").write_text("".join(f"{t}\n" for t in tokens))
    found = files_of.read(str(tmp_path))
    assert "empty lines" in found.assumed[0]
    for i, token in enumerate(tokens):
        if token and i == max(n for n, t in enumerate(tokens) if t == token):
            assert found.vocab.ids[token] == i
    # A file with many of them is damaged.
    with open(tmp_path / "vocab.txt", "a") as handle:
        handle.write("a\na\na\n")
    with pytest.raises(UserError, match="duplicate"):
        files_of.read(str(tmp_path))


def test_ends_of_a_text_under_other_roles(tmp_path):
    named = {"[CLS]": "<s>", "[SEP]": "</s>"}
    path = as_version_5(tmp_path, [named.get(t, t) for t in TOKENS])
    with pytest.raises(UserError, match=r"tokenizer_config\.json has to give"):
        files_of.read(path)
    hub_models.edit(
        tmp_path / "tokenizer_config.json", bos_token="<s>", eos_token="</s>"
    )
    assert files_of.read(path).vocab.tokens == TOKENS


def test_half_a_character_is_no_token():
    with pytest.raises(UserError, match="not text"):
        Vocab((*SPECIALS, "\ud83d"))


# --- folders and files that are not the model ------------------------------


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("checkpoint-500", "the weights are in checkpoint-500"),
        ("snapshots", "folders of snapshots"),
        ("onnx", "ONNX"),
    ],
)
@pytest.mark.parametrize("with_config", [True, False])
def test_weights_that_are_elsewhere(tmp_path, folder, message, with_config):
    hub_models.saved(tmp_path)
    weights = tmp_path / "model.safetensors"
    (tmp_path / folder).mkdir()
    weights.rename(tmp_path / folder / "model.safetensors")
    if not with_config:
        (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=message):
        loading.open_checkpoint(str(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_in_place_of_its_directory(tmp_path, name):
    hub_models.saved(tmp_path)
    with pytest.raises(UserError, match="name its directory"):
        loading.open_checkpoint(str(tmp_path / name))


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "vocab.txt", "tokenizer.json"],
)
def test_pointers_of_git_lfs(tmp_path, name):
    hub_models.saved(tmp_path)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(UserError, match=f"{name}: a pointer of Git LFS"):
        loading.open_checkpoint(str(tmp_path))


# --- malformed -------------------------------------------------------------


def _places(content, path=()):
    """Yields the paths of all values but most of a vocabulary's."""
    yield path
    if path[-1:] == ("vocab",):
        content = {"[PAD]": 0}
    inner = content.items() if isinstance(content, dict) else ()
    if isinstance(content, list):
        inner = enumerate(content[:1])
    for key, value in inner:
        yield from _places(value, (*path, key))


def _with(content, path, value):
    if not path:
        return value
    content = copy.deepcopy(content)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_values_of_other_types_are_read_or_refused(tmp_path, file):
    huggingface.write(str(tmp_path), model_of(None))
    as_version_5(tmp_path, VOCAB.tokens)
    (tmp_path / "vocab.txt").unlink()
    place = tmp_path / file
    content = json.loads(place.read_text())
    refused = 0
    for path in _places(content):
        for value in (True, [[]], {"x": {}}):
            place.write_text(json.dumps(_with(content, path, value)))
            try:
                huggingface.read(str(tmp_path))
            except UserError:
                refused += 1
    assert refused


def lines(tokens):
    return "".join(f"{token}\n" for token in tokens)


@pytest.mark.parametrize(
    "tokens",
    [(*SPECIALS, *reversed(WORDS)), TOKENS[:-2], (*TOKENS[:-1], "other")],
)
def test_a_vocabulary_beside_tokenizer_json_is_not_the_model_s(
    tmp_path, tokens
):
    """Both versions of transformers take tokenizer.json's."""
    path = as_version_5(tmp_path, TOKENS)
    (tmp_path / "vocab.txt").write_text(lines(TOKENS), "utf-8")
    assert files_of.read(path).assumed == ()
    (tmp_path / "vocab.txt").write_text(lines(tokens), "utf-8")
    found = files_of.read(path)
    assert found.vocab.tokens == TOKENS
    (note,) = found.assumed
    assert "vocab.txt beside it has others" in note
    # Of another kind of model the lines are all that is WordPiece.
    hub_models.edit(tmp_path / "tokenizer.json", model={"type": "BPE"})
    assert files_of.read(path).vocab.tokens == tokens


def test_added_tokens_that_tokenizer_json_lacks(tmp_path):
    """They come last, whatever their ids; seen in both versions."""
    end = len(TOKENS)
    path = as_version_5(tmp_path, TOKENS, [added("[S1]", end)])
    beside = tmp_path / "added_tokens.json"
    beside.write_text(json.dumps({"[E2]": 90, "[E1]": 80, "[S1]": 70}))
    found = files_of.read(path)
    assert found.vocab.tokens == (*TOKENS, "[S1]", "[E1]", "[E2]")
    assert found.vocab.added == (
        AddedToken("[S1]"), AddedToken("[E1]", True), AddedToken("[E2]", True),
    )  # fmt: skip
    # The settings' list takes the place of that file.
    numbered = {
        str(end): added("[S1]", end, normalized=True),
        str(end + 1): added("[E3]", end + 1),
    }
    hub_models.edit(
        tmp_path / "tokenizer_config.json", added_tokens_decoder=numbered
    )
    found = files_of.read(path)
    assert found.vocab.tokens == (*TOKENS, "[S1]", "[E3]")
    assert found.vocab.added == (AddedToken("[S1]"), AddedToken("[E3]"))
    found = files_of.read(path, rows=end + 1)
    assert found.vocab.added == (AddedToken("[S1]"),)
    assert "'[E3]' is split" in found.assumed[0]


@pytest.mark.parametrize("other", ["[SEP]", "[UNK]"])
def test_a_token_in_two_roles_keeps_its_own(tmp_path, other):
    path = as_version_5(tmp_path, TOKENS, pad_token=other)
    found = files_of.read(path)
    assert found.vocab.tokens == TOKENS and found.assumed == ()


def test_the_class_that_the_model_s_config_names(tmp_path):
    unlike = BERT | {"lowercase": False}
    path = as_version_5(tmp_path, TOKENS, normalizer=unlike)
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text('{"do_lower_case": true}')
    config = tmp_path / "config.json"
    config.write_text(json.dumps(AS_WRITTEN))
    assert not files_of.read(path).lower_case  # which runs the file
    config.write_text('{"tokenizer_class": "BertJapaneseTokenizer"}')
    found = files_of.read(path)
    assert found.lower_case
    assert "BertJapaneseTokenizer" in found.assumed[0]
    # The tokenizer's own settings come first.
    settings.write_text(json.dumps(AS_WRITTEN))
    assert not files_of.read(path).lower_case


def test_added_tokens_without_rows_are_split(tmp_path):
    """The library loads such a model, and fails at these tokens alone."""
    end = len(TOKENS)
    more = [added(f"[E{i}]", end + i) for i in range(3)]
    path = as_version_5(tmp_path, TOKENS, more)
    found = files_of.read(path, rows=end + 1)
    assert found.vocab.tokens == (*TOKENS, "[E0]")
    assert found.vocab.added == (AddedToken("[E0]"),)
    (note,) = found.assumed
    assert note.endswith("'[E1]', '[E2]'")
    # Words of the vocabulary are not left out: the files are of two models.
    assert files_of.read(path, rows=end - 1).vocab.tokens == TOKENS
