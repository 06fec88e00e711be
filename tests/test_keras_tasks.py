"""Tests of tasks on strings: Keras models that equal the commands."""

import os
import pathlib
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import electra_tf
from electra_tf import tensors
from electra_tf.errors import UserError
from electra_tf.keras_api.tasks import inputs

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXTS = ["a good cat", "the dog is not", "very good sister", "not that house"]
TEXTS += ["good love", "dog or mat", "we have a good one", "which he said"]
LABELS = ["good", "bad"] * 4
EAGER = {"run_eagerly": True}  # tracing takes longer than so few steps


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model


@pytest.fixture(scope="module")
def classifier(model):
    """A classifier that is fitted until it knows the eight texts."""
    made = electra_tf.TextClassifier.from_pretrained(
        model, labels=["bad", "good"]
    )
    made.compile(learning_rate=1e-2, **EAGER)
    made.history = made.fit(
        TEXTS, LABELS, batch_size=8, epochs=20, verbose=0,
        validation_data=(TEXTS[:4], LABELS[:4]), validation_freq=20,
    ).history  # fmt: skip
    return made


def test_classifier_learns(classifier):
    assert classifier.evaluate(TEXTS, LABELS, verbose=0)[1] == 1.0
    assert classifier.classify(TEXTS) == LABELS
    history = classifier.history
    assert list(history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history["val_accuracy"][-1] == 1.0
    assert history["loss"][-1] < 0.2 < history["loss"][0]


def test_predict_gives_probabilities(classifier):
    found = classifier.predict(TEXTS[:3], verbose=0)
    assert found.shape == (3, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-6)
    answers = classifier.answer(TEXTS[:3])
    assert [a["label"] for a in answers] == LABELS[:3]
    assert answers[0]["probabilities"]["good"] == pytest.approx(found[0, 1])
    np.testing.assert_allclose(classifier(TEXTS[:3]), found, atol=1e-5)


def test_scores_are_those_of_evaluate(classifier):
    found = classifier.scores(TEXTS, LABELS)
    assert found["accuracy"] == 100.0 and found["f1"] == 100.0
    loss = classifier.evaluate(TEXTS, LABELS, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(loss["loss"], abs=1e-5)


@pytest.mark.parametrize(
    "form",
    [
        np.array,
        lambda texts: np.array(texts, object),
        tf.constant,
        lambda texts: [text.encode() for text in texts],
        lambda texts: tf.data.Dataset.from_tensor_slices(texts).batch(3),
        lambda texts: tf.data.Dataset.from_tensor_slices((texts, LABELS)),
    ],
    ids=["array", "objects", "tensor", "bytes", "batches", "rows"],
)
def test_forms_of_texts(classifier, form):
    found = classifier.predict(form(TEXTS), verbose=0)
    np.testing.assert_allclose(
        found, classifier.predict(TEXTS, verbose=0), atol=1e-6
    )


@pytest.mark.parametrize(
    "y",
    [
        [1, 0] * 4,
        np.array([1, 0] * 4),
        np.array(LABELS),
        np.eye(2)[[1, 0] * 4],
        np.array([[1], [0]] * 4),
        [True, False] * 4,
    ],
)
def test_forms_of_labels(classifier, y):
    assert classifier.evaluate(TEXTS, y, verbose=0)[1] == 1.0


def test_keras_file(classifier, tmp_path):
    """Weights, optimizer and tokenizer are restored to the last bit."""
    path = tmp_path / "classifier.keras"
    classifier.save(path)
    again = keras.saving.load_model(path)
    np.testing.assert_array_equal(
        again.predict(TEXTS, verbose=0), classifier.predict(TEXTS, verbose=0)
    )
    assert int(again.optimizer.iterations) == 20
    for a, b in zip(again.optimizer.variables, classifier.optimizer.variables):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    assert again.labels == ("bad", "good")
    assert again.evaluate(TEXTS, LABELS, verbose=0)[1] == 1.0


def test_model_directory(classifier, tmp_path):
    """`save_pretrained` writes a fine-tuned model, as `finetune` does."""
    path = str(tmp_path / "saved")
    classifier.save_pretrained(path)
    expected = classifier.answer(TEXTS)
    assert electra_tf.load(path).predict(TEXTS) == expected
    again = electra_tf.TextClassifier.from_pretrained(path)
    assert again.answer(TEXTS) == expected
    with pytest.raises(UserError, match="TextRegressor does not open"):
        electra_tf.TextRegressor.from_pretrained(path)


@pytest.mark.slow
def test_fit_is_the_command(model, tmp_path):
    """The same settings and seed give the same weights, to the last bit."""
    rows = [f"{t}\t{label}" for t, label in zip(TEXTS, LABELS)]
    table = tmp_path / "train.tsv"
    table.write_text("\n".join(["text\tlabel", *rows, ""]))
    train = {
        "batch_size": 4, "num_train_epochs": 2, "learning_rate": 1e-3,
        "select_best": False, "eval_every": 0,
    }  # fmt: skip
    options = {
        "validation_fraction": 0.0, "labels": ["bad", "good"],
        "max_seq_length": 48,
    }  # fmt: skip
    run = str(tmp_path / "run")
    electra_tf.finetune(
        run, task="classification", model=model, data=str(table),
        train=train, options=options, progress=False,
    )  # fmt: skip
    made = electra_tf.TextClassifier.from_pretrained(
        model, labels=["bad", "good"], max_seq_length=48
    )
    made.compile(learning_rate=1e-3)
    made.fit(TEXTS, LABELS, batch_size=4, epochs=2, verbose=0)
    made.save_pretrained(str(tmp_path / "saved"))
    theirs = tensors.load(f"{run}/model/model.safetensors")
    ours = tensors.load(str(tmp_path / "saved" / "model.safetensors"))
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    # The run directory opens as the class, too.
    opened = electra_tf.TextClassifier.from_pretrained(run)
    assert opened.answer(TEXTS) == electra_tf.load(run).predict(TEXTS)


def test_pairs_and_several_labels(model):
    """Pairs with sets of labels train with a loss and metrics of Keras."""
    made = electra_tf.TextClassifier.from_pretrained(
        model, labels=["a", "b", "c"], multi_label=True, name="sets"
    )
    pairs = (TEXTS, TEXTS[::-1])
    sets = [["a"], ["a", "c"], [], ["b"]] * 2
    marks = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]] * 2)
    made.compile(
        keras.optimizers.Adam(1e-3), "binary_crossentropy",
        [keras.metrics.AUC(name="auc")], **EAGER,
    )  # fmt: skip
    data = tf.data.Dataset.from_tensor_slices((pairs, marks)).batch(4)
    history = made.fit(data, verbose=0).history
    assert list(history) == ["auc", "loss"]
    one, other = (
        made.evaluate(pairs, y, verbose=0, return_dict=True)
        for y in (sets, marks)
    )
    assert one == other and 0.4 < one["loss"] < 1.0
    assert made.predict(pairs, verbose=0).shape == (8, 3)
    assert all(set(found) <= {"a", "b", "c"} for found in made.classify(pairs))
    with pytest.raises(UserError, match="expected pairs of texts"):
        made.predict(TEXTS)
    assert made.name == "sets"


