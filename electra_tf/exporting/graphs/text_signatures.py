"""Signatures of tasks on a text, a pair, or a query with a passage."""

from collections.abc import Callable

import tensorflow as tf

from electra_tf.exporting.graphs import inputs, parts
from electra_tf.exporting.graphs.inputs import Rows
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.glue.task import Glue
from electra_tf.tasks.ranking.task import Ranking
from electra_tf.tasks.task import Task
from electra_tf.tasks.texts.classification import TableTask
from electra_tf.tasks.texts.targets import Classes, LabelSets, Number, Target

Tensors = dict[str, tf.Tensor]


def reads_pairs(task: Task) -> bool:
    """Whether the task takes a second text."""
    if isinstance(task, Glue):
        return len(task.set.texts) > 1
    if isinstance(task, TableTask):
        return task.options.text_pair_column is not None
    return isinstance(task, Ranking)


def signatures(predictor: Predictor) -> dict[str, Callable]:
    """`serving_default`, by what is said of the text.

    Inputs are `text` and, of a task on pairs, `text_pair`; of ranking `query`
    and `passage`; all string [B].

    - classes: `label` string [B], `probabilities` float32 [B, K], `labels`
      string [B, K], the same in each row;
    - sets of labels: `probabilities` and `labels` [B, K], `selected` bool
      [B, K];
    - a number, or ranking: `score` float32 [B].

    Args:
      predictor: of a task on texts, or of ranking.
    """
    task, tokenizer = predictor.task, predictor.tokenizer
    options = task.options
    length = options.max_seq_length
    if isinstance(task, Ranking):
        answer = _ranked(predictor)

        def of_query(query: tf.Tensor, passage: tf.Tensor) -> Tensors:
            both = inputs.as_many(query, passage, "query and passage")
            return answer(
                inputs.query_rows(
                    tokenizer, *both, length, options.max_query_length
                )
            )

        return {"serving_default": _function(of_query, "query", "passage")}

    answer = _said(predictor)

    def of_text(text: tf.Tensor) -> Tensors:
        return answer(inputs.text_rows(tokenizer, text, length))

    def of_pair(text: tf.Tensor, text_pair: tf.Tensor) -> Tensors:
        both = inputs.as_many(text, text_pair, "text and text_pair")
        return answer(inputs.pair_rows(tokenizer, *both, length))

    if reads_pairs(task):
        return {"serving_default": _function(of_pair, "text", "text_pair")}
    return {"serving_default": _function(of_text, "text")}


def _function(function: Callable, *names: str) -> Callable:
    return tf.function(
        function,
        input_signature=[tf.TensorSpec([None], tf.string, n) for n in names],
        autograph=False,
    )


def _forward(predictor: Predictor) -> Callable[..., Tensors]:
    """Rows of a part -> what the task keeps of the network's outputs."""

    def forward(
        input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
    ) -> Tensors:
        found = predictor.network(
            input_ids, input_mask, segment_ids, training=False
        )
        return predictor.task.outputs(found)

    return forward


def _ranked(predictor: Predictor) -> Callable[[Rows], Tensors]:
    forward = _forward(predictor)
    return lambda rows: parts.over_rows(
        forward, rows, {"score": tf.TensorSpec([None])}
    )


def _said(predictor: Predictor) -> Callable[[Rows], Tensors]:
    """Rows -> what the target says of them."""
    forward, target = _forward(predictor), predictor.task.target
    if isinstance(target, Number):
        spec = {"score": tf.TensorSpec([None])}
    else:
        spec = {"probabilities": tf.TensorSpec([None, target.num_outputs])}

    def answer(rows: Rows) -> Tensors:
        return _in_words(target, parts.over_rows(forward, rows, spec))

    return answer


def _in_words(target: Target, outputs: Tensors) -> Tensors:
    """`Target.prediction`, of all rows."""
    if isinstance(target, Number):
        # As Python reckons: a large offset would cost a float its digits.
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
