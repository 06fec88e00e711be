"""Tests that Hugging Face directories are read and written unchanged.

Nothing here needs transformers; `test_tools_check_huggingface.py` does.
"""

import dataclasses
import json
import os

import hub_models
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import safetensors.numpy
import torch_layout

from electra_tf import tensors
from electra_tf.errors import UserError
from electra_tf.hub import huggingface
from electra_tf.models.task_heads import TaskHeadConfig

QUERY = "electra.encoder.layer.1.attention.self.query.weight"


@st.composite
def configs(draw):
    """Generates configs of all that one directory, or a pair, can hold."""
    shape = draw(hub_models.model_configs())
    shape = dataclasses.replace(
        shape,
        layer_norm_epsilon=draw(st.sampled_from([1e-12, 1e-5])),
        initializer_range=draw(st.sampled_from([0.02, 0.1])),
    )
    fields = {
        "lower_case": draw(st.booleans()),
        "strip_accents": draw(st.sampled_from([None, True, False])),
    }
    # Hugging Face's head always has the erf GELU, whatever the encoder has.
    head_gelu = "erf" if shape.gelu == "tanh" else None
    kind = draw(
        st.sampled_from(
            ["encoder", "discriminator", "generator", "both", "tied", "task"]
        )
    )
    generator = dataclasses.replace(
        shape, head_gelu=head_gelu, tied_head=draw(st.booleans())
    )
    if kind == "encoder":
        fields["replaced_token_head"] = False
    if kind == "generator":
        return hub_models.directory_config(None, generator, **fields)
    if kind == "both":
        fields["generator_embeddings"] = draw(
            st.sampled_from(["shared", "untied"])
        )
        # The widths are equal, but random weights keep the encoders different.
        generator = dataclasses.replace(
            generator, num_layers=draw(st.integers(1, 2))
        )
    if kind == "tied":
        fields["generator_kind"] = "tied"
    if kind == "task":
        labels = draw(st.sampled_from([None, ("O", "B-PER", "I-PER")]))
        dropout = draw(st.sampled_from([0.0, 0.2]))
        fields["replaced_token_head"] = False
        fields["task"] = draw(
            st.sampled_from(
                [
                    TaskHeadConfig("span", dropout=0.0),
                    TaskHeadConfig("token", 3, labels, dropout=dropout),
                    TaskHeadConfig("sequence", 3, labels, True, dropout),
                    TaskHeadConfig("sequence", 1, None, True, dropout),
                ]
            )
        )
    if kind not in ("both", "tied"):
        generator = None
    return hub_models.directory_config(shape, generator, **fields)


@hypothesis.settings(max_examples=60)
@hypothesis.given(config=configs(), seed=st.integers(0, 2**31))
def test_there_and_back_is_the_identity(tmp_path_factory, config, seed):
    path = str(tmp_path_factory.mktemp("huggingface"))
    ours = hub_models.checkpoint(config, seed=seed)
    assert huggingface.write(path, ours) == ()
    assert huggingface.recognises(path)
    back = huggingface.read(path)
    assert back.config == ours.config
    assert back.vocab == ours.vocab
    assert back.leftover == back.assumed == ()
    hub_models.assert_same_weights(back.weights, ours.weights)


def test_the_library_reads_what_is_written(tmp_path):
    ours = hub_models.saved(tmp_path)
    with safetensors.safe_open(
        str(tmp_path / "model.safetensors"), "numpy"
    ) as file:
        assert file.metadata() == {"format": "pt"}
        query = file.get_tensor(QUERY)
    qkv = ours.weights["discriminator/encoder/layer_1/attention/qkv/kernel"]
    np.testing.assert_array_equal(query, qkv[:, :8].T)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("pickled", [False, True])
