"""Provides the networks of fine-tuning: encoders with task heads."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import task_heads
from electra_tf.models.config import (
    DecoderConfig,
    ModelConfig,
    MultiHeadConfig,
    SentenceHeadConfig,
    TaskHeadConfig,
)
from electra_tf.models.decoder import Decoder, Memory
from electra_tf.models.embeddings import Embeddings
from electra_tf.models.encoder import ElectraEncoder, EncoderOutput
from electra_tf.models.networks import OnEncoder
from electra_tf.models.rows import Rows
from electra_tf.models.saved import Saved
from electra_tf.registration import registered


class ClassifierOutput(NamedTuple):
    """The output of `SequenceClassifier` and `TokenClassifier`."""

    logits: tf.Tensor  # [B, labels], or [B, L, labels]; float32
    encoder: EncoderOutput


class QuestionAnswererOutput(NamedTuple):
    """The output of `QuestionAnswerer`."""

    spans: task_heads.SpanOutput
    encoder: EncoderOutput


class Seq2SeqOutput(NamedTuple):
    """The output of `Seq2Seq`."""

    encoder: EncoderOutput
    memory: Memory  # the decoder's view of the sources
    logits: tf.Tensor | None  # [B, T, V] float32; None without a target


class SentenceOutput(NamedTuple):
    """The output of `SentenceScorer`."""

    logits: tf.Tensor  # [B, L] float32; a sentence's is at its [CLS]
    encoder: EncoderOutput


class MultitaskOutput(NamedTuple):
    """The output of `MultitaskNetwork`."""

    heads: dict[str, ClassifierOutput | QuestionAnswererOutput]
    encoder: EncoderOutput


class TaskNetwork(OnEncoder):
    """A network with an encoder and a head, which share dropout keys.

    Variables are named like the discriminator's, whose encoder is the one
    that is fine-tuned: `discriminator/encoder/...`, `discriminator/task/...`.

    Args:
      config: shape of the encoder.
      head_config: config of the head.
      embeddings: tables shared with another encoder; None makes its own.
      name: the scope of its variables.
      encoder: another network's encoder to share; None makes its own.
      **options: Keras' options, such as dtype and trainable.
    """

    scope = "discriminator"
    _arguments = ("config", "head_config")
    _kinds: tuple[str, ...] = ()

    def __init__(
        self,
        config: ModelConfig,
        head_config: Any,
        embeddings: Embeddings | None = None,
        name: str = "discriminator",
        encoder: ElectraEncoder | None = None,
        **options: Any,
    ):
        super().__init__(name=name, **options)
        self.head_config = head_config
        self._set_encoder(config, embeddings, encoder)
        self.head = self._make_head()

    def _make_head(self) -> keras.layers.Layer:
        if self.head_config.kind not in self._kinds:
            raise UserError(
                f"task.kind: {type(self).__name__} needs "
                f"{' or '.join(self._kinds)}, got {self.head_config.kind}"
            )
        return _HEADS[self.head_config.kind](
            self.head_config, dtype=self.dtype_policy
        )

    def build(self, input_shape: object = None) -> None:
        """Creates all variables; no input is needed for their shapes."""
        self._build_encoder()
        self.head.build((None, None, self.config.hidden_size))
        self.dropout_seed = keras.random.SeedGenerator(name="dropout_seed")
        self.built = True


@registered
class SequenceClassifier(TaskNetwork):
    """Predicts classes, a number or a rank of a text or a pair."""

    _kinds = ("sequence",)

    def call(
        self,
        rows: Rows,
        training: bool = False,
        return_attentions: bool = False,
    ) -> ClassifierOutput:
        """Computes logits [B, labels] from ids [B, L]; see `Network`."""
        rows = rows.keyed(self.dropout_seed, training)
        output = self.read(rows, training, return_attentions)
        return _answer(self.head, output, rows, training)


@registered
class TokenClassifier(TaskNetwork):
    """Predicts a class for each token, for tagging."""

    _kinds = ("token",)

    def call(
        self,
        rows: Rows,
        training: bool = False,
        return_attentions: bool = False,
    ) -> ClassifierOutput:
        """Computes logits [B, L, labels] from ids [B, L]; see `Network`."""
        rows = rows.keyed(self.dropout_seed, training)
        output = self.read(rows, training, return_attentions)
        return _answer(self.head, output, rows, training)


@registered
class QuestionAnswerer(TaskNetwork):
    """Predicts answers that are spans of the second segment."""

    _kinds = ("span", "joint_span")

    def call(
        self,
        rows: Rows,
        start_positions: tf.Tensor | None = None,
        training: bool = False,
        return_attentions: bool = False,
    ) -> QuestionAnswererOutput:
        """Predicts spans; called like every `Network`.

        Args:
          rows: segment 0 is the question and 1 the text.
          start_positions: [B] int32 true starts, for the loss of a joint
            head; others ignore them.
          training: whether dropout is on.
          return_attentions: whether to return the encoder's attention.
        """
        rows = rows.filled().keyed(self.dropout_seed, training)
        output = self.read(rows, training, return_attentions)
        return _answer(self.head, output, rows, training, start_positions)


_HEADS: dict[str, Any] = {
    "sequence": task_heads.SequenceHead,
    "token": task_heads.TokenHead,
    "span": task_heads.SpanHead,
    "joint_span": task_heads.JointSpanHead,
}
NETWORKS: dict[str, type[TaskNetwork]] = {
    kind: network
    for network in (SequenceClassifier, TokenClassifier, QuestionAnswerer)
    for kind in network._kinds
}


def _answer(
    head: Any,
    output: EncoderOutput,
    rows: Rows,
    training: bool,
    start_positions: tf.Tensor | None = None,
) -> Any:
    """Runs a head on the encoder's output of keyed rows."""
    kind, hidden = head.config.kind, output.sequence_output
    options = {"training": training, "keys": rows.keys}
    if kind in ("sequence", "token"):
        read = output.first_output if kind == "sequence" else hidden
        return ClassifierOutput(head(read, **options), output)
    inputs = [hidden, rows.input_mask, rows.segment_ids]
    if kind == "joint_span":
        inputs.append(start_positions)
    return QuestionAnswererOutput(head(*inputs, **options), output)


