"""The signature of tagging: text in, words with their tags out."""

from collections.abc import Callable

import tensorflow as tf

from electra_tf.exporting.graphs import parts, tag_search, tagging_rows
from electra_tf.exporting.graphs.parts import Tensors
from electra_tf.exporting.graphs.tag_spelling import TagSpelling
from electra_tf.exporting.graphs.word_splitting import split_words
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.tagging import answers
from electra_tf.tasks.tagging.task import Tagging


def signatures(predictor: Predictor) -> dict[str, Callable]:
    """`serving_default`: `text` string [B] -> the words of each text.

    Outputs are padded to the text with most words, W:

    - `tokens` and `tags` string [B, W], "" where there is no word;
    - `probabilities` float32 [B, W], of the tags, 0 there;
    - `start_bytes`, `end_bytes`, `start_chars` and `end_chars` int64 [B, W],
      in the text, ends exclusive, -1 there;
    - `num_tokens` int32 [B].

    Args:
      predictor: of tagging.
    """
    task, tokenizer = predictor.task, predictor.tokenizer
    assert isinstance(task, Tagging)
    labels = task.state["labels"]
    spelling = TagSpelling(labels, task.state["learned"], task.state["scheme"])

    def tag(text: tf.Tensor) -> Tensors:
        words = split_words(text)
        splits = words.text.row_splits
        rows = tagging_rows.make_rows(
            tokenizer, words.text, task.options.max_seq_length
        )
        chosen, log_probs = _word_labels(predictor, rows, splits)

        def padded(values: tf.Tensor, default: float | str) -> tf.Tensor:
            return words.text.with_flat_values(values).to_tensor(default)

        return {
            "tokens": words.text.to_tensor(""),
            "tags": padded(spelling(chosen, splits), ""),
            "probabilities": padded(tf.exp(log_probs), 0.0),
            "start_bytes": words.start_bytes.to_tensor(-1),
            "end_bytes": words.end_bytes.to_tensor(-1),
            "start_chars": words.start_chars.to_tensor(-1),
            "end_chars": words.end_chars.to_tensor(-1),
            "num_tokens": tf.cast(words.text.row_lengths(), tf.int32),
        }

    return {
        "serving_default": tf.function(
            tag,
            input_signature=[tf.TensorSpec([None], tf.string, "text")],
            autograph=False,
        )
    }


def _word_labels(
    predictor: Predictor, rows: tagging_rows.WordRows, splits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """int32 [W] labels and the float32 [W] logarithms of their probabilities.

    As `tasks.tagging.answers.word_labels`.
    """
    task, network = predictor.task, predictor.network
    grammar, default = task.grammar(), task.default_label()
    size = len(task.state["labels"])
    width = tf.maximum(tf.shape(rows.rows.input_ids)[1], 1)
    specs = {"log_probs": tf.TensorSpec([None, None, size])}
    if grammar is None:
        specs = {
            "label": tf.TensorSpec([None, None], tf.int32),
            "log_prob": tf.TensorSpec([None, None]),
        }

    def forward(
        input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
    ) -> Tensors:
        found = task.outputs(
            network(input_ids, input_mask, segment_ids, training=False)
        )
        missing = width - tf.shape(input_ids)[1]  # parts are joined
        return {
            name: tf.pad(
                value, [[0, 0], [0, missing], [0, 0]][: value.shape.rank]
            )
            for name, value in found.items()
        }

    outputs = parts.over_rows(forward, rows.rows, specs)
    seen = rows.row >= 0
    at = tf.stack([tf.maximum(rows.row, 0), rows.position], axis=-1)
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
    labels = tag_search.best_labels(scores, splits, grammar)
    return labels, tf.gather(scores, labels, batch_dims=1)