def test_regressor(model, tmp_path):
    made = electra_tf.TextRegressor.from_pretrained(model)
    y = np.arange(8.0) * 10
    made.compile(learning_rate=3e-3, **EAGER)
    made.fit(TEXTS, y, batch_size=4, epochs=2, verbose=0)
    assert made.task.state["offset"] == pytest.approx(35.0)
    assert made.task.state["scale"] == pytest.approx(np.std(y))
    found = made.predict(TEXTS, verbose=0)
    assert found.shape == (8,)
    np.testing.assert_allclose(made(TEXTS), found, rtol=1e-4)
    metrics = made.evaluate(TEXTS, y, verbose=0, return_dict=True)
    assert metrics["mse"] == pytest.approx(np.mean((found - y) ** 2), rel=1e-4)
    scores = made.scores(TEXTS, y)
    assert metrics["pearson"] == pytest.approx(scores["pearson"] / 100)
    made.save_pretrained(str(tmp_path / "saved"))
    again = electra_tf.TextRegressor.from_pretrained(str(tmp_path / "saved"))
    np.testing.assert_allclose(again.predict(TEXTS, verbose=0), found)


def test_weights_of_rows_and_classes(model):
    """A weight of 2 for a class is a weight of 2 for each of its rows."""
    made = electra_tf.TextClassifier.from_pretrained(
        model, labels=["bad", "good"]
    )
    made.compile(**EAGER)
    losses = [
        made.evaluate(
            TEXTS, LABELS, verbose=0, sample_weight=weights, return_dict=True
        )["loss"]
        for weights in (None, [2.0, 1.0] * 4, [1.0, 0.0] * 4)
    ]
    assert losses[1] == pytest.approx(losses[0] + losses[2])
    examples = made.read(TEXTS, LABELS)
    assert made._weights(examples, {"good": 2.0}, None) == [2.0, 1.0] * 4
    assert made._weights(examples, {1: 2.0, 0: 0.5}, None) == [2.0, 0.5] * 4
    column = np.array([[2.0], [1.0]] * 4)
    assert made._weights(examples, None, column) == [2.0, 1.0] * 4
    data = tf.data.Dataset.from_tensor_slices((TEXTS, LABELS, column)).batch(4)
    assert made.evaluate(data, verbose=0)[0] == pytest.approx(losses[1])
    with pytest.raises(UserError, match=r"sample_weight\[1\]: expected a num"):
        made.fit(TEXTS, LABELS, sample_weight=[1, "2"] * 4)


