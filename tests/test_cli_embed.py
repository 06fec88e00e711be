"""Tests `embed` as a user runs it: vectors of a file's texts, in files."""

import json
import pathlib

import fine_tuned_models
import numpy as np
import pytest
import serving_models
import tensorflow as tf

import electra_tf
from electra_tf.cli import app
from electra_tf.exporting import servable
from electra_tf.models import task_networks
from electra_tf.models.config import ModelConfig, TaskHeadConfig
from electra_tf.prediction import predictor, resumable
from electra_tf.text.vocab import load_vocab

TEXTS = ["the cat sat", "a house", "not that one " * 40, "the dog"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = [{"id": i, "text": text} for i, text in enumerate(TEXTS)]
    lines = [json.dumps(row) for row in rows]
    lines.insert(2, '{"id": 9}')
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture(scope="module")
def expected(tiny_model):
    """float32 [texts, hidden] of both poolings, computed text by text."""
    encoder = electra_tf.Encoder.from_pretrained(tiny_model)
    found = {"mean": [], "first": []}
    for text in TEXTS:
        batch = encoder.tokenizer.encode([text], max_length=48)
        states = encoder(**batch).sequence_output.numpy()[0]
        states = states[batch["input_mask"].numpy()[0] == 1]
        found["mean"].append(states.mean(0))
        found["first"].append(states[0])
    return {name: np.stack(rows) for name, rows in found.items()}


def embed(model, source, output, *more):
    return app.run([
        "embed", f"--model={model}", f"--input={source}",
        f"--output={output}", *more,
    ])  # fmt: skip


def test_npy(tiny_model, source, expected, tmp_path, capfd):
    for pooling in ("mean", "first"):
        path = tmp_path / f"{pooling}.npy"
        assert embed(tiny_model, source, path, f"--pooling={pooling}") == 3
        found = np.load(path)
        assert found.dtype == np.float32 and found.shape == (5, 16)
        assert np.isnan(found[2]).all()
        np.testing.assert_allclose(
            np.delete(found, 2, 0), expected[pooling], atol=1e-5
        )
    out = capfd.readouterr().out
    assert "1 of them without a prediction" in out and "no column 'text'" in out
    assert not list(tmp_path.glob("*.partial"))


def test_other_files_hold_the_same(tiny_model, source, tmp_path):
    arrow = pytest.importorskip("pyarrow.parquet")
    for ending in ("npy", "jsonl", "parquet"):
        more = ["--normalize", "--batch_size=1"]
        assert embed(tiny_model, source, tmp_path / f"v.{ending}", *more) == 3
    vectors = np.load(tmp_path / "v.npy")
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(np.delete(lengths, 2), 1, atol=1e-6)
    lines = (tmp_path / "v.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    table = arrow.read_table(tmp_path / "v.parquet").to_pylist()
    assert [row["id"] for row in rows] == [0, 1, 9, 2, 3]
    assert [row["id"] for row in table] == ["0", "1", "9", "2", "3"]
    for i in (0, 1, 3, 4):
        one = np.array(rows[i]["embedding"], "float32")
        other = np.array(table[i]["embedding"], "float32")
        assert (one == vectors[i]).all() and (other == vectors[i]).all()
        assert table[i]["text"] == rows[i]["text"]
        assert "error" not in rows[i] and table[i]["error"] is None
    assert "embedding" not in rows[2] and table[2]["embedding"] is None
    assert "no column 'text'" in rows[2]["error"] == table[2]["error"]


def test_a_file_that_has_vectors_gets_new_ones(tiny_model, source, tmp_path):
    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    rows = [json.loads(x) for x in pathlib.Path(source).read_text().split("\n")]
    old = [json.dumps(row | {"embedding": [1.0, 2.0]}) for row in rows]
    first.write_text("\n".join(old))
    assert embed(tiny_model, str(first), again) == 3
    found = [json.loads(line) for line in again.read_text().splitlines()]
    assert [len(row.get("embedding", [])) for row in found] == [
        16, 16, 0, 16, 16,
    ]  # fmt: skip
    assert "no column 'text'" in found[2]["error"]


def test_columns_of_the_input_with_our_names(tiny_model, tmp_path):
    source, output = tmp_path / "rows.jsonl", tmp_path / "v.jsonl"
    rows = [{"text": "a cat", "error": "a typo", "embedding": 1}, {"error": 2}]
    source.write_text("\n".join(map(json.dumps, rows)))
    assert embed(tiny_model, source, output) == 3
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert found[0].get("error") is None and len(found[0]["embedding"]) == 16
    assert "no column 'text'" in found[1]["error"]


def test_vectors_do_not_depend_on_batches(tiny_model, tmp_path):
    source = tmp_path / "rows.tsv"
    rows = [f"the cat {'sat on a mat ' * (i % 7)}" for i in range(23)]
    source.write_text("\n".join(["words", *rows]))
    found = []
    for size in (1, 64):
        path = tmp_path / f"{size}.npy"
        more = ["--column=words", f"--batch_size={size}"]
        assert embed(tiny_model, source, path, *more) == 0
        found.append(np.load(path))
    for other in found[1:]:
        assert (found[0] == other).all()


def test_interrupted_it_resumes(tiny_model, source, tmp_path, monkeypatch):
    from electra_tf.prediction import vectors

    monkeypatch.setattr(vectors, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(resumable, "PART_ROWS", 2)
    assert embed(tiny_model, source, tmp_path / "whole.npy") == 3
    answer, calls = vectors.Vectors.answer, []

    def dies(self, rows, number):
        calls.append(number)
        if number > 2:
            raise KeyboardInterrupt
        return answer(self, rows, number)

    monkeypatch.setattr(vectors.Vectors, "answer", dies)
    assert embed(tiny_model, source, tmp_path / "v.npy") == 130
    monkeypatch.setattr(vectors.Vectors, "answer", answer)
    assert embed(tiny_model, source, tmp_path / "v.npy") == 3
    assert calls == [1, 3]
    assert (tmp_path / "v.npy").read_bytes() == (
        tmp_path / "whole.npy"
    ).read_bytes()


def test_a_fine_tuned_model_reads_as_much_as_its_export(
    tiny_vocab_file, tmp_path
):
    vocab = load_vocab(tiny_vocab_file)
    shape = serving_models.SHAPE | {"max_positions": 32}
    network = task_networks.task_network(
        ModelConfig(vocab_size=len(vocab), **shape),
        TaskHeadConfig("sequence", 2, ("0", "1")),
    )
    network.build()
    about = fine_tuned_models.about(
        "classification", {"max_seq_length": 16}, {"labels": ["0", "1"]}
    )
    model = fine_tuned_models.save(tmp_path / "m", network, vocab, about)
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({"text": TEXTS[2]}))
    output = tmp_path / "v.npy"
    signatures = servable.of_predictor(predictor.load(model)).signatures()
    for pooling, name in (("mean", "embed"), ("first", "embed_first")):
        flags = [f"--pooling={pooling}", "--overwrite"]
        assert embed(model, source, output, *flags) == 0
        served = signatures[name](text=tf.constant([TEXTS[2]]))["embedding"]
        np.testing.assert_allclose(np.load(output), served, atol=1e-5)
    whole = [*flags, "--max_seq_length=32"]
    assert embed(model, source, output, *whole) == 0
    assert not np.allclose(np.load(output), served, atol=1e-3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--output=v.bin"], "expected a name that ends in .npy"),
        (["--max_seq_length=49"], "expected 3 to 48"),
        (["--keep=id,no"], "has no column 'no'"),
        (["--input=none.jsonl"], "none.jsonl: no such file"),
    ],
)
def test_mistakes(tiny_model, source, tmp_path, capfd, more, message):
    assert embed(tiny_model, source, tmp_path / "v.npy", *more) == 2
    assert message in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
