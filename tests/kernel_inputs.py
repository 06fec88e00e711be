"""Inputs for the tests of kernels and of the layers that use them."""

import numpy as np
import tensorflow as tf

from electra_tf.models import randomness


def keys():
    """Returns the dropout keys of four examples."""
    return randomness.example_keys(tf.range(4, dtype=tf.int64), seed=3)


def random(*shape, seed=0):
    """Returns normally distributed float32 numbers."""
    values = np.random.default_rng(seed).normal(size=shape)
    return tf.constant(values.astype("float32"))