def test_class_weights_are_for_training_alone(model):
    """As in Keras; those of inputs count in the held-out share, too."""
    made = electra_tf.TextClassifier.from_pretrained(
        model, labels=["bad", "good"]
    )
    made.compile(keras.optimizers.SGD(0.0), **EAGER)
    weights = [1.0] * 4 + [3.0] * 4
    held = {"sample_weight": weights[4:], "return_dict": True, "verbose": 0}
    wanted = made.evaluate(TEXTS[4:], LABELS[4:], **held)["loss"]
    found = made.fit(
        TEXTS, LABELS, sample_weight=weights, class_weight={"bad": 5.0},
        validation_split=0.5, verbose=0,
    ).history["val_loss"]  # fmt: skip
    assert found == [pytest.approx(wanted)]


def test_a_dataset_holds_its_own_answers_and_weights(classifier):
    data = tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)).batch(4)
    for arguments in ({"y": LABELS}, {"sample_weight": [1.0] * 8}):
        (name,) = arguments
        with pytest.raises(UserError, match=f"{name}: a dataset holds its own"):
            classifier.evaluate(data, verbose=0, **arguments)
    with pytest.raises(UserError, match="y: a dataset holds its own"):
        classifier.scores(data, LABELS)


def test_functional_model(classifier):
    """A functional model takes strings and has a layer after the task."""
    texts = keras.Input((), dtype="string")
    scores = keras.layers.Dense(1)(classifier(texts))
    model = keras.Model(texts, scores)
    assert model(tf.constant(TEXTS)).shape == (8, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.predict("good"), "put a single text into a list"),
        (lambda c: c.predict(("a", "b")), "texts by themselves go into a list"),
        (lambda c: c.predict((["a"], ["b", "c"])), "1 first texts and 2"),
        (lambda c: c.predict([1]), r"x\[0\]: expected a text, got 1"),
        (lambda c: c.fit(TEXTS, LABELS[:3]), "y: 3 values for 8 inputs"),
        (lambda c: c.fit(TEXTS), "y: is missing"),
        (
            lambda c: c.fit(TEXTS, ["goood", *LABELS[1:]]),
            r"y\[0\]: 'goood' is not a label; expected one of bad, good",
        ),
        (lambda c: c.fit(TEXTS, [2] * 8), "a number from 0 to 1"),
        (lambda c: c.fit([], []), "x: is empty"),
        (
            lambda c: c.compile("adam", learning_rate=1e-3),
            "learning_rate: is a setting of ELECTRA's optimizer",
        ),
        (
            lambda c: c.compile(
                loss=keras.losses.CategoricalCrossentropy(from_logits=True)
            ),
            "the model gives probabilities",
        ),
        (lambda c: c.compile(train={"epochs": 3}), "epochs"),
    ],
)
def test_errors(model, call, message):
    made = electra_tf.TextClassifier.from_pretrained(
        model, labels=["bad", "good"]
    )
    with pytest.raises(UserError, match=message):
        call(made)


def test_errors_of_opening(model):
    of = electra_tf.TextClassifier.from_pretrained
    with pytest.raises(UserError, match="has no head of its own; name the"):
        of(model)
    with pytest.raises(UserError, match="is 3, and labels has 2"):
        of(model, labels=["a", "b"], num_classes=3)
    with pytest.raises(UserError, match="hidden_dropuot"):
        of(model, num_classes=2, overrides={"model.hidden_dropuot": 0.2})


def test_arguments_that_a_fine_tuned_model_does_not_fit(model, tmp_path):
    """They are refused, as only a new head could have them."""
    made = {
        "TextClassifier": {"labels": ["a", "b"]},
        "TextRegressor": {"scale": 2.0},
        "QuestionAnswerer": {},
        "TokenClassifier": {"labels": ["O", "B-X", "I-X"]},
        "CrossEncoder": {},
    }
    for name, arguments in made.items():
        found = getattr(electra_tf, name).from_pretrained(model, **arguments)
        found.save_pretrained(str(tmp_path / name))
    refused = [
        ("TextClassifier", {"options": {"labels": ["x", "y"]}}, "labels: "),
        ("TextClassifier", {"options": {"multi_label": True}}, "options.mul"),
        ("TextRegressor", {"scale": 10.0}, "scale: 10.0.*2.0.*new_head=True"),
        ("TextRegressor", {"options": {"hidden_layer": True}}, "options: "),
        ("QuestionAnswerer", {"unanswerable": True}, "unanswerable: .*new_hea"),
        ("QuestionAnswerer", {"options": {"head": "independent"}}, "options: "),
        ("TokenClassifier", {"options": {"scheme": "iob1"}}, "options.scheme"),
        ("CrossEncoder", {"options": {"hidden_layer": True}}, "options: "),
    ]
    for name, arguments, message in refused:
        with pytest.raises(UserError, match=message):
            getattr(electra_tf, name).from_pretrained(
                str(tmp_path / name), **arguments
            )
    again = electra_tf.TextRegressor.from_pretrained(
        str(tmp_path / "TextRegressor"), scale=2, options={"dropout": 0.0}
    )
    assert again.target.scale == 2.0
    assert (
        again.network.head_config.dropout == again.network.head.config.dropout
    )
    assert again.network.head_config.dropout == 0.0
    again = electra_tf.QuestionAnswerer.from_pretrained(
        str(tmp_path / "QuestionAnswerer"), options={"beam_size": 2}
    )
    assert again.network.head_config.beam_size == 2
    assert again.network.head_config.dropout == 0.0
    again = electra_tf.QuestionAnswerer.from_pretrained(
        str(tmp_path / "QuestionAnswerer"), unanswerable=True, new_head=True
    )
    assert again.task.unanswerable


