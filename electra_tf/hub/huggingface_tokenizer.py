"""Reads and writes tokenizer files of Hugging Face's libraries.

There are three: `vocab.txt` has the tokens, `tokenizer_config.json` the
settings, and `tokenizer.json` both, for the library `tokenizers`.
"""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import huggingface_fast_tokenizer as fast_tokenizer
from electra_tf.hub.huggingface_fast_tokenizer import ROLES, mapping
from electra_tf.text.vocab import (
    ADDED,
    SPECIALS,
    AddedToken,
    Vocab,
    extended_by,
    load_vocab,
    read_tokens,
)

VOCAB, SETTINGS = "vocab.txt", "tokenizer_config.json"
FAST, SPECIALS_MAP = "tokenizer.json", "special_tokens_map.json"
# Classes that execute the file unchanged, in versions 4 and 5 of transformers;
# others make their own normaliser from the settings.
_AS_WRITTEN = ("PreTrainedTokenizer", "TokenizersBackend")
_WORDPIECE_CLASSES = (
    *_AS_WRITTEN, "ElectraTokenizer", "BertTokenizer", "DistilBertTokenizer",
)  # fmt: skip
# Some versions of transformers write a token that is a line separator as an
# empty one. No text gives either.
_LINE_SEPARATOR = "\u2028"


@dataclasses.dataclass(frozen=True)
class TokenizerFiles:
    """The content of tokenizer files.

    Attributes:
      vocab: the vocabulary; None where there is no WordPiece vocabulary.
      lower_case: as `Tokenizer`'s.
      strip_accents: as `Tokenizer`'s.
      assumed: sentences on what is missing, or not supported.
    """

    vocab: Vocab | None
    lower_case: bool
    strip_accents: bool | None
    assumed: tuple[str, ...]


def read_json(path: str) -> dict[str, Any]:
    """Reads a JSON file with a mapping.

    Raises:
      UserError: the file is missing or has no mapping; it is named.
    """
    try:
        content = json.loads(files.read_text(path))
    except ValueError as error:
        raise UserError(f"cannot read {path}: not JSON ({error})") from error
    except RecursionError as error:
        raise UserError(f"cannot read {path}: nested too deep") from error
    if not isinstance(content, dict):
        raise UserError(
            f"cannot read {path}: expected a JSON mapping, got "
            f"{type(content).__name__}"
        )
    return content


def read(directory: str, vocab: Vocab | None = None) -> TokenizerFiles:
    """Reads the tokenizer's files that exist.

    Args:
      directory: their directory.
      vocab: a vocabulary in place of theirs, which is then not read.

    Raises:
      UserError: a file is damaged; it is named.
    """
    settings, fast = (
        read_json(path) if files.exists(path) else {}
        for path in (
            files.join(directory, SETTINGS),
            files.join(directory, FAST),
        )
    )
    assumed: list[str] = []
    roles = _roles(directory, settings)
    if vocab is None:
        vocab = _vocab(directory, settings, fast, roles, assumed)
    lower_case, strip_accents = _flags(settings, fast)
    if lower_case is None:
        lower_case = True
        if vocab is not None:
            assumed.append("lower_case true: no tokenizer file says it")
    if vocab is not None:
        assumed += _differences(settings, fast, roles)
    return TokenizerFiles(vocab, lower_case, strip_accents, tuple(assumed))


def _roles(directory: str, settings: dict[str, Any]) -> dict[str, str]:
    """Returns its names of the special tokens, as `ROLES`."""
    beside = files.join(directory, SPECIALS_MAP)
    given = read_json(beside) if files.exists(beside) else {}
    found = {}
    for role, ours in ROLES.items():
        name = settings.get(role, given.get(role))
        name = mapping(name).get("content", name)
        found[role] = name if isinstance(name, str) and name else ours
    return found


def _named_as_ours(
    tokens: tuple[str, ...], roles: dict[str, str], assumed: list[str]
) -> tuple[str, ...]:
    """Returns the tokens, with BERT's names for the special ones."""
    result, notes = list(tokens), []
    for role, ours in ROLES.items():
        theirs = roles[role]
        if theirs == ours or theirs not in result:
            continue
        place = result.index(theirs)
        if ours in result:  # an ordinary token, which no text gives
            result[result.index(ours)] = theirs
        result[place] = ours
        notes.append(f"{theirs} is {ours}")
    if notes:
        assumed.append(
            "special tokens have BERT's names here: " + ", ".join(notes)
        )
    return tuple(result)


