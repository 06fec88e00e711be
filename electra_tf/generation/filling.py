"""The most probable tokens for the blanks of a text."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from electra_tf.errors import UserError
from electra_tf.generation import loading, rows, writing
from electra_tf.text import detokenize

BLANK = "[MASK]"

# Banned tokens are below this, and no other one is.
_POSSIBLE = -1e8
_ITERATIONS = 10  # of mask-predict, at most


class Candidate(NamedTuple):
    """A token for a blank."""

    token: str
    probability: float  # of all tokens, those never written included
    text: str  # the filled text with it in this blank


class Filled(NamedTuple):
    """A text without blanks."""

    text: str  # with the best token in each
    blanks: tuple[tuple[Candidate, ...], ...]  # of each, the best first
    log_prob: float  # the sum of those with which they were filled in


class _Text(NamedTuple):
    parts: list[str]  # between the blanks
    ids: list[int]  # without [CLS] and [SEP]
    blanks: list[int]  # places in ids


class Filler:
    """Fills blanks, written as [MASK], with a masked language model.

    Attributes:
      generator: the network.
      tokenizer: the model's.
      max_length: tokens that it reads at once, specials included; of a longer
        text it reads what is around a blank.
    """

    def __init__(self, generator: Any, *, max_seq_length: int | None = None):
        """Takes a generator out of `generation.loading` that reads [MASK].

        Args:
          generator: the network.
          max_seq_length: tokens read at once, specials included; None for
            those of its pre-training.
        """
        self.generator = generator
        self.tokenizer = generator.tokenizer
        self.max_length = loading.longest(generator, max_seq_length)
        self._writer = writing.Writer(generator, self.tokenizer.vocab)

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        vocab: str | None = None,
        max_seq_length: int | None = None,
    ) -> "Filler":
        """Loads a generator.

        Args:
          path: a run, a model directory, a checkpoint of another format, or
            a handle.
          vocab: a vocabulary file, where there is none beside the model.
          max_seq_length: as the constructor's.

        Raises:
          UserError: no such model, or it cannot write.
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
          top_k: candidates for each blank; fewer where the vocabulary has no
            more.
          joint: several blanks are filled together, by mask-predict
            (Ghazvininejad et al. 2019, section 3): all at once, and then
            fewer and fewer, those that are the least probable, again. Their
            candidates are then those beside the other blanks' fillings. Else
            each blank is filled as if the others stayed empty.

        Raises:
          UserError: a text has no blank, or is longer than the model with
            blanks too far apart to be filled jointly; the message has its
            number.
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
        """Returns each blank from what is around it, other blanks empty."""
        room = self.max_length - loading.SPECIALS
        read, places, whole = [], [], []
        for text in texts:
            for blank in text.blanks:
                start, end = rows.around(blank, blank + 1, len(text.ids), room)
                read.append(self._row(text.ids[start:end]))
                places.append(1 + blank - start)
                # What the blank before it is filled with is not known.
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
        """Returns all blanks of a text together."""
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
        # Each blank once more, beside what the others were filled with.
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
        """Fills the places of one row, which it changes."""
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
        # Pieces that continue no word, from the left.
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
        """For each row and place [B, K] its `top_k` best tokens.

        A place that is not behind its row's `whole_from` [B] gets no piece
        that continues a word.
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
        """Returns what the user gets."""
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
    """Returns the user's text with tokens in its blanks.

    A piece is glued to what precedes it. What the model reads as two words
    is kept apart, even where the blank stood in a word.
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
