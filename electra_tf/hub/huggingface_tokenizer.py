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
from electra_tf.hub.huggingface_fast_tokenizer import ROLES, items, mapping
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
_MODEL = "config.json"  # of the model; may name the tokenizer's class
_SENTENCES = "sentence_bert_config.json"  # of sentence-transformers
FAST, SPECIALS_MAP = "tokenizer.json", "special_tokens_map.json"
FILES = (VOCAB, SETTINGS, FAST, SPECIALS_MAP, ADDED, _SENTENCES)
# Classes that execute the file unchanged, in versions 4 and 5 of transformers;
# and those that make their own normaliser from the settings.
_AS_WRITTEN = ("PreTrainedTokenizer", "TokenizersBackend")
_REBUILT = ("ElectraTokenizer", "BertTokenizer", "DistilBertTokenizer")
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
    files.refuse_pointer(path)
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


def read(
    directory: str, vocab: Vocab | None = None, rows: int | None = None
) -> TokenizerFiles:
    """Reads the tokenizer's files that exist.

    Args:
      directory: their directory.
      vocab: a vocabulary in place of theirs, which is then not read.
      rows: rows of the model's token table, for special tokens that come after
        the vocabulary; None if unknown.

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
    settings = _with_class(directory, settings)
    assumed: list[str] = []
    roles = _roles(directory, settings)
    if vocab is None:
        vocab = _vocab(directory, settings, fast, roles, rows, assumed)
    notes: list[str] = []
    lower_case, strip_accents, chinese = _flags(settings, fast, notes)
    if not lower_case and _lower_cases_first(directory):
        lower_case, strip_accents = True, bool(strip_accents)
        notes.append(f"lower_case true: {_SENTENCES} says it")
    if vocab is not None:
        assumed += notes + _differences(settings, fast, roles, chinese)
    return TokenizerFiles(vocab, lower_case, strip_accents, tuple(assumed))


def _with_class(directory: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings with the class that the model's config names, if
    they name none.
    """
    beside = files.join(directory, _MODEL)
    if settings.get("tokenizer_class") is not None or not files.exists(beside):
        return settings
    named = read_json(beside).get("tokenizer_class")
    return settings | ({"tokenizer_class": named} if named else {})


def _lower_cases_first(directory: str) -> bool:
    """Returns whether sentence-transformers lower-cases what it tokenizes."""
    beside = files.join(directory, _SENTENCES)
    return files.exists(beside) and bool(read_json(beside).get("do_lower_case"))


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
    """Returns the tokens, with BERT's names for the special ones.

    A token in two roles keeps the first: padding with [SEP] must not take the
    name of the separator away.
    """
    result, notes = list(tokens), []
    taken: set[str] = set()
    for role, ours in ROLES.items():
        theirs = roles[role]
        again = theirs in taken
        taken.add(theirs)
        if theirs == ours or again or theirs not in result:
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
    settings: dict[str, Any], fast: dict[str, Any], assumed: list[str]
) -> tuple[bool, bool | None, bool]:
    """Returns whether it lower-cases, strips accents, and sets Chinese
    characters apart.
    """
    keys = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
    lower_case, strip_accents, chinese = (_first(settings.get(k)) for k in keys)
    theirs = fast_tokenizer.flags(fast)
    # Other classes make a normaliser of their own from the settings.
    if _kind(settings) in _AS_WRITTEN and theirs:
        lower_case = theirs["lowercase"]
        if theirs["strip_accents"] is not _first(strip_accents, lower_case):
            strip_accents = theirs["strip_accents"]
        return lower_case, strip_accents, theirs["handle_chinese_chars"]
    if theirs and not fast_tokenizer.is_bert(fast):
        # Version 4 runs any other normaliser; only 5 makes one in its place.
        lower_case = _first(lower_case, theirs["lowercase"])
        if "strip_accents" not in settings:
            strip_accents = theirs["strip_accents"]
        chinese = _first(chinese, theirs["handle_chinese_chars"])
    if lower_case is None:
        lower_case = True
        assumed.append(
            "lower_case true: no tokenizer file has it"
            if theirs.get("lowercase") is not False
            else f"lower_case true: the default where {SETTINGS} has no "
            f"do_lower_case, whatever {FAST} says"
        )
    return lower_case, strip_accents, chinese is not False