@pytest.mark.parametrize("fine_tuned", [False, True])
def test_options_take_effect_or_are_refused(model, tmp_path, fine_tuned):
    of, given = (
        electra_tf.TextClassifier.from_pretrained,
        {"labels": ["a", "b"]},
    )
    if fine_tuned:
        of(model, labels=["a", "b"]).save_pretrained(str(tmp_path / "made"))
        model, given = str(tmp_path / "made"), {}
    for options, message in (
        ({"positive_label": "x"}, "options.positive_label: 'x' is not a label"),
        ({"threshold": 0.9}, "options.threshold: is used with multi_label"),
        ({"validation_fraction": 0.1}, "validation_split to fit"),
        ({"metric": "mcc"}, "metric is not used by fit"),
    ):
        with pytest.raises(UserError, match=message):
            of(model, **given, options=options)
    made = of(
        model, **given, options={"class_weights": "balanced", "dropout": 0.4}
    )
    assert made.network.head_config.dropout == 0.4
    made.compile(**EAGER)
    made.fit(["a cat", "a dog", "she sat"], ["a", "b", "b"], verbose=0)
    assert made.target.weights == [1.5, 0.75]
    made.fit(["a cat", "a dog", "she sat"], ["a", "a", "b"], verbose=0)
    assert made.target.weights == [1.5, 0.75]  # of the first data


@pytest.mark.parametrize(
    ("optimizer", "train", "message"),
    [
        (
            None,
            {"num_train_epochs": 7},
            "train: num_train_epochs .*epochs to f",
        ),
        (None, {"early_stopping_patience": 1}, "keras.callbacks.EarlyStopping"),
        (None, {"max_train_examples": 4}, "fewer examples"),
        (None, {"folds": 5}, "electra-tf finetune"),
        (None, {"average_checkpoints": 3}, "electra-tf finetune"),
        (None, {"seed": 3}, "seed to from_pretrained"),
        ("adam", {"learning_rate": 1e-9}, "train: learning_rate is a setting"),
        ("adam", {"max_grad_norm": 2.0}, "train: max_grad_norm is a setting"),
    ],
)
def test_settings_that_fit_does_not_use(classifier, optimizer, train, message):
    with pytest.raises(UserError, match=message):
        classifier.compile(optimizer, train=train)


def test_settings_that_fit_uses(model, tmp_path):
    made = electra_tf.TextClassifier.from_pretrained(model, num_classes=2)
    made.compile(train={"batch_size": 8, "max_grad_norm": 2.0, "num_trials": 1})
    # Earlier versions stored settings that were not used.
    config = made.get_compile_config()
    config["train"] |= {"num_train_epochs": 7.0, "folds": 5}
    made.compile_from_config(config)
    assert made._train.max_grad_norm == 2.0
    made.compile("adam")
    config = made.get_compile_config()
    config["train"] |= {"learning_rate": 1e-9}
    made.compile_from_config(config)
    assert type(made.optimizer).__name__ == "Adam"


def test_overrides_dtype_and_weights(model):
    made = electra_tf.TextClassifier.from_pretrained(
        model, num_classes=3, overrides={"model.hidden_dropout": 0.25},
        dtype="mixed_bfloat16", load_weights=False,
    )  # fmt: skip
    assert made.network.config.hidden_dropout == 0.25
    assert made.network.encoder.compute_dtype == "bfloat16"
    assert made.labels == ("0", "1", "2") and made.load_report is None
    assert repr(made).startswith("<TextClassifier of 0, 1, 2: 2 layers x 16")


def test_layer_learning_rates(model):
    made = electra_tf.TextClassifier.from_pretrained(model, num_classes=2)
    made.compile(layerwise_lr_decay=0.5, **EAGER)
    made.fit(TEXTS[:2], [0, 1], verbose=0)
    scales = made.optimizer.get_config()["learning_rate_multipliers"]
    by_end = {path.split("discriminator/")[-1]: v for path, v in scales.items()}
    assert by_end["task/output/kernel"] == 1.0
    assert by_end["encoder/layer_1/output/kernel"] == 0.25
    assert by_end["encoder/layer_0/output/kernel"] == 0.125


def test_plain_values():
    ragged = tf.ragged.constant([["a"], ["b", "c"]])
    assert inputs.plain(ragged) == [["a"], ["b", "c"]]
    assert inputs.plain(np.array([b"a", "b"], object)) == ["a", "b"]
    assert inputs.texts([("a", "b"), ["c", "d"]]) == (["a", "c"], ["b", "d"])
    with pytest.raises(UserError, match="is not UTF-8"):
        inputs.texts([b"\xff"])


