"""Tests what your own losses and metrics are given, in each task."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import electra_tf
from electra_tf.errors import UserError
from electra_tf.training.strategy import make_strategy

QUESTIONS = ["who sat?", "who ran?", "which cat?"]
CONTEXTS = ["the cat sat on the mat", "a good dog ran", "the very good cat"]
TEXTS = ["the cat sat on the mat", "a dog ran", "the house was not very good"]
SPARSE = keras.losses.sparse_categorical_crossentropy


def still(model, loss=None, metrics=None, **options):
    """Compiles with learning rate 0, so that weights do not change."""
    model.compile(
        keras.optimizers.SGD(0.0), loss, metrics, run_eagerly=True, **options
    )
    return model


class Seen:
    """A loss that stores its arguments."""

    def __init__(self, function):
        self.function = function
        self.__name__ = "seen"
        self.y = self.y_pred = None

    def __call__(self, y, y_pred):
        if tf.executing_eagerly() and not isinstance(y, keras.KerasTensor):
            self.y, self.y_pred = np.asarray(y), np.asarray(y_pred)
        return self.function(y, y_pred)


@pytest.mark.slow
def test_question_answerer(tiny_model):
    """Losses of start and end add up to twice the task's default loss."""
    made = electra_tf.QuestionAnswerer.from_pretrained(tiny_model)
    x, y = (QUESTIONS, CONTEXTS), ["the cat", "dog", "cat"]
    default = still(made).evaluate(x, y, verbose=0)[0]
    start, end = Seen(SPARSE), Seen(SPARSE)
    still(
        made, {"start": start, "end": end},
        {"start": ["accuracy"], "end": ["accuracy"]},
    )  # fmt: skip
    found = made.evaluate(x, y, verbose=0, return_dict=True)
    # The task's default loss is the mean of the two.
    assert found["loss"] == pytest.approx(2 * default, rel=1e-5)
    assert {"start_accuracy", "end_accuracy", "exact_match"} <= set(found)
    assert start.y.shape == (3,) and (end.y >= start.y).all()
    assert start.y_pred.shape == end.y_pred.shape == (3, len(start.y_pred[0]))
    np.testing.assert_allclose(start.y_pred.sum(axis=1), 1.0, atol=1e-5)
    made.compile(
        "adam", {"start": SPARSE, "end": SPARSE}, run_eagerly=True
    )  # fmt: skip
    before = made.network.head.get_weights()
    made.fit(x, y, sample_weight=[1, 1, 0], verbose=0)
    after = made.network.head.get_weights()
    assert any((a != b).any() for a, b in zip(before, after))


