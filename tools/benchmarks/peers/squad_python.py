"""Turns questions into features in plain Python, as the original does.

It stands in for the original, which needs TensorFlow 1: BERT's basic and
WordPiece tokenizers in plain Python are taken from `transformers` (they derive
from the same code; the slow wrapper is left out); words, windows and the
search for the window with most context of a token are written below with the
same loops. Nothing is serialised or written, which favours it.

Settings: vocab, questions (a JSON file), max_seq_length, doc_stride,
max_query_length, cores.
Requests: {"do": "features"}, {"do": "digest"}.
"""

import hashlib
import json

from serve import serve


def prepare(settings):
    """Loads the tokenizers; returns facts and the handler."""
    import transformers
    from transformers.models.bert import tokenization_bert_legacy as legacy

    slow = legacy.BertTokenizerLegacy(settings["vocab"])
    words, pieces = slow.basic_tokenizer, slow.wordpiece_tokenizer
    pieces.max_input_chars_per_word = 200
    vocab = slow.vocab

    def tokenize(text):
        return [p for w in words.tokenize(text) for p in pieces.tokenize(w)]

    def handle_request(request):
        with open(settings["questions"], encoding="utf-8") as handle:
            content = json.load(handle)
        digest, rows = hashlib.blake2b(digest_size=16), 0
        for example in examples(content):
            for row in features(example, tokenize, vocab, settings):
                rows += 1
                if request["do"] == "digest":
                    used = sum(row["input_mask"])
                    digest.update(bytes(str(row["input_ids"][:used]), "ascii"))
        return {"rows": rows, "digest": digest.hexdigest()}

    version = f"transformers {transformers.__version__}"
    return {"version": version}, handle_request


def examples(content):
    """Yields questions with the words of their paragraph."""
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            words, word_of_character, after_space = [], [], True
            for c in paragraph["context"]:
                if c in " \t\r\n\u202f":
                    after_space = True
                else:
                    if after_space:
                        words.append(c)
                    else:
                        words[-1] += c
                    after_space = False
                word_of_character.append(len(words) - 1)
            for question in paragraph["qas"]:
                yield example(question, words, word_of_character)


def example(question, words, word_of_character):
    """Returns (question, words, answer); answer is None if unusable."""
    answers = question["answers"]
    if not answers:
        return question["question"], words, None
    text, start = answers[0]["text"], answers[0]["answer_start"]
    first = word_of_character[start]
    last = word_of_character[start + len(text) - 1]
    there = " ".join(words[first : last + 1]).lower()
    found = " ".join(text.split()).lower() in there
    return question["question"], words, (first, last, text) if found else None


def features(example, tokenize, vocab, settings):
    """Returns the padded windows of one question."""
    question, words, answer = example
    asked = tokenize(question)[: settings["max_query_length"]]
    pieces, word_of_piece, piece_of_word = [], [], []
    for i, word in enumerate(words):
        piece_of_word.append(len(pieces))
        for piece in tokenize(word):
            word_of_piece.append(i)
            pieces.append(piece)
    span = None
    if answer is not None:
        first, last, text = answer
        end = len(pieces) - 1
        if last < len(words) - 1:
            end = piece_of_word[last + 1] - 1
        span = narrowed(pieces, piece_of_word[first], end, tokenize(text))

    length = settings["max_seq_length"]
    room = length - len(asked) - 3
    windows, start = [], 0
    while start < len(pieces):
        size = min(len(pieces) - start, room)
        windows.append((start, size))
        if start + size == len(pieces):
            break
        start += min(size, settings["doc_stride"])

    rows = []
    for index, (start, size) in enumerate(windows):
        tokens = ["[CLS]", *asked, "[SEP]"]
        segments = [0] * len(tokens)
        word_of_token, shown_best = {}, {}
        for i in range(size):
            at = len(tokens)
            word_of_token[at] = word_of_piece[start + i]
            shown_best[at] = shows_best(windows, index, start + i)
            tokens.append(pieces[start + i])
            segments.append(1)
        tokens.append("[SEP]")
        segments.append(1)
        ids = [vocab[token] for token in tokens]
        mask = [1] * len(ids)
        padding = [0] * (length - len(ids))
        begin = end = 0
        if span and start <= span[0] and span[1] < start + size:
            shift = len(asked) + 2 - start
            begin, end = span[0] + shift, span[1] + shift
        rows.append(
            {
                "input_ids": ids + padding,
                "input_mask": mask + padding,
                "segment_ids": segments + padding,
                "start_positions": begin,
                "end_positions": end,
                "word_of_token": word_of_token,
                "shown_best": shown_best,
            }
        )
    return rows


def narrowed(pieces, first, last, answer):
    """Returns the span within first and last that matches the answer."""
    wanted = " ".join(answer)
    for start in range(first, last + 1):
        for end in range(last, start - 1, -1):
            if " ".join(pieces[start : end + 1]) == wanted:
                return start, end
    return first, last


def shows_best(windows, index, position):
    """Returns whether this window has most context around the piece."""
    best_score = best = None
    for i, (start, size) in enumerate(windows):
        end = start + size - 1
        if position < start or position > end:
            continue
        score = min(position - start, end - position) + 0.01 * size
        if best_score is None or score > best_score:
            best_score, best = score, i
    return best == index


if __name__ == "__main__":
    serve(prepare)
