import gzip
import lzma
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from electra_tf.errors import UserError
from electra_tf.text import cleaning, corpus, inputs
from electra_tf.text.cleaning import Cleaning

PLAIN = Cleaning()


def _write(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return str(path)


def _documents(paths, plan=PLAIN, **options):
    """Returns all documents, pieces of large ones joined, and the counts."""
    reader = corpus.Reader(paths, **options)
    counts, found, last, begun = Counter(), [], None, False
    for part in reader:
        made = corpus.documents(part, plan, counts, "text")
        if part.piece:
            assert part.identity == last and len(made) <= 1
            # The first piece may hold blank lines alone, and no document.
            joined = found.pop() if begun else []
            found.append(joined + (made[0] if made else []))
        else:
            found.extend(made)
        begun = part.piece > 0 or bool(made)
        last = part.identity
    counts.update(reader.counts)
    return found, counts


def _clean(data, options=PLAIN, **more):
    counts = Counter()
    more = {"split_at_blank": True, "path": "f.txt", **more}
    return cleaning.clean_text(data, options, counts, **more), counts


TEXT = "\ufeffOne two.\r\nThr\u00e9e.\n\n \t\nNext doc\n".encode()
LINES = ["One two.", "Thr\u00e9e.", "Next doc"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_iter_lines_reads_all_compressions(tmp_path, suffix):
    if suffix == ".zst":
        compress = pytest.importorskip("zstandard").compress
    else:
        compress = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[
            suffix
        ]
    # Two members in one file, as `cat a.gz b.gz` makes.
    content = compress(TEXT) + compress(TEXT)
    path = _write(tmp_path, "a.txt" + suffix, content)
    want = [*LINES, "\ufeffOne two.", *LINES[1:]]
    assert list(corpus.iter_lines([path])) == want


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_truncated_compressed_file_is_named(tmp_path, suffix):
    if suffix == ".zst":
        compress = pytest.importorskip("zstandard").compress
    else:
        compress = {".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    path = _write(tmp_path, "a.txt" + suffix, compress(TEXT * 99)[:-5])
    with pytest.raises(UserError, match=r"a\.txt.*damaged"):
        list(corpus.iter_lines([path]))


def test_json_lines_give_one_document_each(tmp_path):
    content = (
        b'{"text": "a b\\nc\\n\\nd", "id": 1}\n'
        b"\n"
        b'{"id": 2}\nnot json\n[1]\n{"text": 3}\n{"text": null}\n'
        b'{"text": "lone \\ud800 surrogate\\u0000!"}'
    )
    path = _write(tmp_path, "a.jsonl", content)
    found, counts = _documents([path])
    assert found == [
        [b"a b", b"c", b"d"],
        ["lone \ufffd\ufffd\ufffd surrogate!".encode()],
    ]
    assert counts["bad_records"] == 5
    assert counts["invalid_utf8_replaced"] == 3
    assert counts["control_characters_dropped"] == 1
    with pytest.raises(UserError, match=r"a\.jsonl:3: .*'text'"):
        _documents([path], Cleaning(strict=True))


def test_empty_texts_are_left_out_and_not_bad(tmp_path):
    content = b'{"text": ""}\n{"text": "a"}\n{"text": "  "}\n{"no": 1}\n'
    found, counts = _documents([_write(tmp_path, "a.jsonl", content)])
    assert found == [[b"a"]]
    assert counts["bad_records"] == 1  # as docs/corpus-files.md says


def test_json_line_longer_than_a_part_is_read_whole(tmp_path):
    long = b'{"text": "' + b"word " * 1000 + b'"}\n'
    content = b'{"text": "a"}\n' + long + b'{"text": "b"}\n'
    path = _write(tmp_path, "a.ndjson", content)
    found, _ = _documents([path], part_bytes=64)
    assert [len(b" ".join(d).split()) for d in found] == [1, 1000, 1]


def test_giant_json_line_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "MAX_RECORD_BYTES", 256)
    long = b'{"text": "' + b"word " * 1000 + b'"}\n'
    content = long + b'{"text": "b"}\n' + long
    path = _write(tmp_path, "a.jsonl", content)
    found, counts = _documents([path], part_bytes=64)
    assert found == [[b"b"]]
    assert counts["bad_records"] == 2
    with pytest.raises(UserError, match=r"a\.jsonl:1: "):
        _documents([path], part_bytes=64, strict=True)


def test_documents_end_at_blank_lines_or_files(tmp_path):
    blanks = "a\nb\n\u3000\u00a0\t\nc\n\r\nd\n\x00\ne".encode()
    path = _write(tmp_path, "a.txt", blanks)
    found, counts = _documents([path, _write(tmp_path, "empty.txt", b"")])
    assert found == [[b"a", b"b"], [b"c"], [b"d"], [b"e"]]
    assert (counts["files"], counts["empty_files"]) == (2, 1)
    found, _ = _documents([path], blank_lines_separate_documents=False)
    assert found == [[b"a", b"b", b"c", b"d", b"e"]]


def test_bad_bytes_are_replaced_and_counted():
    data = b"a\x00b\xff\xfe c\x0cd\xc2\x85e\tf\x1f\ng \xe2\x82\n\xef\xbf\xbd"
    found, counts = _clean(data)
    lines = b"\n".join(found[0]).decode().split("\n")
    assert lines == ["ab\ufffd\ufffd c de\tf ", "g \ufffd", "\ufffd"]
    assert counts["invalid_utf8_replaced"] == 3
    assert counts["control_characters_dropped"] == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ok\nok\nb\xffd\n", "f.txt:12: byte 0xff is not UTF-8"),
        (b"ok\nb\x00d\n", "f.txt:11: control character 0x00"),
        (b"b\xc2\x85\n", "f.txt:10: control character 0x85"),
    ],
)
def test_strict_names_file_and_line(data, message):
    with pytest.raises(UserError, match=message):
        _clean(data, Cleaning(strict=True), first_line=10)


