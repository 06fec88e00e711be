"""What every network reads: rows of tokens, whole or part by part."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import inputs, randomness
from electra_tf.models.adaptation import Adaptable
from electra_tf.models.saved import Saved, save_whole


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
      inputs_embeds: [B, L, E] in place of the rows of the token table;
        input_ids is None then.
    """

    input_ids: tf.Tensor
    input_mask: tf.Tensor | None = None
    segment_ids: tf.Tensor | None = None
    keys: tf.Tensor | None = None
    sequence_ids: tf.Tensor | None = None
    inputs_embeds: tf.Tensor | None = None

    @property
    def places(self) -> tf.Tensor:
        """A tensor [B, L] int32: the ids, or zeros beside embeddings."""
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
        """Returns the same rows, with a mask and segments in any case."""
        return self._replace(input_mask=self.mask, segment_ids=self.segments)

    def keyed(self, seed: keras.random.SeedGenerator, training: bool) -> "Rows":
        """Returns the same rows with dropout keys in training, without in
        inference.

        Args:
          seed: what keys are drawn from where there are none.
          training: whether dropout is on.
        """
        if not training:
            return self._replace(keys=None)
        if self.keys is None:
            batch = tf.shape(self.places)[0]
            return self._replace(keys=randomness.fresh_keys(seed, batch))
        return self

    def salted(self, use: int) -> "Rows":
        """Returns the same rows with the keys of another use of dropout."""
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
    """Returns `Rows` of its parts; of a mapping of them; or as they are."""
    if isinstance(input_ids, Rows):
        return input_ids
    if isinstance(input_ids, Mapping):
        return Rows(**input_ids)
    return Rows(input_ids, input_mask, segment_ids, keys, sequence_ids)


_SEED = "dropout_seed"
# Marks calls of a functional model. Its tensors are counted by their places,
# so there () stands for what an output lacks, which has no place.
_HELD = "functional"


def _exchanged(value: Any, old: Any, new: Any) -> Any:
    """Returns `value` with `new` wherever, in tuples and dicts, it has
    `old`.
    """
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
    """Returns what is learned of a network's output, and what `predict` gives.

    Args:
      output: logits are taken of those that have some; of answers to questions
        start_logits and end_logits, low where no answer can be; of several
        heads each one's, by name. Others are taken as they are.
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


class Network(Adaptable, Saved, keras.Model):
    """A network that reads `Rows`: `call(rows, ..., training=False)`.

    `network(rows)`, `network(input_ids, input_mask, segment_ids)`,
    `network(batch)` and `network(**batch)` are the same call, and so it is
    with a dict of `keras.Input`s; see `Rows` for the parts, and `inputs` for
    other names and forms that they may have. What a network reads besides
    comes fourth, by its name, or in the dict.

    The output is a tuple of all that was computed, by name. `compile(loss=...)`
    and `fit` learn from its predictions, see `predictions`; in a functional
    model name them: `keras.Model(inputs, network(inputs).logits)`.
    """

    scope = ""  # what its variables are below on disk, whatever its name
    dropout_seed: keras.random.SeedGenerator | None = None

    def __call__(
        self,
        input_ids: tf.Tensor | Rows | Mapping[str, tf.Tensor] | None = None,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        *others: Any,
        **named: Any,
    ) -> Any:
        """Gives `call` the rows, from whatever form they are in.

        Args:
          input_ids: as in `Rows`; or whole `Rows`, or a mapping of parts.
          input_mask: as in `Rows`.
          segment_ids: as in `Rows`.
          *others: what the network reads besides.
          **named: the parts by any of their names, and other arguments of
            `call`, such as training.

        Raises:
          UserError: a part that cannot be read; it is named.
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
        """Returns the names of what `call` takes beside the rows."""
        return [n for n in self.call_signature_parameters if n != "rows"]

    def _limits(self) -> dict[str, int]:
        """Returns what `inputs.read` is to check."""
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
        """Tells shapes and types of what `call` gives, of a functional model.

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
        """Returns the loss that `compile` was given, of the predictions.

        Args:
          x: as Keras'.
          y: as Keras'.
          y_pred: what `call` gave.
          sample_weight: as Keras'.
          training: as Keras'.
        """
        return super().compute_loss(
            x, y, predictions(y_pred), sample_weight, training
        )

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        """Returns the metrics that `compile` was given, of the predictions.

        Args:
          x: as Keras'.
          y: as Keras'.
          y_pred: what `call` gave.
          sample_weight: as Keras'.
        """
        return super().compute_metrics(x, y, predictions(y_pred), sample_weight)

    def predict_step(self, data: Any) -> Any:
        """Returns what `predict` collects: the predictions of a network with a
        head.

        Args:
          data: a batch.
        """
        return predictions(super().predict_step(data))

    # --- saving ------------------------------------------------------------

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

        Raises:
          UserError: it cannot be written, or something in the model cannot
            be saved.
        """
        save_whole(super().save, filepath, overwrite, zipped, **named)

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