def _differences(
    settings: dict[str, Any],
    fast: dict[str, Any],
    roles: dict[str, str],
    chinese: bool,
) -> list[str]:
    """Describes differences of their tokenizer from ours."""
    notes = []
    if not chinese:
        notes.append(
            "Chinese characters are words of their own, which its tokenizer "
            "(tokenize_chinese_chars false) does not make them: where it "
            "keeps them together, ids differ"
        )
    kind = _kind(settings)
    if kind is not None and kind not in (*_AS_WRITTEN, *_REBUILT):
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
    rows: int | None,
    assumed: list[str],
) -> Vocab | None:
    lines = path = files.join(directory, VOCAB)
    model = mapping(fast.get("model"))
    whole = _prefixes_words(model)
    if whole or (model and not files.exists(lines)):
        path = files.join(directory, FAST)
        found = _tokens(model, fast, path, assumed)
        if found is None:
            return None
        tokens = restored(found)
        if files.exists(lines) and _lines_differ(lines, tokens, model, roles):
            assumed.append(
                f"the vocabulary is that of {FAST}, which its libraries use "
                f"too; {VOCAB} beside it has others"
            )
    elif files.exists(lines):
        tokens = _distinct(restored(read_tokens(lines)), assumed)
    else:
        assumed.append(f"no vocabulary: neither {VOCAB} nor {FAST} is there")
        return None
    added, further = _added(directory, settings, fast, path)
    further += map(AddedToken, _further_specials(directory, settings))
    _add_last(added, further, tokens, rows, assumed)
    names = {token.text: number for token, number in added.items()}
    tokens = extended_by(tokens, names, path)
    tokens = _with_rows(tokens, added, rows, assumed)
    for role, other in (("cls_token", "bos_token"), ("sep_token", "eos_token")):
        instead = settings.get(other)
        if roles[role] not in tokens and instead in tokens:
            roles[role] = instead
    tokens = _named_as_ours(tokens, roles, assumed)
    special = {*SPECIALS, *roles.values()}
    kept = [token for token in added if token.text not in special]
    kept += _never_split(settings, fast, tokens, names, assumed)
    try:
        return Vocab(tokens, tuple(kept))
    except UserError as error:
        if path.endswith(VOCAB) and not kept:
            return load_vocab(path)  # its error says what to do
        hint = ""
        if not set(SPECIALS) <= set(tokens):
            hint = (
                f"; if they have other names, {SETTINGS} has to give them "
                "(cls_token and so on), else give another vocabulary (vocab, "
                "--vocab)"
            )
        raise UserError(f"{path}: {error}{hint}") from error


def _prefixes_words(model: dict[str, Any]) -> bool:
    """Returns whether a model of tokenizer.json is WordPiece with ##."""
    return (
        model.get("type", "WordPiece") == "WordPiece"  # old files lack it
        and model.get("continuing_subword_prefix", "##") == "##"
        and bool(mapping(model.get("vocab")))
    )


def _lines_differ(
    path: str,
    tokens: tuple[str, ...],
    model: dict[str, Any],
    roles: dict[str, str],
) -> bool:
    """Returns whether vocab.txt has other tokens than tokenizer.json.

    Added tokens may be in both, or in the latter alone.

    Raises:
      UserError: vocab.txt is damaged.
    """
    lines = _distinct(restored(read_tokens(path)), [])
    special = {*SPECIALS, *roles.values()}
    if len(set(lines) - {""}) < len(lines) or special.isdisjoint(lines):
        load_vocab(path)  # its error says where
    count = max([-1, *mapping(model.get("vocab")).values()]) + 1
    return lines != tokens[: len(lines)] or len(lines) < count


def _distinct(tokens: tuple[str, ...], assumed: list[str]) -> tuple[str, ...]:
    """Replaces empty lines, and lines repeated later, which no text gives."""
    last = {token: i for i, token in enumerate(tokens)}
    other = [i for i, t in enumerate(tokens) if not t or last[t] != i]
    if not other or len(other) > 1 + len(tokens) // 100:  # it is damaged
        return tokens
    assumed.append(
        f"{VOCAB} has empty lines, or tokens repeated later ({len(other)}): no "
        "text gives their ids"
    )
    result = list(tokens)
    for i in other:
        result[i] = f"{_LINE_SEPARATOR}{i}"
    return tuple(result)


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
    for token in map(mapping, items(fast.get("added_tokens"))):
        if isinstance(token.get("content"), str):
            ids.setdefault(token["content"], token.get("id"))
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