def _kind(settings: dict[str, Any]) -> str | None:
    kind = settings.get("tokenizer_class")
    return kind.removesuffix("Fast") if isinstance(kind, str) else None


def _flags(
    settings: dict[str, Any], fast: dict[str, Any]
) -> tuple[bool | None, bool | None]:
    """Returns whether it lower-cases, and strips accents; None where
    unknown.
    """
    normalizer = fast_tokenizer.flags(fast)
    ours = (settings.get("do_lower_case"), settings.get("strip_accents"))
    theirs = (normalizer.get("lowercase"), normalizer.get("strip_accents"))
    lower_case, strip_accents = _first(ours[0], theirs[0]), _first(ours[1])
    # null has a meaning there: as lower_case.
    if "strip_accents" not in settings:
        strip_accents = _first(theirs[1])
    if _kind(settings) in _AS_WRITTEN and isinstance(theirs[0], bool):
        lower_case = theirs[0]
        stripped = _first(theirs[1], lower_case)
        if stripped is not _first(strip_accents, lower_case):
            strip_accents = stripped
    return lower_case, strip_accents


def _differences(
    settings: dict[str, Any], fast: dict[str, Any], roles: dict[str, str]
) -> list[str]:
    """Describes differences of their tokenizer from ours."""
    notes = []
    chinese = _first(
        settings.get("tokenize_chinese_chars"),
        fast_tokenizer.flags(fast).get("handle_chinese_chars"),
    )
    if chinese is False:
        notes.append(
            "Chinese characters are words of their own, which its tokenizer "
            "(tokenize_chinese_chars false) does not make them: where it "
            "keeps them together, ids differ"
        )
    kind = _kind(settings)
    if kind is not None and kind not in _WORDPIECE_CLASSES:
        notes.append(
            f"words are split as BERT does; its tokenizer, {kind}, may "
            "split them in another way"
        )
    return notes + fast_tokenizer.differences(fast, roles)


def _first(*values: Any) -> bool | None:
    """Returns the first value that is True or False."""
    return next((v for v in values if isinstance(v, bool)), None)


def _vocab(
    directory: str,
    settings: dict[str, Any],
    fast: dict[str, Any],
    roles: dict[str, str],
    assumed: list[str],
) -> Vocab | None:
    path = files.join(directory, VOCAB)
    model = mapping(fast.get("model"))
    if files.exists(path):
        tokens = read_tokens(path)
    elif not model:
        assumed.append(f"no vocabulary: neither {VOCAB} nor {FAST} is there")
        return None
    else:
        path = files.join(directory, FAST)
        found = _tokens(model, fast, path, assumed)
        if found is None:
            return None
        tokens = found
    added = _added(directory, settings, fast, path)
    names = {token.text: number for token, number in added.items()}
    tokens = extended_by(_restored(tokens), names, path)
    tokens = _named_as_ours(tokens, roles, assumed)
    special = {*SPECIALS, *roles.values()}
    kept = [token for token in added if token.text not in special]
    kept += _never_split(settings, fast, tokens, names, assumed)
    try:
        return Vocab(tokens, tuple(kept))
    except UserError as error:
        if path.endswith(VOCAB) and not kept:
            return load_vocab(path)  # its error says what to do
        raise UserError(f"{path}: {error}") from error


def _tokens(
    model: dict[str, Any], fast: dict[str, Any], path: str, assumed: list[str]
) -> tuple[str, ...] | None:
    """Returns the tokens of tokenizer.json in the order of their ids."""
    ids = model.get("vocab")
    prefix = model.get("continuing_subword_prefix", "##")
    kind = model.get("type", "WordPiece")  # old files lack it
    if kind == "WordPiece" and prefix != "##":
        kind = f"WordPiece with the prefix {prefix!r}"
    if kind != "WordPiece" or not isinstance(ids, dict):
        assumed.append(
            f"no vocabulary: the one in {FAST} is of kind {kind}, not WordPiece"
        )
        return None
    ids = dict(ids)
    for token in fast.get("added_tokens") or ():
        if isinstance(token, dict):
            ids.setdefault(token.get("content"), token.get("id"))
    places: dict[int, str] = {}
    for token, number in ids.items():
        if type(number) is int and isinstance(token, str):
            places.setdefault(number, token)
    size = max(places, default=-1) + 1
    missing = size - len(places)
    # Where several tokens became one, some ids have no token.
    if (
        len(places) < len(ids)
        or not 0 <= missing <= size // 100
        or (min(places, default=0) < 0)
    ):
        raise UserError(
            f"cannot read {path}: its vocabulary does not number its "
            f"{len(ids)} tokens from 0 to {len(ids) - 1}"
        )
    if missing:
        assumed.append(f"{missing} ids of {FAST} have no token")
    return tuple(places.get(i, f"{_LINE_SEPARATOR}{i}") for i in range(size))


