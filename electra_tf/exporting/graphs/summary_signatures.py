"""Makes the signature of extractive summaries: text in, summary out.

Sentences become rows as in `tasks.features.unit_features`, and summaries are
chosen by their scores as in `tasks.summarization.selection.take`.
"""

from typing import NamedTuple

import tensorflow as tf

from electra_tf.exporting.graphs import inputs
from electra_tf.exporting.graphs.inputs import Signatures, Tensors
from electra_tf.exporting.graphs.tagging_signatures import cut_windows
from electra_tf.exporting.graphs.word_splitting import cut_spans
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.summarization.options import Length
from electra_tf.tasks.summarization.task import ExtractiveSummarization
from electra_tf.text import sentences
from electra_tf.text.detokenize import CJK_RANGES
from electra_tf.text.normalize import row_numbers
from electra_tf.text.rows import Rows
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.truncation import first_tokens

_CJK = "".join(f"\\x{{{low:X}}}-\\x{{{high:X}}}" for low, high in CJK_RANGES)


def signatures(predictor: Predictor) -> Signatures:
    """Makes `serving_default`: `text` string [B] to a summary of each text.

    - `summary` string [B], "" for a text without a sentence;
    - `sentences` string [B, S], its sentences, in order; padding "";
    - `scores` float32 [B, S], their probabilities, 0 there;
    - `start_bytes`, `end_bytes`, `start_chars` and `end_chars` int64 [B, S],
      in the text, ends exclusive, -1 there;
    - `num_sentences` int32 [B].

    Args:
      predictor: a predictor of extractive summarization.
    """
    task, tokenizer = predictor.task, predictor.tokenizer
    assert isinstance(task, ExtractiveSummarization)
    options = task.options
    length = options.length(task.state["ratio"])

    def summarize(text: tf.Tensor) -> Tensors:
        found = sentences.split(text, options.language)
        texts = cut_spans(text, found.start_bytes, found.end_bytes)
        scores = _scores(predictor, tokenizer, texts)
        taken = texts.with_flat_values(
            take(texts, scores, length, options.title_line,
                 options.trigram_blocking)
        )  # fmt: skip

        def kept(ragged: tf.RaggedTensor) -> tf.RaggedTensor:
            return tf.ragged.boolean_mask(ragged, taken)

        chosen = kept(texts)
        return {
            "summary": joined(chosen),
            "sentences": chosen.to_tensor(""),
            "scores": kept(texts.with_flat_values(scores)).to_tensor(0.0),
            **{
                name: kept(getattr(found, name)).to_tensor(-1)
                for name in found._fields
            },
            "num_sentences": tf.cast(chosen.row_lengths(), tf.int32),
        }

    return {"serving_default": inputs.signature(summarize, "text")}


class _SentenceRows(NamedTuple):
    """Rows, and the position where each of N sentences is scored."""

    rows: Rows
    row: tf.Tensor  # int64 [N]
    position: tf.Tensor  # int64 [N], of its [CLS]


def _rows(
    tokenizer: Tokenizer, texts: tf.RaggedTensor, max_length: int
) -> _SentenceRows:
    """Returns rows `[CLS] sentence [SEP] [CLS] ...`, several for a long text.

    Args:
      tokenizer: the model's.
      texts: string [B, (sentences)].
      max_length: tokens in a row, special ones included.
    """
    vocab = tokenizer.vocab
    pieces = tokenizer(texts.flat_values)
    counts = tf.minimum(pieces.row_lengths(), max_length - 2)
    one = tf.ones([pieces.nrows(), 1], tf.int32)
    framed = tf.concat(
        [one * vocab.cls_id, first_tokens(pieces, counts), one * vocab.sep_id],
        axis=1,
    )
    counts += 2
    before = tf.concat([[0], tf.cumsum(counts)], axis=0)  # int64 [N + 1]
    first, end, own_first = cut_windows(texts.row_splits, before, max_length)
    number = tf.range(tf.size(counts, tf.int64)) - tf.gather(
        texts.row_starts(), row_numbers(texts)
    )
    numbers = tf.repeat(tf.cast(number, tf.int32), counts)
    at = tf.ragged.range(tf.gather(before, first), tf.gather(before, end))
    ids = at.with_flat_values(tf.gather(framed.flat_values, at.flat_values))
    segments = at.with_flat_values(tf.gather(numbers, at.flat_values))
    sentence = tf.range(tf.size(counts, tf.int64))
    row = tf.searchsorted(own_first, sentence, side="right", out_type=tf.int64)
    row -= 1
    return _SentenceRows(
        Rows(
            ids.to_tensor(vocab.pad_id),
            segments.to_tensor(0),
            tf.cast(ids.row_lengths(), tf.int32),
        ),
        row,
        tf.gather(before, sentence) - tf.gather(before, tf.gather(first, row)),
    )


