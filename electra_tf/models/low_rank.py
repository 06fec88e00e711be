"""Provides LoRA: a frozen kernel with a trained change of low rank."""

from typing import Any

import keras
import tensorflow as tf

from electra_tf.models import products


class LowRank(keras.layers.Layer):
    """The change of a kernel, scale * down @ up; none before `enable`.

    With x @ kernel + scale * (x @ down) @ up the kernel's own gradient, which
    costs as much as the product, is not needed.

    Attributes:
      rank: rank of the change of each part; 0 before `enable`.
      alpha: the scale is alpha / rank.
      parts: number of equal parts of the kernel's columns.
      chosen: numbers of the parts that change.
    """

    def __init__(self, name: str = "lora", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.rank = 0
        self.alpha = 0.0
        self.parts = 1
        self.chosen: tuple[int, ...] = ()
        # No variables: where a layer is not built, Keras' fit calls the model
        # on inputs whose dtypes it guesses under tf.distribute.
        self.built = True

    def enable(
        self,
        kernel: keras.Variable,
        rank: int,
        alpha: float,
        parts: int = 1,
        chosen: tuple[int, ...] = (0,),
    ) -> None:
        """Creates the factors; at first the kernel is unchanged.

        Args:
          kernel: [input, units].
          rank: rank of the change of each part.
          alpha: the scale is alpha / rank.
          parts: number of equal parts of the columns, such as 3 for query, key
            and value.
          chosen: the numbers of the parts that change.
        """
        size, units = kernel.shape
        self.rank, self.alpha = rank, alpha
        self.parts, self.chosen = parts, tuple(chosen)
        # Beside the kernel, as paths of variables show where they belong.
        *above, place, _ = kernel.path.split("/")
        with keras.name_scope(place, override_parent="/".join(above)):
            self.build((size, units))

    def build(self, input_shape: tuple) -> None:
        """Creates down [input, N * rank] and up [N * rank, units / parts]."""
        size, units = input_shape
        width = self.rank * len(self.chosen)
        self.down = self.add_weight(
            shape=(size, width),
            # As the kernel of a linear layer in LoRA's own code.
            initializer=keras.initializers.VarianceScaling(
                1 / 3, "fan_in", "uniform"
            ),
            name="down",
        )
        self.up = self.add_weight(
            shape=(width, units // self.parts), initializer="zeros", name="up"
        )
        self.built = True

    @property
    def factors(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the factors to multiply: [input, W] and [W, units]."""
        up, part = tf.convert_to_tensor(self.up), self.up.shape[1]
        rows = [
            tf.pad(
                up[i * self.rank : (i + 1) * self.rank],
                [[0, 0], [number * part, (self.parts - 1 - number) * part]],
            )
            for i, number in enumerate(self.chosen)
        ]
        scale = tf.cast(self.alpha / self.rank, up.dtype)
        return tf.convert_to_tensor(self.down), tf.concat(rows, axis=0) * scale

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Computes the change's contribution: [..., input] -> [..., units]."""
        down, up = self.factors
        inner = products.product(x, tf.cast(down, x.dtype))
        return products.product(inner, tf.cast(up, x.dtype))

    def change(self) -> tf.Tensor:
        """Computes the change of the kernel: [input, units]."""
        down, up = self.factors
        return tf.matmul(down, up)
