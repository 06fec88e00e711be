"""The signature of question answering: question and context in, answer out."""

from collections.abc import Callable

import tensorflow as tf

from electra_tf.exporting.graphs import inputs, parts, qa_search, qa_windows
from electra_tf.exporting.graphs.parts import Tensors
from electra_tf.exporting.graphs.qa_windows import Windows
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.qa.answers import AnswerConfig
from electra_tf.tasks.qa.task import QuestionAnswering


def signatures(predictor: Predictor) -> dict[str, Callable]:
    """`serving_default`: `question` and `context`, string [B], -> answers.

    All outputs are [B]:

    - `answer` string, "" for none; where it stands in the context: `start`
      and `end` int64 in characters, `start_byte` and `end_byte` in bytes, ends
      exclusive, -1 for no answer;
    - `score` float32, the best span's probability among the best ones;
    - `no_answer` float32, the odds that there is none, to be compared with the
      task's threshold; 0 where the model cannot tell.

    Args:
      predictor: of question answering.
    """
    task = predictor.task
    assert isinstance(task, QuestionAnswering)

    def answer(question: tf.Tensor, context: tf.Tensor) -> Tensors:
        both = inputs.as_many(question, context, "question and context")
        return _answers(predictor, *both)

    return {
        "serving_default": tf.function(
            answer,
            input_signature=[
                tf.TensorSpec([None], tf.string, name)
                for name in ("question", "context")
            ],
            autograph=False,
        )
    }


def _answers(
    predictor: Predictor, question: tf.Tensor, context: tf.Tensor
) -> Tensors:
    task, tokenizer = predictor.task, predictor.tokenizer
    options, splitter = task.options, task.splitter
    config = AnswerConfig(options.n_best_size, options.max_answer_length)
    pieces = qa_windows.context_pieces(tokenizer, context, splitter)
    windows = qa_windows.make_windows(
        tokenizer, question, pieces, options.features()
    )
    beams = _beams(predictor, windows)
    found = qa_search.candidates(
        windows, pieces, beams, config.max_answer_length
    )
    best = qa_search.best(context, pieces, found, splitter, config)
    odds = _null_odds(predictor, windows, beams, best.score)
    told = best.found
    if odds is not None:
        told &= ~(odds > task.threshold)
    else:
        odds = tf.zeros_like(best.score)

    def place(offsets: tf.RaggedTensor, piece: tf.Tensor) -> tf.Tensor:
        values = tf.concat([offsets.flat_values, [-1]], axis=0)
        none = tf.size(offsets.flat_values, tf.int64)
        return tf.gather(values, tf.where(told, piece, none))

    return {
        "answer": tf.where(told, best.text, ""),
        "start": place(pieces.start_chars, best.first),
        "end": place(pieces.end_chars, best.last),
        "start_byte": place(pieces.start_bytes, best.first),
        "end_byte": place(pieces.end_bytes, best.last),
        "score": best.probability,
        "no_answer": tf.cast(odds, tf.float32),
    }


def _beams(predictor: Predictor, windows: Windows) -> Tensors:
    """`qa.answers.beam_tensors` of all windows, in one shape.

    Where a window is shorter than a beam, -1 is no position.
    """
    task, network = predictor.task, predictor.network
    size = task.options.beam_size
    if network.head_config.kind == "joint_span":
        size = network.head_config.beam_size
    specs = {
        "starts": tf.TensorSpec([None, size], tf.int32),
        "start_scores": tf.TensorSpec([None, size]),
        "ends": tf.TensorSpec([None, size, size], tf.int32),
        "end_scores": tf.TensorSpec([None, size, size]),
        "null_score": tf.TensorSpec([None]),
    }
    if network.head_config.answerable:
        specs["impossible"] = tf.TensorSpec([None])

    def forward(
        input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor
    ) -> Tensors:
        found = task.outputs(
            network(input_ids, input_mask, segment_ids, training=False)
        )
        number = tf.shape(found["starts"])[1]
        for name in ("ends", "end_scores"):
            if found[name].shape.rank == 2:  # the same for all starts
                found[name] = tf.repeat(
                    found[name][:, tf.newaxis], number, axis=1
                )
        missing = [0, size - number]
        for name in ("starts", "ends"):
            by = [[0, 0], missing, missing][: found[name].shape.rank]
            found[name] = tf.pad(found[name], by, constant_values=-1)
        for name in ("start_scores", "end_scores"):
            by = [[0, 0], missing, missing][: found[name].shape.rank]
            found[name] = tf.pad(found[name], by)
        return found

    return parts.over_rows(forward, windows.rows, specs)


def _null_odds(
    predictor: Predictor, windows: Windows, beams: Tensors, score: tf.Tensor
) -> tf.Tensor | None:
    """float64 [B] as `qa.answers` reckons them; None of what cannot tell."""
    if not predictor.task.unanswerable:
        return None
    is_told = "impossible" in beams
    of_window = tf.cast(
        beams["impossible" if is_told else "null_score"], tf.float64
    )
    # The window that believes most in an answer decides.
    least = tf.math.unsorted_segment_min(
        of_window, windows.example, tf.size(score)
    )
    odds = least if is_told else least - tf.cast(score, tf.float64)
    some = windows.splits[1:] > windows.splits[:-1]
    return tf.where(some, odds, 0.0)