@pytest.mark.slow
def test_unanswerable_questions(tiny_model):
    made = electra_tf.QuestionAnswerer.from_pretrained(
        tiny_model, unanswerable=True
    )
    parts = {"start": SPARSE, "end": SPARSE, "impossible": Seen(
        keras.losses.binary_crossentropy)}  # fmt: skip
    still(made, parts)
    x, y = (QUESTIONS, CONTEXTS), ["the cat", None, "cat"]
    assert np.isfinite(made.evaluate(x, y, verbose=0)[0])
    assert sorted(parts["impossible"].y.ravel()) == [0, 0, 1]
    assert set(made(x)) == {"start", "end", "impossible"}


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["pointwise", "listwise"])
def test_cross_encoder(tiny_model, loss):
    made = electra_tf.CrossEncoder.from_pretrained(
        tiny_model, options={"loss": loss, "num_negatives": 2}
    )
    x = (["cat"] * 3 + ["dog"] * 3, ["very good", "house", "dog ran"] * 2)
    y = [0, 1, 0] * 2
    default = still(made).evaluate(x, y, verbose=0, return_dict=True)["loss"]
    mine = {
        "pointwise": keras.losses.BinaryCrossentropy(from_logits=True),
        "listwise": lambda y, p: keras.losses.categorical_crossentropy(
            tf.cast(y >= 1, tf.float32), p, from_logits=True
        ),
    }[loss]
    still(made, mine, [keras.metrics.MeanSquaredError(name="mse")])
    found = made.evaluate(x, y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(default, rel=1e-5)
    assert found["mse"] > 0 and "mrr@10" in found
    if loss == "pointwise":
        scores = made.predict(x, verbose=0)
        expected = np.mean((scores - np.array(y)) ** 2)
        assert found["mse"] == pytest.approx(expected, rel=1e-5)
        with pytest.raises(UserError, match="from_logits=True"):
            made.compile("adam", "binary_crossentropy")


def test_masked_lm(tiny_model):
    made = electra_tf.MaskedLM.from_pretrained(tiny_model, mask_prob=0.3)
    default = still(made).evaluate(TEXTS, verbose=0, return_dict=True)
    assert set(default) == {"loss", "accuracy"}
    seen = Seen(SPARSE)
    # The losses differ: Keras' mean is over all places, ours over masked ones.
    still(made, seen, weighted_metrics=["accuracy"])
    found = made.evaluate(TEXTS, verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx(default["accuracy"], abs=1e-6)
    assert list(found) == ["accuracy", "loss"]
    assert seen.y.shape == seen.y_pred.shape[:2]
    assert seen.y_pred.shape[2] == made.tokenizer.vocabulary_size()
    masked = seen.y != made.tokenizer.vocab.pad_id
    ids = seen.y[..., None].astype(int)
    chosen = np.take_along_axis(seen.y_pred, ids, -1)[..., 0]
    assert -np.log(chosen[masked]).mean() == pytest.approx(
        default["loss"], rel=1e-4
    )
    made.compile("adam", "sparse_categorical_crossentropy")
    assert made.fit(TEXTS, verbose=0).history["loss"][0] > 0
    ignored = still(made).evaluate(
        TEXTS, sample_weight=[0, 0, 0], verbose=0, return_dict=True
    )
    assert ignored["loss"] == 0.0


@pytest.mark.slow
def test_replaced_token_detector(tiny_model):
    made = electra_tf.ReplacedTokenDetector.from_pretrained(tiny_model)
    default = still(made).evaluate(TEXTS, verbose=0, return_dict=True)
    seen = Seen(keras.losses.binary_crossentropy)
    still(
        made, seen,
        weighted_metrics=["accuracy", keras.metrics.AUC(1000, name="area")],
    )  # fmt: skip
    found = made.evaluate(TEXTS, verbose=0, return_dict=True)
    assert set(found) == {"loss", "accuracy", "area"}
    assert found["accuracy"] == pytest.approx(default["accuracy"], abs=1e-6)
    assert found["area"] == pytest.approx(default["auc"], abs=1e-6)
    assert seen.y.shape == seen.y_pred.shape and seen.y.shape[2] == 1
    assert set(seen.y.ravel()) <= {0, 1} and seen.y.any()


def test_weights_of_numbers_count_with_your_own_loss(tiny_model):
    made = electra_tf.TextRegressor.from_pretrained(tiny_model, scale=1.0)
    y = np.array([1.0, 2.0, 3.0])
    still(made, "mse")
    found = made.evaluate(TEXTS, y, sample_weight=[1, 0, 0], verbose=0)
    predicted = made.predict(TEXTS, verbose=0)
    expected = (predicted[0] - y[0]) ** 2 / 3
    assert (found if np.isscalar(found) else found[0]) == pytest.approx(
        expected, rel=1e-4
    )


def test_metrics_of_tags_are_over_words(tiny_model):
    """Not over special tokens, padding and later pieces; nor by weights."""
    made = electra_tf.TokenClassifier.from_pretrained(
        tiny_model, labels=["N", "V"]
    )
    words = [["the", "unusual", "cats"], ["sat"] * 5]
    tags = [["N", "V", "V"], ["V"] * 4 + ["N"]]

    def verbs(y, _):
        return tf.cast(y, tf.float32)

    def share(y, _):  # one number for all
        return tf.reduce_mean(tf.cast(y, tf.float32))

    metrics = ["accuracy", verbs, share]
    still(made, None, metrics, weighted_metrics=["accuracy"])
    found = made.evaluate(words, tags, verbose=0, return_dict=True)
    accuracy = made.scores(words, tags)["accuracy"] / 100
    assert found["accuracy"] == pytest.approx(accuracy)
    assert found["weighted_accuracy"] == pytest.approx(accuracy)
    assert found["verbs"] == pytest.approx(6 / 8)
    assert found["share"] == pytest.approx(6 / 8)
    weighted = made.evaluate(
        words, tags, sample_weight=[1, 0], verbose=0, return_dict=True
    )
    for name in ("accuracy", "verbs", "share"):
        assert weighted[name] == found[name]
    first = made.scores(words[:1], tags[:1])["accuracy"] / 100
    assert weighted["weighted_accuracy"] == pytest.approx(first)


@pytest.mark.parametrize("kind", ["MaskedLM", "ReplacedTokenDetector"])
def test_metrics_are_over_what_is_learned(kind, tiny_model):
    made = getattr(electra_tf, kind).from_pretrained(tiny_model)
    default = still(made).evaluate(TEXTS, verbose=0, return_dict=True)
    still(made, None, ["accuracy"])
    found = made.evaluate(TEXTS, verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx(default["accuracy"], abs=1e-6)


def test_your_own_loss_is_the_same_on_two_replicas(tiny_model):
    """Keras divides a loss by the replicas; so did the mean over their rows."""
    found = []
    for kind in ("one_device", "mirrored"):
        strategy = make_strategy(kind)
        with strategy.scope():
            made = electra_tf.TextRegressor.from_pretrained(
                tiny_model, scale=1.0
            )
            made.compile(
                keras.optimizers.SGD(0.01),
                "mse",
                run_eagerly=kind == "one_device",
            )
        x, y = [*TEXTS, "it was good"], [1.0, 2.0, 3.0, 5.0]
        losses = made.fit(x, y, verbose=0).history["loss"]
        losses.append(made.evaluate(x, y, verbose=0)[0])
        found.append((losses, made.get_weights()))
    assert strategy.num_replicas_in_sync == 2
    np.testing.assert_allclose(*(losses for losses, _ in found), rtol=1e-5)
    for one, two in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
