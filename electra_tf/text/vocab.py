"""Loads, checks and saves WordPiece vocabularies."""

import codecs
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from electra_tf import files
from electra_tf.errors import UserError

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_CHARS_PER_WORD = 200
ADDED = "added_tokens.json"
_BOM = b"\xef\xbb\xbf"


class AddedToken(NamedTuple):
    """A token that stays whole anywhere in a text, such as "[E1]".

    Attributes:
      text: the token.
      normalized: whether it is searched in the normalised text, or in the
        original one.
    """

    text: str
    normalized: bool = False


@dataclasses.dataclass(frozen=True)
class Vocab:
    """Holds WordPiece tokens in the order of their ids.

        from electra_tf import Vocab, load_vocab

        vocab = load_vocab("vocab.txt")
        vocab.ids["[MASK]"], vocab.tokens[0], len(vocab)
        Vocab(vocab.tokens + ("zebra",)).save("longer.txt")

    Attributes:
      tokens: the tokens; "##" marks a piece that continues a word.
      added: the tokens that stay whole, wherever they are in a text.
    """

    tokens: tuple[str, ...]
    added: tuple[AddedToken, ...] = ()

    def __post_init__(self):
        problems = _problems(self.tokens)
        problems += _added_problems(self.tokens, self.added)
        if problems:
            raise UserError("vocabulary: " + "; ".join(problems))

    def __len__(self) -> int:
        return len(self.tokens)

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """Token -> id."""
        return {token: i for i, token in enumerate(self.tokens)}

    @functools.cached_property
    def continues(self) -> tuple[bool, ...]:
        """For each token, whether it continues a word ("##ing")."""
        return tuple(token.startswith("##") for token in self.tokens)

    @functools.cached_property
    def size_without_added(self) -> int:
        """The number of tokens before the added ones at the end, which are no
        pieces of words; added ones among the others are pieces as well.
        """
        size, added = len(self.tokens), {token.text for token in self.added}
        while size and self.tokens[size - 1] in added:
            size -= 1
        return size

    @property
    def pad_id(self) -> int:
        """The id of [PAD]."""
        return self.ids["[PAD]"]

    @property
    def unk_id(self) -> int:
        """The id of [UNK]."""
        return self.ids["[UNK]"]

    @property
    def cls_id(self) -> int:
        """The id of [CLS]."""
        return self.ids["[CLS]"]

    @property
    def sep_id(self) -> int:
        """The id of [SEP]."""
        return self.ids["[SEP]"]

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        return self.ids["[MASK]"]

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of `SPECIALS`, in that order."""
        return tuple(self.ids[token] for token in SPECIALS)

    def fingerprint(self) -> str:
        """Returns `sha256:` and the hash of the tokens joined by line feeds."""
        text = "\n".join(self.tokens)
        for token in self.added:
            text += f"\n\n{token.text}\n{token.normalized}"
        return "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()

    def to_config(self) -> dict[str, Any]:
        """Returns the entries of a Keras config that `from_config` reads."""
        return {
            "vocab": list(self.tokens),
            "added_tokens": [list(token) for token in self.added],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Vocab":
        """Makes the vocabulary of a Keras config.

        Args:
          config: has `vocab` and `added_tokens`; the latter is missing in files
            of earlier versions.

        Raises:
          UserError: the tokens are no vocabulary.
        """
        added = (AddedToken(*each) for each in config.get("added_tokens", ()))
        return cls(tuple(config["vocab"]), tuple(added))

    def save(self, path: str) -> None:
        """Writes one token per line, and added ones to a file beside it."""
        beside = _beside(path)
        if self.added:
            content = {
                token.text: {
                    "id": self.ids[token.text],
                    "normalized": token.normalized,
                }
                for token in self.added
            }
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            files.write_text(beside, text)
        elif files.exists(beside):
            files.remove(beside)  # from an earlier vocabulary
        files.write_text(path, "".join(f"{token}\n" for token in self.tokens))


def _beside(path: str) -> str:
    """Returns the file of a vocabulary's added tokens."""
    folder, slash, name = path.rpartition("/")
    return (
        folder + slash + (ADDED if name == "vocab.txt" else f"{name}.{ADDED}")
    )


def load_vocab(path: files.AnyPath) -> Vocab:
    """Reads a vocabulary file: UTF-8, one token per line, CRLF accepted.

    A byte order mark before the first token is skipped; one of UTF-16 is
    understood. Added tokens come from `added_tokens.json` beside it, if it
    exists.

    Raises:
      UserError: the file is missing, empty or not UTF-8, or has duplicates,
        white space around a token, or empty lines, or lacks a special token.
        Line numbers, from 1, are named.
    """
    path = os.fspath(path)
    tokens = read_tokens(path)
    added: tuple[AddedToken, ...] = ()
    if files.exists(_beside(path)):
        tokens, added = _with_added(tokens, _beside(path))
    problems = _problems(tokens)
    if problems:
        raise UserError(
            f"{path}: {'; '.join(problems)}. Expected one token a line, each"
            f" once, with {' '.join(SPECIALS)}; take an undamaged copy"
        )
    try:
        return Vocab(tokens, added)
    except UserError as error:
        raise UserError(f"{_beside(path)}: {error}") from error


