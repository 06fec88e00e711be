"""Pre-trains a small ELECTRA on text files of one's own.

python examples/pretrain_own_text.py --input='text/*.txt' --output=runs/own
"""

import argparse

import electra_tf


def main(words: list[str] | None = None) -> None:
    """Builds a vocabulary and examples, trains, and prints held-out metrics."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--input", default="electra_tf/sample_text/*.txt")
    flags.add_argument("--output", default="runs/own")
    flags.add_argument("--steps", type=int, default=2000)
    flags.add_argument("--vocab_size", type=int, default=4000)
    args = flags.parse_args(words)
    vocab, data = f"{args.output}/vocab.txt", f"{args.output}/data"
    electra_tf.build_vocab(args.input, vocab, vocab_size=args.vocab_size)
    electra_tf.build_data(
        args.input, vocab, data, max_seq_length=64, validation_fraction=0.05
    )
    # `train` and the other sections change keys of the settings; the file
    # configs/pretrain/tiny.yaml has the same ones for a run of its own.
    run = electra_tf.pretrain(
        data,
        f"{args.output}/run",
        model={
            "embedding_size": 64, "hidden_size": 64, "num_layers": 2,
            "num_heads": 2, "intermediate_size": 256, "local_start": True,
        },
        generator={"hidden_fraction": 0.5},
        train={
            "num_train_steps": args.steps, "batch_size": 32,
            "learning_rate": 1e-3, "num_warmup_steps": args.steps // 20,
            "bias_correction": True,
        },
    )  # fmt: skip
    found = electra_tf.evaluate_pretraining(f"{args.output}/run", data)
    for name, value in found.metrics.items():
        print(f"{name}: {value:.4g}")
    print(f"model: {run.model}")


if __name__ == "__main__":
    main()
