"""Tests where sentences begin and end, in several languages and any bytes."""

# ruff: noqa: RUF001

import numpy as np
import pytest
import tensorflow as tf

from electra_tf.text import sentences


def split(text, language="en"):
    found = sentences.split(tf.constant([text.encode()]), language)
    parts = [
        text[a:b]
        for a, b in zip(
            found.start_chars[0].numpy(), found.end_chars[0].numpy()
        )
    ]
    assert parts == [
        text.encode()[a:b].decode()
        for a, b in zip(
            found.start_bytes[0].numpy(), found.end_bytes[0].numpy()
        )
    ]
    return parts


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["Mr. Smith met Dr. J. R. Jones in Washington, D.C.",
                "He left at 3 p.m.", "They talked."]),
        ("en", ["See Fig. 3 and No. 5, e.g. the U.S. Government.", "No.",
                "Yes."]),
        ("en", ["Prices rose 3.5 per cent... but fell.", "What?!", "OK"]),
        ("en", ["The band Wham! was big.", "(It was.)", "“So?” she said."]),
        ("en", ["Hank Williams Jr. and Sr. came.", "It was in 1999.",
                "He sang with Parker Jr.", "The end."]),
        ("de", ["Am 3. Oktober kam Dr. Maier, z. B. zu Fuß.",
                "„Gut!“ sagte er.", "Nr. 5 lebt."]),
        ("fr", ["« Oui. » dit M. Dupont.", "Il est parti !", "Et p. 5 ?"]),
        ("es", ["¿Vino el Sr. Pérez?", "¡Sí!", "Llegó tarde."]),
        ("ru", ["Он жил на ул. Ленина с 1999 г. до войны.", "Потом уехал."]),
        ("hi", ["यह घर है।", "वह बड़ा है।"]),
        ("ar", ["هل هذا بيت؟", "نعم."]),
        ("xx", ["No rules here.", "None at all."]),
    ],
)  # fmt: skip
def test_languages(language, expected):
    assert split(" ".join(expected), language) == expected


def test_scripts_without_spaces():
    assert split("今天很好。“真的吗？”他问。是的！！我们走……好") == [
        "今天很好。", "“真的吗？”", "他问。", "是的！！", "我们走……好",
    ]  # fmt: skip
    assert split("東京は都市です。『はい。』終わり") == [
        "東京は都市です。", "『はい。』", "終わり",
    ]  # fmt: skip


def test_lines():
    text = "Title\n\n1. First item here\n- second item\n- Third. Done\nwith it"
    assert split(text) == [
        "Title", "1. First item here", "- second item", "- Third.",
        "Done\nwith it",
    ]  # fmt: skip
    assert split("a.\x1e Bb.\x1f Cc") == ["a.", "Bb.", "Cc"]


def test_any_bytes():
    rng = np.random.default_rng(0)
    alphabet = [*"ab. \n!“”。中\x1e\x1f", "\u3000", "Dr.", "U.S. "]
    texts = [
        "".join(rng.choice(alphabet, 30)).encode()[rng.integers(4) :]
        for _ in range(80)
    ]
    texts += [bytes(rng.integers(0, 256, 40).astype("uint8")) for _ in "ab" * 9]
    texts += [b""]
    found = sentences.split(tf.constant(texts), "en")
    for text, starts, ends in zip(
        texts, found.start_bytes.to_list(), found.end_bytes.to_list()
    ):
        last = 0
        for start, end in zip(starts, ends):
            assert last <= start < end <= len(text)
            last = end
    assert starts == []
