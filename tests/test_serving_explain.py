"""Tests that the signature `explain` equals `electra_tf.explain`."""

import numpy as np
import pytest
import serving_models
import tensorflow as tf
from serving_models import BAD_BYTES, ODD_TEXTS

import electra_tf
from electra_tf.errors import UserError
from electra_tf.exporting import servable
from electra_tf.exporting import writer as export

TEXTS = [ODD_TEXTS[0], "", "中国人 the 😀 cat", "the dog ran " * 20]
OTHERS = ["the dog", "ran", "", "on the mat " * 20]


@pytest.fixture(scope="module")
def opened(tmp_path_factory, tiny_vocab_file):
    """A function that returns the servable of a kind of model."""
    folder = tmp_path_factory.mktemp("explained")

    def open_model(name):
        path = serving_models.fine_tuned(folder / name, tiny_vocab_file, name)
        return servable.of_predictor(electra_tf.load(path))

    return open_model


def check(found, expected):
    """Asserts that a row of the output equals an `Explanation`."""
    count = int(found["num_tokens"])
    tokens = [token.decode() for token in found["tokens"].tolist()]
    assert tokens == [*expected.tokens, *[""] * (len(tokens) - count)]
    np.testing.assert_allclose(
        found["scores"][:count], expected.scores, atol=1e-5
    )
    assert not found["scores"][count:].any()
    special = np.isin(tokens[:count], ["[CLS]", "[SEP]"])
    spans = np.stack([found["start_chars"], found["end_chars"]], 1)
    np.testing.assert_array_equal(
        spans[:count],
        np.where(special[:, None], -1, np.array(expected.spans)),
    )
    assert (spans[count:] == -1).all()
    for name in ("output", "baseline", "error", "probability"):
        if getattr(expected, name) is not None:
            np.testing.assert_allclose(
                found[name], getattr(expected, name), atol=2e-5
            )
    if expected.label is not None:
        assert found["label"].decode() == expected.label


def rows_of(answer):
    names = list(answer)
    arrays = [answer[name].numpy() for name in names]
    return [dict(zip(names, row)) for row in zip(*arrays)]


@pytest.mark.parametrize(
    "name",
    [
        "regression",
        pytest.param("multilabel", marks=pytest.mark.slow),
        pytest.param("pair", marks=pytest.mark.slow),
    ],
)
def test_numbers_are_those_of_explain(opened, name):
    model = opened(name)
    explain = model.signatures(["serving_default"], explain=True)["explain"]
    inputs = {"text": TEXTS}
    pairs = OTHERS if name == "pair" else None
    if pairs:
        inputs["text_pair"] = pairs
    if model.labels:
        inputs["label"] = ["", "green", "blue", ""]
    answer = explain(**{k: tf.constant(v) for k, v in inputs.items()})
    targets = [text or None for text in inputs.get("label", [""] * 4)]
    for i, row in enumerate(rows_of(answer)):
        expected = electra_tf.explain(
            model.predictor, TEXTS[i], pairs and pairs[i], target=targets[i]
        )
        check(row, expected)
    assert np.ptp(answer["scores"].numpy()) > 0.1
    none = {k: tf.constant([], tf.string) for k in inputs}
    assert all(len(v) == 0 for v in explain(**none).values())
    if name == "regression":  # with offset and scale
        score = model.predictor.predict(TEXTS[:1])[0]["score"]
        np.testing.assert_allclose(answer["output"][0], score, atol=1e-5)


@pytest.mark.slow
def test_exported_with_frozen_weights_it_answers_to_any_bytes(opened, tmp_path):
    model = opened("classification")
    written = export.export(
        model, str(tmp_path / "m"), names=["serving_default"],
        storage="constants", explain=True,
    )  # fmt: skip
    assert list(written.description["signatures"]) == [
        "serving_default", "explain",
    ]  # fmt: skip
    loaded = tf.saved_model.load(written.path).signatures
    texts = tf.constant([TEXTS[0], *BAD_BYTES])
    label = tf.fill([len(texts)], "")
    found = loaded["explain"](text=texts, label=label)
    default = loaded["serving_default"](text=texts)["label"]
    np.testing.assert_array_equal(found["label"].numpy(), default.numpy())
    check(rows_of(found)[0], electra_tf.explain(model.predictor, TEXTS[0]))
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match="label: expected one of red, green, blue, or nothing",
    ):
        loaded["explain"](text=texts[:1], label=tf.constant(["pink"]))


def test_models_that_cannot_be_explained_are_reported(opened):
    with pytest.raises(
        UserError,
        match="--explain: a ranking model cannot be explained; expected "
        "classification, multilabel, regression",
    ):
        opened("ranking").signatures(explain=True)
