"""Trains a generator and a discriminator on built examples.

electra-tf pretrain --config=configs/pretrain/tiny.yaml --data=DATA --output=RUN

Started again with the same arguments it goes on from the last checkpoint;
SIGTERM and Ctrl-C write one first. The run directory receives metrics.jsonl,
tensorboard/, plots/, checkpoints/ and, at the end, model/: what
`electra_tf.Discriminator.from_pretrained(RUN)` loads.

With --init_from the run starts from a checkpoint of any format (a model
directory, Hugging Face, KerasHub, TF1, hf:// or kaggle:// handle), whose
shape it takes; a generator or head that is missing there starts afresh.
"""

from absl import flags

from electra_tf.cli import distribution

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
flags.DEFINE_multi_string(
    "init_from",
    [],
    "checkpoint to start from; twice for a discriminator and a generator that "
    "are apart",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "init_optimizer",
    False,
    "carry over its optimizer's slots and step too, so that the schedule goes "
    "on; otherwise the learning rate starts again",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "init_set",
    [],
    "what that checkpoint does not tell, as model.num_heads=4; repeat",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "extend_vocab",
    None,
    "file of tokens, one a line, to append to that checkpoint's vocabulary",
    flag_values=FLAGS,
)
distribution.define(FLAGS)
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
    from electra_tf.hub import config as configs

    settings = config.load(
        pretrain_settings.PretrainSettings, flags_.config, flags_.set
    )
    with distribution.strategy_of(flags_) as strategy:
        data = pretrain_settings.open_data(
            flags_.data,
            flags_.vocab,
            flags_.skip_corrupt,
            flags_.lower_case,
            flags_.strip_accents,
        )
        start = pretrain_run.Start(
            tuple(flags_.init_from),
            flags_.init_optimizer,
            flags_.extend_vocab,
            configs.assigned(flags_.init_set, "--init_set"),
            flags_.vocab,
        )
        result = pretrain_run.run(
            settings, data, flags_.output, strategy, start
        )
    if not result["stopped"]:
        print(f"model: {flags_.output}/model")
    return 0
