"""Trains a generator and a discriminator on built examples.

electra-tf pretrain --config=configs/pretrain/tiny.yaml --data=DATA --output=RUN

Started again with the same arguments it goes on from the last checkpoint;
SIGTERM and Ctrl-C write one first. The run directory receives metrics.jsonl,
tensorboard/, plots/, checkpoints/ and, at the end, model/: what
`electra_tf.Discriminator.from_pretrained(RUN)` loads.
"""

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "config",
    None,
    "YAML file of settings; the defaults pre-train ELECTRA-Small",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "set", [], "section.key=value, over the file's; repeat", flag_values=FLAGS
)
flags.DEFINE_string(
    "data",
    None,
    "directory made by build-data, or a glob of the original's TFRecords",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output", None, "the run directory", required=True, flag_values=FLAGS
)
flags.DEFINE_string(
    "vocab", None, "vocabulary file; the data's by default", flag_values=FLAGS
)
flags.DEFINE_string(
    "strategy",
    "one_device",
    "one_device, mirrored, multi_worker or tpu",
    flag_values=FLAGS,
)
flags.DEFINE_string("tpu", "", "name or address of a TPU", flag_values=FLAGS)
flags.DEFINE_bool(
    "skip_corrupt",
    False,
    "leave damaged records out instead of stopping",
    flag_values=FLAGS,
)


def main(flags_: flags.FlagValues) -> int:
    """Composes settings, data, model and loop."""
    import dataclasses

    from electra_tf import config
    from electra_tf.cli import pretrain_settings

    settings = config.load(
        pretrain_settings.PretrainSettings, flags_.config, flags_.set
    )
    if flags_.skip_corrupt:
        data = dataclasses.replace(settings.data, skip_corrupt=True)
        settings = dataclasses.replace(settings, data=data)
    result = run(
        settings,
        data_source=flags_.data,
        output=flags_.output,
        vocab=flags_.vocab,
        strategy_name=flags_.strategy,
        tpu=flags_.tpu,
    )
    if not result["stopped"]:
        print(f"model: {flags_.output}/model")
    return 0


def run(
    settings, data_source, output, vocab=None, strategy_name="one_device",
    tpu="",
) -> dict:  # fmt: skip
    """Trains to the end, or until stopped, and writes the model directory.

    Args:
      settings: a `PretrainSettings`.
      data_source: as the flag --data.
      output: the run directory.
      vocab: as the flag --vocab.
      strategy_name: as the flag --strategy.
      tpu: as the flag --tpu.

    Returns:
      What `training.loop.train` returns.
    """
    import tensorflow as tf

    from electra_tf import config
    from electra_tf.cli import pretrain_outputs, pretrain_settings
    from electra_tf.data import reader
    from electra_tf.training import loop, strategy

    loop.make_deterministic(settings.train.seed)
    chosen = strategy.make_strategy(strategy_name, tpu=tpu)
    data = pretrain_settings.open_data(data_source, vocab)
    settings = pretrain_settings.fit_to_data(settings, data)
    described = config.to_dict(settings)
    described["vocab_fingerprint"] = data.vocab.fingerprint()
    with chosen.scope():
        model = pretrain_settings.build_model(settings, data.special)
    held_out = None
    if data.held_out:
        held_out = data.validation(
            settings.train.batch_size, settings.data.skip_corrupt
        )
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
    except tf.errors.DataLossError as error:
        raise reader.data_loss_error(data_source) from error
    if not result["stopped"]:
        pretrain_outputs.save_model(
            output, model, data, described, result["step"]
        )
    return result