def restored(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Restores an empty token to the line separator that it was.

    The common Chinese vocabulary has U+2028 and ##U+2028.

    Args:
      tokens: the lines of a file; they are returned where none is empty.
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
) -> tuple[dict[AddedToken, int], list[AddedToken]]:
    """Returns the added tokens, which stay whole, and their ids.

    Those that only a further file lists come after all others, whatever id it
    gives them; they are the second result.

    Raises:
      UserError: a token stays whole only between spaces.
    """
    found: dict[AddedToken, int] = {}
    further: dict[AddedToken, int] = {}
    texts = set(SPECIALS)
    for place, listed in enumerate(_listed(directory, settings, fast)):
        for about in map(mapping, listed):
            text, number = about.get("content"), about.get("id")
            if not isinstance(text, str) or type(number) is not int:
                raise UserError(
                    f"{path}: an added token without content or id: "
                    f"{about!r:.60}"
                )
            if text in texts:
                continue
            if about.get("single_word"):
                raise UserError(
                    f"{path}: the added token {text!r} is whole only where it "
                    "is a word by itself (single_word), which is not "
                    "supported; set single_word to false, or give another "
                    "vocabulary (vocab, --vocab)"
                )
            token = AddedToken(text, about.get("normalized") is not False)
            (further if place else found)[token] = number
        texts |= {token.text for token in (*found, *further)}
    return found, sorted(further, key=lambda token: further[token])


def _listed(
    directory: str, settings: dict[str, Any], fast: dict[str, Any]
) -> list[list[Any]]:
    """Returns the lists of added tokens, that of tokenizer.json first."""
    numbered = mapping(settings.get("added_tokens_decoder"))
    found = [
        items(fast.get("added_tokens")),
        [
            {**mapping(about), "id": int(number)}
            for number, about in numbered.items()
            if number.isdecimal()
        ],
    ]
    beside = files.join(directory, ADDED)
    if not numbered and files.exists(beside):
        special = _further_specials(directory, settings)
        found.append(
            [
                {"content": token, "id": i, "normalized": token not in special}
                for token, i in read_json(beside).items()
            ]
        )
    return [listed for listed in found if listed]


def _further_specials(directory: str, settings: dict[str, Any]) -> list[str]:
    """Returns special tokens beside those of `ROLES`, without ids."""
    beside = files.join(directory, SPECIALS_MAP)
    given = read_json(beside) if files.exists(beside) else {}
    found: list[str] = []
    for source in (settings, given):
        for key in ("additional_special_tokens", "extra_special_tokens"):
            tokens = source.get(key)
            tokens = [*mapping(tokens).values()] or items(tokens)
            tokens = [mapping(token).get("content", token) for token in tokens]
            found += [t for t in tokens if isinstance(t, str) and t]
    return list(dict.fromkeys(found))


def _add_last(
    added: dict[AddedToken, int],
    further: Iterable[AddedToken],
    tokens: tuple[str, ...],
    rows: int | None,
    assumed: list[str],
) -> None:
    """Adds tokens that have no id of their own: they come last."""
    texts = {*SPECIALS, *(token.text for token in added)}
    for token in further:
        text = token.text
        if text in texts:
            continue
        number = max([len(tokens) - 1, *added.values()]) + 1
        if text in tokens:
            number = tokens.index(text)
        if rows is not None and number >= rows:
            assumed.append(
                f"{text!r} is split like other words: it would be token "
                f"{number}, and the table has {rows} rows"
            )
            continue
        added[token] = number
        texts.add(text)


def _with_rows(
    tokens: tuple[str, ...],
    added: dict[AddedToken, int],
    rows: int | None,
    assumed: list[str],
) -> tuple[str, ...]:
    """Leaves out added tokens at the end that the table has no row for.

    Such a model works there until a text has the token.
    """
    texts = {token.text: token for token in added}
    left_out = []
    while rows is not None and len(tokens) > rows and tokens[-1] in texts:
        left_out.append(tokens[-1])
        del added[texts[tokens[-1]]]
        tokens = tokens[:-1]
    if left_out:
        listed = ", ".join(map(repr, reversed(left_out)))
        assumed.append(
            f"split like other words, as the table has {rows} rows and none "
            f"for them: the added tokens {listed}"
        )
    return tokens


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
