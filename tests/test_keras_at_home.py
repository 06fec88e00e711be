"""Tests what a Keras and KerasHub user expects, by public names alone.

There is one test for each expectation. Saving, inputs, the tokenizer, tasks,
LoRA and explaining have their own tests.
"""

import contextlib
import copy
import os
import pickle
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import electra_tf
from electra_tf.errors import UserError

TEXTS = ["a good cat", "the dog is not", "very good sister", "not that house"]
LABELS = [1, 0, 1, 0]
NETWORKS = ("Encoder", "Discriminator", "Generator")
TASKS = {
    "TextClassifier": {"num_classes": 2},
    "TextRegressor": {},
    "TokenClassifier": {"labels": ["O", "X"]},
    "QuestionAnswerer": {},
    "CrossEncoder": {},
    "MaskedLM": {},
    "ReplacedTokenDetector": {},
}


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model


@pytest.fixture(scope="module")
def encoder(model):
    return electra_tf.Encoder.from_pretrained(model)


def opened(name, model):
    return getattr(electra_tf, name).from_pretrained(
        model, **TASKS.get(name, {})
    )


def answered(network):
    """Returns all outputs of a network for the texts."""
    batch = network.tokenizer.encode(TEXTS)
    return [
        np.asarray(x) for x in tf.nest.flatten(network(batch)) if x is not None
    ]


