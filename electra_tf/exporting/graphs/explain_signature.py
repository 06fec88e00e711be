"""Makes the signature `explain`: each token's contribution to an answer."""

import tensorflow as tf

from electra_tf.exporting.graphs import inputs
from electra_tf.exporting.graphs.inputs import Signatures, Tensors
from electra_tf.exporting.graphs.text_signatures import reads_pairs
from electra_tf.models.attributions import integrated_gradients
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.texts.targets import Target
from electra_tf.tasks.texts.task import TextTask
from electra_tf.text import rows as text_rows
from electra_tf.text.rows import Rows
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.truncation import first_tokens, fitting

_PARTS = {
    "scores": tf.TensorSpec([None, None]),
    "logits": tf.TensorSpec([None, None]),
    "target": tf.TensorSpec([None], tf.int32),
    "output": tf.TensorSpec([None]),
    "baseline": tf.TensorSpec([None]),
    "error": tf.TensorSpec([None]),
}


def signatures(predictor: Predictor) -> Signatures:
    """Makes `explain`, for a task on a text or a pair of texts.

    Inputs are those of `serving_default`, string [B], and, where there are
    labels, `label` string [B]: the label whose logit is explained, "" for the
    largest. W is the most tokens of a row.

    - `tokens` string [B, W], special ones included; padding "";
    - `scores` float32 [B, W], what each adds; padding and specials 0;
    - `segments` int32 [B, W], 1 in the second text;
    - `start_chars`, `end_chars` int32 [B, W]: where each stands in its own
      text; specials and padding -1;
    - `num_tokens` int32 [B];
    - `label` string [B] and `probability` float32 [B], of labels;
    - `output`, `baseline` float32 [B]: the logit, or the number, and the same
      with [PAD] in place of all tokens but the specials: the scores add up to
      their difference;
    - `error` float32 [B], see `models.attributions`.

    Each row is what `electra_tf.explain` gives.

    Args:
      predictor: of a `TextTask`.
    """
    task = predictor.task
    assert isinstance(task, TextTask)
    tokenizer, target, labels = (
        predictor.tokenizer, task.target, task.target.labels,
    )  # fmt: skip
    length = task.options.max_seq_length

    def explain(
        text: tf.Tensor,
        text_pair: tf.Tensor | None = None,
        label: tf.Tensor | None = None,
    ) -> Tensors:
        chosen = tf.fill([tf.size(text)], -1)
        if label is not None:
            text, label = inputs.as_many(text, label, "text and label")
            chosen = _positions(label, labels)
        if text_pair is not None:
            text, text_pair = inputs.as_many(
                text, text_pair, "text and text_pair"
            )
        rows, spans = _placed(tokenizer, text, text_pair, length)
        found = _attributed(predictor, rows, chosen)
        real = tf.sequence_mask(rows.lengths, tf.shape(rows.input_ids)[1])
        names = tf.gather(tf.constant(tokenizer.vocab.tokens), rows.input_ids)
        return {
            "tokens": tf.where(real, names, ""),
            "segments": rows.segment_ids,
            "start_chars": spans[..., 0],
            "end_chars": spans[..., 1],
            "num_tokens": rows.lengths,
            **_in_words(target, found),
        }

    def of_text(text: tf.Tensor) -> Tensors:
        return explain(text)

    def of_pair(text: tf.Tensor, text_pair: tf.Tensor) -> Tensors:
        return explain(text, text_pair)

    def of_label(text: tf.Tensor, label: tf.Tensor) -> Tensors:
        return explain(text, None, label)

    if reads_pairs(task):
        if labels:
            answer = inputs.signature(explain, "text", "text_pair", "label")
        else:
            answer = inputs.signature(of_pair, "text", "text_pair")
    elif labels:
        answer = inputs.signature(of_label, "text", "label")
    else:
        answer = inputs.signature(of_text, "text")
    return {"explain": answer}