@registered
class Seq2Seq(TaskNetwork):
    """Generates texts by an encoder and a decoder with cross-attention.

    Variables of the encoder are named like the discriminator's, those of the
    decoder like a task head's: `discriminator/task/...`.

    Args:
      config: shape of the encoder.
      head_config: config of the decoder, a `DecoderConfig`.
      name: the scope of its variables.
    """

    def _make_head(self) -> keras.layers.Layer:
        return Decoder(
            self.config,
            self.head_config,
            self.encoder,
            dtype=self.dtype_policy,
        )

    def call(
        self,
        rows: Rows,
        target_ids: tf.Tensor | None = None,
        training: bool = False,
    ) -> Seq2SeqOutput:
        """Reads the sources; with targets, scores their tokens too.

        Args:
          rows: the sources.
          target_ids: [B, T] int32, from [CLS] on; each position's logits
            predict the next token.
          training: whether dropout is on.
        """
        rows = rows._replace(input_mask=rows.mask)
        rows = rows.keyed(self.dropout_seed, training)
        output = self.encoder(rows, training=training)
        memory = self.head.read(output.sequence_output, rows.input_mask)
        logits = None
        if target_ids is not None:
            logits = self.head(
                target_ids, memory, training=training, keys=rows.keys
            )
        return Seq2SeqOutput(output, memory, logits)

    def start_head(self) -> None:
        """Initialises the decoder by the encoder's weights, if configured."""
        if self.head_config.from_encoder:
            self.head.start_from(self.encoder)


@registered
class SentenceScorer(TaskNetwork):
    """Scores the sentences of a text, by a `SentenceHead`.

    Variables are named like those of the other fine-tuned networks:
    `discriminator/encoder/...`, `discriminator/task/...`.

    Args:
      config: shape of the encoder.
      head_config: config of the head, a `SentenceHeadConfig`.
      name: the scope of its variables.
    """

    def _limits(self) -> dict[str, int]:
        # Segments are the numbers of sentences.
        return {n: v for n, v in super()._limits().items() if n != "segments"}

    def _make_head(self) -> keras.layers.Layer:
        return task_heads.SentenceHead(
            self.head_config, dtype=self.dtype_policy
        )

    def call(self, rows: Rows, training: bool = False) -> SentenceOutput:
        """Scores all tokens; the scores at [CLS] are those of sentences.

        Args:
          rows: the segment of a token is the number of its sentence in the
            whole text; the encoder gets alternating 0 and 1.
          training: whether dropout is on.
        """
        rows = rows.filled().keyed(self.dropout_seed, training)
        numbers = rows.segments
        output = self.encoder(
            rows._replace(segment_ids=numbers % 2), training=training
        )
        logits = self.head(
            output.sequence_output, rows.input_mask, numbers,
            training=training, keys=rows.keys,
        )  # fmt: skip
        return SentenceOutput(logits, output)


