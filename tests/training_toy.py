"""Provides a small model and endless data for the tests of training.

As a script it trains in its own process, which tests can signal or kill:
`python tests/training_toy.py RUN_DIR STEPS SECONDS_PER_BATCH`.
"""

import sys
import time

import keras
import numpy as np
import tensorflow as tf

from electra_tf.training import loop, optimizer, reporting, strategy

VOCABULARY, LENGTH, CLASSES = 50, 6, 4


class Toy(keras.Model):
    """Classifies with embedding, dropout and LayerNorm, in its own steps."""

    def __init__(self, dropout: float, global_batch: int, poison_at: int = -1):
        super().__init__(name="toy")
        self.global_batch = global_batch
        self.poison_at = poison_at
        self.embeddings = keras.layers.Embedding(
            VOCABULARY, 8, name="embeddings"
        )
        self.dropout = keras.layers.Dropout(dropout, name="dropout")
        self.layer_norm = keras.layers.LayerNormalization(name="layer_norm")
        self.classifier = keras.layers.Dense(CLASSES, name="classifier")
        self.loss_mean = keras.metrics.Mean(name="loss")
        self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")

    def call(self, x, training=False):
        hidden = tf.reduce_mean(self.embeddings(x), axis=1)
        hidden = self.dropout(hidden, training=training)
        return self.classifier(self.layer_norm(hidden))

    @property
    def metrics(self):
        return [self.loss_mean, self.accuracy]

    def forward(self, batch, training, weight=1.0):
        logits = self(batch["x"], training=training)
        losses = weight * tf.nn.sparse_softmax_cross_entropy_with_logits(
            batch["y"], logits
        )
        self.loss_mean.update_state(losses)
        self.accuracy.update_state(batch["y"], logits)
        return losses

    def train_step(self, batch):
        weight = 1.0
        if self.poison_at >= 0:
            bad = tf.equal(self.optimizer.iterations.value, self.poison_at)
            weight = tf.where(bad, np.nan, 1.0)
        with tf.GradientTape() as tape:
            losses = self.forward(batch, training=True, weight=weight)
            losses = tf.cast(losses, tf.float32)
            loss = tf.reduce_sum(losses) / self.global_batch
            loss = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables))
        return self.get_metrics_result()

    def test_step(self, batch):
        self.forward(batch, training=False)
        return self.get_metrics_result()


def make_model(
    dropout: float = 0.2,
    global_batch: int = 8,
    num_train_steps: int = 30,
    poison_at: int = -1,
    seed: int = 1,
    **optimizer_settings,
) -> Toy:
    """Returns a compiled toy with seeded weights; call it in a scope."""
    keras.utils.set_random_seed(seed)
    model = Toy(dropout, global_batch, poison_at)
    model(np.zeros([1, LENGTH], np.int32))
    settings = dict(learning_rate=0.05, num_warmup_steps=3)
    config = optimizer.OptimizerConfig(**(settings | optimizer_settings))
    model.compile(optimizer=optimizer.make_optimizer(config, num_train_steps))
    return model


def batch_at(step: int, size: int = 8) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(step)
    x = generator.integers(0, VOCABULARY, [size, LENGTH], dtype=np.int32)
    return {"x": x, "y": (x[:, 0] % CLASSES).astype(np.int32)}


def train_data(size: int = 8, seconds: float = 0.0, end: int = 1_000_000):
    """Returns step -> batches from that step on, each fixed by its step."""
    signature = {
        "x": tf.TensorSpec([size, LENGTH], tf.int32),
        "y": tf.TensorSpec([size], tf.int32),
    }

    def from_step(start: int) -> tf.data.Dataset:
        def batches():
            for step in range(start, end):
                time.sleep(seconds)
                yield batch_at(step, size)

        return tf.data.Dataset.from_generator(
            batches, output_signature=signature
        )

    return from_step


def eval_data(examples: int = 21, size: int = 8) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(batch_at(10**6, examples)).batch(
        size
    )


def config(**settings) -> loop.TrainConfig:
    base = dict(
        num_train_steps=30,
        batch_size=8,
        eval_every_steps=10,
        checkpoint_every_steps=5,
        log_every_steps=5,
    )
    return loop.TrainConfig(**(base | settings))


def variables(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns all state that a checkpoint must restore, by position."""
    state = [*model.variables, *model.optimizer.variables]
    return {f"{i} {v.name}": v.numpy() for i, v in enumerate(state)}


def assert_same(a: dict, b: dict, tolerance: float = 0.0) -> None:
    assert len(a) == len(b)
    for (name, left), right in zip(a.items(), b.values()):
        if tolerance:
            np.testing.assert_allclose(
                left, right, rtol=0, atol=tolerance, err_msg=name
            )
        else:
            np.testing.assert_array_equal(left, right, err_msg=name)


def main(run_dir: str, steps: str, seconds: str) -> None:
    model = make_model()
    result = loop.train(
        model,
        train_data(seconds=float(seconds)),
        config=config(num_train_steps=int(steps), checkpoint_every_steps=3),
        run_dir=run_dir,
        strategy=strategy.make_strategy("one_device"),
        eval_data=eval_data(),
        reporter=reporting.Reporter(
            run_dir,
            num_train_steps=int(steps),
            batch_size=8,
            tensorboard=False,
        ),
    )
    print(f"RESULT step={result['step']} stopped={result['stopped']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