WORDS = [["the", "good", "cat"], ["a", "house"], ["dog", "ran", "to", "mat"]]
TAGS = [["O", "B-X", "I-X"], ["O", "O"], ["B-Y", "O", "O", "O"]]
TAG_NAMES = ["O", "B-X", "I-X", "B-Y", "I-Y"]


@pytest.mark.slow
def test_tagger(model, tmp_path):
    made = electra_tf.TokenClassifier.from_pretrained(model, labels=TAG_NAMES)
    assert made.task.state["scheme"] == "bio"
    assert made.labels == tuple(TAG_NAMES)
    made.compile(learning_rate=1e-2, **EAGER)
    history = made.fit(
        WORDS, TAGS, epochs=25, batch_size=3, verbose=0,
        validation_data=(WORDS, TAGS), validation_freq=25,
    ).history  # fmt: skip
    assert history["accuracy"][-1] == history["val_accuracy"][-1] == 1.0
    assert history["val_f1"] == [1.0]
    assert made.classify(WORDS) == TAGS
    numbers = [[TAG_NAMES.index(tag) for tag in row] for row in TAGS]
    assert made.scores(tf.ragged.constant(WORDS), numbers)["f1"] == 100.0
    found = made.predict(WORDS, verbose=0)
    assert [array.shape for array in found] == [(3, 5), (2, 5), (4, 5)]
    np.testing.assert_allclose(found[2].sum(axis=-1), 1.0, atol=1e-5)
    assert [TAG_NAMES[i] for i in found[0].argmax(axis=-1)] == TAGS[0]
    # Each word's probabilities are those of its first token.
    rows = made.preprocessor(WORDS)
    firsts = [list(rows["word_ids"][0].numpy()).index(i) for i in range(3)]
    np.testing.assert_allclose(
        made(WORDS).numpy()[0][firsts], found[0], atol=1e-5
    )
    entities = made.answer(["the good cat"])[0]["entities"]
    assert [(e["type"], e["text"]) for e in entities] == [("X", "good cat")]
    made.save(tmp_path / "tagger.keras")
    again = keras.saving.load_model(tmp_path / "tagger.keras")
    assert again.classify(WORDS) == TAGS
    made.save_pretrained(str(tmp_path / "saved"))
    assert electra_tf.load(str(tmp_path / "saved")).predict(
        WORDS
    ) == made.answer(WORDS)
    opened = electra_tf.TokenClassifier.from_pretrained(str(tmp_path / "saved"))
    assert opened.classify(WORDS) == TAGS


def test_tags_without_b(model):
    names = ["O", "I-X"]
    made = electra_tf.TokenClassifier.from_pretrained(model, labels=names)
    assert made.task.state["scheme"] == "iob1"
    words, tags = [["the", "good", "cat"]] * 4, [["O", "I-X", "I-X"]] * 4
    made.compile("adam", **EAGER)
    made.fit(words, tags, epochs=15, verbose=0)
    assert made.classify(words) == tags
    assert made.scores(words, tags)["f1"] == 100.0


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["O", "B-X", "I-Y"], {}, "labels: in .* bio the type 'Y' .* B-Y;"),
        (["O", "I-X"], {"scheme": "bio"}, "the type 'X' .* without B-X;"),
        (["O", "E-X"], {"scheme": "bio"}, "labels: 'E-X' is none of the sch"),
        (["O", "X"], {"scheme": "io"}, "options.scheme: io is for files"),
        (["O", "I-X"], {"convert_to": "xyz"}, "options.convert_to"),
        (["O", "I-X"], {"scheme": "xyz"}, "options.scheme"),
    ],
)
def test_tags_that_cannot_occur(model, labels, options, message):
    with pytest.raises(UserError, match=message):
        electra_tf.TokenClassifier.from_pretrained(
            model, labels=labels, options=options
        )


def test_tags_with_your_own_loss(model):
    made = electra_tf.TokenClassifier.from_pretrained(model, labels=["N", "V"])
    assert made.task.state["scheme"] == "none"
    made.compile("adam", "sparse_categorical_crossentropy", **EAGER)
    tags = [[0, 1, 0], [0, 0], [1, 0, 0, 0]]
    data = tf.data.Dataset.from_tensor_slices(
        (tf.ragged.constant(WORDS), tf.ragged.constant(tags))
    ).batch(2)
    made.fit(data, verbose=0)
    assert made.task.state["default"] == "N"
    loss = made.evaluate(data, verbose=0, return_dict=True)["loss"]
    assert 0.2 < loss < 1.5


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (WORDS, TAGS[:2], "y: 2 values for 3 inputs"),
        (WORDS, [["O"], *TAGS[1:]], r"y\[0\]: expected 3 tags"),
        (WORDS, [["O", "B-Z", "O"], *TAGS[1:]], r"y\[0\]\[1\]: 'B-Z' is no"),
        ([["a"], []], TAGS[:2], r"x\[1\]: expected a list of words"),
        (["a text"], [["O", "O"]], "x: expected lists of words"),
    ],
)
def test_errors_of_tags(model, x, y, message):
    made = electra_tf.TokenClassifier.from_pretrained(model, labels=TAG_NAMES)
    with pytest.raises(UserError, match=message):
        made.fit(x, y)