def test_strict_accepts_clean_text():
    text = "tabs\tand \u4e2d\u56fd \u00e9\r\n\r\n\x0cpage\n".encode()
    found, _ = _clean(text, Cleaning(strict=True))
    assert len(found) == 2


def test_long_line_is_cut_at_white_space_and_counted_once(tmp_path):
    words = [b"w%d" % i for i in range(60_000)]
    data = b"short\n" + b" ".join(words) + b"\nshort\n"
    path = _write(tmp_path, "a.txt", data)
    found, counts = _documents([path], part_bytes=1 << 17)
    assert b" ".join(found[0]).split() == [b"short", *words, b"short"]
    assert counts["long_lines_cut"] == 1
    assert max(map(len, found[0])) <= cleaning.MAX_LINE_BYTES


@pytest.mark.parametrize("cut_lines", [True, False])
@pytest.mark.parametrize("line", [b"a" * 40_000, b" " * 40_000])
def test_the_rest_of_a_line_counts_as_no_line_that_was_cut(cut_lines, line):
    _, counts = _clean(line, Cleaning(cut_lines=cut_lines), continues_line=True)
    assert counts["long_lines_cut"] == 0


def test_long_line_without_white_space_keeps_its_letters(tmp_path):
    text = "\u4e2d\u56fd\U0001f600a" * 20_000
    path = _write(tmp_path, "a.txt", text.encode())
    for size in (50_000, 50_001, 50_002, 50_003):
        found, counts = _documents([path], part_bytes=size)
        assert b"".join(found[0]).decode() == text
        assert counts["invalid_utf8_replaced"] == 0


