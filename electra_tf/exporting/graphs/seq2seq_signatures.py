"""The signature of tasks that write texts: a text in, another out."""

from collections.abc import Callable

import tensorflow as tf

from electra_tf.exporting.graphs import inputs, parts
from electra_tf.exporting.graphs.parts import Tensors
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.seq2seq.task import Seq2SeqTask
from electra_tf.text.detokenize import Detokenizer


def signatures(predictor: Predictor) -> dict[str, Callable]:
    """`serving_default`: input `text` string [B], another text for each.

    - `text` string [B], what was written, "" for a text without tokens;
    - `score` float32 [B], its log probability over the length penalty;
    - where the options tell several, `n_best_texts` string [B, N] and
      `n_best_scores` float32 [B, N], the best first; "" and -inf where the
      search has found fewer.

    Args:
      predictor: of a task that writes texts.
    """
    task, tokenizer = predictor.task, predictor.tokenizer
    assert isinstance(task, Seq2SeqTask)
    options, detokenizer = task.options, Detokenizer(
        tokenizer.vocab, task.spacing
    )  # fmt: skip
    best, length = options.n_best, options.search().max_length

    def forward(
        input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
    ) -> Tensors:
        return task.infer(predictor.network, input_ids, input_mask, segment_ids)

    def write(text: tf.Tensor) -> Tensors:
        rows = inputs.text_rows(tokenizer, text, options.max_seq_length)
        found = parts.over_rows(
            forward,
            rows,
            {
                "ids": tf.TensorSpec([None, best, length], tf.int32),
                "lengths": tf.TensorSpec([None, best], tf.int32),
                "scores": tf.TensorSpec([None, best]),
            },
        )
        something = (rows.lengths > 2)[:, tf.newaxis]
        exists = tf.math.is_finite(found["scores"]) & something
        ids = tf.RaggedTensor.from_tensor(
            tf.reshape(found["ids"], [-1, length]),
            lengths=tf.reshape(tf.where(exists, found["lengths"], 0), [-1]),
        )
        texts = tf.reshape(detokenizer(ids), [-1, best])
        scores = tf.where(something, found["scores"], 0.0)
        answer = {"text": texts[:, 0], "score": scores[:, 0]}
        if best > 1:
            # Of a text without tokens there is one, the empty one.
            first = (tf.range(best) == 0)[tf.newaxis]
            answer["n_best_texts"] = texts
            answer["n_best_scores"] = tf.where(
                something | first, scores, float("-inf")
            )
        return answer

    return {
        "serving_default": tf.function(
            write,
            input_signature=[tf.TensorSpec([None], tf.string, "text")],
            autograph=False,
        )
    }
