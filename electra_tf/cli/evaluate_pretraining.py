"""Held-out losses and accuracies of a pre-training run, beside baselines.

electra-tf evaluate-pretraining --model=RUN --data=DATA

Reads the run's newest checkpoint, or the model directory. Masks and samples
are the same at every call, so figures of different runs compare. The
generator stands beside the unigram entropy, which no predictor without
context can beat; the discriminator beside "always original".
"""

from absl import flags

from electra_tf.cli import distribution

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
flags.DEFINE_multi_string(
    "set",
    [],
    "section.key=value over the run's settings, as objective.temperature=1",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output", None, "write the figures here as JSON too", flag_values=FLAGS
)
distribution.define(FLAGS, tpu=False)


def main(flags_: flags.FlagValues) -> int:
    """Loads, evaluates, prints a table."""
    import json

    from electra_tf import files
    from electra_tf.cli import pretrain_evaluation
    from electra_tf.training import workers

    with distribution.strategy_of(flags_) as strategy:
        metrics = pretrain_evaluation.evaluate(
            flags_.model,
            flags_.data,
            flags_.batch_size,
            flags_.skip_corrupt,
            flags_.set,
            strategy,
        )
        chief = workers.of(strategy).is_chief
    print(table(metrics))
    if flags_.output and chief:
        text = json.dumps(metrics, indent=2, sort_keys=True) + "\n"
        files.write_text(flags_.output, text)
    return 0


def table(metrics: dict) -> str:
    """The metrics, one a line, baselines last."""
    width = max(map(len, metrics))
    return "\n".join(f"{k:<{width}}  {v:10.4f}" for k, v in metrics.items())
