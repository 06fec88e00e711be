"""What a network gives for features, row by row."""

import io
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from electra_tf.models import packed_encoder
from electra_tf.tasks.batches import inference_batches
from electra_tf.tasks.features import INPUTS, Features
from electra_tf.tasks.task import Task
from electra_tf.training.workers import WHOLE, Workers

Batch = tuple[np.ndarray, dict[str, np.ndarray]]  # rows and their outputs


class Inference:
    """Runs a network over features; compiled once, for all lengths.

    The network's variables are read at each run: between two of them they may
    have been trained, or loaded.

    Args:
      network: built (`models.task_networks`).
      task: its `outputs` are what is kept.
      batch_size: rows at a time; results do not depend on it.
      pad_to_multiple: of lengths; results do not depend on it either.
      bucket: whether rows are taken by length, which is much faster, or in
        their order.
      workers: several processes that take the batches in turn and tell one
        another the results; all of them call `run`. None is this one alone.
    """

    def __init__(
        self,
        network: keras.Model,
        task: Task,
        batch_size: int = 32,
        pad_to_multiple: int = 8,
        bucket: bool = True,
        workers: Workers | None = None,
    ):
        self.network = network
        self.task = task
        self.batch_size = batch_size
        self.pad_to_multiple = pad_to_multiple
        self.bucket = bucket
        self.workers = workers

        @tf.function(
            autograph=False,
            input_signature=[tf.TensorSpec([None, None], tf.int32)] * 3,
        )
        def forward(
            input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            with packed_encoder.where_fastest(network):
                return task.infer(network, input_ids, input_mask, segment_ids)

        self._forward = forward

    def run(
        self,
        features: Features,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[dict[str, np.ndarray]] | None:
        """The task's outputs of each row, in the order of the rows.

        Args:
          features: N rows; groups are taken apart, targets not looked at.
          progress: called with (rows done, N) after each batch.
          should_stop: asked before each batch.

        Returns:
          N mappings; None if it was asked to stop before the end.
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
            # In rounds of a batch a worker, so that all ask equally often.
            turn = number % share.count
            if turn == 0 and should_stop is not None and should_stop():
                return None
            if turn == share.index:
                outputs = self._forward(*(batch[name] for name in INPUTS))
                own.append((rows, {n: v.numpy() for n, v in outputs.items()}))
            done += len(rows)
            if progress is not None:
                progress(done, total)
        found = own
        if share.count > 1:
            told = self.workers.gather(_dumps(own))
            found = [batch for data in told for batch in _loads(data)]
        for rows, arrays in found:
            for i, row in enumerate(rows):
                results[row] = {n: value[i] for n, value in arrays.items()}
        return results


def _dumps(batches: list[Batch]) -> bytes:
    arrays = {}
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