def test_every_way_to_store_weights(tmp_path, pickled, shards):
    ours = hub_models.saved(tmp_path)
    arrays = tensors.load(str(tmp_path / "model.safetensors"))
    os.remove(tmp_path / "model.safetensors")
    stem, ending = ("model", "safetensors")
    if pickled:
        stem, ending = ("pytorch_model", "bin")
    save = torch_layout.save if pickled else tensors.save
    names = sorted(arrays)
    if shards == 1:
        save(str(tmp_path / f"{stem}.{ending}"), arrays)
    else:
        places = {}
        for i in range(shards):
            file = f"{stem}-{i + 1:05}-of-{shards:05}.{ending}"
            part = {name: arrays[name] for name in names[i::shards]}
            save(str(tmp_path / file), part)
            places |= dict.fromkeys(part, file)
        index = tmp_path / f"{stem}.{ending}.index.json"
        index.write_text(json.dumps({"weight_map": places}))
    back = huggingface.read(str(tmp_path))
    hub_models.assert_same_weights(back.weights, ours.weights)


def test_names_of_older_versions(tmp_path):
    ours = hub_models.saved(tmp_path, replaced_token_head=False)

    def older(arrays):
        renamed = {}
        for name, array in arrays.items():
            if "LayerNorm" in name:
                name = name.replace("weight", "gamma").replace("bias", "beta")
            renamed[f"electra.{name}"] = array
        positions = np.arange(6)[None]
        return renamed | {"electra.embeddings.position_ids": positions}

    hub_models.rewrite(tmp_path, older)
    back = huggingface.read(str(tmp_path))
    hub_models.assert_same_weights(back.weights, ours.weights)
    assert back.leftover == ()


def test_a_tied_head_that_is_stored_too(tmp_path):
    config = hub_models.directory_config(None, hub_models.TINY)
    ours = hub_models.checkpoint(config)
    huggingface.write(str(tmp_path), ours)
    table = "electra.embeddings.word_embeddings.weight"
    hub_models.rewrite(
        tmp_path, lambda a: a | {"generator_lm_head.weight": a[table]}
    )
    back = huggingface.read(str(tmp_path))
    hub_models.assert_same_weights(back.weights, ours.weights)
    assert back.leftover == () and back.config.generator.tied_head
    # With untied weights, transformers keeps the stored array of the head.
    hub_models.edit(tmp_path / "config.json", tie_word_embeddings=False)
    back = huggingface.read(str(tmp_path))
    assert not back.config.generator.tied_head
    assert "generator/head/output_weights" in back.weights
    # Tied by its config, and different: version 5 takes what is stored.
    hub_models.edit(tmp_path / "config.json", tie_word_embeddings=True)
    hub_models.rewrite(
        tmp_path, lambda a: a | {"generator_lm_head.weight": a[table] + 1}
    )
    back = huggingface.read(str(tmp_path))
    assert not back.config.generator.tied_head
    assert any("its own table" in sentence for sentence in back.assumed)
    np.testing.assert_array_equal(
        back.weights["generator/head/output_weights"],
        ours.weights["embeddings/word_embeddings"] + 1,
    )


def test_half_precision_becomes_single(tmp_path):
    ours = hub_models.saved(tmp_path)
    hub_models.rewrite(
        tmp_path, lambda a: {n: x.astype(np.float16) for n, x in a.items()}
    )
    back = huggingface.read(str(tmp_path))
    for name, array in ours.weights.items():
        assert back.weights[name].dtype == np.float32
        np.testing.assert_array_equal(
            back.weights[name], array.astype(np.float16).astype(np.float32)
        )
    hub_models.rewrite(
        tmp_path, lambda a: {n: x.astype(np.int8) for n, x in a.items()}
    )
    with pytest.raises(UserError, match="quantised"):
        huggingface.read(str(tmp_path)).weights["embeddings/word_embeddings"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"replaced_token_head": False},
        {"replaced_token_head": False, "task": TaskHeadConfig("token", 4)},
        {
            "replaced_token_head": False,
            "task": TaskHeadConfig("sequence", 4, hidden_layer=True),
        },
        {
            "replaced_token_head": False,
            "task": TaskHeadConfig("span", dropout=0.0),
        },
    ],
)
def test_without_architectures_the_class_follows_from_the_variables(
    tmp_path, fields
):
    ours = hub_models.saved(tmp_path, **fields)
    hub_models.edit(tmp_path / "config.json", architectures=None)
    back = huggingface.read(str(tmp_path))
    assert back.config == ours.config
    assert len(back.assumed) == 1 and "class" in back.assumed[0]


