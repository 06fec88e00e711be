"""Tests the conversion of fine-tuned heads to and from Hugging Face's format.

Directories are in the form that transformers and sentence-transformers write;
`test_tools_check_huggingface.py` compares with these libraries themselves.
"""

import dataclasses
import json

import h5py
import hub_models
import keras
import numpy as np
import pytest

import electra_tf
from electra_tf import tensors
from electra_tf.errors import UserError
from electra_tf.hub import huggingface, loading
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.prediction import predictor
from electra_tf.recipes.convert import convert
from electra_tf.text.vocab import SPECIALS, Vocab

VOCAB = Vocab((*SPECIALS, *"abcdefgh"))
SHAPE = ModelConfig(
    vocab_size=13, embedding_size=8, hidden_size=16, num_layers=1, num_heads=2,
    intermediate_size=16, max_positions=32,
)  # fmt: skip
NUMBER = TaskHeadConfig("sequence", 1)
ITEMS = ["a b c", "d", "h g f e d c b a"]
PAIRS = [("a b", "c"), ("d", "e f g h")]


def model_of(task, about=None, shape=SHAPE, seed=3):
    """Returns a checkpoint with a head, as after fine-tuning."""
    config = hub_models.directory_config(
        shape, None, replaced_token_head=False, task=task, fine_tuning=about
    )
    return hub_models.checkpoint(config, VOCAB, seed)


def ours(path, task, name, options=None, state=None, **more):
    """Writes a fine-tuned model as a model directory; returns the path."""
    about = {"task": name, "options": options or {}, "state": state or {}}
    loading.format_module("electra_tf").write(
        str(path), model_of(task, about, **more)
    )
    return str(path)


def to_huggingface(source, tmp_path):
    target = str(tmp_path / "huggingface")
    made = convert(source, "huggingface", target)
    assert made.lost == ()
    content = json.loads((tmp_path / "huggingface/config.json").read_text())
    return target, content


def from_huggingface(tmp_path, task=NUMBER, shape=SHAPE, **changes):
    """Writes a Hugging Face directory with a head; returns the path.

    `changes` of its config say what the head means.
    """
    huggingface.write(str(tmp_path), model_of(task, shape=shape))
    if changes:
        hub_models.edit(tmp_path / "config.json", **changes)
    return str(tmp_path)


def predictions(path, items=ITEMS, **options):
    return predictor.load(path, **options).predict(items)


def numbers(found):
    return np.array([prediction["score"] for prediction in found])


@pytest.mark.parametrize(
    ("name", "state", "offset", "scale"),
    [
        ("regression", {"offset": 70.0, "scale": 11.5}, 70.0, 11.5),
        ("regression", {"offset": 0.0, "scale": 1.0}, 0.0, 1.0),
        ("glue/stsb", {}, 0.0, 5.0),
    ],
)
@pytest.mark.parametrize("hidden_layer", [False, True])
def test_a_number_comes_out_as_large_as_in_the_data(
    tmp_path, name, state, offset, scale, hidden_layer
):
    task = TaskHeadConfig("sequence", 1, hidden_layer=hidden_layer)
    options = {"hidden_layer": hidden_layer}
    source = ours(tmp_path / "ours", task, name, options, state)
    items = PAIRS if name == "glue/stsb" else ITEMS
    expected = numbers(predictions(source, items))
    target, content = to_huggingface(source, tmp_path)
    assert content["problem_type"] == "regression"
    # The activation that sentence-transformers applies to the score.
    assert content["sentence_transformers"]["activation_fn"].endswith(
        ".Identity"
    )
    np.testing.assert_allclose(
        numbers(predictions(target, items)), expected, rtol=2e-6, atol=1e-5
    )
    # The class alone computes it too, without this package's keys.
    hub_models.edit(tmp_path / "huggingface/config.json", electra_tf=None)
    network = predictor.pretrained.load_task_network(target)
    given = [items] if name == "regression" else zip(*items)
    rows = network.tokenizer.encode(*given)
    np.testing.assert_allclose(
        network(rows).logits.numpy()[:, 0], expected, rtol=2e-6, atol=1e-5
    )
    assert offset == 0 or expected.mean() > 40


@pytest.mark.parametrize("labels", [1, 3, 8])
def test_a_head_alone_is_written_with_a_hidden_layer(tmp_path, labels):
    before = model_of(TaskHeadConfig("sequence", labels))
    assert huggingface.write(str(tmp_path), before) == ()
    back = huggingface.read(str(tmp_path))
    assert back.config == before.config
    hub_models.assert_same_weights(dict(back.weights), before.weights)
    # After further training elsewhere it is a layer like any other.
    name = "classifier.dense.weight"
    hub_models.rewrite(tmp_path, lambda a: a | {name: a[name] + 1})
    back = huggingface.read(str(tmp_path))
    assert back.config.task.hidden_layer
    assert "task/dense/kernel" in back.weights


