"""Makes signatures of tasks on texts: classes, numbers, ranks, new texts."""

from collections.abc import Callable

import tensorflow as tf

from electra_tf.exporting.graphs import inputs
from electra_tf.exporting.graphs.inputs import Signatures, Tensors
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.glue.task import Glue
from electra_tf.tasks.ranking.task import Ranking
from electra_tf.tasks.seq2seq.task import Seq2SeqTask
from electra_tf.tasks.task import Task
from electra_tf.tasks.texts.classification import TableTask
from electra_tf.tasks.texts.targets import Classes, LabelSets, Number, Target
from electra_tf.tasks.texts.task import TextTask
from electra_tf.text import rows as text_rows
from electra_tf.text.detokenize import Detokenizer
from electra_tf.text.rows import Rows


def reads_pairs(task: Task) -> bool:
    """Returns whether the task takes a second text."""
    if isinstance(task, Glue):
        return len(task.set.texts) > 1
    if isinstance(task, TableTask):
        return task.options.text_pair_column is not None
    return isinstance(task, Ranking)


def signatures(predictor: Predictor) -> Signatures:
    """Makes `serving_default` for the kind of prediction.

    Inputs are `text` and, of a task on pairs, `text_pair`; of ranking `query`
    and `passage`; all string [B].

    - classes: `label` string [B], `probabilities` float32 [B, K], `labels`
      string [B, K], the same in each row;
    - sets of labels: `probabilities` and `labels` [B, K], `selected` bool
      [B, K];
    - a number, or ranking: `score` float32 [B].

    Args:
      predictor: a predictor of a task on texts, or of ranking.
    """
    task, tokenizer = predictor.task, predictor.tokenizer
    options = task.options
    length = options.max_seq_length
    if isinstance(task, Ranking):
        forward = inputs.task_outputs(predictor)

        def of_query(query: tf.Tensor, passage: tf.Tensor) -> Tensors:
            both = inputs.as_many(query, passage, "query and passage")
            rows = text_rows.query_rows(
                tokenizer, *both, length, options.max_query_length
            )
            return inputs.over_rows(
                forward, rows, {"score": tf.TensorSpec([None])}
            )

        return {
            "serving_default": inputs.signature(of_query, "query", "passage")
        }

    answer = _said(predictor)

    def of_text(text: tf.Tensor) -> Tensors:
        return answer(text_rows.text_rows(tokenizer, text, length))

    def of_pair(text: tf.Tensor, text_pair: tf.Tensor) -> Tensors:
        both = inputs.as_many(text, text_pair, "text and text_pair")
        return answer(text_rows.pair_rows(tokenizer, *both, length))

    if reads_pairs(task):
        return {
            "serving_default": inputs.signature(of_pair, "text", "text_pair")
        }
    return {"serving_default": inputs.signature(of_text, "text")}


def _said(predictor: Predictor) -> Callable[[Rows], Tensors]:
    """Returns a function from rows to the target's outputs."""
    task, forward = predictor.task, inputs.task_outputs(predictor)
    assert isinstance(task, TextTask)
    target = task.target
    if isinstance(target, Number):
        spec = {"score": tf.TensorSpec([None])}
    else:
        spec = {"probabilities": tf.TensorSpec([None, target.num_outputs])}

    def answer(rows: Rows) -> Tensors:
        return _in_words(target, inputs.over_rows(forward, rows, spec))

    return answer


def _in_words(target: Target, outputs: Tensors) -> Tensors:
    """Converts outputs of all rows like `Target.prediction`."""
    if isinstance(target, Number):
        # In float64, like Python: a large offset would lose a float's digits.
        score = tf.cast(outputs["score"], tf.float64)
        score = score * target.scale + target.offset
        return {"score": tf.cast(score, tf.float32)}
    probabilities = outputs["probabilities"]
    names = tf.constant(target.labels)
    labels = tf.tile(names[tf.newaxis], [tf.shape(probabilities)[0], 1])
    found = {"probabilities": probabilities, "labels": labels}
    if isinstance(target, LabelSets):
        exact = tf.cast(probabilities, tf.float64)
        return found | {"selected": exact >= target.threshold}
    assert isinstance(target, Classes)
    best = tf.argmax(probabilities, axis=-1)
    return found | {"label": tf.gather(names, best)}


def seq2seq_signatures(predictor: Predictor) -> Signatures:
    """Makes `serving_default`: `text` string [B] to a generated text.

    - `text` string [B], the generated text, "" for a text without tokens;
    - `score` float32 [B], its log probability over the length penalty;
    - if the options ask for several, `n_best_texts` string [B, N] and
      `n_best_scores` float32 [B, N], best first; "" and -inf where the search
      found fewer.

    Args:
      predictor: a predictor of a task that generates texts.
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
        rows = text_rows.text_rows(tokenizer, text, options.max_seq_length)
        found = inputs.over_rows(
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
            # A text without tokens has one result, the empty text.
            first = (tf.range(best) == 0)[tf.newaxis]
            answer["n_best_texts"] = texts
            answer["n_best_scores"] = tf.where(
                something | first, scores, float("-inf")
            )
        return answer

    return {"serving_default": inputs.signature(write, "text")}