def test_sizes_that_the_config_lacks_come_from_the_variables(tmp_path):
    ours = hub_models.saved(tmp_path)
    lacking = (
        "vocab_size", "embedding_size", "hidden_size", "intermediate_size",
        "num_hidden_layers", "max_position_embeddings", "type_vocab_size",
    )  # fmt: skip
    hub_models.edit(tmp_path / "config.json", **dict.fromkeys(lacking))
    assert huggingface.read(str(tmp_path)).config == ours.config


def test_overrides(tmp_path):
    hub_models.saved(tmp_path)
    back = huggingface.read(
        str(tmp_path), {"model.num_heads": "4", "model.gelu": "tanh"}
    )
    assert back.config.discriminator.num_heads == 4
    assert back.config.discriminator.gelu == "tanh"


def test_settings_without_a_place_are_reported(tmp_path):
    hub_models.saved(tmp_path)
    extra = np.zeros(3, np.float32)
    hub_models.rewrite(tmp_path, lambda a: a | {"something.else": extra})
    assert huggingface.read(str(tmp_path)).leftover == ("something.else",)
    ours = hub_models.checkpoint(hub_models.directory_config(hub_models.TINY))
    weights = {**ours.weights, "discriminator/copy/bias": extra[:1]}
    notes = huggingface.write(
        str(tmp_path), dataclasses.replace(ours, weights=weights)
    )
    assert any("discriminator/copy/bias" in note for note in notes)


def test_a_head_that_is_absent_is_reported(tmp_path):
    hub_models.saved(tmp_path, replaced_token_head=False)
    hub_models.edit(
        tmp_path / "config.json", architectures=["ElectraForPreTraining"]
    )
    back = huggingface.read(str(tmp_path))
    assert not back.config.replaced_token_head
    assert "no head" in back.assumed[0]


def test_a_gelu_that_the_class_does_not_have_is_reported(tmp_path):
    tanh = dataclasses.replace(hub_models.TINY, gelu="tanh")
    config = hub_models.directory_config(None, tanh)
    notes = huggingface.write(str(tmp_path), hub_models.checkpoint(config))
    assert len(notes) == 1 and "GELU" in notes[0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            hub_models.directory_config(
                hub_models.TINY, hub_models.TINY, generator_kind="two_tower"
            ),
            "two_tower",
        ),
        (
            hub_models.directory_config(
                hub_models.TINY, None, task=TaskHeadConfig("joint_span")
            ),
            "joint_span",
        ),
        (
            hub_models.directory_config(
                hub_models.TINY, None, task=TaskHeadConfig("sequence", 5)
            ),
            "hidden_layer",
        ),
    ],
)
def test_networks_that_no_class_computes_are_refused(tmp_path, config, message):
    with pytest.raises(UserError, match=message):
        huggingface.write(str(tmp_path), hub_models.checkpoint(config))
    assert not os.listdir(tmp_path)
    with pytest.raises(UserError, match="holds no generator"):
        huggingface.write(
            str(tmp_path),
            hub_models.checkpoint(hub_models.directory_config(hub_models.TINY)),
            "generator",
        )


def test_other_directories_are_not_recognised(tmp_path):
    assert not huggingface.recognises(str(tmp_path))
    assert not huggingface.recognises(str(tmp_path / "absent"))
    (tmp_path / "config.json").write_text('{"format": "electra_tf model"}')
    assert not huggingface.recognises(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert huggingface.recognises(str(tmp_path))  # to report what is wrong


def test_reading_is_lazy(tmp_path):
    hub_models.saved(tmp_path)
    back = huggingface.read(str(tmp_path))
    os.truncate(tmp_path / "model.safetensors", 2_000)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        for name in back.weights:
            back.weights[name]
