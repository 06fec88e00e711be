"""Documents -> windows of sentences, and the place of each sentence in them.

`[CLS] sentence [SEP] [CLS] sentence [SEP] ...`, as BertSum has it. The
segment ids are the numbers of sentences in the whole document: its network
makes 0 and 1 in turn of them, and knows where in the document it reads.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from electra_tf.tasks import ragged, windows
from electra_tf.tasks.features import Features
from electra_tf.text.tokenizer import Tokenizer

IGNORED = -1  # the label of tokens that stand for no sentence


@dataclasses.dataclass(frozen=True, eq=False)
class SentencePlaces:
    """Where the sentences of N documents are scored.

    Attributes:
      splits: int64 [N + 1], where each document starts among all S sentences.
      row: int64 [S], the window that a sentence is scored in.
      position: int64 [S], of its [CLS] there.
    """

    splits: np.ndarray
    row: np.ndarray
    position: np.ndarray


def make_features(
    tokenizer: Tokenizer,
    documents: Sequence[Sequence[str]],
    max_length: int,
    labels: Sequence[Sequence[bool | None]] | None = None,
) -> Features:
    """Windows of documents.

    Of a sentence of more pieces than a window has room for, the first are
    seen.

    Args:
      tokenizer: the model's.
      documents: the sentences of N documents.
      max_length: tokens of a window.
      labels: of all sentences, in training; None of those that nothing is
        learned from.

    Returns:
      Features whose `extra` are the `SentencePlaces`. With labels they have
      the token array `labels`, `IGNORED` at all but the [CLS] of sentences
      that are scored there, and the row array `scale` float32, the same for
      all: 1 / the labels of a mean window.
    """
    lengths = np.array([len(texts) for texts in documents], "int64")
    splits = np.concatenate([[0], np.cumsum(lengths)])
    pieces = ragged.pieces(tokenizer, (t for texts in documents for t in texts))
    kept = np.minimum(pieces.count, max_length - 2)
    rows = windows.cut(splits, kept + 2, max_length)

    seen, row_of = ragged.ranges(rows.first, rows.end)  # window by window
    count = kept[seen]
    size = np.bincount(row_of, count + 2, len(rows.first)).astype("int64")
    row_splits = np.concatenate([[0], np.cumsum(size)])
    place = np.cumsum(count + 2) - (count + 2)  # of each [CLS]

    vocab = tokenizer.vocab
    ids = np.full([row_splits[-1]], vocab.sep_id, "int32")
    ids[place] = vocab.cls_id
    source, of = ragged.ranges(pieces.start[seen], pieces.start[seen] + count)
    ids[place[of] + 1 + source - pieces.start[seen][of]] = pieces.table[source]
    number = seen - splits[:-1][rows.group[row_of]]
    numbers = np.repeat(number, count + 2).astype("int32")

    own = (rows.own_first[row_of] <= seen) & (seen < rows.own_end[row_of])
    places = SentencePlaces(
        splits, np.zeros([splits[-1]], "int64"), np.zeros([splits[-1]], "int64")
    )
    places.row[seen[own]] = row_of[own]
    places.position[seen[own]] = (place - row_splits[row_of])[own]

    tokens = {"input_ids": ids, "segment_ids": numbers}
    targets = {}
    if labels is not None:
        given = np.array(
            [
                IGNORED if label is None else int(label)
                for row in labels
                for label in row
            ],
            "int32",
        )
        tokens["labels"] = np.full_like(ids, IGNORED)
        tokens["labels"][place[own]] = given[seen[own]]
        mean = (tokens["labels"] >= 0).sum() / max(len(size), 1)
        targets["scale"] = np.full([len(size)], 1 / max(mean, 1), "float32")
    return Features(
        row_splits,
        tokens,
        targets,
        padding={"input_ids": vocab.pad_id, "labels": IGNORED},
        examples=rows.group,
        extra=places,
    )


def sentence_scores(
    places: SentencePlaces, scores: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The scores of each document's sentences.

    Args:
      places: of N documents.
      scores: float32 [L] of the tokens of each window.
    """
    found = np.array(
        [scores[r][p] for r, p in zip(places.row, places.position)], "float32"
    )
    return np.split(found, places.splits[1:-1])
