"""Tests of LoRA, freezing by layer, and adapters."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import electra_tf
from electra_tf.errors import UserError
from electra_tf.hub import directory
from electra_tf.hub.config import DirectoryConfig
from electra_tf.models import kernels, packed_encoder
from electra_tf.models.adaptation import changed_kernels
from electra_tf.models.config import ModelConfig, TaskHeadConfig
from electra_tf.models.encoder import ElectraEncoder
from electra_tf.models.task_networks import SequenceClassifier

CONFIG = ModelConfig(
    vocab_size=30, embedding_size=8, hidden_size=16, num_layers=2,
    num_heads=2, intermediate_size=24, max_positions=12,
)  # fmt: skip
IDS = np.array([[2, 9, 12, 3, 0], [2, 7, 8, 9, 3]], np.int32)
MASK = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], np.int32)
LABELS = np.array([0, 1])


def network():
    keras.utils.set_random_seed(0)
    model = SequenceClassifier(
        CONFIG, TaskHeadConfig(kind="sequence", num_labels=2)
    )
    model.build()
    return model


def logits(model):
    return model(IDS, MASK).logits


def disturb(model):
    """Adds random changes to the trainable variables, as training would."""
    for i, variable in enumerate(model.trainable_variables):
        noise = np.random.default_rng(i).normal(0, 0.3, variable.shape)
        variable.assign_add(noise)


def test_only_changes_and_head_train_and_outputs_begin_equal(capsys):
    model = network()
    # Or Keras' fit would build the model from guessed dtypes.
    assert all(b.attention.qkv.lora.built for b in model.encoder.blocks)
    before = logits(model)
    model.enable_lora(4)
    np.testing.assert_array_equal(logits(model), before)
    paths = [v.path for v in model.trainable_variables]
    attention = "discriminator/encoder/layer_{}/attention/qkv/lora/{}"
    assert paths == [
        attention.format(i, name) for i in range(2) for name in ("down", "up")
    ] + [p for p in paths if p.startswith("discriminator/task/")]
    assert len(paths) == 6
    down, up = model.encoder.blocks[0].attention.qkv.lora.variables
    assert (tuple(down.shape), tuple(up.shape)) == ((16, 8), (8, 16))
    printed = capsys.readouterr().out
    lora = 2 * (16 * 8 + 8 * 16)
    head = 16 * 2 + 2
    assert f"{lora + head:,} of " in printed
    assert f"LoRA {lora}, head {head}" in printed


@pytest.mark.parametrize(
    ("targets", "layers", "numbers"),
    [("query_value", 1, 512), ("attention", 2, 1024), ("all", 4, 1664)],
)
def test_targets(targets, layers, numbers):
    encoder = ElectraEncoder(CONFIG)
    encoder.build()
    encoder.enable_lora(4, targets, verbose=False)
    assert len(encoder.trainable_variables) == 2 * 2 * layers
    count = sum(int(np.prod(v.shape)) for v in encoder.trainable_variables)
    assert count == numbers


@pytest.mark.parametrize("mode", ["plain", "xla"])
@pytest.mark.parametrize("targets", ["query_value", "all"])
def test_changes_are_those_of_the_merged_kernels(targets, mode):
    """LoRA gives what a network of kernels + scale * down @ up gives."""
    model = network()
    model.enable_lora(4, targets, alpha=8, verbose=False)
    disturb(model)
    whole = {
        path.replace("kernel", ""): layer.whole_kernel()
        for path, layer in changed_kernels([model]).items()
    }
    query = whole["discriminator/encoder/layer_0/attention/qkv/"]
    lora = model.encoder.blocks[0].attention.qkv.lora
    kernel = model.encoder.blocks[0].attention.qkv.kernel
    np.testing.assert_allclose(
        query[:, :16] - kernel[:, :16],
        2 * lora.down[:, :4] @ lora.up[:4],
        atol=1e-5,
    )
    other = network()
    for own, value in zip(other.head.variables, model.head.variables):
        own.assign(value)
    for path, variable in ((v.path, v) for v in other.encoder.variables):
        if path.replace("kernel", "") in whole and path.endswith("kernel"):
            variable.assign(whole[path.replace("kernel", "")])
    np.testing.assert_allclose(logits(model), logits(other), atol=2e-5)
    with packed_encoder.installed(model):
        np.testing.assert_allclose(logits(model), logits(other), atol=2e-5)

    def head_gradients(model):
        @tf.function
        def run():
            with kernels.use(mode), tf.GradientTape() as tape:
                keys = tf.constant([1, 2], tf.uint32)
                found = model(IDS, MASK, keys=keys, training=True).logits
                loss = tf.reduce_sum(found**2)
            return tape.gradient(
                loss, [v.value for v in model.head.trainable_variables]
            )

        return run()

    for one, two in zip(head_gradients(model), head_gradients(other)):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


def test_gradients_of_the_factors_follow_the_kernels():
    """d(down) = scale * d(kernel) @ up', d(up) = scale * down' @ d(kernel)."""
    model = network()
    model.enable_lora(4, "all", alpha=8, verbose=False)
    disturb(model)
    dense = model.encoder.blocks[0].output_dense
    keys = tf.constant([1, 2], tf.uint32)
    with tf.GradientTape() as tape:
        tape.watch(dense.kernel.value)
        found = model(IDS, MASK, keys=keys, training=True).logits
        loss = tf.reduce_sum(found**2)
    kernel, down, up = tape.gradient(
        loss,
        [dense.kernel.value, dense.lora.down.value, dense.lora.up.value],
    )
    np.testing.assert_allclose(
        down, 2 * kernel @ tf.transpose(dense.lora.up), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        up, 2 * tf.transpose(dense.lora.down) @ kernel, rtol=1e-3, atol=1e-4
    )


def test_no_product_is_computed_for_the_gradient_of_a_frozen_kernel():
    def kernel_gradients(prepare):
        model = network()
        prepare(model)
        keys = tf.constant([1, 2], tf.uint32)

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                found = model(IDS, MASK, keys=keys, training=True).logits
                loss = tf.reduce_sum(found**2)
            return tape.gradient(
                loss, [v.value for v in model.trainable_variables]
            )

        graph = step.get_concrete_function().graph
        needed, todo = {}, [tensor.op for tensor in graph.outputs]
        while todo:
            op = todo.pop()
            if op.name not in needed:
                needed[op.name] = op
                todo += [tensor.op for tensor in op.inputs]
        shapes = {
            (16, 48),
            (16, 16),
            (16, 24),
            (24, 16),
            (8, 16),
            (16, 2),
            (16, 8),
            (8, 48),
        }
        return sum(
            op.type == "MatMul" and tuple(op.outputs[0].shape) in shapes
            for op in needed.values()
        )

    # Per block: qkv, output, intermediate, output. And projection and head.
    assert kernel_gradients(lambda model: None) == 2 * 4 + 1 + 1
    # Per block: `down` and `up`. And the head.
    lora = kernel_gradients(lambda m: m.enable_lora(4, verbose=False))
    assert lora == 2 * 2 + 1
    assert kernel_gradients(lambda m: m.freeze(1, verbose=False)) == 4 + 1
    assert kernel_gradients(lambda m: m.freeze(verbose=False)) == 1


def test_training_changes_trainable_weights_alone():
    model = network()
    model.enable_lora(2, "all", verbose=False)
    frozen = [v.numpy() for v in model.non_trainable_variables]
    before = [v.numpy() for v in model.trainable_variables]
    optimizer = keras.optimizers.Adam(0.05)
    losses = []
    for _ in range(12):
        with tf.GradientTape() as tape:
            found = model(IDS, MASK).logits
            loss = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(
                    LABELS, found, from_logits=True
                )
            )
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        optimizer.apply(gradients, variables)
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]
    for value, variable in zip(frozen, model.non_trainable_variables):
        np.testing.assert_array_equal(value, variable)
    for value, variable in zip(before, model.trainable_variables):
        assert np.abs(value - variable).max() > 0
    assert len(optimizer.variables) == 2 + 2 * len(before)


def test_merging_keeps_the_outputs():
    model = network()
    model.enable_lora(4, "all", verbose=False)
    disturb(model)
    before = logits(model)
    model.merge_lora()
    np.testing.assert_allclose(logits(model), before, atol=2e-5)
    assert not np.any(model.encoder.blocks[1].intermediate.lora.change())


def test_freezing_by_layer(capsys):
    model = network()
    model.freeze(up_to=1)
    names = {v.path.split("/")[2] for v in model.encoder.trainable_variables}
    assert names == {"layer_1"}
    assert "blocks" in capsys.readouterr().out
    model.freeze(up_to=0, verbose=False)
    names = {v.path.split("/")[2] for v in model.encoder.trainable_variables}
    assert names == {"layer_0", "layer_1"}
    model.freeze(verbose=False)
    assert model.encoder.trainable_variables == []
    assert len(model.trainable_variables) == 2
    with pytest.raises(UserError, match="up_to: 3; expected 0 to 2"):
        model.freeze(3)
    # With LoRA on all blocks, the factors of frozen blocks do not train.
    model.enable_lora(2, verbose=False)
    model.freeze(1, verbose=False)
    paths = [v.path for v in model.encoder.trainable_variables]
    assert [p.split("/")[2] for p in paths] == ["layer_1"] * 2


def test_adapters_alone(tmp_path):
    model = network()
    model.enable_lora(4, "attention", alpha=8, verbose=False)
    disturb(model)
    path = str(tmp_path / "adapter")
    model.save_adapter(path)
    other = network()
    assert np.abs(logits(other) - logits(model)).max() > 0.1
    other.load_adapter(path)
    assert other.encoder.lora == (4, 8.0, "attention")
    np.testing.assert_array_equal(logits(other), logits(model))
    other.load_adapter(path)  # a second time, into the same model
    third = network()
    third.enable_lora(2, verbose=False)
    with pytest.raises(UserError, match="rank 4, alpha 8, on attention"):
        third.load_adapter(path)
    small = SequenceClassifier(
        dataclasses.replace(CONFIG, hidden_size=8),
        TaskHeadConfig(kind="sequence", num_labels=2),
    )
    small.build()
    with pytest.raises(UserError, match=r"down has shape \[16, 12\]"):
        small.load_adapter(path)
    with pytest.raises(UserError, match="nowhere"):
        network().load_adapter(str(tmp_path / "nowhere"))


def test_saved_merged(tmp_path, tiny_tokens):
    config = dataclasses.replace(CONFIG, vocab_size=len(tiny_tokens))
    encoder = ElectraEncoder(config)
    encoder.build()
    encoder.enable_lora(4, "all", verbose=False)
    disturb(encoder)
    vocab = electra_tf.Vocab(tiny_tokens)
    directory.save(
        str(tmp_path),
        DirectoryConfig(
            config, None, lower_case=True, strip_accents=None,
            replaced_token_head=False, token_lm_head=False,
            vocab_fingerprint=vocab.fingerprint(),
        ),
        [encoder],
        vocab,
    )  # fmt: skip
    loaded = electra_tf.Encoder.from_pretrained(str(tmp_path))
    assert loaded.load_report.new == ()
    assert loaded.load_report.leftover == ()
    np.testing.assert_allclose(
        loaded(IDS, MASK).sequence_output,
        encoder(IDS, MASK).sequence_output,
        atol=2e-5,
    )
    loaded.enable_lora(4, verbose=False)
    loaded.save_pretrained(str(tmp_path / "again"))
    again = electra_tf.Encoder.from_pretrained(str(tmp_path / "again"))
    np.testing.assert_array_equal(
        again(IDS, MASK).first_output, loaded(IDS, MASK).first_output
    )


def test_impossible_calls_are_reported():
    model = network()
    with pytest.raises(UserError, match="rank: 17; expected 1 to 16"):
        model.enable_lora(17)
    with pytest.raises(UserError, match=r"rank: 2\.5; expected 1 to 16"):
        model.enable_lora(2.5)
    for alpha in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"alpha: .* a number above 0"):
            model.enable_lora(2, alpha=alpha)
    with pytest.raises(UserError, match=r"up_to: 0\.5; expected 0 to 2"):
        model.freeze(0.5)
    with pytest.raises(UserError, match="targets: 'keys' is none of"):
        model.enable_lora(2, "keys")
    with pytest.raises(UserError, match="call enable_lora"):
        model.save_adapter("nowhere")
    model.enable_lora(2, verbose=False)
    with pytest.raises(UserError, match="rank 2 is enabled already"):
        model.enable_lora(4)
    with pytest.raises(UserError, match=r"quantize\('int8'\): .*tflite"):
        model.quantize("int8")


def test_in_a_keras_file(tmp_path):
    model = network()
    model.enable_lora(4, "all", alpha=8, verbose=False)
    disturb(model)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.encoder.lora == (4, 8.0, "all")
    np.testing.assert_array_equal(logits(loaded), logits(model))
    assert [v.path for v in loaded.trainable_variables] == [
        v.path for v in model.trainable_variables
    ]


def places(model):
    """Returns the paths of what trains, without the networks' names."""
    return [v.path.partition("/")[2] for v in model.trainable_variables]


