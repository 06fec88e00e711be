"""Reads pairs of query and passage, and makes rows and groups of them.

Files have three forms: triples, a TSV of query, positive, negative without a
header (MS MARCO's); rows of query, passage and relevance in TSV, CSV or JSON
Lines; lists, JSON Lines of a query with its positives and negatives.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from electra_tf.errors import UserError
from electra_tf.tasks import column_names, formats, records
from electra_tf.tasks.features import Features, join_pairs, tokenize_all
from electra_tf.tasks.ranking.options import Columns, Form, RankingOptions
from electra_tf.text import numerals
from electra_tf.text.tokenizer import Tokenizer

_TRIPLE = ("query", "positive", "negative")
# Usual keys of the lists of positives and negatives.
_POSITIVES = (
    "positives", "positive", "pos", "positive_passages", "positive_ctxs",
)  # fmt: skip
_NEGATIVES = (
    "negatives", "negative", "neg", "hard_negatives", "negative_passages",
    "negative_ctxs", "hard_negative_ctxs",
)  # fmt: skip
_PASSAGES = "passages"  # MS MARCO's key, with is_selected
_QUERIES = ("question", "anchor")
# Sets of usual names for query, passage and relevance.
_ROWS = (
    ("query", "passage", "label"), ("query", "passage", "score"),
    ("query", "document", "label"), ("query", "document", "relevance"),
    ("query", "text", "label"), ("question", "sentence", "label"),
    ("question", "answer", "label"), ("question", "passage", "label"),
)  # fmt: skip


class Pair(NamedTuple):
    """A query and one of its passages."""

    query: str
    passage: str
    relevance: float | None = None  # higher is better; None: unknown
    query_id: str = ""
    passage_id: str = ""


class Groups(NamedTuple):
    """Training groups: one positive, then its negatives."""

    pairs: np.ndarray  # int64 [groups, G], numbers of pairs
    size: int  # G
    unused: int  # queries without a positive or a negative


def with_columns(options: RankingOptions, path: str) -> RankingOptions:
    """Returns options that name the columns of a file; logs found ones.

    Args:
      options: unchanged where they name columns.
      path: the file.

    Raises:
      UserError: the file is unreadable.
    """
    there = records.names_in(path, options)
    lists = {*_POSITIVES, *_NEGATIVES} & set(there)
    keys: tuple[str, ...] = ("query_column",)
    usual: Sequence[Sequence[str]] = [(name,) for name in _QUERIES]
    if not lists:
        keys = ("query_column", "passage_column", "relevance_column")
        usual = _ROWS
    return column_names.with_usual(options, keys, usual, there, path)


def read_pairs(
    path: str,
    options: RankingOptions,
    form: Form = "auto",
    judged: bool = True,
) -> list[Pair]:
    """Returns the pairs of a file, in order.

    A triple gives two pairs, of relevance 1 and 0; positives and negatives of
    lists likewise. Without a query id, the query is its id; without a passage
    id, the pair's number is, from 1.

    Args:
      path: a `.tsv`, `.csv` or `.jsonl` file, compressed or not.
      options: name the columns of rows, and the query's column of lists.
      form: form of the file; "auto" takes JSON Lines with a list of positives
        or negatives as lists, a table whose header has the query's and the
        passage's column as rows, another table of three columns as triples.
      judged: whether rows must have a relevance.

    Raises:
      UserError: the file is unreadable, a text is empty, a relevance is not a
        number, a query has a passage twice, or an id belongs to two queries;
        file and line are named.
    """
    columns = options.column_names
    if form == "auto":
        form = _form(path, options)
    found = {"triples": _triples, "rows": _rows, "lists": _lists}[form](
        path, options
    )
    texts: dict[str, str] = {}  # equal texts are stored once
    queries: dict[str, str] = {}
    given: set[tuple[str, str]] = set()
    pairs: list[Pair] = []
    for pair, place in found:
        if judged and pair.relevance is None:
            raise UserError(
                f"{place}: no column '{columns.relevance}', or it is empty; "
                "expected the passage's relevance (0, 1, ...)"
            )
        pair = pair._replace(
            query=texts.setdefault(pair.query, pair.query),
            passage=texts.setdefault(pair.passage, pair.passage),
        )
        _check_ids(pair, queries, given, place)
        if not pair.passage_id:
            pair = pair._replace(passage_id=str(len(pairs) + 1))
        pairs.append(pair._replace(query_id=pair.query_id or pair.query))
    return pairs


def pair_of(
    record: Mapping[str, Any],
    columns: Columns,
    place: str,
    may_be_empty: bool = False,
) -> Pair:
    """Makes a pair from a row.

    Args:
      record: column -> value.
      columns: names of the columns.
      place: where the row stands, for messages.
      may_be_empty: whether empty texts are accepted.

    Raises:
      UserError: a text is missing or empty, or the relevance is not a number.
    """
    query, passage = (
        records.text_in(record, name, place, may_be_empty=may_be_empty)
        for name in (columns.query, columns.passage)
    )
    return Pair(
        query,
        passage,
        _relevance(record.get(columns.relevance), columns.relevance, place),
        _identifier(record, columns.query_id),
        _identifier(record, columns.passage_id),
    )


def _form(path: str, options: RankingOptions) -> Form:
    layout = formats.detect(path, options.format, options.delimiter)
    kind = layout.format
    if kind not in ("tsv", "csv"):
        lists = {*_POSITIVES, *_NEGATIVES, _PASSAGES} & set(
            records.columns_of(path, kind)
        )
        return "lists" if lists else "rows"
    # The first line of triples is not a header: it may be any text.
    names, columns = records.first_row(path, layout), options.column_names
    if options.columns or {columns.query, columns.passage} <= set(names):
        return "rows"
    if columns.query in names and {*_POSITIVES} & set(names):
        return "lists"
    if all(cell.isdigit() for cell in names):
        raise UserError(f"{path}:1: {_IDS}; got '{' '.join(names):.40}'")
    if kind == "tsv" and len(names) == len(_TRIPLE):
        return "triples"
    line = "\t".join(names).encode("utf-8", "replace").decode("utf-8")
    raise UserError(
        f"{path}:1: expected a header with the columns '{columns.query}' and "
        f"'{columns.passage}', or lines of query, positive and negative; got "
        f"{len(names)} columns: '{line:.40}'"
    )


_IDS = (
    "holds ids alone (of MS MARCO's qrels or triples); expected the texts of "
    "queries and passages in their place"
)
_Found = Iterator[tuple[Pair, str]]


def _triples(path: str, options: RankingOptions) -> _Found:
    for record, place in records.read_records(path, "tsv", columns=_TRIPLE):
        query, positive, negative = (
            records.text_in(record, name, place) for name in _TRIPLE
        )
        if (query, positive, negative) == _TRIPLE:
            continue  # a header after all
        yield Pair(query, positive, 1.0), place
        yield Pair(query, negative, 0.0), place


def _rows(path: str, options: RankingOptions) -> _Found:
    columns = options.column_names
    for record, place in records.read_table(path, options, columns.query):
        yield pair_of(record, columns, place), place


def _lists(path: str, options: RankingOptions) -> _Found:
    columns = options.column_names
    for record, place in records.read_table(path, options, columns.query):
        query = records.text_in(record, columns.query, place)
        query_id = _identifier(record, columns.query_id)
        for passage, relevance in _selected(record.get(_PASSAGES), place):
            yield Pair(query, passage, relevance, query_id), place
        for names, relevance in ((_POSITIVES, 1.0), (_NEGATIVES, 0.0)):
            for name in names:
                for passage in _passages(record.get(name), name, place):
                    yield Pair(query, passage, relevance, query_id), place


def _selected(value: Any, place: str) -> list[tuple[str, float]]:
    """Returns MS MARCO's passages of a query, and whether each was selected."""
    if value is None:
        return []
    try:
        if isinstance(value, Mapping):
            texts, chosen = value.get("passage_text"), value.get("is_selected")
            if isinstance(texts, list) and isinstance(chosen, list):
                value = [
                    {"passage_text": text, "is_selected": number}
                    for text, number in zip(texts, chosen, strict=True)
                ]
        given = [(part["passage_text"], part["is_selected"]) for part in value]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(_form_of_passages(place)) from error
    found = []
    for text, chosen in given:
        relevance = _relevance(chosen, f"{_PASSAGES}: is_selected", place)
        if relevance is None:
            raise UserError(_form_of_passages(place))
        found.append((_passages([text], _PASSAGES, place)[0], relevance))
    return found


