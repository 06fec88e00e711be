"""Tests of task classes in training programs: batches, devices, XLA."""

import json
import os
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import electra_tf
from electra_tf.errors import UserError

ROOT = str(pathlib.Path(__file__).resolve().parent.parent)
TEXTS = ["a good cat", "the dog is not", "very good sister", "not that house"]
LABELS = ["good", "bad"] * 2


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model


def opened(model):
    """Returns a classifier without dropout: its steps are deterministic."""
    return electra_tf.TextClassifier.from_pretrained(
        model,
        labels=["bad", "good"],
        options={"dropout": 0.0},
        overrides={"model.hidden_dropout": 0.0, "model.attention_dropout": 0.0},
    )


@pytest.fixture
def classifier(model):
    return opened(model)


def test_single_batches(classifier, model):
    """`train_on_batch` steps as `fit` does; `test_on_batch` is `evaluate`."""
    classifier.compile(keras.optimizers.SGD(1e-4), run_eagerly=True)
    before = classifier.test_on_batch(TEXTS, LABELS, return_dict=True)
    assert before == pytest.approx(
        classifier.evaluate(TEXTS, LABELS, verbose=0, return_dict=True)
    )
    doubled = classifier.test_on_batch(TEXTS, LABELS, sample_weight=[2.0] * 4)
    assert doubled[0] == pytest.approx(2 * before["loss"], rel=1e-5)
    loss, accuracy = classifier.train_on_batch(TEXTS, LABELS)
    assert loss == pytest.approx(before["loss"], rel=1e-5)
    assert accuracy == before["accuracy"]
    fitted = opened(model)
    fitted.compile(keras.optimizers.SGD(1e-4), run_eagerly=True)
    fitted.fit(TEXTS, LABELS, batch_size=4, verbose=0)
    found = classifier.predict_on_batch(TEXTS)
    np.testing.assert_allclose(found, fitted(TEXTS), atol=1e-6)
    after = classifier.test_on_batch(TEXTS, LABELS, return_dict=True)
    assert after["loss"] < before["loss"]
    with pytest.raises(UserError, match="y: is missing"):
        classifier.train_on_batch(TEXTS)


def test_a_planned_learning_rate_needs_fit(classifier):
    classifier.compile()
    with pytest.raises(UserError, match=r'train_on_batch: .*compile\("adam"\)'):
        classifier.train_on_batch(TEXTS, LABELS)


