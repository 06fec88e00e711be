"""Provides masks for the masked LM that are new in each epoch."""

import random
from typing import Any

import keras_hub
import numpy as np
import tensorflow as tf


class MaskGenerator(keras_hub.layers.MaskedLMMaskGenerator):
    """Masks tokens as KerasHub's layer does, anew in each pass over a dataset.

    After `keras.utils.set_random_seed` the random operations of KerasHub's
    layer (0.32) start again whenever a `tf.data.Dataset` that maps it is
    iterated, so that all epochs have the masks of the first. Here such a seed
    decides where the masks start, and each batch has masks of its own.

    Args:
      **kwargs: of `keras_hub.layers.MaskedLMMaskGenerator`.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        # The seed of Python's generator is set by Keras' function too.
        self._seeds = np.random.default_rng(random.randrange(2**32))

    def call(self, inputs: Any) -> dict[str, tf.Tensor]:
        """Masks rows of tokens.

        Args:
          inputs: token ids, as for KerasHub's layer.

        Returns:
          `token_ids` as the input, with masks; `mask_positions`, `mask_ids`
          and `mask_weights`, [B, mask_selection_length] where the input is
          [B, L]; ragged where that length is None.
        """
        # Outside of graphs nothing starts again.
        if tf.executing_eagerly() or isinstance(inputs, tf.RaggedTensor):
            return super().call(inputs)
        token_ids = tf.convert_to_tensor(inputs)
        if token_ids.shape.rank == 1:
            found = self._masked(token_ids[tf.newaxis])
            return {name: value[0] for name, value in found.items()}
        return self._masked(token_ids)

    def _masked(self, token_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        # A function of Python, as the state of a variable would be bound to a
        # device or a strategy.
        seeds = tf.numpy_function(self._next_seeds, [], tf.int64)
        seeds = tf.unstack(tf.ensure_shape(seeds, [3, 2]))
        order, kind, other = (
            tf.random.stateless_uniform(tf.shape(token_ids), seed)
            for seed in seeds
        )
        special = tf.constant(self.unselectable_token_ids, token_ids.dtype)
        free = tf.reduce_all(token_ids[..., tf.newaxis] != special, axis=-1)
        count = tf.reduce_sum(tf.cast(free, tf.float32), axis=-1)
        count = tf.cast(tf.math.ceil(count * self.mask_selection_rate), "int32")
        if self.mask_selection_length is not None:
            count = tf.minimum(count, self.mask_selection_length)
        rank = tf.argsort(tf.argsort(tf.where(free, order, 2.0)))
        chosen = rank < count[:, tf.newaxis]
        positions = tf.ragged.boolean_mask(
            tf.zeros_like(token_ids, "int64")
            + tf.range(tf.shape(token_ids, "int64")[1]),
            chosen,
        )
        mask_ids = tf.ragged.boolean_mask(token_ids, chosen)
        weights = tf.ones_like(positions, self.compute_dtype)
        if self.mask_selection_length is not None:
            shape = [None, self.mask_selection_length]
            positions = positions.to_tensor(shape=shape)
            mask_ids = mask_ids.to_tensor(shape=shape)
            weights = weights.to_tensor(shape=shape)
        random_ids = tf.cast(other * self.vocabulary_size, token_ids.dtype)
        mask_id = tf.cast(self.mask_token_id, token_ids.dtype)
        kept = self.mask_token_rate + self.random_token_rate
        put = tf.where(kind < kept, random_ids, token_ids)
        put = tf.where(kind < self.mask_token_rate, mask_id, put)
        return {
            "token_ids": tf.where(chosen, put, token_ids),
            "mask_positions": positions,
            "mask_ids": mask_ids,
            "mask_weights": weights,
        }

    def _next_seeds(self) -> np.ndarray:
        return self._seeds.integers(2**63 - 1, size=[3, 2])
