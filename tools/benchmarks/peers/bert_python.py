"""Builds examples in plain Python, as the original implementation does.

It stands in for the original, which needs TensorFlow 1: BERT's basic and
WordPiece tokenizers in plain Python are taken from `transformers` (they derive
from the same code; the slow wrapper is left out), and the loop below gathers
lines into two-segment examples with the same choices. Nothing is serialised
or written, which favours it.

Settings: vocab, lines (a file), max_seq_length, cores.
Requests: {"do": "build"}.
"""

import random

from serve import serve


def prepare(settings):
    """Loads the tokenizers; returns facts and the handler."""
    import transformers
    from transformers.models.bert import tokenization_bert_legacy as legacy

    slow = legacy.BertTokenizerLegacy(settings["vocab"])
    words, pieces = slow.basic_tokenizer, slow.wordpiece_tokenizer
    ids, length = slow.vocab, settings["max_seq_length"]
    special = ids["[CLS]"], ids["[SEP]"]

    def encode(line):
        return [
            ids[piece]
            for word in words.tokenize(line)
            for piece in pieces.tokenize(word)
        ]

    def handle_request(request):
        rng = random.Random(0)
        examples = tokens = 0
        with open(settings["lines"], encoding="utf-8") as handle:
            for example in build(handle, encode, special, length, rng):
                examples += 1
                tokens += sum(example["input_mask"])
        return {"examples": examples, "tokens": tokens}

    version = f"transformers {transformers.__version__}"
    return {"version": version}, handle_request


def build(lines, encode, special, length, rng):
    """Yields padded examples from lines; a blank line ends a document."""
    sentences, size, target = [], 0, length
    for line in lines:
        ids = encode(line)
        if ids:
            sentences.append(ids)
            size += len(ids)
        if sentences and (not ids or size >= target):
            yield example(sentences, special, length, rng)
            sentences, size = [], 0
            short = rng.random() < 0.05
            target = rng.randint(5, length) if short else length
    if sentences:
        yield example(sentences, special, length, rng)


def example(sentences, special, length, rng):
    """Returns one example of whole sentences; one in ten has one segment."""
    room = length - 3
    wanted = 100_000 if rng.random() < 0.1 else room // 2
    first, second = [], []
    for sentence in sentences:
        fits = len(first) + len(sentence) < wanted
        over_half = not first or (
            not second and len(first) < wanted and rng.random() < 0.5
        )
        if not second and (fits or over_half):
            first += sentence
        else:
            second += sentence
    first = first[: length - 2]
    second = second[: max(0, length - len(first) - 3)]
    cls_id, sep_id = special
    ids = [cls_id, *first, sep_id]
    segments = [0] * len(ids)
    if second:
        ids += [*second, sep_id]
        segments += [1] * (len(second) + 1)
    padding = [0] * (length - len(ids))
    return {
        "input_ids": ids + padding,
        "input_mask": [1] * len(ids) + padding,
        "segment_ids": segments + padding,
    }


if __name__ == "__main__":
    serve(prepare)
