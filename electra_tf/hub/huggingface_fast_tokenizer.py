"""Reads and writes `tokenizer.json`, the file of the library `tokenizers`.

The library executes the file. Ours is written so that it gives our ids; for
other files we report where they give other ids than ours.
"""

import re
from collections.abc import Mapping
from typing import Any

from electra_tf.text import normalize
from electra_tf.text.vocab import MAX_CHARS_PER_WORD, Vocab

# The end of a word for str.lower: marks and the like may come between.
_CASED, _IGNORED = (
    r"[\p{Lu}\p{Ll}\p{Lt}]",
    r"[\p{Mn}\p{Me}\p{Lm}\p{Sk}'.:\x{B7}\x{2019}]",
)
_FINAL_SIGMA = f"(?<={_CASED})Σ(?!{_IGNORED}*{_CASED})"
_MARKS = r"\p{Mn}+"
# Characters of Unicode 15.1 and 16, which the library knows and TensorFlow
# drops as unknown.
_NEWER = (
    r"\x{897}\x{1B4E}-\x{1B4F}\x{1B7F}\x{1C89}-\x{1C8A}\x{2427}-\x{2429}"
    r"\x{2FFC}-\x{2FFF}\x{31E4}-\x{31E5}\x{31EF}\x{A7CB}-\x{A7CD}"
    r"\x{A7DA}-\x{A7DC}\x{105C0}-\x{105F3}\x{10D40}-\x{10D65}"
    r"\x{10D69}-\x{10D85}\x{10D8E}-\x{10D8F}\x{10EC2}-\x{10EC4}\x{10EFC}"
    r"\x{11380}-\x{11389}\x{1138B}\x{1138E}\x{11390}-\x{113B5}"
    r"\x{113B7}-\x{113C0}\x{113C2}\x{113C5}\x{113C7}-\x{113CA}"
    r"\x{113CC}-\x{113D5}\x{113D7}-\x{113D8}\x{113E1}-\x{113E2}"
    r"\x{116D0}-\x{116E3}\x{1171E}\x{11BC0}-\x{11BE1}\x{11BF0}-\x{11BF9}"
    r"\x{11F5A}\x{13460}-\x{143FA}\x{16100}-\x{16139}\x{16D40}-\x{16D79}"
    r"\x{18CFF}\x{1CC00}-\x{1CCF9}\x{1CD00}-\x{1CEB3}\x{1E5D0}-\x{1E5FA}"
    r"\x{1E5FF}\x{1F8B2}-\x{1F8BB}\x{1F8C0}-\x{1F8C1}\x{1FA89}\x{1FA8F}"
    r"\x{1FAC6}\x{1FADC}\x{1FADF}\x{1FAE9}\x{1FBCB}-\x{1FBEF}"
    r"\x{2EBF0}-\x{2EE5D}"
)
ROLES = {
    "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
    "cls_token": "[CLS]", "mask_token": "[MASK]",
}  # fmt: skip


def mapping(value: Any) -> dict[str, Any]:
    """Returns `value` if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Returns `value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def _steps(step: Any, inner: str) -> list[dict[str, Any]]:
    """Returns the steps of a normaliser or splitter, also of nested ones.

    Args:
      step: the step, possibly a Sequence.
      inner: the key of a Sequence's steps.
    """
    step = mapping(step)
    if step.get("type") != "Sequence":
        return [step] if step else []
    return [
        one for part in items(step.get(inner)) for one in _steps(part, inner)
    ]


def _is_ours(steps: list[dict[str, Any]]) -> bool:
    """Returns whether `content` made the normaliser, now or earlier."""
    first = mapping(steps[0].get("pattern")).get("Regex") if steps else None
    start = str(_regex(normalize.DROPPED)["Regex"]).partition("]+")[0]
    return isinstance(first, str) and first.startswith(start)


def flags(content: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the settings of a normaliser with any steps.

    Args:
      content: content of the file.

    Returns:
      The settings of the nearest BertNormalizer: `lowercase`, `strip_accents`,
      `clean_text` and `handle_chinese_chars`; empty where the file has no
      normaliser's key.
    """
    if "normalizer" not in content:
        return {}
    steps = _steps(content["normalizer"], "normalizers")
    ours = _is_ours(steps)
    found: dict[str, Any] = {
        "lowercase": False, "strip_accents": False,
        "clean_text": ours, "handle_chinese_chars": ours,
    }  # fmt: skip
    for step in steps:
        kind = step.get("type")
        if kind == "BertNormalizer":
            lower = step.get("lowercase") is not False
            stripped = step.get("strip_accents")
            stripped = stripped if isinstance(stripped, bool) else lower
            found["lowercase"] |= lower
            found["strip_accents"] |= stripped
            for key in ("clean_text", "handle_chinese_chars"):
                found[key] |= step.get(key) is not False
        elif kind == "Lowercase":
            found["lowercase"] = True
        elif kind == "StripAccents" or step.get("pattern") == _regex(_MARKS):
            found["strip_accents"] = True
    return found


def is_bert(content: Mapping[str, Any]) -> bool:
    """Returns whether the normaliser is a BertNormalizer alone."""
    steps = _steps(content.get("normalizer"), "normalizers")
    return [step.get("type") for step in steps] == ["BertNormalizer"]


