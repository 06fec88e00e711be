"""Pre-training from settings and data to a model directory."""

from typing import Any

import tensorflow as tf

from electra_tf import config
from electra_tf.cli import pretrain_outputs, pretrain_settings
from electra_tf.cli.pretrain_settings import PretrainData, PretrainSettings
from electra_tf.data import reader
from electra_tf.errors import UserError
from electra_tf.training import loop, strategy


def run(
    settings: PretrainSettings,
    data: PretrainData,
    output: str,
    strategy_name: str = "one_device",
    tpu: str = "",
) -> dict[str, Any]:
    """Trains to the end, or until stopped, and writes the model directory.

    Args:
      settings: all of the run's settings.
      data: examples and vocabulary.
      output: the run directory; goes on from a checkpoint there.
      strategy_name: see `training.strategy.make_strategy`.
      tpu: see there.

    Returns:
      What `training.loop.train` returns.
    """
    loop.make_deterministic(settings.train.seed)
    chosen = strategy.make_strategy(strategy_name, tpu=tpu)
    settings = pretrain_settings.fit_to_data(settings, data)
    described = config.to_dict(settings)
    # With other data the position that a checkpoint keeps would be void.
    described["data"] |= {
        "fingerprint": data.fingerprint,
        "max_seq_length": data.max_seq_length,
    }
    described["vocab_fingerprint"] = data.vocab.fingerprint()
    with chosen.scope():
        model = pretrain_settings.build_model(settings, data.special)
    held_out = None
    if data.held_out:
        held_out = data.validation(settings.train.batch_size)
    try:
        result = loop.train(
            model,
            lambda step: data.training(settings, step),
            config=settings.train,
            run_dir=output,
            strategy=chosen,
            eval_data=held_out,
            run_config=described,
            reporter=pretrain_outputs.reporter(output, settings.train),
        )
    except tf.errors.OpError as error:
        raise explain(error, data) from error
    if not result["stopped"]:
        pretrain_outputs.save_model(
            output, model, data, described, result["step"]
        )
    return result


def explain(error: tf.errors.OpError, data: PretrainData) -> Exception:
    """What to tell of an error of the graph: the data's fault, or a bug."""
    if isinstance(error, tf.errors.DataLossError):
        found = reader.data_loss_error(data.source)
        if "read it again" in str(found) and data.held_out:
            return reader.data_loss_error(data.source, "validation")
        return found
    if isinstance(
        error, (tf.errors.NotFoundError, tf.errors.PermissionDeniedError)
    ):
        return UserError(f"{data.source}: {error.message}")
    return error
