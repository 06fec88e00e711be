"""Provides the heads of fine-tuning, one for each kind of task.

Layer names are the names on disk: `task/output` is every head's last layer,
except the joint span head's, which has a layer for each thing it predicts.

Shapes: B batch, L sequence length, H hidden size, K beam, J joint layer.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from electra_tf.models import kernels, layers, randomness
from electra_tf.models.config import SentenceHeadConfig, TaskHeadConfig
from electra_tf.models.saved import Saved
from electra_tf.registration import registered

# Dropout sites of the head; the encoder's are small numbers.
_SITE = 1 << 16
# Taken from the logits of positions where no answer can be, as the original.
OUTSIDE = -1000.0
_LONGEST_WAVE = 10_000.0  # of the places, as Vaswani et al. 2017 have it


def _dense(of: keras.layers.Layer, units: int, name: str) -> layers.Dense:
    """Returns a part of the head `of`; Glorot, as the original's task heads."""
    return layers.Dense(
        units,
        keras.initializers.GlorotUniform(),
        name=name,
        dtype=of.dtype_policy,
        trainable=of.trainable,
    )


def _drop(
    x: tf.Tensor, keys: tf.Tensor | None, rate: float, site: int = 0
) -> tf.Tensor:
    if keys is None:
        return x
    return randomness.dropout(x, randomness.salted(keys, _SITE + site), rate)


def _gelu(dense: layers.Dense, x: tf.Tensor, training: bool) -> tf.Tensor:
    bias = tf.cast(dense.bias, x.dtype)
    return kernels.bias_gelu(dense.product(x), bias, "erf", training)