def assert_equal(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


# --- saved, cloned, copied ---------------------------------------------------
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_saved_and_copied(name, model, tmp_path):
    joblib = pytest.importorskip("joblib")
    network = opened(name, model)
    wanted = answered(network)
    path = tmp_path / "x.keras"
    network.save(path)
    assert_equal(answered(keras.saving.load_model(path)), wanted)
    assert_equal(answered(copy.deepcopy(network)), wanted)
    assert_equal(answered(pickle.loads(pickle.dumps(network))), wanted)
    joblib.dump(network, tmp_path / "x.joblib")
    assert_equal(answered(joblib.load(tmp_path / "x.joblib")), wanted)
    made = type(network).from_config(network.get_config())
    assert type(made) is type(network)


def test_checkpoints_and_backups_of_fit(model, tmp_path):
    task = opened("TextClassifier", model)
    task.compile(learning_rate=1e-2, run_eagerly=True)
    task.fit(
        TEXTS, LABELS, batch_size=2, epochs=2, verbose=0,
        callbacks=[
            keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        ],
    )  # fmt: skip
    found = keras.saving.load_model(tmp_path / "2.keras")
    assert_equal(
        [found.predict(TEXTS, verbose=0)], [task.predict(TEXTS, verbose=0)]
    )
    first = keras.saving.load_model(tmp_path / "1.keras")
    assert not np.array_equal(
        first.predict(TEXTS, verbose=0), task.predict(TEXTS, verbose=0)
    )


class _StopAt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def test_a_fit_after_one_that_was_restored(model, tmp_path):
    """A backup's epoch is that of one `fit`: the next has all of its epochs."""
    data = {"x": TEXTS, "y": LABELS, "batch_size": 2, "verbose": 0}
    whole, stopped, task = (opened("TextClassifier", model) for _ in range(3))
    for each in (whole, stopped, task):
        each.compile(learning_rate=1e-3, run_eagerly=True)
    whole.fit(**data, epochs=3)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(**data, epochs=3, callbacks=[backup, _StopAt(1)])
    assert task.fit(**data, epochs=3, callbacks=[backup]).epoch == [1, 2]
    for ours, theirs in zip(task.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert task.fit(**data, epochs=2).epoch == [0, 1]
    assert task.fit(**data, epochs=2, initial_epoch=1).epoch == [1]


def test_backups_within_an_epoch_are_warned_of(model, tmp_path):
    """Keras 3.15.1 resumes from them at the first batch of their epoch."""
    task = opened("TextClassifier", model)
    task.compile(learning_rate=1e-3, run_eagerly=True)
    within = keras.callbacks.BackupAndRestore(tmp_path / "x", save_freq=2)
    with pytest.warns(UserWarning, match="save_freq=2.* first batch of its"):
        task.fit(TEXTS, LABELS, batch_size=4, verbose=0, callbacks=[within])
    after = keras.callbacks.BackupAndRestore(tmp_path / "x")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        task.fit(TEXTS, LABELS, batch_size=4, verbose=0, callbacks=after)
    assert not [w for w in said if "save_freq" in str(w.message)]


def test_a_network_fits_after_one_that_was_restored(model, tmp_path):
    """The same for a network that is trained with your own loss."""
    batch = opened("Discriminator", model).tokenizer.encode(TEXTS)
    data = tf.data.Dataset.from_tensors(
        (batch, np.zeros(batch["input_ids"].shape))
    )
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    for stop in ([_StopAt(1)], []):
        network = opened("Discriminator", model)
        network.compile(
            keras.optimizers.SGD(1e-3), "binary_crossentropy", run_eagerly=True
        )
        with contextlib.suppress(KeyboardInterrupt):
            network.fit(data, epochs=2, verbose=0, callbacks=[backup, *stop])
    assert network.history.epoch == [1]
    assert network.fit(data, epochs=2, verbose=0).epoch == [0, 1]


_LOAD = """
import sys
import numpy as np
import keras
import electra_tf

folder = sys.argv[1]
texts = {texts!r}
for name in {names!r}:
    found = keras.saving.load_model(f"{{folder}}/{{name}}.keras")
    batch = found.tokenizer.encode(texts)
    import tensorflow as tf
    values = [np.asarray(x) for x in tf.nest.flatten(found(batch))
              if x is not None]
    np.savez(f"{{folder}}/{{name}}.npz", *values)
"""


@pytest.mark.slow
def test_a_fresh_process_loads_the_same(model, tmp_path):
    """After `import electra_tf`, networks load without custom objects."""
    wanted = {}
    for name in NETWORKS:
        network = opened(name, model)
        network.save(tmp_path / f"{name}.keras")
        wanted[name] = answered(network)
    code = _LOAD.format(texts=TEXTS, names=NETWORKS)
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    for name in NETWORKS:
        with np.load(tmp_path / f"{name}.npz") as found:
            assert_equal([found[key] for key in found.files], wanted[name])


# --- strings -----------------------------------------------------------------
@pytest.mark.slow
def test_a_task_fits_and_predicts_strings(model):
    task = electra_tf.TextClassifier.from_pretrained(
        model, labels=["bad", "good"]
    )
    task.compile(learning_rate=1e-2, run_eagerly=True)
    task.fit(["good", "bad"], [1, 0], epochs=25, verbose=0)
    found = task.predict(["good", "bad"], verbose=0)
    assert found.shape == (2, 2)
    assert found.argmax(axis=1).tolist() == [1, 0]
    assert task.classify(["good", "bad"]) == ["good", "bad"]


@pytest.mark.parametrize("name", TASKS)
def test_every_task_opens_with_a_preprocessor(name, model):
    task = opened(name, model)
    assert isinstance(task.preprocessor, keras.layers.Layer)
    assert len(repr(task)) < 200


# --- inputs ------------------------------------------------------------------
def test_the_tokenizer_s_dict_is_an_input(encoder):
    batch = encoder.tokenizer.encode(TEXTS)
    wanted = encoder(**batch).sequence_output
    assert_equal([encoder(batch).sequence_output], [wanted])
    hugging = {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["input_mask"],
        "token_type_ids": batch["segment_ids"],
    }
    assert_equal([encoder(**hugging).sequence_output], [wanted])
    hub = {
        "token_ids": batch["input_ids"],
        "padding_mask": batch["input_mask"],
        "segment_ids": batch["segment_ids"],
    }
    assert_equal([encoder(hub).sequence_output], [wanted])


def test_one_text_alone(encoder):
    tokenizer = electra_tf.Tokenizer(encoder.tokenizer)
    batch = tokenizer.encode("a good cat")
    assert encoder(batch).sequence_output.shape[:2] == (1, 5)


def test_strings_to_vectors_in_a_functional_model(encoder, tmp_path):
    texts = keras.Input(shape=(), dtype="string")
    tokenizer = electra_tf.Tokenizer(encoder.tokenizer)
    whole = keras.Model(texts, encoder(tokenizer(texts)).first_output)
    wanted = encoder(encoder.tokenizer.encode(TEXTS)).first_output
    np.testing.assert_allclose(whole(tf.constant(TEXTS)), wanted, atol=1e-6)
    whole.save(tmp_path / "x.keras")
    found = keras.saving.load_model(tmp_path / "x.keras")
    assert_equal([found(tf.constant(TEXTS))], [whole(tf.constant(TEXTS))])


def test_the_vocabulary_of_a_tokenizer(encoder, tiny_tokens):
    tokenizer = electra_tf.Tokenizer(encoder.tokenizer)
    assert tokenizer.vocabulary_size() == len(tiny_tokens)
    assert tokenizer.get_vocabulary() == list(tiny_tokens)
    mask = tokenizer.token_to_id("[MASK]")
    assert tokenizer.id_to_token(mask) == "[MASK]"
    assert len(repr(tokenizer)) < 200


def test_what_an_encoder_shows(encoder):
    batch = encoder.tokenizer.encode(TEXTS)
    output = encoder(batch, return_attentions=True)
    assert len(output.attentions) == len(output.all_layers) == 2
    length = batch["input_ids"].shape[1]
    assert output.attentions[0].shape == (4, 2, length, length)
    np.testing.assert_allclose(
        tf.reduce_sum(output.attentions[1], -1), np.ones((4, 2, length)), 1e-5
    )
    vectors = tf.gather(encoder.embeddings.word_embeddings, batch["input_ids"])
    others = {k: v for k, v in batch.items() if k != "input_ids"}
    assert_equal(
        [encoder(inputs_embeds=vectors, **others).sequence_output],
        [output.sequence_output],
    )


# --- settings of loading -----------------------------------------------------
def test_dtype_name_weights_and_overrides(model):
    small = electra_tf.Encoder.from_pretrained(
        model, dtype="mixed_bfloat16", name="left"
    )
    assert small.name == "left"
    assert small.compute_dtype == "bfloat16"
    drawn = electra_tf.Encoder.from_pretrained(model, load_weights=False)
    same = electra_tf.Encoder.from_pretrained(model)
    assert not np.array_equal(
        drawn.embeddings.word_embeddings, same.embeddings.word_embeddings
    )
    changed = electra_tf.Encoder.from_pretrained(
        model, overrides={"model.hidden_dropout": 0.2}
    )
    assert changed.config.hidden_dropout == 0.2


# --- programs of your own ---------------------------------------------------
def siamese(model):
    left = electra_tf.Encoder.from_pretrained(model, name="left")
    right = electra_tf.Encoder.from_pretrained(model, name="right")
    texts = {
        side: keras.Input(shape=(), dtype="string", name=side)
        for side in ("a", "b")
    }
    tokenizer = electra_tf.Tokenizer(left.tokenizer)
    vectors = [
        encoder(tokenizer(text)).first_output
        for encoder, text in zip((left, right), texts.values())
    ]
    return keras.Model(texts, keras.layers.Dot(1, normalize=True)(vectors))


def frozen_with_a_head(model):
    encoder = electra_tf.Encoder.from_pretrained(model)
    encoder.trainable = False
    texts = keras.Input(shape=(), dtype="string", name="a")
    tokenizer = electra_tf.Tokenizer(encoder.tokenizer)
    first = encoder(tokenizer(texts)).first_output
    made = keras.Model({"a": texts}, keras.layers.Dense(1)(first))
    assert len(made.trainable_variables) == 2
    return made


@pytest.mark.parametrize(
    "build",
    [pytest.param(siamese, marks=pytest.mark.slow), frozen_with_a_head],
)
def test_your_own_models_train_and_are_saved(build, model, tmp_path):
    made = build(model)
    paths = [v.path for v in made.variables]
    assert len(set(paths)) == len(paths)
    texts = {"a": tf.constant(TEXTS[:2]), "b": tf.constant(TEXTS[2:])}
    given = {key: texts[key] for key in made.input}
    target = tf.constant([[1.0], [0.0]])
    made.compile("adam", "mse", run_eagerly=True)
    before = made.evaluate(given, target, verbose=0)
    made.fit(given, target, epochs=3, verbose=0)
    assert made.evaluate(given, target, verbose=0) < before
    made.save(tmp_path / "x.keras")
    found = keras.saving.load_model(tmp_path / "x.keras")
    assert_equal([found(given)], [made(given)])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["mirrored", "jit", "mixed_bfloat16"])
def test_ways_of_training(how, model, tmp_path):
    """A model trained in each way is saved and loaded unchanged."""
    code = f"""
import numpy as np, keras, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import contextlib
import electra_tf
how = {how!r}
scope = contextlib.nullcontext()
if how == "mirrored":
    scope = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()
with scope:
    encoder = electra_tf.Encoder.from_pretrained(
        {model!r}, dtype="mixed_bfloat16" if how == "mixed_bfloat16" else None)
    inputs = {{name: keras.Input((8,), dtype="int32", name=name)
              for name in ("input_ids", "input_mask", "segment_ids")}}
    first = encoder(inputs).first_output
    model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(first))
    model.compile("adam", "mse", jit_compile=how == "jit")
batch = encoder.tokenizer.encode({TEXTS!r}, max_length=8)
batch = {{k: tf.pad(v, [[0, 0], [0, 8 - v.shape[1]]])
         for k, v in batch.items()}}
y = tf.constant([[1.0], [0.0], [1.0], [0.0]])
history = model.fit(batch, y, epochs=4, batch_size=4, verbose=0).history
assert history["loss"][-1] < history["loss"][0], history
model.save({str(tmp_path / "x.keras")!r})
found = keras.saving.load_model({str(tmp_path / "x.keras")!r})
np.testing.assert_array_equal(found(batch), model(batch))
print("equal")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.stdout.endswith("equal\n"), done.stderr[-3000:]


# --- adaptation --------------------------------------------------------------
def test_lora_and_what_is_refused(model, tmp_path, capsys):
    task = opened("TextClassifier", model)
    task.compile(learning_rate=1e-2, run_eagerly=True)
    wanted = task.predict(TEXTS, verbose=0)
    task.enable_lora(4)
    assert "train" in capsys.readouterr().out
    np.testing.assert_allclose(
        task.predict(TEXTS, verbose=0), wanted, atol=1e-6
    )
    task.fit(TEXTS, LABELS, epochs=2, verbose=0)
    changed = task.predict(TEXTS, verbose=0)
    assert not np.allclose(changed, wanted)
    task.save_pretrained(str(tmp_path / "merged"))
    found = electra_tf.TextClassifier.from_pretrained(str(tmp_path / "merged"))
    np.testing.assert_allclose(
        found.predict(TEXTS, verbose=0), changed, atol=1e-5
    )
    with pytest.raises(UserError, match="quantize"):
        task.quantize("int8")


# --- what is reported --------------------------------------------------------
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"input_ids": np.ones((1, 49), "int32")}, "49.*48"),
        ({"input_ids": np.full((1, 3), 10**6, "int32")}, "1000000"),
        ({"input_ids": np.ones(3, "int32")}, r"\[batch, length\]|\[B, L\]"),
        ({"input_ids": np.ones((1, 3))}, "float64"),
        ({"input_ids": np.array([["a"]])}, "text|string"),
    ],
)
def test_wrong_inputs_are_reported_in_one_line(encoder, batch, message):
    with pytest.raises((UserError, ValueError), match=message) as caught:
        encoder(batch)
    assert str(caught.value).count("\n") <= 5  # Keras adds the arguments


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_another_backend_is_refused_in_one_line(name):
    environment = {**os.environ, "KERAS_BACKEND": name}
    done = subprocess.run(
        [sys.executable, "-c", "import electra_tf; electra_tf.Encoder"],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert name in last and "KERAS_BACKEND=tensorflow" in last
    done = subprocess.run(
        [
            sys.executable, "-m", "electra_tf", "predict",
            "--model=x", "--input=x", "--output=x",
        ],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert "KERAS_BACKEND=tensorflow" in done.stderr
    assert "Traceback" not in done.stderr


# --- KerasHub ----------------------------------------------------------------
@pytest.mark.slow
def test_keras_hub_opens_our_preset(model, tmp_path):
    import keras_hub

    import electra_tf.keras_hub

    preset = str(tmp_path / "preset")
    electra_tf.convert(model, "keras_hub", preset)
    task = keras_hub.models.TextClassifier.from_preset(preset, num_classes=2)
    task.fit(TEXTS, LABELS, batch_size=2, verbose=0)
    assert task.predict(TEXTS, verbose=0).shape == (4, 2)


# --- with optimizers of Keras ------------------------------------------------
REPEATED = ["the the the the the the the the dog"] * 4


def _moved(network, step):
    """Maps a weight's path to how far `step` moved it."""
    before = [v.numpy() for v in network.trainable_variables]
    step()
    return {
        v.path: v.numpy() - old
        for v, old in zip(network.trainable_variables, before, strict=True)
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_repeated_tokens_in_adam_and_clipping(name, model):
    """Adam's first step is the learning rate, however often a token occurs.

    Keras 3.15.1 squares sparse gradients before it adds their rows.
    """
    network = opened(name, model)
    batch = network.tokenizer.encode(REPEATED)

    def step(optimizer):
        with tf.GradientTape() as tape:
            output = tf.nest.flatten(network(batch))[0]
            loss = tf.reduce_sum(output[..., :1]) * 100.0
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    moved = _moved(network, lambda: step(keras.optimizers.Adam(1e-3)))
    table = next(x for p, x in moved.items() if p.endswith("word_embeddings"))
    assert np.abs(table).max() == pytest.approx(1e-3, rel=1e-3)
    sgd = keras.optimizers.SGD(1.0, global_clipnorm=0.1)
    moved = _moved(network, lambda: step(sgd))
    norm = np.sqrt(
        sum((x.astype("float64") ** 2).sum() for x in moved.values())
    )
    assert norm == pytest.approx(0.1, rel=1e-3)


def test_repeated_tokens_in_a_task(model):
    task = opened("TextClassifier", model)
    task.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
    moved = _moved(
        task, lambda: task.fit(REPEATED, LABELS, batch_size=4, verbose=0)
    )
    table = next(x for p, x in moved.items() if p.endswith("word_embeddings"))
    assert np.abs(table).max() == pytest.approx(1e-3, rel=1e-3)