def _scores(
    predictor: Predictor, tokenizer: Tokenizer, texts: tf.RaggedTensor
) -> tf.Tensor:
    """Returns the probabilities of all sentences, float32 [N]."""
    made = _rows(tokenizer, texts, predictor.task.options.max_seq_length)
    width = tf.maximum(tf.shape(made.rows.input_ids)[1], 1)
    outputs_of = inputs.task_outputs(predictor)

    def forward(input_ids: tf.Tensor, *others: tf.Tensor) -> Tensors:
        found = outputs_of(input_ids, *others)["probabilities"]
        missing = width - tf.shape(input_ids)[1]  # so that parts can be joined
        return {"probabilities": tf.pad(found, [[0, 0], [0, missing]])}

    found = inputs.over_rows(
        forward, made.rows, {"probabilities": tf.TensorSpec([None, None])}
    )["probabilities"]
    return tf.gather_nd(found, tf.stack([made.row, made.position], axis=-1))


def take(
    texts: tf.RaggedTensor,
    scores: tf.Tensor,
    length: Length,
    titled: bool,
    block: bool,
) -> tf.Tensor:
    """Chooses the sentences of summaries; see `selection.take`.

    Args:
      texts: string [B, (sentences)].
      scores: scores of all sentences, float32 [N].
      length: length of a summary.
      titled: whether the first sentence of several is a title.
      block: whether sentences that share a trigram exclude each other.

    Returns:
      bool [N].
    """
    words = _words(texts.flat_values)
    grams, grams_splits, number = _trigrams(words, row_numbers(texts))
    lengths = texts.row_lengths()
    left_out = tf.where((lengths > 1) & titled, 1, 0)
    order, counts = _order(texts, scores, left_out, lengths)
    size_of = tf.cast(words.row_lengths(), tf.float64)
    if length.sentences is not None:
        goal = tf.fill(tf.shape(lengths), tf.constant(float("inf"), tf.float64))
    elif length.words is not None:
        goal = tf.fill(tf.shape(lengths), tf.constant(length.words, tf.float64))
    else:
        total = tf.reduce_sum(texts.with_flat_values(size_of), axis=1)
        title = tf.where(
            left_out > 0, tf.gather(_with_end(size_of), texts.row_starts()), 0
        )
        goal = tf.constant(length.ratio or 0.0, tf.float64) * (total - title)
    most = counts if length.sentences is None else tf.fill(
        tf.shape(counts), tf.constant(length.sentences, tf.int64)
    )  # fmt: skip

    def step(
        k: tf.Tensor,
        going: tf.Tensor,
        taken: tf.Tensor,
        seen: tf.Tensor,
        size: tf.Tensor,
        done: tf.Tensor,
    ) -> tuple:
        """Processes the sentence number k of each text's order."""
        going &= (k < counts) & (done < most) & (size < goal)
        rows = tf.where(going)[:, 0]
        sentence = tf.gather(order, tf.gather(texts.row_starts(), rows) + k)
        at = tf.ragged.range(
            tf.gather(grams_splits, sentence),
            tf.gather(grams_splits, sentence + 1),
        )
        own = at.with_flat_values(tf.gather(grams, at.flat_values))
        some = tf.gather(done, rows) > 0
        met = own.with_flat_values(tf.gather(seen, own.flat_values))
        blocked = tf.reduce_any(met, axis=1) & some & block
        before, aim = tf.gather(size, rows), tf.gather(goal, rows)
        after = before + tf.gather(size_of, sentence)
        over = some & (after - aim > aim - before) & ~blocked
        chosen = ~blocked & ~over
        going = tf.tensor_scatter_nd_update(going, rows[:, tf.newaxis], ~over)
        new = tf.boolean_mask(sentence, chosen)[:, tf.newaxis]
        taken = tf.tensor_scatter_nd_update(
            taken, new, tf.ones_like(new[:, 0], tf.bool)
        )
        met = tf.ragged.boolean_mask(own, chosen).flat_values[:, tf.newaxis]
        seen = tf.tensor_scatter_nd_update(
            seen, met, tf.ones_like(met[:, 0], tf.bool)
        )
        which = tf.boolean_mask(rows, chosen)[:, tf.newaxis]
        size = tf.tensor_scatter_nd_update(
            size, which, tf.boolean_mask(after, chosen)
        )
        done = tf.tensor_scatter_nd_add(done, which, tf.ones_like(which[:, 0]))
        return k + 1, going, taken, seen, size, done

    _, _, taken, *_ = tf.while_loop(
        lambda k, going, *_: tf.reduce_any(going),
        step,
        (
            tf.constant(0, tf.int64),
            counts > 0,
            tf.zeros_like(scores, tf.bool),
            tf.zeros([number], tf.bool),
            tf.zeros_like(goal),
            tf.zeros_like(counts),
        ),
        parallel_iterations=1,
    )
    return taken


