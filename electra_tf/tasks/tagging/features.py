"""Sentences -> rows of tokens, and the place of each word in them.

A word is tagged at its first piece. A sentence that is longer than a row is
seen through several, cut between words, that overlap; each word is tagged in
the one that shows most around it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks.features import (
    Features,
    Windows,
    cut_windows,
    ranges,
    tokenize_all,
)
from electra_tf.text.tokenizer import Tokenizer

IGNORED = -1  # the label of tokens that are not tagged


@dataclasses.dataclass(frozen=True, eq=False)
class WordPlaces:
    """Where the words of N sentences stand.

    Attributes:
      splits: int64 [N + 1], where each sentence starts among all W words.
      row: int64 [W], the row that a word is tagged in; -1 where it has no
        pieces, and so no place.
      position: int64 [W], of its first piece in that row.
    """

    splits: np.ndarray
    row: np.ndarray
    position: np.ndarray


def make_features(
    tokenizer: Tokenizer,
    sentences: Sequence[Sequence[str]],
    max_length: int,
    labels: np.ndarray | None = None,
) -> Features:
    """`[CLS] words [SEP]`, all of segment 0.

    Each different word is tokenized once. Of a word of more pieces than a row
    has room for, the first are seen.

    Args:
      tokenizer: the model's.
      sentences: N lists of words.
      max_length: tokens a row, specials included.
      labels: int [W], of all words, where there are any. Rows without a word
        to learn from are left out then.

    Returns:
      Features whose `extra` are the `WordPlaces`. With labels they have the
      token array `labels`, `IGNORED` at all but first pieces, and the row
      array `scale` float32, the same for all: 1 / the labels of a mean row.

    Raises:
      UserError: `max_length` leaves no room for a word.
    """
    room = max_length - 2
    if room < 1:
        raise UserError(
            f"max_seq_length is {max_length}; expected at least 3, two "
            "special tokens and a word"
        )
    lengths = np.array([len(s) for s in sentences], "int64")
    splits = np.concatenate([[0], np.cumsum(lengths)])
    pieces = tokenize_all(tokenizer, (w for s in sentences for w in s))
    counts = np.minimum(pieces.count, room)
    rows = cut_windows(splits, counts, room)
    if labels is not None:
        before = np.concatenate([[0], np.cumsum(counts)])
        kept = before[rows.own_end] > before[rows.own_first]
        rows = Windows(*(column[kept] for column in rows))
    word, row_of = ranges(rows.first, rows.end)  # words seen, row by row
    count = counts[word]
    size = np.bincount(row_of, count, len(rows.first)).astype("int64") + 2
    row_splits = np.concatenate([[0], np.cumsum(size)])

    # The place of each seen word: pieces before it, and the specials.
    place = np.cumsum(count) - count + 1 + 2 * row_of
    ids = np.full([row_splits[-1]], tokenizer.vocab.sep_id, "int32")
    ids[row_splits[:-1]] = tokenizer.vocab.cls_id
    source, of_word = ranges(pieces.start[word], pieces.start[word] + count)
    within = source - pieces.start[word][of_word]
    ids[place[of_word] + within] = pieces.table[source]

    own = (rows.own_first[row_of] <= word) & (word < rows.own_end[row_of])
    own &= count > 0
    places = WordPlaces(
        splits, np.full([splits[-1]], -1), np.full([splits[-1]], -1)
    )
    places.row[word[own]] = row_of[own]
    places.position[word[own]] = (place - row_splits[row_of])[own]

    tokens = {"input_ids": ids, "segment_ids": np.zeros_like(ids)}
    targets = {}
    if labels is not None:
        of_token = np.full_like(ids, IGNORED)
        of_token[place[own]] = labels[word[own]]
        tokens["labels"] = of_token
        mean = own.sum() / max(len(size), 1)
        targets["scale"] = np.full([len(size)], 1 / max(mean, 1), "float32")
    return Features(
        row_splits,
        tokens,
        targets,
        padding={"input_ids": tokenizer.vocab.pad_id, "labels": IGNORED},
        examples=rows.group,
        extra=places,
    )
