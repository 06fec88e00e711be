"""What an export says of itself: `assets.extra/electra_tf.json`.

Among it are texts to try the model with: the page shows them, a server warms
up on them. They know nothing of what the model was trained for; they are of
the kind of text that a model of its kind and language reads.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import tensorflow as tf

from electra_tf.exporting.servable import Servable
from electra_tf.text import normalize
from electra_tf.text.vocab import Vocab

FORMAT, VERSION = "electra_tf export", 1
FILE = "electra_tf.json"
FOLDER = "assets.extra"

# Shares of the vocabulary that make a model's language.
_CHINESE_SHARE, _ENGLISH_SHARE = 0.2, 0.7

Rows = list[dict[str, str]]
Language = Literal["en", "zh"] | None


def describe(
    servable: Servable, name: str, signatures: Mapping[str, Callable]
) -> dict[str, Any]:
    """The content of electra_tf.json.

    Args:
      servable: what is exported.
      name: of the model, under which it is served.
      signatures: name -> tf.function with an input signature.
    """
    language = language_of(servable.tokenizer.vocab)
    labels = servable.labels
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "task": servable.kind,
        "task_name": servable.task_name,
        "labels": None if labels is None else list(labels),
        "pair": servable.pair,
        "language": language,
        "max_seq_length": servable.max_seq_length,
        "signatures": {
            key: _signature(function.get_concrete_function())
            for key, function in signatures.items()
        },
        "examples": examples_of(servable.kind, servable.pair, language),
    }


def language_of(vocab: Vocab) -> Language:
    """By the characters of its pieces; None if neither.

    Chinese where more than a fifth of them are Chinese characters, English
    where nearly all are ASCII.
    """
    pieces = [token.removeprefix("##") for token in vocab.tokens]
    chinese = tf.strings.regex_full_match(pieces, f"[{normalize.CJK}]+")
    if int(tf.math.count_nonzero(chinese)) > _CHINESE_SHARE * len(pieces):
        return "zh"
    plain = sum(piece.isascii() for piece in pieces)
    return "en" if plain > _ENGLISH_SHARE * len(pieces) else None


def _signature(function: Any) -> dict[str, Any]:
    _, inputs = function.structured_input_signature
    positional, _ = function.structured_input_signature
    specs = {spec.name: spec for spec in (*positional, *inputs.values())}
    return {
        "inputs": {name: _tensor(spec) for name, spec in specs.items()},
        "outputs": {
            name: _tensor(spec)
            for name, spec in function.structured_outputs.items()
        },
    }


def _tensor(spec: Any) -> dict[str, Any]:
    dtype = "float" if spec.dtype == tf.float32 else spec.dtype.name
    return {"dtype": dtype, "shape": spec.shape.as_list()}


def examples_of(kind: str, pair: bool, language: Language) -> Rows:
    """3 to 5 rows, each input name -> text.

    Args:
      kind: as in `servable.Kind`.
      pair: whether the model takes two texts.
      language: of the model; None is served with English ones.
    """
    table = _CHINESE if language == "zh" else _ENGLISH
    if kind in ("classification", "multilabel", "regression"):
        kind = "pair" if pair else "text"
    names, rows = _NAMES[kind], table[kind]
    return [dict(zip(names, row)) for row in rows]


_NAMES = {
    "text": ("text",),
    "pair": ("text", "text_pair"),
    "ranking": ("query", "passage"),
    "tagging": ("text",),
    "qa": ("question", "context"),
    "seq2seq": ("text",),
    "discriminator": ("text",),
    "generator": ("text",),
}

_RIVER = (
    "The Danube rises in the Black Forest in Germany and flows south-east for "
    "2,850 km, through ten countries, before it drains into the Black Sea."
)
_TEA = (
    "Green tea is made from leaves that are steamed soon after they are "
    "picked. Black tea is left to oxidise, which makes it darker and stronger."
)
_BRIDGE = (
    "The bridge was opened in May 1937 after four years of work. It was "
    "designed by Joseph Strauss and links San Francisco with Marin County."
)

_ENGLISH: dict[str, list[tuple[str, ...]]] = {
    "text": [
        ("A warm, funny film with a wonderful cast.",),
        ("The plot makes no sense and the ending is worse.",),
        ("It arrived on time, but the box was damaged.",),
        ("Could you tell me when the next train leaves?",),
    ],
    "pair": [
        ("A man is playing a guitar.", "Someone is making music."),
        ("The shop opens at nine.", "The shop is closed all day."),
        ("How do I learn to swim?", "What is the best way to learn swimming?"),
        ("She has lived in Rome for years.", "The train was late again."),
    ],
    "ranking": [
        ("how long is the danube", _RIVER),
        ("how long is the danube", _TEA),
        ("how is black tea made", _TEA),
        ("who designed the golden gate bridge", _BRIDGE),
    ],
    "tagging": [
        ("Angela Merkel met Barack Obama in Berlin in April 2016.",),
        ("Toyota will build a new plant near Nagoya, Reuters reported.",),
        ("The old man and his dog walked slowly along the Thames.",),
    ],
    "qa": [
        ("Where does the Danube rise?", _RIVER),
        ("What makes black tea darker?", _TEA),
        ("When was the bridge opened?", _BRIDGE),
        ("How many people live in Berlin?", _RIVER),
    ],
    "seq2seq": [
        ("A man in a blue shirt is standing on a ladder.",),
        ("Two children are playing in the snow.",),
        ("The train to the coast leaves at nine in the morning.",),
    ],
    "discriminator": [
        ("The chef cooked the meal and served it to the piano.",),
        ("She drank a cup of tea before going to bed.",),
        ("The sun rises in the east and sets in the soup.",),
        ("He opened the door with his banana and went inside.",),
    ],
    "generator": [
        ("The cat sat on the [MASK].",),
        ("She was a very [MASK] woman, and everybody liked her.",),
        ("He went to the [MASK] to buy some [MASK].",),
        ("The capital of France is [MASK].",),
    ],
}

_CHINESE_RIVER = (
    "长江发源于青藏高原的唐古拉山脉，全长约六千三百公里，流经十一个省级行政区，"  # noqa: RUF001
    "最后在上海注入东海。"
)
_CHINESE_TEA = (
    "绿茶的茶叶采摘后很快经过杀青，保留了清淡的味道。红茶经过充分发酵，"  # noqa: RUF001
    "颜色更深，味道更浓。"  # noqa: RUF001
)

_CHINESE: dict[str, list[tuple[str, ...]]] = {
    "text": [
        ("这部电影很感人，演员的表演也非常出色。",),  # noqa: RUF001
        ("房间又小又吵，服务态度很差，不会再来了。",),  # noqa: RUF001
        ("手机收到了，包装完好，明天再试用。",),  # noqa: RUF001
    ],
    "pair": [
        ("怎样才能学会游泳？", "学习游泳最好的方法是什么？"),  # noqa: RUF001
        ("商店九点开门。", "商店今天不营业。"),
        ("她在北京住了很多年。", "火车又晚点了。"),
    ],
    "ranking": [
        ("长江有多长", _CHINESE_RIVER),
        ("长江有多长", _CHINESE_TEA),
        ("红茶和绿茶有什么区别", _CHINESE_TEA),
    ],
    "tagging": [
        ("马云在杭州创办了阿里巴巴集团。",),
        ("李娜曾经在墨尔本获得澳大利亚网球公开赛冠军。",),
        ("北京大学的王教授下周要去法国巴黎开会。",),
    ],
    "qa": [
        ("长江在哪里注入东海？", _CHINESE_RIVER),  # noqa: RUF001
        ("长江发源于哪里？", _CHINESE_RIVER),  # noqa: RUF001
        ("红茶的颜色为什么更深？", _CHINESE_TEA),  # noqa: RUF001
    ],
    "seq2seq": [
        ("两个孩子在雪地里玩耍。",),
        ("一位穿蓝衬衫的男子站在梯子上。",),
        ("开往海边的火车早上九点出发。",),
    ],
    "discriminator": [
        ("太阳从东方升起，在西方落汤。",),  # noqa: RUF001
        ("他用香蕉打开了门，走进了房间。",),  # noqa: RUF001
        ("她睡觉以前喝了一杯茶。",),
    ],
    "generator": [
        ("今天天[MASK]很好。",),
        ("中国的首都是北[MASK]。",),
        ("他每天早上都去[MASK]园跑步。",),
    ],
}
