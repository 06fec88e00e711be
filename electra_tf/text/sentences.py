"""Splits texts into sentences, by graph operations.

It uses rules, not a model: marks that end sentences, and exceptions:
abbreviations of the language, initials, numbers of lists and ordinals, a small
letter that follows. Regular expressions insert a mark at each end, or remove
one; offsets are counted between the marks. For any bytes the sentences are the
same in a program and in an export.
"""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

# Control characters of one byte, like the marks that they replace: an end, and
# a full stop that does not end a sentence. In texts they count as spaces.
_END, _DOT = "\x1e", "\x1f"
_CLOSERS = "\"'”’»)\\]】」』）›"  # noqa: RUF001
_OPENERS = "\"'“‘«(\\[【「『（‹¿¡„‚"  # noqa: RUF001
_SPACE = (
    r"[\s\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}"
    r"\x{3000}]"
)
_THIN = r"[ \x{A0}\x{202F}]"  # within abbreviations and quotations
_WORD = r"[\p{L}\p{N}]"
# Marks that end a sentence before a space, and anywhere.
_SPACED = r"[.!?‼⁇⁈⁉…؟۔]"  # noqa: RUF001
_FREE = r"[。！？｡।॥။។።]"  # noqa: RUF001
# Abbreviations only before a number, as No. 5.
_NUMBERED = {
    "en": "No|Nos|Nr|p|pp|Fig|Figs|Sec|Art|Ch|Eq|Vol|vol|ca|c",
    "de": "Nr|Abb|Bd|Kap|S|Tab|ca",
    "fr": "n|p|pp|art|fig|vol|env",
    "es": "n|núm|pág|fig|art|cap|vol",
    "it": "n|p|pag|fig|art|cap|vol",
    "nl": "nr|blz|afb|art",
    "pt": "n|pág|fig|art|cap",
}
# Abbreviations that never end a sentence.
_ALWAYS = {
    "en": (
        "Mr|Mrs|Ms|Messrs|Dr|Drs|Prof|St|Mt|Ft|Gen|Lt|Col|Maj|Capt|Cmdr|Adm|"
        "Sgt|Cpl|Pvt|Rev|Hon|Sen|Rep|Gov|Pres|Supt|Fr|vs|cf|viz|approx|"
        "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec|al|Univ|Dept|esp|"
        "e\\.g|i\\.e"
    ),
    "de": (
        "Dr|Prof|Hr|Hrn|Fr|St|Dipl|Ing|bzw|vgl|ca|evtl|ggf|inkl|exkl|sog|"
        "Jan|Feb|Apr|Aug|Sept|Okt|Nov|Dez|Mio|Mrd|geb|gest|Str|Abs|Anm|"
        "bspw|insb|zzgl|einschl|gem|lt|max|min|sen|jun"
    ),
    "fr": (
        "M|MM|Mme|Mmes|Mlle|Mlles|Dr|Pr|Me|Mgr|St|Ste|cf|janv|févr|juil|"
        "sept|oct|nov|déc|av|apr|env|éd|p\\. ex"
    ),
    "es": (
        "Sr|Sra|Srta|Sres|Dr|Dra|Prof|Ud|Uds|D|Dña|Gral|Cnel|Lic|Ing|Sto|Sta|"
        "aprox|ene|feb|abr|ago|sept|oct|nov|dic|p\\. ej|EE|av|avda"
    ),
    "it": (
        "Sig|Sigg|Dott|Prof|Avv|Ing|Arch|On|Rag|Geom|gen|feb|apr|giu|lug|"
        "ago|sett|ott|nov|dic|cfr|ecc|es|S"
    ),
    "pt": (
        "Sr|Sra|Srs|Dr|Dra|Prof|Eng|Gen|Cel|Exmo|Exma|jan|fev|abr|ago|set|"
        "out|nov|dez|aprox|p\\. ex|Av"
    ),
    "nl": (
        "dhr|mevr|mw|dr|prof|mr|ir|ing|drs|St|bijv|bv|ca|jan|feb|apr|aug|"
        "sept|okt|nov|dec|evt|incl|excl|m\\.b\\.t"
    ),
    "pl": "dr|prof|inż|mgr|np|tj|tzn|ul|św|ok|por|zob|godz|płk|gen|im",
    "ru": "г|гг|ул|им|проф|акад|руб|млн|тыс|см|стр|рис|др|пр",  # noqa: RUF001
    "uk": "м|вул|ім|проф|акад|грн|млн|млрд|тис|див|стор|рис|табл|ін",
    "sv": "dr|prof|bl\\.a|t\\.ex|dvs|osv|kl|nr|ca|jan|feb|apr|aug|sept|okt",
    "da": "dr|prof|bl\\.a|f\\.eks|dvs|osv|kl|nr|ca|jan|feb|apr|aug|sept|okt",
    "cs": "Dr|Prof|Ing|Mgr|např|tj|tzv|resp|č|str|sv|ul|cca|mil|mld|tis",
}
# Abbreviations that end one only before a word that begins sentences.
_MOSTLY = {"en": "Jr|Sr|Inc|Ltd|Corp|Co|Bros|etc"}
# Languages with a full stop after numbers of days, centuries and kings.
_ORDINALS = frozenset((
    "de", "da", "no", "nb", "nn", "fi", "is", "et", "lv", "cs", "sk", "sl",
    "hr", "sr", "hu", "pl",
))  # fmt: skip
# Words that begin a sentence after an abbreviation such as U.S. or p.m.
_STARTERS = {
    "en": (
        "The|This|That|These|Those|He|She|It|They|We|You|There|In|On|At|But|"
        "And|However|When|While|After|Before|If|As|For|From|His|Her|Their|Its|"
        "Our|My|What|Who|How|Why|Where|Another|Some|Many|Most|Meanwhile"
    )
}


