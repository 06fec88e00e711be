"""How well tags agree: entity F1 by `seqeval`, and the share of words."""

from collections.abc import Callable, Sequence

from electra_tf.tasks.tagging import schemes as tagging_schemes
from electra_tf.tasks.tagging.options import Scorer
from electra_tf.tasks.tagging.schemes import Span

Tags = Sequence[Sequence[str]]


def entity_scores(
    gold: Tags, predicted: Tags, scheme: str, scorer: Scorer = "seqeval"
) -> dict[str, float]:
    """Precision, recall and F1 of whole spans, micro-averaged, in percent.

    They differ in how they read tags that are not valid; constrained
    decoding gives none.

    Args:
      gold: tags of each sentence.
      predicted: as many.
      scheme: theirs, not "none".
      scorer: "seqeval", its default mode, which is conlleval's; "strict",
        its strict mode, to which a span that is not valid is none; or
        "original", the original ELECTRA's.
    """
    if scorer == "original":
        return _of_spans(gold, predicted, tagging_schemes.joined_spans)
    from seqeval import scheme as schemes
    from seqeval.metrics import sequence_labeling, v1

    # seqeval reads BILOU only as strictly as BILOU is.
    in_bioes = scheme == "bilou"
    known, given = (
        [
            [_in_bioes(tag) for tag in tags] if in_bioes else list(tags)
            for tags in sentences
        ]
        for sentences in (gold, predicted)
    )
    options: dict = {"average": "micro", "zero_division": 0}
    if scorer == "strict":
        strict = {
            "bio": schemes.IOB2, "iob1": schemes.IOB1,
            "bioes": schemes.IOBES, "bilou": schemes.IOBES,
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
    """A line for each type of span: precision, recall, F1, how many."""
    from seqeval import metrics

    known, given = (
        [[_in_bioes(tag) for tag in tags] for tags in sentences]
        for sentences in (gold, predicted)
    )
    return metrics.classification_report(
        known, given, digits=4, zero_division=0
    )


def accuracy(gold: Tags, predicted: Tags) -> float:
    """Words with the right tag, in percent."""
    pairs = [a == b for x, y in zip(gold, predicted) for a, b in zip(x, y)]
    return 100.0 * sum(pairs) / max(len(pairs), 1)


def _in_bioes(tag: str) -> str:
    return {"L": "E", "U": "S"}.get(tag[:1], tag[:1]) + tag[1:]


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
