"""A WordPiece vocabulary: load it, check it, save it."""

import codecs
import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from electra_tf import files
from electra_tf.errors import UserError

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_CHARS_PER_WORD = 200
ADDED = "added_tokens.json"
_BOM = b"\xef\xbb\xbf"


class AddedToken(NamedTuple):
    """A token that stays whole wherever it stands in a text, as "[E1]".

    Attributes:
      text: the token.
      normalized: whether it is looked for after lower-casing and the like,
        as the normalised text has it; or before, just as it is written.
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
      added: those of them that are no pieces of words but stay whole.
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

    def save(self, path: str) -> None:
        """Writes one token a line, and added ones to a file beside it."""
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
            files.remove(beside)  # of what stood here before
        files.write_text(path, "".join(f"{token}\n" for token in self.tokens))


def _beside(path: str) -> str:
    """Returns the file of the added tokens of a vocabulary's."""
    folder, slash, name = path.rpartition("/")
    return (
        folder + slash + (ADDED if name == "vocab.txt" else f"{name}.{ADDED}")
    )


def load_vocab(path: str) -> Vocab:
    """Reads a vocabulary file: UTF-8, one token a line, CRLF accepted.

    A byte order mark before the first token is passed over; one of UTF-16 is
    understood. Tokens that stay
    whole are those of `added_tokens.json` beside it, if that is there.

    Raises:
      UserError: missing, empty, not UTF-8; duplicates, white space around a
        token, empty lines, or a special missing. Line numbers, from 1, are
        named.
    """
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
    """Reads the lines of a vocabulary file, whatever they hold.

    Raises:
      UserError: missing, empty or not UTF-8.
    """
    content = files.read_bytes(path).removeprefix(_BOM)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = content.decode("utf-16").encode("utf-8")
        except UnicodeError as error:
            raise UserError(f"{path}: not UTF-16 text ({error})") from error
    # Only \n separates lines: Chinese vocabularies hold U+2028 and the like.
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
    """Returns all tokens, and the added ones of a file of ours or
    transformers'.
    """
    try:
        content: Any = json.loads(files.read_text(path))
        found = {}
        for text, about in content.items():
            if not isinstance(about, dict):  # transformers' has the id alone
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
    """Returns `tokens` with those of `numbers` at the ids they have there.

    Args:
      tokens: of a vocabulary.
      numbers: token -> id, inside it or behind its end.
      path: where the numbers are from, for messages.

    Raises:
      UserError: an id that is another token's, or leaves a gap.
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
    """Returns what is wrong with a vocabulary, naming 1-based lines."""
    problems = []
    first: dict[str, int] = {}
    duplicates, empty, spaces = [], [], []
    for number, token in enumerate(tokens, 1):
        if not token:
            empty.append(number)
        elif token in first:
            duplicates.append(number)
        # ASCII alone: wider spaces do stand in real vocabularies.
        elif token != token.strip(" \t\r\n\v\f"):
            spaces.append(number)
        first.setdefault(token, number)
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
