"""What every network reads: rows of tokens, whole or part by part."""

import os
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import randomness
from electra_tf.models.saved import Saved


class Rows(NamedTuple):
    """A batch of rows of tokens, as a network reads it.

    Attributes:
      input_ids: [B, L] int32 token ids.
      input_mask: [B, L], 1 for real tokens, 0 for padding; all real where
        None. Padding does not influence the outputs of real tokens.
      segment_ids: [B, L] int32, 0 or 1; all 0 where None.
      keys: [B] uint32, what dropout is keyed by in training; drawn from the
        network's own generator where None.
      sequence_ids: [B, L] int32, which of several sequences in a row a token
        belongs to, each a stretch of the row; one a row where None. A
        sequence is read as if it stood alone.
    """

    input_ids: tf.Tensor
    input_mask: tf.Tensor | None = None
    segment_ids: tf.Tensor | None = None
    keys: tf.Tensor | None = None
    sequence_ids: tf.Tensor | None = None

    @property
    def mask(self) -> tf.Tensor:
        """`input_mask`, all ones where there is none."""
        if self.input_mask is None:
            return tf.ones_like(self.input_ids)
        return self.input_mask

    @property
    def segments(self) -> tf.Tensor:
        """`segment_ids`, all zeros where there are none."""
        if self.segment_ids is None:
            return tf.zeros_like(self.input_ids)
        return self.segment_ids

    def filled(self) -> "Rows":
        """The same rows, with a mask and segments in any case."""
        return self._replace(input_mask=self.mask, segment_ids=self.segments)

    def keyed(self, seed: keras.random.SeedGenerator, training: bool) -> "Rows":
        """The same rows with dropout keys in training, without in inference.

        Args:
          seed: what keys are drawn from where there are none.
          training: whether dropout is on.
        """
        if not training:
            return self._replace(keys=None)
        if self.keys is None:
            batch = tf.shape(self.input_ids)[0]
            return self._replace(keys=randomness.fresh_keys(seed, batch))
        return self

    def salted(self, use: int) -> "Rows":
        """The same rows with the keys of another use of dropout."""
        if self.keys is None:
            return self
        return self._replace(keys=randomness.salted(self.keys, use))


def as_rows(
    input_ids: "tf.Tensor | Rows | Mapping[str, tf.Tensor]",
    input_mask: tf.Tensor | None = None,
    segment_ids: tf.Tensor | None = None,
    keys: tf.Tensor | None = None,
    sequence_ids: tf.Tensor | None = None,
) -> Rows:
    """`Rows` of its parts; of a mapping of them; or as they are."""
    if isinstance(input_ids, Rows):
        return input_ids
    if isinstance(input_ids, Mapping):
        return Rows(**input_ids)
    return Rows(input_ids, input_mask, segment_ids, keys, sequence_ids)


_SEED = "dropout_seed"


class Network(Saved, keras.Model):
    """A network that reads `Rows`: `call(rows, ..., training=False)`.

    `network(rows)`, `network(input_ids, input_mask, segment_ids)` and
    `network(**batch)` are the same call; see `Rows` for the parts. What a
    network reads besides comes fourth or by its name.
    """

    scope = ""  # what its variables are below on disk, whatever its name
    dropout_seed: keras.random.SeedGenerator | None = None

    def __call__(
        self,
        input_ids: tf.Tensor | Rows | Mapping[str, tf.Tensor],
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        *others: Any,
        keys: tf.Tensor | None = None,
        sequence_ids: tf.Tensor | None = None,
        **named: Any,
    ) -> Any:
        """Gives `call` the rows, from whatever form they are in.

        Args:
          input_ids: as in `Rows`; or whole `Rows`, or a mapping of parts.
          input_mask: as in `Rows`.
          segment_ids: as in `Rows`.
          *others: what the network reads besides.
          keys: as in `Rows`.
          sequence_ids: as in `Rows`.
          **named: other arguments of `call`, such as training.
        """
        rows = as_rows(input_ids, input_mask, segment_ids, keys, sequence_ids)
        return super().__call__(rows, *others, **named)

    def _build_again(self, config: Mapping[str, Any]) -> None:
        self.build()  # no input is needed for the shapes

    def save(
        self,
        filepath: Any,
        overwrite: bool = True,
        zipped: bool | None = None,
        **named: Any,
    ) -> None:
        """Saves it as `keras.Model.save`; what fails leaves no file behind.

        Args:
          filepath: a `.keras` file, or what else Keras takes.
          overwrite: whether to replace a file without asking.
          zipped: as Keras'.
          **named: as Keras'.
        """
        path = str(filepath)
        if (
            not path.endswith(".keras")
            or "://" in path
            or (os.path.exists(path) and not overwrite)
        ):
            super().save(filepath, overwrite, zipped, **named)
            return
        aside = f"{path.removesuffix('.keras')}.tmp-{uuid.uuid4().hex[:8]}"
        aside += ".keras"
        try:
            super().save(aside, overwrite, zipped, **named)
            os.replace(aside, path)
        finally:
            if os.path.exists(aside):
                os.remove(aside)

    def save_own_variables(self, store: Any) -> None:
        """Writes, beside its weights, where its random numbers stand.

        Args:
          store: name -> array; Keras gives it.
        """
        super().save_own_variables(store)
        if self.dropout_seed is not None:
            store[_SEED] = self.dropout_seed.state.numpy()

    def load_own_variables(self, store: Any) -> None:
        """The inverse of `save_own_variables`.

        Args:
          store: name -> array; Keras gives it.
        """
        held = {name: store[name] for name in store.keys()}
        seed = held.pop(_SEED, None)
        super().load_own_variables(held)
        if seed is not None and self.dropout_seed is not None:
            self.dropout_seed.state.assign(seed)