def differences(
    content: Mapping[str, Any], roles: Mapping[str, str]
) -> list[str]:
    """Describes what the file does and our tokenizer cannot do.

    Args:
      content: content of the file.
      roles: its names of the special tokens, as `ROLES`.
    """
    if not content:
        return []
    notes = _of_normalizer(content)
    model = mapping(content.get("model"))
    kind = model.get("type", "WordPiece")
    prefix = model.get("continuing_subword_prefix", "##")
    if (kind, prefix) != ("WordPiece", "##"):
        notes.append(
            "words become WordPieces, with ## before those inside one; its "
            f"tokenizer is of kind {kind}, with the prefix {prefix!r}"
        )
    limit = model.get("max_input_chars_per_word")
    # 100 is the library's default.
    if limit not in (None, 100, MAX_CHARS_PER_WORD):
        notes.append(
            f"words of more than {MAX_CHARS_PER_WORD} letters become [UNK]; "
            f"in its tokenizer those of more than {limit}"
        )
    if "post_processor" in content and not _joins_as_ours(
        mapping(content["post_processor"]), roles
    ):
        notes.append(
            "special tokens are placed as in [CLS] A [SEP] B [SEP], B in "
            "segment 1; its tokenizer's post_processor puts them in another way"
        )
    if _is_null(content, "pre_tokenizer"):
        notes.append(
            "words are split as BERT does; its tokenizer (pre_tokenizer null) "
            "does not split text before it looks for tokens"
        )
    parts = _steps(content.get("pre_tokenizer"), "pretokenizers")
    kinds = [str(part.get("type")) for part in parts]
    if kinds and kinds != ["BertPreTokenizer"] and (
        content["pre_tokenizer"] != _pre_tokenizer()
    ):  # fmt: skip
        notes.append(
            f"words are split as BERT does; its tokenizer splits them by "
            f"{', '.join(kinds)}, so ids may differ"
        )
    return notes


def _of_normalizer(content: Mapping[str, Any]) -> list[str]:
    """Describes what a normaliser does otherwise, where the file has one."""
    if "normalizer" not in content:
        return []
    steps = _steps(content["normalizer"], "normalizers")
    kinds = [str(step.get("type")) for step in steps]
    if not steps:
        return [
            "control characters are dropped; its tokenizer (normalizer null) "
            "keeps them"
        ]
    if not _is_ours(steps) and kinds != ["BertNormalizer"]:
        return [
            "text is normalised as BERT does; its tokenizer has the steps "
            f"{', '.join(kinds)}, so ids may differ"
        ]
    if not flags(content)["clean_text"]:
        return [
            "control characters are dropped, which its tokenizer "
            "(clean_text false) keeps"
        ]
    return []


def _is_null(content: Mapping[str, Any], step: str) -> bool:
    """Returns whether the file has null for a step."""
    return step in content and content[step] is None


def _joins_as_ours(given: dict[str, Any], roles: Mapping[str, str]) -> bool:
    """Returns whether special tokens are placed as in BERT."""
    cls, sep = roles["cls_token"], roles["sep_token"]
    if given.get("type") == "Sequence":
        parts = items(given.get("processors"))
        kinds = [_joins_as_ours(mapping(part), roles) for part in parts]
        return any(kinds)
    if given.get("type") == "BertProcessing":
        ends = [items(given.get(key))[:1] for key in ("cls", "sep")]
        return ends == [[cls], [sep]]
    if given.get("type") != "TemplateProcessing":
        return False
    expected = {
        "single": [(cls, 0), ("A", 0), (sep, 0)],
        "pair": [(cls, 0), ("A", 0), (sep, 0), ("B", 1), (sep, 1)],
    }
    found = {
        key: [
            (about.get("id"), about.get("type_id"))
            for piece in items(given.get(key))
            for about in mapping(piece).values()
            if isinstance(about, dict)
        ]
        for key in expected
    }
    return found == expected


def _regex(pattern: str) -> dict[str, str]:
    r"""Returns a pattern of `normalize` with characters for `\x{...}`.

    The library's own expressions support the escapes; those of its port to
    JavaScript do not.
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
    """Returns the steps of `text.normalize`, as normalisers of the library.

    The library's own BertNormalizer has older character tables, and no final
    sigma.
    """
    steps = [_replace(f"{normalize.DROPPED}|[{_NEWER}]+", "")]
    if lower_case:
        steps += [_replace(_FINAL_SIGMA, "ς"), {"type": "Lowercase"}]
    if lower_case if strip_accents is None else strip_accents:
        steps += [{"type": "NFD"}, _replace(_MARKS, "")]
    return {"type": "Sequence", "normalizers": steps}


def _pre_tokenizer() -> dict[str, Any]:
    return {
        "type": "Sequence",
        "pretokenizers": [
            _split(f"[{normalize.SPACE}]+", "Removed"),
            _split(f"[{normalize.PUNCTUATION}{normalize.CJK}]", "Isolated"),
        ],
    }


def added_tokens(vocab: Vocab) -> list[dict[str, Any]]:
    """Describes the special and added tokens, in the order of their ids.

    Args:
      vocab: the vocabulary.
    """
    found = {token: (False, True) for token in ROLES.values()}
    found |= {token.text: (token.normalized, False) for token in vocab.added}
    return [
        {
            "id": vocab.ids[token],
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": normalized,
            "special": special,
        }
        for token, (normalized, special) in sorted(
            found.items(), key=lambda item: vocab.ids[item[0]]
        )
    ]


def content(
    vocab: Vocab, lower_case: bool, strip_accents: bool | None
) -> dict[str, Any]:
    """Makes the content of `tokenizer.json`.

    Args:
      vocab: the vocabulary.
      lower_case: see `Tokenizer`.
      strip_accents: see `Tokenizer`.
    """
    specials = {token: vocab.ids[token] for token in ROLES.values()}
    size = vocab.size_without_added

    def special(token: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": 0}}

    def sequence(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    end = {"SpecialToken": {"id": "[SEP]", "type_id": 1}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(vocab),
        "normalizer": _normalizer(lower_case, strip_accents),
        "pre_tokenizer": _pre_tokenizer(),
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
            "vocab": {t: i for t, i in vocab.ids.items() if i < size},
        },
    }
