"""A generator that never sees the token it predicts, at any position."""

from typing import NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import encoder as encoders
from electra_tf.models import heads, layers, networks, randomness
from electra_tf.models.config import ModelConfig


class TowersOutput(NamedTuple):
    """What the two encoders compute."""

    ltr: encoders.EncoderOutput  # reads from the left
    rtl: encoders.EncoderOutput  # reads from the right


class TwoTowerGenerator(keras.Model):
    """A cloze model: p(token | all others) in one pass (Clark et al. 2020b).

    One encoder reads from the left, one from the right. A position is
    predicted from the left reader's state one before it and the right
    reader's one after it, so the input is not masked. Before the first and
    after the last real token there is nothing: zeros.

    Args:
      config: shape of each tower.
      embeddings: tables that both towers share, built by their owner; made
        for the two of them where None.
      untied: each tower has tables of its own; the head's is the left one's.
      wrap_around: what is beyond one end of a row is its other end, padding
        included, as in the original. For comparisons with it: this shows the
        first and the last token to the head that predicts them.
      name: the scope of its variables.
    """

    reads_masked = False

    def __init__(
        self,
        config: ModelConfig,
        embeddings: layers.Embeddings | None = None,
        untied: bool = False,
        wrap_around: bool = False,
        name: str = "generator",
    ):
        super().__init__(name=name)
        self.config = config
        self.wrap_around = wrap_around
        if embeddings is None and not untied:
            embeddings = layers.Embeddings(config)
            # Here, not in build(), so that its path has neither scope.
            embeddings.build()
        self.ltr = encoders.ElectraEncoder(
            config, embeddings, name="ltr", attends="left"
        )
        self.rtl = encoders.ElectraEncoder(
            config, embeddings, name="rtl", attends="right"
        )
        self.head = heads.TokenLMHead(config, self.ltr.embeddings)

    def build(self, input_shape: object = None) -> None:
        """Creates all variables."""
        self.ltr.build()
        self.rtl.build()
        self.head.build((None, None, 2 * self.config.hidden_size))
        self.built = True

    def call(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        positions: tf.Tensor | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> networks.GeneratorOutput:
        """Predicts each token from the others, at `positions` if given.

        Args:
          input_ids: [B, L] int32, not masked.
          input_mask: [B, L], as in `ElectraEncoder.call`.
          segment_ids: [B, L], as there.
          positions: [B, N] int32 positions to predict; all where None.
          training: whether dropout is on.
          keys: [B] uint32 dropout keys, as there.
        """
        hidden, output = self.hidden_at(
            input_ids, input_mask, segment_ids, positions, training, keys
        )
        return networks.GeneratorOutput(
            self.head(hidden, training=training), output
        )

    def hidden_at(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None,
        segment_ids: tf.Tensor | None,
        positions: tf.Tensor | None,
        training: bool = False,
        keys: tf.Tensor | None = None,
        sequence_ids: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, TowersOutput]:
        """[B, N or L, 2H] states that the head reads; arguments as `call`'s.

        And `sequence_ids`, as in `ElectraEncoder.call`; not with wrap_around.
        """
        if sequence_ids is not None and self.wrap_around:
            raise ValueError("wrap_around takes one sequence a row")
        if input_mask is None:
            input_mask = tf.ones_like(input_ids)
        output = TowersOutput(
            *(
                tower(
                    input_ids,
                    input_mask,
                    segment_ids,
                    training=training,
                    keys=_salted(keys, i),
                    sequence_ids=sequence_ids,
                )
                for i, tower in enumerate((self.ltr, self.rtl))
            )
        )
        left, right = (o.sequence_output for o in output)
        if self.wrap_around:
            left, right = tf.roll(left, 1, axis=1), tf.roll(right, -1, axis=1)
        else:
            real = tf.cast(input_mask, right.dtype)[:, :, None]
            # On padding the right reader has nothing to attend to, and a
            # softmax over nothing attends to everything.
            left, right = left[:, :-1], (right * real)[:, 1:]
            if sequence_ids is not None:
                goes_on = sequence_ids[:, 1:] == sequence_ids[:, :-1]
                goes_on = tf.cast(goes_on, right.dtype)[:, :, None]
                left, right = left * goes_on, right * goes_on
            left = tf.pad(left, [[0, 0], [1, 0], [0, 0]])
            right = tf.pad(right, [[0, 0], [0, 1], [0, 0]])
        hidden = tf.concat([left, right], axis=-1)
        if positions is not None:
            hidden = tf.gather(hidden, positions, batch_dims=1)  # [B, N, 2H]
        return hidden, output


def _salted(keys: tf.Tensor | None, tower: int) -> tf.Tensor | None:
    return None if keys is None else randomness.salted(keys, 2001 + tower)
