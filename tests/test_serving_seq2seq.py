"""Tests that exported translators give the texts of the Python ones."""

import json

import numpy as np
import pytest
import span_models
import tensorflow as tf

from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.exporting.graphs import text_signatures
from electra_tf.hub import directory, loading
from electra_tf.tasks.seq2seq import pairs
from electra_tf.text.vocab import load_vocab

TEXTS = [
    "the cat sat on the mat.",
    "",
    "he ran",
    " \u200b ",
    "中国 “it” - don't\x00 (3.14)",
    "his dog " * 40,
    "a",
]


@pytest.fixture(scope="module", params=[1, 3], ids=["greedy", "beam"])
def predictor(request, tmp_path_factory, tiny_vocab_file):
    """A predictor of random weights, whose texts mix all pieces."""
    beams = request.param
    options = {
        "max_seq_length": 20, "max_target_length": 12, "decoder_layers": 2,
        "beam_size": beams, "n_best": beams, "no_repeat_ngram": 2,
    }  # fmt: skip
    state = {
        "specials": pairs.specials(load_vocab(tiny_vocab_file)),
        "spacing": [[".", ",", "-"], ["-", "("]],
    }
    path = tmp_path_factory.mktemp("mt") / "model"
    return span_models.make(
        path, tiny_vocab_file, "translation", options, state
    )


def save(predictor, path):
    directory.save(
        str(path), predictor.directory_config, [predictor.network],
        predictor.tokenizer.vocab,
    )  # fmt: skip


def test_the_same_texts(predictor, tmp_path):
    function = text_signatures.seq2seq_signatures(predictor)["serving_default"]
    export = span_models.exported(predictor, function, tmp_path / "export")
    for texts in (TEXTS, TEXTS[1:2], []):
        found = export(text=texts)
        expected = predictor.predict(texts)
        answers = [answer["text"] for answer in expected]
        assert found["text"].tolist() == [text.encode() for text in answers]
        np.testing.assert_allclose(
            found["score"], [a["score"] for a in expected], atol=1e-4
        )
        several = predictor.task.options.n_best > 1
        assert ("n_best_texts" in found) == several
        for i, answer in enumerate(expected):
            best = answer.get("n_best", [])
            exists = len(best)
            if exists:
                texts_ = found["n_best_texts"][i]
                assert [t.decode() for t in texts_[:exists]] == [
                    hypothesis["text"] for hypothesis in best
                ]
                assert not np.isfinite(found["n_best_scores"][i, exists:]).any()


@pytest.mark.slow
def test_by_command(predictor, tmp_path, capsys):
    """The command exports weights of each storage, and a description."""
    model = tmp_path / "model"
    save(predictor, model)
    expected = predictor.predict(TEXTS)
    for flags in ([], ["--optimize"]):
        output = tmp_path / "models" / "mt"
        words = [f"--model={model}", f"--output={output}", *flags]
        assert app.run(["export", *words]) == 0
    printed = capsys.readouterr().out
    assert "serving_default: text -> " in printed
    assert app.run(["export", *words, "--optimize", "--bfloat16"]) == 2
    assert "translation generates texts" in capsys.readouterr().err
    for version in (1, 2):
        loaded = tf.saved_model.load(str(output / str(version)))
        found = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
        assert [text.decode() for text in found["text"].numpy()] == [
            answer["text"] for answer in expected
        ]
    extra = output / "1" / "assets.extra" / "electra_tf.json"
    about = json.loads(extra.read_text())
    assert (about["task"], about["task_name"]) == ("seq2seq", "translation")
    assert not about["pair"] and about["labels"] is None
    assert all(set(row) == {"text"} for row in about["examples"])


def test_other_formats_have_no_decoder(predictor, tmp_path):
    path = tmp_path / "model"
    save(predictor, path)
    checkpoint = loading.open_checkpoint(str(path))
    for name in ("huggingface", "tf1"):
        module = loading.format_module(name)
        with pytest.raises(UserError, match="decoder"):
            module.write(str(tmp_path / name), checkpoint, "discriminator")
