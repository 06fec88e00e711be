"""Tests that Keras saves, copies and loads every layer and network exactly."""

import copy
import importlib
import pickle

import keras
import numpy as np
import pretraining_tiny as tiny
import pytest
import tensorflow as tf

from electra_tf import registration
from electra_tf.errors import UserError
from electra_tf.keras_api.pretrainer import ElectraPretrainer
from electra_tf.models import networks, task_networks
from electra_tf.models.config import (
    DecoderConfig,
    ModelConfig,
    MultiHeadConfig,
    SentenceHeadConfig,
    TaskHeadConfig,
)
from electra_tf.models.embeddings import DisentangledEmbeddings, Embeddings
from electra_tf.models.encoder import ElectraEncoder
from electra_tf.text.vocab import SPECIALS, Vocab

CONFIG = ModelConfig(
    vocab_size=40,
    embedding_size=8,
    hidden_size=16,
    num_layers=2,
    num_heads=2,
    intermediate_size=32,
    max_positions=12,
)
SPAN = TaskHeadConfig("joint_span", joint_size=8, beam_size=2, answerable=True)
BATCH = {
    "input_ids": np.array([[2, 7, 9, 3, 0], [2, 8, 3, 0, 0]], "int32"),
    "input_mask": np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], "int32"),
    "segment_ids": np.array([[0, 0, 1, 1, 0], [0, 1, 1, 0, 0]], "int32"),
}
PACKED = {
    **BATCH,
    "sequence_ids": np.array([[0, 0, 1, 1, 1], [0, 0, 0, 1, 1]], "int32"),
}


def disentangled():
    tables = Embeddings(CONFIG)
    tables.build()
    return networks.Discriminator(
        CONFIG, DisentangledEmbeddings(CONFIG, tables)
    )


NETWORKS = {
    "encoder": lambda: ElectraEncoder(CONFIG, name="mine"),
    "left": lambda: ElectraEncoder(CONFIG, attends="left"),
    "local": lambda: ElectraEncoder(
        ModelConfig.of_size(
            "tiny",
            vocab_size=40,
            hidden_size=64,
            max_positions=12,
            local_start=True,
            match_heads=1,
        )
    ),
    "generator": lambda: networks.Generator(CONFIG),
    "untied_head": lambda: networks.Generator(
        ModelConfig(**{**vars(CONFIG), "tied_head": False})
    ),
    "two_tower": lambda: networks.TwoTowerGenerator(CONFIG),
    "two_tables": lambda: networks.TwoTowerGenerator(CONFIG, untied=True),
    "uniform": lambda: networks.UniformGenerator(40),
    "discriminator": lambda: networks.Discriminator(
        CONFIG, with_heads=["replaced_token", "token_lm", "copy"]
    ),
    "disentangled": disentangled,
    "classifier": lambda: task_networks.task_network(
        CONFIG, TaskHeadConfig("sequence", 3, ("a", "b", "c"), True)
    ),
    "tagger": lambda: task_networks.task_network(
        CONFIG, TaskHeadConfig("token", 3)
    ),
    "span": lambda: task_networks.task_network(CONFIG, TaskHeadConfig("span")),
    "joint_span": lambda: task_networks.task_network(CONFIG, SPAN),
    "seq2seq": lambda: task_networks.task_network(
        CONFIG, DecoderConfig(num_layers=1)
    ),
    "sentences": lambda: task_networks.task_network(
        CONFIG, SentenceHeadConfig()
    ),
    "multitask": lambda: task_networks.task_network(
        CONFIG,
        MultiHeadConfig({"a": TaskHeadConfig("token", 3), "b": SPAN}),
    ),
}


def moved(network):
    """Changes the weights and the dropout state, as training does."""
    random = np.random.default_rng(3)
    for v in network.weights:
        v.assign(v + random.normal(size=v.shape) * 0.1)
    if network.dropout_seed is not None:
        network.dropout_seed.state.assign([7, 9])
    return network


def outputs(network, batch=BATCH, **named):
    if isinstance(network, task_networks.Seq2Seq):
        named["target_ids"] = tf.constant([[2, 5, 3], [2, 6, 3]])
    found = network(**batch, **named)
    return [x for x in tf.nest.flatten(found) if x is not None]


