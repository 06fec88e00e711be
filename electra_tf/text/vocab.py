"""A WordPiece vocabulary: load it, check it, save it."""

import dataclasses
import functools
import hashlib

from electra_tf import files
from electra_tf.errors import UserError

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_CHARS_PER_WORD = 200


@dataclasses.dataclass(frozen=True)
class Vocab:
    """WordPiece tokens in the order of their ids.

    Attributes:
      tokens: the tokens; "##" marks a piece that continues a word.
    """

    tokens: tuple[str, ...]

    def __post_init__(self):
        problems = _problems(self.tokens)
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
        """For each token, whether it goes on with a word ("##ing")."""
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
        """`sha256:` and the hash of the tokens joined by line feeds."""
        text = "\n".join(self.tokens).encode("utf-8")
        return "sha256:" + hashlib.sha256(text).hexdigest()

    def save(self, path: str) -> None:
        """Writes one token a line, atomically."""
        files.write_text(path, "".join(f"{token}\n" for token in self.tokens))


def load_vocab(path: str) -> Vocab:
    """Reads a vocabulary file: UTF-8, one token a line, CRLF accepted.

    Raises:
      UserError: missing, empty, not UTF-8; duplicates, white space around a
        token, empty lines, or a special missing. Line numbers, from 1, are
        named.
    """
    content = files.read_bytes(path)
    # Only \n separates lines: Chinese vocabularies hold U+2028 and the like.
    lines = content.split(b"\n")
    if lines[-1] in (b"", b"\r"):
        lines.pop()
    if not lines:
        raise UserError(f"{path}: empty; expected one token a line")
    bad = [n for n, line in enumerate(lines, 1) if not _is_utf8(line)]
    if bad:
        raise UserError(f"{path}: not UTF-8 text on {_lines(bad)}")
    tokens = tuple(line.removesuffix(b"\r").decode("utf-8") for line in lines)
    problems = _problems(tokens)
    if problems:
        raise UserError(
            f"{path}: {'; '.join(problems)}. Expected one token a line, each"
            f" once, with {' '.join(SPECIALS)}; take an undamaged copy"
        )
    return Vocab(tokens)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _problems(tokens: tuple[str, ...]) -> list[str]:
    """What is wrong with a vocabulary, naming 1-based lines."""
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


def _lines(numbers: list[int], shown: int = 5) -> str:
    listed = ", ".join(map(str, numbers[:shown]))
    if len(numbers) == 1:
        return f"line {listed}"
    more = ", …" if len(numbers) > shown else ""
    return f"{len(numbers)} lines ({listed}{more})"
