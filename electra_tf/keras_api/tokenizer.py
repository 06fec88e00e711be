"""Provides the tokenizer as a Keras layer: `electra_tf.Tokenizer`."""

import numbers
import os
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import keras
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.hub import loading
from electra_tf.text import detokenize, surrogates
from electra_tf.text import tokenizer as wordpiece
from electra_tf.text.tokenizer import Offsets, Texts
from electra_tf.text.truncation import Side, cut
from electra_tf.text.vocab import Vocab

Output = Literal["padded", "ragged", "ids"]

_OUTPUTS = ("padded", "ragged", "ids")
_SIDES = ("right", "left")


@keras.saving.register_keras_serializable(package="electra_tf")
class Tokenizer(keras.layers.Layer):
    """Turns texts, or pairs of texts, into inputs of the networks.

        import keras
        from electra_tf import Encoder, Tokenizer

        encoder = Encoder.from_pretrained("model")
        tokenizer = Tokenizer(encoder.tokenizer, sequence_length=32)
        tokenizer(["a good cat", "the dog"])["input_ids"]  # int32 [2, 32]
        texts = keras.Input(shape=(), dtype="string")
        keras.Model(texts, encoder(tokenizer(texts)).first_output)

    It works on lists, in functional models and in `tf.data.Dataset.map`;
    `Tokenizer("vocab.txt")` and `Tokenizer.from_pretrained("model")` make it
    too. The vocabulary and the settings are part of its config, so a `.keras`
    file of a model that contains it needs no other file. The ids are those of
    the original tokenizer.

    Args:
      vocab: path of a vocabulary with one token per line; its tokens; a
        `Vocab`; or the `tokenizer` of a network from `from_pretrained`, whose
        casing is kept.
      lower_case: whether to lower-case the text; None means True, or the same
        as the tokenizer given as `vocab`.
      strip_accents: whether to strip accents; None follows `lower_case`.
      sequence_length: tokens in a row, special tokens included; None pads to
        the longest row of a batch. An encoder reads no more than its
        `config.max_positions`: in a graph a longer row fails with TensorFlow's
        "Incompatible shapes".
      truncation_side: the side where long rows lose tokens, "right" or "left".
      pad_to_multiple_of: pads rows to a multiple of this number.
      special_tokens: whether "[MASK]" and the other special tokens in texts are
        read as these tokens; if not, they are plain text.
      output: result of calling the layer. "padded": a dict of int32 tensors
        [batch, length], `input_ids`, `input_mask` and `segment_ids`; "ragged":
        the same, as ragged rows; "ids": ragged token ids without [CLS] and
        [SEP], of single texts.
      added_tokens: for a `vocab` given as a list, the tokens that stay whole,
        and whether each is searched in normalised text.
      name: name of the layer.
      **kwargs: `keras.layers.Layer`'s `dtype` and `trainable`.

    Raises:
      UserError: the vocabulary is missing or damaged, or a setting is not
        valid.
    """

    def __init__(
        self,
        vocab: "AnyTokenizer | AnyPath | Vocab | Sequence[str]",
        lower_case: bool | None = None,
        strip_accents: bool | None = None,
        *,
        sequence_length: int | None = None,
        truncation_side: Side = "right",
        pad_to_multiple_of: int | None = None,
        special_tokens: bool = False,
        output: Output = "padded",
        added_tokens: Sequence[tuple[str, bool]] = (),
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        if isinstance(vocab, Tokenizer):
            vocab = vocab.graph_tokenizer
        if isinstance(vocab, wordpiece.Tokenizer):
            if lower_case is None:
                lower_case = vocab.lower_case
                if strip_accents is None:
                    strip_accents = vocab.strip_accents
            vocab = vocab.vocab
        elif not isinstance(vocab, str | os.PathLike | Vocab):
            given = {"vocab": vocab, "added_tokens": added_tokens}
            vocab = Vocab.from_config(given)
        self.graph_tokenizer: wordpiece.Tokenizer = wordpiece.Tokenizer(
            vocab, True if lower_case is None else lower_case, strip_accents
        )
        for key, value, known in (
            ("truncation_side", truncation_side, _SIDES),
            ("output", output, _OUTPUTS),
        ):
            if value not in known:
                raise UserError(
                    f"{key}: {value!r} is none of {', '.join(known)}"
                )
        number: Any
        for key, number, least in (
            ("sequence_length", sequence_length, 3),
            ("pad_to_multiple_of", pad_to_multiple_of, 1),
        ):
            whole = isinstance(number, numbers.Integral)
            if number is not None and not (whole and number >= least):
                raise UserError(
                    f"{key}: {number!r}; expected at least {least}, or None"
                )
        if (sequence_length or 0) % (pad_to_multiple_of or 1):
            raise UserError(
                f"sequence_length: {sequence_length} is not a multiple of "
                f"pad_to_multiple_of, {pad_to_multiple_of}"
            )
        self.sequence_length = sequence_length
        self.truncation_side: Side = truncation_side
        self.pad_to_multiple_of = pad_to_multiple_of
        self.special_tokens = special_tokens
        self.output_kind: Output = output
        self.supports_jit = False
        self.built = True

    @classmethod
    def from_pretrained(cls, path: AnyPath, **settings: Any) -> "Tokenizer":
        """Makes the layer with a checkpoint's vocabulary and casing.

        Args:
          path: what `Encoder.from_pretrained` takes.
          **settings: arguments of the constructor, as `sequence_length=128`.

        Raises:
          UserError: the checkpoint is missing, or has no vocabulary.
        """
        checkpoint = loading.open_checkpoint(path, None, None)
        if checkpoint.vocab is None:
            raise UserError(f"{path}: has no vocabulary")
        casing: dict[str, Any] = {
            "lower_case": checkpoint.config.lower_case,
            "strip_accents": checkpoint.config.strip_accents,
        }
        return cls(checkpoint.vocab, **{**casing, **settings})

    @property
    def vocab(self) -> Vocab:
        """The vocabulary."""
        return self.graph_tokenizer.vocab

    @property
    def lower_case(self) -> bool:
        """Whether text is lower-cased."""
        return self.graph_tokenizer.lower_case

    @property
    def strip_accents(self) -> bool:
        """Whether accents are stripped."""
        return self.graph_tokenizer.strip_accents

    def __call__(self, texts: Any, pair: Any = None, **kwargs: Any) -> Any:
        """Tokenizes a batch; see `call`."""
        if isinstance(texts, tuple) and len(texts) == 2 and pair is None:
            texts, pair = texts
        texts = _strings(texts)
        if pair is None:
            return super().__call__(texts, **kwargs)
        pair = _strings(pair)
        counts = [_count(texts), _count(pair)]
        if None not in counts and counts[0] != counts[1]:
            raise UserError(
                f"pair: {counts[1]} second texts for {counts[0]} first ones; "
                "expected the same number of both"
            )
        return super().__call__(texts, pair, **kwargs)

    def call(self, texts: tf.Tensor, pair: tf.Tensor | None = None) -> Any:
        """Tokenizes a batch.

        Args:
          texts: string tensor [batch] (or, calling the layer, a list or array
            of str), or a tuple of two: the texts and their pairs.
          pair: the second texts, where `texts` has only the first.

        Returns:
          The result in the form that the layer's `output` names.
        """
        texts = flat(texts)
        pair = None if pair is None else flat(pair)
        if self.output_kind == "ids":
            if pair is not None:
                raise UserError('output="ids" is of single texts, not pairs')
            ids = self.graph_tokenizer(texts, self.special_tokens)
            if self.sequence_length is None:
                return ids
            counts = tf.minimum(ids.row_lengths(), self.sequence_length)
            return cut(ids, counts, self.truncation_side)
        rows = self.graph_tokenizer.rows(
            texts,
            pair,
            self.sequence_length,
            truncation_side=self.truncation_side,
            special_tokens=self.special_tokens,
        )
        if self.output_kind == "ragged":
            return rows
        return self.graph_tokenizer.padded(
            rows, self.sequence_length, self.pad_to_multiple_of
        )

    def compute_output_spec(self, texts: Any, pair: Any = None) -> Any:
        """Returns shapes and types without tokenizing."""
        length = self.sequence_length if self.output_kind == "padded" else None
        ragged = self.output_kind != "padded"
        if self.output_kind == "ids":
            return _spec(texts.shape[0], None, "ids", ragged)
        return {
            name: _spec(texts.shape[0], length, name, ragged)
            for name in ("input_ids", "input_mask", "segment_ids")
        }

    def tokenize(self, texts: Texts) -> tf.RaggedTensor:
        """Tokenizes texts, without adding special tokens.

        Args:
          texts: list of str, or string tensor [batch].

        Returns:
          int32 RaggedTensor [batch, (tokens)].
        """
        return self.graph_tokenizer(texts, self.special_tokens)

    def tokenize_with_offsets(self, texts: Texts) -> Offsets:
        """Tokenizes texts and finds the span of each token in them.

        Args:
          texts: list of str, or string tensor [batch].

        Returns:
          `Offsets`, each a RaggedTensor [batch, (tokens)].
        """
        return self.graph_tokenizer.tokenize_with_offsets(
            texts, self.special_tokens
        )

    def encode(
        self,
        text: str | Texts,
        pair: str | Texts | None = None,
        max_length: int | None = None,
        *,
        return_offsets: bool = False,
    ) -> dict[str, tf.Tensor]:
        """Makes padded model inputs from texts or pairs.

        Args:
          text: a str, which is a batch of one, or a list or string tensor
            [batch].
          pair: the second text, of the same kind.
          max_length: tokens in a row; None means `sequence_length`.
          return_offsets: whether to return the span of each token too.

        Returns:
          int32 `input_ids`, `input_mask` and `segment_ids` [batch, length];
          with `return_offsets` also `offsets` [batch, length, 2]: where each
          token begins and ends in its own text, in characters; 0 and 0 for
          the special tokens that were added, and for padding.

        Raises:
          UserError: `max_length` leaves no room for the special tokens.
        """
        return self.graph_tokenizer.encode(
            _batch(text),
            None if pair is None else _batch(pair),
            self.sequence_length if max_length is None else max_length,
            truncation_side=self.truncation_side,
            pad_to_multiple_of=self.pad_to_multiple_of,
            special_tokens=self.special_tokens,
            return_offsets=return_offsets,
        )

    def decode(self, ids: Any, skip_specials: bool = True) -> str | list[str]:
        """Makes readable text from token ids; not a graph operation.

        Args:
          ids: token ids [tokens] or [batch, tokens], as list or tensor.
          skip_specials: whether to leave [PAD], [CLS], [SEP] and [MASK] out.

        Returns:
          A str, or a list of str for a batch.

        Raises:
          UserError: an id is outside the vocabulary.
        """
        return self.graph_tokenizer.decode(ids, skip_specials)

    def detokenize(self, ids: Any) -> Any:
        """Makes readable text from token ids, inside `tf.data` and graphs too.

        Args:
          ids: token ids [tokens] or [batch, tokens], as list or tensor.

        Returns:
          A str or a list of str; in a graph, a string tensor [batch].
        """
        if tf.executing_eagerly():
            return self.decode(ids)
        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        return detokenize.Detokenizer(self.vocab)(ids)

    def vocabulary_size(self) -> int:
        """Counts the tokens of the vocabulary."""
        return len(self.vocab)

    def get_vocabulary(self) -> list[str]:
        """Lists the tokens in the order of their ids."""
        return self.graph_tokenizer.get_vocabulary()

    def id_to_token(self, id: int) -> str:
        """Finds the token of an id.

        Raises:
          UserError: the id is outside the vocabulary.
        """
        return self.graph_tokenizer.id_to_token(id)

    def token_to_id(self, token: str) -> int:
        """Finds the id of a token.

        Raises:
          UserError: the vocabulary has no such token.
        """
        return self.graph_tokenizer.token_to_id(token)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, vocabulary included."""
        return {
            **super().get_config(),
            **self.vocab.to_config(),
            "lower_case": self.lower_case,
            "strip_accents": self.strip_accents,
            "sequence_length": self.sequence_length,
            "truncation_side": self.truncation_side,
            "pad_to_multiple_of": self.pad_to_multiple_of,
            "special_tokens": self.special_tokens,
            "output": self.output_kind,
        }

    def __reduce__(self) -> tuple:
        """Copies and pickles the layer by its config."""
        return type(self).from_config, (self.get_config(),)

    def __repr__(self) -> str:
        description = f"{self.vocabulary_size()} tokens"
        if self.sequence_length is not None:
            description += f", sequence_length={self.sequence_length}"
        if not self.lower_case:
            description += ", cased"
        return f"<electra_tf.Tokenizer {self.name}: {description}>"


AnyTokenizer: TypeAlias = Tokenizer | wordpiece.Tokenizer


def _strings(texts: Any) -> Any:
    """Converts Python's strings to tensors; tensors are unchanged."""
    if isinstance(texts, keras.KerasTensor) or tf.is_tensor(texts):
        _check_strings(texts)
        return texts
    try:
        return tf.convert_to_tensor(_batch(texts), tf.string)
    except (TypeError, ValueError) as error:
        raise UserError(
            "the tokenizer takes texts; expected str, a list or array of str, "
            f"or a string tensor, {surrogates.got(texts)}"
        ) from error


def _count(texts: Any) -> int | None:
    """Returns the static number of texts in a tensor, or None."""
    shape = texts.shape
    if isinstance(shape, tf.TensorShape) and shape.rank is None:
        return None
    return shape[0] if len(shape) else 1


def _batch(texts: Any) -> Any:
    """Returns texts as a batch; a single text is a batch of one."""
    if isinstance(texts, str | bytes):
        return [texts]
    if tf.is_tensor(texts) and texts.shape.rank == 0:
        return texts[tf.newaxis]
    return texts


def _check_strings(texts: Any) -> None:
    if texts.dtype != tf.string:  # a KerasTensor's dtype is a name
        raise UserError(
            f"the tokenizer takes texts; expected strings, got {texts.dtype}"
        )


def flat(texts: tf.Tensor) -> tf.Tensor:
    """Reshapes a string tensor [batch], [batch, 1] or [] to [batch].

    Raises:
      UserError: the tensor does not have strings.
    """
    _check_strings(texts)
    if texts.shape.rank == 0 or texts.shape[1:] == (1,):
        return tf.reshape(texts, [-1])
    return texts


def _spec(
    batch: int | None, length: int | None, name: str, ragged: bool
) -> keras.KerasTensor:
    return keras.KerasTensor(
        (batch, length), dtype="int32", name=name, ragged=ragged
    )
