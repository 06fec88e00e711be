"""Provides `Predict`: a model as a transform of a Beam pipeline."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from electra_tf.config import Overrides
from electra_tf.data.beam_runs import beam  # reports it if it is missing
from electra_tf.prediction import held

_PLACE = "row"


class Predict(beam.PTransform):
    """Predicts for each row of a collection with a fine-tuned model.

        rows | Predict("runs/sst2")

    A row is a mapping with the columns that the task reads, a text or a pair of
    texts. The output is a mapping: the row's columns and the prediction's
    (`label`, `probabilities`, `score`, `tags`, ...), or an `error` where there
    is none; a predicted name that is a column already becomes `predicted_...`.
    Rows keep their windows and timestamps.

    Each worker process loads the model once, and predicts the rows of a bundle
    in batches of similar length. A row's prediction does not depend on the
    other rows, to the last digit.

    Args:
      model: path for `electra_tf.load`, which all workers can reach.
      task: predict for this task, if its head is the same.
      options: keys of the task's options, which override those of the
        fine-tuning.
      overrides: `options.key=value` texts, which override both.
      batch_size: rows in a batch.
      threads: number of TensorFlow's threads in each worker process; use one
        where a machine runs a process for each core. None is TensorFlow's
        default.
    """

    def __init__(
        self,
        model: str,
        *,
        task: str | None = None,
        options: Mapping[str, Any] | None = None,
        overrides: Overrides = (),
        batch_size: int = 64,
        threads: int | None = 1,
    ):
        super().__init__()
        arguments = {
            "model": model, "task": task, "options": options,
            "overrides": overrides, "batch_size": batch_size,
        }  # fmt: skip
        loader = held.Loader(
            "electra_tf.prediction.row_answers:load", arguments
        )
        self._answers = Answers(loader, threads)

    def expand(self, rows: Any) -> Any:
        """Adds the transform to a pipeline."""
        return rows | beam.ParDo(self._answers)


class Answers(beam.DoFn):
    """Adds predictions to rows, by an object that a loader loads."""

    def __init__(self, loader: held.Loader, threads: int | None):
        self._loader, self._threads = loader, threads
        self._key = uuid.uuid4().hex
        self._waiting: list[tuple[Any, Any, Any]] = []

    def start_bundle(self) -> None:
        """Starts a bundle without rows."""
        self._waiting = []

    def process(
        self,
        element: Any,
        timestamp: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[Any]:
        """Takes a row; predicts when there are enough for batches."""
        self._waiting.append((element, timestamp, window))
        if len(self._waiting) >= _AT_ONCE:
            yield from self._answer()

    def finish_bundle(self) -> Iterator[Any]:
        """Predicts the remaining rows of a bundle."""
        yield from self._answer()

    def _answer(self) -> Iterator[Any]:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        elements = [element for element, _, _ in waiting]
        with held.using(self._key, self._loader, self._threads) as (model, _):
            answers = model.answer_elements(elements)
        for answer, (_, timestamp, window) in zip(answers, waiting):
            yield beam.utils.windowed_value.WindowedValue(
                answer, timestamp, (window,)
            )


# Rows that are sorted by length at a time.
_AT_ONCE = 1024
