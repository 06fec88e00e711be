"""Detects replaced tokens in strings: ReplacedTokenDetector."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.generation import loading
from electra_tf.generation.scoring import Scorer
from electra_tf.hub import config as directory_configs
from electra_tf.hub import loading as checkpoints
from electra_tf.hub import pretrained
from electra_tf.keras_api.tasks.tokens import (
    TokenModel,
    blank_network,
    check_vocab,
    masking_of,
    per_row,
    row_length,
)
from electra_tf.models import randomness
from electra_tf.models.networks import UniformGenerator
from electra_tf.pretraining import losses, masking
from electra_tf.pretraining.settings import MaskingConfig
from electra_tf.registration import registered
from electra_tf.text.vocab import Vocab

D = TypeVar("D", bound="ReplacedTokenDetector")

# Stream of an example's random keys, apart from dropout's.
_SAMPLE = 7002
_TOKENS = 8192  # about as many in a batch


@registered
class ReplacedTokenDetector(TokenModel):
    """Distinguishes replaced tokens from original ones: ELECTRA's
    discriminator.

        from electra_tf import ReplacedTokenDetector

        detector = ReplacedTokenDetector.from_pretrained("model")
        texts = ["the cat sat on the mat", "a good dog ran to the house"]
        detector.fit(texts, epochs=2)
        for token, replaced in detector.tokens(["the cat ran on the of"])[0]:
            print(token, round(replaced, 2))

    Inputs are those of `MaskedLM`. In `fit`, tokens are masked and replaced by
    samples: from the checkpoint's generator, which is not trained, or without
    one from a uniform distribution over all tokens. Metrics are over all
    tokens; the share of replaced ones is small, so look at the area under the
    curve, `auc`.

    `predict` returns for each text an array [tokens], the probability that each
    was replaced, and `tokens` pairs of token and probability, as the command
    `score` does. Calling the model returns them for whole rows, special tokens
    included, float32 [texts, tokens]. `save_pretrained` writes only the
    discriminator.

    A loss or metric of your own gets y_true, 1 at replaced tokens, and y_pred,
    the probabilities, each [texts, tokens, 1]; padding has weight 0:
    `compile(loss="binary_focal_crossentropy", weighted_metrics=["accuracy"])`.
    """

    part = "discriminator"
    what = "replaced-token detector"
    usual_metrics = ("accuracy", "auc")

    def __init__(self, network: Any, *, generator: Any = None, **others: Any):
        """See `MaskedLM`.

        Args:
          network: a discriminator.
          generator: the network that replacements are sampled from; None
            samples uniformly from all tokens.
          **others: arguments of `MaskedLM`.
        """
        super().__init__(network, **others)
        if generator is None:
            generator = UniformGenerator(len(network.tokenizer.vocab))
            generator.build()
        generator.trainable = False
        self.generator = generator
        self.auc = keras.metrics.AUC(num_thresholds=1000, name="auc")

    @classmethod
    def from_pretrained(
        cls: type[D],
        path: AnyPath,
        *,
        mask_prob: float | None = None,
        masking: Mapping[str, Any] | MaskingConfig | None = None,
        max_seq_length: int | None = None,
        vocab: AnyPath | None = None,
        overrides: Mapping[str, Any] | None = None,
        load_weights: bool = True,
        seed: int = 42,
        dtype: Any = None,
        name: str | None = None,
    ) -> D:
        """Loads a discriminator, and the generator beside it if there is one.

        Args:
          path: see `MaskedLM.from_pretrained`.
          mask_prob: see `MaskedLM.from_pretrained`.
          masking: see `MaskedLM.from_pretrained`.
          max_seq_length: see `MaskedLM.from_pretrained`.
          vocab: see `MaskedLM.from_pretrained`.
          overrides: see `MaskedLM.from_pretrained`.
          load_weights: see `MaskedLM.from_pretrained`.
          seed: see `MaskedLM.from_pretrained`.
          dtype: see `MaskedLM.from_pretrained`.
          name: see `MaskedLM.from_pretrained`.

        Raises:
          UserError: the checkpoint is missing, incomplete, or without a
            discriminator.
        """
        options: dict[str, Any] = {
            "vocab": vocab,
            "overrides": overrides,
            "dtype": dtype,
            "load_weights": load_weights,
        }
        network = pretrained.Discriminator.from_pretrained(path, **options)
        check_vocab(path, network)
        if network.head is None:
            raise UserError(
                f"{path}: its discriminator has no replaced-token head; "
                "expected one that was pre-trained with objective.kind=electra"
            )
        whole = checkpoints.open_checkpoint(path, vocab=vocab).config
        generator = None
        if loading.has_generator(whole):
            generator = pretrained.Generator.from_pretrained(path, **options)
        return cls(
            network,
            generator=generator,
            masking=masking_of(masking, mask_prob),
            max_seq_length=row_length(network, max_seq_length),
            seed=seed,
            dtype=dtype,
            name=name,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns what makes the model again, except its weights."""
        config = super().get_config()
        about = getattr(self.generator, "directory_config", None)
        if about is not None:
            about = json.loads(json.dumps(directory_configs.to_json(about)))
        return config | {"generator": about}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None):
        """Makes the model from a config; see `MaskedLM`.

        Args:
          config: result of `get_config`.
          custom_objects: not used.
        """
        values = dict(config)
        if values["generator"] is not None:
            values["generator"] = blank_network(
                values["generator"],
                Vocab.from_config(config),
                "generator",
                config["dtype"],
            )
        return super().from_config(values, custom_objects)

    def answers(self, outputs: Any) -> tf.Tensor:
        """Returns the probabilities of replacement, float32 [batch, tokens]."""
        return tf.sigmoid(outputs.logits)

    def unit_losses(
        self,
        batch: Mapping[str, tf.Tensor],
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """See `FineTuner.unit_losses`."""
        masked, keys = self.masked(batch, keys)
        corrupted = masking.corrupt(masked, self._samples(masked, keys))
        output = self.network(
            masked.rows(corrupted.fake_input_ids, keys if training else None),
            training=training,
        )
        labels = corrupted.fake_labels
        weights = tf.cast(masked.input_mask, tf.float32)
        if self._is_own or self._has_metrics:
            y_pred = self.compared(output, batch)
            y = labels[:, :, tf.newaxis]
            own = self._compiled(batch, y, y_pred, weights, training)
            if own is not None:
                return own
        loss = losses.replaced_token_loss(output.logits, labels)
        called = tf.cast(output.logits > 0, tf.int32)
        right = tf.cast(tf.equal(called, labels), tf.float32)
        self.accuracy.update_state(right, weights)
        flat = [
            tf.reshape(value, [-1])
            for value in (labels, tf.sigmoid(output.logits), weights)
        ]
        self.auc.update_state(*flat)
        return per_row(loss, weights, batch)

    def targets(self, batch: Mapping[str, tf.Tensor]) -> tuple[Any, Any]:
        """Returns placeholder targets, to show Keras their shape."""
        return batch["input_mask"][:, :, tf.newaxis], None

    def compared(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> Any:
        """See `CompiledTask.compared`."""
        del batch
        return self.answers(outputs)[:, :, tf.newaxis]

    def _samples(
        self, masked: masking.MaskedBatch, keys: tf.Tensor
    ) -> tf.Tensor:
        """Returns replacements for the masked tokens, int32 [B, N]."""
        labels = masked.masked_lm_ids
        uniform = randomness.uniform(
            randomness.salted(keys, _SAMPLE), labels.shape[1]
        )
        generator = self.generator
        if generator.config is None:
            return losses.draw_uniform(generator.vocab_size, labels, uniform)
        ids = masked.input_ids
        if generator.reads_masked:
            ids = masked.masked_input_ids
        hidden, _ = generator.hidden_at(
            masked.rows(ids, None), masked.masked_lm_positions
        )
        scores = losses.scores_of(generator.head, hidden, False)
        found = losses.token_loss_and_samples(
            *scores, tf.reshape(labels, [-1]), tf.reshape(uniform, [-1])
        )
        return tf.stop_gradient(tf.reshape(found.sampled_ids, tf.shape(labels)))

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> list[np.ndarray]:
        """Predicts which tokens of texts were replaced.

        Args:
          x: texts of any length, or a dataset of them.
          batch_size: texts in a batch; None chooses by length.
          verbose: not used; no progress bar is shown.
          steps: number of batches to take from a dataset.
          callbacks: not called.

        Returns:
          An array for each text, float32 [tokens], without special tokens.
        """
        del callbacks, verbose
        texts = self._inputs(x, batch_size, steps)
        return [
            -np.expm1(np.asarray(scored.log_probs, "float32"))
            for scored in self._scorer().score(texts)
        ]

    def tokens(self, x: Any) -> list[list[tuple[str, float]]]:
        """Lists the tokens of texts, with their probability of replacement.

        Args:
          x: inputs of `predict`.
        """
        scored = self._scorer().score(self._inputs(x, None))
        return [
            [
                (token, float(-np.expm1(log_prob)))
                for token, log_prob in zip(one.tokens, one.log_probs)
            ]
            for one in scored
        ]

    def _scorer(self) -> Scorer:
        if self._memory.scorer is None:
            self._memory.scorer = Scorer(
                self.network, "replaced", batch_tokens=_TOKENS
            )
        return self._memory.scorer