def _positions(label: tf.Tensor, labels: tuple[str, ...]) -> tf.Tensor:
    """Returns the numbers of label names, int32 [B]; -1 for ""."""
    same = label[:, tf.newaxis] == tf.constant(labels)[tf.newaxis]
    known = tf.reduce_any(same, axis=1)
    check = tf.debugging.assert_equal(
        known | (label == ""),
        True,
        message=f"label: expected one of {', '.join(labels)}, or nothing",
    )
    with tf.control_dependencies([check]):
        place = tf.argmax(same, axis=1, output_type=tf.int32)
    return tf.where(known, place, -1)


def _placed(
    tokenizer: Tokenizer,
    text: tf.Tensor,
    pair: tf.Tensor | None,
    max_length: int,
) -> tuple[Rows, tf.Tensor]:
    """Returns the rows of `text_rows` or `pair_rows`, with tokens' positions.

    Returns:
      Rows, and int32 [B, L, 2] of characters, -1 of specials and padding.
    """
    found = [
        tokenizer.tokenize_with_offsets(texts)
        for texts in ([text] if pair is None else [text, pair])
    ]
    if pair is None:
        kept = fitting([found[0].ids], max_length - 2)
    else:
        a, b = (f.ids for f in found)
        *kept, closed = text_rows.pair_kept(a, b, max_length)
    ids = [first_tokens(f.ids, n) for f, n in zip(found, kept)]
    none = tf.fill([ids[0].nrows(), 1, 2], tf.constant(-1, tf.int64))
    around = [none]
    for f, n in zip(found, kept):
        spans = tf.stack([f.start_chars.values, f.end_chars.values], axis=1)
        around += [first_tokens(f.ids.with_values(spans), n), none]
    if pair is None:
        rows = text_rows.single_rows(tokenizer, ids[0])
    else:
        rows = text_rows.paired_rows(tokenizer, ids[0], ids[1], closed)
    places = tf.cast(tf.concat(around, axis=1), tf.int32)
    width = tf.shape(rows.input_ids)[1]
    return rows, places.to_tensor(-1, shape=[None, None, 2])[:, :width]


def _attributed(predictor: Predictor, rows: Rows, target: tf.Tensor) -> Tensors:
    """Computes `integrated_gradients` of each row, padded to [B, L]."""
    vocab = predictor.tokenizer.vocab
    count, width = tf.shape(target)[0], tf.shape(rows.input_ids)[1]
    # One more row, so that there is always one.
    more = [[0, 1], [0, 1]]
    input_ids = tf.pad(rows.input_ids, more)
    segment_ids = tf.pad(rows.segment_ids, more)
    lengths, targets = tf.pad(rows.lengths, [[0, 1]]), tf.pad(target, [[0, 1]])

    def run(start: tf.Tensor, end: tf.Tensor) -> Tensors:
        length = tf.maximum(lengths[start], 1)
        ids = input_ids[start, :length]
        found = integrated_gradients(
            predictor.network,
            ids,
            segment_ids[start, :length],
            (ids == vocab.cls_id) | (ids == vocab.sep_id),
            vocab.pad_id,
            targets[start],
        )
        scores = tf.pad(found.scores, [[0, tf.maximum(width - length, 0)]])
        found = found._replace(scores=scores[:width])
        parts = found._asdict().items()
        return {name: value[tf.newaxis][: end - start] for name, value in parts}

    return inputs.in_parts(run, count, 1, _PARTS)


def _in_words(target: Target, found: Tensors) -> Tensors:
    """Returns label and output in the form of `electra_tf.explain`."""
    scale, offset = target.scale, target.offset
    answer = {
        "scores": found["scores"] * scale,
        "output": found["output"] * scale + offset,
        "baseline": found["baseline"] * scale + offset,
        "error": found["error"],
    }
    if target.labels:
        number = found["target"]
        answer["label"] = tf.gather(tf.constant(target.labels), number)
        shares = target.outputs(found["logits"])["probabilities"]
        answer["probability"] = tf.gather(shares, number, batch_dims=1)
    return answer