def opened(kind, model):
    labels = {"labels": ["a", "b"]} if kind == "TextClassifier" else {}
    return getattr(electra_tf, kind).from_pretrained(model, **labels)


@pytest.mark.parametrize(
    "kind", ["TextClassifier", "MaskedLM", "ReplacedTokenDetector"]
)
def test_tasks_with_lora_in_a_keras_file(kind, tiny_model, tmp_path):
    model = opened(kind, tiny_model)
    model.enable_lora(2, verbose=False)
    disturb(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.network.encoder.lora == (2, 2.0, "query_value")
    assert places(loaded) == places(model)
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("optimizer", [None, "adam"])
@pytest.mark.parametrize("kind", ["TextClassifier", "MaskedLM"])
def test_frozen_tasks_in_a_keras_file(kind, optimizer, tiny_model, tmp_path):
    model = opened(kind, tiny_model)
    model.compile(optimizer, run_eagerly=True)
    model.freeze(1, verbose=False)
    x = ["the cat sat", "a dog ran"]
    data = (x, ["a", "b"]) if kind == "TextClassifier" else (x,)
    model.fit(*data, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert places(loaded) == places(model)
    assert not any("embeddings/" in place for place in places(loaded))
    pairs = zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    )
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)
    frozen = loaded.network.encoder.embeddings.weights[0]
    before = frozen.numpy()
    loaded.fit(*data, verbose=0)
    np.testing.assert_array_equal(frozen, before)


def test_a_frozen_task_of_compile_in_a_keras_file(tiny_model, tmp_path):
    model = opened("TextClassifier", tiny_model)
    model.compile(train={"freeze_encoder": True}, run_eagerly=True)
    model.fit(["a cat", "a dog"], ["a", "b"], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_variables) == 2
    assert int(loaded.optimizer.iterations) == 1


def test_what_compile_froze_trains_again_without_it(tiny_model):
    """But what LoRA or `freeze` froze stays so."""
    model = opened("TextClassifier", tiny_model)
    frozen = {"train": {"freeze_encoder": True}}
    every = len(model.trainable_variables)
    model.compile(**frozen)
    assert len(model.trainable_variables) == 2
    model.compile()
    assert len(model.trainable_variables) == every
    model.compile(**frozen)
    model.freeze(up_to=1, verbose=False)
    above = len(model.trainable_variables)
    assert 2 < above < every
    model.compile()
    assert len(model.trainable_variables) == above
    model = opened("TextClassifier", tiny_model)
    model.enable_lora(2, verbose=False)
    changes = len(model.trainable_variables)
    model.compile(**frozen)
    model.compile()
    assert len(model.trainable_variables) == changes < every