class Sentences(NamedTuple):
    """The sentences of B texts, each a RaggedTensor [B, (sentences)].

    Attributes:
      start_bytes, end_bytes: int64, in a text's bytes; ends are exclusive.
      start_chars, end_chars: int64, in its characters.
    """

    start_bytes: tf.RaggedTensor
    end_bytes: tf.RaggedTensor
    start_chars: tf.RaggedTensor
    end_chars: tf.RaggedTensor


class _Rule(NamedTuple):
    pattern: str
    replacement: str


@functools.cache
def _rules(language: str) -> Sequence[_Rule]:
    """Returns the rules for a language, in order."""
    base = re.split("[-_]", language.lower())[0]
    before = rf"((?:^|[^\p{{L}}\p{{N}}{_DOT}]))"
    rules = [_Rule(f"[{_END}{_DOT}]", " ")]
    mostly = _MOSTLY.get(base, "")
    always = "|".join(filter(None, (_ALWAYS.get(base, ""), mostly)))
    if always:
        rules.append(_Rule(rf"{before}({always})\.", rf"\1\2{_DOT}"))
    if base in _NUMBERED:
        rules.append(
            _Rule(
                rf"{before}({_NUMBERED[base]})\.({_SPACE}*\p{{N}})",
                rf"\1\2{_DOT}\3",
            )
        )
    rules += [
        # Initials, and abbreviations such as z. B., e.g. and U.S.
        _Rule(rf"{before}(\p{{Ll}})\.({_THIN}\p{{L}}\.)", rf"\1\2{_DOT}\3"),
        _Rule(rf"{before}(\p{{L}}(?:\.\p{{L}})+|\p{{Lu}})\.", rf"\1\2{_DOT}"),
        # Numbers of lists, at the beginning of lines.
        _Rule(
            rf"((?:^|\n){_SPACE}*\(?(?:\p{{Nd}}{{1,3}}|[ivxIVX]{{1,5}}))\.",
            rf"\1{_DOT}",
        ),
    ]
    if base in _ORDINALS:
        rules.append(_Rule(rf"{before}(\p{{Nd}}{{1,2}})\.", rf"\1\2{_DOT}"))
    if base in _STARTERS:
        rules.append(
            _Rule(
                rf"(\.\p{{L}}|{mostly}){_DOT}"
                rf"({_SPACE}+(?:{_STARTERS[base]})\b)",
                r"\1.\2",
            )
        )
    closed = rf"[{_CLOSERS}]*(?:{_THIN}?»)?[{_CLOSERS}]*"
    rules += [
        _Rule(rf"({_SPACED}+{closed})({_SPACE})", rf"\1{_END}\2"),
        _Rule(rf"({_FREE}+[{_CLOSERS}]*)", rf"\1{_END}"),
        # A small letter continues the sentence.
        _Rule(
            rf"{_END}({_SPACE}+[{_OPENERS}–—-]*{_SPACE}*[\p{{Ll}},;:])",  # noqa: RUF001
            r"\1",
        ),
        # An empty line, and a dash at the beginning of one.
        _Rule(rf"(\n{_SPACE}*[-–•*]{_SPACE})", rf"{_END}\1"),  # noqa: RUF001
        _Rule(r"(\n[ \t\r\f\v\x{A0}\x{3000}]*\n)", rf"{_END}\1"),
    ]
    return tuple(rules)


def split(texts: tf.Tensor, language: str = "en") -> Sentences:
    """Splits texts into sentences, without the space around them.

    An empty line ends a sentence; a sentence has at least one letter or number.

    Args:
      texts: string [B].
      language: their language, as "en", for abbreviations; the marks of all
        scripts work in every language.
    """
    marked = texts
    for rule in _rules(language):
        marked = tf.strings.regex_replace(
            marked, rule.pattern, rule.replacement
        )
    pieces = tf.strings.split(marked, _END)
    flat = pieces.flat_values
    bare = tf.strings.regex_replace(flat, rf"^{_SPACE}+", "")
    inner = tf.strings.regex_replace(bare, rf"{_SPACE}+$", "")
    kept = tf.strings.regex_full_match(flat, rf"(?s).*{_WORD}.*")
    found = []
    for unit in ("BYTE", "UTF8_CHAR"):
        whole, left, right = (
            tf.cast(tf.strings.length(part, unit=unit), tf.int64)
            for part in (flat, bare, inner)
        )
        ends = tf.cumsum(whole)
        first = pieces.with_flat_values(ends - whole)
        row = tf.repeat(
            tf.gather(
                tf.concat([ends - whole, [0]], axis=0), pieces.row_starts()
            ),
            pieces.row_lengths(),
        )
        start = first.flat_values - row + whole - left
        for value in (start, start + right):
            found.append(
                tf.ragged.boolean_mask(
                    pieces.with_flat_values(value),
                    pieces.with_flat_values(kept),
                )
            )
    return Sentences(*found)