@registered
class Heads(Saved):
    """Several heads by name, below one scope: `task/NAME/...`."""

    def __init__(
        self, config: MultiHeadConfig, name: str = "task", **options: Any
    ):
        super().__init__(name=name, **options)
        self.config = config
        self.heads = {
            key: _HEADS[head.kind](head, name=key, dtype=self.dtype_policy)
            for key, head in config.heads.items()
        }

    def build(self, input_shape: tuple) -> None:
        """Creates the variables of all heads."""
        for head in self.heads.values():
            head.build(input_shape)


@registered
class MultitaskNetwork(TaskNetwork):
    """Has one encoder with several heads; every head sees every row.

    Variables are named like those of networks with one head, except the heads':
    `discriminator/task/NAME/...`.

    Args:
      config: shape of the encoder.
      head_config: the heads, a `MultiHeadConfig`.
      name: the scope of its variables.
    """

    def _make_head(self) -> keras.layers.Layer:
        return Heads(self.head_config, dtype=self.dtype_policy)

    def call(
        self,
        rows: Rows,
        start_positions: Mapping[str, tf.Tensor] | None = None,
        training: bool = False,
    ) -> MultitaskOutput:
        """Computes the outputs of all heads; see `QuestionAnswerer.call`.

        Args:
          rows: the rows to read.
          start_positions: [B] int32 for each joint head with true starts.
          training: whether dropout is on.
        """
        rows = rows.filled().keyed(self.dropout_seed, training)
        output = self.encoder(rows, training=training)
        starts = start_positions or {}
        found = {
            key: _answer(head, output, rows, training, starts.get(key))
            for key, head in self.head.heads.items()
        }
        return MultitaskOutput(found, output)

    def part(self, name: str) -> TaskNetwork:
        """Makes a separate network with the encoder's weights and one head's.

        Args:
          name: name of the head.
        """
        network = task_network(self.config, self.head_config.heads[name])
        network.build()
        values = {
            v.path.replace(f"/task/{name}/", "/task/"): v for v in self.weights
        }
        for variable in (
            *network.encoder.trainable_variables,
            *network.head.trainable_variables,
        ):
            variable.assign(values[variable.path])
        return network


def task_network(
    config: ModelConfig,
    head_config: (
        TaskHeadConfig | DecoderConfig | SentenceHeadConfig | MultiHeadConfig
    ),
) -> TaskNetwork:
    """Makes the unbuilt network for a kind of head.

    Args:
      config: shape of the encoder.
      head_config: config of the head, of a decoder, or of several heads.

    Raises:
      UserError: several heads include a decoder, or a head for sentences.
    """
    if isinstance(head_config, SentenceHeadConfig):
        return SentenceScorer(config, head_config)
    if isinstance(head_config, DecoderConfig):
        return Seq2Seq(config, head_config)
    if isinstance(head_config, MultiHeadConfig):
        for name, head in head_config.heads.items():
            if not isinstance(head, TaskHeadConfig):
                raise UserError(
                    f"task '{name}': a model that writes texts or chooses "
                    "sentences is trained alone, not with other tasks"
                )
        return MultitaskNetwork(config, head_config)
    return NETWORKS[head_config.kind](config, head_config)


def layer_rates(decay: float, num_layers: int) -> Callable[[str], float]:
    """Returns learning rate multipliers of layer-wise decay.

    The head has the whole learning rate, the top block `decay` squared of it,
    each block below one factor more, and the embeddings and their projection
    like a block below the lowest. (The factors are the paper's, the exponents
    the released code's, which skips the first power.)

    Args:
      decay: factor between neighbouring layers; 0.8 for small and base, 0.9 for
        large; 1 gives every layer the same learning rate.
      num_layers: blocks of the encoder.

    Returns:
      Variable path -> share, for the optimizer's `learning_rate_multipliers`.
    """

    def share(path: str) -> float:
        parts = path.split("/")
        if "task" in parts:
            return 1.0
        for part in parts:
            name, _, index = part.rpartition("_")
            if name == "layer" and index.isdecimal():
                return decay ** (num_layers + 1 - int(index))
        return decay ** (num_layers + 2)

    return share
