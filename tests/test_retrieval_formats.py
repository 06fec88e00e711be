"""Tests of reading the text of documents of each format."""

import io
import json

import pytest

from electra_tf.retrieval import formats, kept, passages
from electra_tf.retrieval.index import Terms

LONG = "The cat sat on the mat, and the dog lay in the sun before the house"


def text_of(data, name):
    (part,) = formats.read(data, name).parts
    return part.text


def why(data, name):
    with pytest.raises(formats.LeftOut) as error:
        formats.read(data, name)
    return str(error.value)


PAGE = """<!DOCTYPE html><html><head><title>Tea &amp; Co</title>
<script>var secret = 1</script><style>p {}</style></head>
<body><nav>Home</nav><div role="navigation">Menu</div><!-- secret -->
<h1>Prices</h1><p>A tea&nbsp;pot
costs <b>5</b>&euro;.</p><p hidden>secret</p>
<h2>Table</h2><table><tr><th>item</th><th>price</th></tr>
<tr><td>cup</td><td>2</td></tr></table>one<br>two<footer>About</footer>
</body></html>"""


def test_html():
    pytest.importorskip("bs4")
    (part,) = formats.read(PAGE.encode(), "a.html").parts
    assert part.text == (
        "Tea & Co\n\nPrices\n\nA tea pot costs 5€.\n\nTable\n\n"
        "item | price\ncup | 2\n\none\ntwo"
    )
    assert [h.title for h in part.headings] == ["Tea & Co", "Prices", "Table"]
    for heading in part.headings:
        assert part.text[heading.start : heading.end] == heading.title
    deep = "<div>" * 5000 + "bottom" + "</div>" * 5000
    assert text_of(deep.encode(), "a.htm") == "bottom"
    assert why(b"\x89PNG\0\xff", "a.html") == "is not text"


@pytest.mark.parametrize(
    ("meta", "coding", "text"),
    [
        ("gb2312", "gbk", "北京大学建立于一八九八年"),
        ("big5", "big5", "臺灣的首都是臺北"),
        ("shift_jis", "shift_jis", "東京は日本の首都です"),
        ("iso-8859-1", "latin-1", "Le café de la gare à midi"),
        ("iso-8859-1", "utf-8", "Le café, wrongly declared"),
        ("utf-16", "utf-8", "Garten am Fluß"),
    ],
)
def test_encodings_of_pages(meta, coding, text):
    pytest.importorskip("bs4")
    page = f'<html><head><meta charset="{meta}"></head><body><p>{text}</p>'
    assert text_of(page.encode(coding), "a.html") == text


@pytest.mark.parametrize(
    ("coding", "text"),
    [
        (
            "gb18030",
            "北京大学建立于一八九八年。是中国第一所国立大学。" * 3,
        ),
        ("cp1251", "Москва является столицей России и большим городом."),
        ("latin-1", "Le café de la gare ferme à minuit, après le dîner."),
    ],
)
def test_other_encodings_of_texts_are_guessed_and_reported(coding, text):
    pytest.importorskip("charset_normalizer")
    found = formats.read(text.encode(coding), "a.txt")
    assert found.parts[0].text == text
    assert found.notes[0].startswith("is read as ")


def test_passages_have_their_markdown_headings(tmp_path):
    text = (
        f"# Book\n\n## One\n\n{LONG}.\n\n{LONG * 2}.\n\n```\n# no\n```\n\n"
        f"{LONG * 2}\n\n## Two ##\n\n{LONG * 2}\n"
    )
    (tmp_path / "a.md").write_text(text)
    found = passages.of_file(str(tmp_path / "a.md"), longest=200).passages
    assert [p.heading for p in found] == ["One", "One", "One", "Two"]
    assert all(text[p.start :].startswith(p.text) for p in found)


def test_tables():
    table = 'name;born\n"Ada; L";1815\n"two\nlines";\n;\n'
    found = formats.read(table.encode(), "a.csv")
    assert [(p.text, p.line, p.where) for p in found.parts] == [
        ("name: Ada; L\nborn: 1815", 2, "row 2"),
        ("name: two\nlines", 3, "row 3"),
    ]
    assert found.skipped == 1
    alone = formats.read(b"id\ttext\n1\thello\n2\n", "a.tsv")
    assert [p.text for p in alone.parts] == ["hello"]
    assert formats.read(b"", "a.csv").parts == []


