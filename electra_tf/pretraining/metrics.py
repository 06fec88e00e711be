"""Running metrics of a pre-training step: those its objective has."""

import keras
import tensorflow as tf

from electra_tf.pretraining.discrimination import (
    REPLACED_TOKEN,
    RESTORED_TOKEN,
)
from electra_tf.pretraining.settings import ObjectiveConfig


class PretrainMetrics:
    """Means over the tokens that each figure is about.

    `mlm_*`: the generator at the masked positions. `sampled_accuracy`: how
    often a sample is the original token. `cloze_*`: a two-tower generator at
    every token. `disc_*`: the discriminator where its loss counts;
    `replaced_share` is what "always original" gets wrong there.
    `restored_*`: the tokens that replaced_mlm and all_tokens_mlm predict, and
    `restored_masked_accuracy` those of them that were masked.

    Args:
      objective: what is trained.
      cloze: whether the generator is a two-tower one.
    """

    def __init__(self, objective: ObjectiveConfig, cloze: bool):
        names = ["loss", "mlm_loss", "mlm_accuracy"]
        if objective.kind != "mlm":
            names.append("sampled_accuracy")
        if cloze:
            names += ["cloze_loss", "cloze_accuracy"]
        if objective.kind in REPLACED_TOKEN:
            # Precision and recall are means with the right weights: of the
            # tokens called replaced, the share that is; of the replaced
            # tokens, the share called so.
            names += [
                "disc_loss", "disc_accuracy", "disc_precision",
                "disc_recall", "replaced_share",
            ]  # fmt: skip
        if objective.kind in RESTORED_TOKEN:
            names += ["restored_loss", "restored_accuracy"]
        if objective.kind == "all_tokens_mlm":
            names.append("restored_masked_accuracy")
        self._means = {name: keras.metrics.Mean(name=name) for name in names}
        self._auc = None
        if objective.kind in REPLACED_TOKEN:
            self._auc = keras.metrics.AUC(num_thresholds=1000, name="disc_auc")

    @property
    def all(self) -> list[keras.metrics.Metric]:
        """Every metric, in the order of their names' appearance."""
        return [*self._means.values(), *([self._auc] if self._auc else [])]

    def update(self, output, parts: int = 1) -> None:
        """Adds a step.

        Args:
          output: a `PretrainOutput`.
          parts: into how many the batch is cut; one of them is added.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._add("loss", output.loss * (replicas * parts))
        self._add_generator(output)
        if output.detected is not None:
            self._add_detected(output)
        if output.restored is not None:
            self._add_restored(output)

    def _add(
        self, name: str, values: tf.Tensor, weights: tf.Tensor | None = None
    ) -> None:
        self._means[name].update_state(values, weights)

    def _add_generator(self, output) -> None:
        masked, token, cloze = output.masked, output.token, output.cloze
        weights = masked.masked_lm_weights
        self._add("mlm_loss", token.loss, weights)
        self._add(
            "mlm_accuracy",
            _equal(token.predictions, masked.masked_lm_ids),
            weights,
        )
        if "sampled_accuracy" in self._means:
            self._add(
                "sampled_accuracy",
                _equal(token.sampled_ids, masked.masked_lm_ids),
                weights,
            )
        if cloze is not None:
            self._add("cloze_loss", cloze.token.loss, cloze.weights)
            self._add(
                "cloze_accuracy",
                _equal(cloze.token.predictions, masked.input_ids),
                cloze.weights,
            )

    def _add_detected(self, output) -> None:
        detected = output.detected
        weights = detected.weights
        fake = tf.cast(output.corrupted.fake_labels, tf.float32)
        called = tf.cast(detected.logits > 0, tf.float32)
        self._add("disc_loss", detected.loss, weights)
        self._add("disc_accuracy", _equal(called, fake), weights)
        self._add("disc_precision", fake, called * weights)
        self._add("disc_recall", called, fake * weights)
        self._add("replaced_share", fake, weights)
        self._auc.update_state(
            tf.reshape(fake, [-1]),
            tf.reshape(tf.sigmoid(detected.logits), [-1]),
            sample_weight=tf.reshape(weights, [-1]),
        )

    def _add_restored(self, output) -> None:
        restored, masked = output.restored, output.masked
        right = _equal(restored.predictions, restored.labels)
        self._add("restored_loss", restored.loss, restored.weights)
        self._add("restored_accuracy", right, restored.weights)
        if "restored_masked_accuracy" in self._means:
            self._add(
                "restored_masked_accuracy",
                tf.gather(right, masked.masked_lm_positions, batch_dims=1),
                masked.masked_lm_weights,
            )


def _equal(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.equal(a, b), tf.float32)