def test_steps_may_be_compiled_by_xla(classifier):
    """XLA compiles the steps, although it cannot compile the tokenizer."""
    plain = keras.Sequential([keras.layers.Dense(1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.compile(jit_compile=True)
    if not plain.jit_compile:
        pytest.skip("an earlier test has made TensorFlow deterministic")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier.compile(jit_compile=True)
    assert classifier.jit_compile
    assert not classifier.tokenizer.supports_jit


def test_a_list_of_texts_to_validate_on(model):
    made = electra_tf.MaskedLM.from_pretrained(model)
    made.compile(run_eagerly=True)
    found = [
        made.fit(TEXTS, verbose=0, validation_data=held).history["val_loss"]
        for held in (TEXTS, (TEXTS,))
    ]
    assert all(np.isfinite(found))


def test_lora_after_your_own_optimizer(classifier):
    """The optimizer is created again for the variables that now train."""
    classifier.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    classifier.enable_lora(2, verbose=False)
    before = classifier.evaluate(TEXTS, LABELS, verbose=0)[0]
    for _ in range(3):
        classifier.train_on_batch(TEXTS, LABELS)
    assert classifier.evaluate(TEXTS, LABELS, verbose=0)[0] < before
    assert type(classifier.optimizer).__name__ == "SGD"


def test_saved_before_anything_is_compiled(model, tmp_path):
    """A model that was never compiled can be saved and loaded."""
    made = electra_tf.TokenClassifier.from_pretrained(model, labels=["O", "X"])
    made.save_pretrained(str(tmp_path / "tagger"))
    words = [["a", "good", "cat"]]
    found = electra_tf.TokenClassifier.from_pretrained(str(tmp_path / "tagger"))
    np.testing.assert_array_equal(
        found.predict(words, verbose=0)[0], made.predict(words, verbose=0)[0]
    )


def test_a_file_that_could_not_be_read_is_not_written(classifier, tmp_path):
    with pytest.raises(UserError, match=r"x\.h5: .* HDF5; name a \.keras file"):
        classifier.save(tmp_path / "x.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_commands_take_a_directory(classifier, model, tmp_path):
    """Each command accepts a directory that `save_pretrained` wrote."""
    classifier.fit(TEXTS, LABELS, verbose=0)
    wanted = classifier.predict(TEXTS, verbose=0)
    names = [classifier.labels[i] for i in wanted.argmax(axis=1)]
    saved, data = str(tmp_path / "saved"), tmp_path / "data"
    classifier.save_pretrained(saved)
    data.mkdir()
    rows = "".join(map("{}\t{}\n".format, TEXTS, LABELS))
    for split in ("train", "dev"):
        (data / f"{split}.tsv").write_text("text\tlabel\n" + rows)

    with pytest.raises(UserError, match="--data"):
        electra_tf.evaluate(saved)
    found = electra_tf.evaluate(saved, data=str(data)).metrics["validation"]
    right = sum(a == b for a, b in zip(names, LABELS))
    assert found["accuracy"] == 25.0 * right

    answers = str(tmp_path / "answers.jsonl")
    electra_tf.predict(saved, str(data / "dev.tsv"), answers)
    lines = [json.loads(x) for x in open(answers).read().splitlines()]
    assert [line["predicted_label"] for line in lines] == names
    np.testing.assert_allclose(
        [[x["probabilities"][n] for n in ("bad", "good")] for x in lines],
        wanted, atol=1e-6,
    )  # fmt: skip

    served = electra_tf.export(saved, str(tmp_path / "served")).path
    serve = tf.saved_model.load(served).signatures["serving_default"]
    np.testing.assert_allclose(
        serve(text=tf.constant(TEXTS))["probabilities"], wanted, atol=1e-5
    )

    for kind in ("huggingface", "tf1", "electra_tf", "keras_hub"):
        other = str(tmp_path / kind)
        electra_tf.convert(saved, kind, other)
        if kind == "huggingface":
            again = electra_tf.TextClassifier.from_pretrained(other)
            np.testing.assert_allclose(
                again.predict(TEXTS, verbose=0), wanted, atol=1e-6
            )

    run = str(tmp_path / "run")
    electra_tf.finetune(
        run, task="classification", data=str(data), model=saved,
        train={"num_train_epochs": 1}, options={"max_seq_length": 16},
    )  # fmt: skip
    opened = electra_tf.TextClassifier.from_pretrained(run)
    assert opened.labels == ("bad", "good")
    assert opened.classify(TEXTS) == [
        found["label"] for found in electra_tf.load(run).predict(TEXTS)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [None, "adam"])
def test_two_devices(optimizer, model, tmp_path):
    """On two devices a model trains, evaluates 3 rows, saves and loads."""
    code = f"""
import keras
import numpy as np, keras, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import electra_tf
texts, labels = {TEXTS!r}, {LABELS!r}
alone = electra_tf.TextClassifier.from_pretrained(
    {model!r}, labels=["bad", "good"])
wanted = alone.evaluate(texts[:3], labels[:3], verbose=0)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = electra_tf.TextClassifier.from_pretrained(
        {model!r}, labels=["bad", "good"])
    model.compile({optimizer!r})
found = model.evaluate(texts[:3], labels[:3], verbose=0)
np.testing.assert_allclose(found, wanted, rtol=1e-5)
held = (texts[:3], labels[:3])
history = model.fit(texts, labels, batch_size=4, epochs=2, verbose=0,
                    validation_data=held).history
assert np.isfinite(history["val_loss"]).all(), history
model.save("x.keras")
again = keras.saving.load_model("x.keras")
np.testing.assert_array_equal(
    again.predict(texts, verbose=0), model.predict(texts, verbose=0))
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    filler = electra_tf.MaskedLM.from_pretrained({model!r})
    filler.compile()
assert np.isfinite(filler.evaluate(texts, verbose=0)).all()
print("equal")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT},
    )  # fmt: skip
    assert done.stdout.endswith("equal\n"), done.stderr[-3000:]


class Parts(keras.utils.PyDataset):
    """Returns two batches of two texts, and counts the epochs that ended."""

    def __init__(self):
        super().__init__()
        self.ended = 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        at = slice(2 * index, 2 * index + 2)
        return np.array(TEXTS[at], object), np.array(LABELS[at])

    def on_epoch_end(self):
        """Counts the epoch."""
        self.ended += 1


def test_batches_that_python_makes(model):
    """A PyDataset and a generator train as a dataset of the same batches."""
    data = tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)).batch(2)

    def generator():
        while True:
            yield from Parts()

    found = []
    for x in (data, Parts(), generator()):
        made = opened(model)
        made.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        made.fit(x, steps_per_epoch=2, epochs=2, verbose=0, shuffle=False)
        found.append(made.predict(TEXTS, verbose=0))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    expected = made.evaluate(TEXTS, LABELS, verbose=0)
    parts = Parts()
    assert made.evaluate(parts, verbose=0) == pytest.approx(expected)
    assert parts.ended
    assert made.evaluate(generator(), steps=2, verbose=0) == pytest.approx(
        expected
    )
    np.testing.assert_allclose(
        made.predict(iter(Parts()), verbose=0), found[0], atol=1e-6
    )
    parts = Parts()
    made.fit(parts, epochs=2, verbose=0)
    assert parts.ended == 2  # reading the first batches ends no epoch
    with pytest.raises(UserError, match="batch_size: x comes in batches"):
        made.fit(Parts(), batch_size=2, verbose=0)
    with pytest.raises(UserError, match="y: a dataset holds its own"):
        made.fit(Parts(), LABELS, verbose=0)


def test_a_generator_that_ends_and_the_usual_optimizer(classifier):
    with pytest.raises(UserError, match="steps_per_epoch"):
        classifier.fit(iter(Parts()), verbose=0)
    reduce = keras.callbacks.ReduceLROnPlateau()
    with pytest.raises(UserError, match="ReduceLROnPlateau sets the learning"):
        classifier.fit(TEXTS, LABELS, callbacks=[reduce], verbose=0)


def test_texts_by_name_and_in_a_column(classifier):
    expected = classifier.predict(TEXTS, verbose=0)
    for x in (
        {"text": TEXTS}, np.array(TEXTS)[:, None], [[t] for t in TEXTS],
    ):  # fmt: skip
        np.testing.assert_array_equal(
            classifier.predict(x, verbose=0), expected
        )
    pairs = classifier.predict((TEXTS, TEXTS[::-1]), verbose=0)
    named = {"text": TEXTS, "text_pair": TEXTS[::-1]}
    np.testing.assert_array_equal(classifier.predict(named, verbose=0), pairs)
    with pytest.raises(UserError, match="'text_pair', got one with sentence"):
        classifier.predict({"sentence": TEXTS}, verbose=0)


def test_losses_and_metrics_that_need_one_hot_labels(classifier):
    """One-hot losses and metrics of Keras work, but not with sparse ones."""
    f1 = keras.metrics.F1Score(average="macro")
    metrics = ["accuracy", f1, keras.metrics.AUC(name="auc")]
    classifier.compile("adam", "mse", metrics, run_eagerly=True)
    found = classifier.evaluate(TEXTS, LABELS, verbose=0, return_dict=True)
    scores = classifier.scores(TEXTS, LABELS)
    assert found["f1_score"] == pytest.approx(scores["macro_f1"] / 100)
    assert found["accuracy"] == pytest.approx(scores["accuracy"] / 100)
    probabilities = classifier.predict(TEXTS, verbose=0)
    wanted = np.eye(2)[[1, 0] * 2]
    expected = np.mean((probabilities - wanted) ** 2)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    auc = keras.metrics.AUC()
    auc.update_state(wanted, probabilities)
    assert found["auc"] == pytest.approx(float(auc.result()), abs=1e-6)
    with pytest.raises(UserError, match=r"f1.?score: needs one-hot labels"):
        classifier.compile("adam", "sparse_categorical_crossentropy", [f1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: 0; expected a number from 1 on"),
        ({"steps_per_epoch": -1}, "steps_per_epoch: -1; expected"),
        ({"validation_data": TEXTS}, r"validation_data: expected \(x, y\)"),
        ({"class_weight": "balanced"}, "class_weight: expected a mapping"),
        ({"class_weight": [1.0, 2.0]}, "class_weight: expected a mapping"),
        (
            {"class_weight": {"good": float("nan")}},
            r"class_weight\[0\]: expected a number, got nan",
        ),
    ],
)
def test_wrong_arguments_of_fit(classifier, arguments, message):
    with pytest.raises(UserError, match=message):
        classifier.fit(TEXTS, LABELS, verbose=0, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes: 0; expected at least 2"),
        ({"labels": ["a"]}, "labels: 1; expected at least 2"),
        ({"labels": ["a", "b", "a"]}, "labels: 'a' is given twice"),
        ({"labels": {"a", "b"}}, "labels: expected a list of names, got {"),
        ({"num_classes": 2, "seed": -1}, "seed: -1; expected a whole number"),
        ({"num_classes": 2, "seed": None}, "seed: None; expected a whole num"),
        ({"num_classes": 2, "max_seq_length": 4096}, "expected at most 48"),
        ({"num_classes": 2, "dtype": "float8"}, "dtype: 'float8' is none of"),
    ],
)
def test_wrong_arguments_of_from_pretrained(model, arguments, message):
    with pytest.raises(UserError, match=message):
        electra_tf.TextClassifier.from_pretrained(model, **arguments)


def test_a_column_of_strings_and_a_path_for_a_config(classifier, model):
    texts = keras.Input((1,), dtype="string")
    made = keras.Model(texts, classifier(texts))
    np.testing.assert_allclose(
        made(tf.constant(TEXTS)[:, None]), classifier(TEXTS), atol=1e-6
    )
    with pytest.raises(UserError, match="expected strings, got "):
        classifier(np.zeros((2, 4), int))
    with pytest.raises(UserError, match=r"from_pretrained.* loads a model"):
        electra_tf.Encoder(model)


@pytest.mark.slow
def test_export_of_keras(classifier, model, tmp_path):
    """An exported model takes strings, though it was never called before."""
    classifier.export(str(tmp_path / "texts"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "texts"))
    np.testing.assert_allclose(
        loaded.serve(tf.constant(TEXTS)), classifier(TEXTS), atol=1e-6
    )
    ranker = electra_tf.CrossEncoder.from_pretrained(model)
    ranker.export(str(tmp_path / "pairs"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "pairs"))
    pairs = tf.constant(TEXTS), tf.constant(TEXTS[::-1])
    np.testing.assert_allclose(loaded.serve(pairs), ranker(pairs), atol=1e-6)
    tagger = electra_tf.TokenClassifier.from_pretrained(model, labels=["a"])
    with pytest.raises(UserError, match="export: a TokenClassifier is called"):
        tagger.export(str(tmp_path / "words"))


class _Stop(keras.callbacks.Callback):
    """Stops after an epoch; notes the learning rate of each step."""

    def __init__(self, epoch=None):
        super().__init__()
        self.epoch, self.rates = epoch, []

    def on_train_batch_begin(self, batch, logs=None):
        optimizer = self.model.optimizer
        self.rates.append(float(optimizer.learning_rate))

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.stop_training = True


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("optimizer", [None, "adam"])
def test_a_stopped_fit_continues(optimizer, in_file, model, tmp_path):
    """The same weights as uninterrupted: rates, batches and dropout."""
    whole, parts = opened(model), opened(model)
    data = {"x": TEXTS, "y": LABELS, "batch_size": 1, "verbose": 0}
    for each in (whole, parts):
        each.compile(optimizer, run_eagerly=True)
    whole.fit(**data, epochs=3)
    parts.fit(**data, epochs=3, callbacks=[_Stop(0)])
    if in_file:
        parts.save(tmp_path / "model.keras")
        parts = keras.saving.load_model(tmp_path / "model.keras")
    parts.fit(**data, epochs=3, initial_epoch=1)
    for ours, theirs in zip(parts.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_more_epochs_than_were_planned(classifier):
    """The learning rate is planned again over the epochs that are left."""
    classifier.compile(run_eagerly=True)
    data = {"x": TEXTS, "y": LABELS, "batch_size": 1, "verbose": 0}
    classifier.fit(**data, epochs=1)
    for epochs in (3, 3):  # more; and the same ones again
        before = [v.numpy() for v in classifier.trainable_variables]
        seen = _Stop()
        classifier.fit(**data, epochs=epochs, initial_epoch=1, callbacks=[seen])
        assert len(seen.rates) == 8 and min(seen.rates[1:]) > 0
        after = classifier.trainable_variables
        assert all(np.any(v != w) for v, w in zip(after, before))


class _Scores(keras.callbacks.Callback):
    """Evaluates on other data before each epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.evaluate(TEXTS[:3], [3.0, 1.0, 2.0], verbose=0)


def test_scores_are_of_the_data_that_was_given(model):
    """Of so many batches as are asked for, whatever a callback evaluates."""
    texts = [*TEXTS, *reversed(TEXTS)]
    numbers = np.array([3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0, 6.0])
    made = electra_tf.TextRegressor.from_pretrained(model, scale=5.0)
    made.compile("sgd", run_eagerly=True)
    rows = tf.data.Dataset.from_tensor_slices((texts, numbers))
    asked = {"verbose": 0, "return_dict": True}
    wanted = made.evaluate(texts[:4], numbers[:4], **asked)
    assert wanted["pearson"] != made.evaluate(rows, **asked)["pearson"]
    endless = rows.batch(2).repeat()
    for data, size in ((rows, 2), (endless, None)):
        found = made.evaluate(data, batch_size=size, steps=2, **asked)
        assert found == pytest.approx(wanted)
    assert len(made.predict(rows, batch_size=3, steps=2, verbose=0)) == 6
    history = made.fit(
        texts, numbers, verbose=0, callbacks=[_Scores()],
        validation_data=endless, validation_steps=2,
    ).history  # fmt: skip
    wanted = made.evaluate(texts[:4], numbers[:4], **asked)
    assert {name: history[f"val_{name}"][-1] for name in wanted} == (
        pytest.approx(wanted)
    )


def test_calling_a_model_on_a_list_of_pairs(model):
    """And on a column, as `predict` takes them."""
    made = electra_tf.TextClassifier.from_pretrained(model, num_classes=2)
    pairs = [["a good cat", "the dog"], ["one", "two"]]
    wanted = made((["a good cat", "one"], ["the dog", "two"]))
    for form in (pairs, [tuple(pair) for pair in pairs], np.array(pairs)):
        np.testing.assert_array_equal(made(form), wanted)
    wanted = made(["a good cat", "one"])
    np.testing.assert_array_equal(made([["a good cat"], ["one"]]), wanted)


def test_one_label_or_none_and_the_threshold_of_labels(model):
    """The usual metric decides as `classify` does."""
    made = electra_tf.TextClassifier.from_pretrained(
        model,
        labels=["toxic"],
        multi_label=True,
        options={"threshold": 0.9},
        seed=3,
    )
    made.compile(run_eagerly=True)
    share = made.predict(TEXTS, verbose=0).ravel()
    assert np.all((0.1 < share) & (share < 0.9))  # untrained
    assert made.classify(TEXTS) == [[]] * 4
    for y, right in (([[]] * 4, 1.0), ([["toxic"]] * 4, 0.0), ([[1]] * 4, 0.0)):
        assert made.evaluate(TEXTS, y, verbose=0)[1] == right


def test_calling_a_tagger_and_an_answerer(model):
    tagger = electra_tf.TokenClassifier.from_pretrained(model, num_classes=2)
    for text in ("a good cat", ["a good cat"]):
        with pytest.raises(UserError, match="takes lists of words, got texts"):
            tagger(text)
    answerer = electra_tf.QuestionAnswerer.from_pretrained(model)
    found = answerer([{"question": "who sat?", "context": "the cat sat"}])
    wanted = answerer((["who sat?"], ["the cat sat"]))
    np.testing.assert_array_equal(found["start"], wanted["start"])


@pytest.mark.parametrize("kind", ["MaskedLM", "ReplacedTokenDetector"])
def test_part_of_the_texts_is_held_out(kind, model):
    """With `validation_split`, as `validation_data` of the same texts."""
    made = getattr(electra_tf, kind).from_pretrained(model)
    made.compile("sgd", run_eagerly=True)
    found = made.fit(TEXTS, validation_split=0.5, verbose=0).history["val_loss"]
    loss = made.evaluate(TEXTS[2:], verbose=0, return_dict=True)["loss"]
    assert found == [pytest.approx(loss)]


def test_nothing_to_read_is_answered(model):
    """As by `electra_tf.load`; to learn from, it is refused."""
    answerer = electra_tf.QuestionAnswerer.from_pretrained(model)
    pairs = [("who sat?", ""), ("who sat?", "the cat sat")]
    found = answerer.predict(pairs, verbose=0)
    assert found[0]["answer"] == "" and found[1]["answer"]
    with pytest.raises(UserError, match=r"x\[0\]: its context is empty"):
        answerer.fit(pairs, ["cat", "cat"], verbose=0)
    tagger = electra_tf.TokenClassifier.from_pretrained(model, num_classes=3)
    for sentences in ([[], ["a", "cat"]], ["", "a cat"]):
        shapes = [p.shape for p in tagger.predict(sentences, verbose=0)]
        assert shapes == [(0, 3), (2, 3)]
    assert tagger.classify([[], []]) == [[], []]
