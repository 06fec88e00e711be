"""Tests that the tables of names are one to one and complete."""

import hub_random
import hypothesis
import numpy as np
import pytest

from electra_tf.hub import checkpoint as checkpoints
from electra_tf.hub import names
from electra_tf.models.task_heads import TaskHeadConfig


@hypothesis.given(hub_random.configs())
@hypothesis.settings(max_examples=60)
def test_tf1_names_are_one_to_one(config):
    task = names.task_places(config.task) if config.task else ()
    table = names.tf1(config.generator_kind == "two_tower", task, "mrpc")
    ours = names.shapes(config)
    theirs = [name for n in ours for name in table.theirs(n)]
    assert all(table.theirs(name) for name in ours)
    assert len(set(theirs)) == len(theirs)
    found, unknown = table.ours([*theirs, "beta1_power"])
    assert set(found) == set(ours)
    assert unknown == ("beta1_power",)


@hypothesis.given(hub_random.configs())
@hypothesis.settings(max_examples=30)
def test_huggingface_and_keras_hub_have_every_part(config):
    for part in ("discriminator", "generator"):
        if getattr(config, part) is None:
            continue
        alone, _ = checkpoints._wanted(hub_random.checkpoint(config), part)
        if alone.generator_kind == "two_tower":
            continue
        encoder, embeddings = names.scopes(alone, part)
        task = alone.task
        if task and (task.kind == "joint_span" or task.answerable):
            task = None
        places = names.task_places(task) if task else ()
        table = names.huggingface(encoder, embeddings, places)
        backbone = names.keras_hub(encoder, embeddings, places)
        for name in names.shapes(alone):
            if name.startswith("task/") and task is None:
                continue  # no class of the library has it
            assert table.theirs(name), name
            there = name.startswith(
                (f"{encoder}/", f"{embeddings}/", "generator/head/")
            ) or (name.startswith("task/") and task.kind == "sequence")
            if name == "generator/head/output_weights":  # the token table
                there = False
            assert bool(backbone.theirs(name)) == there, name


@pytest.mark.parametrize("column", ["tf1", "huggingface", "keras_hub"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("discriminator/encoder/layer_11/attention/qkv/kernel", (6, 18)),
        ("discriminator/encoder/layer_11/attention/qkv/bias", (18,)),
        ("discriminator/encoder/layer_0/attention/output/kernel", (6, 6)),
        ("discriminator/encoder/layer_0/attention/output/bias", (6,)),
        ("discriminator/encoder/layer_0/intermediate/kernel", (6, 9)),
        ("embeddings/word_embeddings", (7, 6)),
        ("embeddings/layer_norm/gamma", (6,)),
    ],
)
def test_shapes_there_and_back(column, name, shape):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    table = getattr(names, column)()
    there = names.to_theirs(column, name, array, num_heads=3)
    assert len(there) == len(table.theirs(name))
    back = names.to_ours(column, name, there)
    np.testing.assert_array_equal(back, array)


def test_names_of_other_formats():
    """A few names and their transforms are those of the other format."""
    kernel = "discriminator/encoder/layer_10/attention/qkv/kernel"
    assert names.tf1().theirs(kernel)[1] == (
        "electra/encoder/layer_10/attention/self/key/kernel"
    )
    assert names.huggingface().theirs(kernel)[2] == (
        "electra.encoder.layer.10.attention.self.value.weight"
    )
    assert names.keras_hub().theirs(kernel)[0] == (
        "transformer_layer_10/self_attention_layer/query/kernel"
    )
    array = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.testing.assert_array_equal(
        names.to_theirs("huggingface", kernel, array)[1], array[:, 2:4].T
    )
    assert names.to_theirs("keras_hub", kernel, array, 2)[0].shape == (2, 2, 1)
    assert names.tf1(True).theirs("generator/ltr/layer_0/output/bias") == (
        "generator_ltr/encoder/layer_0/output/dense/bias",
    )
    assert names.tf1(True).theirs("generator/head/output_bias") == (
        "cloze_predictions/output_bias",
    )
    span = names.task_places(TaskHeadConfig("span"))
    assert names.tf1(False, span, "squadv1").theirs("task/output/bias") == (
        "task_specific/squadv1/dense/bias",
        "task_specific/squadv1/dense_1/bias",
    )
