"""Makes rows for an export: English, Chinese, a user's own, and odd ones."""

import itertools
import json
import pathlib
import re
from collections.abc import Sequence

from electra_tf.errors import UserError

_SAMPLE = (
    pathlib.Path(__file__).resolve().parents[2]
    / "electra_tf/sample_text/emma.txt"
)
_ENGLISH_LINES = 110
# Lines that form a context, after the one that is its question.
_CONTEXT = 5

Row = tuple[bytes, ...]

# Laozi, Daodejing, and Confucius, Lunyu; then some modern sentences.
_CHINESE = """
道可道，非常道。名可名，非常名。无名天地之始。有名万物之母。
故常无欲以观其妙。常有欲以观其徼。此两者同出而异名，同谓之玄。
玄之又玄，众妙之门。天下皆知美之为美，斯恶已。皆知善之为善，斯不善已。
故有无相生，难易相成，长短相较，高下相倾，音声相和，前后相随。
是以圣人处无为之事，行不言之教。万物作焉而不辞。生而不有，为而不恃，功成而弗居。
夫唯弗居，是以不去。不尚贤，使民不争。不贵难得之货，使民不为盗。不见可欲，使心不乱。
是以圣人之治，虚其心，实其腹，弱其志，强其骨。常使民无知无欲。为无为，则无不治。
道冲而用之或不盈。渊兮似万物之宗。挫其锐，解其纷，和其光，同其尘。湛兮似或存。
吾不知谁之子，象帝之先。天地不仁，以万物为刍狗。圣人不仁，以百姓为刍狗。
天地之间，其犹橐籥乎？虚而不屈，动而愈出。多言数穷，不如守中。
谷神不死，是谓玄牝。玄牝之门，是谓天地根。绵绵若存，用之不勤。
天长地久。天地所以能长且久者，以其不自生，故能长生。
是以圣人后其身而身先，外其身而身存。非以其无私邪？故能成其私。
上善若水。水善利万物而不争，处众人之所恶，故几于道。
居善地，心善渊，与善仁，言善信，正善治，事善能，动善时。夫唯不争，故无尤。
持而盈之，不如其已。揣而锐之，不可长保。金玉满堂，莫之能守。富贵而骄，自遗其咎。
功成身退，天之道。三十辐共一毂，当其无，有车之用。埏埴以为器，当其无，有器之用。
凿户牖以为室，当其无，有室之用。故有之以为利，无之以为用。
五色令人目盲。五音令人耳聋。五味令人口爽。驰骋田猎令人心发狂。难得之货令人行妨。
学而时习之，不亦说乎？有朋自远方来，不亦乐乎？人不知而不愠，不亦君子乎？
其为人也孝弟，而好犯上者，鲜矣。不好犯上，而好作乱者，未之有也。
君子务本，本立而道生。孝弟也者，其为仁之本与！巧言令色，鲜矣仁！
吾日三省吾身。为人谋而不忠乎？与朋友交而不信乎？传不习乎？
道千乘之国，敬事而信，节用而爱人，使民以时。弟子入则孝，出则弟，谨而信，泛爱众，而亲仁。
行有余力，则以学文。君子不重则不威，学则不固。主忠信，无友不如己者，过则勿惮改。
慎终追远，民德归厚矣。礼之用，和为贵。先王之道，斯为美。小大由之，有所不行。
君子食无求饱，居无求安，敏于事而慎于言，就有道而正焉，可谓好学也已。
不患人之不己知，患不知人也。为政以德，譬如北辰，居其所而众星共之。
吾十有五而志于学，三十而立，四十而不惑，五十而知天命，六十而耳顺，七十而从心所欲，不逾矩。
温故而知新，可以为师矣。君子不器。学而不思则罔，思而不学则殆。
知之为知之，不知为不知，是知也。人而无信，不知其可也。见义不为，无勇也。
他在2023年买了一台iPhone 15，花了7999元。公司在Google和微软之间选择了AI平台。
王先生(42岁)说：“明天上午10:30在北京大学见。”这部电影的评分是9.5分，比上一部高2.3分！
从上海到东京的航班MU523晚点了3小时20分钟。请访问https://example.com/帮助，或发邮件到info@example.com。
"""  # noqa: RUF001


_SENTENCE = re.compile("[^。？！]+[。？！]”?")  # noqa: RUF001


def built_in() -> list[str]:
    """Returns English and Chinese sentences in turn, about 100 of each."""
    with open(_SAMPLE, encoding="utf-8") as file:
        english = [
            line.strip() for line in itertools.islice(file, _ENGLISH_LINES)
        ]
    chinese = _SENTENCE.findall(_CHINESE.replace("\n", ""))
    mixed = itertools.zip_longest(english, chinese)
    return [text for pair in mixed for text in pair if text]


