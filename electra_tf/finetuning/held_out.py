"""Scores of a network while it is trained."""

from collections.abc import Callable

from electra_tf.finetuning.splits import Split
from electra_tf.prediction.inference import Inference
from electra_tf.tasks.task import Prediction, Task
from electra_tf.training.reporting import Reporter

Stop = Callable[[], bool]

_SHOWN = 6  # metrics on the progress line


class HeldOut:
    """Scores of the validation splits: an evaluator for the loop.

    Metrics of the first split have their own names, those of the others
    "split/metric".
    """

    def __init__(
        self,
        task: Task,
        inference: Inference,
        splits: tuple[Split, ...],
        reporter: Reporter | None = None,
    ):
        self._task = task
        self._inference = inference
        self._splits = splits
        self._reporter = reporter

    def run(self, should_stop: Stop) -> dict[str, float] | None:
        """See `training.steps.EvaluatorLike`."""
        metrics: dict[str, float] = {}
        for split in self._splits:
            predictions = predict(
                self._task, self._inference, split, should_stop
            )
            if predictions is None:
                return None
            scores = self._task.scores(split.examples, predictions)
            first = split is self._splits[0]
            for name, value in scores.items():
                metrics[name if first else f"{split.name}/{name}"] = value
        if self._reporter is not None:
            rest = [n for n in metrics if n not in (self._task.metric, "loss")]
            shown = ("loss", self._task.metric, *rest)
            self._reporter.shown = shown[:_SHOWN]
        return metrics


def predict(
    task: Task, inference: Inference, split: Split, should_stop: Stop
) -> list[Prediction] | None:
    """Predictions for a split; None if asked to stop before the end."""
    features = split.features
    outputs = inference.run(features, should_stop=should_stop)
    if outputs is None:
        return None
    return task.predictions(split.examples, features, outputs)
