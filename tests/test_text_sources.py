"""Tests reading archives, tables, other encodings, and files without text."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections import Counter

import pytest

from electra_tf.errors import UserError
from electra_tf.text import corpus
from electra_tf.text.cleaning import Cleaning

TEXT = "One two.\nThr\u00e9e.\n\nNext doc.\n".encode()
ONE = [["One two.", "Thr\u00e9e.", "Next doc."]]
TWO = [["One two.", "Thr\u00e9e."], ["Next doc."]]
MEMBERS = {"a/1.txt": TEXT, "a/2.txt": b"Second member.\n"}
BOTH = [*ONE, ["Second member."]]


def documents(path, *, strict=False, part_bytes=corpus.PART_BYTES, **options):
    reader = corpus.Reader(
        [str(path)], strict=strict, part_bytes=part_bytes, **options
    )
    counts, found = Counter(), []
    for part in reader:
        made = corpus.documents(
            part, Cleaning(strict=strict), counts,
            options.get("text_field", "text"),
        )  # fmt: skip
        texts = [[line.decode() for line in lines] for lines in made]
        if part.piece:
            found[-1] += texts[0]
        else:
            found += texts
    counts.update(reader.counts)
    return found, counts


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


def tar(members, mode="w", **options):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, **options) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zipped(members, kind=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def zstd(data):
    return pytest.importorskip("zstandard").compress(data)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.txt.bz2", bz2.compress),
        ("a.bin", gzip.compress),
        ("a.txt", lzma.compress),
        ("a", bz2.compress),
        ("a.gz", bz2.compress),  # not of the named kind
        ("A.TXT.GZ", gzip.compress),
        ("a.dat", zstd),
        ("a.lzma", lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
        ("a.txt", lambda data: bz2.compress(data) + bz2.compress(b"")),
        ("a.zip", lambda data: zipped({"a.txt": data})),
        ("a.txt", lambda data: data.decode().encode("utf-16")),
        ("a.txt", lambda data: b"\xfe\xff" + data.decode().encode("utf-16-be")),
        ("a.txt", lambda data: data.decode().encode("utf-32")),
        ("a.gz", lambda d: gzip.compress(d.decode().encode("utf-16"))),
        ("a.txt", lambda data: b"\xef\xbb\xbf" + data),
    ],
)
def test_what_packs_a_file_is_reported_by_its_content(tmp_path, name, pack):
    path = written(tmp_path, name, pack(TEXT))
    found, counts = documents(path, strict=True)
    assert found == TWO
    assert counts["bad_records"] == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tar", tar(MEMBERS)),
        ("a.txt", tar(MEMBERS)),
        ("a.tar", tar(MEMBERS, format=tarfile.USTAR_FORMAT)),
        ("a.tar", tar({"x" * 150: TEXT, **MEMBERS})[1536 + 512 :]),
        ("a.tar.gz", tar(MEMBERS, "w:gz")),
        ("a.tgz", tar(MEMBERS, "w:gz")),
        ("a.tar.bz2", tar(MEMBERS, "w:bz2")),
        ("a.tar.xz", tar(MEMBERS, "w:xz")),
        ("a.xz", tar(MEMBERS, "w:xz")),
        ("a.zip", zipped(MEMBERS)),
        ("a", zipped(MEMBERS, zipfile.ZIP_STORED)),
        # OpenWebText: a tar of .xz files, each of them a tar of texts.
        ("o.tar", tar({"o/s_data.xz": tar(MEMBERS, "w:xz")})),
        ("o.tar.xz", tar({"o/s_data.xz": tar(MEMBERS, "w:xz")}, "w:xz")),
        ("o.tar", tar({f"{n}.gz": gzip.compress(c)
                       for n, c in MEMBERS.items()})),
        ("o.zip", zipped({"a.tar": tar(MEMBERS), ".DS_Store": b"\0\1"})),
        ("o.tar", tar({"a.zip": zipped(MEMBERS), "__MACOSX/._1": b"\0\5"})),
    ],
)  # fmt: skip
def test_members_of_archives_are_documents(tmp_path, name, content):
    path = written(tmp_path, name, content)
    found, counts = documents(path, strict=True)
    assert found == BOTH
    assert counts["archive_members"] == 2
    small, _ = documents(path, part_bytes=16)
    assert small == BOTH


def test_tables_and_records_within_archives_keep_their_documents(tmp_path):
    content = tar(
        {
            "a.jsonl": b'{"text": "a\\n\\nb"}\n{"text": "c"}\n',
            "b.csv": b"id,text\n1,d\n",
        }
    )
    found, _ = documents(written(tmp_path, "a.tar", content))
    assert found == [["a", "b"], ["c"], ["d"]]


def table(rows, delimiter=","):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows(rows)
    return file.getvalue().encode()


RECORDS = [{"id": i, "text": f"text {i}\n\nand \u00e9"} for i in range(3)]
THREE = [[f"text {i}", "and \u00e9"] for i in range(3)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(RECORDS)),
        ("a.json", json.dumps(RECORDS, indent=2, ensure_ascii=False)),
        ("wiki_00", "".join(f"{json.dumps(r)}\n" for r in RECORDS)),
        ("wiki_00", "".join(f'<doc id="{r["id"]}" title="x">\n{r["text"]}\n'
         "</doc>\n" for r in RECORDS)),
        ("a.json", json.dumps([r["text"] for r in RECORDS])),
        ("a.json", json.dumps({"version": 1, "data": RECORDS})),
        ("a.json", json.dumps({"text": [r["text"] for r in RECORDS]})),
        ("a.json", "\n".join(map(json.dumps, RECORDS))),
        ("a.json", "\n".join(json.dumps(r, indent=1) for r in RECORDS)),
        ("a.JSON", "\ufeff" + json.dumps(RECORDS)),
        ("a.jsonl", "\n".join(map(json.dumps, RECORDS))),
        ("a.csv", table([r.values() for r in [{0: "id", 1: "text"}, *RECORDS]])
         .decode()),
        ("a.csv", table([("text", "id"), *((r["text"], 1) for r in RECORDS)],
                        ";").decode()),
        ("a.csv", "\ufeff" + table([["text"], *([r["text"]] for r in RECORDS)])
         .decode()),
    ],
)  # fmt: skip
def test_json_and_tables_give_a_document_a_row(tmp_path, name, content):
    path = written(tmp_path, name, content.encode())
    assert documents(path, strict=True)[0] == THREE
    path = written(tmp_path, f"{name}.gz", gzip.compress(content.encode()))
    assert documents(path, part_bytes=16)[0] == THREE


def test_tsv_has_no_quotes(tmp_path):
    content = b'id\ttext\n1\t"a b\n2\tc" d\n\n'
    found, _ = documents(written(tmp_path, "a.tsv", content))
    assert found == [['"a b'], ['c" d']]


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_parquet_and_arrow(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [*RECORDS, {"id": 4, "text": None}]
    made = pa.Table.from_pylist(rows)
    file = io.BytesIO()
    if kind == "parquet":
        parquet.write_table(made, file)
    else:
        new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with new(file, made.schema) as writer:
            writer.write_table(made)
    for name, content in [
        ("a.parquet", file.getvalue()),
        ("b", file.getvalue()),
        ("c.gz", gzip.compress(file.getvalue())),
        ("d.tar", tar({"x/a.parquet": file.getvalue()})),
    ]:
        found, counts = documents(written(tmp_path, name, content))
        assert found == THREE
        assert counts["bad_records"] == 1
    with pytest.raises(UserError, match=r"b: row 4: not a row with text"):
        documents(tmp_path / "b", strict=True)
    with pytest.raises(UserError, match=r"'body'.*id, text.*_field=text"):
        documents(tmp_path / "b", text_field="body")
    with pytest.raises(UserError, match=r"'id' is of the type int64.*in text"):
        documents(tmp_path / "b", text_field="id")
    cut = written(tmp_path, "e.parquet", file.getvalue()[: -len(b"PAR1") - 9])
    if kind != "stream":
        with pytest.raises(UserError, match=r"e\.parquet.*damaged"):
            documents(cut)


def noise(size):
    state, data = 1, bytearray()
    for _ in range(size):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        data.append(state >> 16 & 0xFF)
    return bytes(data)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", noise(4096), "not UTF-8"),
        ("a.txt", TEXT * 99 + noise(4096), "not UTF-8"),
        ("a.pdf", b"%PDF-1.4 text", "a PDF"),
        ("a.txt", b"\x89PNG\r\n\x1a\n", "an image"),
        ("a.txt", b"7z\xbc\xaf\x27\x1cabc", "7z"),
        ("a.docx", zipped({"[Content_Types].xml": b"<x/>", "b.xml": b"<x/>"}),
         "Office"),
        ("a.epub", zipped({"mimetype": b"x", "b.html": b"<x/>"}), "e-book"),
        ("a.tar", tar({"1.txt": TEXT, "2.bin": noise(4096)}),
         r"a\.tar/2\.bin:1: .*not UTF-8"),
        ("a.tar", tar({"1.txt": TEXT, "2.jpg": b"\xff\xd8\xff\xe0"}),
         r"a\.tar/2\.jpg: is an image"),
        ("a.tar", tar({"1.txt": TEXT * 999})[:9000], "damaged or cut-off"),
        ("a.zip", zipped({"1.txt": noise(4096)})[:-30], "damaged or cut-off"),
        ("a.txt", ("\u041f\u0440\u0438\u0432\u0435\u0442 " * 99)
         .encode("cp1251"), "not UTF-8"),
        ("a.txt", (TEXT.decode() * 99).encode("utf-16-le"),
         "not UTF-8|without a byte order mark"),
        ("a.json", b"Hello", "not JSON"),
        ("a.json", b'[{"text": "a"}, {"text": "b"', "not JSON"),
        ("a.json", b'[{"body": "a", "n": 1}]', "field 'text', but body, n"),
        ("a.json", b'[{"body": "a"}]', "--text_field=body"),
        ("a.csv", b"id,body\n1,a\n", "'text', but id, body"),
        ("a.csv", b"id;body\n1;a\n", "'text', but id, body"),
        ("a.warc.gz", gzip.compress(b"WARC/1.0\r\nWARC-Type: x\r\n"), "WARC"),
        ("a.xml.bz2", bz2.compress(b"<mediawiki xmlns='x'>\n"), "MediaWiki"),
        ("a.txt", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("a.csv", b"text\na, b\nc, d\ne\n",
         "2 of 3 rows|a.csv:2: 2 cells"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused_by_name(
    tmp_path, name, content, message, strict
):
    path = written(tmp_path, name, content)
    if strict and "not UTF-8" in message:
        message = "is not UTF-8|control character"
    with pytest.raises(UserError, match=message) as caught:
        documents(path, strict=strict)
    assert name in str(caught.value)


def test_rows_that_are_not_whole_are_counted(tmp_path):
    content = b"id,text\n1,a\n2\n3,b\n4,\n5,c\n"
    found, counts = documents(written(tmp_path, "a.csv", content))
    assert found == [["a"], ["b"], ["c"]]
    assert counts["bad_records"] == 2


def test_few_bad_bytes_are_repaired_as_before(tmp_path):
    latin = "Le caf\u00e9 est ferm\u00e9 le dimanche et le lundi.\n" * 50
    path = written(tmp_path, "a.txt", latin.encode("latin-1"))
    found, counts = documents(path)
    assert counts["invalid_utf8_replaced"] == 100
    assert found[0][0].startswith("Le caf\ufffd est")
    content = b'id,text\n1,"caf\xe9 au lait"\n'
    found, counts = documents(written(tmp_path, "a.csv", content))
    assert found == [["caf\ufffd au lait"]]
    assert counts["invalid_utf8_replaced"] == 1
    with pytest.raises(UserError, match=r"a\.csv:2: byte 0xe9"):
        documents(tmp_path / "a.csv", strict=True)


def test_half_a_character_in_utf16_is_replaced_and_counted(tmp_path):
    content = "ab \ud800 c".encode("utf-16", "surrogatepass") + b"x"
    found, counts = documents(written(tmp_path, "a.txt", content))
    assert counts["invalid_utf8_replaced"] == 4
    assert found == [["ab \ufffd\ufffd\ufffd c\ufffd"]]


def test_text_that_begins_like_a_packed_file_is_text(tmp_path):
    for content in (b"BZh9 is bzip2's magic.\n", b"PK is a code.\n",
                    b"Obj1 and ORCHARD\n", b"ORCHARD\n"):  # fmt: skip
        found, _ = documents(written(tmp_path, "a.txt", content), strict=True)
        assert found == [[content.decode().strip()]]


def test_a_carriage_return_among_the_names_of_columns(tmp_path):
    for content in (b"id,text\r1,one\r", b"id\rx,text\n1,one\n"):
        path = tmp_path / "a.csv"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.csv:1: has a carriage ret"):
            list(corpus.iter_lines([str(path)]))
