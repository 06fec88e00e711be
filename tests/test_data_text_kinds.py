"""Tests a build's warnings about unsuitable text, and its report of inputs."""

import io
import pathlib
import tarfile

import pytest

from electra_tf import files
from electra_tf.data import manifest
from electra_tf.errors import UserError
from electra_tf.recipes.build_data import build_data
from electra_tf.recipes.build_vocab import build_vocab
from electra_tf.recipes.prepare_text import prepare_text
from electra_tf.text import accents
from electra_tf.text.vocab import SPECIALS

LINE = "the cat sat on a mat\n"


def build(tmp_path, source, vocab, **options):
    options = {"num_workers": 1, "progress": False, "overwrite": True,
               "validation_fraction": 0, **options}  # fmt: skip
    return build_data(str(source), str(vocab), str(tmp_path / "out"), **options)


def write(path, text):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def vocabulary(path, *tokens):
    return write(path, "\n".join([*SPECIALS, *tokens]) + "\n")


@pytest.fixture
def vocab(tmp_path):
    words = [*"abcdefghijklmnopqrstuvwxyz", "the", "cat", "sat", "on", "mat"]
    return vocabulary(
        tmp_path / "vocab.txt", *words, *(f"##{w}" for w in words[:26])
    )


def test_unknown_tokens_are_counted(tmp_path, vocab):
    text = write(tmp_path / "a.txt", LINE * 99 + "\u0436 zzz\n")
    made = build(tmp_path, text, vocab)
    split = made.manifest.splits["train"]
    assert (split.unknown_tokens, split.source_tokens) == (1, 99 * 6 + 4)
    assert made.manifest.warnings == ()
    assert "0.1672% of the tokens are [UNK]" in str(made)
    assert manifest.load_manifest(made.path) == made.manifest


def test_a_split_counts_its_own(tmp_path, vocab):
    documents = [LINE + "\u0436\n" * (i % 3) for i in range(60)]
    text = write(tmp_path / "a.txt", "\n".join(documents))
    made = build(tmp_path, text, vocab, validation_fraction=0.3)
    counts = {n: s.unknown_tokens for n, s in made.manifest.splits.items()}
    assert sum(counts.values()) == 60 and min(counts.values()) > 0


@pytest.mark.parametrize(
    ("text", "tokens", "options", "cause"),
    [
        ("\u043a\u043e\u0442 " * 9, ["a", "##a"], {}, "CYRILLIC"),
        ("\u732b\u5750 " * 9, ["a", "##a"], {}, "CJK"),
        ("the cat " * 9, ["\u2581the", "\u2581cat", "s"], {}, "SentencePiece"),
        ("The Cat " * 9, ["The", "Cat", "On"], {}, "--nolower_case"),
        ("The Cat " * 9, ["the", "cat", "t", "h", "e", "c", "a"],
         {"lower_case": False}, "--lower_case"),
        (("a" * 250 + " ") * 9, ["a", "##a"], {}, "longer than 200"),
    ],
)  # fmt: skip
def test_many_unknown_tokens_are_warned_of_with_their_cause(
    tmp_path, text, tokens, options, cause
):
    source = write(tmp_path / "a.txt", f"{text}\n" * 4)
    vocab = vocabulary(tmp_path / "v.txt", *tokens)
    made = build(tmp_path, source, vocab, **options)
    (warning,) = made.manifest.warnings
    assert cause in warning and "[UNK]" in warning
    assert f"warning: {warning}" in str(made)


HARMED = {
    "Devanagari": "\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u0941\u091b",
    "Thai": "\u0e01\u0e34\u0e19\u0e02\u0e49\u0e32\u0e27",
    "Hebrew": "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "Hiragana": "\u3054\u306f\u3093\u304c",
    "Katakana": "\u30c6\u30ec\u30d3 \u30b2\u30fc\u30e0",
    "Hangul": "\ud55c\uad6d\uc5b4",
    "Arabic": "\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f",
    "Bengali": "\u09ac\u09be\u0982\u09b2\u09be \u0995\u09c1",
}
UNHARMED = {
    "French": "d\u00e9j\u00e0 \u00e9t\u00e9",
    "Russian": "\u0439\u043e\u0436\u0438\u043a",
    "Greek": "\u03ae\u03bb\u03b9\u03bf\u03c2",
    "Hebrew without points": "\u05e9\u05dc\u05d5\u05dd",
    "Chinese": "\u732b\u5750\u5728",
    "a Thai word in much English": LINE * 99 + HARMED["Thai"],
}


@pytest.mark.parametrize("script", HARMED)
def test_scripts_that_stripping_accents_harms(script):
    found = accents.warning(accents.changes(LINE + HARMED[script]))
    assert f"that are {script}" in found and "--nostrip_accents" in found


def test_a_vocabulary_with_accents_for_text_without():
    plain = ["[PAD]", "[UNK]", "##a", "tyo", *map(str, range(96))]
    assert accents.vocabulary_warning([*plain, "ty\u00f6", "\u00e4"]) is None
    found = accents.vocabulary_warning([*plain, "\u00e4", "\u00f6", "##\u00e9"])
    assert found.startswith("3 of 103 tokens of the vocabulary have accents")
    assert found.endswith("give --nostrip_accents")


