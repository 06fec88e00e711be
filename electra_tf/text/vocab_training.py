"""Trains a WordPiece vocabulary from text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import tensorflow as tf
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from electra_tf.errors import UserError
from electra_tf.text import normalize
from electra_tf.text.vocab import MAX_CHARS_PER_WORD, SPECIALS, Vocab

# Above this many different words, those seen once are forgotten.
_MAX_DISTINCT_WORDS = 8_000_000
# More words than this are counted in proportion.
_MAX_TRAINING_WORDS = 100_000_000


def count_words(
    lines: Iterable[str],
    lower_case: bool = True,
    strip_accents: bool | None = None,
) -> Counter[str]:
    """Counts how often each word occurs, words as the tokenizer makes them.

    Memory is bounded: past 8 million different words, those seen once are
    forgotten.

    Args:
      lines: text.
      lower_case: as the tokenizer will be told.
      strip_accents: as the tokenizer will be told; None follows
        `lower_case`.
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
            counts = Counter({w: n for w, n in counts.items() if n > 1})
    return counts


def _batches(
    lines: Iterable[str], size: int = 1 << 22
) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    held = 0
    for line in lines:
        # A lone surrogate cannot be encoded; the tokenizer drops it too.
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
      counts: how often each word occurs, as `count_words` says.
      vocab_size: how many tokens, specials included; fewer come out if the
        text has no more.
      min_frequency: characters and pieces seen less often are left out.

    Returns:
      The vocabulary: `SPECIALS`, then characters, then pieces.

    Raises:
      UserError: `vocab_size` does not hold the specials and the characters.
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
    # table, and breaks ties by number. Named first, as specials, they get
    # numbers of their own.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
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
    """Returns the share of words, 0 to 1, that `vocab` can only call [UNK].

    Holds for vocabularies that have each of their characters as a piece, as
    trained ones do.
    """
    total = sum(counts.values())
    unknown = 0
    for word, n in counts.items():
        known = len(word) <= MAX_CHARS_PER_WORD and word[0] in vocab.ids
        if not (known and all("##" + c in vocab.ids for c in word[1:])):
            unknown += n
    return unknown / max(total, 1)


def long_words(counts: Mapping[str, int]) -> int:
    """Counts the words of more letters than any token may have."""
    return sum(n for w, n in counts.items() if len(w) > MAX_CHARS_PER_WORD)


def _alphabet(
    counts: Mapping[str, int], min_frequency: int
) -> tuple[set[str], set[str]]:
    """Frequent characters: those that begin words, those that go on."""
    first: Counter[str] = Counter()
    following: Counter[str] = Counter()
    for word, n in counts.items():
        first[word[0]] += n
        for character in word[1:]:
            following[character] += n
    total = first + following
    frequent = {c for c, n in total.items() if n >= min_frequency}
    # Every continuing character may begin a word elsewhere; the reverse
    # holds for those that ever go on (CJK and punctuation never do).
    return frequent, frequent & following.keys()


def _repeated(words: Mapping[str, int], size: int = 20_000) -> Iterator[str]:
    """Yields lines in which each word stands as often as it was counted."""
    scale = 1 + sum(words.values()) // _MAX_TRAINING_WORDS
    for word, n in words.items():
        n = -(-n // scale)
        while n > 0:
            yield " ".join([word] * min(n, size))
            n -= size
