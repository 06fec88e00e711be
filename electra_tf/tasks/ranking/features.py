"""Pairs of query and passage -> rows; groups of a positive and negatives."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from electra_tf.tasks import ragged
from electra_tf.tasks.features import Features
from electra_tf.tasks.ranking.files import Pair
from electra_tf.text.tokenizer import Tokenizer


class Groups(NamedTuple):
    """Training groups: a positive first, then its negatives."""

    pairs: np.ndarray  # int64 [groups, G], numbers of pairs
    size: int  # G
    unused: int  # queries without a positive, or without a negative


def pair_rows(
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    max_length: int,
    max_query_length: int,
) -> Features:
    """`[CLS] query [SEP] passage [SEP]`; segment 1 from the passage on.

    The query is cut to its length, the passage to what is left. Each
    different text is tokenized once.

    Args:
      tokenizer: the model's.
      pairs: N of them.
      max_length: tokens a row, specials included.
      max_query_length: tokens of the query.
    """
    query = ragged.pieces(tokenizer, (pair.query for pair in pairs))
    passage = ragged.pieces(tokenizer, (pair.passage for pair in pairs))
    first = np.minimum(query.count, max_query_length)
    second = np.minimum(passage.count, max_length - 3 - first)
    splits = np.concatenate([[0], np.cumsum(first + second + 3)])
    ids = np.full([splits[-1]], tokenizer.vocab.sep_id, "int32")
    segments = np.zeros([splits[-1]], "int32")
    starts = splits[:-1]
    ids[starts] = tokenizer.vocab.cls_id
    for pieces, count, at in (
        (query, first, starts + 1),
        (passage, second, starts + first + 2),
    ):
        target, _ = ragged.ranges(at, at + count)
        source, _ = ragged.ranges(pieces.start, pieces.start + count)
        ids[target] = pieces.table[source]
    of_passage, _ = ragged.ranges(starts + first + 2, splits[1:])
    segments[of_passage] = 1
    return Features(
        splits,
        {"input_ids": ids, "segment_ids": segments},
        padding={"input_ids": tokenizer.vocab.pad_id},
    )


def make_groups(
    pairs: Sequence[Pair],
    relevant_from: float,
    num_negatives: int,
    groups_per_positive: int | None,
    seed: int,
) -> Groups:
    """Each positive of a query with some of the query's negatives.

    A query is its text. A positive's negatives are the passages of less
    relevance than its own. They are drawn without putting back, and come
    again only when all have been drawn.

    Args:
      pairs: of known relevance; a passage that a query has twice counts once,
        with the higher relevance.
      relevant_from: the least relevance of a positive.
      num_negatives: in a group; fewer where no positive has so many.
      groups_per_positive: None for as many as use each negative once.
      seed: of the draw.
    """
    pools: list[tuple[int, list[int]]] = []
    unused = 0
    for numbers in _distinct(pairs):
        before = len(pools)
        for i in numbers:
            grade = pairs[i].relevance
            if grade < relevant_from:
                continue
            worse = [j for j in numbers if pairs[j].relevance < grade]
            if worse:
                pools.append((i, worse))
        unused += len(pools) == before
    most = max((len(worse) for _, worse in pools), default=1)
    count = min(num_negatives, most)
    rng = np.random.default_rng(seed)
    found = []
    for positive, worse in pools:
        groups = groups_per_positive or -(-len(worse) // count)
        rounds = -(-groups * count // len(worse))
        drawn = np.concatenate([rng.permutation(worse) for _ in range(rounds)])
        found += [
            [positive, *drawn[g * count : (g + 1) * count]]
            for g in range(groups)
        ]
    return Groups(
        np.array(found, "int64").reshape(-1, 1 + count), 1 + count, unused
    )


def _distinct(pairs: Sequence[Pair]) -> list[list[int]]:
    """The numbers of each query's different passages, the best judged."""
    queries: dict[str, dict[str, int]] = {}
    for i, pair in enumerate(pairs):
        passages = queries.setdefault(pair.query, {})
        known = passages.setdefault(pair.passage, i)
        if pair.relevance > pairs[known].relevance:
            passages[pair.passage] = i
    return [list(passages.values()) for passages in queries.values()]
