"""Tests word starts: from a segmenter, through the records, to masking."""

import hashlib
import itertools
import json
import pathlib
import random

import numpy as np
import pytest
import tensorflow as tf
from data_builds import settings_of
from hypothesis import given
from hypothesis import strategies as st

from electra_tf.cli import app
from electra_tf.data import builder, examples, manifest, reader, tfrecords
from electra_tf.errors import UserError
from electra_tf.keras_api.data import PretrainingData
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.pretraining import masking
from electra_tf.text import corpus, segment
from electra_tf.text.vocab import SPECIALS

WORDS = (
    "北京 清华大学 我们 喜欢 电影 计算机 科学 今天 天气 学习 研究生 "
    "数据 模型 的 是 在 很 好 iphone café 2024"
).split()
LENGTH = 32


@pytest.fixture(scope="module")
def corpus_files(tmp_path_factory):
    """Chinese text and a vocabulary of its characters."""
    folder = tmp_path_factory.mktemp("zh")
    rng = random.Random(3)
    lines = [
        "".join(rng.choices(WORDS, k=rng.randint(3, 30))) + "。"
        if rng.random() < 0.8
        else ""
        for _ in range(400)
    ]
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = [
        *SPECIALS,
        *sorted(set("".join([*WORDS, "。"])) - set(letters) - {"é"}),
        *letters,
        *(f"##{c}" for c in letters),
        "##phone",
    ]
    (folder / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    return folder, tokens


def _build(corpus_files, output, **options):
    folder, _ = corpus_files
    settings = {
        "max_seq_length": LENGTH,
        "num_workers": 1,
        "validation_fraction": 0.1,
        "vocab": str(folder / "vocab.txt"),
        **options,
    }
    return builder.build_data(
        settings_of(
            input=str(folder / "text.txt"), output=str(output), **settings
        )
    )


def _hashes(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(pathlib.Path(folder).iterdir())
    }


def _examples(folder):
    """Yields (ids, word_starts or None) of each training example."""
    for path in sorted(pathlib.Path(folder).glob("train-*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            starts = None
            if "word_starts" in features:
                starts = list(features["word_starts"].int64_list.value)
            yield list(features["input_ids"].int64_list.value), starts


@pytest.mark.parametrize("legacy", [False, True])
def test_words_arrive_in_the_records(
    corpus_files, tmp_path, monkeypatch, legacy
):
    """Records hold the words of a segmenter that cuts before 的 and 。"""

    class Cut(segment.Segmenter):
        def __init__(self, name):
            assert name == "jieba"

        def words(self, line):
            return line.replace("的".encode(), "|的".encode()).replace(
                "。".encode(), "|。".encode()
            ).split(b"|")  # fmt: skip

    def check(name):
        return "0"

    monkeypatch.setattr(segment, "Segmenter", Cut)
    monkeypatch.setattr(segment, "check", check)
    share = 0.0 if legacy else 0.1
    options = {"legacy": legacy, "validation_fraction": share}
    _build(corpus_files, tmp_path / "no", **options)
    _build(corpus_files, tmp_path / "yes", word_segmenter="jieba", **options)
    plain = list(_examples(tmp_path / "no"))
    marked = list(_examples(tmp_path / "yes"))
    # The examples are the same; a segmenter only adds word starts.
    assert [ids for ids, _ in plain] == [ids for ids, _ in marked]
    assert not any(starts for _, starts in plain)
    _, tokens = corpus_files
    ends = {tokens.index("的"), tokens.index("。")}
    specials = {tokens.index("[CLS]"), tokens.index("[SEP]")}
    seen = 0
    for ids, starts in marked:
        assert len(starts) == len(ids)
        for i, (token, start) in enumerate(zip(ids, starts)):
            if token in specials:
                assert start == 0
            elif token in ends:
                assert start == 1
            elif ids[i - 1] not in {*specials, tokens.index("。")}:
                assert start == 0
            seen += start
    assert seen > 100


@pytest.mark.slow
def test_jieba_in_any_number_of_processes(corpus_files, tmp_path, monkeypatch):
    pytest.importorskip("jieba")
    monkeypatch.setattr(corpus, "PART_BYTES", 2048)
    for workers in (1, 3):
        _build(
            corpus_files,
            tmp_path / str(workers),
            word_segmenter="jieba",
            num_workers=workers,
            num_shards=3,
        )
    assert _hashes(tmp_path / "1") == _hashes(tmp_path / "3")
    _, tokens = corpus_files
    words = set()
    for ids, starts in _examples(tmp_path / "1"):
        first = [i for i, start in enumerate(starts) if start]
        words |= {
            "".join(tokens[i] for i in ids[a:b])
            for a, b in itertools.pairwise(first)
        }
    assert {"清华大学", "计算机", "天气", "i##phone", "c##a##f##e"} <= words


def test_manifest_names_the_segmenter(corpus_files, tmp_path):
    pytest.importorskip("jieba")
    _build(corpus_files, tmp_path / "no")
    made = _build(corpus_files, tmp_path / "yes", word_segmenter="jieba")
    assert made.settings["word_segmenter"] == "jieba"
    assert made.settings["word_segmenter_version"]
    assert manifest.load_manifest(str(tmp_path / "yes")) == made
    plain = json.loads((tmp_path / "no/manifest.json").read_text())
    assert "segmenter" not in str(plain)


def _read(folder, **options):
    data = reader.pretraining_dataset(
        str(folder), batch_size=8, max_seq_length=LENGTH + 4, **options
    )
    return data.element_spec, next(data.as_numpy_iterator())


def test_batches_have_word_starts_and_masking_uses_them(corpus_files, tmp_path):
    pytest.importorskip("jieba")
    _build(corpus_files, tmp_path / "no")
    _build(corpus_files, tmp_path / "yes", word_segmenter="jieba")
    spec, _ = _read(tmp_path / "no")
    assert "word_starts" not in spec
    spec, batch = _read(tmp_path / "yes")
    assert spec["word_starts"] == tf.TensorSpec([8, LENGTH + 4], tf.int32)
    starts = batch["word_starts"]
    assert set(np.unique(starts)) == {0, 1}
    assert not starts[batch["input_mask"] == 0].any()
    _, validation = _read(tmp_path / "yes", split="validation", repeat=False)
    assert validation["word_starts"].any()

    data = PretrainingData.open(str(tmp_path / "yes"))
    assert data.word_starts
    assert not PretrainingData.open(str(tmp_path / "no")).word_starts
    for unit in ("whole_word", "span"):
        masked = masking.mask(
            {name: tf.constant(value) for name, value in batch.items()},
            masking.MaskingConfig(unit=unit, mask_token_rate=1.0),
            data.special,
            tf.cast(tf.range(8), tf.uint32),
        )
        hidden = masked.masked_input_ids.numpy() == data.special.mask_id
        assert hidden.sum() > 20
        inside = (starts == 0) & (batch["input_mask"] == 1)
        inside &= ~np.isin(batch["input_ids"], [2, 3])
        before = np.isin(batch["input_ids"], [2, 3])[:, :-1]
        joined = inside[:, 1:] & ~before
        # A token within a word is masked if and only if the one before it is.
        assert (hidden[:, 1:] == hidden[:, :-1])[joined].all()


def test_whole_words_are_refused_where_there_are_none(corpus_files, tmp_path):
    _, tokens = corpus_files
    plain = [t for t in tokens if not t.startswith("##")]
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join(plain), encoding="utf-8")
    _build(corpus_files, tmp_path / "data", vocab=str(vocab))
    data = PretrainingData.open(str(tmp_path / "data"))
    settings = PretrainSettings(
        masking=masking.MaskingConfig(unit="whole_word")
    )
    with pytest.raises(UserError, match=r"no pieces .* masking\.unit=token"):
        data.fit(settings)
    settings = PretrainSettings(masking=masking.MaskingConfig(unit="span"))
    data.fit(settings)


_rows = st.lists(
    st.lists(
        st.tuples(st.integers(0, tfrecords.MAX_ID), st.booleans()),
        min_size=1,
        max_size=300,
    ),
    max_size=4,
)


def _flat(rows):
    ids = np.array([i for row in rows for i, _ in row], np.int32)
    starts = np.cumsum([0] + [len(row) for row in rows]).astype(np.int64)
    firsts = np.array([len(row) for row in rows], np.int64)
    flags = np.array([flag for row in rows for _, flag in row], bool)
    made = examples.Examples(ids, starts, firsts, np.array([len(rows)]))
    return made, flags


@given(_rows)
def test_records_with_word_starts_are_tf_train_examples(rows):
    made, flags = _flat(rows)
    marked = examples.mark_word_starts(
        examples.Lines(made.ids, made.starts, np.array([0])), flags
    )
    back = examples.read_word_starts(
        examples.Examples(
            marked.ids, made.starts, made.first_lengths, made.per_document
        )
    )
    np.testing.assert_array_equal(back.ids, made.ids)
    np.testing.assert_array_equal(back.word_starts, flags)
    assert back.ids.dtype == np.int32
    records = tfrecords.serialize(back)
    assert len(records) == len(rows)
    for record, row in zip(records, rows):
        features = tf.train.Example.FromString(record).features.feature
        assert set(features) == tfrecords.OURS | {"word_starts"}
        values = {
            name: list(feature.int64_list.value)
            for name, feature in features.items()
        }
        assert values["input_ids"] == [i for i, _ in row]
        assert values["word_starts"] == [int(flag) for _, flag in row]
        assert values["first_segment_length"] == [len(row)]


def test_records_without_word_starts_among_others_have_single_words():
    rows = [[(1, False), (9, True), (8, False)], [(1, False), (9, True)]]
    made, flags = _flat(rows)
    plain = tfrecords.serialize(made)
    made = examples.Examples(
        made.ids, made.starts, made.first_lengths, made.per_document, flags
    )
    records = tfrecords.serialize(made)
    parse = tfrecords.parser(records[0], 4, "data")
    batch = parse(tf.constant([*records, plain[0]]))
    assert batch["word_starts"].numpy().tolist() == [
        [0, 1, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0],
    ]  # fmt: skip
    assert "word_starts" not in tfrecords.parser(plain[0], 4, "data")(
        tf.constant(plain)
    )


def test_unknown_segmenter_exits_with_2(corpus_files, tmp_path, capsys):
    folder, _ = corpus_files
    status = app.run(
        [
            "build-data",
            f"--input={folder / 'text.txt'}",
            f"--vocab={folder / 'vocab.txt'}",
            f"--output={tmp_path / 'out'}",
            "--word_segmenter=spacy",
        ]
    )
    error = capsys.readouterr().err
    assert status == 2 and error.count("\n") == 1
    assert "--word_segmenter=spacy" in error and "jieba" in error
    assert not (tmp_path / "out").exists()
