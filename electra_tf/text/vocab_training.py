"""Trains a WordPiece vocabulary from text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import tensorflow as tf
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from electra_tf.errors import UserError
from electra_tf.text import normalize
from electra_tf.text.vocab import MAX_CHARS_PER_WORD, SPECIALS, Vocab

# Above this many distinct words, the rarest are dropped.
_MAX_DISTINCT_WORDS = 8_000_000
# Above this many words, counts are scaled down.
_MAX_TRAINING_WORDS = 100_000_000


def count_words(
    lines: Iterable[str],
    lower_case: bool = True,
    strip_accents: bool | None = None,
    dropped: Counter[str] | None = None,
) -> Counter[str]:
    """Counts words, split in the same way as by the tokenizer.

    Memory is bounded: above 8 million distinct words, the rarest so far are
    dropped, those seen once first, until half as many are left.

    Args:
      lines: lines of text.
      lower_case: setting of the tokenizer.
      strip_accents: setting of the tokenizer; None follows `lower_case`.
      dropped: the number of occurrences that were dropped is added to its
        `words`.
    """
    if strip_accents is None:
        strip_accents = lower_case
    counts: Counter[str] = Counter()
    for batch in _batches(lines):
        texts = normalize.normalize(
            tf.constant(batch), lower_case, strip_accents
        )
        texts = normalize.isolate(texts)
        joined = tf.strings.reduce_join(texts, separator=" ").numpy()
        counts.update(joined.decode("utf-8").split())
        if len(counts) > _MAX_DISTINCT_WORDS:
            before = counts.total()
            counts = _frequent(counts, _MAX_DISTINCT_WORDS // 2)
            if dropped is not None:
                dropped["words"] += before - counts.total()
    return counts


def _frequent(counts: Counter[str], most: int) -> Counter[str]:
    """Drops the words seen once, then those seen twice and so on, until there
    are `most` or fewer.
    """
    rare = 0
    while len(counts) > most:
        rare += 1
        counts = Counter({w: n for w, n in counts.items() if n > rare})
    return counts


def _batches(
    lines: Iterable[str], size: int = 1 << 22
) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    held = 0
    for line in lines:
        # Lone surrogates cannot be encoded; the tokenizer drops them too.
        batch.append(line.encode("utf-8", "ignore"))
        held += len(batch[-1])
        if held >= size:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def train_vocab(
    counts: Mapping[str, int], vocab_size: int, min_frequency: int = 2
) -> Vocab:
    """Trains a WordPiece vocabulary; the same words give the same tokens.

    Args:
      counts: counts of words, from `count_words`.
      vocab_size: number of tokens, special ones included; the result is smaller
        if the text has no more.
      min_frequency: characters and pieces seen less often are left out.

    Returns:
      The vocabulary: `SPECIALS`, then characters, then pieces.

    Raises:
      UserError: `vocab_size` is too small for special tokens and characters.
    """
    first, following = _alphabet(counts, min_frequency)
    alphabet = sorted(first) + ["##" + c for c in sorted(following)]
    smallest = len(SPECIALS) + len(alphabet)
    if vocab_size < smallest:
        raise UserError(
            f"vocab_size is {vocab_size}; the text's {len(first | following)}"
            f" different characters and the specials alone need {smallest}:"
            " raise vocab_size, or min_frequency to leave rare characters out"
        )
    allowed = first | following
    words = {
        word: n
        for word, n in counts.items()
        if len(word) <= MAX_CHARS_PER_WORD and allowed.issuperset(word)
    }
    # The trainer numbers continuing characters in the random order of a hash
    # table, and breaks ties by number. Listed first, as special tokens, they
    # get fixed numbers.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=-(-min_frequency // _scale(words)),
        special_tokens=[*SPECIALS, *alphabet],
        continuing_subword_prefix="##",
        show_progress=False,
    )
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(_repeated(words), trainer)
    tokens = tokenizer.get_vocab(with_added_tokens=False)
    return Vocab(tuple(sorted(tokens, key=tokens.__getitem__)))


def unknown_share(vocab: Vocab, counts: Mapping[str, int]) -> float:
    """Returns the share of words, 0 to 1, that are [UNK] with `vocab`.

    The vocabulary must have each of its characters as a piece, as trained ones
    do.
    """
    total = sum(counts.values())
    unknown = 0
    for word, n in counts.items():
        known = len(word) <= MAX_CHARS_PER_WORD and word[0] in vocab.ids
        if not (known and all("##" + c in vocab.ids for c in word[1:])):
            unknown += n
    return unknown / max(total, 1)


def long_words(counts: Mapping[str, int]) -> int:
    """Counts the words with more letters than any token may have."""
    return sum(n for w, n in counts.items() if len(w) > MAX_CHARS_PER_WORD)


def _alphabet(
    counts: Mapping[str, int], min_frequency: int
) -> tuple[set[str], set[str]]:
    """Returns frequent characters that begin words, and that continue them."""
    first: Counter[str] = Counter()
    following: Counter[str] = Counter()
    for word, n in counts.items():
        first[word[0]] += n
        for character in word[1:]:
            following[character] += n
    total = first + following
    frequent = {c for c, n in total.items() if n >= min_frequency}
    # Every continuing character may also begin a word; the reverse holds only
    # for some (CJK and punctuation never continue one).
    return frequent, frequent & following.keys()


def _repeated(words: Mapping[str, int], size: int = 20_000) -> Iterator[str]:
    """Yields lines in which each word is repeated by its count."""
    scale = _scale(words)
    before = 0
    # In a fixed order, rounded so that rare words keep their share of the
    # text: of those seen once, one of `scale` is there.
    for word in sorted(words):
        after = before + words[word]
        n = after // scale - before // scale
        before = after
        while n > 0:
            yield " ".join([word] * min(n, size))
            n -= size


def _scale(words: Mapping[str, int]) -> int:
    """Returns the number by which counts are divided for the trainer."""
    return 1 + sum(words.values()) // _MAX_TRAINING_WORDS
