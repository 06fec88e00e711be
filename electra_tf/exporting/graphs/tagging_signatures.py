"""Makes the signature of tagging: text in, words with tags out.

Words become rows as in `tasks.features.unit_features`, scores of labels are
decoded as in `tasks.tagging.answers`, and labels are converted as by
`schemes.convert`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.exporting.graphs import inputs, slices, steps
from electra_tf.exporting.graphs.inputs import (
    Forward,
    Signatures,
    Tensors,
)
from electra_tf.exporting.graphs.slices import Columns, Read
from electra_tf.exporting.graphs.word_splitting import PLACES, split_words
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.tagging import answers, schemes
from electra_tf.tasks.tagging.schemes import Grammar, Span
from electra_tf.tasks.tagging.task import Tagging
from electra_tf.text import rows as text_rows
from electra_tf.text.rows import Rows
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.truncation import first_tokens


class WordRows(NamedTuple):
    """Rows, and the position where each of W words is tagged."""

    rows: Rows
    row: tf.Tensor  # int64 [W], -1 for a word without pieces
    position: tf.Tensor  # int64 [W], its first piece in that row


# Columns read from texts; `ids` are those of all words in order, and `num_ids`
# each word's number of ids.
_READ = {
    "words": tf.string, "ids": tf.int32, "num_ids": tf.int64,
    **dict.fromkeys(PLACES, tf.int64),
}  # fmt: skip


def word_pieces(
    tokenizer: Tokenizer, words: tf.RaggedTensor, max_length: int
) -> Columns:
    """Tokenizes words, each truncated to the room in a row.

    Args:
      tokenizer: the model's.
      words: string [B, (words)].
      max_length: tokens a row, specials included; at least 3.

    Returns:
      `ids` int32 [B, (pieces)] and `num_ids` int64 [B, (words)].
    """
    pieces = tokenizer(words.flat_values)
    counts = tf.minimum(pieces.row_lengths(), max_length - 2)
    pieces = first_tokens(pieces, counts)
    splits = tf.gather(pieces.row_splits, words.row_splits)
    return {
        "ids": tf.RaggedTensor.from_row_splits(
            pieces.flat_values, splits, validate=False
        ),
        "num_ids": words.with_flat_values(counts),
    }


def make_rows(
    tokenizer: Tokenizer, pieces: Columns, max_length: int
) -> WordRows:
    """Returns rows `[CLS] words [SEP]`, several for a long sentence.

    Args:
      tokenizer: the model's.
      pieces: `ids` and `num_ids` of the words, from `word_pieces`.
      max_length: tokens a row, specials included; at least 3.
    """
    room = max_length - 2
    counts, splits = pieces["num_ids"].flat_values, pieces["num_ids"].row_splits
    before = tf.concat([[0], tf.cumsum(counts)], axis=0)  # int64 [W + 1]
    first, end, own_first = cut_windows(splits, before, room)

    # Consecutive words have consecutive pieces.
    at = tf.ragged.range(tf.gather(before, first), tf.gather(before, end))
    ids = at.with_flat_values(
        tf.gather(pieces["ids"].flat_values, at.flat_values)
    )

    word = tf.range(tf.size(counts, tf.int64))
    row = tf.searchsorted(own_first, word, side="right", out_type=tf.int64) - 1
    position = tf.gather(before, word) - tf.gather(
        before, tf.gather(first, row)
    )
    return WordRows(
        text_rows.single_rows(tokenizer, ids),
        tf.where(counts > 0, row, -1),
        position + 1,
    )


def cut_windows(
    splits: tf.Tensor, before: tf.Tensor, room: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Splits groups between units; windows overlap by about a quarter.

    Groups are sentences of words, or texts of sentences.

    Args:
      splits: int64 [B + 1], where each group starts among all units.
      before: int64 [W + 1], the tokens before each unit.
      room: number of tokens of a row.

    Returns:
      For each row, in the order of the groups, int64 [R]: the first unit in it,
      the unit after the last, and the first unit that is predicted from it.
    """
    end = splits[1:]

    def array(dtype: tf.DType) -> tf.TensorArray:
        return tf.TensorArray(
            dtype, 1, dynamic_size=True, element_shape=splits[1:].shape
        )

    def step(
        i: tf.Tensor,
        start: tf.Tensor,
        done: tf.Tensor,
        starts: tf.TensorArray,
        stops: tf.TensorArray,
        used: tf.TensorArray,
    ) -> tuple:
        full = tf.gather(before, start) + room
        stop = tf.searchsorted(before, full, "right", out_type=tf.int64) - 1
        stop = tf.minimum(stop, end)
        starts, stops = starts.write(i, start), stops.write(i, stop)
        used = used.write(i, ~done)
        done |= stop >= end
        back = tf.gather(before, stop) - room // 4
        following = tf.searchsorted(before, back, out_type=tf.int64)
        following = tf.maximum(following, start + 1)
        start = tf.where(done, start, following)
        return i + 1, start, done, starts, stops, used

    *_, starts, stops, used = tf.while_loop(
        lambda i, start, done, *_: (i == 0) | ~tf.reduce_all(done),
        step,
        (
            0,
            splits[:-1],
            tf.zeros_like(end, tf.bool),
            array(tf.int64),
            array(tf.int64),
            array(tf.bool),
        ),
        parallel_iterations=1,
    )
    starts, stops, used = (
        tf.transpose(a.stack()) for a in (starts, stops, used)
    )
    # The overlap of two rows is divided in the middle.
    own = tf.concat(
        [starts[:, :1], (starts[:, 1:] + stops[:, :-1] + 1) // 2], axis=1
    )
    return tuple(tf.boolean_mask(a, used) for a in (starts, stops, own))


def first_best(scores: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the index of the highest score, int32, the first of equal ones.

    Args:
      scores: float32.
      axis: the axis.
    """
    # The operation argmax does not define which of equal ones it takes.
    highest = tf.reduce_max(scores, axis=axis, keepdims=True)
    size = tf.shape(scores)[axis]
    shape = [1] * scores.shape.rank
    shape[axis] = -1
    place = tf.reshape(tf.range(size), shape)
    found = tf.reduce_min(tf.where(scores == highest, place, size), axis=axis)
    return tf.minimum(found, size - 1)


def best_labels(
    scores: tf.Tensor, splits: tf.Tensor, grammar: Grammar | None
) -> tf.Tensor:
    """Returns the valid labels of B sentences with the highest total score.

    Args:
      scores: float32 [W, K], log-probabilities of all words' labels.
      splits: int64 [B + 1], where each sentence starts among the words.
      grammar: which sequences may be chosen; None for any.

    Returns:
      int32 [W]; among labels with equal scores the first.
    """
    best = first_best(scores, axis=1)
    if grammar is None:
        return best
    wrong = tf.where(~_valid(best, splits, grammar))[:, 0]
    return tf.cond(
        tf.size(wrong) > 0,
        lambda: _search(scores, best, splits, wrong, grammar),
        lambda: best,
    )


def _valid(labels: tf.Tensor, splits: tf.Tensor, grammar: Grammar) -> tf.Tensor:
    """Returns which sentences are valid, bool [B]; empty ones are."""
    size = len(grammar.first)
    # A further label means "outside", before and after a sentence.
    follows = np.ones([size + 1, size + 1], bool)
    follows[:size, :size] = grammar.next
    follows[size, :size] = grammar.first
    follows[:size, size] = grammar.last
    before, after = neighbours(labels, splits, size)
    ok = tf.gather_nd(tf.constant(follows), tf.stack([before, labels], -1))
    ok &= tf.gather_nd(tf.constant(follows), tf.stack([labels, after], -1))
    bad = tf.cumsum(tf.cast(~ok, tf.int32))
    bad = tf.concat([[0], bad], axis=0)
    return tf.gather(bad, splits[1:]) == tf.gather(bad, splits[:-1])


def neighbours(
    labels: tf.Tensor, splits: tf.Tensor, outside: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the labels before and after each, `outside` at sentences' ends.

    Args:
      labels: int32 [W].
      splits: int64 [B + 1].
      outside: the label beyond a sentence's ends.

    Returns:
      int32 [W], int32 [W].
    """
    cuts = tf.tensor_scatter_nd_update(
        tf.zeros([tf.size(labels) + 1], tf.bool),
        splits[:, tf.newaxis],
        tf.ones_like(splits, tf.bool),
    )
    ends = tf.constant([outside])
    before = tf.concat([ends, labels], axis=0)[:-1]
    after = tf.concat([labels, ends], axis=0)[1:]
    return (
        tf.where(cuts[:-1], outside, before),
        tf.where(cuts[1:], outside, after),
    )


def _search(
    scores: tf.Tensor,
    labels: tf.Tensor,
    splits: tf.Tensor,
    wrong: tf.Tensor,
    grammar: Grammar,
) -> tf.Tensor:
    """Replaces the labels of some sentences by Viterbi's search.

    Args:
      scores: float32 [W, K].
      labels: int32 [W].
      splits: int64 [B + 1].
      wrong: int64 [S], the sentences; none of them is empty.
      grammar: the valid sequences.
    """

    def barred(allowed: np.ndarray) -> tf.Tensor:
        return tf.constant(np.where(allowed, 0.0, -np.inf), tf.float32)

    between, first, last = map(
        barred, (grammar.next, grammar.first, grammar.last)
    )
    lengths = tf.gather(splits[1:] - splits[:-1], wrong)
    order = tf.argsort(lengths, stable=True)  # shortest first
    lengths = tf.gather(lengths, order)
    starts = tf.gather(splits, tf.gather(wrong, order))
    longest = tf.cast(lengths[-1], tf.int32)
    size = len(grammar.first)

    def go_on(t: tf.Tensor) -> tf.Tensor:
        """Returns the first sentence with a word number t."""
        t = tf.cast(t, tf.int64)[tf.newaxis]
        return tf.searchsorted(lengths, t, side="right")[0]

    def array(shape: list[int | None]) -> tf.TensorArray:
        return tf.TensorArray(
            tf.int32,
            longest,
            element_shape=shape,
            infer_shape=False,
            clear_after_read=False,
        )

    def step(
        t: tf.Tensor, total: tf.Tensor, back: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        here = go_on(t)
        paths = total[here:, :, tf.newaxis] + between
        back = back.write(t, first_best(paths, axis=1))
        at = starts[here:] + tf.cast(t, tf.int64)
        reached = tf.reduce_max(paths, axis=1) + tf.gather(scores, at)
        total = tf.concat([total[:here], reached], axis=0)
        return t + 1, tf.ensure_shape(total, [None, size]), back

    total = tf.ensure_shape(first + tf.gather(scores, starts), [None, size])
    _, total, back = tf.while_loop(
        lambda t, *_: t < longest,
        step,
        (1, total, array([None, size])),
        parallel_iterations=1,
    )
    label = first_best(total + last, axis=1)

    def unwind(
        t: tf.Tensor, label: tf.Tensor, found: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        here = go_on(t)
        found = found.write(t, label[here:])
        behind = tf.cond(
            t > 0,
            lambda: tf.gather(back.read(t), label[here:], batch_dims=1),
            lambda: label[here:],
        )
        return t - 1, tf.concat([label[:here], behind], axis=0), found

    _, _, found = tf.while_loop(
        lambda t, *_: t >= 0,
        unwind,
        (longest - 1, label, array([None])),
        parallel_iterations=1,
    )
    # Word by word, for the sentences that have it.
    word = tf.range(tf.cast(longest, tf.int64))
    here = tf.cast(tf.searchsorted(lengths, word, side="right"), tf.int64)
    sentence = tf.ragged.range(
        here, tf.fill(tf.shape(here), tf.size(lengths, tf.int64))
    )
    number = tf.repeat(word, sentence.row_lengths())
    at = tf.gather(starts, sentence.flat_values) + number
    return tf.tensor_scatter_nd_update(
        labels, at[:, tf.newaxis], found.concat()
    )


class TagSpelling:
    """Converts labels like `schemes.convert`, by tables over pairs of labels.

    The beginning of spans follows from a label and the previous one, and a
    word's tag from where its span begins and ends.

    Args:
      labels: the K names that were learned, in the scheme `learned`.
      learned: scheme of the labels.
      scheme: scheme of the data.
    """

    def __init__(self, labels: Sequence[str], learned: str, scheme: str):
        self._labels = tuple(labels)
        self._converts = learned != scheme
        if not self._converts:
            return
        tags = (*labels, schemes.OUTSIDE)  # the last one: beyond the sentence
        kinds = [
            None if t == schemes.OUTSIDE else schemes.split_tag(t)[1]
            for t in tags
        ]
        self._inside = np.array([kind is not None for kind in kinds])
        self._begins = np.array(
            [[_begins(a, b) for b in tags] for a in tags], bool
        )
        self._touches = np.array(
            [[a is not None and a == b for b in kinds] for a in kinds], bool
        )
        self._spellings = [
            spelling for kind in kinds for spelling in _spellings(kind, scheme)
        ]

    def __call__(self, labels: tf.Tensor, splits: tf.Tensor) -> tf.Tensor:
        """Returns the tags of words.

        Args:
          labels: int32 [W].
          splits: int64 [B + 1], where each sentence starts among the words.

        Returns:
          string [W].
        """
        if not self._converts:
            return tf.gather(tf.constant(self._labels), labels)
        edge = len(self._labels)
        before, after = neighbours(labels, splits, edge)

        def of_pairs(
            table: np.ndarray, a: tf.Tensor, b: tf.Tensor
        ) -> tf.Tensor:
            return tf.gather_nd(tf.constant(table), tf.stack([a, b], axis=-1))

        begins = of_pairs(self._begins, before, labels)
        ends = ~tf.gather(tf.constant(self._inside), after)
        ends |= of_pairs(self._begins, labels, after)
        touches = begins & of_pairs(self._touches, before, labels)
        form = sum(
            tf.cast(bit, tf.int32) * weight
            for bit, weight in ((begins, 4), (ends, 2), (touches, 1))
        )
        return tf.gather(tf.constant(self._spellings), labels * 8 + form)


def _begins(before: str, tag: str) -> bool:
    return any(span.start == 1 for span in schemes.spans([before, tag]))


def _spellings(kind: str | None, scheme: str) -> list[str]:
    """Returns a word's tags, by 4 * begins + 2 * ends + follows an equal
    span.
    """
    if kind is None:
        return [schemes.OUTSIDE] * 8
    found = []
    for begins in (False, True):
        for ends in (False, True):
            for touches in (False, True):
                start = 1 if touches else 2
                first = start if begins else start - 1
                before = [Span(0, 1, kind)] if begins and touches else []
                span = Span(first, start + (1 if ends else 2), kind)
                tags = schemes.write([*before, span], start + 2, scheme)
                found.append(tags[start])
    return found


def signatures(predictor: Predictor) -> Signatures:
    """Makes `serving_default`: `text` string [B] to the words of each text.

    Outputs are padded to the text with most words, W:

    - `tokens` and `tags` string [B, W], "" where there is no word;
    - `probabilities` float32 [B, W], of the tags, 0 there;
    - `start_bytes`, `end_bytes`, `start_chars` and `end_chars` int64 [B, W],
      in the text, ends exclusive, -1 there;
    - `num_tokens` int32 [B].

    Args:
      predictor: a predictor of tagging.
    """
    task, tokenizer = predictor.task, predictor.tokenizer
    assert isinstance(task, Tagging)
    labels = task.state["labels"]
    spelling = TagSpelling(labels, task.state["learned"], task.state["scheme"])

    length = task.options.max_seq_length

    def reader(texts: tf.Tensor) -> Read:
        words = split_words(texts)
        columns = {name: getattr(words, name) for name in PLACES}
        columns |= word_pieces(tokenizer, words.text, length)
        return Read({"words": words.text, **columns}, words.num_chars)

    def prepare(text: tf.Tensor) -> tuple[Rows, Any]:
        found = slices.read(text, reader, _READ, between_ideographs=True)
        rows = make_rows(tokenizer, found, length)
        kept = {name: found[name] for name in ("words", *PLACES)}
        return rows.rows, (kept, rows.row, rows.position)

    def answer(rest: Any, outputs: Tensors) -> Tensors:
        found, row, position = rest
        words = found["words"]
        chosen, log_probs = _word_labels(
            task, outputs, row, position, words.row_splits
        )

        def padded(values: tf.Tensor, default: float | str) -> tf.Tensor:
            return words.with_flat_values(values).to_tensor(default)

        return {
            "tokens": words.to_tensor(""),
            "tags": padded(spelling(chosen, words.row_splits), ""),
            "probabilities": padded(tf.exp(log_probs), 0.0),
            **{name: found[name].to_tensor(-1) for name in PLACES},
            "num_tokens": tf.cast(words.row_lengths(), tf.int32),
        }

    return steps.signatures(
        steps.Steps(prepare, *_forward(predictor), answer), "text"
    )


def _forward(
    predictor: Predictor,
) -> tuple[Forward, dict[str, tf.TensorSpec]]:
    """Returns the function for rows, and its outputs, a column for each
    token.
    """
    task = predictor.task
    assert isinstance(task, Tagging)
    size, width = len(task.state["labels"]), task.options.max_seq_length
    specs = {"log_probs": tf.TensorSpec([None, width, size])}
    if task.grammar() is None:
        specs = {
            "label": tf.TensorSpec([None, width], tf.int32),
            "log_prob": tf.TensorSpec([None, width]),
        }
    outputs_of = inputs.task_outputs(predictor)

    def forward(input_ids: tf.Tensor, *others: tf.Tensor) -> Tensors:
        found = outputs_of(input_ids, *others)
        missing = width - tf.shape(input_ids)[1]  # parts are joined
        return {
            name: tf.pad(
                value, [[0, 0], [0, missing], [0, 0]][: value.shape.rank]
            )
            for name, value in found.items()
        }

    return forward, specs


def _word_labels(
    task: Tagging,
    outputs: Tensors,
    row: tf.Tensor,
    position: tf.Tensor,
    splits: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns labels int32 [W] and their log-probabilities float32 [W].

    They equal those of `tasks.tagging.answers.word_labels`.

    Args:
      task: the task of the labels.
      outputs: outputs of the rows.
      row: int64 [W], the row of each word, -1 for none.
      position: int64 [W], its position in that row.
      splits: int64 [B + 1], where each text starts among the words.
    """
    grammar, default = task.grammar(), task.default_label()
    seen = row >= 0
    at = tf.stack([tf.maximum(row, 0), position], axis=-1)
    at = tf.where(seen[:, tf.newaxis], at, 0)
    found = {name: tf.gather_nd(value, at) for name, value in outputs.items()}
    if grammar is None:
        return (
            tf.where(seen, found["label"], default),
            tf.where(seen, found["log_prob"], 0.0),
        )
    scores = tf.where(
        seen[:, tf.newaxis],
        found["log_probs"],
        answers.unseen_scores(grammar, default),
    )
    labels = best_labels(scores, splits, grammar)
    return labels, tf.gather(scores, labels, batch_dims=1)
