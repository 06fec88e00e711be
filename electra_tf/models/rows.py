"""Defines the input of every network: rows of tokens."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import inputs, randomness
from electra_tf.models.adaptation import Adaptable
from electra_tf.models.fitting import Fits
from electra_tf.models.saved import Saved, save_whole


class Rows(NamedTuple):
    """A batch of rows of tokens.

    Attributes:
      input_ids: [B, L] int32 token ids.
      input_mask: [B, L], 1 for real tokens, 0 for padding; None means all are
        real. Padding does not influence the outputs of real tokens.
      segment_ids: [B, L] int32, 0 or 1; None means all 0.
      keys: [B] uint32, keys of dropout in training; None takes keys from the
        network's own generator.
      sequence_ids: [B, L] int32, the sequence that a token belongs to, if rows
        have several consecutive ones; None means one per row. A sequence is
        read as if it were alone.
      inputs_embeds: [B, L, E], used in place of rows of the token table; then
        input_ids is None.
    """

    input_ids: tf.Tensor
    input_mask: tf.Tensor | None = None
    segment_ids: tf.Tensor | None = None
    keys: tf.Tensor | None = None
    sequence_ids: tf.Tensor | None = None
    inputs_embeds: tf.Tensor | None = None

    @property
    def places(self) -> tf.Tensor:
        """The ids, or zeros in their shape where there are embeddings."""
        if self.inputs_embeds is None:
            return self.input_ids
        return tf.zeros(tf.shape(self.inputs_embeds)[:2], tf.int32)

    @property
    def mask(self) -> tf.Tensor:
        """`input_mask`, all ones where there is none."""
        if self.input_mask is None:
            return tf.ones_like(self.places)
        return self.input_mask

    @property
    def segments(self) -> tf.Tensor:
        """`segment_ids`, all zeros where there are none."""
        if self.segment_ids is None:
            return tf.zeros_like(self.places)
        return self.segment_ids

    def filled(self) -> "Rows":
        """Returns the rows with mask and segments filled in."""
        return self._replace(input_mask=self.mask, segment_ids=self.segments)

    def keyed(self, seed: keras.random.SeedGenerator, training: bool) -> "Rows":
        """Returns the rows with dropout keys in training, without in inference.

        Args:
          seed: seed generator of keys, where there are none.
          training: whether dropout is on.
        """
        if not training:
            return self._replace(keys=None)
        if self.keys is None:
            batch = tf.shape(self.places)[0]
            return self._replace(keys=randomness.fresh_keys(seed, batch))
        return self

    def salted(self, use: int) -> "Rows":
        """Returns the rows with keys for another use of dropout."""
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
    """Makes `Rows` from parts or a mapping of them; rows are unchanged."""
    if isinstance(input_ids, Rows):
        return input_ids
    if isinstance(input_ids, Mapping):
        return Rows(**input_ids)
    return Rows(input_ids, input_mask, segment_ids, keys, sequence_ids)


_SEED = "dropout_seed"
# Marks calls of a functional model, whose tensors are counted by position:
# there () stands for a missing output, which has no position.
_HELD = "functional"


def _exchanged(value: Any, old: Any, new: Any) -> Any:
    """Replaces `old` by `new` in nested tuples and dicts."""
    if value is old or (isinstance(value, tuple) and not value and old == ()):
        return new
    if isinstance(value, tuple):
        parts = [_exchanged(part, old, new) for part in value]
        if hasattr(value, "_fields"):
            return type(value)(*parts)
        return tuple(parts)
    if isinstance(value, dict):
        return {k: _exchanged(part, old, new) for k, part in value.items()}
    return value


def predictions(output: Any) -> Any:
    """Returns the part of an output that is trained and that `predict` returns.

    Args:
      output: the logits of outputs that have some; start_logits and end_logits
        for question answering, low where no answer can be; for several heads
        each one's, by name. Other outputs are returned unchanged.
    """
    fields = getattr(output, "_fields", ())
    if "logits" in fields:
        return output if output.logits is None else output.logits
    if "spans" in fields:
        start, end = output.spans.inside()
        return {"start_logits": start, "end_logits": end}
    if "heads" in fields:
        return {name: predictions(one) for name, one in output.heads.items()}
    return output


class Network(Adaptable, Saved, Fits, keras.Model):
    """A network that reads `Rows`: `call(rows, ..., training=False)`.

    `network(rows)`, `network(input_ids, input_mask, segment_ids)`,
    `network(batch)` and `network(**batch)` are the same call, and so it is
    with a dict of `keras.Input`s; see `Rows` for the parts, and `inputs` for
    other names and forms that they may have. A further input of a network is
    the fourth argument, or given by name, or in the dict.

    The output is a named tuple of all results. `compile(loss=...)` and `fit`
    use its predictions, see `predictions`; in a functional model name them:
    `keras.Model(inputs, network(inputs).logits)`.
    """

    scope = ""  # scope of its variables on disk, whatever its name
    dropout_seed: keras.random.SeedGenerator | None = None

    def __call__(
        self,
        input_ids: tf.Tensor | Rows | Mapping[str, tf.Tensor] | None = None,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        *others: Any,
        **named: Any,
    ) -> Any:
        """Converts inputs of any form to rows, and runs `call`.

        Args:
          input_ids: see `Rows`; or whole `Rows`, or a mapping of parts.
          input_mask: see `Rows`.
          segment_ids: see `Rows`.
          *others: further inputs of the network.
          **named: parts by any of their names, and other arguments of `call`,
            such as training.

        Raises:
          UserError: a part cannot be read; it is named.
        """
        given: list[tuple[str, Any]] = []
        marked = False
        if isinstance(input_ids, Rows):
            given += input_ids._asdict().items()
        elif isinstance(input_ids, Mapping):
            marked = _HELD in input_ids
            given += [i for i in input_ids.items() if i[0] != _HELD]
        else:
            given.append(("input_ids", input_ids))
        given += [("input_mask", input_mask), ("segment_ids", segment_ids)]
        parts, named = inputs.named_parts(
            [*given, *named.items()], self._others(), self.name
        )
        found = inputs.read(parts, self.name, **self._limits())
        if inputs.symbolic(found):
            held = super().__call__({**found, _HELD: None}, *others, **named)
            return _exchanged(held, (), None)
        rows = Rows(**{"input_ids": None, **found})
        output = super().__call__(rows, *others, **named)
        return _exchanged(output, None, ()) if marked else output

    def _others(self) -> list[str]:
        """Returns the names of `call`'s arguments besides the rows."""
        return [n for n in self.call_signature_parameters if n != "rows"]

    def _limits(self) -> dict[str, int]:
        """Returns the limits for `inputs.read`."""
        config = getattr(self, "config", None)
        if config is None:
            return {}
        return {
            "vocab_size": config.vocab_size,
            "max_positions": config.max_positions,
            "segments": config.type_vocab_size,
            "embedding_size": config.embedding_size,
        }

    def compute_output_spec(self, rows: Any, *others: Any, **named: Any) -> Any:
        """Computes shapes and types of `call`'s output, for functional models.

        Args:
          rows: KerasTensors by name.
          *others: other arguments of `call`.
          **named: the same.
        """
        if isinstance(rows, Mapping):
            parts = {n: inputs.placeholder(v) for n, v in rows.items()}
            del parts[_HELD]
            rows = Rows(**{"input_ids": None, **parts})
        output = super().compute_output_spec(rows, *others, **named)
        return _exchanged(output, None, ())

    # --- learning ----------------------------------------------------------

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Computes the compiled loss of the predictions.

        Args:
          x: see Keras.
          y: see Keras.
          y_pred: output of `call`.
          sample_weight: see Keras.
          training: see Keras.
        """
        return super().compute_loss(
            x, y, predictions(y_pred), sample_weight, training
        )

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        """Updates the compiled metrics of the predictions.

        Args:
          x: see Keras.
          y: see Keras.
          y_pred: output of `call`.
          sample_weight: see Keras.
        """
        return super().compute_metrics(x, y, predictions(y_pred), sample_weight)

    def predict_step(self, data: Any) -> Any:
        """Returns the predictions for a batch, which `predict` collects.

        Args:
          data: a batch.
        """
        return predictions(super().predict_step(data))

    # --- saving ------------------------------------------------------------

    def _build_again(self, config: Mapping[str, Any]) -> None:
        self.build()  # shapes do not depend on inputs

    def save(
        self,
        filepath: Any,
        overwrite: bool = True,
        zipped: bool | None = None,
        **named: Any,
    ) -> None:
        """Saves the network like `keras.Model.save`, without partial files.

        Args:
          filepath: a `.keras` file, or another path for Keras.
          overwrite: whether to replace a file without asking.
          zipped: see Keras.
          **named: see Keras.

        Raises:
          UserError: it cannot be written, or something in the model cannot
            be saved.
        """
        save_whole(super().save, filepath, overwrite, zipped, **named)

    def save_own_variables(self, store: Any) -> None:
        """Writes the weights and the state of random numbers.

        Args:
          store: name -> array, from Keras.
        """
        super().save_own_variables(store)
        if self.dropout_seed is not None:
            store[_SEED] = self.dropout_seed.state.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote.

        Args:
          store: name -> array, from Keras.
        """
        held = {name: store[name] for name in store.keys()}
        seed = held.pop(_SEED, None)
        super().load_own_variables(held)
        if seed is not None and self.dropout_seed is not None:
            self.dropout_seed.state.assign(seed)