QUESTIONS = ["who sat", "who ran"] * 2
CONTEXTS = ["the cat sat on the mat", "the dog ran to the house"] * 2
ANSWERS = [("cat", 4), ("dog", 4)] * 2


@pytest.mark.slow
def test_answerer(model, tmp_path):
    made = electra_tf.QuestionAnswerer.from_pretrained(model)
    assert made.task.options.max_seq_length == 48
    made.compile(learning_rate=1e-2, **EAGER)
    history = made.fit(
        (QUESTIONS, CONTEXTS), ANSWERS, epochs=10, batch_size=4, verbose=0,
        validation_data=((QUESTIONS, CONTEXTS), ["cat", "dog"] * 2),
        validation_freq=10,
    ).history  # fmt: skip
    assert history["loss"][-1] < history["loss"][0]
    found = made.predict((QUESTIONS[:2], CONTEXTS[:2]), verbose=0)
    for answer, context in zip(found, CONTEXTS):
        assert list(answer) == ["answer", "start", "end", "score"]
        span = context[answer["start"] : answer["end"]]
        assert span == answer["answer"] != ""
    scores = made.scores((QUESTIONS, CONTEXTS), ANSWERS)
    assert history["val_f1"] == [pytest.approx(scores["f1"] / 100)]
    records = [
        {
            "question": q, "context": c,
            "answers": {"text": [a], "answer_start": [s]},
        }
        for q, c, (a, s) in zip(QUESTIONS, CONTEXTS, ANSWERS)
    ]  # fmt: skip
    assert made.scores(records) == made.scores((QUESTIONS, CONTEXTS), ANSWERS)
    spans = made((QUESTIONS[:2], CONTEXTS[:2]))
    np.testing.assert_allclose(np.sum(spans["start"], axis=1), 1, atol=1e-5)
    # Of [CLS] who sat [SEP] only the first may be predicted as an answer.
    assert np.max(spans["start"][:, 1:4]) < 1e-6
    made.save_pretrained(str(tmp_path / "saved"))
    pairs = list(zip(QUESTIONS, CONTEXTS))
    expected = electra_tf.load(str(tmp_path / "saved")).predict(pairs)
    assert_same_answers(made.answer(pairs), expected)
    again = electra_tf.QuestionAnswerer.from_pretrained(str(tmp_path / "saved"))
    assert_same_answers(again.answer(pairs), expected)
    made.save(tmp_path / "answerer.keras")
    again = keras.saving.load_model(tmp_path / "answerer.keras")
    assert_same_answers(again.answer(pairs), expected)


def assert_same_answers(ours, theirs):
    """Asserts the same spans; processors differ in the last digit of scores."""
    for one, other in zip(ours, theirs, strict=True):
        assert list(one) == list(other)
        assert one["answer"] == other["answer"]
        for a, b in zip(one["n_best"], other["n_best"], strict=True):
            for name in ("text", "start", "end"):
                assert a[name] == b[name]
            for name in ("score", "probability"):
                assert a[name] == pytest.approx(b[name], rel=1e-6, abs=1e-9)


def test_answers_in_all_forms(model):
    made = electra_tf.QuestionAnswerer.from_pretrained(model, unanswerable=True)
    x = (QUESTIONS[:1], CONTEXTS[:1])
    squad = {"data": [{"paragraphs": [{"context": CONTEXTS[0], "qas": [
        {"id": "1", "question": QUESTIONS[0],
         "answers": [{"text": "cat", "answer_start": 4}]},
    ]}]}]}  # fmt: skip
    read = [
        made.read(x, y)[0]
        for y in (
            ["cat"], [("cat", 4)], [{"text": "cat", "answer_start": 4}],
            [[{"text": "cat", "answer_start": 4}]],
            [{"text": np.array(["cat"]), "answer_start": np.array([4])}],
            list(zip(np.array(["cat"]), np.array([4]))),
            [np.array(["cat", 4], object)],
        )
    ] + made.read(squad)  # fmt: skip
    assert {(e.answers, e.answer_start) for e in read} == {(("cat",), 4)}
    assert made.read(x, [None])[0].impossible
    assert "answerable" in made.network.head.__dict__
    with pytest.raises(UserError, match="'bird' is not in its context"):
        made.fit(x, ["bird"])
    certain = electra_tf.QuestionAnswerer.from_pretrained(model)
    with pytest.raises(UserError, match="make the model with unanswerable"):
        certain.fit(x, [None])