def test_what_the_hidden_layer_computes(tmp_path):
    before = model_of(TaskHeadConfig("sequence", 3, ("x", "y", "z")))
    loading.format_module("electra_tf").write(str(tmp_path / "a"), before)
    about = {"task": "classification", "options": {}, "state": {}}
    kept = dataclasses.replace(before.config, fine_tuning=about)
    wide = huggingface.meaning.with_hidden_layer(
        dataclasses.replace(before, config=kept)
    )
    loading.format_module("electra_tf").write(str(tmp_path / "b"), wide)
    one, other = (
        predictor.pretrained.load_task_network(str(tmp_path / name))
        for name in "ab"
    )
    rows = one.tokenizer.encode(ITEMS)
    np.testing.assert_allclose(
        one(rows).logits, other(rows).logits, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(UserError, match="half of the hidden size"):
        huggingface.write(
            str(tmp_path / "c"), model_of(TaskHeadConfig("sequence", 9))
        )


LABELS = ("x", "y", "z")
SETS = TaskHeadConfig("sequence", 3, LABELS)


def test_sets_of_labels_to_huggingface(tmp_path):
    options = {"multi_label": True, "threshold": 0.45}
    state = {"labels": list(LABELS)}
    source = ours(tmp_path / "ours", SETS, "classification", options, state)
    expected = predictions(source)
    target, content = to_huggingface(source, tmp_path)
    assert content["problem_type"] == "multi_label_classification"
    found = predictions(target)
    for a, b in zip(found, expected):
        assert a["labels"] == b["labels"]
        np.testing.assert_allclose(
            list(a["probabilities"].values()),
            list(b["probabilities"].values()),
            rtol=1e-5,
        )
    # Labels are independent, so their probabilities do not add up to 1.
    assert any(sum(p["probabilities"].values()) > 1.01 for p in found)


@pytest.mark.parametrize(
    "changes",
    [
        {"problem_type": "multi_label_classification"},
        {
            "sentence_transformers": {
                "activation_fn": "torch.nn.modules.activation.Sigmoid"
            }
        },
    ],
)
def test_sets_of_labels_from_huggingface(tmp_path, changes):
    path = from_huggingface(tmp_path, SETS, **changes)
    found = predictions(path, [*ITEMS, *PAIRS])
    assert all(set(p) == {"labels", "probabilities"} for p in found)
    network = predictor.pretrained.load_task_network(path)
    scores = network(network.tokenizer.encode(ITEMS)).logits.numpy()
    np.testing.assert_allclose(
        [list(p["probabilities"].values()) for p in found[:3]],
        1 / (1 + np.exp(-scores)),
        rtol=1e-5,
    )


def test_sets_of_labels_by_the_options(tmp_path):
    path = from_huggingface(tmp_path, SETS)
    assert "label" in predictions(path)[0]
    options = {"multi_label": True, "threshold": 0.3}
    found = predictions(path, options=options)
    assert "labels" in found[0]
    weights = {"class_weights": {"x": 2.0}, "multi_label": True}
    assert (
        predictions(path, options=weights)[0]["probabilities"]
        == (found[0]["probabilities"])
    )


RANKING = {"max_seq_length": 32, "max_query_length": 16}


def test_ranking_to_huggingface(tmp_path):
    source = ours(tmp_path / "ours", NUMBER, "ranking", RANKING)
    expected = numbers(predictions(source, PAIRS))
    target, content = to_huggingface(source, tmp_path)
    assert content["architectures"] == ["ElectraForSequenceClassification"]
    assert content["id2label"] == {"0": "LABEL_0"}
    assert content["sentence_transformers"] == {
        "activation_fn": "torch.nn.modules.linear.Identity"
    }
    np.testing.assert_allclose(
        numbers(predictions(target, PAIRS)), expected, rtol=1e-5
    )
    # As saved by sentence-transformers, with a sigmoid after the score.
    beside = tmp_path / "huggingface" / "config_sentence_transformers.json"
    beside.write_text(
        json.dumps({"model_type": "CrossEncoder", "activation_fn": SIGMOID})
    )
    np.testing.assert_allclose(
        numbers(predictions(target, PAIRS)),
        1 / (1 + np.exp(-expected)),
        rtol=1e-5,
    )
    beside.unlink()
    hub_models.edit(tmp_path / "huggingface/config.json", electra_tf=None)
    again = predictor.load(target)  # by the keys of sentence-transformers
    assert again.task.name == "ranking"
    np.testing.assert_allclose(
        numbers(again.predict(PAIRS)), expected, rtol=1e-5
    )


SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize(
    ("changes", "extra_file", "name", "sigmoid"),
    [
        ({"sentence_transformers": {"activation_fn": SIGMOID}}, None,
         "ranking", True),
        ({"sentence_transformers": {"activation_fn": IDENTITY}}, None,
         "ranking", False),
        ({"sentence_transformers": {"version": "4.1.0"}}, None,
         "ranking", True),  # its default for one score
        ({"sbert_ce_default_activation_function": IDENTITY}, None,
         "ranking", False),
        ({}, {"model_type": "CrossEncoder", "activation_fn": SIGMOID},
         "ranking", True),
        ({}, {"model_type": "SentenceTransformer"}, "regression", False),
        ({"problem_type": "regression"}, None, "regression", False),
        ({}, None, "regression", False),
    ],
)  # fmt: skip
def test_cross_encoders_from_huggingface(
    tmp_path, changes, extra_file, name, sigmoid
):
    task = dataclasses.replace(NUMBER, hidden_layer=True)
    path = from_huggingface(tmp_path, task, **changes)
    if extra_file is not None:
        file = tmp_path / "config_sentence_transformers.json"
        file.write_text(json.dumps(extra_file))
    loaded = predictor.load(path)
    assert loaded.task.name == name
    found = numbers(loaded.predict(PAIRS))
    rows = loaded.tokenizer.encode(*zip(*PAIRS))
    expected = loaded.network(rows).logits.numpy()[:, 0]
    if sigmoid:
        expected = 1 / (1 + np.exp(-expected))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "longest"),
    [(12, 12), (10**30, 32), (1e30, 32), ("12", 32), (True, 32), (0, 32)],
)
def test_cross_encoders_truncate_as_their_tokenizer_says(
    tmp_path, given, longest
):
    """CrossEncoder(max_length=12) of sentence-transformers 6.2 stores it."""
    task = dataclasses.replace(NUMBER, hidden_layer=True)
    path = from_huggingface(
        tmp_path, task, sentence_transformers={"activation_fn": IDENTITY}
    )
    file = tmp_path / "tokenizer_config.json"
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | {"model_max_length": given}))
    found = huggingface.read(path).config.fine_tuning
    assert found["options"]["max_seq_length"] == longest


