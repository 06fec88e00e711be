"""Provides the networks of pre-training: encoders with heads."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import initial, kernels, layers, products
from electra_tf.models.config import ModelConfig
from electra_tf.models.embeddings import Embeddings, read_table
from electra_tf.models.encoder import ElectraEncoder, EncoderOutput
from electra_tf.models.rows import Network, Rows
from electra_tf.models.saved import Saved, shared
from electra_tf.registration import registered

DiscriminatorHead = Literal["replaced_token", "token_lm", "copy"]


@registered
class TokenLMHead(Saved):
    """Scores every token of the vocabulary.

    Dense to E, GELU, LayerNorm, product with the token table (or, untied,
    one of its own), bias.
    """

    def __init__(
        self,
        config: ModelConfig,
        embeddings: Embeddings,
        name: str = "head",
        **options: Any,
    ):
        super().__init__(name=name, **options)
        self.config = config
        self.embeddings = embeddings
        self.dense = layers.Dense(
            config.embedding_size,
            initial.truncated_normal(config.initializer_range),
            name="dense",
            dtype=self.dtype_policy,
        )
        self.norm = layers.LayerNorm(
            config.layer_norm_epsilon,
            name="layer_norm",
            dtype=self.dtype_policy,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's config, with the tables that it scores with."""
        return {
            **super().get_config(),
            "embeddings": shared(self.embeddings, owned=False),
        }

    def build(self, input_shape: tuple) -> None:
        """Creates dense [H, E], the normalisation, output_bias [V].

        And output_weights [V, E] where they are not the token table.
        """
        self.dense.build(input_shape)
        self.norm.build((None, self.config.embedding_size))
        self.output_bias = self.add_weight(
            shape=(self.config.vocab_size,),
            initializer="zeros",
            name="output_bias",
        )
        self.output_weights = None
        if not self.config.tied_head:
            self.output_weights = self.add_weight(
                shape=(self.config.vocab_size, self.config.embedding_size),
                initializer=initial.truncated_normal(
                    self.config.initializer_range
                ),
                name="output_weights",
            )

    def scores(self, hidden: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Computes logits [rows, V] without output_bias, from states [...,
        H].
        """
        x = kernels.bias_gelu(
            self.dense.product(products.factor(hidden)),
            tf.cast(self.dense.bias, hidden.dtype),
            self.config.head_gelu or self.config.gelu,
            training,
        )
        x = self.norm(x)
        table = self.output_weights
        if table is None:
            table = read_table(self.embeddings.word_embeddings).outputs
        flat = tf.reshape(x, [-1, self.config.embedding_size])
        flat = products.factor(flat)
        table = tf.cast(table, flat.dtype)
        return tf.matmul(flat, table, transpose_b=True)

    def call(self, hidden: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Computes logits [..., V] float32 from hidden states [..., H]."""
        logits = tf.cast(self.scores(hidden, training), tf.float32)
        logits += tf.cast(self.output_bias, tf.float32)
        shape = tf.concat(
            [tf.shape(hidden)[:-1], [self.config.vocab_size]], axis=0
        )
        return tf.reshape(logits, shape)


@registered
class ReplacedTokenHead(Saved):
    """Computes one logit for each position: was this token replaced?"""

    def __init__(self, config: ModelConfig, name: str = "head", **options: Any):
        super().__init__(name=name, **options)
        self.config = config
        self.dense = layers.Dense(
            config.hidden_size,
            initial.truncated_normal(config.initializer_range),
            name="dense",
            dtype=self.dtype_policy,
        )
        self.prediction = layers.Dense(
            1,
            keras.initializers.GlorotUniform(),
            name="prediction",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: tuple) -> None:
        """Creates dense [H, H] and prediction [H, 1]."""
        self.dense.build(input_shape)
        self.prediction.build(input_shape)

    def call(self, hidden: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Computes logits [B, L] float32 from hidden states [B, L, H]."""
        x = kernels.bias_gelu(
            self.dense.product(products.factor(hidden)),
            tf.cast(self.dense.bias, hidden.dtype),
            self.config.gelu,
            training,
        )
        return tf.cast(tf.squeeze(self.prediction(x), axis=-1), tf.float32)


class GeneratorOutput(NamedTuple):
    """The output of a generator."""

    logits: tf.Tensor  # [B, N, V] float32, or [B, L, V] without positions
    encoder: tuple | None  # output of its encoder, or encoders


class DiscriminatorOutput(NamedTuple):
    """The output of the discriminator."""

    # [B, L] float32; above 0: replaced. None without that head.
    logits: tf.Tensor | None
    encoder: EncoderOutput


class OnEncoder(Network):
    """A network with an encoder, its own or another network's."""

    encoder: ElectraEncoder
    owns_encoder: bool

    def _set_encoder(
        self,
        config: ModelConfig,
        embeddings: Embeddings | None,
        encoder: ElectraEncoder | None,
    ) -> None:
        self.config = config
        self.owns_encoder = encoder is None
        self.encoder = encoder or ElectraEncoder(
            config, embeddings, dtype=self.dtype_policy
        )

    def _build_encoder(self) -> None:
        """Creates the encoder's variables, if it is its own."""
        if not self.encoder.built:
            tables = self.encoder.embeddings
            if not (self.encoder.owns_embeddings or tables.built):
                tables.build()
            self.encoder.build()

    def read(
        self, rows: Rows, training: bool, return_attentions: bool = False
    ) -> EncoderOutput:
        """Runs the encoder, or its replacement; see `ElectraEncoder.call`."""
        asked = {"return_attentions": True} if return_attentions else {}
        return self.encoder(rows, training=training, **asked)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's config, with the encoder, which others may
        share.
        """
        return {
            **super().get_config(),
            "encoder": shared(self.encoder, self.owns_encoder),
            "owns_encoder": self.owns_encoder,
        }

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> Any:
        owned = values.pop("owns_encoder", False)
        made = cls(**values)
        made.owns_encoder = owned
        return made


@registered
class Generator(OnEncoder):
    """A masked language model (paper, equation 1).

    Args:
      config: shape of its encoder.
      embeddings: tables shared with the discriminator; None makes its own.
        Tables that are not built yet are its own too.
      name: the scope of its variables.
      encoder: another network's encoder to share; None makes its own.
      **options: Keras' options, such as dtype and trainable.
    """

    scope = "generator"
    reads_masked = True  # its input has [MASK] where a token is asked for

    def __init__(
        self,
        config: ModelConfig,
        embeddings: Embeddings | None = None,
        name: str = "generator",
        encoder: ElectraEncoder | None = None,
        **options: Any,
    ):
        super().__init__(name=name, **options)
        self._set_encoder(config, embeddings, encoder)
        self.head = TokenLMHead(
            config, self.encoder.embeddings, dtype=self.dtype_policy
        )

    def build(self, input_shape: object = None) -> None:
        """Creates all variables; a shared encoder is built by its owner."""
        self._build_encoder()
        self.head.build((None, None, self.config.hidden_size))
        self.built = True

    def call(
        self,
        rows: Rows,
        positions: tf.Tensor | None = None,
        training: bool = False,
    ) -> GeneratorOutput:
        """Predicts tokens, only at `positions` if given.

        Args:
          rows: rows with [MASK] at tokens to predict.
          positions: [B, N] int32 positions to predict; None means all.
          training: whether dropout is on.
        """
        hidden, output = self.hidden_at(rows, positions, training)
        return GeneratorOutput(self.head(hidden, training=training), output)

    def hidden_at(
        self,
        rows: Rows,
        positions: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, EncoderOutput]:
        """Computes the hidden states that the head reads; see `call`."""
        output = self.encoder(rows, training=training)
        hidden = output.sequence_output
        if positions is not None:
            hidden = tf.gather(hidden, positions, batch_dims=1)  # [B, N, H]
        return hidden, output


class TowersOutput(NamedTuple):
    """The outputs of the two encoders."""

    ltr: EncoderOutput  # reads from the left
    rtl: EncoderOutput  # reads from the right


@registered
class TwoTowerGenerator(Network):
    """Predicts each token from all others in one pass (Clark et al. 2020b).

    One encoder reads from the left, one from the right. A position is
    predicted from the left reader's state one before it and the right
    reader's one after it, so the input is not masked. Beyond the first and the
    last real token states are zeros.

    Args:
      config: shape of each tower.
      embeddings: tables that both towers share, built by their owner; None
        makes tables for both.
      untied: whether each tower has its own tables; the head uses the left
        one's.
      wrap_around: whether the states beyond one end of a row are those of its
        other end, padding included, as in the original. It is for comparisons:
        it shows the first and the last token to the head that predicts them.
      name: the scope of its variables.
      **options: Keras' options, such as dtype and trainable.
    """

    scope = "generator"
    _arguments = ("config", "untied", "wrap_around")
    reads_masked = False

    def __init__(
        self,
        config: ModelConfig,
        embeddings: Embeddings | None = None,
        untied: bool = False,
        wrap_around: bool = False,
        name: str = "generator",
        **options: Any,
    ):
        super().__init__(name=name, **options)
        policy = self.dtype_policy
        self.config = config
        self.untied = untied
        self.wrap_around = wrap_around
        if embeddings is None and not untied:
            embeddings = Embeddings(config, dtype=policy)
            # Here, not in build(), so that its path has neither scope.
            embeddings.build()
        self.ltr = ElectraEncoder(
            config, embeddings, name="ltr", attends="left", dtype=policy
        )
        self.rtl = ElectraEncoder(
            config, embeddings, name="rtl", attends="right", dtype=policy
        )
        self.head = TokenLMHead(config, self.ltr.embeddings, dtype=policy)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's config, with the tables, which others may
        share.
        """
        tables = None
        if not self.untied:
            tables = shared(self.ltr.embeddings, owned=False)
        towers = {
            name: getattr(tower, name)
            for name in ElectraEncoder._options
            for tower in [self.ltr]
        }
        return {**super().get_config(), "embeddings": tables, "towers": towers}

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> Any:
        towers = values.pop("towers", {})
        made = cls(**values)
        for tower in (made.ltr, made.rtl):
            for name, value in towers.items():
                setattr(tower, name, value)
        return made

    def build(self, input_shape: object = None) -> None:
        """Creates all variables."""
        self.ltr.build()
        self.rtl.build()
        self.head.build((None, None, 2 * self.config.hidden_size))
        self.built = True

    def call(
        self,
        rows: Rows,
        positions: tf.Tensor | None = None,
        training: bool = False,
    ) -> GeneratorOutput:
        """Predicts each token from the others, at `positions` if given.

        Args:
          rows: rows that are not masked.
          positions: [B, N] int32 positions to predict; None means all.
          training: whether dropout is on.
        """
        hidden, output = self.hidden_at(rows, positions, training)
        return GeneratorOutput(self.head(hidden, training=training), output)

    def hidden_at(
        self,
        rows: Rows,
        positions: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, TowersOutput]:
        """Computes the states that the head reads, [B, N or L, 2H]; see `call`.

        wrap_around does not support rows of several sequences.
        """
        if rows.sequence_ids is not None and self.wrap_around:
            raise ValueError("wrap_around takes one sequence a row")
        rows = rows._replace(input_mask=rows.mask)
        output = TowersOutput(
            self.ltr(rows.salted(2001), training=training),
            self.rtl(rows.salted(2002), training=training),
        )
        left, right = (o.sequence_output for o in output)
        if self.wrap_around:
            left, right = tf.roll(left, 1, axis=1), tf.roll(right, -1, axis=1)
        else:
            real = tf.cast(rows.input_mask, right.dtype)[:, :, None]
            # On padding the right reader has nothing to attend to, and its
            # softmax would attend to everything.
            left, right = left[:, :-1], (right * real)[:, 1:]
            if rows.sequence_ids is not None:
                goes_on = rows.sequence_ids[:, 1:] == rows.sequence_ids[:, :-1]
                goes_on = tf.cast(goes_on, right.dtype)[:, :, None]
                left, right = left * goes_on, right * goes_on
            left = tf.pad(left, [[0, 0], [1, 0], [0, 0]])
            right = tf.pad(right, [[0, 0], [0, 1], [0, 0]])
        hidden = tf.concat([left, right], axis=-1)
        if positions is not None:
            hidden = tf.gather(hidden, positions, batch_dims=1)  # [B, N, 2H]
        return hidden, output


@registered
class UniformGenerator(Network):
    """Gives every token the same probability; has no variables.

    Args:
      vocab_size: V.
      name: see the other generators.
      **options: Keras' options.
    """

    _arguments = ("vocab_size",)
    reads_masked = True

    def __init__(
        self, vocab_size: int, name: str = "generator", **options: Any
    ):
        super().__init__(name=name, **options)
        self.vocab_size = vocab_size
        self.config = None

    def build(self, input_shape: object = None) -> None:
        """Creates nothing."""
        self.built = True

    def call(
        self,
        rows: Rows,
        positions: tf.Tensor | None = None,
        training: bool = False,
    ) -> GeneratorOutput:
        """Returns logits of 0; see `Generator.call`."""
        where = rows.input_ids if positions is None else positions
        shape = tf.concat([tf.shape(where), [self.vocab_size]], axis=0)
        return GeneratorOutput(tf.zeros(shape), None)


@registered
class Discriminator(OnEncoder):
    """Distinguishes replaced tokens from original ones (paper, equation 2).

    The paper's section 3.4 puts other heads on the same encoder.

    Args:
      config: shape of its encoder.
      embeddings: tables shared with the generator; None makes its own.
      name: the scope of its variables.
      with_heads: "replaced_token", `head`; "token_lm", `lm_head`, which
        predicts the original tokens; "copy", `copy_head`, one logit per
        position: is this the original token? Without any it is only an encoder.
      encoder: another network's encoder to share; None makes its own.
      **options: Keras' options, such as dtype and trainable.
    """

    scope = "discriminator"
    _arguments = ("config", "with_heads")

    def __init__(
        self,
        config: ModelConfig,
        embeddings: Embeddings | None = None,
        name: str = "discriminator",
        with_heads: Iterable[DiscriminatorHead] = ("replaced_token",),
        encoder: ElectraEncoder | None = None,
        **options: Any,
    ):
        super().__init__(name=name, **options)
        policy = self.dtype_policy
        self._set_encoder(config, embeddings, encoder)
        self.with_heads = tuple(sorted(with_heads))
        self.head = self.lm_head = self.copy_head = None
        if "replaced_token" in self.with_heads:
            self.head = ReplacedTokenHead(config, dtype=policy)
        if "token_lm" in self.with_heads:
            self.lm_head = TokenLMHead(
                config, self.encoder.embeddings, name="lm_head", dtype=policy
            )
        if "copy" in self.with_heads:
            self.copy_head = layers.Dense(
                1,
                keras.initializers.GlorotUniform(),
                name="copy",
                dtype=policy,
            )

    def build(self, input_shape: object = None) -> None:
        """Creates all variables."""
        self._build_encoder()
        for head in (self.head, self.lm_head, self.copy_head):
            if head is not None:
                head.build((None, None, self.config.hidden_size))
        self.built = True

    def call(
        self,
        rows: Rows,
        training: bool = False,
        return_attentions: bool = False,
    ) -> DiscriminatorOutput:
        """Computes logits [B, L] from ids [B, L]; called like every
        `Network`.
        """
        output = self.read(rows, training, return_attentions)
        logits = None
        if self.head is not None:
            logits = self.head(output.sequence_output, training=training)
        return DiscriminatorOutput(logits, output)
