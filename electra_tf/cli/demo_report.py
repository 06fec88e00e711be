"""What the demo prints at its end: baselines, and sentences to look at."""

import random

import numpy as np
import tensorflow as tf

from electra_tf.data import reader
from electra_tf.hub.pretrained import Discriminator
from electra_tf.text.tokenizer import Tokenizer

_SHORTEST, _LONGEST = 8, 18  # words of a sentence worth showing


def comparison(metrics: dict[str, float]) -> str:
    """Each network beside what needs no learning."""
    rows = [
        (
            "generator: loss per masked token (nats)",
            metrics["mlm_loss"],
            "unigram entropy",
            metrics["unigram_entropy"],
            metrics["mlm_loss"] < metrics["unigram_entropy"],
        ),
        (
            "discriminator: accuracy",
            metrics["disc_accuracy"],
            "always original",
            metrics["always_original_accuracy"],
            metrics["disc_accuracy"] > metrics["always_original_accuracy"],
        ),
        (
            "discriminator: area under the ROC curve",
            metrics["disc_auc"],
            "always original",
            0.5,
            metrics["disc_auc"] > 0.5,
        ),
    ]
    return "\n".join(
        f"{what:<40} {ours:8.4f}   {baseline:<16} {theirs:8.4f}   "
        f"{'better' if better else 'not better: train longer'}"
        for what, ours, baseline, theirs, better in rows
    )


def sentences(model: str, data: str, count: int, seed: int = 1) -> str:
    """Replaces a word in held-out sentences and prints every word's score.

    Args:
      model: run or model directory.
      data: directory of examples with a validation split.
      count: how many sentences.
      seed: chooses sentences, words and replacements.
    """
    discriminator = Discriminator.from_pretrained(model)
    tokenizer = discriminator.tokenizer
    chance = random.Random(seed)
    found = _sentences(data, tokenizer)
    chance.shuffle(found)
    words = [
        token
        for token in tokenizer.vocab.tokens
        if token.isalpha() and token.isascii() and len(token) > 3
    ]
    shown = [
        "Held-out sentences, one word of each replaced at random. After each",
        "word: the probability, in per cent, that it was replaced.",
    ]
    hits = 0
    for sentence in found[:count]:
        place = chance.choice(
            [i for i, w in enumerate(sentence) if w.isalpha()]
        )
        original = sentence[place]
        fake = [*sentence]
        fake[place] = chance.choice(words)
        scores = _word_scores(discriminator, tokenizer, fake)
        marked = [
            f"[{word} {100 * score:.0f}]" if i == place
            else f"{word} {100 * score:.0f}"
            for i, (word, score) in enumerate(zip(fake, scores))
        ]  # fmt: skip
        hits += int(np.argmax(scores) == place)
        shown.append(f"\n  {'  '.join(marked)}")
        shown.append(f"  ({original!r} became {fake[place]!r})")
    shown.append(
        f"\nThe replaced word has the highest score in {hits} of "
        f"{min(count, len(found))} sentences."
    )
    return "\n".join(shown)


def _sentences(data: str, tokenizer: Tokenizer) -> list[list[str]]:
    """Whole sentences of the held-out examples, as lists of words."""
    found = reader.find_examples(data, "validation")
    batches = reader.pretraining_dataset(
        data,
        split="validation",
        batch_size=64,
        max_seq_length=found.max_seq_length,
        repeat=False,
        drop_remainder=False,
    )
    sentences = []
    for batch in batches.take(8):
        for row in batch["input_ids"].numpy():
            sentence: list[str] = []
            inside = False
            for word in _words(row, tokenizer):
                if word in ".?!":
                    if inside and _SHORTEST <= len(sentence) <= _LONGEST:
                        sentences.append([*sentence, word])
                    sentence, inside = [], True
                elif word == "":  # a special token: a sentence may be cut
                    sentence, inside = [], False
                else:
                    sentence.append(word)
    return sentences


def _words(ids: np.ndarray, tokenizer: Tokenizer) -> list[str]:
    """The words that pieces make up; '' for a special token."""
    special = set(tokenizer.vocab.special_ids)
    words: list[str] = []
    for i in ids:
        token = tokenizer.vocab.tokens[i]
        if i in special:
            words.append("")
        elif token.startswith("##") and words and words[-1]:
            words[-1] += token[2:]
        else:
            words.append(token)
    return words


def _word_scores(
    discriminator: Discriminator, tokenizer: Tokenizer, words: list[str]
) -> list[float]:
    """P(replaced) of each word: the highest among its pieces."""
    pieces = tokenizer(words)  # [words, (pieces)]
    vocab = tokenizer.vocab
    flat = [vocab.cls_id, *pieces.flat_values.numpy(), vocab.sep_id]
    logits = discriminator(tf.constant([flat], tf.int32)).logits
    scores = tf.sigmoid(logits)[0, 1:-1].numpy()
    ends = np.cumsum(pieces.row_lengths().numpy())
    return [
        float(part.max()) if len(part) else 0.0
        for part in np.split(scores, ends[:-1])
    ]