def test_an_unknown_function_after_the_scores_is_reported(tmp_path):
    path = from_huggingface(
        tmp_path, sentence_transformers={"activation_fn": "mine.Cube"}
    )
    assert any("mine.Cube" in a for a in huggingface.read(path).assumed)


def test_pairs_and_texts_for_models_that_declare_neither(tmp_path):
    path = from_huggingface(tmp_path, SETS)  # of natural language inference
    loaded = predictor.load(path)
    both = loaded.predict([*ITEMS, *PAIRS, {"text": "a", "text_pair": "b"}])
    assert both[0] == loaded.predict(ITEMS)[0]
    network, tokenizer = loaded.network, loaded.tokenizer
    scores = network(tokenizer.encode(*zip(*PAIRS))).logits.numpy()
    odds = np.exp(scores)
    np.testing.assert_allclose(
        [list(p["probabilities"].values()) for p in both[3:5]],
        odds / odds.sum(axis=1, keepdims=True),
        rtol=1e-5,
    )
    # A model trained with this package reads only what it was trained on.
    state = {"labels": list(LABELS)}
    trained_here = ours(tmp_path / "ours", SETS, "classification", {}, state)
    with pytest.raises(UserError, match="expected a text alone"):
        predictions(trained_here, PAIRS)


@pytest.mark.parametrize(
    ("kind", "task"), [("TextClassifier", SETS), ("TextRegressor", NUMBER)]
)
def test_task_models_take_pairs_and_texts_until_they_are_trained(
    tmp_path, kind, task
):
    path = from_huggingface(tmp_path, task)
    cls = getattr(electra_tf, kind)
    made, loaded = cls.from_pretrained(path), predictor.load(path)
    alone, both = ["a b", "c"], (["a", "b"], ["b c", "a"])
    assert made.answer(both) == loaded.predict(list(zip(*both)))
    assert made.answer(alone) == loaded.predict(alone)
    y = [0, 1]
    made.compile("adam", run_eagerly=True)
    made.evaluate(both, y, verbose=0)
    made.evaluate(alone, y, verbose=0)
    made.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.answer(both) == made.answer(both)
    made.fit(both, y, verbose=0)
    assert len(made.predict(both, verbose=0)) == 2
    with pytest.raises(UserError, match="expected pairs of texts"):
        made.predict(alone)
    again.compile("adam", run_eagerly=True)
    again.fit(alone, y, verbose=0)
    with pytest.raises(UserError, match="expected texts by themselves"):
        again.predict(both)