@registered
class SequenceHead(Saved):
    """Scores the whole input, from the first token's hidden state."""

    def __init__(
        self, config: TaskHeadConfig, name: str = "task", **options: Any
    ):
        super().__init__(name=name, **options)
        self.config = config
        # As wide as the encoder, so made in build().
        self.dense: layers.Dense | None = None
        self.output_dense = _dense(self, config.num_labels, "output")

    def build(self, input_shape: tuple) -> None:
        """Creates dense [H, H] if there is one, and output [H, labels]."""
        if self.config.hidden_layer:
            self.dense = _dense(self, input_shape[-1], "dense")
            self.dense.build(input_shape)
        self.output_dense.build(input_shape)

    def call(
        self,
        hidden: tf.Tensor,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes logits [B, labels] float32 from states [B, H].

        Args:
          hidden: the first token's last hidden state.
          training: whether gradients follow.
          keys: [B] uint32 dropout keys in training; None for no dropout.
        """
        pooler = self.config.hidden_activation == "tanh"
        x = hidden if pooler else _drop(hidden, keys, self.config.dropout)
        if self.dense is not None:
            dense = self.dense
            x = tf.tanh(dense(x)) if pooler else _gelu(dense, x, training)
            x = _drop(x, keys, self.config.dropout, site=1)
        return tf.cast(self.output_dense(x), tf.float32)


@registered
class TokenHead(Saved):
    """Scores each token."""

    def __init__(
        self, config: TaskHeadConfig, name: str = "task", **options: Any
    ):
        super().__init__(name=name, **options)
        self.config = config
        self.output_dense = _dense(self, config.num_labels, "output")

    def build(self, input_shape: tuple) -> None:
        """Creates output [H, labels]."""
        self.output_dense.build(input_shape)

    def call(
        self,
        hidden: tf.Tensor,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes logits [B, L, labels] float32; see `SequenceHead.call`."""
        x = _drop(hidden, keys, self.config.dropout)
        return tf.cast(self.output_dense(x), tf.float32)


class SpanOutput(NamedTuple):
    """The output of span heads; only the joint head fills the beam.

    The joint head has end logits for the true start in training, where it is
    given; without it they are those for the best start.
    """

    start_logits: tf.Tensor  # [B, L] float32
    end_logits: tf.Tensor  # [B, L] float32
    impossible_logit: tf.Tensor | None = None  # [B]; above 0: no answer
    start_top_log_probs: tf.Tensor | None = None  # [B, K]
    start_top_index: tf.Tensor | None = None  # [B, K] int32
    end_top_log_probs: tf.Tensor | None = None  # [B, K, K], by start
    end_top_index: tf.Tensor | None = None  # [B, K, K] int32
    # [B, L], to be added to the logits of a head that has not added it.
    outside: tf.Tensor | None = None

    def inside(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns start and end logits, low where no answer can be, [B, L]."""
        if self.outside is None:
            return self.start_logits, self.end_logits
        return self.start_logits + self.outside, self.end_logits + self.outside


def _outside(input_mask: tf.Tensor, segment_ids: tf.Tensor) -> tf.Tensor:
    """Returns [B, L] float32:

    0 in the second segment and at the first token.
    """
    allowed = tf.cast(input_mask * segment_ids, tf.float32)
    first = tf.one_hot(0, tf.shape(input_mask)[1])[None, :]
    return (1.0 - tf.maximum(allowed, first)) * OUTSIDE


def _answerable_layers(
    of: keras.layers.Layer,
    config: TaskHeadConfig,
) -> tuple[layers.Dense | None, layers.Dense | None]:
    if not config.answerable:
        return None, None
    hidden = _dense(of, config.joint_size, "answerable_hidden")
    return hidden, _dense(of, 1, "answerable")


def _score(dense: layers.Dense, x: tf.Tensor) -> tf.Tensor:
    """Computes one score float32 from the last axis: [..., J] -> [...]."""
    return tf.cast(tf.squeeze(dense(x), axis=-1), tf.float32)


def _impossible(
    head: "SpanHead | JointSpanHead",
    hidden: tf.Tensor,
    start_logits: tf.Tensor,
    training: bool,
) -> tf.Tensor | None:
    """Computes answerability logits [B], from first token and expected
    start.
    """
    if head.answerable is None or head.answerable_hidden is None:
        return None
    weights = tf.cast(tf.nn.softmax(start_logits), hidden.dtype)
    start = tf.einsum("bl,blh->bh", weights, hidden)
    x = tf.concat([hidden[:, 0], start], axis=-1)
    x = _gelu(head.answerable_hidden, x, training)
    return _score(head.answerable, x)


@registered
class SpanHead(Saved):
    """Predicts an answer's start and end independently."""

    def __init__(
        self, config: TaskHeadConfig, name: str = "task", **options: Any
    ):
        super().__init__(name=name, **options)
        self.config = config
        self.output_dense = _dense(self, 2, "output")
        self.answerable_hidden, self.answerable = _answerable_layers(
            self, config
        )

    def build(self, input_shape: tuple) -> None:
        """Creates output [H, 2]: start, end; and those of answerability."""
        self.output_dense.build(input_shape)
        hidden, last = self.answerable_hidden, self.answerable
        if hidden is not None and last is not None:
            hidden.build((None, 2 * input_shape[-1]))
            last.build((None, self.config.joint_size))

    def call(
        self,
        hidden: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        segment_ids: tf.Tensor | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> SpanOutput:
        """Predicts spans; logits do not include `outside`.

        Args:
          hidden: [B, L, H].
          input_mask: [B, L] 1 for real tokens; None means all.
          segment_ids: [B, L] 1 for the text with the answer; None if every
            token may be an answer.
          training: whether gradients follow.
          keys: [B] uint32 dropout keys in training; None for no dropout.
        """
        hidden = _drop(hidden, keys, self.config.dropout)
        logits = tf.cast(self.output_dense(hidden), tf.float32)
        start, end = tf.unstack(logits, axis=-1)
        ones = tf.ones(tf.shape(hidden)[:2], tf.int32)
        outside = _outside(
            ones if input_mask is None else input_mask,
            ones if segment_ids is None else segment_ids,
        )
        impossible = _impossible(self, hidden, start + outside, training)
        return SpanOutput(start, end, impossible, outside=outside)


@registered
class JointSpanHead(Saved):
    """Predicts an answer's end given its start, as the original for SQuAD.

    Only tokens of the second segment can be part of an answer, and the first
    token, which means "no answer".
    """

    def __init__(
        self, config: TaskHeadConfig, name: str = "task", **options: Any
    ):
        super().__init__(name=name, **options)
        self.config = config
        self.start = _dense(self, 1, "start")
        self.end_hidden = _dense(self, config.joint_size, "end_hidden")
        self.end = _dense(self, 1, "end")
        self.answerable_hidden, self.answerable = _answerable_layers(
            self, config
        )

    def build(self, input_shape: tuple) -> None:
        """Creates start [H, 1], end_hidden [2H, J], end [J, 1] and so on."""
        wide, joint = 2 * input_shape[-1], self.config.joint_size
        self.start.build(input_shape)
        self.end_hidden.build((None, wide))
        self.end.build((None, joint))
        hidden, last = self.answerable_hidden, self.answerable
        if hidden is not None and last is not None:
            hidden.build((None, wide))
            last.build((None, joint))

    def call(
        self,
        hidden: tf.Tensor,
        input_mask: tf.Tensor,
        segment_ids: tf.Tensor,
        start_positions: tf.Tensor | None = None,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> SpanOutput:
        """Predicts spans.

        Args:
          hidden: [B, L, H].
          input_mask: [B, L] 1 for real tokens.
          segment_ids: [B, L] 1 for the text with the answer.
          start_positions: [B] int32, the true start, for end_logits; None
            searches the beam.
          training: whether gradients follow.
          keys: [B] uint32 dropout keys in training; None for no dropout.
        """
        hidden = _drop(hidden, keys, self.config.dropout)
        length = tf.shape(hidden)[1]
        outside = _outside(input_mask, segment_ids)  # [B, L]

        start_logits = _score(self.start, hidden) + outside
        beam = self.config.beam_size
        if beam > 1:  # there is at least one token
            beam = tf.minimum(beam, length)
        top_start, top_start_index = tf.nn.top_k(
            tf.nn.log_softmax(start_logits), beam
        )  # [B, K]
        if start_positions is not None:
            given = start_positions[:, None]
            logits = self._end_logits(hidden, given, outside, training)
            end_logits, top_end, top_end_index = logits[:, 0], None, None
        else:
            logits = self._end_logits(
                hidden, top_start_index, outside, training
            )  # [B, K, L]
            end_logits = logits[:, 0]
            top_end, top_end_index = tf.nn.top_k(
                tf.nn.log_softmax(logits), beam
            )  # [B, K, K]
        return SpanOutput(
            start_logits,
            end_logits,
            _impossible(self, hidden, start_logits, training),
            top_start,
            top_start_index,
            top_end,
            top_end_index,
        )

    def _end_logits(
        self,
        hidden: tf.Tensor,
        starts: tf.Tensor,
        outside: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        """Computes end logits [B, K, L] for starts [B, K]."""
        size = hidden.shape[-1]
        # The layer reads (start, this token): the product of each half is
        # computed once, rather than once for each pair.
        kernel = tf.cast(self.end_hidden.kernel, hidden.dtype)
        of_token = tf.einsum("blh,hj->blj", hidden, kernel[size:])
        of_start = tf.einsum(
            "bkh,hj->bkj",
            tf.gather(hidden, starts, batch_dims=1),
            kernel[:size],
        )
        bias = tf.cast(self.end_hidden.bias, hidden.dtype)

        def of_one(start: tf.Tensor) -> tf.Tensor:
            """Computes end logits [B, L] for one start of each row, [B, J]."""
            x = of_token + start[:, None]  # [B, L, J]
            return _score(self.end, kernels.bias_gelu(x, bias, "erf", training))

        if starts.shape[1] == 1:
            logits = of_one(of_start[:, 0])[:, None]
        else:
            # One after another, as [B, K, L, J] would soon take a gigabyte.
            logits = tf.map_fn(
                of_one,
                tf.transpose(of_start, [1, 0, 2]),
                fn_output_signature=tf.TensorSpec(None, tf.float32),
                parallel_iterations=1,
            )
            logits = tf.transpose(logits, [1, 0, 2])
        return logits + outside[:, None]


@registered
class SentenceHead(Saved):
    """Scores a sentence by its hidden states and its number in the text.

    It follows BertSum (Liu & Lapata 2019, "Text Summarization with Pretrained
    Encoders"): a [CLS] before each sentence, alternating segments, a score at
    each [CLS], and encodings of the sentences' positions in the text, here
    counted from the start of the text even where a window begins later. Besides
    the [CLS] the head reads the mean of the sentence's tokens: pre-training
    does not have a [CLS] inside a row, and it takes long to learn its
    attention.
    """

    def __init__(
        self, config: SentenceHeadConfig, name: str = "task", **options: Any
    ):
        super().__init__(name=name, **options)
        self.config = config
        # As wide as the encoder, so made in build().
        self.dense: layers.Dense | None = None
        self.output_dense = _dense(self, 1, "output")

    def build(self, input_shape: tuple) -> None:
        """Creates dense [2H, H] and output [H, 1]."""
        size = input_shape[-1]
        self.dense = _dense(self, size, "dense")
        self.dense.build((None, None, 2 * size))
        self.output_dense.build(input_shape)

    def call(
        self,
        hidden: tf.Tensor,
        input_mask: tf.Tensor,
        numbers: tf.Tensor,
        training: bool = False,
        keys: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes logits [B, L] float32 from states [B, L, H].

        Args:
          hidden: the last hidden states.
          input_mask: [B, L] int32, 1 for real tokens.
          numbers: [B, L] int32, number of a token's sentence.
          training: whether gradients follow.
          keys: [B] uint32 dropout keys in training; None for no dropout.
        """
        places = tf.cast(waves(numbers, hidden.shape[-1]), hidden.dtype)
        means = sentence_means(hidden, input_mask, numbers)
        x = tf.concat([hidden + places, means], axis=-1)  # [B, L, 2H]
        x = _drop(x, keys, self.config.dropout)
        assert self.dense is not None  # from build()
        x = _gelu(self.dense, x, training)
        x = _drop(x, keys, self.config.dropout, 1)
        return tf.cast(tf.squeeze(self.output_dense(x), axis=-1), tf.float32)


def sentence_means(
    hidden: tf.Tensor, input_mask: tf.Tensor, numbers: tf.Tensor
) -> tf.Tensor:
    """Computes the mean of each token's sentence, [B, L, H]; 0 for padding.

    Args:
      hidden: hidden states of tokens.
      input_mask: [B, L] int32, 1 for real tokens.
      numbers: [B, L] int32, numbers of consecutive sentences in a row.
    """
    shape, size = tf.shape(hidden), hidden.shape[-1]
    row = tf.range(shape[0])[:, tf.newaxis] * shape[1]
    at = tf.where(input_mask > 0, row + numbers - numbers[:, :1], -1)
    at = tf.reshape(at, [-1])
    flat = tf.reshape(hidden, [-1, size])
    sums = tf.math.unsorted_segment_sum(flat, at, shape[0] * shape[1])
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(flat[:, :1]), at, shape[0] * shape[1]
    )
    means = tf.gather(sums / tf.maximum(counts, 1), tf.maximum(at, 0))
    means = tf.where((at >= 0)[:, tf.newaxis], means, tf.zeros_like(means))
    return tf.reshape(means, shape)


def waves(numbers: tf.Tensor, size: int) -> tf.Tensor:
    """Computes sines and cosines of numbers: [...] -> [..., size] float32.

    They are defined for any number, so that a text may have more sentences than
    those of training.
    """
    half = (size + 1) // 2
    rates = _LONGEST_WAVE ** (-tf.range(half, dtype=tf.float32) / half)
    angles = tf.cast(numbers, tf.float32)[..., tf.newaxis] * rates
    both = tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)
    return both[..., :size]