def read_tokens(path: str) -> tuple[str, ...]:
    """Reads the lines of a vocabulary file, without checking tokens.

    Raises:
      UserError: the file is missing, empty or not UTF-8.
    """
    files.refuse_pointer(path)
    content = files.read_bytes(path).removeprefix(_BOM)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = content.decode("utf-16").encode("utf-8")
        except UnicodeError as error:
            raise UserError(f"{path}: not UTF-16 text ({error})") from error
    # Only \n separates lines: Chinese vocabularies have U+2028 and the like.
    lines = content.split(b"\n")
    if lines[-1] in (b"", b"\r"):
        lines.pop()
    if not lines:
        raise UserError(f"{path}: empty; expected one token a line")
    bad = [n for n, line in enumerate(lines, 1) if not _is_utf8(line)]
    if bad:
        raise UserError(f"{path}: not UTF-8 text on {_lines(bad)}")
    return tuple(line.removesuffix(b"\r").decode("utf-8") for line in lines)


def _with_added(
    tokens: tuple[str, ...], path: str
) -> tuple[tuple[str, ...], tuple[AddedToken, ...]]:
    """Returns all tokens, and the added ones, from our file or
    transformers'.
    """
    try:
        content: Any = json.loads(files.read_text(path))
        found = {}
        for text, about in content.items():
            if not isinstance(about, dict):  # transformers' has only the id
                about = {"id": about, "normalized": True}
            found[text] = int(about["id"]), bool(about["normalized"])
    except (
        ValueError, KeyError, TypeError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise UserError(
            f"{path}: expected a JSON mapping of added tokens to their ids "
            f"({error})"
        ) from error
    numbers = {text: number for text, (number, _) in found.items()}
    tokens = extended_by(tokens, numbers, path)
    return tokens, tuple(
        AddedToken(text, normalized)
        for text, (_, normalized) in found.items()
        if text not in SPECIALS
    )


def extended_by(
    tokens: Sequence[str], numbers: dict[str, int], path: str
) -> tuple[str, ...]:
    """Extends `tokens` by those of `numbers`, at their ids.

    Args:
      tokens: tokens of a vocabulary.
      numbers: token -> id, within the vocabulary or after its end.
      path: file of the numbers, for messages.

    Raises:
      UserError: an id belongs to another token, or leaves a gap.
    """
    result = list(tokens)
    for text, number in sorted(numbers.items(), key=lambda item: item[1]):
        if number == len(result):
            result.append(text)
        elif not 0 <= number < len(result):
            raise UserError(
                f"{path}: the added token {text!r} has the id {number}, but "
                f"the vocabulary ends at {len(result) - 1}"
            )
        elif result[number] != text:
            raise UserError(
                f"{path}: the added token {text!r} has the id {number}, which "
                f"is that of {result[number]!r}"
            )
    return tuple(result)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _problems(tokens: tuple[str, ...]) -> list[str]:
    """Describes what is wrong with a vocabulary, with line numbers from 1."""
    problems = []
    first: dict[str, int] = {}
    duplicates, empty, spaces = [], [], []
    for number, token in enumerate(tokens, 1):
        if not token:
            empty.append(number)
        elif token in first:
            duplicates.append(number)
        # Only ASCII: real vocabularies have wider spaces.
        elif token != token.strip(" \t\r\n\v\f"):
            spaces.append(number)
        first.setdefault(token, number)
    if not _is_utf8("".join(tokens).encode("utf-8", "surrogatepass")):
        problems.append("a token that is not text (half of a character)")
    if duplicates:
        shown = ", ".join(
            f"line {n} {tokens[n - 1]!r} repeats line {first[tokens[n - 1]]}"
            for n in duplicates[:3]
        )
        problems.append(f"{len(duplicates)} duplicate token(s): {shown}")
    if spaces:
        problems.append(f"space around the token on {_lines(spaces)}")
    if empty:
        problems.append(f"no token on {_lines(empty)}")
    missing = [token for token in SPECIALS if token not in first]
    if missing:
        problems.append(
            f"no line (of {len(tokens)}) holds {' or '.join(missing)}"
        )
    return problems


def _added_problems(
    tokens: tuple[str, ...], added: tuple[AddedToken, ...]
) -> list[str]:
    known = set(tokens) if added else set()
    return [
        f"the added token {token.text!r} is not among its tokens"
        for token in added
        if token.text not in known
    ]


def _lines(numbers: list[int], shown: int = 5) -> str:
    listed = ", ".join(map(str, numbers[:shown]))
    if len(numbers) == 1:
        return f"line {listed}"
    more = ", …" if len(numbers) > shown else ""
    return f"{len(numbers)} lines ({listed}{more})"
