"""Predicts with a fine-tuned model: `electra_tf.load(RUN)`."""

import difflib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from electra_tf import columns, files, litert
from electra_tf.config import Overrides
from electra_tf.errors import UserError
from electra_tf.hub import directory, loading, pretrained
from electra_tf.hub.config import DirectoryConfig
from electra_tf.models import packed_encoder
from electra_tf.models.config import TaskHeadConfig
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction import lite as lite_networks
from electra_tf.prediction import task_of_model
from electra_tf.prediction.resumable import chunks
from electra_tf.tasks.batches import inference_batches
from electra_tf.tasks.features import INPUTS, Features, check_lengths
from electra_tf.tasks.records import BadRow
from electra_tf.tasks.registry import task_class
from electra_tf.tasks.task import Prediction, Task
from electra_tf.text import surrogates
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.unknown import UnknownShare, unknown_share
from electra_tf.training.workers import WHOLE, Workers

# Rows whose features are in memory at a time: texts, long documents.
_MANY, _FEW = 1024, 64

# Batches are filled up to a multiple with rows of one token. Kernels compute a
# single row, and the remainder of sixteen numbers, differently from the rest:
# so a row's outputs have the same digits whatever its batch.
_ROWS = 16

Row = Mapping[str, Any] | BadRow
Batch = tuple[np.ndarray, dict[str, np.ndarray]]  # rows and their outputs


class Predictor:
    """A task, and a network that was trained on it.

    Attributes:
      task: the task, with labels and options.
      network: encoder and head; see `models.task_networks`.
      tokenizer: the model's tokenizer.
      directory_config: content of the model's config.json.
      rows_at_once: items whose features are in memory at a time.
      int8: whether it multiplies in 8 bits.
      engine: the engine of its encoder.

    With `workers` the processes share the examples, and all of them make the
    same calls. With `lite` LiteRT runs the network's encoder; see `Inference`.
    """

    def __init__(
        self,
        task: Task,
        network: keras.Model,
        tokenizer: Tokenizer,
        directory_config: DirectoryConfig,
        batch_size: int = 64,
        workers: Workers | None = None,
        lite: litert.LiteNetwork | None = None,
    ):
        self.task = task
        self.network = network
        self.tokenizer = tokenizer
        self.directory_config = directory_config
        self.int8 = lite is not None and lite.int8
        self.engine: litert.Engine = "tensorflow" if lite is None else "litert"
        self._inference = Inference(
            network, task, batch_size, workers=workers, lite=lite
        )
        kind = getattr(directory_config.task, "kind", "")
        self.rows_at_once = _FEW if "span" in kind else _MANY
        self._unknown = self._total = 0
        self._texts: list[str] = []

    def predict(self, items: Iterable[Any]) -> list[Prediction]:
        """Predicts for each item, in order.

        Args:
          items: texts, pairs of texts or mappings, whichever the task takes:
            `{"question": ..., "context": ...}`; or a table (of pandas, Polars,
            Arrow, Datasets), whose rows are such mappings.

        Returns:
          Predictions of the task: a label with probabilities, tags, an answer
          or a score.

        Raises:
          UserError: the task cannot take an item; its number is named.
        """
        if isinstance(items, str | Mapping):
            raise UserError(
                "predict: expected a list of texts, pairs or mappings; put "
                "a single one into a list"
            )
        found: list[Prediction] = []
        items = columns.rows(items)
        for chunk in chunks(enumerate(items, 1), self.rows_at_once):
            examples = []
            for number, item in chunk:
                place = f"item {number}"
                try:
                    record = self.task.record(item)
                    _check_characters(record)
                except UserError as error:
                    raise UserError(f"{place}: {error}") from error
                examples.append(self.task.asked(record, place))
            # Few texts must be fast: the rows that fill up a batch would double
            # the time of one sentence.
            found += self.answer(examples, fill=len(examples) >= _ROWS)
        return found

    def predict_rows(self, rows: Sequence[tuple[Row, str]]) -> list[Prediction]:
        """Predicts for each row of a file.

        Args:
          rows: rows of `records.read_records(..., bad_rows=True)`; at most
            `rows_at_once`, as all their features are in memory.

        Returns:
          The predictions in order; `{"error": ...}` for rows without one.
        """
        found: list[Prediction] = [{}] * len(rows)
        examples: dict[int, Any] = {}
        for i, (row, place) in enumerate(rows):
            try:
                if isinstance(row, BadRow):
                    raise UserError(f"{place}: {row.message}")
                example = self.task.example(row, place)
                for text in self.task.texts(example):
                    half = surrogates.half_of_pair(text)
                    if half is not None:
                        raise UserError(f"{place}: {half}")
                examples[i] = example
            except UserError as error:
                found[i] = {"error": str(error)}
        answers = self._answers(list(examples.values()))
        for i, answer in zip(examples, answers):
            found[i] = answer
        return found

    def evaluate(
        self, examples: Sequence[Any]
    ) -> tuple[dict[str, float], list[Prediction]]:
        """Returns scores and predictions for examples of `task.read`."""
        predictions = self.answer(examples)
        return self.task.scores(examples, predictions), predictions

    def answer(
        self, examples: Sequence[Any], fill: bool = True
    ) -> list[Prediction]:
        """Returns predictions for examples; for `fill` see `Inference.run`."""
        if not len(examples):
            return []
        features = self.task.features(self.tokenizer, examples, training=False)
        check_lengths(features, self.network.config.max_positions)
        self._count(examples, features)
        outputs = self._inference.run(features, fill=fill)
        assert outputs is not None  # it is never asked to stop
        return self.task.predictions(examples, features, outputs)

    def _count(self, examples: Sequence[Any], features: Features) -> None:
        """Counts [UNK] tokens, and keeps some texts that have them."""
        ids, vocab = features.tokens["input_ids"], self.tokenizer.vocab
        special = (vocab.cls_id, vocab.sep_id, vocab.pad_id)
        found = np.count_nonzero(ids == vocab.unk_id)
        self._unknown += found
        self._total += ids.size - sum(
            np.count_nonzero(ids == number) for number in special
        )
        if found and len(self._texts) < _MANY:
            for example in examples:
                self._texts += self.task.texts(example)

    @property
    def tokens(self) -> tuple[int, int]:
        """Returns the number of tokens read, and of [UNK] among them."""
        return self._total, self._unknown

    @property
    def unknown(self) -> UnknownShare:
        """Describes how many of the tokens read are [UNK]."""
        return self.unknown_of(self._total, self._unknown)

    def unknown_of(self, tokens: int, unknown: int) -> UnknownShare:
        """Describes the counts of other processes in the same way."""
        tokenizer = self.tokenizer
        return unknown_share(
            unknown, tokens, tokenizer.vocab, tokenizer.lower_case,
            self._texts, tokenizer.strip_accents,
        )  # fmt: skip

    def _answers(self, examples: list[Any]) -> list[Prediction]:
        """Returns predictions like `answer`, with errors for bad examples."""
        try:
            return self.answer(examples)
        except UserError as error:
            if len(examples) == 1:
                return [{"error": str(error)}]
        half = len(examples) // 2
        return self._answers(examples[:half]) + self._answers(examples[half:])