SPAN = TaskHeadConfig("span", dropout=0.0)
QUESTIONS = [("a", "b c d e f g h")]
QA = {
    "head": "independent", "answerability": "first_token",
    "max_seq_length": 32, "max_query_length": 8, "doc_stride": 4,
}  # fmt: skip


@pytest.mark.parametrize("threshold", [-50.0, 50.0])
def test_questions_without_an_answer(tmp_path, threshold):
    state = {"unanswerable": True, "null_threshold": threshold}
    source = ours(tmp_path / "ours", SPAN, "squad", QA, state)
    expected = predictions(source, QUESTIONS)[0]
    assert bool(expected["answer"]) == (threshold > 0)
    target, _ = to_huggingface(source, tmp_path)
    found = predictions(target, QUESTIONS)[0]
    assert found["answer"] == expected["answer"]
    assert found["null_odds"] == pytest.approx(expected["null_odds"], rel=1e-4)
    # Without these keys only the options can set the threshold.
    nothing = {"electra_tf": None, "null_score_diff_threshold": None}
    hub_models.edit(tmp_path / "huggingface/config.json", **nothing)
    small = {k: v for k, v in QA.items() if k.startswith(("max", "doc"))}
    plain = predictions(target, QUESTIONS, options=small)[0]
    assert plain["answer"] and plain["null_odds"] is None
    options = small | {"null_threshold": threshold}
    found = predictions(target, QUESTIONS, options=options)[0]
    assert bool(found["answer"]) == (threshold > 0)


def test_settings_stored_for_another_head_are_ignored(tmp_path):
    state = {"labels": list(LABELS)}
    source = ours(tmp_path / "ours", SETS, "classification", {}, state)
    target, content = to_huggingface(source, tmp_path)
    kept = content["electra_tf"]["fine_tuning"]
    assert kept["task"] == "classification" and kept["state"] == state
    # A Python file named in the config is not run.
    evil = {"task": "evil.py:Task", "options": {}, "state": {}}
    hub_models.edit(
        tmp_path / "huggingface/config.json", electra_tf={"fine_tuning": evil}
    )
    assert huggingface.read(target).config.fine_tuning is None
    hub_models.edit(
        tmp_path / "huggingface/config.json", electra_tf=content["electra_tf"]
    )
    # Other labels, as after training with Hugging Face's library.
    hub_models.edit(
        tmp_path / "huggingface/config.json",
        id2label={"0": "p", "1": "q", "2": "r"},
    )
    found = huggingface.read(target)
    assert found.config.fine_tuning is None
    assert any("trained further elsewhere" in a for a in found.assumed)
    assert predictions(target)[0]["label"] in ("p", "q", "r")


@pytest.mark.parametrize("name", ["regression", "ranking"])
def test_a_number_that_was_replaced_by_labels_elsewhere(tmp_path, name):
    state = {"offset": 0.0, "scale": 1.0} if name == "regression" else {}
    source = ours(tmp_path / "ours", NUMBER, name, {}, state)
    target, _ = to_huggingface(source, tmp_path)

    def with_labels(arrays):
        heads = {n: a for n, a in arrays.items() if "out_proj" in n}
        return arrays | {n: np.concatenate([a] * 3) for n, a in heads.items()}

    hub_models.rewrite(tmp_path / "huggingface", with_labels)
    hub_models.edit(
        tmp_path / "huggingface/config.json",
        id2label={"0": "p", "1": "q", "2": "r"},
    )
    found = huggingface.read(target)
    assert any("trained further elsewhere" in a for a in found.assumed)
    assert predictions(target)[0]["label"] in ("p", "q", "r")