def assert_same(again, network, batch=BATCH):
    """Asserts equal class, config, paths and outputs, to the last bit."""
    assert type(again) is type(network)
    assert again.get_config().keys() == network.get_config().keys()
    assert [v.path for v in again.variables] == [
        v.path for v in network.variables
    ]
    for name in ("training", None):
        named = {name: True} if name else {}
        for a, b in zip(
            outputs(network, batch, **named), outputs(again, batch, **named),
            strict=True,
        ):  # fmt: skip
            np.testing.assert_array_equal(a, b)


def renamed():
    model = ElectraEncoder(CONFIG)
    model.build()
    model.name = "query"
    return model


NETWORKS["renamed"] = renamed


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    model = NETWORKS[request.param]()
    model.built or model.build()
    return moved(model)


def test_file(network, tmp_path):
    path = str(tmp_path / "x.keras")
    network.save(path)
    assert_same(keras.saving.load_model(path), network)


@pytest.mark.slow
def test_copies(network):
    assert_same(copy.deepcopy(network), network)
    assert_same(pickle.loads(pickle.dumps(network)), network)


@pytest.mark.slow
def test_made_of_its_config(network):
    """A network made from a config, as clones are, has new weights."""
    again = type(network).from_config(network.get_config())
    assert not again.built
    again.build()
    assert [v.shape for v in again.weights] == [
        v.shape for v in network.weights
    ]
    again.set_weights(network.get_weights())
    again.dropout_seed and again.dropout_seed.state.assign(
        network.dropout_seed.state
    )
    for a, b in zip(outputs(network), outputs(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_list_of_classes_is_whole():
    """The list has every class, with its module and registered name."""
    for module, names in registration.CLASSES.items():
        there = importlib.import_module(f"electra_tf.{module}")
        for name in names:
            found = keras.saving.get_registered_object(
                registration.registered_name(module, name)
            )
            assert found is getattr(there, name)
    listed = {
        registration.registered_name(module, name)
        for module, names in registration.CLASSES.items()
        for name in names
    }
    known = {
        name
        for name, found in keras.saving.get_custom_objects().items()
        if name.startswith("electra_tf")
        # KerasHub's tasks are registered by another import.
        and not found.__module__.startswith("electra_tf.hub.keras_hub_tasks")
    }
    assert known == listed


# --- pre-training ----------------------------------------------------------


def trained(model, batches):
    for batch in batches:
        model.train_on_batch(batch)
    return [v.numpy() for v in (*model.variables, *model.optimizer.variables)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["electra", "tied", "uniform", "two_tower", "disentangled"]
)
def test_a_pre_trainer_resumes(name, tmp_path):
    """A loaded pre-trainer resumes training, with optimizer and dropout."""
    vocab = Vocab((*SPECIALS, *(f"w{i}" for i in range(tiny.VOCAB - 5))))
    like = tiny.variant(name)
    model = ElectraPretrainer.from_config(
        vocab=vocab,
        model=like.discriminator.config,
        generator=like.generator_config,
        masking=like.masking_config,
        objective=like.objective.config,
        train={"num_train_steps": 9, "num_warmup_steps": 2},
    )
    model.compile()
    batches = list(tiny.dataset(4))
    trained(model, batches[:2])
    path = str(tmp_path / "x.keras")
    model.save(path)
    again = keras.saving.load_model(path)
    assert again.settings == model.settings
    assert again.vocab.tokens == vocab.tokens
    for a, b in zip(
        trained(model, batches[2:]), trained(again, batches[2:]), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_failed_save_leaves_no_file(tmp_path, monkeypatch):
    network = NETWORKS["encoder"]()
    network.build()

    def fails(store):
        raise OSError("the disk is full")

    monkeypatch.setattr(network, "save_own_variables", fails)
    message = r"cannot write .*x\.keras: the disk is full"
    with pytest.raises(UserError, match=message):
        network.save(str(tmp_path / "x.keras"))
    assert not list(tmp_path.iterdir())
