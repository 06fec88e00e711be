"""Reads and writes the tokenizer of a KerasHub preset.

Its settings are in `tokenizer.json`, its tokens in a file among the assets.
"""

from collections.abc import Mapping
from typing import Any

import keras

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub.checkpoint import Checkpoint, split_elsewhere
from electra_tf.hub.huggingface_tokenizer import read_json, restored
from electra_tf.text.vocab import SPECIALS, AddedToken, Vocab, read_tokens

SETTINGS, VOCAB = "tokenizer.json", "assets/tokenizer/vocabulary.txt"
# The library strips white space, also wide one, from the ends of lines. This
# keeps a token's, and makes two tokens of white space alone differ.
_END = "\x01"
_UNKNOWN = "[UNK]"
# Differences of KerasHub 0.32's tokenizer from ours.
_NOTE = (
    "its tokenizer takes two words around a no-break or another wide space "
    "for one, [UNK]; splits at soft hyphens, zero-width and control "
    "characters, which are dropped here; has words of over 100 bytes as "
    "[UNK] (over 200 characters here)"
)
_FOLDING_NOTE = (
    "its tokenizer lower-cases by folding compatible characters as well: ß "
    "to ss, … to ..., ™ to tm, fullwidth letters to ASCII"
)


def read(
    path: str, given: Vocab | None
) -> tuple[Vocab | None, bool, bool | None, list[str]]:
    """Reads the tokenizer of a preset.

    Args:
      path: the preset.
      given: a vocabulary in place of the preset's, which is then not read.

    Returns:
      The vocabulary, `lower_case` and `strip_accents` as `Tokenizer`'s, and
      sentences on what is missing or not supported.

    Raises:
      UserError: a file is damaged; it is named.
    """
    lines, file = files.join(path, VOCAB), files.join(path, SETTINGS)
    if given is None and not files.exists(lines):
        return None, True, None, [f"no vocabulary: {VOCAB} is not there"]
    settings: Any = read_json(file).get("config") if files.exists(file) else {}
    if not isinstance(settings, dict):
        raise UserError(f"{file}: config: expected the tokenizer's arguments")
    # Defaults of its class.
    lower_case = settings.get("lowercase", False) is True
    strip_accents = settings.get("strip_accents", False) is True
    vocab = given
    assumed: list[str] = []
    if vocab is None:
        vocab, assumed = _vocab(lines, settings)
    if vocab is not None:
        assumed += _differences(settings)
    return vocab, lower_case, strip_accents, assumed


def _vocab(
    path: str, settings: Mapping[str, Any]
) -> tuple[Vocab | None, list[str]]:
    """Returns the vocabulary, if it is one of ours, and remarks on it."""
    prefix = settings.get("suffix_indicator", "##")
    if prefix != "##":
        return None, [
            f"no vocabulary: {SETTINGS} marks pieces inside words with "
            f"{prefix!r} (suffix_indicator); expected '##'"
        ]
    tokens = [
        token.removesuffix(_END) if _is_bare(token) else token
        for token in restored(read_tokens(path))
    ]
    assumed = []
    unknown = settings.get("oov_token", _UNKNOWN)
    if unknown != _UNKNOWN and unknown in tokens:
        place = tokens.index(unknown)
        if _UNKNOWN in tokens:  # an ordinary token, which no text gives
            tokens[tokens.index(_UNKNOWN)] = unknown
        tokens[place] = _UNKNOWN
        assumed.append(
            "special tokens have BERT's names here: "
            f"{unknown} is {_UNKNOWN} (oov_token)"
        )
    listed = settings.get("special_tokens")
    whole = []
    if settings.get("special_tokens_in_strings") and isinstance(listed, list):
        special = {*SPECIALS, unknown}
        whole = [t for t in dict.fromkeys(map(str, listed)) if t in tokens]
        whole = [token for token in whole if token not in special]
    try:
        return Vocab(tuple(tokens), tuple(map(AddedToken, whole))), assumed
    except UserError as error:
        raise UserError(f"{path}: {error}; take an undamaged copy") from error


def _is_bare(token: str) -> bool:
    """Returns whether a line of the file has the mark of `_END`."""
    before = token.removesuffix(_END)
    return before != token and before != before.rstrip()


def _differences(settings: Mapping[str, Any]) -> list[str]:
    """Describes what its tokenizer does and ours cannot do."""
    notes = []
    if settings.get("split") is False:
        notes.append(
            "words are split as BERT does; its tokenizer (split false) takes "
            "each text for one word"
        )
    if settings.get("split_on_cjk") is False:
        notes.append(
            "Chinese characters are words of their own, which its tokenizer "
            "(split_on_cjk false) does not make them"
        )
    if settings.get("special_tokens_in_strings"):
        notes.append(
            "special tokens written in a text, as [MASK], are plain text here "
            "unless asked for; its tokenizer reads them "
            "(special_tokens_in_strings)"
        )
    return notes


def make(checkpoint: Checkpoint) -> keras.Layer | None:
    """Makes KerasHub's tokenizer for a model's vocabulary, if it has one.

    Args:
      checkpoint: the model.
    """
    # Takes seconds to import, and is only needed for this format.
    import keras_hub

    config, vocab = checkpoint.config, checkpoint.vocab
    if vocab is None:
        return None
    strip = config.strip_accents
    return keras_hub.models.ElectraTokenizer(
        vocabulary=[
            token if token == token.rstrip() else token + _END
            for token in vocab.tokens
        ],
        lowercase=config.lower_case,
        strip_accents=config.lower_case if strip is None else strip,
    )


def notes_on(checkpoint: Checkpoint) -> list[str]:
    """Describes what KerasHub's tokenizer does otherwise than ours.

    Args:
      checkpoint: the model.
    """
    if checkpoint.vocab is None:
        return ["no tokenizer: the source has no vocabulary"]
    notes = [_NOTE, *split_elsewhere(checkpoint.vocab)]
    if checkpoint.config.lower_case:
        notes.append(_FOLDING_NOTE)
    return notes
