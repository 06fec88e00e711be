"""A Keras model of one's own around the encoder: a text and a number go in.

python examples/own_keras_model.py --model=runs/own/run
"""

import argparse

import keras
import numpy as np
import tensorflow as tf

from electra_tf import Encoder, Tokenizer


def build(checkpoint: str, length: int = 64) -> keras.Model:
    """Returns a model of (text, number) to a score between 0 and 1.

    Args:
      checkpoint: any that `from_pretrained` reads.
      length: tokens of a text that are read.
    """
    encoder = Encoder.from_pretrained(checkpoint)
    tokenizer = Tokenizer(encoder.tokenizer, sequence_length=length)
    text = keras.Input(shape=(), dtype="string", name="text")
    number = keras.Input(shape=(1,), name="number")
    # The vector of [CLS], [batch, hidden_size].
    vector = encoder(tokenizer(text)).first_output
    joined = keras.layers.Concatenate()([vector, number])
    score = keras.layers.Dense(1, activation="sigmoid")(joined)
    return keras.Model({"text": text, "number": number}, score)


def main(words: list[str] | None = None) -> None:
    """Trains on a few rows, saves, loads, and shows that both agree."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--model", required=True, help="any checkpoint")
    flags.add_argument("--output", default="own_model.keras")
    flags.add_argument("--epochs", type=int, default=3)
    args = flags.parse_args(words)
    rows = {
        # Keras takes texts as tensors, or arrays of objects.
        "text": tf.constant(["a good house", "a bad house"] * 8),
        "number": np.array([[1.0], [0.0]] * 8, "float32"),
    }
    labels = np.array([[1.0], [0.0]] * 8, "float32")
    model = build(args.model)
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    model.fit(rows, labels, epochs=args.epochs, verbose=0)
    model.save(args.output)
    again = keras.models.load_model(args.output)
    same = np.allclose(model.predict(rows), again.predict(rows), atol=1e-6)
    print(f"saved and loaded: {'the same' if same else 'different'} scores")


if __name__ == "__main__":
    main()
