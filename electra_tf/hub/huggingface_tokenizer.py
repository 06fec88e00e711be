"""Tokenizer files as Hugging Face's libraries keep them.

Three files say what one would: `vocab.txt` the tokens, `tokenizer_config.json`
the settings, and `tokenizer.json` both, for the library `tokenizers`.
"""

import dataclasses
import json
import re
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text import normalize
from electra_tf.text.vocab import MAX_CHARS_PER_WORD, Vocab, load_vocab

VOCAB, SETTINGS = "vocab.txt", "tokenizer_config.json"
FAST, SPECIALS = "tokenizer.json", "special_tokens_map.json"
# At the end of a word, as str.lower sees it: between are marks and the like.
_CASED, _IGNORED = (
    r"[\p{Lu}\p{Ll}\p{Lt}]",
    r"[\p{Mn}\p{Me}\p{Lm}\p{Sk}'.:\x{B7}\x{2019}]",
)
_FINAL_SIGMA = f"(?<={_CASED})Σ(?!{_IGNORED}*{_CASED})"
_MARKS = r"\p{Mn}+"
_ROLES = {
    "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
    "cls_token": "[CLS]", "mask_token": "[MASK]",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TokenizerFiles:
    """What they say.

    Attributes:
      vocab: None where there is none, or not a WordPiece vocabulary.
      lower_case: as `Tokenizer`'s.
      strip_accents: as `Tokenizer`'s.
      assumed: sentences: what they did not say, or say and we cannot do.
    """

    vocab: Vocab | None
    lower_case: bool
    strip_accents: bool | None
    assumed: tuple[str, ...]


def read_json(path: str) -> dict[str, Any]:
    """A JSON file that holds a mapping.

    Raises:
      UserError: missing or something else; the file is named.
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


def read(directory: str) -> TokenizerFiles:
    """Reads what is there of the tokenizer's files.

    Raises:
      UserError: one of them is damaged; it is named.
    """
    settings, fast = (
        read_json(path) if files.exists(path) else {}
        for path in (
            files.join(directory, SETTINGS),
            files.join(directory, FAST),
        )
    )
    assumed: list[str] = []
    vocab = _vocab(directory, fast, assumed)
    normalizer = _flags(_mapping(fast.get("normalizer")))
    lower_case = _first(
        settings.get("do_lower_case"), normalizer.get("lowercase")
    )
    if lower_case is None:
        lower_case = True
        if vocab is not None:
            assumed.append("lower_case true: no tokenizer file says it")
    # null says something here: as lower_case.
    place = settings if "strip_accents" in settings else normalizer
    strip_accents = _first(place.get("strip_accents"))
    chinese = _first(
        settings.get("tokenize_chinese_chars"),
        normalizer.get("handle_chinese_chars"),
    )
    if chinese is False and vocab is not None:
        assumed.append(
            "Chinese characters are words of their own, which its tokenizer "
            "(tokenize_chinese_chars false) does not make them: where it "
            "keeps them together, ids differ"
        )
    kind = settings.get("tokenizer_class")
    if isinstance(kind, str) and vocab is not None:
        kind = kind.removesuffix("Fast")
        if kind not in _WORDPIECE_CLASSES:
            assumed.append(
                f"words are split as BERT does; its tokenizer, {kind}, may "
                "split them in another way"
            )
    return TokenizerFiles(vocab, lower_case, strip_accents, tuple(assumed))


_WORDPIECE_CLASSES = (
    "ElectraTokenizer", "BertTokenizer", "PreTrainedTokenizer",
    "DistilBertTokenizer", "TokenizersBackend",
)  # fmt: skip


def _flags(normalizer: dict[str, Any]) -> dict[str, Any]:
    """A BertNormalizer's settings, or those that lead to the same steps."""
    steps = normalizer.get("normalizers")
    if not isinstance(steps, list):
        return normalizer
    steps = [_mapping(step) for step in steps]
    for step in steps:
        if step.get("type") == "BertNormalizer":
            return step
    kinds = {step.get("type") for step in steps}
    stripped = "StripAccents" in kinds or any(
        step.get("pattern") == _regex(_MARKS) for step in steps
    )
    return {"lowercase": "Lowercase" in kinds, "strip_accents": stripped}


def _first(*values: Any) -> bool | None:
    """The first that is true or false."""
    return next((v for v in values if isinstance(v, bool)), None)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _vocab(
    directory: str, fast: dict[str, Any], assumed: list[str]
) -> Vocab | None:
    path = files.join(directory, VOCAB)
    if files.exists(path):
        return load_vocab(path)
    model = _mapping(fast.get("model"))
    if not model:
        assumed.append(f"no vocabulary: neither {VOCAB} nor {FAST} is there")
        return None
    path = files.join(directory, FAST)
    ids = model.get("vocab")
    # Old files do not name the kind of model.
    if model.get("type", "WordPiece") != "WordPiece" or not isinstance(
        ids, dict
    ):
        assumed.append(
            f"no vocabulary: the one in {FAST} is of kind "
            f"{model.get('type')}, not WordPiece"
        )
        return None
    ids = dict(ids)
    for token in fast.get("added_tokens") or ():
        if isinstance(token, dict):
            ids.setdefault(token.get("content"), token.get("id"))
    tokens = sorted(ids, key=lambda token: (ids[token] is None, ids[token]))
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise UserError(
            f"cannot read {path}: its vocabulary does not number its "
            f"{len(tokens)} tokens from 0 to {len(tokens) - 1}"
        )
    try:
        return Vocab(tuple(tokens))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def write(
    directory: str,
    vocab: Vocab,
    lower_case: bool,
    strip_accents: bool | None,
    max_length: int,
) -> None:
    """Writes all four files, so that slow and fast tokenizers load.

    Args:
      directory: where to; it exists.
      vocab: the tokens.
      lower_case: as `Tokenizer`'s.
      strip_accents: as `Tokenizer`'s.
      max_length: positions of the model, to which texts are cut.
    """
    vocab.save(files.join(directory, VOCAB))
    settings = {
        "tokenizer_class": "ElectraTokenizer",
        "do_lower_case": lower_case,
        "strip_accents": strip_accents,
        "tokenize_chinese_chars": True,
        "model_max_length": max_length,
        **_ROLES,
    }
    fast = _fast(vocab, lower_case, strip_accents)
    for name, content in (
        (SETTINGS, settings),
        (SPECIALS, _ROLES),
        (FAST, fast),
    ):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        files.write_text(files.join(directory, name), text)


def _regex(pattern: str) -> dict[str, str]:
    r"""Of `normalize`, with characters in place of `\x{...}`.

    The library's expressions know that too; those of its port to JavaScript
    do not.
    """
    found = re.compile(r"\\x\{([0-9A-F]+)\}")
    return {"Regex": found.sub(lambda m: chr(int(m[1], 16)), pattern)}


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": _regex(pattern), "content": content}


def _split(pattern: str, behavior: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": _regex(pattern),
        "behavior": behavior,
        "invert": False,
    }


def _normalizer(lower_case: bool, strip_accents: bool | None) -> dict[str, Any]:
    """The steps of `text.normalize`, one by one.

    The library's own BertNormalizer has older tables of characters, and no
    final sigma.
    """
    steps = [_replace(normalize.DROPPED, "")]
    if lower_case:
        steps += [_replace(_FINAL_SIGMA, "ς"), {"type": "Lowercase"}]
    if lower_case if strip_accents is None else strip_accents:
        steps += [{"type": "NFD"}, _replace(_MARKS, "")]
    return {"type": "Sequence", "normalizers": steps}


def _fast(
    vocab: Vocab, lower_case: bool, strip_accents: bool | None
) -> dict[str, Any]:
    """The content of `tokenizer.json`."""
    specials = {token: vocab.ids[token] for token in _ROLES.values()}

    def special(token: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": 0}}

    def sequence(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    end = {"SpecialToken": {"id": "[SEP]", "type_id": 1}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token, i in sorted(specials.items(), key=lambda item: item[1])
        ],
        "normalizer": _normalizer(lower_case, strip_accents),
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                _split(f"[{normalize.SPACE}]+", "Removed"),
                _split(f"[{normalize.PUNCTUATION}{normalize.CJK}]", "Isolated"),
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]"), sequence("A", 0), special("[SEP]")],
            "pair": [
                special("[CLS]"),
                sequence("A", 0),
                special("[SEP]"),
                sequence("B", 1),
                end,
            ],
            "special_tokens": {
                token: {
                    "id": token,
                    "ids": [specials[token]],
                    "tokens": [token],
                }
                for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": MAX_CHARS_PER_WORD,
            "vocab": vocab.ids,
        },
    }
