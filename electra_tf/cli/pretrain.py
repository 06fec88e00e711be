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
flags.DEFINE_bool(
    "lower_case",
    True,
    "how the text of TFRecords without a manifest was treated",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "strip_accents", None, "the same; as --lower_case if unset",
    flag_values=FLAGS,
)  # fmt: skip


def main(flags_: flags.FlagValues) -> int:
    """Composes settings, data, model and loop."""
    from electra_tf import config
    from electra_tf.cli import pretrain_run, pretrain_settings

    settings = config.load(
        pretrain_settings.PretrainSettings, flags_.config, flags_.set
    )
    data = pretrain_settings.open_data(
        flags_.data,
        flags_.vocab,
        flags_.skip_corrupt,
        flags_.lower_case,
        flags_.strip_accents,
    )
    result = pretrain_run.run(
        settings, data, flags_.output, flags_.strategy, flags_.tpu
    )
    if not result["stopped"]:
        print(f"model: {flags_.output}/model")
    return 0
