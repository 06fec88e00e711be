"""Text in, pre-trained ELECTRA out: the whole road on the text that ships.

electra-tf demo --output=demo_run

Trains a vocabulary, builds examples, pre-trains the `tiny` size, measures it
on held-out text beside its baselines, and marks replaced words in sentences it
has not seen. Each step is a command, which is printed before it runs. Started
again it goes on where it was.
"""

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "output", "demo_run", "the folder for everything", flag_values=FLAGS
)
flags.DEFINE_integer(
    "num_train_steps",
    2000,
    "length of the training, in updates of 16 examples",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "vocab_size", 4000, "tokens", lower_bound=100, flag_values=FLAGS
)
flags.DEFINE_integer(
    "num_sentences", 6, "sentences shown", lower_bound=1, flag_values=FLAGS
)


def main(flags_: flags.FlagValues) -> int:
    """Runs the commands, then the comparison and the sentences."""
    import json
    import os

    from electra_tf import files
    from electra_tf.cli import demo_report
    from electra_tf.cli.app import run
    from electra_tf.data import manifest

    out = flags_.output
    text = os.path.join(
        os.path.dirname(os.path.dirname(__file__)), "sample_text", "*.txt"
    )
    vocab, data = files.join(out, "vocab.txt"), files.join(out, "data")
    config, model = files.join(out, "demo.yaml"), files.join(out, "run")
    metrics_path = files.join(out, "held_out.json")

    def command(*words: str) -> bool:
        print(f"\n$ electra-tf {' '.join(words)}", flush=True)
        return run(words) == 0

    if not manifest.is_finished(data):
        done = command(
            "build-vocab", f"--input={text}", f"--output={vocab}",
            f"--vocab_size={flags_.vocab_size}",
        ) and command(
            "build-data", f"--input={text}", f"--vocab={vocab}",
            f"--output={data}", "--max_seq_length=64", "--num_workers=2",
            "--validation_fraction=0.05",
        )  # fmt: skip
        if not done:
            return 2
    files.write_text(config, _settings(flags_.num_train_steps))
    if not command(
        "pretrain", f"--config={config}", f"--data={data}", f"--output={model}"
    ):
        return 2
    if not files.exists(files.join(model, "model")):
        return 0  # stopped by a signal: started again, it goes on
    if not command(
        "evaluate-pretraining", f"--model={model}", f"--data={data}",
        f"--output={metrics_path}",
    ):  # fmt: skip
        return 2
    print(
        "\n" + demo_report.comparison(json.loads(files.read_text(metrics_path)))
    )
    print("\n" + demo_report.sentences(model, data, flags_.num_sentences))
    print(f"\nplots: {files.join(model, 'plots')}")
    print(f"model: electra_tf.Discriminator.from_pretrained('{model}')")
    return 0


def _settings(num_train_steps: int) -> str:
    """configs/pretrain/tiny.yaml, shortened to the demo's length."""
    import dataclasses

    import yaml

    from electra_tf.models.config import GENERATOR_FRACTIONS, ModelConfig

    shape = ModelConfig.of_size(
        "tiny",
        hidden_dropout=0.0,
        attention_dropout=0.0,
        initializer_range=0.05,
        local_start=True,
    )
    model = dataclasses.asdict(shape)
    del model["vocab_size"]  # the data says it
    every = max(1, num_train_steps // 4)
    settings = {
        "model": model,
        "generator": {
            "hidden_fraction": GENERATOR_FRACTIONS["tiny"],
            "layers_fraction": 0.5,
        },
        "objective": {"disc_weight": 20.0, "temperature": 1.75},
        "train": {
            "learning_rate": 1e-3,
            "num_warmup_steps": min(100, num_train_steps // 5),
            "bias_correction": True,
            "num_train_steps": num_train_steps,
            "batch_size": 16,
            "eval_every_steps": every,
            "checkpoint_every_steps": every,
            "log_every_steps": max(1, num_train_steps // 40),
        },
    }
    return yaml.safe_dump(settings, sort_keys=False)
