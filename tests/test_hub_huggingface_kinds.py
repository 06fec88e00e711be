"""Tests the kinds of Hugging Face directories that users have.

`tools/check_checkpoints.py` has the library itself make some two hundred.
"""

import json
import shutil

import hub_models
import numpy as np
import pytest
from test_hub_huggingface_rows import SPAN, VOCAB, model_of, ours, predictions

from electra_tf import tensors
from electra_tf.errors import UserError
from electra_tf.hub import config as configs
from electra_tf.hub import huggingface, huggingface_answerable, loading
from electra_tf.hub import huggingface_tokenizer as files_of
from electra_tf.hub.huggingface_fast_tokenizer import ROLES
from electra_tf.models.config import TaskHeadConfig
from electra_tf.recipes.convert import convert
from electra_tf.recipes.export import export
from electra_tf.text.vocab import SPECIALS

ASKED = [("a", "b c d e f g h")]
ANSWERS = {
    "head": "independent", "answerability": "head", "max_seq_length": 32,
    "max_query_length": 8, "doc_stride": 4,
}  # fmt: skip
BESIDE = huggingface_answerable.FILE
THRESHOLD = huggingface_answerable.THRESHOLD


def answering(tmp_path, threshold):
    """Writes a model with its own head for answerability, and converts it.

    Returns:
      The model's path, that of the Hugging Face directory, and the result.
    """
    state = {"unanswerable": True, "null_threshold": threshold}
    head = TaskHeadConfig("span", dropout=0.0, answerable=True)
    source = ours(tmp_path / "ours", head, "squad", ANSWERS, state)
    made = convert(source, "huggingface", str(tmp_path / "there"))
    return source, tmp_path / "there", made


@pytest.mark.parametrize("threshold", [-50.0, 50.0])
def test_a_no_answer_head_is_stored_in_a_file_beside(tmp_path, threshold):
    source, there, made = answering(tmp_path, threshold)
    (lost,) = made.lost
    assert f"threshold {threshold:g}" in lost and THRESHOLD in lost
    names = tensors.TensorFile(str(there / "model.safetensors"))
    assert not any("answerable" in name for name in names)
    expected, found = predictions(source, ASKED), predictions(str(there), ASKED)
    assert bool(expected[0]["answer"]) == (threshold > 0)
    assert found[0]["answer"] == expected[0]["answer"]
    assert found[0]["null_odds"] == pytest.approx(expected[0]["null_odds"])
    # Converted back, it is unchanged.
    convert(str(there), "electra_tf", str(tmp_path / "back"))
    one, other = (
        loading.open_checkpoint(str(path))
        for path in (source, tmp_path / "back")
    )
    assert one.config.task == other.config.task
    assert one.config.fine_tuning == other.config.fine_tuning
    hub_models.assert_same_weights(one.weights, other.weights)


def test_without_that_head_the_first_token_decides(tmp_path):
    _, there, _ = answering(tmp_path, 50.0)
    # Other weights, as after training with Hugging Face's library.
    hub_models.rewrite(
        there,
        lambda held: {
            **held,
            "qa_outputs.weight": held["qa_outputs.weight"] + 1,
        },
    )
    checkpoint = huggingface.read(str(there))
    assert not checkpoint.config.task.answerable
    assert any(BESIDE in sentence for sentence in checkpoint.assumed)
    # Saved elsewhere by that library, the directory lacks the file.
    (there / BESIDE).unlink()
    checkpoint = huggingface.read(str(there))
    about = checkpoint.config.fine_tuning
    assert about["options"]["answerability"] == "first_token"
    assert about["state"] == {"unanswerable": True}
    assert predictions(str(there), ASKED)[0]["null_odds"] is not None


def test_a_damaged_head_is_named(tmp_path):
    _, there, _ = answering(tmp_path, 0.0)
    path = str(there / BESIDE)
    held = tensors.load(path)
    tensors.save(path, {n: a for n, a in held.items() if "bias" not in n})
    with pytest.raises(UserError, match=BESIDE):
        huggingface.read(str(there))


def test_a_threshold_on_the_first_token_goes_both_ways(tmp_path):
    state = {"unanswerable": True, "null_threshold": 1.5}
    options = ANSWERS | {"answerability": "first_token"}
    source = ours(tmp_path / "ours", SPAN, "squad", options, state)
    made = convert(source, "huggingface", str(tmp_path / "there"))
    config = tmp_path / "there/config.json"
    assert made.lost == ()
    assert json.loads(config.read_text())[THRESHOLD] == 1.5
    for changes, threshold in (
        ({}, 1.5),
        ({"electra_tf": None}, 1.5),  # as in models of others
        ({THRESHOLD: -2}, -2.0),
    ):
        hub_models.edit(config, **changes)
        found = huggingface.read(str(tmp_path / "there")).config.fine_tuning
        assert found["state"] == {
            "unanswerable": True, "null_threshold": threshold,
        }  # fmt: skip
        assert (
            predictions(str(tmp_path / "there"), ASKED)[0]["null_odds"]
            is not None
        )


