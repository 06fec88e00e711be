"""Predicts masked tokens of strings: MaskedLM."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.generation import filling, loading
from electra_tf.hub import pretrained
from electra_tf.keras_api.preprocessors import MaskPreprocessor
from electra_tf.keras_api.tasks.tokens import (
    TokenModel,
    check_vocab,
    masking_of,
    per_row,
    row_length,
)
from electra_tf.keras_api.tokenizer import Tokenizer
from electra_tf.models.rows import Rows
from electra_tf.pretraining import losses
from electra_tf.pretraining.settings import MaskingConfig
from electra_tf.registration import registered

L = TypeVar("L", bound="MaskedLM")

_AT_ONCE = 32  # texts whose blanks are predicted in a batch


@registered
class MaskedLM(TokenModel):
    """Predicts masked tokens: ELECTRA's generator, to train and to fill blanks.

        from electra_tf import MaskedLM

        model = MaskedLM.from_pretrained("model")
        texts = ["the cat sat on the mat", "a good dog ran to the house"]
        model.compile(learning_rate=1e-3)
        model.fit(texts, epochs=2)
        model.fill(["the [MASK] sat on the mat"])[0].text

    Inputs are lists, arrays or string tensors of texts, or a dataset of them,
    without answers: each step masks other tokens, as in pre-training. Longer
    texts are truncated.

    `fill` gives the best tokens for the blanks of texts, written as [MASK],
    as the command `fill` does; `predict` the probabilities of all tokens at
    each blank: an array [blanks, vocabulary] for each text. Calling the model
    on texts gives those of all positions, float32
    [texts, tokens, vocabulary].

    A loss or metric of your own gets only the masked tokens: y_true, their ids,
    int32 [texts, masked], and y_pred, the probabilities, float32 [texts,
    masked, vocabulary]; shorter texts are filled up with weight 0:
    `compile(loss="sparse_categorical_crossentropy", weighted_metrics=[...])`.
    """

    part = "generator"
    what = "masked language model"

    @classmethod
    def from_pretrained(
        cls: type[L],
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
    ) -> L:
        """Loads a generator.

        Args:
          path: see `TextClassifier.from_pretrained`; it must have a generator
            that reads [MASK].
          mask_prob: share of the tokens that are masked; 0.15 where None.
          masking: changes to how tokens are masked, as `{"unit": "span"}`.
          max_seq_length: tokens of a row; 128, or as many as the model has
            positions for.
          vocab: see `TextClassifier.from_pretrained`.
          overrides: see `TextClassifier.from_pretrained`.
          load_weights: see `TextClassifier.from_pretrained`.
          seed: seed of masks, dropout and the order of rows.
          dtype: see `TextClassifier.from_pretrained`.
          name: see `TextClassifier.from_pretrained`.

        Raises:
          UserError: the checkpoint is missing, incomplete, or without such a
            generator.
        """
        network = pretrained.Generator.from_pretrained(
            path,
            vocab=vocab,
            overrides=overrides,
            dtype=dtype,
            load_weights=load_weights,
        )
        check_vocab(path, network)
        loading.check_reads_masks(path, network)
        return cls(
            network,
            masking=masking_of(masking, mask_prob),
            max_seq_length=row_length(network, max_seq_length),
            seed=seed,
            dtype=dtype,
            name=name,
        )

    def _make_tokenizer(self) -> Tokenizer:
        """Makes a tokenizer that reads [MASK] in texts as the token."""
        start = self.start
        return Tokenizer(
            start.vocab,
            start.lower_case,
            start.strip_accents,
            special_tokens=True,
        )

    def _make_preprocessor(self) -> keras.layers.Layer:
        return MaskPreprocessor(
            self.tokenizer, self.task.options.max_seq_length
        )

    def answers(self, outputs: Any) -> tf.Tensor:
        """Returns probabilities, float32 [batch, tokens, vocabulary]."""
        return tf.nn.softmax(outputs.logits)

    def unit_losses(
        self,
        batch: Mapping[str, tf.Tensor],
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """See `FineTuner.unit_losses`."""
        masked, keys = self.masked(batch, keys)
        network = self.network
        hidden, _ = network.hidden_at(
            masked.rows(masked.masked_input_ids, keys if training else None),
            masked.masked_lm_positions,
            training,
        )
        weights = masked.masked_lm_weights
        scores = losses.scores_of(network.head, hidden, training)
        shape = tf.shape(masked.masked_lm_ids)
        if self._is_own or self._has_metrics:
            size = network.config.vocab_size
            logits = tf.cast(scores.scores, tf.float32) + scores.bias
            logits = tf.reshape(logits, [shape[0], shape[1], size])
            own = self._compiled(
                batch,
                masked.masked_lm_ids,
                tf.nn.softmax(logits),
                weights,
                training,
            )
            if own is not None:
                return own
        labels = tf.reshape(masked.masked_lm_ids, [-1])
        found = losses.token_loss_and_samples(*scores, labels).shaped(shape)
        right = tf.equal(found.predictions, masked.masked_lm_ids)
        self.accuracy.update_state(tf.cast(right, tf.float32), weights)
        return per_row(found.loss, weights, batch)

    def targets(self, batch: Mapping[str, tf.Tensor]) -> tuple[Any, Any]:
        """Returns placeholder targets, to show Keras their shape."""
        return batch["input_ids"], None

    def fill(
        self, texts: Sequence[str], top_k: int = 5, joint: bool = False
    ) -> list[filling.Filled]:
        """Fills the blanks of texts.

        Args:
          texts: texts with at least one [MASK] each.
          top_k: number of candidates for each blank.
          joint: whether to fill several blanks of a text jointly.

        Returns:
          See `generation.filling.Filled`: `text` and `blanks`.

        Raises:
          UserError: a text has no blank; the message has its number.
        """
        filler = filling.Filler(self.network)
        return filler.fill(self.read(texts), top_k=top_k, joint=joint)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> list[np.ndarray]:
        """Predicts the tokens at the blanks of texts.

        Args:
          x: texts with [MASK], or a dataset of them.
          batch_size: texts in a batch, 32 where None.
          verbose: see Keras.
          steps: number of batches to take from a dataset.
          callbacks: not called.

        Returns:
          An array for each text, float32 [blanks, vocabulary].

        Raises:
          UserError: a text has no blank; the message has its number.
        """
        del callbacks
        texts = self._inputs(x, batch_size, steps)
        mask_id = self.tokenizer.vocab.mask_id
        found: list[np.ndarray] = []
        size = batch_size or _AT_ONCE
        bar = None
        if verbose in ("auto", 1, 2, True) and texts:
            bar = keras.utils.Progbar(len(texts), unit_name="input")
        for start in range(0, len(texts), size):
            batch = self.preprocessor(texts[start : start + size])
            blanks = tf.equal(batch["input_ids"], mask_id)
            counts = tf.reduce_sum(tf.cast(blanks, tf.int32), axis=1).numpy()
            for number in np.flatnonzero(counts == 0):
                raise UserError(
                    f"x[{start + number}]: has no {filling.BLANK} to fill in "
                    f"its first {self.task.options.max_seq_length} tokens"
                )
            hidden, _ = self.network.hidden_at(Rows(**batch))
            logits = self.network.head(tf.boolean_mask(hidden, blanks))
            probabilities = tf.nn.softmax(logits).numpy()
            found += np.split(probabilities, np.cumsum(counts)[:-1])
            if bar is not None:
                bar.update(len(found))
        return found
