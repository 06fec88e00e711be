"""Held-out losses and accuracies of a pre-training run, beside baselines.

electra-tf evaluate-pretraining --model=RUN --data=DATA

Reads the run's newest checkpoint, or the model directory. Masks and samples
are the same at every call, so figures of different runs compare. The
generator stands beside the unigram entropy, which no predictor without
context can beat; the discriminator beside "always original".
"""

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "model", None, "run or model directory", required=True, flag_values=FLAGS
)
flags.DEFINE_string(
    "data",
    None,
    "directory made by build-data with --validation_fraction",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "batch_size", 32, "examples at once", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_bool(
    "skip_corrupt",
    False,
    "leave damaged records out instead of stopping",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output", None, "write the figures here as JSON too", flag_values=FLAGS
)


def main(flags_: flags.FlagValues) -> int:
    """Loads, evaluates, prints a table."""
    import json

    from electra_tf import files

    metrics = evaluate(
        flags_.model, flags_.data, flags_.batch_size, flags_.skip_corrupt
    )
    print(table(metrics))
    if flags_.output:
        text = json.dumps(metrics, indent=2, sort_keys=True) + "\n"
        files.write_text(flags_.output, text)
    return 0


def evaluate(
    model_path: str, source: str, batch_size: int, skip_corrupt: bool = False
) -> dict:
    """Metric name -> value on the whole held-out split, with baselines."""
    import tensorflow as tf

    from electra_tf import config, files, tensors
    from electra_tf.cli import pretrain_settings, pretrain_weights
    from electra_tf.data import manifest, reader
    from electra_tf.errors import UserError
    from electra_tf.hub import directory
    from electra_tf.pretraining import baselines
    from electra_tf.training import checkpoints, evaluation

    checkpoint = checkpoints.latest(model_path)
    if checkpoint is not None:
        path = files.join(model_path, directory.CONFIG)
        described = json_of(path)
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
    settings = config.from_dict(
        pretrain_settings.PretrainSettings, described, path
    )
    settings = pretrain_settings.fit_to_data(settings, data)
    model = pretrain_settings.build_model(settings, data.special)
    arrays = tensors.load(weights)
    if checkpoint is not None:
        arrays = {directory.weight_name(n): a for n, a in arrays.items()}
    pretrain_weights.load(model, arrays, weights)
    held_out = data.validation(batch_size)
    try:
        metrics = evaluation.evaluate(
            model, held_out, tf.distribute.get_strategy()
        )
        metrics["unigram_entropy"] = baselines.unigram_entropy(
            held_out, len(data.vocab), data.special
        )
    except tf.errors.DataLossError as error:
        raise reader.data_loss_error(source, "validation") from error
    if "replaced_share" in metrics:
        metrics["always_original_accuracy"] = 1.0 - metrics["replaced_share"]
    return metrics


def json_of(path: str) -> dict:
    """The JSON object in the file at `path`."""
    import json

    from electra_tf import files
    from electra_tf.errors import UserError

    try:
        return dict(json.loads(files.read_text(path)))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from error


def table(metrics: dict) -> str:
    """The metrics, one a line, baselines last."""
    width = max(map(len, metrics))
    return "\n".join(f"{k:<{width}}  {v:10.4f}" for k, v in metrics.items())