def test_options_that_edit_lines():
    data = "The CAT isn't here.\nno\nl\u00c3\u00a9gume\n\nthe\n".encode()
    options = Cleaning(stop_words=frozenset(["the", "isn't"]))
    found, counts = _clean(data, options)
    assert found[0][0] == b"CAT here."
    assert len(found) == 1 and counts["stop_words_removed"] == 3
    found, counts = _clean(data, Cleaning(min_line_length=4))
    assert len(found[0]) == 2 and counts["short_lines_dropped"] == 2
    pytest.importorskip("ftfy")
    found, counts = _clean(data, Cleaning(repair_unicode=True))
    assert found[0][2].decode() == "l\u00e9gume"
    assert counts["lines_repaired"] == 1


def test_progress_counts_bytes_of_the_files(tmp_path):
    paths = [_write(tmp_path, f"{i}.txt", b"word\n" * 1000) for i in range(3)]
    reader = corpus.Reader(paths, part_bytes=1000)
    seen = [reader.bytes_read for _ in reader]
    assert seen == sorted(seen)
    assert reader.bytes_read == reader.bytes_total == 15_000


_pieces = st.sampled_from(
    [
        "a",
        "bc d",
        "\n",
        "\n\n",
        " ",
        "\r\n",
        "\u4e2d",
        "\u3000",
        "\n \n",
        "\x00",
    ]
)


@given(
    st.lists(_pieces, max_size=120).map("".join),
    st.integers(8, 100),
    st.booleans(),
)
@example("\nbc dbc d", 8, False)
def test_cutting_into_parts_changes_nothing(
    tmp_path_factory, text, part_bytes, blank
):
    data = text.encode()
    path = _write(tmp_path_factory.getbasetemp(), "parts.txt", data)
    options = {"blank_lines_separate_documents": blank}
    parts = list(corpus.Reader([path], part_bytes=part_bytes, **options))
    assert b"".join(p.data for p in parts) == data
    assert all(len(p.data) <= part_bytes for p in parts)
    cut, _ = _documents([path], part_bytes=part_bytes, **options)
    whole, _ = _documents([path], **options)
    assert _squeeze(cut) == _squeeze(whole)


@given(
    st.lists(_pieces, max_size=120).map("".join),
    st.integers(8, 100),
    st.booleans(),
)
def test_parts_of_whole_lines(tmp_path_factory, text, part_bytes, blank):
    """Without cutting lines, parts have the same documents, line by line."""
    path = _write(tmp_path_factory.getbasetemp(), "lines.txt", text.encode())
    options = {"blank_lines_separate_documents": blank}
    plan = Cleaning(cut_lines=False)
    parts = corpus.Reader(
        [path], part_bytes=part_bytes, cut_lines=False, **options
    )
    found, current, open_ = [], [], False
    for part in parts:
        assert open_ == (part.piece > 0)
        open_ = not part.ends
        made = corpus.documents(part, plan, Counter(), "text")
        if part.identity is None:
            found += made
            continue
        current += [line for lines in made for line in lines]
        if part.ends:
            found += [current] * bool(current)
            current = []
    assert not open_ and not current
    assert found == _documents([path], plan, **options)[0]


def _squeeze(documents):
    """Returns the documents without white space, and without empty ones."""
    texts = (b"".join(b"".join(lines).split()) for lines in documents)
    return [text for text in texts if text]


def test_part_lines_are_numbered(tmp_path):
    text = b"".join(b"word %d\n" % number for number in range(1, 200))
    text = text.replace(b"word 100\n", b"\n")
    path = _write(tmp_path, "a.txt", text)
    parts = list(corpus.Reader([path], part_bytes=50))
    assert len(parts) > 9
    for part in parts:
        before = text[: text.index(part.data)]
        assert part.first_line == before.count(b"\n") + 1


def test_the_kind_of_file_follows_from_its_name():
    assert inputs.holds_records("a.jsonl.gz")
    assert not inputs.holds_records("a.json.gz")
    assert inputs.plain_name("x/a.txt.zst") == "x/a.txt"
