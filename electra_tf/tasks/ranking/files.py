"""Files of queries and passages -> pairs.

Three forms: triples, a TSV of query, positive, negative without a header
(MS MARCO's); rows of query, passage and relevance in TSV, CSV or JSON Lines;
lists, JSON Lines of a query with its positives and negatives.
"""

import csv
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from electra_tf.errors import UserError
from electra_tf.tasks import records
from electra_tf.tasks.ranking.options import Columns, Form
from electra_tf.text import inputs

_TRIPLE = ("query", "positive", "negative")
# Names under which lists are in circulation.
_POSITIVES = ("positives", "positive", "pos")
_NEGATIVES = ("negatives", "negative", "neg", "hard_negatives")


class Pair(NamedTuple):
    """A query and one of its passages."""

    query: str
    passage: str
    relevance: float | None = None  # the more the better; None: not known
    query_id: str = ""
    passage_id: str = ""


def read_pairs(
    path: str, columns: Columns, form: Form = "auto", judged: bool = True
) -> list[Pair]:
    """The pairs of a file, in order.

    A triple is two pairs of relevance 1 and 0; so are positives and negatives
    of lists. A pair without a query id has the query for it; one without a
    passage id the number of its place among the pairs, from 1.

    Args:
      path: `.tsv`, `.csv`, `.jsonl`; `.gz` and so on too.
      columns: of rows, and the query's of lists.
      form: "auto" takes JSON Lines with a list of positives or negatives for
        lists, a table whose header has the query's and the passage's column
        for rows, another of three columns for triples.
      judged: whether rows must have a relevance.

    Raises:
      UserError: unreadable, empty texts, no number for a relevance, a
        passage twice for a query; file and line are named.
    """
    if form == "auto":
        form = _form(path, columns)
    found = {"triples": _triples, "rows": _rows, "lists": _lists}[form](
        path, columns
    )
    texts: dict[str, str] = {}  # of equal texts one is kept
    queries: dict[str, str] = {}
    given: set[tuple[str, str]] = set()
    pairs: list[Pair] = []
    for pair, place in found:
        if judged and pair.relevance is None:
            raise UserError(
                f"{place}: no column '{columns.relevance}'; expected the "
                "passage's relevance (0, 1, ...)"
            )
        pair = pair._replace(
            query=texts.setdefault(pair.query, pair.query),
            passage=texts.setdefault(pair.passage, pair.passage),
        )
        if pair.passage_id:
            _check_ids(pair, queries, given, place)
        else:
            pair = pair._replace(passage_id=str(len(pairs) + 1))
        pairs.append(pair._replace(query_id=pair.query_id or pair.query))
    return pairs


def pair_of(record: Mapping[str, Any], columns: Columns, place: str) -> Pair:
    """A row.

    Raises:
      UserError: a text is missing or empty, the relevance is no number.
    """
    return Pair(
        _text(record, columns.query, place),
        _text(record, columns.passage, place),
        _relevance(record.get(columns.relevance), columns.relevance, place),
        _identifier(record, columns.query_id),
        _identifier(record, columns.passage_id),
    )


def _form(path: str, columns: Columns) -> Form:
    kind = records.format_of(path)
    if kind == "jsonl":
        lists = {*_POSITIVES, *_NEGATIVES} & set(records.columns_of(path))
        return "lists" if lists else "rows"
    # The first line of triples is no header, and may be any text.
    line = _first_line(path)
    names = line.split("\t") if kind == "tsv" else next(csv.reader([line]), [])
    if {columns.query, columns.passage} <= set(names):
        return "rows"
    if kind == "tsv" and len(names) == len(_TRIPLE):
        return "triples"
    raise UserError(
        f"{path}:1: expected a header with the columns '{columns.query}' and "
        f"'{columns.passage}', or lines of query, positive and negative; got "
        f"{len(names)} columns: '{line:.40}'"
    )


def _first_line(path: str) -> str:
    with inputs.open_input(path) as stream:
        start = b""
        while b"\n" not in start and (block := stream.read(1 << 16)):
            start += block
    line = start.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
    return line.decode("utf-8", "replace").rstrip("\r")


_Found = Iterator[tuple[Pair, str]]


def _triples(path: str, columns: Columns) -> _Found:
    for record, place in records.read_records(path, "tsv", columns=_TRIPLE):
        query, positive, negative = (
            _text(record, name, place) for name in _TRIPLE
        )
        if (query, positive, negative) == _TRIPLE:
            continue  # a header after all
        yield Pair(query, positive, 1.0), place
        yield Pair(query, negative, 0.0), place


def _rows(path: str, columns: Columns) -> _Found:
    for record, place in records.read_records(path):
        yield pair_of(record, columns, place), place


def _lists(path: str, columns: Columns) -> _Found:
    for record, place in records.read_records(path):
        query = _text(record, columns.query, place)
        query_id = _identifier(record, columns.query_id)
        for names, relevance in ((_POSITIVES, 1.0), (_NEGATIVES, 0.0)):
            for name in names:
                for passage in _passages(record.get(name), name, place):
                    yield Pair(query, passage, relevance, query_id), place


def _passages(value: Any, name: str, place: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise UserError(f"{place}: {name}: expected a list of texts")
    # A passage is its text, or an object with one.
    texts = [v.get("text") if isinstance(v, dict) else v for v in value]
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise UserError(
                f"{place}: {name}: expected texts that are not empty, got "
                f"{text!r:.40}"
            )
    return texts


def _text(record: Mapping[str, Any], name: str, place: str) -> str:
    if name not in record:
        raise UserError(
            f"{place}: no column '{name}'; there are {', '.join(record)}"
        )
    value = record[name]
    if not isinstance(value, str):
        raise UserError(f"{place}: {name}: expected a text, got {value!r:.40}")
    if not value.strip():
        raise UserError(f"{place}: {name}: the text is empty")
    return value


def _relevance(value: Any, name: str, place: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
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
    if key in given:
        raise UserError(
            f"{place}: the query '{key[0]:.40}' has the passage "
            f"'{key[1]:.40}' already; leave one of the rows out"
        )
    given.add(key)
    if queries.setdefault(key[0], pair.query) != pair.query:
        raise UserError(
            f"{place}: the query id '{key[0]:.40}' is another query's already"
        )


def run_text(pairs: Iterable[Pair], scores: Iterable[float], tag: str) -> str:
    """A ranking as trec_eval reads it: query, Q0, passage, rank, score, tag.

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
