"""Provides `ElectraEncoder`: embeddings and a stack of blocks."""

import os
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import adaptation, layers, products
from electra_tf.models.config import ModelConfig
from electra_tf.models.embeddings import Embeddings
from electra_tf.models.initial import EveryNthPair
from electra_tf.models.rows import Network, Rows
from electra_tf.models.saved import shared
from electra_tf.registration import registered


class EncoderOutput(NamedTuple):
    """All results of the encoder, as heads need different ones."""

    sequence_output: tf.Tensor  # [B, L, H], after the last block
    first_output: tf.Tensor  # [B, H], of that the first tokens
    embedding_output: tf.Tensor  # [B, L, H], after the projection
    all_layers: tuple[tf.Tensor, ...]  # [B, L, H] after each block
    # [B, A, L, L] of each block, the attention probabilities without dropout;
    # None unless asked for.
    attentions: tuple[tf.Tensor, ...] | None = None


Direction = Literal["both", "left", "right"]


@registered
class ElectraEncoder(Network):
    """Encodes rows by BERT's Transformer, with an own size of embeddings.

    There is no pooler: ELECTRA reads the first token's last hidden state.

    Args:
      config: its shape.
      embeddings: tables shared with another encoder; None makes its own.
      name: the scope of its variables.
      attends: what a position sees besides itself: "both" sides, or only its
        "left", or its "right".
      **options: Keras' options, such as dtype and trainable.

    Attributes:
      recompute: whether the backward pass of training recomputes each block's
        activations, where long sequences leave no memory to keep them.
      attention: the implementation of attention, see `products`. Results are
        the same.
    """

    scope = "encoder"
    _arguments = ("config", "attends")
    _options = ("recompute", "attention", "lora")

    def __init__(
        self,
        config: ModelConfig,
        embeddings: Embeddings | None = None,
        name: str = "encoder",
        attends: Direction = "both",
        **options: Any,
    ):
        if isinstance(config, str | os.PathLike):
            raise UserError(
                f"config: expected a ModelConfig, got the path {config}; "
                f"from_pretrained('{config}') loads a model"
            )
        super().__init__(name=name, **options)
        policy = self.dtype_policy
        self.config = config
        self.attends = attends
        self.recompute = False
        self._lora: tuple[int, float, str] | None = None
        self.owns_embeddings = embeddings is None
        self.embeddings = embeddings or Embeddings(config, dtype=policy)
        self.embeddings_project = None
        if config.embedding_size != config.hidden_size:
            self.embeddings_project = layers.Dense(
                config.hidden_size,
                EveryNthPair(config.initializer_range)
                if config.local_start
                else keras.initializers.GlorotUniform(),  # the original's
                name="embeddings_project",
                dtype=policy,
            )
        self.blocks = [
            layers.Block(config, name=f"layer_{i}", dtype=policy)
            for i in range(config.num_layers)
        ]

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's config, with the tables, which others may
        share.
        """
        return {
            **super().get_config(),
            "embeddings": shared(self.embeddings, self.owns_embeddings),
            "owns_embeddings": self.owns_embeddings,
        }

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> Any:
        owned = values.pop("owns_embeddings", False)
        made = cls(**values)
        made.owns_embeddings = owned
        return made

    @property
    def attention(self) -> products.AttentionKind:
        """The blocks' implementation of attention."""
        return self.blocks[0].attention.kind

    @attention.setter
    def attention(self, kind: products.AttentionKind) -> None:
        for block in self.blocks:
            block.attention.kind = kind

    @property
    def lora(self) -> tuple[int, float, str] | None:
        """Rank, alpha and targets of `enable_lora`; None before it."""
        return self._lora

    @lora.setter
    def lora(self, settings: tuple[int, float, str] | None) -> None:
        self._lora = (
            None
            if settings is None
            else (settings[0], settings[1], settings[2])
        )
        if self.built and self._lora is not None:
            adaptation.switch_on(self, self._lora)

    def build(self, input_shape: object = None) -> None:
        """Creates all variables; no input is needed for their shapes."""
        config = self.config
        if self.owns_embeddings and not self.embeddings.built:
            self.embeddings.build()
        if self.embeddings_project is not None:
            self.embeddings_project.build((None, None, config.embedding_size))
        for block in self.blocks:
            block.build((None, None, config.hidden_size))
        # Here rather than in __init__, so that its path carries our scope.
        self.dropout_seed = keras.random.SeedGenerator(name="dropout_seed")
        if self._lora is not None:
            adaptation.switch_on(self, self._lora)
        self.built = True

    def call(
        self,
        rows: Rows,
        training: bool = False,
        return_attentions: bool = False,
    ) -> EncoderOutput:
        """Encodes a batch; called like every `Network`.

        Args:
          rows: the rows to read.
          training: whether dropout is on.
          return_attentions: whether to compute `attentions` too.
        """
        rows = rows.filled().keyed(self.dropout_seed, training)
        input_ids, input_mask, segment_ids, _, sequence_ids, embeds = rows

        def at(site: int) -> tf.Tensor | None:
            return rows.salted(site).keys

        same = position_ids = None
        if sequence_ids is not None:
            same = sequence_ids[:, :, None] == sequence_ids[:, None, :]
            first = tf.argmax(tf.cast(same, tf.int32), -1, output_type=tf.int32)
            position_ids = tf.range(tf.shape(input_mask)[1]) - first
        x = self.embeddings(
            input_ids,
            segment_ids,
            keys=at(0),
            position_ids=position_ids,
            words=embeds,
        )
        if self.embeddings_project is not None:
            x = self.embeddings_project.large(x)
        embedding_output = x
        bias = self._attention_bias(input_mask, same, x.dtype)
        states, all_layers, maps = products.states(x), [], []
        for i, block in enumerate(self.blocks):
            if return_attentions:
                maps.append(block.attention.probabilities(states.whole, bias))
            states = self._run(block, states, bias, at(i + 1))
            all_layers.append(states.whole)
        x = states.whole
        return EncoderOutput(
            x,
            x[:, 0],
            embedding_output,
            tuple(all_layers),
            tuple(maps) if return_attentions else None,
        )

    def _run(
        self,
        block: layers.Block,
        x: products.States,
        bias: tf.Tensor,
        keys: tf.Tensor | None,
    ) -> products.States:
        """Runs one block."""
        if keys is None or not self.recompute:
            return block.run(x, bias, keys)
        # Only its input is kept, not its activations.
        forget = tf.recompute_grad(
            lambda x, bias, keys: block(x, bias, keys=keys)
        )
        return products.states(forget(x.whole, bias, keys))

    def _attention_bias(
        self, input_mask: tf.Tensor, same: tf.Tensor | None, dtype: tf.DType
    ) -> tf.Tensor:
        """Returns score offsets, [B, 1, 1, L], or [B, 1, L, L] if queries
        differ.

        Args:
          input_mask: [B, L].
          same: [B, L, L] bool, pairs of positions of one sequence; None means
            all.
          dtype: dtype of the scores.
        """
        if self.attends == "both" and same is None:
            return layers.attention_bias(input_mask, dtype)
        # Padding, direction and sequence are one condition, so that a row of
        # scores with nothing allowed is treated as the original treats it.
        allowed = input_mask[:, None, None, :]
        if self.attends != "both":
            length = tf.shape(input_mask)[1]
            seen = tf.linalg.band_part(
                tf.ones([length, length], input_mask.dtype),
                *((-1, 0) if self.attends == "left" else (0, -1)),
            )
            allowed *= seen[None, None]
        if same is not None:
            allowed *= tf.cast(same, allowed.dtype)[:, None]
        allowed = tf.cast(allowed, dtype)
        return (1.0 - allowed) * tf.cast(layers.MASKED_SCORE, dtype)
