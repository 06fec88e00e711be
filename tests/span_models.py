"""Taggers and question answerers with random weights, and their exports."""

import fine_tuned_models
import keras
import numpy as np
import tensorflow as tf
from finetune_command import SHAPE

import electra_tf
from electra_tf.models import task_networks
from electra_tf.models.config import ModelConfig
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.registry import task_class
from electra_tf.text.vocab import load_vocab


def make(path, vocab_file, name, options, state, spread=1.0) -> Predictor:
    """Returns a loaded fine-tuned model, but with random weights.

    `spread` is the standard deviation of the head's weights.
    """
    cls = task_class(name)
    task = cls(name, cls.Options(**options), None, state)
    vocab = load_vocab(vocab_file)
    config = ModelConfig(vocab_size=len(vocab), **SHAPE)
    keras.utils.set_random_seed(0)
    network = task_networks.task_network(config, task.head())
    network.build()
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        value = rng.normal(size=variable.shape) * (
            spread if "task" in variable.path else 0.3
        )
        variable.assign(variable + value)
    about = fine_tuned_models.about(name, options, state)
    return electra_tf.load(fine_tuned_models.save(path, network, vocab, about))


def exported(predictor, function, path):
    """Returns `function` after it was saved and loaded."""
    module = tf.Module()
    module.network = predictor.network
    module.tokenizer = predictor.tokenizer
    module.function = function
    tf.saved_model.save(
        module, str(path), signatures={"serving_default": function}
    )
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]

    def call(**inputs):
        found = signature(
            **{name: tf.constant(v, tf.string) for name, v in inputs.items()}
        )
        return {name: value.numpy() for name, value in found.items()}

    call.model = loaded  # what the signature reads
    return call


def check_steps(signatures, inputs, at_once):
    """Asserts that `serving_default` in steps equals it in one call exactly."""
    whole, *steps = [
        signatures["serving_default" + end].get_concrete_function()
        for end in ("", ".begin", ".part", ".end")
    ]
    begin, part, end = ((step, step.structured_input_signature[0])
                        for step in steps)  # fmt: skip
    state = begin[0](*inputs)
    count = int(state["num_parts"])
    assert count > 2 * at_once
    parts = []
    for first in range(0, count, at_once):
        bounds = {"first": first, "after_last": min(first + at_once, count)}
        given = state | {k: tf.constant(v) for k, v in bounds.items()}
        parts.append(part[0](*(given[spec.name] for spec in part[1])))
    given = state | {
        name: tf.concat([each[name] for each in parts], axis=0)
        for name in parts[0]
    }
    found = end[0](*(given[spec.name] for spec in end[1]))
    expected = whole(*inputs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, name)
