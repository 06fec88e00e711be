"""An encoder with a task head: what fine-tuning trains and hands out."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import encoder as encoders
from electra_tf.models import layers, randomness, task_heads
from electra_tf.models.config import (
    DecoderConfig,
    ModelConfig,
    MultiHeadConfig,
    SentenceHeadConfig,
    TaskHeadConfig,
)
from electra_tf.models.sentence_scorer import SentenceScorer
from electra_tf.models.seq2seq import Seq2Seq


class ClassifierOutput(NamedTuple):
    """Of `SequenceClassifier.call` and `TokenClassifier.call`."""

    logits: tf.Tensor  # [B, labels], or [B, L, labels]; float32
    encoder: encoders.EncoderOutput


class QuestionAnswererOutput(NamedTuple):
    """Of `QuestionAnswerer.call`."""

    spans: task_heads.SpanOutput
    encoder: encoders.EncoderOutput


class _TaskNetwork(keras.Model):
    """The encoder, the head and the dropout keys of both.

    Variables are named like the discriminator's, whose encoder is the one
    that is fine-tuned: `discriminator/encoder/...`, `discriminator/task/...`.

    Args:
      config: shape of the encoder.
      head_config: of the head.
      embeddings: tables shared with another encoder; its own where None.
      name: the scope of its variables.
    """

    _kinds: tuple[str, ...] = ()

    def __init__(
        self,
        config: ModelConfig,
        head_config: TaskHeadConfig,
        embeddings: layers.Embeddings | None = None,
        name: str = "discriminator",
    ):
        super().__init__(name=name)
        if head_config.kind not in self._kinds:
            raise UserError(
                f"task.kind: {type(self).__name__} needs "
                f"{' or '.join(self._kinds)}, got {head_config.kind}"
            )
        self.config = config
        self.head_config = head_config
        self.encoder = encoders.ElectraEncoder(config, embeddings)
        self.head = _HEADS[head_config.kind](head_config)

    def build(self, input_shape: object = None) -> None:
        """Creates all variables; no input is needed for their shapes."""
        self.encoder.build()
        self.head.build((None, None, self.config.hidden_size))
        self.dropout_seed = keras.random.SeedGenerator(name="dropout_seed")
        self.built = True


def _encode(
    network: "_TaskNetwork | MultitaskNetwork",
    input_ids: tf.Tensor,
    input_mask: tf.Tensor | None,
    segment_ids: tf.Tensor | None,
    training: bool,
    keys: tf.Tensor | None,
) -> tuple[encoders.EncoderOutput, tf.Tensor | None]:
    """The encoder's output, and the keys of the head's dropout."""
    if not training:
        keys = None
    elif keys is None:
        keys = randomness.fresh_keys(
            network.dropout_seed, tf.shape(input_ids)[0]
        )
    output = network.encoder(
        input_ids, input_mask, segment_ids, training=training, keys=keys
    )
    return output, keys


class SequenceClassifier(_TaskNetwork):
    """Classes, a number or a rank for a text or a pair; see `_TaskNetwork`.

    Args:
      config: shape of the encoder.
      head_config: of kind "sequence".
      embeddings: tables shared with another encoder; its own where None.
      name: the scope of its variables.
    """

    _kinds = ("sequence",)

    def call(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> ClassifierOutput:
        """[B, L] int32 -> [B, labels] logits; see `ElectraEncoder.call`."""
        output, keys = _encode(
            self, input_ids, input_mask, segment_ids, training, keys
        )
        return _answer(self.head, output, training=training, keys=keys)


class TokenClassifier(_TaskNetwork):
    """A class for each token: tagging.

    Args:
      config: shape of the encoder.
      head_config: of kind "token".
      embeddings: tables shared with another encoder; its own where None.
      name: the scope of its variables.
    """

    _kinds = ("token",)

    def call(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> ClassifierOutput:
        """[B, L] int32 -> [B, L, labels] logits; see `ElectraEncoder.call`."""
        output, keys = _encode(
            self, input_ids, input_mask, segment_ids, training, keys
        )
        return _answer(self.head, output, training=training, keys=keys)


class QuestionAnswerer(_TaskNetwork):
    """Answers that are spans of the second segment.

    Args:
      config: shape of the encoder.
      head_config: of kind "span" or "joint_span".
      embeddings: tables shared with another encoder; its own where None.
      name: the scope of its variables.
    """

    _kinds = ("span", "joint_span")

    def call(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        start_positions: tf.Tensor | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> QuestionAnswererOutput:
        """Predicts spans; the other arguments as `ElectraEncoder.call`'s.

        Args:
          input_ids: [B, L] int32.
          input_mask: [B, L] int32.
          segment_ids: [B, L] int32, 0 for the question and 1 for the text.
          start_positions: [B] int32 true starts, for the loss of a joint
            head; others ignore them.
          training: whether dropout is on.
          keys: [B] uint32 dropout keys.
        """
        if input_mask is None:
            input_mask = tf.ones_like(input_ids)
        if segment_ids is None:
            segment_ids = tf.zeros_like(input_ids)
        output, keys = _encode(
            self, input_ids, input_mask, segment_ids, training, keys
        )
        return _answer(
            self.head, output, input_mask, segment_ids, start_positions,
            training=training, keys=keys,
        )  # fmt: skip


_HEADS = {
    "sequence": task_heads.SequenceHead,
    "token": task_heads.TokenHead,
    "span": task_heads.SpanHead,
    "joint_span": task_heads.JointSpanHead,
}
NETWORKS: dict[str, type[_TaskNetwork]] = {
    kind: network
    for network in (SequenceClassifier, TokenClassifier, QuestionAnswerer)
    for kind in network._kinds
}


def _answer(
    head: keras.layers.Layer,
    output: encoders.EncoderOutput,
    input_mask: tf.Tensor | None = None,
    segment_ids: tf.Tensor | None = None,
    start_positions: tf.Tensor | None = None,
    *,
    training: bool,
    keys: tf.Tensor | None,
) -> ClassifierOutput | QuestionAnswererOutput:
    """What a head makes of the encoder's output; the mask is for spans."""
    kind, hidden = head.config.kind, output.sequence_output
    if kind in ("sequence", "token"):
        read = output.first_output if kind == "sequence" else hidden
        logits = head(read, training=training, keys=keys)
        return ClassifierOutput(logits, output)
    inputs = [hidden, input_mask, segment_ids]
    if kind == "joint_span":
        inputs.append(start_positions)
    spans = head(*inputs, training=training, keys=keys)
    return QuestionAnswererOutput(spans, output)