def _order(
    texts: tf.RaggedTensor,
    scores: tf.Tensor,
    left_out: tf.Tensor,
    lengths: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the sentences of each text, best first, and how many are allowed.

    Args:
      texts: string [B, (sentences)].
      scores: float32 [N].
      left_out: int32 [B], 1 where the first one must not be taken.
      lengths: int64 [B].

    Returns:
      int64 [N], numbers among all sentences, text by text, with excluded ones
      last; and int64 [B].
    """
    left_out = tf.cast(left_out, tf.int64)
    number = tf.range(tf.size(scores, tf.int64))
    row = row_numbers(texts)
    first = number == tf.gather(texts.row_starts(), row)
    barred = first & (tf.gather(left_out, row) > 0)
    best = tf.argsort(
        tf.where(barred, float("-inf"), scores),
        direction="DESCENDING",
        stable=True,
    )
    # Sorted by text, and stable, so that each text keeps its order.
    by_text = tf.argsort(tf.gather(row, best), stable=True)
    order = tf.cast(tf.gather(best, by_text), tf.int64)
    return order, lengths - left_out


def _with_end(values: tf.Tensor) -> tf.Tensor:
    """Appends a value, for texts after the last sentence."""
    return tf.concat([values, tf.zeros([1], values.dtype)], axis=0)


def _words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits sentences, string [N], into words, like `articles.words`."""
    lower = tf.strings.lower(texts, encoding="utf-8")
    apart = tf.strings.regex_replace(lower, f"([{_CJK}])", r" \1 ")
    bare = tf.strings.regex_replace(apart, r"[^\p{L}\p{N}]+", " ")
    return tf.strings.split(bare)


def _trigrams(
    words: tf.RaggedTensor, row: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Numbers the trigrams of each text; other texts have other numbers.

    Args:
      words: string [N, (words)].
      row: int64 [N], the text of each sentence.

    Returns:
      Numbers, int32 [G]; where each sentence's begin, int64 [N + 1]; and the
      number of distinct ones.
    """
    counts = tf.maximum(words.row_lengths() - 2, 0)
    starts = tf.ragged.range(words.row_starts(), words.row_starts() + counts)
    at = starts.flat_values
    of = tf.repeat(tf.strings.as_string(row), counts)
    parts = [tf.gather(words.flat_values, at + i) for i in range(3)]
    different, numbers = tf.unique(tf.strings.join([of, *parts], separator=" "))
    return numbers, starts.row_splits, tf.size(different)


def joined(texts: tf.RaggedTensor) -> tf.Tensor:
    """Joins sentences, string [B, (sentences)], like `articles.join`."""
    flat = texts.flat_values
    begins = tf.strings.regex_full_match(flat, rf"(?s)[{_CJK}].*")
    ends = tf.strings.regex_full_match(flat, rf"(?s).*[{_CJK}]")
    after = tf.concat([[False], ends], axis=0)[:-1]
    number = tf.range(tf.size(flat, tf.int64))
    first = number == tf.gather(texts.row_starts(), row_numbers(texts))
    glue = tf.where(begins | after | first, "", " ")
    return tf.strings.reduce_join(
        texts.with_flat_values(tf.strings.join([glue, flat])), axis=1
    )
