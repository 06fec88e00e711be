"""Tests that errors of Hugging Face directories are one line with the file."""

import json
import os
import tracemalloc
import zipfile

import hub_models
import pytest
import torch_layout

from electra_tf import tensors
from electra_tf.errors import UserError
from electra_tf.hub import directory, huggingface, pickle_reader
from electra_tf.models.config import TaskHeadConfig

QUERY = "electra.encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "roberta"}, "model_type.*'electra'.*'roberta'"),
        ({"hidden_act": "relu"}, "hidden_act.*gelu_new.*'relu'"),
        ({"hidden_size": "8"}, "hidden_size.*int.*'8'"),
        ({"num_attention_heads": 3}, "num_heads: 3 does not divide"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "is_decoder"),
        (
            {"architectures": ["ElectraForCausalLM"], "is_decoder": True},
            "ElectraForCausalLM",
        ),
        ({"hidden_dropout_prob": 2}, "hidden_dropout"),
    ],
)
def test_wrong_configs_are_named(tmp_path, changes, message):
    hub_models.saved(tmp_path)
    hub_models.edit(tmp_path / "config.json", **changes)
    with pytest.raises(UserError, match=rf"config\.json: .*{message}") as error:
        huggingface.read(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dropout", [1.0, -0.5, float("nan")])
def test_a_wrong_dropout_of_a_head_is_named(tmp_path, dropout):
    task = TaskHeadConfig("sequence", 2, hidden_layer=True)
    hub_models.saved(tmp_path, replaced_token_head=False, task=task)
    hub_models.edit(tmp_path / "config.json", classifier_dropout=dropout)
    with pytest.raises(UserError, match=r"config\.json: classifier_dropout"):
        huggingface.read(str(tmp_path))


def test_sizes_at_odds_name_both(tmp_path):
    hub_models.saved(tmp_path)
    hub_models.edit(tmp_path / "config.json", vocab_size=12)
    with pytest.raises(UserError, match=r"safetensors.*\[11, 3\].*\[12, 3\]"):
        huggingface.read(str(tmp_path))
    hub_models.edit(
        tmp_path / "config.json", vocab_size=11, num_hidden_layers=3
    )
    with pytest.raises(UserError, match=r"lacks.*layer_2"):
        huggingface.read(str(tmp_path))


def _truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: _truncate(p / "model.safetensors"), "model.safetensors"),
        (lambda p: _truncate(p / "config.json"), "config.json"),
        (lambda p: (p / "config.json").write_text("[1]"), "config.json"),
        (lambda p: (p / "config.json").write_bytes(b"\xff"), "config.json"),
        (lambda p: os.remove(p / "config.json"), "config.json"),
        (lambda p: os.remove(p / "model.safetensors"), "model.safetensors"),
        (lambda p: _truncate(p / "tokenizer_config.json"), "tokenizer_config"),
        (lambda p: (p / "vocab.txt").write_text("a\na\n"), "vocab.txt"),
        (
            lambda p: hub_models.rewrite(
                p, lambda a: {n: x for n, x in a.items() if n != QUERY}
            ),
            "model.safetensors",
        ),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    hub_models.saved(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError) as error:
        huggingface.read(str(tmp_path))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_half_a_set_of_shards_is_named(tmp_path):
    hub_models.saved(tmp_path)
    arrays = tensors.load(str(tmp_path / "model.safetensors"))
    os.remove(tmp_path / "model.safetensors")
    first, second = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    names = sorted(arrays)
    places = {n: (first, second)[i % 2] for i, n in enumerate(names)}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    tensors.save(str(tmp_path / first), {n: arrays[n] for n in names[::2]})
    with pytest.raises(UserError, match=f"{second}.*no such file"):
        huggingface.read(str(tmp_path))
    tensors.save(str(tmp_path / second), {n: arrays[n] for n in names[3::2]})
    with pytest.raises(UserError, match=f"{second}: lacks {names[1]}"):
        huggingface.read(str(tmp_path))
    index.write_text(json.dumps({"weight_map": {"a": "../elsewhere"}}))
    with pytest.raises(UserError, match=r"index\.json.*\.\./elsewhere"):
        huggingface.read(str(tmp_path))
    index.write_text("{}")
    with pytest.raises(UserError, match=r"index\.json.*weight_map"):
        huggingface.read(str(tmp_path))


def test_a_pickle_that_calls_is_refused(tmp_path):
    hub_models.saved(tmp_path)
    os.remove(tmp_path / "model.safetensors")

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "stolen"),)

    torch_layout.save(str(tmp_path / "pytorch_model.bin"), {"a": Attack()})
    assert huggingface.recognises(str(tmp_path))
    with pytest.raises(UserError, match=r"pytorch_model\.bin.*mkdir"):
        huggingface.read(str(tmp_path))
    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**9},
        {"vocab_size": 10**12},
        {"hidden_size": 10**12, "num_attention_heads": 10**6},
        {"max_position_embeddings": 10**15},
        {"intermediate_size": 10**15},
        {"embedding_size": 10**12},
        {"type_vocab_size": 10**12},
    ],
)
def test_sizes_beyond_the_file_are_refused_before_they_are_made(
    tmp_path, changes
):
    hub_models.saved(tmp_path)
    hub_models.edit(tmp_path / "config.json", **changes)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"model\.safetensors"):
            huggingface.read(str(tmp_path))
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_layers_beyond_the_file_of_ours(tmp_path):
    config = hub_models.directory_config(hub_models.TINY)
    directory.write(str(tmp_path), hub_models.checkpoint(config))
    content = json.loads((tmp_path / "config.json").read_text())
    content["discriminator"]["num_layers"] = 10**9
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"asks for 1000000000 layers"):
        directory.read(str(tmp_path))


def test_a_pickle_that_swells_is_refused(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"0" * 10_000_000)
    with pytest.raises(UserError, match="larger than the file"):
        pickle_reader.TorchFile(str(path))
