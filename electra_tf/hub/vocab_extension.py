"""Extends a model's vocabulary by new tokens, such as words of a domain."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub.checkpoint import Checkpoint, Lazy, shapes_of
from electra_tf.models.config import ModelConfig
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab

# Name endings of variables with a row for each token.
_BY_TOKEN = ("/word_embeddings", "/output_bias", "/output_weights")


def read_tokens(path: str, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Reads and checks a file of new tokens, one on each line.

    Args:
      path: the file, in UTF-8; CRLF is accepted.
      tokenizer: tokenizer of the vocabulary to extend.

    Raises:
      UserError: the file is unreadable or empty, or a line is blank, repeats a
        token or an existing one, or cannot occur in any text; the line is
        named.
    """
    lines = files.read_text(path).split("\n")
    if not lines[-1]:
        lines.pop()
    tokens = tuple(line.removesuffix("\r") for line in lines)
    if not tokens:
        raise UserError(f"{path}: empty; expected one new token a line")
    first: dict[str, int] = {}
    for number, token in enumerate(tokens, 1):
        place = f"{path}:{number}"
        if not token.strip() or token == "##":
            raise UserError(f"{place}: no token there; take the line out")
        if token != token.strip(" \t\r\v\f"):
            raise UserError(f"{place}: space around {token!r}; take it out")
        if token in tokenizer.vocab.ids:
            raise UserError(
                f"{place}: {token!r} is in the vocabulary already (line "
                f"{tokenizer.vocab.ids[token] + 1}); take it out"
            )
        if token in first:
            raise UserError(
                f"{place}: {token!r} repeats line {first[token]}; take it out"
            )
        first[token] = number
    _check_reachable(tokens, tokenizer, path)
    return tokens


def _check_reachable(
    tokens: Sequence[str], tokenizer: Tokenizer, path: str
) -> None:
    """Refuses tokens that the tokenizer never gives: they would not be
    trained.
    """
    old = tokenizer.vocab.tokens
    extended = Tokenizer(
        Vocab((*old, *tokens), tokenizer.vocab.added),
        tokenizer.lower_case,
        tokenizer.strip_accents,
    )
    texts = [token.removeprefix("##") for token in tokens]
    given = extended(texts).to_list()
    for number, (token, ids) in enumerate(zip(tokens, given), 1):
        # A piece that continues words is checked without its ##: it must be one
        # word, in the tokenizer's spelling.
        words = [i for i in ids if not extended.vocab.continues[i]]
        spelled = "".join(
            extended.vocab.tokens[i].removeprefix("##") for i in ids
        )
        whole = ids == [len(old) + number - 1]
        if token.startswith("##"):
            text = token[2:]
            whole = len(words) == 1 and spelled in (text, "[UNK]")
        if not whole:
            raise UserError(
                f"{path}:{number}: no text gives the token {token!r}, since "
                "the tokenizer "
                + ("lower-cases and " if tokenizer.lower_case else "")
                + "splits at spaces and punctuation; write the token that it "
                "gives"
            )


def extended(checkpoint: Checkpoint, path: str) -> Checkpoint:
    """Returns the checkpoint with the tokens of a file appended.

    Args:
      checkpoint: a checkpoint with its vocabulary.
      path: see `read_tokens`.

    Raises:
      UserError: see `read_tokens`.
    """
    if checkpoint.vocab is None:
        raise UserError(
            f"{checkpoint.source}: no vocabulary to extend; give --vocab=FILE"
        )
    about = checkpoint.config
    tokenizer = Tokenizer(
        checkpoint.vocab, about.lower_case, about.strip_accents
    )
    return extend(checkpoint, read_tokens(path, tokenizer), tokenizer)


def extend(
    checkpoint: Checkpoint, tokens: Sequence[str], tokenizer: Tokenizer
) -> Checkpoint:
    """Returns the checkpoint with `tokens` at the end of its vocabulary.

    The rows of a new token are the mean over the pieces that it was split into
    before; their slots are 0.

    Args:
      checkpoint: a checkpoint with its vocabulary.
      tokens: new tokens, see `read_tokens`.
      tokenizer: tokenizer of the checkpoint's vocabulary.
    """
    vocab = Vocab((*tokenizer.vocab.tokens, *tokens), tokenizer.vocab.added)
    pieces = tokenizer([t.removeprefix("##") for t in tokens]).to_list()
    pieces = [ids or [tokenizer.vocab.unk_id] for ids in pieces]
    # A table may have more rows than the vocabulary has tokens.
    size = max(len(vocab), checkpoint.config.vocab_size)
    start = len(tokenizer.vocab)
    before = checkpoint.slots or {}
    held = shapes_of(checkpoint.weights)
    grown = {
        name: (size, *shape[1:]) if name.endswith(_BY_TOKEN) else shape
        for name, shape in held.items()
    }

    def weight(name: str) -> np.ndarray:
        array = checkpoint.weights[name]
        if not name.endswith(_BY_TOKEN):
            return array
        result = _grown(array, size)
        for i, ids in enumerate(pieces):
            mean = np.mean(array[ids], axis=0, dtype=np.float32)
            result[start + i] = mean.astype(array.dtype)
        return result

    def slot(name: str) -> tuple[np.ndarray, np.ndarray]:
        m, v = before[name]
        if not name.endswith(_BY_TOKEN):
            return m, v
        m, v = _grown(m, size), _grown(v, size)
        m[start : len(vocab)] = v[start : len(vocab)] = 0
        return m, v

    slots: Mapping | None = checkpoint.slots
    if slots is not None:
        slots = Lazy(slot, {name: grown[name] for name in slots})
    config = checkpoint.config
    return dataclasses.replace(
        checkpoint,
        config=dataclasses.replace(
            config,
            discriminator=_resized(config.discriminator, size),
            generator=_resized(config.generator, size),
            vocab_fingerprint=vocab.fingerprint(),
        ),
        weights=Lazy(weight, grown),
        slots=slots,
        vocab=vocab,
    )


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    """Returns a copy with `size` rows, padded with 0."""
    result = np.zeros((size, *array.shape[1:]), array.dtype)
    result[: len(array)] = array
    return result


def _resized(config: ModelConfig | None, size: int) -> ModelConfig | None:
    return config and dataclasses.replace(config, vocab_size=size)