class MultitaskOutput(NamedTuple):
    """Of `MultitaskNetwork.call`."""

    heads: dict[str, ClassifierOutput | QuestionAnswererOutput]
    encoder: encoders.EncoderOutput


class _Heads(keras.layers.Layer):
    """Heads by name, below one scope: `task/NAME/...`."""

    def __init__(self, config: MultiHeadConfig, name: str = "task"):
        super().__init__(name=name)
        self.heads = {
            key: _HEADS[head.kind](head, name=key)
            for key, head in config.heads.items()
        }

    def build(self, input_shape: tuple) -> None:
        """Creates the variables of all heads."""
        for head in self.heads.values():
            head.build(input_shape)


class MultitaskNetwork(keras.Model):
    """One encoder with several heads; every head sees every row.

    Variables are named as those of the networks with one head, but for the
    heads': `discriminator/task/NAME/...`.

    Args:
      config: shape of the encoder.
      head_config: the heads.
      name: the scope of its variables.
    """

    def __init__(
        self,
        config: ModelConfig,
        head_config: MultiHeadConfig,
        name: str = "discriminator",
    ):
        super().__init__(name=name)
        self.config = config
        self.head_config = head_config
        self.encoder = encoders.ElectraEncoder(config)
        self.head = _Heads(head_config)

    def build(self, input_shape: object = None) -> None:
        """Creates all variables; no input is needed for their shapes."""
        self.encoder.build()
        self.head.build((None, None, self.config.hidden_size))
        self.dropout_seed = keras.random.SeedGenerator(name="dropout_seed")
        self.built = True

    def call(
        self,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        start_positions: Mapping[str, tf.Tensor] | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> MultitaskOutput:
        """The outputs of all heads; see `QuestionAnswerer.call`.

        Args:
          input_ids: [B, L] int32.
          input_mask: [B, L] int32.
          segment_ids: [B, L] int32.
          start_positions: [B] int32 for each joint head that is given any.
          training: whether dropout is on.
          keys: [B] uint32 dropout keys.
        """
        if input_mask is None:
            input_mask = tf.ones_like(input_ids)
        if segment_ids is None:
            segment_ids = tf.zeros_like(input_ids)
        starts = start_positions or {}
        output, keys = _encode(
            self, input_ids, input_mask, segment_ids, training, keys
        )
        found = {
            key: _answer(
                head, output, input_mask, segment_ids, starts.get(key),
                training=training, keys=keys,
            )
            for key, head in self.head.heads.items()
        }  # fmt: skip
        return MultitaskOutput(found, output)

    def part(self, name: str) -> _TaskNetwork:
        """A network of its own with the encoder's weights and a head's.

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
) -> _TaskNetwork | Seq2Seq | SentenceScorer | MultitaskNetwork:
    """The network, not yet built, that a head's kind asks for.

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
    """Shares of the learning rate that fall with the distance to the head.

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