@pytest.mark.slow
def test_cross_encoder(model, tmp_path):
    made = electra_tf.CrossEncoder.from_pretrained(model)
    queries = ["cat"] * 3 + ["dog"] * 3
    passages = ["not very", "the house", "dog ran"] * 2
    y = [0, 1, 0] * 2
    made.compile(learning_rate=1e-2, **EAGER)
    history = made.fit(
        (queries, passages), y, epochs=12, verbose=0,
        validation_data=((queries, passages), y), validation_freq=12,
    ).history  # fmt: skip
    assert history["val_mrr@10"] == [1.0]
    scores = made.predict((queries, passages), verbose=0)
    assert scores.shape == (6,) and scores[1] > scores[0]
    np.testing.assert_allclose(made((queries, passages)), scores, atol=1e-4)
    best = made.rank("dog", passages[:3], top_k=2)
    assert best[0].passage == "the house" and best[0].position == 1
    assert len(best) == 2 and best[0].score == pytest.approx(scores[4])
    made.save_pretrained(str(tmp_path / "saved"))
    again = electra_tf.CrossEncoder.from_pretrained(str(tmp_path / "saved"))
    np.testing.assert_array_equal(
        again.predict((queries, passages), verbose=0), scores
    )
    data = tf.data.Dataset.from_tensor_slices(((queries, passages), y))
    with pytest.raises(UserError, match="a dataset may divide them"):
        made.fit(data)


def test_the_step_is_traced_once_and_metrics_begin_empty(model):
    made = electra_tf.TextClassifier.from_pretrained(
        model, labels=["bad", "good"]
    )
    steps = []

    def counted(data):
        steps.append(data)
        # Variables that a step creates would cause a second tracing.
        made.compute_metrics(data[0], data[1], tf.one_hot(data[1], 2))
        return made.get_metrics_result()

    made.train_step = counted
    made.compile()
    history = made.fit(TEXTS, LABELS, batch_size=4, epochs=2, verbose=0)
    assert len(steps) == 1
    assert history.history["accuracy"] == [1.0, 1.0]


def test_lora_goes_through_a_batch_in_parts_from_a_seeded_start(model):
    made, other = (
        electra_tf.TextClassifier.from_pretrained(
            model, labels=["bad", "good"], seed=7
        )
        for _ in range(2)
    )
    made.compile(**EAGER)
    made.fit(TEXTS, LABELS, batch_size=8, verbose=0)
    assert made.tokens_at_once is None
    made.enable_lora(2, verbose=False)
    other.enable_lora(2, verbose=False)
    first, second = (
        m.network.encoder.blocks[1].attention.qkv.lora.down.numpy()
        for m in (made, other)
    )
    assert np.ptp(first) > 0
    np.testing.assert_array_equal(first, second)
    made.fit(TEXTS, LABELS, batch_size=8, verbose=0)
    assert made.tokens_at_once == 512
    moments = [
        v for v in made.optimizer.variables if v.path.endswith(("_m", "_v"))
    ]
    trained = made.trainable_variables
    assert len(trained) == 2 * 2 + 2  # two in each block, two in the head
    assert sorted(tuple(v.shape) for v in moments) == sorted(
        tuple(v.shape) for v in trained * 2
    )


@pytest.mark.slow
def test_lora_on_strings(model, tmp_path):
    made = electra_tf.TextClassifier.from_pretrained(
        model, labels=["bad", "good"]
    )
    before = made.predict(TEXTS, verbose=0)  # traced without LoRA
    made.enable_lora(4, "all", verbose=False)
    np.testing.assert_allclose(
        made.predict(TEXTS, verbose=0), before, atol=1e-6
    )
    kernel = made.network.encoder.blocks[0].attention.qkv.kernel
    value = kernel.numpy()
    made.compile(learning_rate=1e-2, **EAGER)
    made.fit(TEXTS, LABELS, batch_size=4, epochs=12, verbose=0)
    np.testing.assert_array_equal(kernel, value)
    assert made.classify(TEXTS) == LABELS
    expected = made.predict(TEXTS, verbose=0)
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(TEXTS, verbose=0), expected)
    made.save_pretrained(str(tmp_path / "merged"))
    merged = electra_tf.TextClassifier.from_pretrained(str(tmp_path / "merged"))
    assert merged.network.encoder.lora is None
    np.testing.assert_allclose(
        merged.predict(TEXTS, verbose=0), expected, atol=1e-4
    )
    made.save_adapter(str(tmp_path / "adapter"))
    other = electra_tf.TextClassifier.from_pretrained(
        model, labels=["bad", "good"]
    )
    other.load_adapter(str(tmp_path / "adapter"))
    np.testing.assert_allclose(
        other.predict(TEXTS, verbose=0), expected, atol=1e-6
    )
    explanation = electra_tf.explain(made, TEXTS[0])
    assert explanation.label == "good"
    assert explanation.complete


