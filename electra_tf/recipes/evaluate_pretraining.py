"""Evaluates a pre-training run on held-out data."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from electra_tf import config as configs
from electra_tf import files
from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.keras_api.settings import (
    PretrainSettings,
    read_record,
    recorded,
)
from electra_tf.recipes.arguments import checked
from electra_tf.training.settings import ForwardStrategyName

if typing.TYPE_CHECKING:
    import numpy as np

    from electra_tf.keras_api.pretrainer import ElectraPretrainer


@dataclasses.dataclass(frozen=True)
class PretrainingMetrics:
    """Held-out metrics of a pre-training run.

    Attributes:
      metrics: name -> value, baselines last.
      output: the JSON file they were written to, or None.
    """

    metrics: dict[str, float]
    output: str | None = None

    def __str__(self) -> str:
        """Returns the metrics, one on each line."""
        width = max(map(len, self.metrics))
        return "\n".join(
            f"{name:<{width}}  {value:10.4f}"
            for name, value in self.metrics.items()
        )


def settings_class(
    model: str | None = None,
    overrides: configs.Overrides = (),
    **_: Any,
) -> type | None:
    """Returns the settings class, and checks `overrides` with the run's own."""
    if model is None or not overrides:
        return PretrainSettings
    _settings(model, overrides)
    return None


@checked
def evaluate_pretraining(
    model: str,
    data: str,
    *,
    batch_size: Annotated[int, Setting(at_least=1)] = 32,
    skip_corrupt: bool = False,
    overrides: configs.Overrides = (),
    split: Literal["validation", "train"] = "validation",
    max_batches: Annotated[int, Setting(at_least=1)] | None = None,
    vocab: str | None = None,
    output: str | None = None,
    strategy: ForwardStrategyName = "one_device",
    join_seconds: Annotated[float, Setting(at_least=0, infinite=True)] = 300.0,
) -> PretrainingMetrics:
    """Evaluates a pre-training run on held-out text, beside baselines.

        electra-tf evaluate-pretraining --model=RUN --data=DATA

    Reads the run's newest checkpoint, or the model directory. Masks and samples
    are the same at every call, so metrics of different runs compare. The
    generator is compared with the unigram entropy, which no predictor without
    context can beat; the discriminator with "always original".

    Args:
      model: run or model directory
      data: directory made by build-data with --validation_fraction; or, with
        --split=train, a glob of the original's TFRecords
      batch_size: examples in a batch
      skip_corrupt: skip damaged records instead of stopping
      overrides: section.key=value over the run's settings, as
        objective.temperature=1
      split: the examples to evaluate on; train takes the training examples, for
        data without held-out ones
      max_batches: most batches to evaluate; all if not given
      vocab: vocabulary of the original's TFRecords, which do not name one
      output: JSON file for the metrics
      strategy: one_device or multi_worker; the workers of multi_worker are
        listed in the environment variable TF_CONFIG
      join_seconds: how long to wait for the other workers at the start

    Returns:
      The metrics on the whole split, or on its first batches.

    Raises:
      UserError: the run or data is missing, or the data has another vocabulary.
    """
    import json

    import tensorflow as tf

    from electra_tf import tensors
    from electra_tf.data import manifest, reader
    from electra_tf.hub import directory, loading
    from electra_tf.keras_api.data import PretrainingData
    from electra_tf.keras_api.pretrainer import ElectraPretrainer
    from electra_tf.prediction import files as prediction_files
    from electra_tf.pretraining import masking
    from electra_tf.training import checkpoints, steps, workers
    from electra_tf.training import strategy as strategies

    prediction_files.check_result(output)
    with strategies.distributed(
        strategy,
        join_seconds=join_seconds,
        among=strategies.FORWARD_STRATEGIES,
    ) as chosen:
        team = workers.of(chosen)
        checkpoint = checkpoints.latest(model)
        if checkpoint is not None:
            folder, weights_folder = model, checkpoint
        else:
            folder = weights_folder = directory.find(loading.locate(model))
        settings, fingerprint = _settings(folder, overrides)
        if split == "validation":
            manifest.load_manifest(data)  # only such data has held-out examples
        examples = PretrainingData.open(data, vocab, skip_corrupt)
        if fingerprint != examples.vocab.fingerprint():
            raise UserError(
                f"{data} was built with the vocabulary "
                f"{examples.vocab.fingerprint()}, {model} with {fingerprint}; "
                "build the data with the model's vocab.txt"
            )
        path = files.join(weights_folder, directory.WEIGHTS)
        arrays = tensors.load(path)
        if checkpoint is not None:
            arrays = {directory.weight_name(n): a for n, a in arrays.items()}
        table = arrays.get("embeddings/word_embeddings")
        rows = None if table is None else len(table)
        with chosen.scope():
            pretrainer = ElectraPretrainer.from_config(
                examples.fit(settings, rows),
                vocab=examples.vocab,
                vocab_rows=rows,
            )
        load_weights(pretrainer, arrays, path)
        try:
            metrics = steps.evaluate(
                pretrainer,
                examples.validation(batch_size, team.share, split),
                chosen,
                max_batches,
            )
            every = examples.validation(batch_size, split=split)
            metrics["unigram_entropy"] = masking.unigram_entropy(
                every.take(-1 if max_batches is None else max_batches),
                len(examples.vocab),
                examples.special,
            )
        except tf.errors.DataLossError as error:
            raise reader.data_loss_error(data, split) from error
        except tf.errors.OpError as error:
            raise examples.explain(error) from error
        if "replaced_share" in metrics:
            share = metrics["replaced_share"]
            metrics["always_original_accuracy"] = 1.0 - share
        if output and team.is_chief:
            text = json.dumps(metrics, indent=2, sort_keys=True) + "\n"
            files.write_text(output, text)
    return PretrainingMetrics(metrics, output)


def _settings(
    model: str, overrides: configs.Overrides
) -> tuple[PretrainSettings, str]:
    """Returns the run's settings with changes, and the vocabulary's
    fingerprint.
    """
    record, where = read_record(model)
    settings = configs.resolve(
        PretrainSettings, recorded(record, where), overrides
    )
    # The run's device may have had a kernel that this one lacks.
    train = dataclasses.replace(settings.train, attention="composed")
    settings = dataclasses.replace(settings, train=train)
    return settings, record["vocab_fingerprint"]


def load_weights(
    pretrainer: "ElectraPretrainer",
    weights: Mapping[str, "np.ndarray"],
    source: str,
) -> None:
    """Assigns all weights from a model directory's, or a checkpoint's.

    The objective's own layers, which only training needs, may be missing.

    Args:
      pretrainer: a built pre-trainer.
      weights: name on disk -> array.
      source: the file, for messages.

    Raises:
      UserError: a name is missing, or a shape differs. The model is unchanged
        then.
    """
    from electra_tf.hub import directory

    own = directory.stored_weights(
        directory.named_variables(pretrainer.objective_layers)
    )
    weights = {**own, **weights}
    directory.load_weights(pretrainer, weights, source)
