"""Fine-tunes a model on a task, in one trial or several, and reports.

electra-tf finetune --config=configs/finetune/sst2.yaml --model=DIR --output=RUN

The model is a checkpoint of any format: a model directory or run of ours, a
Hugging Face directory, a KerasHub preset, a TF1 checkpoint, hf:// or kaggle://.
It gets a new head, unless it is fine-tuned already and its head is the same.
Without --model, or with --random_weights, training starts from nothing.

Tasks: glue/NAME, classification, regression, squad, xquad, mrqa, chinese_qa,
tagging, ranking, multitask, or FILE.py:CLASS for one of your own. Started again
with the same arguments it goes on; SIGTERM and Ctrl-C write a checkpoint first.
The run directory receives report.md, report.json, plots/, a directory for each
trial and model/, the best one: what `electra_tf.load(RUN)` loads.
"""

from absl import flags

from electra_tf.cli import distribution

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "config",
    None,
    "YAML file of settings: task, options, train, model",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "task", None, "the task, over the file's", flag_values=FLAGS
)
flags.DEFINE_multi_string(
    "set", [], "section.key=value, over the file's; repeat", flag_values=FLAGS
)
flags.DEFINE_string(
    "model", None, "checkpoint to start from", flag_values=FLAGS
)
flags.DEFINE_string(
    "data",
    None,
    "directory or file with the task's data; some tasks know where theirs is",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output", None, "the run directory", required=True, flag_values=FLAGS
)
flags.DEFINE_integer(
    "num_trials",
    None,
    "trials, with seeds one after another; 1 if the file says nothing",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "random_weights",
    False,
    "take the shape and the vocabulary of --model alone",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "new_head",
    False,
    "start the head afresh though the model has one that fits",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "vocab", None, "vocabulary, where the model has none", flag_values=FLAGS
)
flags.DEFINE_bool(
    "lower_case",
    None,
    "whether the tokenizer lower-cases, where the model does not tell",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "strip_accents", None, "the same; as --lower_case if unset",
    flag_values=FLAGS,
)  # fmt: skip
distribution.define(FLAGS)


def main(flags_: flags.FlagValues) -> int:
    """Composes settings, start and trials; prints the scores."""
    from electra_tf.cli import finetune_settings, finetune_start
    from electra_tf.finetuning import report, trials

    settings = finetune_settings.load(
        flags_.config, flags_.task, flags_.set, flags_.num_trials
    )
    with distribution.strategy_of(flags_) as strategy:
        start = finetune_start.make(
            settings.model,
            flags_.model,
            flags_.random_weights,
            flags_.new_head,
            flags_.vocab,
            flags_.lower_case,
            flags_.strip_accents,
        )
        summary = trials.run_trials(
            settings, start, flags_.data, flags_.output, strategy
        )
    if summary is not None:
        print(report.table(summary))
        print(report.headline(summary))
        print(f"model: {flags_.output}/model")
    return 0
