import dataclasses
import json

import pytest

from electra_tf.data import manifest
from electra_tf.errors import UserError
from electra_tf.keras_api.data import PretrainingData
from electra_tf.text.vocab import SPECIALS, Vocab

VOCAB = Vocab((*SPECIALS, "a"))


def _manifest(**changes):
    split = manifest.Split(
        documents=2,
        lines=5,
        source_tokens=40,
        tokens=50,
        examples=4,
        shards=(
            manifest.Shard("train-00000-of-00002.tfrecord", 2, 100),
            manifest.Shard("train-00001-of-00002.tfrecord", 2, 101),
        ),
    )
    made = manifest.Manifest(
        max_seq_length=16,
        vocab_fingerprint=VOCAB.fingerprint(),
        vocab_size=6,
        lower_case=True,
        strip_accents=None,
        seed=3,
        splits={"train": split},
        input={"files": 1},
        repairs={"long_lines_cut": 1},
        settings={"input": "\u4e2d*.txt", "num_shards": None},
    )
    return dataclasses.replace(made, **changes)


def test_saved_manifest_loads_as_it_was(tmp_path):
    _manifest().save(str(tmp_path))
    assert manifest.load_manifest(str(tmp_path)) == _manifest()
    assert manifest.is_finished(str(tmp_path))


def test_missing_and_unfinished_have_different_errors(tmp_path):
    with pytest.raises(UserError, match=r"no manifest\.json"):
        manifest.load_manifest(str(tmp_path))
    (tmp_path / manifest.BUILDING).mkdir()
    with pytest.raises(UserError, match="did not finish"):
        manifest.load_manifest(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "null",
        json.dumps({"format": "x", "version": 1}),
        json.dumps({"format": "electra_tf pre-training examples"}),
        json.dumps(
            {"format": "electra_tf pre-training examples", "version": 99}
        ),
        json.dumps(
            {"format": "electra_tf pre-training examples", "version": 1}
        ),
    ],
)
def test_files_with_other_content_are_refused(tmp_path, content):
    (tmp_path / manifest.FILE).write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json"):
        manifest.load_manifest(str(tmp_path))


def test_another_vocabulary_is_refused_showing_both():
    manifest.check_vocab(_manifest(), VOCAB)
    other = Vocab((*SPECIALS, "b"))
    with pytest.raises(UserError) as caught:
        manifest.check_vocab(_manifest(), other)
    assert VOCAB.fingerprint() in str(caught.value)
    assert other.fingerprint() in str(caught.value)


@pytest.mark.parametrize(
    ("built", "given", "flag"),
    [
        ({}, {"lower_case": False}, "--nolower_case"),
        ({}, {"strip_accents": False}, "--nostrip_accents"),
        ({"lower_case": False}, {"strip_accents": True}, "--strip_accents"),
        ({"strip_accents": False}, {"strip_accents": True}, "--strip_accents"),
        ({}, {"strip_accents": True}, None),
        ({"lower_case": False}, {"lower_case": False}, None),
        ({"lower_case": False}, {}, None),  # not given: the data decides
    ],
)
def test_flags_that_the_data_contradicts_are_refused(
    tmp_path, built, given, flag
):
    _manifest(**built).save(str(tmp_path))
    VOCAB.save(str(tmp_path / manifest.VOCAB_FILE))
    if flag is None:
        about = PretrainingData.open(str(tmp_path), **given)
        assert about.lower_case == built.get("lower_case", True)
        return
    with pytest.raises(UserError, match=f"^{flag}: .* built without it"):
        PretrainingData.open(str(tmp_path), **given)
