"""An encoder with a task head: what fine-tuning trains and hands out."""

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
    """Of `SequenceClassifier.call` and `TokenClassifier.call`."""

    logits: tf.Tensor  # [B, labels], or [B, L, labels]; float32
    encoder: EncoderOutput


class QuestionAnswererOutput(NamedTuple):
    """Of `QuestionAnswerer.call`."""

    spans: task_heads.SpanOutput
    encoder: EncoderOutput


class Seq2SeqOutput(NamedTuple):
    """Of `Seq2Seq.call`."""

    encoder: EncoderOutput
    memory: Memory  # what the decoder reads of the sources
    logits: tf.Tensor | None  # [B, T, V] float32; None without a target


class SentenceOutput(NamedTuple):
    """Of `SentenceScorer.call`."""

    logits: tf.Tensor  # [B, L] float32; they are of sentences at their [CLS]
    encoder: EncoderOutput


class MultitaskOutput(NamedTuple):
    """Of `MultitaskNetwork.call`."""

    heads: dict[str, ClassifierOutput | QuestionAnswererOutput]
    encoder: EncoderOutput


class TaskNetwork(OnEncoder):
    """The encoder, the head and the dropout keys of both.

    Variables are named like the discriminator's, whose encoder is the one
    that is fine-tuned: `discriminator/encoder/...`, `discriminator/task/...`.

    Args:
      config: shape of the encoder.
      head_config: of the head.
      embeddings: tables shared with another encoder; its own where None.
      name: the scope of its variables.
      encoder: another network's, to share; one of its own where None.
      **options: Keras' own, as dtype and trainable.
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
    """Classes, a number or a rank for a text or a pair; see `TaskNetwork`."""

    _kinds = ("sequence",)

    def call(
        self,
        rows: Rows,
        training: bool = False,
        return_attentions: bool = False,
    ) -> ClassifierOutput:
        """Returns [B, L] int32 -> [B, labels] logits; called as every
        `Network`.
        """
        rows = rows.keyed(self.dropout_seed, training)
        output = self.read(rows, training, return_attentions)
        return _answer(self.head, output, rows, training)


@registered
class TokenClassifier(TaskNetwork):
    """A class for each token: tagging; see `TaskNetwork`."""

    _kinds = ("token",)

    def call(
        self,
        rows: Rows,
        training: bool = False,
        return_attentions: bool = False,
    ) -> ClassifierOutput:
        """Returns [B, L] int32 -> [B, L, labels] logits; called as every
        `Network`.
        """
        rows = rows.keyed(self.dropout_seed, training)
        output = self.read(rows, training, return_attentions)
        return _answer(self.head, output, rows, training)


@registered
class QuestionAnswerer(TaskNetwork):
    """Answers that are spans of the second segment; see `TaskNetwork`."""

    _kinds = ("span", "joint_span")

    def call(
        self,
        rows: Rows,
        start_positions: tf.Tensor | None = None,
        training: bool = False,
        return_attentions: bool = False,
    ) -> QuestionAnswererOutput:
        """Predicts spans; called as every `Network`.

        Args:
          rows: segment 0 is the question and 1 the text.
          start_positions: [B] int32 true starts, for the loss of a joint
            head; others ignore them.
          training: whether dropout is on.
          return_attentions: whether the encoder gives its attention.
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
    """Returns what a head makes of the encoder's output of keyed rows."""
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
    """An ELECTRA encoder and a decoder with cross-attention.

    Variables of the encoder are named like the discriminator's, those of the
    decoder like a task head's: `discriminator/task/...`.

    Args:
      config: shape of the encoder.
      head_config: of the decoder, a `DecoderConfig`.
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
          target_ids: [B, T] int32, from [CLS] on; each position's logits are
            of the token that follows.
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
        """Begins the decoder with the encoder's weights, if it is to be."""
        if self.head_config.from_encoder:
            self.head.start_from(self.encoder)


@registered
class SentenceScorer(TaskNetwork):
    """The encoder with a `SentenceHead`; scores of a text's sentences.

    Variables are named like those of the other fine-tuned networks:
    `discriminator/encoder/...`, `discriminator/task/...`.

    Args:
      config: shape of the encoder.
      head_config: of the head, a `SentenceHeadConfig`.
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
        """Scores all tokens; those of the [CLS] are the sentences'.

        Args:
          rows: the segment of a token is the number of its sentence in the
            whole text; the encoder is given 0 and 1 in turn.
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
    """Heads by name, below one scope: `task/NAME/...`."""

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
    """One encoder with several heads; every head sees every row.

    Variables are named as those of the networks with one head, but for the
    heads': `discriminator/task/NAME/...`.

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
        """Returns the outputs of all heads; see `QuestionAnswerer.call`.

        Args:
          rows: what is read.
          start_positions: [B] int32 for each joint head that is given any.
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
        """Returns a network of its own with the encoder's weights and a head's.

        Args:
          name: the head's.
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
    """Returns the network, not yet built, that a head's kind asks for.

    Args:
      config: shape of the encoder.
      head_config: of the head, of a decoder, or of several heads.

    Raises:
      UserError: a decoder, or a head for sentences, among several heads.
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
    """Returns shares of the learning rate that fall with the distance to the
    head.

    The head has the whole rate, the top block `decay` squared of it, each
    block below once more, the embeddings and their projection like a block
    below the lowest. (The factors are the paper's, the exponents the released
    code's, which skips the first power.)

    Args:
      decay: factor between neighbouring layers; 0.8 for small and base, 0.9
        for large; 1 gives every layer the same rate.
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