@pytest.mark.parametrize("script", UNHARMED)
def test_scripts_that_stripping_accents_does_not_harm(script):
    assert accents.warning(accents.changes(UNHARMED[script])) is None


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({}, True),
        ({"strip_accents": False}, False),
        ({"lower_case": False}, False),
        ({"lower_case": False, "strip_accents": True}, True),
    ],
)
def test_stripping_accents_is_warned_of_only_where_it_is_done(
    tmp_path, options, warned
):
    source = write(tmp_path / "a.txt", f"{HARMED['Thai']}\n" * 40)
    trained = build_vocab(
        str(source), str(tmp_path / "v.txt"), progress=False, **options
    )
    made = build(tmp_path, source, tmp_path / "v.txt", **options)
    for report in (trained, made):
        assert ("--nostrip_accents" in str(report)) is warned
    assert not [n for n in made.manifest.repairs if "stripping" in n]


def test_a_vocabulary_of_words_that_are_too_long(tmp_path):
    lines = "".join(f"ab {chr(97 + i % 26) * 201} cd\n" for i in range(50))
    source = write(tmp_path / "a.txt", lines)
    trained = build_vocab(str(source), str(tmp_path / "v.txt"), progress=False)
    (warning,) = trained.warnings
    assert warning.startswith("33.33% of the words are [UNK]: 50 words are")
    assert "longer than 200 letters" in warning


def test_a_build_that_fails_leaves_no_folder(tmp_path, vocab):
    empty = write(tmp_path / "a.txt", "\n")
    with pytest.raises(UserError, match="no text to train on"):
        build(tmp_path, empty, vocab)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()  # a folder of the user is kept
    with pytest.raises(UserError, match="no text to train on"):
        build(tmp_path, empty, vocab)
    assert list((tmp_path / "out").iterdir()) == []


def test_archives_are_reported_in_the_manifest(tmp_path, vocab):
    with tarfile.open(tmp_path / "a.tar.xz", "w:xz") as archive:
        for name in ("1.txt", "2.txt", "._2.txt"):
            info = tarfile.TarInfo(name)
            info.size = len(LINE)
            archive.addfile(info, io.BytesIO(LINE.encode()))
    made = build(tmp_path, tmp_path / "a.tar.xz", vocab)
    assert made.manifest.splits["train"].documents == 2
    assert made.manifest.input["archive_members"] == 2
    assert made.manifest.input["hidden_members_skipped"] == 1
    with pytest.raises(UserError, match="field 'text', but id, b"):
        prepare_text(str(write(tmp_path / "a.csv", "id,b\n1,x\n")))
    source = write(tmp_path / "b.csv", "id,b\n1,the cat\n2,a mat\n")
    made = build(tmp_path, source, vocab, text_field="b")
    assert made.manifest.splits["train"].documents == 2
    out = str(tmp_path / "c.txt")
    prepare_text(str(source), out, text_field="b", progress=False)
    assert pathlib.Path(out).read_text() == "the cat\n\na mat\n"
    for name in ("d.txt.bz2", "d.zip", "d.tar", "d.csv", "d.TXT.XZ"):
        with pytest.raises(UserError, match="written as text"):
            prepare_text(str(source), str(tmp_path / name), text_field="b")
    trained = build_vocab(str(source), str(tmp_path / "v2.txt"),
                          text_field="b", min_frequency=1)  # fmt: skip
    assert trained.words == 4


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("Smith, John.txt", ["Smith, John.txt"]),
        ("a.txt,Smith, John.txt", ["Smith, John.txt", "a.txt"]),
        ("a.txt,b,c,d.txt", ["a.txt", "b,c,d.txt"]),
        ("notes [1].txt", ["notes [1].txt"]),
        ("a.txt, a.txt,", ["a.txt"]),
        ("many/**", ["many/x/1.txt", "many/x/y/2.txt"]),
        ("many/*/*", ["many/x/1.txt"]),
        ("many/**/*.txt", ["many/x/1.txt", "many/x/y/2.txt"]),
    ],
)
def test_names_with_commas_and_folders(tmp_path, pattern, expected):
    for name in ("Smith, John.txt", "a.txt", "b,c,d.txt", "notes [1].txt",
                 "many/x/1.txt", "many/x/y/2.txt"):  # fmt: skip
        write(tmp_path / name, LINE)
    there = ",".join(
        f"{tmp_path}/{p.strip()}" if p.strip()[:1] in ("a", "m", "n")
        else p if p and p[0] == " " else f"{tmp_path}/{p}" if p[:1] in "Sb"
        and p else p
        for p in pattern.split(",")
    )  # fmt: skip
    assert files.expand(there) == [f"{tmp_path}/{name}" for name in expected]


def test_folders_that_a_pattern_matches_are_reported(tmp_path, vocab):
    write(tmp_path / "many" / "x" / "1.txt", LINE)
    with pytest.raises(UserError, match=r"but 1 dir.*/x: .*many/\*\*'\?"):
        files.expand(f"{tmp_path}/many/*")
    write(tmp_path / "many" / "2.txt", LINE)
    made = build(tmp_path, f"{tmp_path}/many/*", vocab)
    assert made.manifest.splits["train"].documents == 1
    assert "1 directories that it matches were not" in made.manifest.warnings[0]
    made = build(tmp_path, f"{tmp_path}/many/**", vocab)
    assert made.manifest.splits["train"].documents == 2
    assert made.manifest.warnings == ()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_vocabularies_with_a_byte_order_mark(tmp_path, vocab, encoding):
    text = vocab.read_text().replace("\n", "\r\n")
    if encoding == "utf-16-le":
        text = "\ufeff" + text
    vocab.write_bytes(text.encode(encoding))
    source = write(tmp_path / "a.txt", LINE)
    made = build(tmp_path, source, vocab)
    assert made.manifest.vocab_size == 5 + 31 + 26