@pytest.fixture
def saved(tmp_path):
    huggingface.write(str(tmp_path), model_of(None))
    return tmp_path


@pytest.mark.parametrize(
    "wrapper", ["module.", "_orig_mod.", "_orig_mod.module."]
)
def test_names_behind_a_wrapper_s(saved, wrapper):
    before = dict(huggingface.read(str(saved)).weights)
    hub_models.rewrite(
        saved, lambda held: {wrapper + n: a for n, a in held.items()}
    )
    hub_models.assert_same_weights(before, huggingface.read(str(saved)).weights)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.onnx", "ONNX"),
        ("flax_model.msgpack", "Flax"),
        ("model.fp16.safetensors", "rename it to model.safetensors"),
        ("model-Q4.gguf", "quantised"),
        ("openvino_model.bin", "OpenVINO"),
        ("rust_model.ot", "rust-bert"),
        ("adapter_model.safetensors", "merge_and_unload"),
    ],
)
@pytest.mark.parametrize("config", [True, False])
def test_weights_that_are_not_read_are_named(saved, name, message, config):
    (saved / "model.safetensors").rename(saved / name)
    if not config:
        (saved / "config.json").unlink()
    with pytest.raises(UserError, match=message) as refused:
        loading.open_checkpoint(str(saved))
    assert name in str(refused.value)


def test_files_missing_beside_weights_are_named(saved):
    (saved / "config.json").write_text("")
    with pytest.raises(UserError, match=r"config\.json: not JSON"):
        loading.open_checkpoint(str(saved))
    (saved / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json"):
        loading.open_checkpoint(str(saved))


@pytest.mark.parametrize("folder", ["", "0_Transformer"])
def test_folders_of_sentence_transformers(saved, folder):
    before = dict(huggingface.read(str(saved)).weights)
    if folder:
        (saved / folder).mkdir()
        for file in [f for f in saved.iterdir() if f.is_file()]:
            shutil.move(file, saved / folder)
    modules = [
        {"path": folder, "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (saved / "modules.json").write_text(json.dumps(modules))
    found = loading.open_checkpoint(str(saved))
    hub_models.assert_same_weights(before, found.weights)
    assert any("Pooling" in sentence for sentence in found.assumed)
    assert found.vocab == VOCAB


@pytest.mark.parametrize(
    "content", ["", "{}", '[{"path": "../x", "type": "a"}]', '[{"path": "x"}]']
)
def test_modules_that_lead_elsewhere(saved, content):
    (saved / "modules.json").write_text(content)
    (saved / "config.json").unlink()
    with pytest.raises(UserError, match=r"modules\.json"):
        loading.open_checkpoint(str(saved))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"1": "b", "0": "a", "2": "c"}, ("a", "b", "c")),
        ({"0": 5, "1": 6, "2": 7}, ("5", "6", "7")),
        ({"0": "a", "1": "a", "2": "b"}, None),
        ({"0": "", "1": "a", "2": "b"}, None),
        ({"0": "a", "1": "b"}, None),
    ],
)
def test_names_of_labels(tmp_path, labels, names):
    huggingface.write(str(tmp_path), model_of(TaskHeadConfig("sequence", 3)))
    hub_models.edit(tmp_path / "config.json", id2label=labels)
    found = huggingface.read(str(tmp_path))
    assert found.config.task.labels == names
    notes = [s for s in found.assumed if "id2label" in s]
    assert len(notes) == (names is None)


def test_names_of_labels_by_label2id_alone(tmp_path):
    huggingface.write(str(tmp_path), model_of(TaskHeadConfig("sequence", 3)))
    numbers = {"b": 1, "c": 2, "a": 0}
    hub_models.edit(tmp_path / "config.json", id2label=None, label2id=numbers)
    found = huggingface.read(str(tmp_path))
    assert found.config.task.labels == ("a", "b", "c")


def test_several_numbers_are_reported(tmp_path):
    huggingface.write(str(tmp_path), model_of(TaskHeadConfig("sequence", 3)))
    hub_models.edit(tmp_path / "config.json", problem_type="regression")
    (note,) = huggingface.read(str(tmp_path)).assumed
    assert "3 numbers" in note