def _restored(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Restores an empty token to the line separator that it was.

    The common Chinese vocabulary has U+2028 and ##U+2028.
    """
    if tokens.count("") != 1 or not tokens[-1]:
        return tokens
    result = []
    for token in tokens:
        if token in ("", "##") and token + _LINE_SEPARATOR not in tokens:
            token += _LINE_SEPARATOR
        result.append(token)
    return tuple(result)


def _added(
    directory: str, settings: dict[str, Any], fast: dict[str, Any], path: str
) -> dict[AddedToken, int]:
    """Returns the added tokens, which stay whole, and their ids.

    Raises:
      UserError: a token stays whole only between spaces.
    """
    listed = fast.get("added_tokens")
    if not isinstance(listed, list):
        numbered = mapping(settings.get("added_tokens_decoder"))
        listed = [
            {**mapping(about), "id": int(number)}
            for number, about in numbered.items()
            if number.isdecimal()
        ]
    beside = files.join(directory, ADDED)
    if not listed and files.exists(beside):
        special = {
            token
            for key in ("additional_special_tokens", "extra_special_tokens")
            for token in settings.get(key) or ()
            if isinstance(token, str)
        }
        listed = [
            {"content": token, "id": i, "normalized": token not in special}
            for token, i in read_json(beside).items()
        ]
    found: dict[AddedToken, int] = {}
    for about in map(mapping, listed):
        text, number = about.get("content"), about.get("id")
        if not isinstance(text, str) or type(number) is not int:
            raise UserError(
                f"{path}: an added token without content or id: {about!r:.60}"
            )
        if text in SPECIALS:
            continue
        if about.get("single_word"):
            raise UserError(
                f"{path}: the added token {text!r} is whole only where it is a "
                "word by itself (single_word), which is not supported; set "
                "single_word to false, or give another vocabulary (vocab, "
                "--vocab)"
            )
        token = AddedToken(text, about.get("normalized") is not False)
        found[token] = number
    return found


def _never_split(
    settings: dict[str, Any],
    fast: dict[str, Any],
    tokens: tuple[str, ...],
    added: Iterable[str],
    assumed: list[str],
) -> list[AddedToken]:
    """Returns further tokens that the slow tokenizer of version 4 never
    splits.
    """
    given = settings.get("never_split")
    words = [
        word
        for word in (given if isinstance(given, list) else ())
        if isinstance(word, str) and word not in {*SPECIALS, *added}
    ]
    if not words:
        return []
    named = ", ".join(map(repr, words))
    if fast:
        assumed.append(
            f"never_split {named}: split like other words, as the tokenizer "
            f"of {FAST} does"
        )
        return []
    known = set(tokens)
    missing = [word for word in words if word not in known]
    if missing:
        assumed.append(
            f"never_split {', '.join(map(repr, missing))}: not in the "
            "vocabulary, so split like other words"
        )
    return [AddedToken(word) for word in words if word in known]


def write(
    directory: str,
    vocab: Vocab,
    lower_case: bool,
    strip_accents: bool | None,
    max_length: int,
) -> None:
    """Writes all four files, so that transformers 4 and 5 run them as written.

    Args:
      directory: an existing directory.
      vocab: the tokens.
      lower_case: as `Tokenizer`'s.
      strip_accents: as `Tokenizer`'s.
      max_length: the model's positions, to which texts are truncated.
    """
    settings: dict[str, Any] = {
        # Classes of ELECTRA or BERT make their own normaliser.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "do_lower_case": lower_case,
        "strip_accents": strip_accents,
        "tokenize_chinese_chars": True,
        "model_max_length": max_length,
        **ROLES,
    }
    if vocab.added:
        settings["added_tokens_decoder"] = {
            str(token.pop("id")): token
            for token in fast_tokenizer.added_tokens(vocab)
        }
    fast = fast_tokenizer.content(vocab, lower_case, strip_accents)
    lines = "".join(f"{token}\n" for token in vocab.tokens)
    files.write_text(files.join(directory, VOCAB), lines)
    for name, content in (
        (SETTINGS, settings),
        (SPECIALS_MAP, ROLES),
        (FAST, fast),
    ):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        files.write_text(files.join(directory, name), text)
