"""Fills the blanks of a text with the most probable tokens."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.generation import loading, rows, writing
from electra_tf.text import detokenize

BLANK = "[MASK]"

# Banned tokens are below this, all others above.
_POSSIBLE = -1e8
_ITERATIONS = 10  # most iterations of mask-predict


class Candidate(NamedTuple):
    """A token for a blank."""

    token: str
    probability: float  # among all tokens, including banned ones
    text: str  # the filled text, with it in this blank


class Filled(NamedTuple):
    """A text whose blanks are filled."""

    text: str  # with the best token in each
    blanks: tuple[tuple[Candidate, ...], ...]  # of each, best first
    log_prob: float  # sum of the chosen tokens' log-probabilities


class _Text(NamedTuple):
    parts: list[str]  # texts between the blanks
    ids: list[int]  # without [CLS] and [SEP]
    blanks: list[int]  # positions in ids


class Filler:
    """Fills blanks, written as [MASK], with a masked language model.

    Attributes:
      generator: the network.
      tokenizer: the model's tokenizer.
      max_length: tokens that it reads at once, special ones included; in a
        longer text it reads the context of a blank.
    """

    def __init__(self, generator: Any, *, max_seq_length: int | None = None):
        """Takes a generator of `generation.loading` that reads [MASK].

        Args:
          generator: the network.
          max_seq_length: tokens read at once, special ones included; None takes
            the length of its pre-training.
        """
        self.generator = generator
        self.tokenizer = generator.tokenizer
        self.max_length = loading.longest(generator, max_seq_length)
        self._writer = writing.Writer(generator, self.tokenizer.vocab)

    @classmethod
    def from_pretrained(
        cls,
        path: AnyPath,
        *,
        vocab: AnyPath | None = None,
        max_seq_length: int | None = None,
    ) -> "Filler":
        """Loads a generator.

        Args:
          path: a run, a model directory, a checkpoint of another format, or
            a handle.
          vocab: a vocabulary file, where there is none beside the model.
          max_seq_length: see the constructor.

        Raises:
          UserError: the model is missing, or has no generator for this.
        """
        path, _ = loading.describe(path)
        generator = loading.load_generator(path, vocab)
        loading.check_reads_masks(path, generator)
        return cls(generator, max_seq_length=max_seq_length)

    def fill(
        self, texts: Sequence[str], top_k: int = 5, joint: bool = False
    ) -> list[Filled]:
        """Fills the blanks of each text.

        Args:
          texts: each with [MASK] at least once.
          top_k: number of candidates for each blank; fewer if the vocabulary
            has fewer.
          joint: whether to fill several blanks jointly, by mask-predict
            (Ghazvininejad et al. 2019, section 3): all at once, and then again
            fewer and fewer, the least probable ones. Candidates are then given
            the other blanks' tokens. If not, each blank is filled as if the
            others remained empty.

        Raises:
          UserError: a text has no blank, or is too long for the model with
            blanks too far apart to be filled jointly; its number is named.
        """
        if top_k < 1:
            raise UserError(f"--top_k={top_k}: expected at least 1")
        read = [self._read(text, i) for i, text in enumerate(texts, 1)]
        if joint:
            return [self._jointly(t, i, top_k) for i, t in enumerate(read, 1)]
        return self._apart(read, top_k)

    def _read(self, text: str, number: int) -> _Text:
        parts = text.split(BLANK)
        if len(parts) == 1:
            raise UserError(
                f"text {number}: has no {BLANK} to fill: '{text[:40]}'"
            )
        vocab = self.tokenizer.vocab
        ids: list[int] = []
        blanks: list[int] = []
        for i, part in enumerate(self.tokenizer(parts).to_list()):
            if i:
                blanks.append(len(ids))
                ids.append(vocab.mask_id)
            ids += part
        return _Text(parts, ids, blanks)

    def _apart(self, texts: list[_Text], top_k: int) -> list[Filled]:
        """Fills each blank from its context, with other blanks empty."""
        room = self.max_length - loading.SPECIALS
        read, places, whole = [], [], []
        for text in texts:
            for blank in text.blanks:
                start, end = rows.around(blank, blank + 1, len(text.ids), room)
                read.append(self._row(text.ids[start:end]))
                places.append(1 + blank - start)
                # The previous blank's token is unknown.
                whole.append(blank - 1 in text.blanks)
        place, is_whole = np.array(places, "int64"), np.array(whole, bool)
        best: list[_Best] = [[]] * len(read)
        for batch in rows.batches(
            read, range(len(read)), 4096, self.max_length, max_rows=32
        ):
            here = place[batch.rows]
            found = self._best(
                batch, here[:, None], top_k, here * is_whole[batch.rows]
            )
            for row, places_ in zip(batch.rows, found):
                best[row] = places_[0]
        filled, taken = [], 0
        for text in texts:
            own = best[taken : taken + len(text.blanks)]
            taken += len(own)
            filled.append(self._filled(text, own, [found[0] for found in own]))
        return filled

    def _jointly(self, text: _Text, number: int, top_k: int) -> Filled:
        """Fills all blanks of a text jointly."""
        room = self.max_length - loading.SPECIALS
        first, last = text.blanks[0], text.blanks[-1] + 1
        if last - first > room:
            raise UserError(
                f"text {number}: its blanks are {last - first} tokens apart, "
                f"and the model reads {room} at once; leave --joint out"
            )
        start, end = rows.around(first, last, len(text.ids), room)
        row = self._row(text.ids[start:end])
        length = rows.padded_length(len(row), self.max_length)
        batch = rows.padded([row], np.zeros([1], "int64"), length)
        places = 1 + np.array(text.blanks, "int64") - start
        chosen = self._mask_predict(batch, places)
        # Candidates of each blank, given the other blanks' tokens.
        alone = rows.Batch(
            np.arange(len(places)),
            np.repeat(batch.input_ids, len(places), 0),
            np.repeat(batch.input_mask, len(places), 0),
        )
        found = self._best(alone, places[:, None], top_k, np.zeros_like(places))
        return self._filled(text, [x[0] for x in found], chosen)

    def _mask_predict(
        self, batch: rows.Batch, places: np.ndarray
    ) -> "list[_Token]":
        """Fills the blanks of one row, in place."""
        count, ids = len(places), batch.input_ids
        total = min(_ITERATIONS, count)
        sure = np.zeros([count])
        nowhere = np.zeros([1], "int64")
        for iteration in range(total):
            some = np.argsort(sure, kind="stable")
            some = np.sort(some[: count * (total - iteration) // total])
            found = self._best(batch, places[None, some], 1, nowhere)[0]
            ids[0, places[some]] = [tokens[0].id for tokens in found]
            sure[some] = [tokens[0].log_prob for tokens in found]
        # Pieces without a word to continue, from the left.
        pieces = self._writer.pieces
        for i, place in enumerate(places):
            carried = pieces.carries[ids[:, place - 1]]
            if pieces.broken(ids[:, place : place + 1], carried).any():
                at = places[None, i : i + 1]
                ((tokens,),) = self._best(batch, at, 1, at[0])
                ids[0, place], sure[i] = tokens[0]
        return [_Token(int(t), p) for t, p in zip(ids[0, places], sure)]

    def _best(
        self,
        batch: rows.Batch,
        places: np.ndarray,
        top_k: int,
        whole_from: np.ndarray,
    ) -> "list[list[_Best]]":
        """Returns the `top_k` best tokens for each row and place [B, K].

        Places up to their row's `whole_from` [B] get no piece that continues a
        word.
        """
        found = self._writer.candidates(
            batch.input_ids,
            batch.input_mask,
            places.astype("int32"),
            whole_from.astype("int32"),
            min(len(self._writer.pieces.banned), top_k),
        )
        log_probs, tokens = (x.numpy() for x in found)
        return [
            [
                [
                    _Token(int(t), float(p))
                    for t, p in zip(tokens[row, place], log_probs[row, place])
                    if p > _POSSIBLE
                ]
                for place in range(places.shape[1])
            ]
            for row in range(len(places))
        ]

    def _filled(
        self, text: _Text, best: "list[_Best]", chosen: "list[_Token]"
    ) -> Filled:
        """Makes the result for the user."""
        names = self.tokenizer.vocab.tokens
        tokens = [names[token.id] for token in chosen]
        blanks = []
        for i, own in enumerate(best):
            candidates = []
            for id_, log_prob in own:
                there = [*tokens[:i], names[id_], *tokens[i + 1 :]]
                candidates.append(
                    Candidate(
                        names[id_],
                        math.exp(log_prob),
                        _composed(text.parts, there),
                    )
                )
            blanks.append(tuple(candidates))
        return Filled(
            _composed(text.parts, tokens),
            tuple(blanks),
            sum(token.log_prob for token in chosen),
        )

    def _row(self, ids: list[int]) -> list[int]:
        vocab = self.tokenizer.vocab
        return [vocab.cls_id, *ids, vocab.sep_id]


class _Token(NamedTuple):
    id: int
    log_prob: float


_Best = list[_Token]


def _composed(parts: Sequence[str], tokens: Sequence[str]) -> str:
    """Inserts tokens into the blanks of the user's text.

    A piece is joined to the text before it. Two words are kept apart, even
    where the blank was inside a word.
    """
    text = parts[0]
    for token, part in zip(tokens, parts[1:]):
        if token.startswith("##") and len(token) > 2:
            text = text.rstrip() + token[2:]
        else:
            text = _beside(text, token)
        text = _beside(text, part)
    return text


def _beside(before: str, after: str) -> str:
    if before and after and _in_word(before[-1]) and _in_word(after[0]):
        return f"{before} {after}"
    return before + after


def _in_word(character: str) -> bool:
    return character.isalnum() and not detokenize.is_cjk(character)
