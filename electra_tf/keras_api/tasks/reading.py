"""Turns users' inputs and answers into examples and batches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.keras_api.tasks import inputs, streams
from electra_tf.keras_api.tasks.saved import SavedTask
from electra_tf.tasks.features import Features, check_lengths
from electra_tf.text import tokenizer as wordpiece


class ReadingTask(SavedTask):
    """Reads the data given to `fit`, `evaluate` and `predict`."""

    def has_answers(self, x: Any, y: Any) -> bool:
        """Returns whether answers are given."""
        return y is not None

    def _weights(
        self, examples: Sequence[Any], class_weight: Any, sample_weight: Any
    ) -> list[float] | None:
        if sample_weight is None and class_weight is None:
            return None
        found = [1.0] * len(examples)
        if sample_weight is not None:
            found = inputs.numbers(sample_weight, "sample_weight")
            inputs.same_number(len(examples), found, "sample_weight")
        if class_weight is not None:
            if not isinstance(class_weight, Mapping):
                raise UserError(
                    "class_weight: expected a mapping of labels to weights, "
                    f"got {class_weight!r:.60}"
                )
            shares = self.class_shares(examples, class_weight)
            found = [w * share for w, share in zip(found, shares)]
        return found

    def class_shares(
        self, examples: Sequence[Any], class_weight: Mapping[Any, float]
    ) -> list[float]:
        """Returns the weight of each example's class.

        Raises:
          UserError: the task has no classes.
        """
        raise UserError(
            f"class_weight: {type(self).__name__} takes none; give "
            "sample_weight"
        )

    @property
    def _words(self) -> wordpiece.Tokenizer:
        """The tokenizer in the form that tasks take."""
        return self.tokenizer.graph_tokenizer

    def _look(self, examples: Sequence[Any]) -> None:
        """Learns once what the task needs from training examples."""
        if self.learned:
            return
        self.learn(examples)
        self.learned = True
        self.make_test_function(force=True)  # the traced one may be out of date

    def _features(
        self, examples: Sequence[Any], weights: Sequence[float] | None
    ) -> Features:
        """Returns the features of examples: inputs and targets."""
        found = self.task.features(self._words, examples, training=True)
        check_lengths(found, self.network.config.max_positions)
        if weights is not None:
            found = streams.weighted(found, np.asarray(weights, "float32"))
        return found

    def _with_y(self, data: tf.data.Dataset) -> tf.data.Dataset:
        """Returns batches with y, from which Keras makes metrics."""
        if not (self._is_own or self._has_metrics):
            return data
        return data.map(lambda batch: (batch, self.targets(batch)[0]))

    # --- single batches ----------------------------------------------------

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Updates the weights once; arguments are those of `fit`.

        Args:
          x: the batch's inputs.
          y: their answers.
          sample_weight: a weight for each input.
          class_weight: weights of labels, by name or number.
          return_dict: whether to return a mapping of names to values.

        Returns:
          The loss and the compiled metrics.

        Raises:
          UserError: the task cannot take the data; or the optimizer is
            ELECTRA's, which plans its learning rate over a whole `fit`.
        """
        if self.compiled and not self._own_optimizer:
            raise UserError(
                "train_on_batch: ELECTRA's optimizer plans its learning rate "
                "over a whole fit; compile with an optimizer of Keras, as in "
                'compile("adam")'
            )
        batch = self._one_batch(x, y, sample_weight, class_weight)
        return super().train_on_batch(*batch, return_dict=return_dict)

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Computes loss and metrics of one batch; see `train_on_batch`.

        Args:
          x: the batch's inputs.
          y: their answers.
          sample_weight: a weight for each input.
          return_dict: whether to return a mapping of names to values.
        """
        if not self.compiled:
            self.compile()
        batch = self._one_batch(x, y, sample_weight, None)
        return super().test_on_batch(*batch, return_dict=return_dict)

    def _one_batch(
        self, x: Any, y: Any, sample_weight: Any, class_weight: Any
    ) -> tuple[Any, ...]:
        """Returns the batch for a step, and y for metrics."""
        examples = self.read(x, y)
        if not self.has_answers(x, y):
            raise UserError("y: is missing; expected the answers")
        weights = self._weights(examples, class_weight, sample_weight)
        self._look(examples)
        features = self._features(examples, weights)
        if not features.units:
            raise UserError("x: none of the inputs can be learned from")
        data = self._with_y(streams.once(features, features.units))
        found = next(iter(data))
        return found if isinstance(found, tuple) else (found,)
