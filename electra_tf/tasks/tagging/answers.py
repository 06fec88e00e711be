"""Turns a tagger's outputs into tags, entities and metrics."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from electra_tf.tasks.features import Places
from electra_tf.tasks.tagging import schemes as tagging_schemes
from electra_tf.tasks.tagging.options import Scorer
from electra_tf.tasks.tagging.schemes import Grammar, Span, in_bioes
from electra_tf.tasks.tagging.words import Sentence
from electra_tf.tasks.task import Prediction

Tags = Sequence[Sequence[str]]

# Float32 numbers that a step of the search holds at a time.
_CELLS = 1 << 22
# A tiny preference for the default label, which decides where the model does
# not see a word.
_SLIGHTLY = 1e-3


def word_labels(
    places: Places,
    outputs: Sequence[Mapping[str, np.ndarray]],
    grammar: Grammar | None,
    default: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses the labels of all words of some sentences.

    Args:
      places: positions of the words.
      outputs: for each row, with a grammar `log_probs` [L, K] of all labels,
        else `label` [L] and its `log_prob` [L].
      grammar: the valid sequences; None where all are valid.
      default: the label of a word without a position; with a grammar, unless
        its neighbours require another.

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
    labels = best_labels(scores, places.splits, grammar)
    return labels, scores[np.arange(len(labels)), labels]


def unseen_scores(grammar: Grammar, default: int) -> np.ndarray:
    """Returns scores of the labels of an unseen word, float32 [K]."""
    # After the default, labels that continue a span are preferred.
    unseen = -_SLIGHTLY * (1 + grammar.first.astype("float32"))
    unseen[default] = 0.0
    return unseen


def _at_words(
    places: Places,
    outputs: Sequence[Mapping[str, np.ndarray]],
    name: str,
    unseen: np.ndarray,
) -> np.ndarray:
    """Returns an output at each word, [W, ...]; `unseen` if without
    position.
    """
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
    """Makes a prediction: `tokens`, `tags` and `entities` of a sentence.

    Args:
      sentence: the sentence.
      tags: one tag for each word.
      log_probs: log-probabilities of the tags, float [words].
      scheme: the tags' scheme; "none" has no entities.
    """
    tokens = sentence.tokens
    entities = []
    if scheme != "none":
        text, starts = sentence.text, sentence.starts
        if text is None or starts is None:
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
    """Returns true and predicted tags, of sentences that have true ones."""
    pairs = [
        (list(sentence.tags), found["tags"])
        for sentence, found in zip(examples, predictions)
        if sentence.tags is not None
    ]
    return [gold for gold, _ in pairs], [given for _, given in pairs]


def column_text(
    examples: Sequence[Sentence], predictions: Sequence[Prediction]
) -> str:
    """Formats predictions for conlleval: word, true tag if known, predicted
    tag.

    White space in a word or a tag becomes "_".
    """
    lines = []
    for sentence, found in zip(examples, predictions):
        columns: list[Sequence[str]] = [sentence.tokens, found["tags"]]
        if sentence.tags is not None:
            columns.insert(1, sentence.tags)
        for row in zip(*columns):
            lines.append(
                " ".join("_".join(cell.split()) or "_" for cell in row)
            )
        lines.append("")
    return "\n".join([*lines, ""])


def best_labels(
    scores: np.ndarray, splits: np.ndarray, grammar: Grammar | None
) -> np.ndarray:
    """Returns the valid labels of N sentences with the highest total score.

    Args:
      scores: log-probabilities of all words' labels, float32 [W, K].
      splits: int64 [N + 1], where each sentence starts among the words.
      grammar: which sequences may be chosen; None for any.

    Returns:
      int64 [W]; among labels with equal scores the first.
    """
    best = scores.argmax(axis=-1) if len(scores) else np.zeros([0], "int64")
    if grammar is None:
        return best
    wrong = np.nonzero(~_valid(best, splits, grammar))[0]
    lengths = np.diff(splits)
    # Sorted by length, so that batches have little padding.
    wrong = wrong[np.argsort(lengths[wrong], kind="stable")]
    step = max(1, _CELLS // scores.shape[1] ** 2)
    for i in range(0, len(wrong), step):
        chosen = wrong[i : i + step]
        _search(scores, best, splits[chosen], lengths[chosen], grammar)
    return best


def _valid(
    labels: np.ndarray, splits: np.ndarray, grammar: Grammar
) -> np.ndarray:
    """Returns which sentences are valid, bool [N]; empty ones are."""
    ok = np.ones([len(labels)], bool)
    ok[1:] = grammar.next[labels[:-1], labels[1:]]
    full = np.nonzero(np.diff(splits))[0]
    firsts, lasts = splits[:-1][full], splits[1:][full] - 1
    ok[firsts] = grammar.first[labels[firsts]]
    ok[lasts] &= grammar.last[labels[lasts]]
    sums = np.concatenate([[0], np.cumsum(ok)])
    return np.diff(sums[splits]) == np.diff(splits)


def _search(
    scores: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    grammar: Grammar,
) -> None:
    """Fills `labels` of some sentences, shortest first, by Viterbi's search."""

    def barred(allowed: np.ndarray) -> np.ndarray:
        return np.where(allowed, 0.0, -np.inf).astype("float32")

    between, first, last = map(
        barred, (grammar.next, grammar.first, grammar.last)
    )
    size, longest = len(starts), int(lengths[-1])
    back = np.zeros([longest, size, scores.shape[1]], "int32")
    total = first + scores[starts]  # [sentences, K]
    for t in range(1, longest):
        here = np.searchsorted(lengths, t, "right")  # those that continue
        paths = total[here:, :, None] + between
        back[t, here:] = paths.argmax(axis=1)
        total[here:] = paths.max(axis=1) + scores[starts[here:] + t]
    label = (total + last).argmax(axis=-1)
    for t in range(longest - 1, -1, -1):
        here = np.searchsorted(lengths, t, "right")
        rows = np.arange(here, size)
        labels[starts[here:] + t] = label[here:]
        label[here:] = back[t, rows, label[here:]]


