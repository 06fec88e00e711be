"""Tokenizes texts by BERT's and ELECTRA's WordPiece, in graph operations.

The data builder, the tasks and the exported models all use this tokenizer. It
gives the ids of the original Python tokenizer; for characters that only
TensorFlow's Unicode tables know, it follows TensorFlow's.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.text import detokenize, normalize, source_map, surrogates
from electra_tf.text.added_tokens import Splitter, as_normalised
from electra_tf.text.ascii_words import AsciiWords
from electra_tf.text.truncation import Side, cut, fit, fitting
from electra_tf.text.vocab import SPECIALS, Vocab, load_vocab

_BETWEEN_WORDS = re.compile(r"[\x00\s]")  # \s is Unicode's white space

Texts: TypeAlias = tf.Tensor | Sequence[str] | Sequence[bytes]


class Offsets(NamedTuple):
    """Tokens, with the span of each in the original text.

    Each is a RaggedTensor [batch, (tokens)]; ends are exclusive. A span
    includes the accents that follow its last character and were stripped.
    A character that decomposes into several tokens is the span of each.

    Attributes:
      ids: int32, the result of calling the tokenizer.
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
    """Converts texts to WordPiece ids, exactly like the original.

    `encode` makes inputs of networks, including [CLS], [SEP] and padding;
    calling the tokenizer gives only the ids of the texts, like KerasHub's, and
    with `add_special_tokens=True` whole rows.

    Words of more than 200 characters become [UNK]. Special tokens written in
    the text are plain text ("[MASK]" is three tokens), unless asked for. Added
    tokens of the vocabulary (`Vocab.added`) stay whole.

    The layer for functional models, `electra_tf.Tokenizer`, uses it.

    Attributes:
      vocab: the `Vocab`.
      lower_case: whether text is lower-cased.
      strip_accents: whether accents are stripped.
    """

    def __init__(
        self,
        vocab_file: AnyPath | Vocab,
        lower_case: bool = True,
        strip_accents: bool | None = None,
    ):
        """Loads the vocabulary and compiles it.

        Args:
          vocab_file: path of a vocabulary, one token per line, or a `Vocab`.
          lower_case: whether to lower-case the text.
          strip_accents: whether to strip accents; None follows `lower_case`.

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
        matchable = _matchable(self.vocab)
        self._ascii = AsciiWords(matchable, self.vocab.unk_id, lower_case)
        try:
            model = tf_text.build_fast_wordpiece_model(
                matchable,
                normalize.MAX_BYTES_PER_WORD,
                "##",  # the suffix indicator
                "[UNK]",
                False,  # text comes with spaces and punctuation
                False,  # no detokenizing by the operation
            )
        except RuntimeError as error:
            raise UserError(f"cannot use the vocabulary: {error}") from error
        # Outside any graph, so that every graph can capture it, and on the CPU:
        # the operation does not exist for GPUs.
        with tf.init_scope(), tf.device("CPU:0"):
            model = tf.constant(np.frombuffer(model, np.uint8))
        self._wordpiece = tf_text.FastWordpieceTokenizer(
            token_out_type=tf.int32, model_buffer=model
        )
        added, ids = self.vocab.added, self.vocab.ids
        whole = [token.text for token in added if not token.normalized]
        self._as_written = Splitter({text: ids[text] for text in whole})
        self._with_specials = Splitter(
            {text: ids[text] for text in (*whole, *SPECIALS)}
        )
        self._normalised = Splitter(
            as_normalised(
                {t.text: ids[t.text] for t in added if t.normalized},
                self.lower_case,
                self.strip_accents,
            )
        )

    def __repr__(self) -> str:
        return f"<Tokenizer of {len(self.vocab)} tokens>"

    def __reduce__(self) -> tuple:
        """Copies and pickles the tokenizer by its arguments."""
        made_of = (self.vocab, self.lower_case, self.strip_accents)
        return type(self), made_of

    def __call__(
        self,
        texts: Texts,
        special_tokens: bool = False,
        *,
        add_special_tokens: bool = False,
    ) -> tf.RaggedTensor:
        """Tokenizes texts, without [CLS] and [SEP]; `encode` adds them.

        Args:
          texts: list of str, or string tensor [batch] in UTF-8 (bytes that
            are not are skipped).
          special_tokens: whether "[MASK]" and the other special tokens in the
            text are read as these tokens; a word ends there.
          add_special_tokens: whether to add [CLS] before and [SEP] after each
            row, like `rows` and `encode`.

        Returns:
          int32 RaggedTensor [batch, (tokens)].
        """
        if add_special_tokens:
            rows = self.rows(texts, special_tokens=special_tokens)
            return rows["input_ids"]
        texts = as_batch(texts)
        splitter = self._with_specials if special_tokens else self._as_written
        if not splitter:
            return self._ids(texts)
        pieces = splitter(texts)
        return pieces.joined(self._ids(pieces.texts), pieces.tokens)

    def _ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Returns the ids of texts without added tokens in original
        spelling.
        """
        texts = normalize.normalize(texts, self.lower_case, self.strip_accents)
        if not self._normalised:
            return self._wordpiece.tokenize(normalize.mask_long_words(texts))
        pieces = self._normalised(texts)
        words = normalize.mask_long_words(pieces.texts)
        return pieces.joined(self._wordpiece.tokenize(words), pieces.tokens)

    def plain_ids(self, text: str) -> list[int] | None:
        """Tokenizes a text of ASCII alone, without a call of TensorFlow.

        Returns:
          The ids that calling the tokenizer gives; None where it must be.
        """
        return None if self.vocab.added else self._ascii(text)

    def tokenize(
        self, texts: Texts, special_tokens: bool = False
    ) -> tf.RaggedTensor:
        """Tokenizes texts: another name for calling the tokenizer.

        Args:
          texts: see `__call__`.
          special_tokens: see `__call__`.

        Returns:
          int32 RaggedTensor [batch, (tokens)].
        """
        return self(texts, special_tokens)

    def tokenize_with_offsets(
        self, texts: Texts, special_tokens: bool = False
    ) -> Offsets:
        """Tokenizes texts and finds the span of each token in them.

        Args:
          texts: list of str, or string tensor [batch] in UTF-8.
          special_tokens: see `__call__`.

        Returns:
          `Offsets`, each a RaggedTensor [batch, (tokens)].
        """
        texts = as_batch(texts)
        splitter = self._with_specials if special_tokens else self._as_written
        if not splitter:
            return self._offsets(texts)
        pieces = splitter(texts)
        found = self._offsets(pieces.texts)
        size, length = pieces.sizes(), pieces.lengths()
        byte, char = pieces.before(size), pieces.before(length)
        return Offsets(
            pieces.joined(found.ids, pieces.tokens),
            pieces.joined(found.start_bytes, byte, byte),
            pieces.joined(found.end_bytes, byte + size, byte),
            pieces.joined(found.start_chars, char, char),
            pieces.joined(found.end_chars, char + length, char),
        )

    def _offsets(self, texts: tf.Tensor) -> Offsets:
        """Returns the offsets in texts without added tokens in original
        spelling.
        """
        normalized, ids, starts, ends = self._words(texts)

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
        source = source_map.of_texts(
            texts,
            lambda characters: normalize.normalize(
                characters, self.lower_case, self.strip_accents
            ),
            self.strip_accents,
        )
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
        *,
        truncation_side: Side = "right",
        pad_to_multiple_of: int | None = None,
        special_tokens: bool = False,
        return_offsets: bool = False,
    ) -> dict[str, tf.Tensor]:
        """Makes model inputs from texts, `[CLS] text [SEP]`, or from pairs.

        Pairs are `[CLS] text [SEP] pair [SEP]`. A pair that is too long loses
        tokens at the end of its longer text, one by one, as in the original; a
        single text is truncated.

        Args:
          text: a str, or a list or string tensor [batch].
          pair: the second text, of the same kind.
          max_length: tokens in a row, special ones included: longer rows are
            truncated, shorter ones padded. None pads to the longest row.
          truncation_side: side where rows lose tokens: "right" or "left".
          pad_to_multiple_of: pads rows to a multiple of this number.
          special_tokens: whether "[MASK]" and the other special tokens in the
            text are read as these tokens.
          return_offsets: whether to return the span of each token too.

        Returns:
          int32 tensors `input_ids`, `input_mask` (1 at tokens, 0 at padding)
          and `segment_ids` (1 at `pair` and its [SEP]), each [batch, length],
          or [length] for a single str or scalar; with `return_offsets` also
          `offsets` [batch, length, 2] or [length, 2]: where each token begins
          and ends in its own text, in characters; 0 and 0 for added special
          tokens and padding.

        Raises:
          UserError: `max_length` leaves no room for the special tokens, or is
            not a multiple of `pad_to_multiple_of`.
        """
        given: Any = text  # `is_tensor` narrows no type
        single = isinstance(given, str | bytes) or (
            tf.is_tensor(given) and given.shape.rank == 0
        )
        if single:
            text = tf.reshape(tf.convert_to_tensor(text), [1])
            if pair is not None:
                pair = tf.reshape(tf.convert_to_tensor(pair, tf.string), [-1])
        rows = self.rows(
            text,
            pair,
            max_length,
            truncation_side=truncation_side,
            special_tokens=special_tokens,
            return_offsets=return_offsets,
        )
        features = self.padded(rows, max_length, pad_to_multiple_of)
        if single:
            return {name: value[0] for name, value in features.items()}
        return features

    def rows(
        self,
        text: Texts,
        pair: Texts | None = None,
        max_length: int | None = None,
        *,
        truncation_side: Side = "right",
        special_tokens: bool = False,
        return_offsets: bool = False,
    ) -> dict[str, tf.RaggedTensor]:
        """Makes model inputs like `encode`, without padding.

        Args:
          text: list of str or string tensor [batch].
          pair: the second text, of the same kind.
          max_length: most tokens in a row, special ones included; None keeps
            all.
          truncation_side: see `encode`.
          special_tokens: see `encode`.
          return_offsets: see `encode`.

        Returns:
          `input_ids`, `input_mask`, `segment_ids` and `offsets` of `encode`,
          as RaggedTensors [batch, (length)].

        Raises:
          UserError: `max_length` is too small, or `pair` of another length.
        """
        specials = 2 if pair is None else 3
        if max_length is not None and max_length < specials:
            raise UserError(
                f"max_length is {max_length}; expected at least {specials},"
                " the special tokens"
            )
        room = None if max_length is None else max_length - specials
        texts = [as_batch(t) for t in (text, pair) if t is not None]
        if len({t.shape[0] for t in texts} - {None}) > 1:
            first, second = (t.shape[0] for t in texts)
            raise UserError(f"pair: {second} second texts for {first} first")
        spans = []
        if return_offsets:
            found = [
                self.tokenize_with_offsets(t, special_tokens) for t in texts
            ]
            spans = [
                row.ids.with_values(
                    tf.stack(
                        [row.start_chars.values, row.end_chars.values], axis=1
                    )
                )
                for row in found
            ]
            segments = [row.ids for row in found]
        else:
            segments = [self(t, special_tokens) for t in texts]
        if room is not None:
            spans = [
                cut(span, kept, truncation_side)
                for span, kept in zip(spans, fitting(segments, room))
            ]
            segments = fit(segments, room, truncation_side)
        cls = tf.fill([segments[0].nrows(), 1], self.vocab.cls_id)
        sep = tf.fill([segments[0].nrows(), 1], self.vocab.sep_id)
        parts = [tf.concat([cls, segments[0], sep], axis=1)]
        if pair is not None:
            parts.append(tf.concat([segments[1], sep], axis=1))
        rows = tf.concat(parts, axis=1)
        segment_ids = tf.concat(
            [tf.ones_like(part) * i for i, part in enumerate(parts)], axis=1
        )
        features = {
            "input_ids": rows,
            "input_mask": tf.ones_like(rows),
            "segment_ids": segment_ids,
        }
        if return_offsets:
            none = tf.zeros([segments[0].nrows(), 1, 2], tf.int64)
            around = [none]
            for span in spans:
                around += [span, none]
            features["offsets"] = tf.cast(tf.concat(around, axis=1), tf.int32)
        return features

    def padded(
        self,
        rows: dict[str, tf.RaggedTensor],
        length: int | None = None,
        multiple_of: int | None = None,
    ) -> dict[str, tf.Tensor]:
        """Pads the result of `rows`.

        Args:
          rows: RaggedTensors [batch, (length)].
          length: length of the padded rows; None takes the longest.
          multiple_of: number of which the length must be a multiple.

        Returns:
          The same names with tensors [batch, length].

        Raises:
          UserError: `length` is not a multiple of `multiple_of`.
        """
        if multiple_of is not None and (
            multiple_of < 1 or (length or 0) % multiple_of
        ):
            raise UserError(
                f"pad_to_multiple_of is {multiple_of}; expected a number from "
                "1 on" + (f" that divides {length}" if length else "")
            )
        width: Any = length
        if length is None and multiple_of is not None:
            longest = tf.reduce_max(rows["input_ids"].row_lengths())
            width = -(-tf.maximum(longest, 1) // multiple_of) * multiple_of
        found = {}
        for name, row in rows.items():
            fill = self.vocab.pad_id if name == "input_ids" else 0
            shape = None if width is None else [None, width]
            if shape and name == "offsets":
                shape.append(2)
            found[name] = row.to_tensor(fill, shape=shape)
        return found

    def decode(
        self,
        ids: tf.Tensor | tf.RaggedTensor | Sequence,
        skip_specials: bool = True,
    ) -> str | list[str]:
        """Makes readable text from ids; not a graph operation.

        Args:
          ids: token ids [tokens] or [batch, tokens], as list or tensor.
          skip_specials: whether to leave [PAD], [CLS], [SEP] and [MASK] out.

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
            token = self.id_to_token(i)
            if not (skip_specials and i in skipped):
                tokens.append(token)
        return detokenize.join(tokens)

    def vocabulary_size(self) -> int:
        """Counts the tokens of the vocabulary."""
        return len(self.vocab)

    def get_vocabulary(self) -> list[str]:
        """Lists the tokens in the order of their ids."""
        return list(self.vocab.tokens)

    def id_to_token(self, id: int) -> str:
        """Finds the token of an id.

        Raises:
          UserError: the id is outside the vocabulary.
        """
        if not 0 <= id < len(self.vocab):
            raise UserError(
                f"token id {id} is outside the vocabulary of"
                f" {len(self.vocab)} tokens"
            )
        return self.vocab.tokens[id]

    def token_to_id(self, token: str) -> int:
        """Finds the id of a token.

        Raises:
          UserError: the vocabulary has no such token.
        """
        if token not in self.vocab.ids:
            raise UserError(
                f"the vocabulary has no token {token!r}; what continues a "
                'word is written "##ing", and unknown words are [UNK]'
            )
        return self.vocab.ids[token]

    def _words(
        self, texts: tf.Tensor
    ) -> tuple[tf.Tensor, tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Returns normalised texts, and ids with starts and ends in their
        bytes.
        """
        texts = normalize.normalize(texts, self.lower_case, self.strip_accents)
        if not self._normalised:
            texts = normalize.mask_long_words(texts)
            return texts, *self._wordpiece.tokenize_with_offsets(texts)
        pieces = self._normalised(texts)
        words = normalize.mask_long_words(pieces.texts)
        ids, starts, ends = self._wordpiece.tokenize_with_offsets(words)
        # Masking may have lengthened them.
        spelled = tf.where(pieces.tokens < 0, words, pieces.spelled)
        pieces = pieces._replace(spelled=spelled)
        size = pieces.sizes()
        first = pieces.before(size)
        return (
            pieces.rejoined(),
            pieces.joined(ids, pieces.tokens),
            pieces.joined(starts, first, first),
            pieces.joined(ends, first + size, first),
        )


def as_batch(texts: Any) -> tf.Tensor:
    """Makes a string tensor [batch] of texts, also of an empty list.

    Args:
      texts: a list of str or of bytes, or such a tensor.

    Raises:
      UserError: they are not texts, or of another shape.
    """
    if type(texts).__name__ == "KerasTensor":
        raise UserError(
            "in a functional model a layer tokenizes: "
            "electra_tf.Tokenizer(TOKENIZER)(inputs), with the tokenizer of "
            "the model that you loaded"
        )
    try:
        batch = tf.convert_to_tensor(texts, tf.string)
    except (TypeError, ValueError) as error:
        raise UserError(
            "the tokenizer takes texts; expected a list of str or a string "
            f"tensor [batch], {surrogates.got(texts)}"
        ) from error
    if batch.shape.rank not in (None, 1):
        raise UserError(
            f"texts has shape {batch.shape}; expected a list of str or a"
            " string tensor [batch]"
        )
    return batch


def _matchable(vocab: Vocab) -> list[str]:
    """Replaces tokens that cannot occur in any word.

    The WordPiece compiler refuses a bare "##" and NUL, and matches tokens with
    spaces across words. "#" is a word by itself, and control characters are
    dropped, so neither these nor their replacements can be in a word. Added
    tokens behind the vocabulary are no words.
    """
    size = vocab.size_without_added
    return [
        f"##\x01{i}"
        if token == "##" or i >= size or _BETWEEN_WORDS.search(token)
        else token
        for i, token in enumerate(vocab.tokens)
    ]