@pytest.mark.parametrize("longest", [5, 6, 9, 40, 512, 4096])
def test_windows_fit_any_model(longest):
    from electra_tf.tasks.qa.options import QAFeatureConfig

    found = QAFeatureConfig(**configs.window_options(longest))
    assert found.max_seq_length <= longest


# --- tokenizers ------------------------------------------------------------


@pytest.fixture
def tokenizer(tmp_path):
    files_of.write(str(tmp_path), VOCAB, True, None, 32)
    return tmp_path


def edited(path, change):
    file = path / "tokenizer.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


NAMES = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")


@pytest.mark.parametrize(
    "place", ["tokenizer_config.json", "special_tokens_map.json"]
)
@pytest.mark.parametrize("alone", [False, True])
def test_special_tokens_of_other_names(tmp_path, place, alone):
    theirs = dict(zip(SPECIALS, NAMES))
    tokens = [theirs.get(t, t) for t in VOCAB.tokens]
    if alone:  # the vocabulary has BERT's names too, as ordinary tokens
        tokens += SPECIALS
    (tmp_path / "vocab.txt").write_text("".join(f"{t}\n" for t in tokens))
    roles = {role: {"content": theirs[t]} for role, t in ROLES.items()}
    (tmp_path / place).write_text(json.dumps(roles))
    found = files_of.read(str(tmp_path))
    assert found.vocab.special_ids == VOCAB.special_ids
    assert found.vocab.tokens[5:13] == VOCAB.tokens[5:13]
    assert any("<s> is [CLS]" in sentence for sentence in found.assumed)


def template(**changes):
    def change(content):
        content["post_processor"].update(changes)

    return change


BERT = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c, ""),
        (lambda c: c.update(post_processor=BERT), ""),
        (
            lambda c: c.update(
                post_processor={"type": "Sequence", "processors": [BERT]}
            ),
            "",
        ),
        (template(pair=[]), "post_processor"),
        (lambda c: c.update(post_processor=None), "post_processor"),
        (
            lambda c: c.update(
                post_processor=BERT | {"type": "RobertaProcessing"}
            ),
            "post_processor",
        ),
        (lambda c: c["model"].update(max_input_chars_per_word=50), "than 50"),
        (lambda c: c["model"].update(max_input_chars_per_word=100), ""),
        (lambda c: c["model"].update(type="WordLevel"), "WordLevel"),
        (lambda c: c.update(normalizer=None), "normalizer null"),
        (lambda c: c.update(pre_tokenizer=None), "pre_tokenizer null"),
    ],
)  # fmt: skip
def test_differences_of_a_tokenizer_are_reported(tokenizer, change, message):
    edited(tokenizer, change)
    found = files_of.read(str(tokenizer))
    assert bool(found.assumed) == bool(message)
    assert not message or message in " ".join(found.assumed)
    assert found.lower_case == ("normalizer" not in message)


def test_sets_of_labels_without_names(tmp_path):
    there = str(tmp_path)
    huggingface.write(there, model_of(TaskHeadConfig("sequence", 3)))
    problem = "multi_label_classification"
    hub_models.edit(tmp_path / "config.json", problem_type=problem)
    (found,) = predictions(there, ["a b"])
    assert list(found["probabilities"]) == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert set(found["labels"]) == {
        label for label, p in found["probabilities"].items() if p >= 0.5
    }


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["multi_label_classification", None])
def test_sets_of_labels_from_elsewhere_in_an_export(tmp_path, problem):
    import tensorflow as tf

    there, task = str(tmp_path / "hf"), TaskHeadConfig("sequence", 3)
    huggingface.write(there, model_of(task))
    sigmoid = {"activation_fn": "torch.nn.modules.activation.Sigmoid"}
    changes = {"sentence_transformers": sigmoid}
    if problem is not None:
        changes = {"problem_type": problem}
    hub_models.edit(tmp_path / "hf/config.json", **changes)
    expected = predictions(there, ["a b", "c"])
    path = export(there, str(tmp_path / "served")).path
    function = tf.saved_model.load(path).signatures["serving_default"]
    found = function(text=tf.constant(["a b", "c"]))
    for row, one in enumerate(expected):
        np.testing.assert_allclose(
            found["probabilities"][row],
            list(one["probabilities"].values()),
            rtol=1e-5,
        )
        chosen = found["labels"][row][found["selected"][row]].numpy().tolist()
        assert [label.decode() for label in chosen] == one["labels"]
