"""What a tagger gives at words -> tags, and entities in the text."""

from collections.abc import Mapping, Sequence

import numpy as np

from electra_tf.tasks.tagging import decoding as tagging_decoding
from electra_tf.tasks.tagging import schemes as tagging_schemes
from electra_tf.tasks.tagging.features import WordPlaces
from electra_tf.tasks.tagging.files import Sentence
from electra_tf.tasks.tagging.schemes import Grammar
from electra_tf.tasks.task import Prediction

# So little decides where the model does not see a word: the default label is
# preferred to others.
_SLIGHTLY = 1e-3


def word_labels(
    places: WordPlaces,
    outputs: Sequence[Mapping[str, np.ndarray]],
    grammar: Grammar | None,
    default: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The labels of all words of some sentences.

    Args:
      places: where the words stand.
      outputs: of each row: with a grammar `log_probs` [L, K] of all labels,
        else `label` [L] and its `log_prob` [L].
      grammar: the valid sequences; None where all are.
      default: the label of a word without a place; with a grammar, unless
        its neighbours ask for another.

    Returns:
      int64 [W] labels and float32 [W] logarithms of their probabilities.
    """
    if grammar is None:
        return (
            _at_words(places, outputs, "label", np.int64(default)),
            _at_words(places, outputs, "log_prob", np.float32(0)),
        )
    unseen = unseen_scores(grammar, default)
    scores = _at_words(places, outputs, "log_probs", unseen)
    labels = tagging_decoding.best_labels(scores, places.splits, grammar)
    return labels, scores[np.arange(len(labels)), labels]


def unseen_scores(grammar: Grammar, default: int) -> np.ndarray:
    """float32 [K], of the labels of a word that the model does not see."""
    # Next to the default, a label that goes on with a span.
    unseen = -_SLIGHTLY * (1 + grammar.first.astype("float32"))
    unseen[default] = 0.0
    return unseen


def _at_words(
    places: WordPlaces,
    outputs: Sequence[Mapping[str, np.ndarray]],
    name: str,
    unseen: np.ndarray,
) -> np.ndarray:
    """[W, ...]: an output at each word, `unseen` at those without a place."""
    words = np.nonzero(places.row >= 0)[0]
    words = words[np.argsort(places.row[words], kind="stable")]
    found = np.empty([len(places.row), *unseen.shape], unseen.dtype)
    found[:] = unseen
    rows = places.row[words]
    bounds = np.searchsorted(rows, np.arange(len(outputs) + 1))
    for row, output in enumerate(outputs):
        here = words[bounds[row] : bounds[row + 1]]
        found[here] = output[name][places.position[here]]
    return found


def prediction(
    sentence: Sentence, tags: list[str], log_probs: np.ndarray, scheme: str
) -> Prediction:
    """`tokens`, `tags` and `entities` of a sentence.

    Args:
      sentence: its words.
      tags: one for each.
      log_probs: float [words], of the tags.
      scheme: the tags'; in "none" there are no entities.
    """
    tokens = sentence.tokens
    entities = []
    if scheme != "none":
        text, starts = sentence.text, sentence.starts
        if text is None:
            text = " ".join(tokens)
            sizes = [len(token) + 1 for token in tokens]
            starts = np.cumsum([0, *sizes[:-1]]).tolist()
        for first, after, kind in tagging_schemes.spans(tags):
            start = starts[first]
            end = starts[after - 1] + len(tokens[after - 1])
            probability = float(np.exp(log_probs[first:after].sum()))
            entities.append(
                {"type": kind, "start": start, "end": end,
                 "text": text[start:end], "probability": probability}
            )  # fmt: skip
    return {"tokens": list(tokens), "tags": tags, "entities": entities}


def known_tags(
    examples: Sequence[Sentence], predictions: Sequence[Prediction]
) -> tuple[list[list[str]], list[list[str]]]:
    """True and predicted tags, of the sentences that have true ones."""
    pairs = [
        (list(sentence.tags), found["tags"])
        for sentence, found in zip(examples, predictions)
        if sentence.tags is not None
    ]
    return [gold for gold, _ in pairs], [given for _, given in pairs]


def column_text(
    examples: Sequence[Sentence], predictions: Sequence[Prediction]
) -> str:
    """Lines of word, true tag if known, predicted tag: what conlleval reads.

    White space in a word becomes "_".
    """
    lines = []
    for sentence, found in zip(examples, predictions):
        columns: list[Sequence[str]] = [sentence.tokens, found["tags"]]
        if sentence.tags is not None:
            columns.insert(1, sentence.tags)
        for token, *tags in zip(*columns):
            lines.append(" ".join(["_".join(token.split()) or "_", *tags]))
        lines.append("")
    return "\n".join([*lines, ""])