def _form_of_passages(place: str) -> str:
    return f"{place}: {_PASSAGES}: expected passage_text and is_selected"


def _passages(value: Any, name: str, place: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise UserError(f"{place}: {name}: expected a list of texts")
    # A passage is a text, or an object with one.
    texts: list[Any] = [
        v.get("text") if isinstance(v, dict) else v for v in value
    ]
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise UserError(
                f"{place}: {name}: expected texts that are not empty, got "
                f"{text!r:.40}"
            )
    return texts


def _relevance(value: Any, name: str, place: str) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        value = int(value)
    elif isinstance(value, str) and not value.strip()[:1].isdigit():
        with contextlib.suppress(ValueError):
            truth = records.truth_of(value, name)
            value = value if truth is None else int(truth)
    number = numerals.finite(value)
    if number is None:
        raise UserError(
            f"{place}: {name}: expected a number, the more the better (0, 1, "
            f"...), got {value!r:.40}"
        )
    return number


def _identifier(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return "" if value is None else str(value)


def _check_ids(
    pair: Pair, queries: dict[str, str], given: set, place: str
) -> None:
    key = (pair.query_id or pair.query, pair.passage_id)
    if pair.passage_id and key in given:
        raise UserError(
            f"{place}: the query '{key[0]:.40}' has the passage "
            f"'{key[1]:.40}' already; leave one of the rows out"
        )
    given.add(key)
    if queries.setdefault(key[0], pair.query) != pair.query:
        raise UserError(
            f"{place}: the query id '{key[0]:.40}' belongs to another query "
            "already"
        )


def run_text(pairs: Iterable[Pair], scores: Iterable[float], tag: str) -> str:
    """Formats a ranking for trec_eval: query Q0 passage rank score tag.

    White space in ids becomes "_".
    """
    ranked = sorted(
        zip(pairs, scores), key=lambda item: (item[0].query_id, -item[1])
    )
    lines = []
    for query, items in itertools.groupby(ranked, lambda x: x[0].query_id):
        name = "_".join(query.split())
        for rank, (pair, score) in enumerate(items, 1):
            passage = "_".join(pair.passage_id.split())
            lines.append(f"{name} Q0 {passage} {rank} {score:.6f} {tag}")
    return "\n".join([*lines, ""])


def pair_rows(
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    max_length: int,
    max_query_length: int,
) -> Features:
    """Returns rows `[CLS] query [SEP] passage [SEP]`; the passage is segment 1.

    The query is truncated to its length, the passage to the rest of the row.
    Each distinct text is tokenized once.

    Args:
      tokenizer: the model's.
      pairs: N pairs.
      max_length: tokens in a row, special ones included.
      max_query_length: longest query, in tokens.
    """
    query = tokenize_all(tokenizer, (pair.query for pair in pairs))
    passage = tokenize_all(tokenizer, (pair.passage for pair in pairs))
    first = np.minimum(query.count, max_query_length)
    second = np.minimum(passage.count, max_length - 3 - first)
    paired = np.ones([len(pairs)], bool)
    made = join_pairs(tokenizer.vocab, query, passage, first, second, paired)
    cut = (first < query.count) | (second < passage.count)
    return dataclasses.replace(made, truncated=int(cut.sum()))


def make_groups(
    pairs: Sequence[Pair],
    relevant_from: float,
    num_negatives: int,
    groups_per_positive: int | None,
    seed: int,
) -> Groups:
    """Groups each positive of a query with some of the query's negatives.

    Queries with equal text are the same. A positive's negatives are the
    passages of lower relevance. They are sampled without replacement, and
    repeated only when all have been used.

    Args:
      pairs: pairs of known relevance; a passage that a query has twice counts
        once, with the higher relevance.
      relevant_from: lowest relevance of a positive.
      num_negatives: negatives in a group; fewer if no positive has so many.
      groups_per_positive: number of groups; None uses each negative once.
      seed: seed of the sampling.
    """
    pools: list[tuple[int, list[int]]] = []
    unused = 0
    grades = [pair.relevance or 0.0 for pair in pairs]
    for numbers in _distinct(pairs, grades):
        before = len(pools)
        for i in numbers:
            if grades[i] < relevant_from:
                continue
            worse = [j for j in numbers if grades[j] < grades[i]]
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


def _distinct(
    pairs: Sequence[Pair], grades: Sequence[float]
) -> list[list[int]]:
    """Returns the numbers of each query's distinct passages, best grade
    kept.
    """
    queries: dict[str, dict[str, int]] = {}
    for i, pair in enumerate(pairs):
        passages = queries.setdefault(pair.query, {})
        known = passages.setdefault(pair.passage, i)
        if grades[i] > grades[known]:
            passages[pair.passage] = i
    return [list(passages.values()) for passages in queries.values()]