def test_tables_of_old_macs_and_for_excel():
    found = formats.read(b"a,b\r1,2\r3,4\r", "a.csv").parts
    assert [(p.text, p.line) for p in found] == [("a: 1\nb: 2", 2),
                                                ("a: 3\nb: 4", 3)]  # fmt: skip
    found = formats.read(b"a\rb;c\n1;2\n", "a.csv").parts
    assert [p.line for p in found] == [2, 3]
    found = formats.read(b"sep=;\r\na;b\r\n1;2,5\r\n", "a.csv").parts
    assert [(p.text, p.line) for p in found] == [("a: 1\nb: 2,5", 3)]


def test_quotes_mean_nothing_in_tsv():
    table = b'id\ttext\n1\t"No, he said.\n2\tYes.\n3\tThe "old" one.\n'
    found = formats.read(table, "a.tsv").parts
    assert [(p.text, p.line) for p in found] == [
        ('"No, he said.', 2), ("Yes.", 3), ('The "old" one.', 4),
    ]  # fmt: skip
    quoted = b'"id"\t"text"\r\n"1"\t"A ""b""\nc"\r\n"2"\t"d"\r\n'
    found = formats.read(quoted, "a.tsv").parts
    assert [(p.text, p.line) for p in found] == [('A "b"\nc', 2), ("d", 4)]


def made_pdf(pages, password=None):
    pypdf = pytest.importorskip("pypdf")
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): fonts}
        )
        content = DecodedStreamObject()
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        content.set_data(f"BT /F1 9 Tf 10 280 Td {lines}ET".encode())
        page[NameObject("/Contents")] = writer._add_object(content)
    if password is not None:
        writer.encrypt(password, "owner", algorithm="RC4-128")
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def test_pdf():
    data = made_pdf(["Ships car-\nried coal.", "", "The code is 7."])
    found = formats.read(data, "a.pdf").parts
    assert [p.where for p in found] == ["page 1", "page 3"]
    assert "Ships carried coal." in found[0].text
    assert "The code is 7." in found[1].text
    assert why(made_pdf(["secret"], "x"), "a.pdf") == (
        "is encrypted, with a password"
    )
    assert formats.read(made_pdf(["open"], ""), "a.pdf").parts
    assert "has no text on its 2 pages" in why(made_pdf(["", ""]), "a.pdf")
    for damaged in (data[:300], b"", b"hello"):
        assert why(damaged, "a.pdf").startswith("is a damaged PDF: ")


def test_docx():
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("Minutes", 1)
    document.add_paragraph("Ships carried coal.")
    table = document.add_table(2, 2)
    for i, text in enumerate(("name", "city", "Ada", "London")):
        table.cell(i // 2, i % 2).text = text
    document.add_heading("After", 2)
    document.add_paragraph("The end.")
    made = io.BytesIO()
    document.save(made)
    (part,) = formats.read(made.getvalue(), "a.docx").parts
    assert part.text == (
        "Minutes\n\nShips carried coal.\n\nname | city\nAda | London\n\n"
        "After\n\nThe end."
    )
    assert [h.title for h in part.headings] == ["Minutes", "After"]
    assert "older format" in why(formats._OLD_OFFICE + b"x", "a.docx")
    assert why(b"hello", "a.docx").startswith(
        "is not a DOCX file, or is damaged"
    )


def test_a_package_that_is_missing(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(LONG)
    (tmp_path / "b.pdf").write_bytes(b"%PDF")
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": LONG}))
    (tmp_path / "empty.md").touch()
    (tmp_path / "picture.png").touch()
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    skipped = []
    found = passages.find(
        str(tmp_path), left_out=lambda *row: skipped.append(row)
    )
    read = kept.load(found, Terms("none")).documents
    assert len(read.passages) == 2
    assert read.left_out == [
        "b.pdf: needs another package: pip install 'electra-tf[documents]'",
        "empty.md: has no text",
    ]
    assert skipped == [("1 files", "are of other kinds: .png 1")]
