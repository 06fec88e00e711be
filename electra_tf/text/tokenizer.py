"""The one tokenizer: BERT's and ELECTRA's WordPiece as graph operations.

The data builder, the tasks and the exported models all use it. It gives the
ids of the original Python tokenizer; where the Unicode tables of TensorFlow
know a character that Python's did not, it follows TensorFlow's.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from electra_tf.errors import UserError
from electra_tf.text import detokenize, normalize
from electra_tf.text.added_tokens import Splitter
from electra_tf.text.vocab import Vocab, load_vocab

_BETWEEN_WORDS = re.compile(r"[\x00\s]")  # \s is Unicode's white space

Texts: TypeAlias = tf.Tensor | Sequence[str] | Sequence[bytes]


class Offsets(NamedTuple):
    """Tokens and where each stands in the original text.

    Each is a RaggedTensor [batch, (tokens)]; ends are exclusive. A span
    includes the accents that follow its last character and were stripped.
    A character that decomposes into several tokens is the span of each.

    Attributes:
      ids: int32, what calling the tokenizer gives.
      start_bytes: int64, in UTF-8 bytes of the original text.
      end_bytes: int64.
      start_chars: int64, in Unicode characters of the original text (each
        maximal run of bytes that is not UTF-8 counts as one).
      end_chars: int64.
    """

    ids: tf.RaggedTensor
    start_bytes: tf.RaggedTensor
    end_bytes: tf.RaggedTensor
    start_chars: tf.RaggedTensor
    end_chars: tf.RaggedTensor


class Tokenizer(tf.Module):
    """Text -> WordPiece ids, exact with the original, in graph operations.

    Words of more than 200 characters become [UNK]. Special tokens written in
    the text are text: "[MASK]" is three tokens. Tokens that were added to the
    vocabulary to stay whole (`Vocab.added`) do so.

    Attributes:
      vocab: the `Vocab`.
      lower_case: whether text is lower-cased.
      strip_accents: whether accents are stripped.
    """

    def __init__(
        self,
        vocab_file: str | Vocab,
        lower_case: bool = True,
        strip_accents: bool | None = None,
    ):
        """Loads the vocabulary and compiles it.

        Args:
          vocab_file: path of a vocabulary, one token a line, or a `Vocab`.
          lower_case: lower-case the text.
          strip_accents: drop accents; None follows `lower_case`.

        Raises:
          UserError: the vocabulary is missing or damaged; lines are named.
        """
        super().__init__(name="tokenizer")
        if isinstance(vocab_file, Vocab):
            self.vocab = vocab_file
        else:
            self.vocab = load_vocab(vocab_file)
        self.lower_case = lower_case
        if strip_accents is None:
            strip_accents = lower_case
        self.strip_accents = strip_accents
        try:
            model = tf_text.build_fast_wordpiece_model(
                _matchable(self.vocab),
                normalize.MAX_BYTES_PER_WORD,
                "##",  # the suffix indicator
                "[UNK]",
                False,  # text comes with spaces and punctuation
                False,  # no detokenizing by the operation
            )
        except RuntimeError as error:
            raise UserError(f"cannot use the vocabulary: {error}") from error
        # Outside any graph, so that every graph can capture it, and where the
        # operation runs: there is none for GPUs.
        with tf.init_scope(), tf.device("CPU:0"):
            model = tf.constant(np.frombuffer(model, np.uint8))
        self._wordpiece = tf_text.FastWordpieceTokenizer(
            token_out_type=tf.int32, model_buffer=model
        )
        self._as_written = self._splitter(normalized=False)
        self._normalised = self._splitter(normalized=True)

    def _splitter(self, normalized: bool) -> Splitter | None:
        """What finds the added tokens before, or after, normalisation."""
        found = [t.text for t in self.vocab.added if t.normalized == normalized]
        spelled = found
        if normalized and found:
            with tf.init_scope():
                texts = normalize.normalize(
                    tf.constant(found), self.lower_case, self.strip_accents
                )
                spelled = [text.decode() for text in texts.numpy()]
        ids = {
            text: self.vocab.ids[token]
            for text, token in zip(spelled, found)
            if text
        }
        return Splitter(ids) if ids else None

    def __call__(self, texts: Texts) -> tf.RaggedTensor:
        """Token ids, without specials.

        Args:
          texts: list of str, or string tensor [batch] in UTF-8 (bytes that
            are not are skipped).

        Returns:
          int32 RaggedTensor [batch, (tokens)].
        """
        texts = _as_batch(texts)
        if self._as_written is None:
            return self._ids(texts)
        pieces = self._as_written(texts)
        return pieces.whole(self._ids(pieces.texts), pieces.tokens)

    def _ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """The ids of texts in which no token stands just as written."""
        texts = normalize.normalize(texts, self.lower_case, self.strip_accents)
        if self._normalised is None:
            return self._wordpiece.tokenize(normalize.mask_long_words(texts))
        pieces = self._normalised(texts)
        found = self._wordpiece.tokenize(
            normalize.mask_long_words(pieces.texts)
        )
        return pieces.whole(found, pieces.tokens)

    def tokenize_with_offsets(self, texts: Texts) -> Offsets:
        """Token ids, and the span of each in the original text.

        Args:
          texts: list of str, or string tensor [batch] in UTF-8.

        Returns:
          `Offsets`, each a RaggedTensor [batch, (tokens)].
        """
        texts = _as_batch(texts)
        if self._as_written is None:
            return self._with_offsets(texts)
        pieces = self._as_written(texts)
        found = self._with_offsets(pieces.texts)
        size = tf.cast(tf.strings.length(pieces.spelled), tf.int64)
        # As they are counted where no token is: `tf.strings.length` counts
        # bytes that are no text in another way.
        characters = tf.strings.unicode_decode(
            pieces.spelled, "UTF-8"
        ).row_lengths()
        first = pieces.before(characters)
        ids, start_bytes, end_bytes, start_chars, end_chars = (
            pieces.whole(values, of_tokens)
            for values, of_tokens in (
                (found.ids, pieces.tokens),
                (_moved(found.start_bytes, pieces.starts), pieces.starts),
                (_moved(found.end_bytes, pieces.starts), pieces.starts + size),
                (_moved(found.start_chars, first), first),
                (_moved(found.end_chars, first), first + characters),
            )
        )
        return Offsets(ids, start_bytes, end_bytes, start_chars, end_chars)

    def _with_offsets(self, texts: tf.Tensor) -> Offsets:
        """The same, of texts in which no token stands just as written."""
        normalized, (ids, starts, ends) = self._words_with_offsets(texts)

        # Byte offsets in the normalised batch -> numbers of its characters.
        row_bytes = tf.cast(tf.strings.length(normalized), tf.int64)
        before_row = tf.cumsum(row_bytes, exclusive=True)
        lengths = tf.strings.unicode_decode_with_offsets(normalized, "UTF-8")[1]
        char_starts = lengths.flat_values + tf.gather(
            before_row, normalize.row_numbers(lengths)
        )
        token_row = tf.gather(before_row, normalize.row_numbers(ids))
        first = tf.searchsorted(
            char_starts, starts.flat_values + token_row, out_type=tf.int64
        )
        last = (
            tf.searchsorted(
                char_starts, ends.flat_values + token_row, out_type=tf.int64
            )
            - 1
        )

        # Numbers of normalised characters -> source characters -> offsets.
        source = self._source_map(texts)
        first = tf.gather(source.characters, first)
        last = tf.gather(source.characters, last)
        return Offsets(
            ids,
            ids.with_values(tf.gather(source.start_bytes, first)),
            ids.with_values(tf.gather(source.end_bytes, last)),
            ids.with_values(tf.gather(source.start_chars, first)),
            ids.with_values(tf.gather(source.end_chars, last)),
        )

    def encode(
        self,
        text: str | Texts,
        pair: str | Texts | None = None,
        max_length: int | None = None,
    ) -> dict[str, tf.Tensor]:
        """Model inputs: `[CLS] text [SEP]`, or `[CLS] text [SEP] pair [SEP]`.

        Too long a pair loses tokens at the end of its longer text, one by
        one, as in the original; a text alone is cut.

        Args:
          text: a str, or a list or string tensor [batch].
          pair: the second text, of the same kind.
          max_length: tokens a row, specials included: longer rows are
            truncated, shorter ones padded. None pads to the longest row.

        Returns:
          int32 tensors `input_ids`, `input_mask` (1 at tokens, 0 at padding)
          and `segment_ids` (1 at `pair` and its [SEP]), each [batch, length],
          or [length] for a single str or scalar.

        Raises:
          UserError: `max_length` leaves no room for the special tokens.
        """
        given: Any = text  # `is_tensor` narrows no type
        single = isinstance(given, str | bytes) or (
            tf.is_tensor(given) and given.shape.rank == 0
        )
        if single:
            text = tf.reshape(tf.convert_to_tensor(text), [1])
            if pair is not None:
                pair = tf.reshape(tf.convert_to_tensor(pair), [1])
        specials = 2 if pair is None else 3
        if max_length is not None and max_length < specials:
            raise UserError(
                f"max_length is {max_length}; expected at least {specials},"
                " the special tokens"
            )
        room = None if max_length is None else max_length - specials
        segments = [self(text)] if pair is None else [self(text), self(pair)]
        if room is not None:
            segments = fit(segments, room)
        cls = tf.fill([segments[0].nrows(), 1], self.vocab.cls_id)
        sep = tf.fill([segments[0].nrows(), 1], self.vocab.sep_id)
        parts = [tf.concat([cls, segments[0], sep], axis=1)]
        if pair is not None:
            parts.append(tf.concat([segments[1], sep], axis=1))
        rows = tf.concat(parts, axis=1)
        segment_ids = tf.concat(
            [tf.ones_like(part) * i for i, part in enumerate(parts)], axis=1
        )
        shape = None if max_length is None else [None, max_length]
        features = {
            "input_ids": rows.to_tensor(self.vocab.pad_id, shape=shape),
            "input_mask": tf.ones_like(rows).to_tensor(0, shape=shape),
            "segment_ids": segment_ids.to_tensor(0, shape=shape),
        }
        if single:
            return {name: value[0] for name, value in features.items()}
        return features

    def decode(
        self,
        ids: tf.Tensor | tf.RaggedTensor | Sequence,
        skip_specials: bool = True,
    ) -> str | list[str]:
        """Readable text; not a graph operation.

        Args:
          ids: token ids [tokens] or [batch, tokens], as list or tensor.
          skip_specials: leave [PAD], [CLS], [SEP] and [MASK] out.

        Returns:
          A str, or a list of str for a batch.

        Raises:
          UserError: an id is outside the vocabulary.
        """
        if isinstance(ids, tf.RaggedTensor):
            ids = ids.to_list()
        elif tf.is_tensor(ids) or isinstance(ids, np.ndarray):
            ids = np.asarray(ids).tolist()
        if any(not isinstance(item, int | np.integer) for item in ids):
            texts: list[Any] = [self.decode(row, skip_specials) for row in ids]
            return texts
        skipped = set(self.vocab.special_ids) - {self.vocab.unk_id}
        tokens = []
        for i in ids:
            if not 0 <= i < len(self.vocab):
                raise UserError(
                    f"token id {i} is outside the vocabulary of"
                    f" {len(self.vocab)} tokens"
                )
            if not (skip_specials and i in skipped):
                tokens.append(self.vocab.tokens[i])
        return detokenize.join(tokens)

    def _words_with_offsets(
        self, texts: tf.Tensor
    ) -> tuple[tf.Tensor, tuple[tf.RaggedTensor, ...]]:
        """Normalised texts; ids, and their starts and ends in bytes there."""
        texts = normalize.normalize(texts, self.lower_case, self.strip_accents)
        if self._normalised is None:
            texts = normalize.mask_long_words(texts)
            return texts, self._wordpiece.tokenize_with_offsets(texts)
        pieces = self._normalised(texts)
        words = normalize.mask_long_words(pieces.texts)
        ids, starts, ends = self._wordpiece.tokenize_with_offsets(words)
        # Masking may have made them longer than they were.
        words = tf.where(pieces.tokens >= 0, pieces.spelled, words)
        size = tf.cast(tf.strings.length(words), tf.int64)
        first = pieces.before(size)
        texts = tf.strings.reduce_join(
            tf.RaggedTensor.from_row_splits(words, pieces.rows), axis=-1
        )
        return texts, (
            pieces.whole(ids, pieces.tokens),
            pieces.whole(_moved(starts, first), first),
            pieces.whole(_moved(ends, first), first + size),
        )

    def _source_map(self, texts: tf.Tensor) -> "_SourceMap":
        """Where the characters of the normalised batch come from."""
        codes, starts = tf.strings.unicode_decode_with_offsets(texts, "UTF-8")
        row = normalize.row_numbers(codes)
        # Normalisation goes character by character, but for the final sigma,
        # which is one character too.
        distinct, which = tf.unique(codes.flat_values)
        characters = tf.strings.unicode_encode(distinct[:, tf.newaxis], "UTF-8")
        produced = tf.gather(
            tf.strings.length(
                normalize.normalize(
                    characters, self.lower_case, self.strip_accents
                ),
                unit="UTF8_CHAR",
            ),
            which,
        )
        start_chars = tf.range(tf.size(row, tf.int64)) - tf.gather(
            codes.row_starts(), row
        )
        # A stripped accent belongs to what it follows in its row.
        follows = tf.zeros_like(row, tf.bool)
        if self.strip_accents:
            mark = tf.gather(normalize.is_stripped_mark(characters), which)
            follows = mark & (start_chars > 0)
        group = tf.cumsum(tf.cast(~follows, tf.int64)) - 1
        next_start = tf.concat([starts.flat_values[1:], [0]], axis=0)
        last_of_row = tf.concat([row[1:] != row[:-1], [True]], axis=0)
        row_end = tf.cast(tf.strings.length(texts), tf.int64)
        end_bytes = tf.where(
            last_of_row[: tf.size(row)],
            tf.gather(row_end, row),
            next_start[: tf.size(row)],
        )
        return _SourceMap(
            tf.repeat(tf.range(tf.size(row, tf.int64)), produced),
            starts.flat_values,
            tf.gather(tf.math.segment_max(end_bytes, group), group),
            start_chars,
            tf.gather(tf.math.segment_max(start_chars + 1, group), group),
        )


def _moved(offsets: tf.RaggedTensor, by: tf.Tensor) -> tf.RaggedTensor:
    """Adds a number of each row to the offsets in it."""
    rows = normalize.row_numbers(offsets)
    return offsets.with_flat_values(offsets.flat_values + tf.gather(by, rows))


def first_tokens(tokens: tf.RaggedTensor, counts: tf.Tensor) -> tf.RaggedTensor:
    """The beginning of each row.

    Args:
      tokens: [B, (tokens)], int32 or another type.
      counts: int64 [B], how many of each row; no more than it has.
    """
    starts = tokens.row_starts()
    at = tf.ragged.range(starts, starts + counts)
    return at.with_flat_values(tf.gather(tokens.flat_values, at.flat_values))


def fit(
    segments: Sequence[tf.RaggedTensor], room: int | tf.Tensor
) -> list[tf.RaggedTensor]:
    """Cuts the end of the longer segment until all fit into `room`.

    Where both are equally long it is the second that loses a token.

    Args:
      segments: one or two, each [B, (tokens)].
      room: tokens that all segments of a row have together; a number, or
        int64 [B].
    """
    first = segments[0].row_lengths()
    if len(segments) == 1:
        return [first_tokens(segments[0], tf.minimum(first, room))]
    second = segments[1].row_lengths()
    kept = tf.minimum(first, tf.maximum(-(-room // 2), room - second))
    return [
        first_tokens(segments[0], kept),
        first_tokens(segments[1], tf.minimum(second, room - kept)),
    ]


class _SourceMap(NamedTuple):
    """For a flat batch; all int64.

    Attributes:
      characters: [normalised characters] -> the source character's number.
      start_bytes, end_bytes, start_chars, end_chars: [source characters] ->
        its offsets in its row, following stripped accents included.
    """

    characters: tf.Tensor
    start_bytes: tf.Tensor
    end_bytes: tf.Tensor
    start_chars: tf.Tensor
    end_chars: tf.Tensor


def _as_batch(texts: Texts) -> tf.Tensor:
    """A string tensor [batch]; an empty list has no type of its own."""
    batch = tf.convert_to_tensor(texts, tf.string)
    if batch.shape.rank not in (None, 1):
        raise ValueError(
            f"texts has shape {batch.shape}; expected a list of str or a"
            " string tensor [batch]"
        )
    return batch


def _matchable(vocab: Vocab) -> list[str]:
    """Tokens with those replaced that no word can hold, or is made of.

    The WordPiece compiler refuses a bare "##" and NUL, and finds tokens with
    spaces inside across words. "#" is a word by itself, control characters
    are dropped, so none of these can be in a word; nor can their
    replacements. Added tokens are found before words are taken apart.
    """
    added = {token.text for token in vocab.added}
    return [
        f"##\x01{i}"
        if token == "##" or token in added or _BETWEEN_WORDS.search(token)
        else token
        for i, token in enumerate(vocab.tokens)
    ]