def _check_characters(value: Any) -> None:
    """Refuses texts with lone surrogates, which tokenizers cannot take."""
    if isinstance(value, str):
        half = surrogates.half_of_pair(value)
        if half is not None:
            raise UserError(half)
    elif isinstance(value, Mapping):
        for inner in value.values():
            _check_characters(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_characters(inner)


def load(
    path: files.AnyPath,
    *,
    task: str | None = None,
    options: Any = None,
    overrides: Overrides = (),
    data: str | None = None,
    batch_size: int = 64,
    workers: Workers | None = None,
    engine: litert.Engine = "auto",
    int8: bool = False,
) -> Predictor:
    """Loads a fine-tuned model.

    Args:
      path: a run of `electra-tf finetune`, one of its trials, a model
        directory, or a fine-tuned model of another format or a handle.
      task: another task than the one it was fine-tuned for, with the same
        head ("glue/ax" for a model of "glue/mnli").
      options: changes to the options of the fine-tuning, as {"beam_size": 1};
        or all options, as an instance of the task's `Options`.
      overrides: `options.key=value` texts, which override both.
      data: data for `task.read`, if needed.
      batch_size: rows in a batch; results do not depend on it.
      workers: see `Predictor`.
      engine: the engine of the encoder: "tensorflow", or "litert" on CPUs,
        which is faster for single texts; "auto" is TensorFlow, and LiteRT for
        int8.
      int8: whether to multiply in 8 bits: several times as fast where the
        processor has the instructions. Predictions differ, probabilities
        usually by less than 0.01.

    Raises:
      UserError: the model is missing, incomplete, not fine-tuned, or of another
        task; or LiteRT is not installed, or cannot run the network.
    """
    if int8 and engine == "tensorflow":
        raise UserError(
            "int8: is LiteRT's; leave it out, or give the engine litert"
        )
    if engine == "auto":
        engine = "litert" if int8 else "tensorflow"
    if engine == "litert":
        litert.interpreter_class()  # fails before the model is read
    path = loading.locate(path)
    network = pretrained.load_task_network(path)
    config = network.directory_config
    if network.tokenizer is None:
        raise UserError(f"{path}: has no vocabulary beside it")
    made = _task(path, config, task, options, overrides, data)
    if (options or overrides) and isinstance(config.task, TaskHeadConfig):
        before = task_of_model.chosen(
            _described(path, config), made.name, where=path
        )
        network.head_config = network.head.config = task_of_model.with_options(
            config.task, made.head(), before, made.options
        )
    lite = None
    if engine == "litert":
        lite = lite_networks.network_of(network, made, int8)
    return Predictor(
        made, network, network.tokenizer, config, batch_size, workers, lite
    )


def load_task(
    path: str,
    *,
    task: str | None = None,
    options: Any = None,
    overrides: Overrides = (),
    data: str | None = None,
) -> Task:
    """Makes the task of a fine-tuned model, without its network.

    Args:
      path: see `load`.
      task: see `load`.
      options: see `load`.
      overrides: see `load`.
      data: see `load`.

    Raises:
      UserError: the model is missing, not fine-tuned, or of another task.
    """
    path = loading.locate(path)
    config = _config_of(path)
    return _task(path, config, task, options, overrides, data)


def _config_of(path: str) -> DirectoryConfig:
    if loading.recognise(path) == "electra_tf":
        return directory.load_config(directory.find(path))
    return loading.open_checkpoint(path).config


def fine_tuning_of(path: str) -> dict[str, Any]:
    """Returns `task`, `options` and `state` from a model's directory.

    They are derived from the head where the model has another format.

    Raises:
      UserError: the model is missing, or not fine-tuned.
    """
    path = loading.locate(path)
    return _described(path, _config_of(path))


def _described(path: str, config: DirectoryConfig) -> dict[str, Any]:
    if config.task is None:
        raise UserError(
            f"{path}: has no task head; expected a model that was fine-tuned "
            "(electra-tf finetune --model=...)"
        )
    if config.fine_tuning is not None:
        return config.fine_tuning
    model = config.discriminator
    return task_of_model.described(
        config.task, model.max_positions if model else None
    )


def _task(
    path: str,
    config: DirectoryConfig,
    name: str | None,
    options: Any,
    overrides: Overrides,
    data: str | None,
) -> Task:
    about = _described(path, config)
    assert config.task is not None  # `_described` checks it
    name = name or about["task"]
    options = task_of_model.chosen(about, name, options, overrides, path)
    made = task_class(name)(name, options, data, about["state"])
    what = f"{path} is a model of {about['task']}"
    if name != about["task"]:
        what += f", with which {name} cannot answer"
    try:
        wanted = made.head()
    except (KeyError, UserError) as error:  # no labels in that state
        raise UserError(what) from error
    if config.fine_tuning is not None:
        task_of_model.check(config.task, wanted, what)
    else:
        task_of_model.check_outputs(config.task, wanted, what)
    return made


def evaluate(
    predictor: Predictor,
    splits: Sequence[str] = (),
    predictions: str | None = None,
    write: bool = True,
    answer: Callable[[str, Sequence[Any]], list[Prediction]] | None = None,
) -> dict[str, dict[str, float]]:
    """Evaluates splits; returns split -> metric -> value.

    A split without answers has no metrics.

    Args:
      predictor: the model; its task reads the splits.
      splits: names of splits; by default those for validation, or those for
        testing if the data has no others.
      predictions: a directory for `write_predictions`.
      write: whether this process writes them; among several workers one does.
      answer: returns the predictions of a split, by its name and examples; None
        means the predictor's.

    Raises:
      UserError: no such split, or a split has no answers and `predictions` is
        None.
    """
    task = predictor.task
    ours = answer or (lambda split, examples: predictor.answer(examples))
    found: dict[str, dict[str, float]] = {}
    seen: list[str] = []
    for names in (splits,) if splits else (
        task.validation_splits, task.test_splits,
    ):  # fmt: skip
        for split in names:
            examples = task.read(split)
            if examples is None or not len(examples):
                continue
            seen.append(split)
            answers = ours(split, examples)
            scores = task.scores(examples, answers)
            if predictions is not None and write:
                write_predictions(predictions, task, split, examples, answers)
            found[split] = {n: float(v) for n, v in scores.items()}
        if seen:
            break
    missing = [split for split in splits if split not in seen]
    if missing or not seen:
        where = f" in {task.data}" if task.data else "; give --data"
        what = missing[0] if missing else "of validation or test"
        raise UserError(
            f"task {task.name}: found no split {what}{where}"
            + (_names_of_splits(task, missing[0]) if missing else "")
        )
    if not any(found.values()) and predictions is None:
        raise UserError(
            f"task {task.name}: {', '.join(seen)}: has no answers to score "
            "against; for predictions give --predictions=DIR"
        )
    return found


def _names_of_splits(task: Task, wrong: str) -> str:
    """Raises an error that lists the splits, if one is unknown."""
    known = ("train", *task.validation_splits, *task.test_splits)
    if wrong in known:
        return ""
    close = difflib.get_close_matches(wrong, known, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"; {hint}its splits are {', '.join(known)}"


def write_predictions(
    folder: str,
    task: Task,
    split: str,
    examples: Sequence[Any],
    predictions: Sequence[Prediction],
) -> None:
    """Writes a split's predictions, and the files that the task makes.

    Args:
      folder: the parent of a directory with the split's name.
      task: makes the files.
      split: name of the split.
      examples: examples of the split.
      predictions: one for each example.
    """
    here = files.join(folder, split)
    prediction_files.write_jsonl(
        files.join(here, "predictions.jsonl"), predictions
    )
    for name, content in task.files(split, examples, predictions).items():
        files.write_bytes(files.join(here, name), content)


class Inference:
    """Runs a network over features; it is compiled once for all lengths.

    The network's variables are read at each run: between runs they may be
    trained, or loaded.

    Args:
      network: a built network (`models.task_networks`).
      task: its `outputs` select what is kept.
      batch_size: rows in a batch; results do not depend on it.
      pad_to_multiple: multiple that lengths are padded to; results do not
        depend on it either.
      bucket: whether rows are sorted by length, which is much faster, or kept
        in order.
      workers: several processes that take the batches in turn and exchange the
        results; all of them call `run`. None means only this one.
      lite: result of `lite.network_of`, which runs the network with the weights
        from then; None means TensorFlow.
    """

    def __init__(
        self,
        network: keras.Model,
        task: Task,
        batch_size: int = 32,
        pad_to_multiple: int = 8,
        bucket: bool = True,
        workers: Workers | None = None,
        lite: litert.LiteNetwork | None = None,
    ):
        self.network = network
        self.task = task
        self.batch_size = batch_size
        self.pad_to_multiple = pad_to_multiple
        self.bucket = bucket
        self.workers = workers
        # Not where each row needs a search: extra rows would cost as much.
        infer = getattr(type(task), "infer", Task.infer)
        self._fills = lite is None and infer is Task.infer

        @tf.function(
            autograph=False,
            input_signature=[tf.TensorSpec([None, None], tf.int32)] * 3,
        )
        def forward(
            input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            with packed_encoder.where_fastest(network):
                return task.infer(network, input_ids, input_mask, segment_ids)

        self._forward: Any = forward
        if lite is not None:
            self._forward = lite_networks.forward_of(network, task, lite)

    def run(
        self,
        features: Features,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        fill: bool = True,
    ) -> list[dict[str, np.ndarray]] | None:
        """Computes the task's outputs of each row, in the order of the rows.

        Args:
          features: N rows; groups are split into rows, targets ignored.
          progress: called with (rows done, N) after each batch.
          should_stop: called before each batch.
          fill: whether small batches are filled up, so that a row's outputs
            have the same digits whatever its batch.

        Returns:
          N mappings; None if asked to stop before the end.
        """
        total, done = len(features), 0
        results: list[dict[str, np.ndarray]] = [{}] * total
        share = self.workers.share if self.workers else WHOLE
        own: list[Batch] = []
        for number, (rows, batch) in enumerate(
            inference_batches(
                features, self.batch_size, self.pad_to_multiple, self.bucket
            )
        ):
            # In rounds of one batch per worker, so that all communicate equally
            # often.
            turn = number % share.count
            if turn == 0 and should_stop is not None and should_stop():
                return None
            if turn == share.index:
                spare = -len(rows) % _ROWS if fill and self._fills else 0
                given = [batch[name] for name in INPUTS]
                if spare:
                    pad = ((0, spare), (0, 0))
                    given = [np.pad(part, pad) for part in given]
                outputs = self._forward(*given)
                found = {
                    n: np.asarray(v[: len(rows)]) for n, v in outputs.items()
                }
                own.append((rows, found))
            done += len(rows)
            if progress is not None:
                progress(done, total)
        whole = own
        if self.workers and share.count > 1:
            gathered = self.workers.gather(_dumps(own))
            whole = [batch for data in gathered for batch in _loads(data)]
        for rows, arrays in whole:
            for i, row in enumerate(rows):
                results[row] = {n: value[i] for n, value in arrays.items()}
        return results


def _dumps(batches: list[Batch]) -> bytes:
    arrays: dict[str, Any] = {}
    for number, (rows, outputs) in enumerate(batches):
        arrays[f"{number}/"] = rows
        arrays |= {f"{number}/{name}": v for name, v in outputs.items()}
    target = io.BytesIO()
    np.savez(target, **arrays)
    return target.getvalue()


def _loads(data: bytes) -> list[Batch]:
    batches: dict[str, dict[str, np.ndarray]] = {}
    with np.load(io.BytesIO(data)) as arrays:
        for key in arrays:
            number, _, name = key.partition("/")
            batches.setdefault(number, {})[name] = arrays[key]
    return [(found.pop(""), found) for found in batches.values()]
