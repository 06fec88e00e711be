"""KerasHub's own TextClassifier on an ELECTRA of ours.

electra-tf convert --from=runs/own/run --to=keras_hub --output=preset
python examples/kerashub_task.py --preset=preset
"""

import argparse

import keras_hub

# Registers ELECTRA's tasks; KerasHub itself has the backbone alone.
import electra_tf.keras_hub  # noqa: F401

TEXTS = ["a good film", "a bad film", "very good", "very bad"] * 4
LABELS = [1, 0, 1, 0] * 4


def main(words: list[str] | None = None) -> None:
    """Trains a classifier of two classes, saves it, and loads it again."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--preset", required=True, help="convert's output")
    flags.add_argument("--output", default="classifier_preset")
    flags.add_argument("--epochs", type=int, default=3)
    args = flags.parse_args(words)
    classifier = keras_hub.models.TextClassifier.from_preset(
        args.preset, num_classes=2
    )
    classifier.fit(
        x=TEXTS, y=LABELS, batch_size=4, epochs=args.epochs, verbose=0
    )
    classifier.save_to_preset(args.output)
    again = keras_hub.models.TextClassifier.from_preset(args.output)
    print(again.predict(["what a good film"], verbose=0))  # logits, [1, 2]


if __name__ == "__main__":
    main()