@pytest.mark.slow
def test_masked_lm(model, tmp_path):
    made = electra_tf.MaskedLM.from_pretrained(model, mask_prob=0.3)
    made.compile(learning_rate=1e-2, **EAGER)
    texts = ["the cat sat on the mat", "the dog ran to the house"] * 2
    history = made.fit(
        texts, epochs=10, verbose=0, validation_data=(texts,),
        validation_freq=10,
    ).history  # fmt: skip
    assert history["loss"][-1] < history["loss"][0]
    assert list(history)[2:] == ["val_accuracy", "val_loss"]
    assert made.evaluate(texts, verbose=0) == made.evaluate(texts, verbose=0)
    blanks = ["the [MASK] sat on the [MASK]", "[MASK]"]
    found = made.predict(blanks, verbose=0)
    size = len(made.tokenizer.vocab)
    assert [array.shape for array in found] == [(2, size), (1, size)]
    filled = made.fill(blanks, top_k=2)[0]
    best = filled.blanks[0][0]
    number = made.tokenizer.token_to_id(best.token)
    assert best.probability == pytest.approx(found[0][0, number], rel=1e-4)
    made.save(tmp_path / "mlm.keras")
    again = keras.saving.load_model(tmp_path / "mlm.keras")
    np.testing.assert_array_equal(again.predict(blanks, verbose=0)[0], found[0])
    made.save_pretrained(str(tmp_path / "saved"))
    again = electra_tf.MaskedLM.from_pretrained(str(tmp_path / "saved"))
    np.testing.assert_array_equal(again.predict(blanks, verbose=0)[0], found[0])
    with pytest.raises(UserError, match=r"x\[0\]: has no \[MASK\]"):
        made.predict(["no blank"])
    with pytest.raises(UserError, match="learns from texts alone"):
        made.fit(texts, [0] * 4)


@pytest.mark.slow
def test_replaced_token_detector(model, tmp_path):
    made = electra_tf.ReplacedTokenDetector.from_pretrained(
        model, mask_prob=0.4
    )
    before = [v.numpy() for v in made.generator.weights]
    made.compile(learning_rate=1e-2, **EAGER)
    texts = ["the cat sat on the mat", "the dog ran to the house"] * 4
    history = made.fit(texts, epochs=12, batch_size=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert list(history) == ["accuracy", "auc", "loss"]
    for old, new in zip(before, made.generator.weights):
        np.testing.assert_array_equal(old, new.numpy())
    found = made.predict(["the cat sat", "ran"], verbose=0)
    assert [len(array) for array in found] == [3, 1]
    assert all(0 < p < 1 for p in found[0])
    tokens = made.tokens(["the cat sat"])[0]
    assert [token for token, _ in tokens] == ["the", "cat", "sat"]
    assert [p for _, p in tokens] == pytest.approx(list(found[0]))
    rows = made(["the cat sat"])
    np.testing.assert_allclose(rows[0, 1:-1], found[0], atol=1e-5)
    made.save(tmp_path / "rtd.keras")
    again = keras.saving.load_model(tmp_path / "rtd.keras")
    np.testing.assert_array_equal(
        again.predict(["the cat sat"], verbose=0)[0], found[0]
    )
    assert again.evaluate(texts, verbose=0) == made.evaluate(texts, verbose=0)
    made.save_pretrained(str(tmp_path / "saved"))
    alone = electra_tf.ReplacedTokenDetector.from_pretrained(
        str(tmp_path / "saved")
    )
    np.testing.assert_allclose(
        alone.predict(["the cat sat"], verbose=0)[0], found[0], atol=1e-6
    )
    # Without a generator, replacements are sampled uniformly.
    alone.fit(texts, verbose=0)


@pytest.mark.slow
def test_keras_files_in_a_fresh_process(model, classifier, tmp_path):
    """A fresh process loads the files after `import electra_tf` alone."""
    made = {
        "classifier": (classifier, TEXTS),
        "regressor": (electra_tf.TextRegressor.from_pretrained(model), TEXTS),
        "tagger": (
            electra_tf.TokenClassifier.from_pretrained(model, num_classes=3),
            WORDS,
        ),
        "ranker": (
            electra_tf.CrossEncoder.from_pretrained(model), [TEXTS[:2]]
        ),
        "mlm": (electra_tf.MaskedLM.from_pretrained(model), ["a [MASK] dog"]),
        "detector": (
            electra_tf.ReplacedTokenDetector.from_pretrained(model), TEXTS
        ),
        "answerer": (
            electra_tf.QuestionAnswerer.from_pretrained(model), [TEXTS[:2]]
        ),
    }  # fmt: skip
    expected = {}
    for name, (saved, x) in made.items():
        saved.save(tmp_path / f"{name}.keras")
        expected[name] = saved.predict(x, verbose=0)
    code = """
import pickle, sys, electra_tf, keras
inputs = pickle.load(open("inputs", "rb"))
found = {
    name: keras.saving.load_model(f"{name}.keras").predict(x, verbose=0)
    for name, x in inputs.items()
}
pickle.dump(found, open("found", "wb"))
"""
    given = {name: x for name, (_, x) in made.items()}
    (tmp_path / "inputs").write_bytes(pickle.dumps(given))
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    found = pickle.loads((tmp_path / "found").read_bytes())
    assert found["answerer"] == expected["answerer"]
    for name in made.keys() - {"answerer"}:
        for one, other in zip(found[name], expected[name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6, err_msg=name)
