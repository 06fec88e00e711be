"""Held-out figures of a pre-training run: from its files to metrics."""

import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import yaml

from electra_tf import config, files, tensors
from electra_tf.cli import pretrain_settings
from electra_tf.data import manifest, reader
from electra_tf.errors import UserError
from electra_tf.hub import config as configs
from electra_tf.hub import directory, variables
from electra_tf.pretraining import baselines
from electra_tf.pretraining.pretrainer import ElectraPretrainer
from electra_tf.training import checkpoints, evaluation, workers


def evaluate(
    model_path: str,
    source: str,
    batch_size: int,
    skip_corrupt: bool = False,
    overrides: Sequence[str] = (),
    strategy: tf.distribute.Strategy | None = None,
) -> dict:
    """Metric name -> value on the whole held-out split, with baselines.

    Args:
      model_path: a run, or the model directory of one.
      source: examples with a held-out split.
      batch_size: examples at once.
      skip_corrupt: leave damaged records out.
      overrides: "section.key=value" over the run's settings.
      strategy: whose workers share the examples; one device where None.

    Raises:
      UserError: no such run or data, or data of another vocabulary.
    """
    checkpoint = checkpoints.latest(model_path)
    if checkpoint is not None:
        path = files.join(model_path, directory.CONFIG)
        described = _json_of(path)
        weights = files.join(checkpoint, directory.WEIGHTS)
    else:
        found = directory.find(model_path)
        path = files.join(found, directory.CONFIG)
        described = directory.load_config(found).pretraining
        weights = files.join(found, directory.WEIGHTS)
    if described is None:
        raise UserError(f"{path}: says nothing of pre-training")
    described = dict(described)
    fingerprint = described.pop("vocab_fingerprint")
    described.pop("init", None)  # where the run started is no setting
    # What identifies the training data is no setting.
    described["data"] = {"shuffle": described["data"]["shuffle"]}
    manifest.load_manifest(source)  # only such directories hold examples out
    data = pretrain_settings.open_data(source, None, skip_corrupt)
    if fingerprint != data.vocab.fingerprint():
        raise UserError(
            f"{source} was built with the vocabulary "
            f"{data.vocab.fingerprint()}, {model_path} with {fingerprint}; "
            "build the data with the model's vocab.txt"
        )
    for key, text in configs.assigned(overrides).items():
        section, _, name = key.rpartition(".")
        described[section] = described.get(section, {}) | {
            name: yaml.safe_load(text)
        }
    settings = config.from_dict(
        pretrain_settings.PretrainSettings, described, path
    )
    settings = pretrain_settings.fit_to_data(settings, data)
    # The run's device may have had a kernel that this one has not.
    settings = dataclasses.replace(
        settings,
        train=dataclasses.replace(settings.train, attention="composed"),
    )
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = pretrain_settings.build_model(settings, data.special)
    arrays = tensors.load(weights)
    if checkpoint is not None:
        arrays = {directory.weight_name(n): a for n, a in arrays.items()}
    load_weights(model, arrays, weights)
    share = workers.of(strategy).share
    try:
        metrics = evaluation.evaluate(
            model, data.validation(batch_size, share), strategy
        )
        metrics["unigram_entropy"] = baselines.unigram_entropy(
            data.validation(batch_size), len(data.vocab), data.special
        )
    except tf.errors.DataLossError as error:
        raise reader.data_loss_error(source, "validation") from error
    if "replaced_share" in metrics:
        metrics["always_original_accuracy"] = 1.0 - metrics["replaced_share"]
    return metrics


def load_weights(
    model: ElectraPretrainer, weights: Mapping[str, np.ndarray], source: str
) -> None:
    """Assigns all weights from a model directory's, or a checkpoint's.

    The baseline of an adversarial run, which only training needs, may be
    missing.

    Args:
      model: built.
      weights: name on disk -> array.
      source: the file, for messages.

    Raises:
      UserError: a missing name, or another shape. The model is unchanged
        then.
    """
    if model.baseline is not None:
        own = variables.stored(variables.named([model.baseline]))
        weights = {**own, **weights}
    directory.load_weights(model, weights, source)


def _json_of(path: str) -> dict:
    """The JSON object in the file at `path`."""
    try:
        return dict(json.loads(files.read_text(path)))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from error