def test_a_pair_where_there_is_one_segment(tmp_path):
    # There is no embedding of a second segment; both texts are in the first.
    shape = dataclasses.replace(SHAPE, type_vocab_size=1)
    path = from_huggingface(tmp_path, SETS, shape)
    loaded = predictor.load(path)
    rows = loaded.tokenizer.encode(*zip(*PAIRS))
    rows["segment_ids"] = rows["segment_ids"] * 0
    odds = np.exp(loaded.network(rows).logits.numpy())
    np.testing.assert_allclose(
        [list(p["probabilities"].values()) for p in loaded.predict(PAIRS)],
        odds / odds.sum(axis=1, keepdims=True),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multi_label": True, "metric": "accuracy"},
         "accuracy is of texts with one label.*multi_label.*micro_f1"),
        ({"metric": "micro_f1"}, "micro_f1 is of sets of labels"),
        ({"multi_label": True, "metric": "acuracy"}, "'acuracy' is not known"),
    ],
)  # fmt: skip
def test_metrics_of_one_label_and_of_sets(tmp_path, options, message):
    path = from_huggingface(tmp_path, SETS)
    with pytest.raises(UserError, match=message):
        predictions(path, options=options)


def test_assumptions_are_warned_of_once(tmp_path, caplog):
    path = from_huggingface(tmp_path, SETS)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer.json").unlink()
    for _ in range(2):
        network = predictor.pretrained.load_task_network(path)
        assert network.load_report.assumed == (
            "lower_case true: no tokenizer file has it",
        )
    warned = [r.getMessage() for r in caplog.records]
    assert len(warned) == 1
    assert "taken by default: lower_case true" in warned[0]
    made = convert(path, "electra_tf", str(tmp_path / "ours"))
    assert made.report.assumed == network.load_report.assumed
    assert "taken by default: lower_case true" in str(made)


@pytest.mark.parametrize("name", ["gelu_fast", "gelu_new", "gelu_pytorch_tanh"])
def test_the_tanh_formula_by_its_names(tmp_path, name):
    path = from_huggingface(tmp_path, SETS, hidden_act=name)
    assert huggingface.read(path).config.discriminator.gelu == "tanh"
    for other in ("quick_gelu", "gelu_10"):
        hub_models.edit(tmp_path / "config.json", hidden_act=other)
        with pytest.raises(UserError, match=f"hidden_act.*'{other}'"):
            huggingface.read(path)


def test_a_causal_lm_that_sees_both_sides_is_a_generator(tmp_path):
    generator = hub_models.directory_config(None, SHAPE)
    before = hub_models.checkpoint(generator, VOCAB)
    huggingface.write(str(tmp_path), before)
    hub_models.edit(
        tmp_path / "config.json",
        architectures=["ElectraForCausalLM"], is_decoder=False,
    )  # fmt: skip
    back = huggingface.read(str(tmp_path))
    assert back.config == before.config and back.assumed == ()
    hub_models.assert_same_weights(dict(back.weights), before.weights)


def _as_h5(path):
    """Stores the weights as TensorFlow's classes of transformers 4 did."""
    arrays = tensors.load(str(path / "model.safetensors"))
    (path / "model.safetensors").unlink()
    with h5py.File(path / "tf_model.h5", "w") as file:
        for name, array in arrays.items():
            *parts, leaf = name.split(".")
            if "embeddings" in parts[-1] and "project" not in parts[-1]:
                leaf = "weight" if "word" in parts[-1] else "embeddings"
            elif "LayerNorm" in parts:
                leaf = {"weight": "gamma", "bias": "beta"}[leaf]
            elif leaf == "weight":
                leaf, array = "kernel", array.T
            group = [parts[0], "tf_electra_model_1", *parts, f"{leaf}:0"]
            file["/".join(group).replace("layer/", "layer_._")] = array


@pytest.mark.parametrize("head", [None, SETS, SPAN])
def test_weights_of_tensorflow_s_classes(tmp_path, head):
    shape = dataclasses.replace(SHAPE, embedding_size=6, num_layers=2)
    config = hub_models.directory_config(
        shape, None, replaced_token_head=head is None, task=head
    )
    before = hub_models.checkpoint(config, VOCAB)
    huggingface.write(str(tmp_path), before)
    _as_h5(tmp_path)
    assert huggingface.recognises(str(tmp_path))
    back = huggingface.read(str(tmp_path))
    assert back.config == before.config and back.leftover == ()
    hub_models.assert_same_weights(dict(back.weights), before.weights)
    (tmp_path / "tf_model.h5").write_bytes(b"no h5")
    with pytest.raises(UserError, match=r"tf_model\.h5: not a whole file"):
        huggingface.read(str(tmp_path))


def test_an_array_larger_than_its_file(tmp_path):
    from_huggingface(tmp_path, SETS)
    (tmp_path / "model.safetensors").unlink()
    with h5py.File(tmp_path / "tf_model.h5", "w") as file:
        file.create_dataset("a:0", (10**7, 10**3), "float32", chunks=(10, 10))
    with pytest.raises(UserError, match="a:0 is larger than the file"):
        huggingface.read(str(tmp_path))