def read(path: str) -> tuple[list[str], list[dict[str, str]]]:
    """Reads the lines of a file; or, of JSON Lines, all texts and records.

    Raises:
      UserError: the file is missing, empty, not UTF-8 or not JSON Lines.
    """
    try:
        content = pathlib.Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"--texts: cannot read {path}: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--texts: {path} is not UTF-8 text") from error
    lines = [line for line in content.split("\n") if line.strip()]
    if not lines:
        raise UserError(f"--texts: {path} has no texts")
    if not path.endswith(".jsonl"):
        return lines, []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise UserError(f"{path}:{number}: expected an object of texts")
        records.append({k: v for k, v in record.items() if isinstance(v, str)})
    found = list(dict.fromkeys(v for r in records for v in r.values()))
    if not found:
        raise UserError(f"--texts: {path} has no texts")
    return found, records


def rows(
    inputs: Sequence[str],
    lines: Sequence[str],
    records: Sequence[dict[str, str]] = (),
    masked: bool = False,
) -> list[Row]:
    """Returns rows for a signature, made of plain texts.

    If some records have all inputs, these records are the rows. Otherwise a
    second input is the line after the first; the context of a question is the
    five lines after it.

    Args:
      inputs: names of the signature's inputs, one or two, in order.
      lines: texts.
      records: of JSON Lines, if any.
      masked: whether a text needs a [MASK]; one is inserted where none is.
    """
    whole = [r for r in records if all(name in r for name in inputs)]
    if whole:
        found = [tuple(r[name] for name in inputs) for r in whole]
    elif len(inputs) == 1:
        found = [(line,) for line in lines]
    else:
        size = _CONTEXT if inputs[1] == "context" else 1
        found = []
        for i, line in enumerate(lines):
            after = [lines[(i + 1 + j) % len(lines)] for j in range(size)]
            found.append((line, " ".join(after)))
    if masked:
        found = [(_masked(text, i),) for i, (text,) in enumerate(found)]
    return [tuple(text.encode() for text in row) for row in found]


def _masked(text: str, number: int) -> str:
    """Masks one or two of a text's words, or of its characters."""
    if MASK in text:
        return text
    words = text.split(" ")
    parts, between = (words, " ") if len(words) > 2 else (list(text), "")
    places = {len(parts) // 2} | ({1} if number % 3 == 0 else set())
    return between.join(
        MASK if i in places else part for i, part in enumerate(parts)
    )


def odd(width: int) -> list[Row]:
    """Returns rows of odd texts, each combined with good and odd ones."""
    found: list[Row] = []
    for i, text in enumerate(ODD):
        if width == 1:
            found += [(text,), (text + MASK.encode(),)]
        else:
            found += [(text, GOOD), (GOOD, text), (text, ODD[i - 1])]
    middle = len(found) // 2
    return [*found[:middle], (GOOD,) * width, *found[middle:]]


def long(width: int, size: int) -> list[Row]:
    """Returns rows with texts of about `size` bytes."""
    found = [
        (b"The cat sat on a [MASK] mat. " * (size // 29 + 1))[:size],
        b"x" * size,
        " 中国人".encode() * (size // 10),
        b"\xff\xfe\x00" * (size // 3),
    ]
    if width == 1:
        return [(text,) for text in found]
    return [
        *((GOOD, text) for text in found),
        *((text, GOOD) for text in found[:2]),
        (found[0], found[0]),
    ]


MASK = "[MASK]"
GOOD = b"It is a truth universally acknowledged."
ODD = (
    b"",
    b" ",
    b"\0",
    b"\0\0a\0b\0",
    b"\t\r\n",
    b"\x01\x02\x1b[31m\x7f",
    b"\xff\xfe",
    b"cut off \xe4\xb8",
    b"a \xf0\x9f b \x80\x80 c",
    b"\xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80",  # overlong, surrogate, too high
    "\ufeffa mark of byte order".encode(),
    "\U0010ffff \ufffd \ufdd0 \u2028 \u00a0 \u200b".encode(),
    ("e" + "\u0301" * 300).encode(),
    "\u0301\u0301 starts with marks".encode(),
    "👩‍👩‍👧‍👦 and 🇩🇪".encode(),
    "שלום עולם مرحبا بالعالم".encode(),
    "ß ﬁ İ ΑΣ 한국어 ｆｕｌｌ".encode(),  # noqa: RUF001
    b"[CLS] [SEP] [MASK] [PAD] [UNK] [MASK",
    b"[MASK][MASK][MASK]",
    b"." * 700,
    b" " * 700,
    b"don't U.S. e-mail@example.com 1,000.50 http://a.b/c?d=e&f ...",
    b"<script>alert('x')</script> %s %n ${x} ../../etc/passwd",
    b"x" * 300,
)
