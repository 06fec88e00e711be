"""A fine-tuned model that answers: `electra_tf.load(RUN)`."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import keras

from electra_tf.config import Overrides
from electra_tf.errors import UserError
from electra_tf.hub import directory, loading, pretrained
from electra_tf.hub.config import DirectoryConfig
from electra_tf.prediction import heads
from electra_tf.prediction import options as model_options
from electra_tf.prediction.inference import Inference
from electra_tf.tasks.features import check_lengths
from electra_tf.tasks.records import BadRow
from electra_tf.tasks.registry import task_class
from electra_tf.tasks.task import Prediction, Task
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.training.workers import Workers

# Rows for which features are in memory together: texts, long documents.
_MANY, _FEW = 1024, 64

T = TypeVar("T")
Row = Mapping[str, Any] | BadRow


class Predictor:
    """A task, and a network that has learned it.

    Attributes:
      task: knows labels and options.
      network: encoder and head; see `models.task_networks`.
      tokenizer: the model's.
      directory_config: what the model's config.json says.
      rows_at_once: items whose features are in memory together.

    With `workers` they share the examples, and all of them ask alike.
    """

    def __init__(
        self,
        task: Task,
        network: keras.Model,
        tokenizer: Tokenizer,
        directory_config: DirectoryConfig,
        batch_size: int = 64,
        workers: Workers | None = None,
    ):
        self.task = task
        self.network = network
        self.tokenizer = tokenizer
        self.directory_config = directory_config
        self._inference = Inference(network, task, batch_size, workers=workers)
        kind = getattr(directory_config.task, "kind", "")
        self.rows_at_once = _FEW if "span" in kind else _MANY

    def predict(self, items: Iterable[Any]) -> list[Prediction]:
        """One prediction for each item, in order.

        Args:
          items: texts, pairs of texts or mappings, as the task takes them:
            `{"question": ..., "context": ...}`.

        Returns:
          What the task predicts: a label with probabilities, tags, an answer
          or a score.

        Raises:
          UserError: an item is not what the task takes; its number is told.
        """
        if isinstance(items, str | Mapping):
            raise UserError(
                "predict: expected a list of texts, pairs or mappings; put "
                "a single one into a list"
            )
        found: list[Prediction] = []
        for chunk in _chunks(enumerate(items, 1), self.rows_at_once):
            examples = []
            for number, item in chunk:
                place = f"item {number}"
                try:
                    record = self.task.record(item)
                except UserError as error:
                    raise UserError(f"{place}: {error}") from error
                examples.append(self.task.example(record, place))
            found += self.answer(examples)
        return found

    def predict_rows(self, rows: Sequence[tuple[Row, str]]) -> list[Prediction]:
        """One prediction for each row of a file.

        Args:
          rows: what `records.read_records(..., bad_rows=True)` yields; at
            most `rows_at_once`, as their features are in memory together.

        Returns:
          The predictions in order; `{"error": ...}` for a row without one.
        """
        found: list[Prediction] = [{}] * len(rows)
        examples: dict[int, Any] = {}
        for i, (row, place) in enumerate(rows):
            try:
                if isinstance(row, BadRow):
                    raise UserError(f"{place}: {row.message}")
                examples[i] = self.task.example(row, place)
            except UserError as error:
                found[i] = {"error": str(error)}
        answers = self._answers(list(examples.values()))
        for i, answer in zip(examples, answers):
            found[i] = answer
        return found

    def evaluate(
        self, examples: Sequence[Any]
    ) -> tuple[dict[str, float], list[Prediction]]:
        """Scores, and predictions, of examples that `task.read` gave."""
        predictions = self.answer(examples)
        return self.task.scores(examples, predictions), predictions

    def answer(self, examples: Sequence[Any]) -> list[Prediction]:
        """Predictions for examples of the task."""
        if not len(examples):
            return []
        features = self.task.features(self.tokenizer, examples, training=False)
        check_lengths(features, self.network.config.max_positions)
        outputs = self._inference.run(features)
        return self.task.predictions(examples, features, outputs)

    def _answers(self, examples: list[Any]) -> list[Prediction]:
        """As `answer`; what cannot be answered is told by its error."""
        try:
            return self.answer(examples)
        except UserError as error:
            if len(examples) == 1:
                return [{"error": str(error)}]
        half = len(examples) // 2
        return self._answers(examples[:half]) + self._answers(examples[half:])


def load(
    path: str,
    *,
    task: str | None = None,
    options: Any = None,
    overrides: Overrides = (),
    data: str | None = None,
    batch_size: int = 64,
    workers: Workers | None = None,
) -> Predictor:
    """Loads a fine-tuned model.

    Args:
      path: a run of `electra-tf finetune`, one of its trials, a model
        directory, or a fine-tuned model of another format or a handle.
      task: another task than the one it was fine-tuned for, with the same
        head ("glue/ax" for a model of "glue/mnli").
      options: keys over the options of the fine-tuning, as {"beam_size": 1};
        or all of them, as an instance of the task's `Options`.
      overrides: `options.key=value` texts, over both.
      data: what `task.read` reads, if anything.
      batch_size: rows at once; results do not depend on it.
      workers: see `Predictor`.

    Raises:
      UserError: not there, not whole, not fine-tuned, or of another task.
    """
    if loading.is_handle(path):
        path = loading.fetch(path)
    network = pretrained.load_task_network(path)
    config = network.directory_config
    if network.tokenizer is None:
        raise UserError(f"{path}: has no vocabulary beside it")
    made = _task(path, config, task, options, overrides, data)
    return Predictor(
        made, network, network.tokenizer, config, batch_size, workers
    )


def fine_tuning_of(path: str) -> dict[str, Any]:
    """What the model's directory says of its task: `task`, `options`, `state`.

    Made up from the head where the model is of another format.

    Raises:
      UserError: not there, or not fine-tuned.
    """
    if loading.recognise(path) == "electra_tf":
        config = directory.load_config(directory.find(path))
    else:
        config = loading.open_checkpoint(path).config
    return _described(path, config)


def _described(path: str, config: DirectoryConfig) -> dict[str, Any]:
    if config.task is None:
        raise UserError(
            f"{path}: has no task head; expected a model that was fine-tuned "
            "(electra-tf finetune --model=...)"
        )
    if config.fine_tuning is not None:
        return config.fine_tuning
    return heads.described(config.task)


def _task(
    path: str,
    config: DirectoryConfig,
    name: str | None,
    options: Any,
    overrides: Overrides,
    data: str | None,
) -> Task:
    about = _described(path, config)
    name = name or about["task"]
    options = model_options.chosen(about, name, options, overrides, path)
    made = task_class(name)(name, options, data, about["state"])
    what = f"{path} is a model of {about['task']}"
    if name != about["task"]:
        what += f", with which {name} cannot answer"
    try:
        wanted = made.head()
    except (KeyError, UserError) as error:  # no labels in that state
        raise UserError(what) from error
    if config.fine_tuning is not None:
        heads.check(config.task, wanted, what)
    else:
        heads.check_outputs(config.task, wanted, what)
    return made


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