def entity_scores(
    gold: Tags, predicted: Tags, scheme: str, scorer: Scorer = "seqeval"
) -> dict[str, float]:
    """Computes micro-averaged precision, recall and F1 of spans, in percent.

    The scorers differ in how they read invalid tags; constrained decoding gives
    none.

    Args:
      gold: true tags of each sentence.
      predicted: predicted tags of each sentence.
      scheme: the tags' scheme, not "none".
      scorer: "seqeval", its default mode, which equals conlleval; "strict", its
        strict mode, which ignores invalid spans; or "original", the original
        ELECTRA's.
    """
    if scheme in ("ioe1", "ioe2") and scorer != "seqeval":
        # The original knows no such tags, and seqeval misreads valid IOE1.
        gold, predicted = (
            [tagging_schemes.convert(tags, "bioes") for tags in sentences]
            for sentences in (gold, predicted)
        )
        scheme = "bioes"
    if scorer == "original":
        return _of_spans(gold, predicted, tagging_schemes.joined_spans)
    from seqeval import scheme as schemes
    from seqeval.metrics import sequence_labeling, v1

    # seqeval reads BILOU in strict mode only, and not BMES.
    renamed = scheme in ("bilou", "bmes")
    known, given = (
        [
            [in_bioes(tag) for tag in tags] if renamed else list(tags)
            for tags in sentences
        ]
        for sentences in (gold, predicted)
    )
    options: dict = {"average": "micro", "zero_division": 0}
    if scorer == "strict":
        strict = {
            "bio": schemes.IOB2, "iob1": schemes.IOB1,
            "bioes": schemes.IOBES, "bilou": schemes.IOBES,
            "bmes": schemes.IOBES,
        }  # fmt: skip
        found = v1.precision_recall_fscore_support(
            known, given, scheme=strict[scheme], **options
        )
    else:
        found = sequence_labeling.precision_recall_fscore_support(
            known, given, **options
        )
    precision, recall, f1, _ = found
    return _percent(float(precision), float(recall), float(f1))


def type_report(gold: Tags, predicted: Tags) -> str:
    """Returns a line for each type of span: precision, recall, F1, count."""
    outside = tagging_schemes.OUTSIDE
    if all(tag == outside for tags in (*gold, *predicted) for tag in tags):
        return "no spans, neither true nor predicted\n"
    from seqeval import metrics

    known, given = (
        [[in_bioes(tag) for tag in tags] for tags in sentences]
        for sentences in (gold, predicted)
    )
    return metrics.classification_report(
        known, given, digits=4, zero_division=0
    )


def type_scores(gold: Tags, predicted: Tags) -> dict[str, dict[str, float]]:
    """Returns precision, recall, F1 in percent and count, of each span type."""
    counts: dict[str, list[int]] = {}
    for x, y in zip(gold, predicted):
        known = set(tagging_schemes.spans(x))
        given = set(tagging_schemes.spans(y))
        for number, found in enumerate((known & given, known, given)):
            for span in found:
                counts.setdefault(span.type, [0, 0, 0])[number] += 1
    return {
        kind: _rates(*counts[kind]) | {"support": counts[kind][1]}
        for kind in sorted(counts)
    }


def _rates(right: int, known: int, given: int) -> dict[str, float]:
    return {
        "precision": 100.0 * right / given if given else 0.0,
        "recall": 100.0 * right / known if known else 0.0,
        "f1": 200.0 * right / (given + known),
    }


def accuracy(gold: Tags, predicted: Tags) -> float:
    """Returns the share of words with the right tag, in percent."""
    pairs = [a == b for x, y in zip(gold, predicted) for a, b in zip(x, y)]
    return 100.0 * sum(pairs) / max(len(pairs), 1)


def _of_spans(
    gold: Tags, predicted: Tags, read: Callable[[Sequence[str]], list[Span]]
) -> dict[str, float]:
    right = known = given = 0
    for x, y in zip(gold, predicted):
        a, b = set(read(x)), set(read(y))
        right += len(a & b)
        known += len(a)
        given += len(b)
    if not right:
        return _percent(0.0, 0.0, 0.0)
    precision, recall = right / given, right / known
    f1 = 2 * precision * recall / (precision + recall)
    return _percent(precision, recall, f1)


def _percent(precision: float, recall: float, f1: float) -> dict[str, float]:
    return {
        "f1": 100 * f1, "precision": 100 * precision, "recall": 100 * recall,
    }  # fmt: skip
