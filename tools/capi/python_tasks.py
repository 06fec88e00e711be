"""Predicts with fine-tuned models, in the form of their export's outputs."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from capi.texts import Row
from electra_tf.prediction.predictor import Inference, Predictor
from electra_tf.tasks.ranking.pairs import Pair
from electra_tf.tasks.tagging import answers as tagging_answers
from electra_tf.tasks.tagging.words import Sentence
from electra_tf.tasks.task import Prediction
from electra_tf.tasks.texts.task import TextExample

Outputs = dict[str, Any]


def _predicted(
    predictor: Predictor,
    rows: Sequence[Row],
    by_hand: Callable[..., Any] = lambda *row: None,
) -> list[Prediction | None]:
    """Returns the predictions of `predict`, row by row.

    Args:
      predictor: the model.
      rows: of one or two texts.
      by_hand: makes an example of a row that is not UTF-8, or returns None
        where the task has none.
    """
    examples = []
    for row in rows:
        try:
            texts = [text.decode() for text in row]
        except UnicodeDecodeError:
            examples.append(by_hand(*row))
            continue
        item = texts[0] if len(texts) == 1 else tuple(texts)
        record = predictor.task.record(item)
        examples.append(predictor.task.asked(record, "row"))
    known = [i for i, example in enumerate(examples) if example is not None]
    answers = predictor.answer([examples[i] for i in known])
    found: list[Prediction | None] = [None] * len(rows)
    for i, answer in zip(known, answers):
        found[i] = answer
    return found


def _predicted_texts(
    predictor: Predictor, rows: Sequence[Row]
) -> list[Prediction]:
    return _predicted(predictor, rows, TextExample)


def classes(predictor: Predictor, rows: Sequence[Row]) -> list[Outputs]:
    """Returns outputs of classification and multi-label models."""
    found = []
    for prediction in _predicted_texts(predictor, rows):
        outputs = {
            "labels": _objects(prediction["probabilities"]),
            "probabilities": np.array(
                list(prediction["probabilities"].values())
            ),
        }
        if "label" in prediction:
            outputs["label"] = prediction["label"].encode()
        else:
            outputs["selected"] = np.array(
                [
                    name in prediction["labels"]
                    for name in prediction["probabilities"]
                ]
            )
        found.append(outputs)
    return found


def numbers(predictor: Predictor, rows: Sequence[Row]) -> list[Outputs]:
    """Returns outputs of regression models."""
    return [
        {"score": prediction["score"]}
        for prediction in _predicted_texts(predictor, rows)
    ]


def ranks(predictor: Predictor, rows: Sequence[Row]) -> list[Outputs]:
    """Returns outputs of ranking models."""
    found = _predicted(predictor, rows, Pair)
    return [{"score": prediction["score"]} for prediction in found]


def tags(predictor: Predictor, rows: Sequence[Row]) -> list[Outputs | None]:
    """Returns outputs of tagging models; None for rows not in UTF-8."""
    predictions = _predicted(predictor, rows)
    known = [i for i, answer in enumerate(predictions) if answer is not None]
    texts = [rows[i][0].decode() for i in known]
    examples = [predictor.task.asked({"text": t}, "row") for t in texts]
    probabilities = _tag_probabilities(predictor, examples)
    found: list[Outputs | None] = [None] * len(rows)
    for i, sentence, probs in zip(known, examples, probabilities):
        answer = predictions[i]
        starts = np.array(sentence.starts, "int64")
        sizes = np.array([len(t) for t in sentence.tokens], "int64")
        found[i] = {
            "tokens": _objects(sentence.tokens),
            "tags": _objects(answer["tags"]),
            "probabilities": probs,
            "num_tokens": len(starts),
            "start_chars": starts,
            "end_chars": starts + sizes,
            "start_bytes": _bytes(sentence.text, starts),
            "end_bytes": _bytes(sentence.text, starts + sizes),
        }
        for entity in answer["entities"]:  # the product over its words
            inside = (starts >= entity["start"]) & (starts < entity["end"])
            assert math.isclose(
                entity["probability"], np.prod(probs[inside]), abs_tol=1e-4
            )
    return found


def _tag_probabilities(
    predictor: Predictor, examples: Sequence[Sentence]
) -> list[np.ndarray]:
    """Returns each tag's probability; `predict` has those of entities."""
    if not examples:
        return []
    task = predictor.task
    features = task.features(predictor.tokenizer, examples, training=False)
    outputs = Inference(predictor.network, task).run(features)
    _, log_probs = tagging_answers.word_labels(
        features.extra, outputs, task.grammar(), task.default_label()
    )
    return np.split(np.exp(log_probs), features.extra.splits[1:-1])


def answers(predictor: Predictor, rows: Sequence[Row]) -> list[Outputs | None]:
    """Returns outputs of question answering; None for rows not in UTF-8."""
    found: list[Outputs | None] = []
    for row, prediction in zip(rows, _predicted(predictor, rows)):
        if prediction is None:
            found.append(None)
            continue
        outputs = {
            "answer": prediction["answer"].encode(),
            "score": prediction["score"],
            "no_answer": prediction["null_odds"] or 0.0,
        }
        for name in ("start", "end"):
            at = prediction[name]
            there = at is not None
            outputs[name] = at if there else -1
            outputs[f"{name}_byte"] = (
                _bytes(row[1].decode(), [at])[0] if there else -1
            )
        found.append(outputs)
    return found


def texts(predictor: Predictor, rows: Sequence[Row]) -> list[Outputs | None]:
    """Returns outputs of seq2seq models; None for rows not in UTF-8."""
    found: list[Outputs | None] = []
    for prediction in _predicted(predictor, rows):
        if prediction is None:
            found.append(None)
            continue
        outputs = {
            "text": prediction["text"].encode(),
            "score": prediction["score"],
        }
        best = prediction.get("n_best")
        if best:  # padded by the export where there are fewer
            outputs["n_best_texts"] = _objects([b["text"] for b in best])
            outputs["n_best_scores"] = np.array([b["score"] for b in best])
        found.append(outputs)
    return found


def summaries(
    predictor: Predictor, rows: Sequence[Row]
) -> list[Outputs | None]:
    """Returns outputs of summarization; None for rows not in UTF-8."""
    found: list[Outputs | None] = []
    for row, prediction in zip(rows, _predicted(predictor, rows)):
        if prediction is None:
            found.append(None)
            continue
        chosen, text = prediction["sentences"], row[0].decode()
        outputs = {
            "summary": prediction["summary"].encode(),
            "sentences": _objects([one["text"] for one in chosen]),
            "scores": np.array([one["score"] for one in chosen], "float32"),
            "num_sentences": len(chosen),
        }
        for end in ("start", "end"):
            places = [one[end] for one in chosen]
            outputs[f"{end}_chars"] = np.array(places, "int64")
            outputs[f"{end}_bytes"] = _bytes(text, places)
        found.append(outputs)
    return found


def _bytes(text: str, places: Sequence[int]) -> np.ndarray:
    """Converts offsets in characters to offsets in bytes of UTF-8."""
    sizes = [len(character.encode()) for character in text]
    return np.cumsum([0, *sizes])[np.asarray(places, "int64")]


def _objects(texts: Sequence[str]) -> np.ndarray:
    found = np.empty([len(texts)], object)
    found[:] = [text.encode() for text in texts]
    return found


ANSWERS: dict[str, Callable[[Predictor, Sequence[Row]], list]] = {
    "classification": classes,
    "multilabel": classes,
    "regression": numbers,
    "ranking": ranks,
    "tagging": tags,
    "qa": answers,
    "seq2seq": texts,
    "summarization": summaries,
}
