"""Tests files in undocumented forms: each is read correctly or reported."""

import gzip
import json
import zipfile

import pytest

from electra_tf.errors import UserError
from electra_tf.tasks import records
from electra_tf.tasks.registry import options_class, task_class


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(folder, task, files, split="train", **options):
    """Writes `files` (name -> text or bytes) and reads examples of `split`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)
    kind = options_class(task)
    made = task_class(task)(
        task, kind(validation_fraction=0.0, **options), str(folder)
    )
    found = made.read("train")
    made.fit(found)
    return found if split == "train" else made.read(split)


# --- tables, JSON, folders of texts -------------------------------------------

LANGUAGES = {"source_language": "en", "target_language": "de"}
XY = [("a", None, "x"), ("b", None, "y")]
PAIR = [("a", "b", "x"), ("c", "d", "y")]
CSV = "text,label\na,x\nb,y\n"
VIEWED = {
    "features": [
        {"name": "text", "type": {"dtype": "string"}},
        {"name": "label", "type": {"names": ["x", "y"]}},
    ],
    "rows": [
        {"row_idx": 0, "row": {"text": "a", "label": 0}},
        {"row_idx": 1, "row": {"text": "b", "label": 1}},
    ],
}
ROWS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]


def archive(tmp_path, **members):
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name, text in members.items():
            made.writestr(f"{name}.csv", text)
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize(
    ("name", "content", "right"),
    [
        ("train.csv", "\ufeff text , label\na,x\nb,y\n", XY),
        ("train.csv", "Text,LABEL\na,x\nb,y\n", XY),
        ("train.csv", "sep=;\ntext;label\na;x\nb;y\n", XY),
        ("train.csv", "text,label,,\na,x,,\nb,y,,\n", XY),
        ("train.csv", CSV.encode("utf-16"), XY),
        ("train.csv", CSV.encode("utf-16-le"), XY),
        ("train.csv", CSV.encode("utf-16-be"), XY),
        ("train.csv", gzip.compress(CSV.encode()), XY),
        ("train.tsv", '"text"\t"label"\n"a"\t"x"\n"b"\t"y"\n', XY),
        ("train.tsv", 'text\tlabel\n"a ""q"""\tx\nb\ty\n',
         [('a "q"', None, "x"), ("b", None, "y")]),
        ("train.tsv", 'text\tlabel\n"a ""q"" \tx\n"b\ty\n',
         [('"a ""q"" ', None, "x"), ('"b', None, "y")]),
        ("train.json", json.dumps({"rows": ROWS}), XY),
        ("train.json", json.dumps(VIEWED), XY),
        ("train.json", '{"text":{"0":"a","1":"b"},"label":{"0":"x","1":"y"}}',
         XY),
        ("train.json", json.dumps(dict(enumerate(ROWS))), XY),
        ("train.json", json.dumps(dict(zip("ij", ROWS))), XY),
        ("train.json", json.dumps({"columns": ["text", "label"],
         "index": [0, 1], "data": [["a", "x"], ["b", "y"]]}), XY),
        ("train.json", "[\n" + ",\n".join(map(json.dumps, ROWS)) + ",\n]", XY),
        ("train.json", "\n".join(json.dumps(r, indent=1) for r in ROWS), XY),
        ("train.txt", "__label__x a\n__label__y b\n", XY),
        ("train.txt", "__label__x\ta\n__label__y  b\n", XY),
        ("train.csv", "text,label\nb'a',x\n\"b\"\"b\"\"\",y\n", XY),
        ("train.csv", "sentence_A,sentence_B,entailment_judgment\na,b,x\n"
         "c,d,y\n", PAIR),
        ("train.tsv", "premise\thypo\tlabel\na\tb\tx\nc\td\ty\n", PAIR),
        ("train.jsonl", lines(
            {"gold_label": "x", "sentence1": "a", "sentence2": "b"},
            {"gold_label": "y", "sentence1": "c", "sentence2": "d"},
        ), PAIR),
    ],
)  # fmt: skip
def test_tables(tmp_path, name, content, right):
    found = read(tmp_path, "classification", {name: content})
    assert [(e.text, e.text_pair, e.answer) for e in found] == right


@pytest.mark.parametrize("name", ["train.zip", "train.csv.zip"])
def test_a_table_in_a_zip_archive(tmp_path, name):
    (tmp_path / "data").mkdir()
    content = archive(tmp_path, train=CSV)
    options = {"train_file": name} if name == "train.zip" else {}
    found = read(
        tmp_path / "data", "classification", {name: content}, **options
    )
    assert [e.answer for e in found] == ["x", "y"]
    two = archive(tmp_path, a=CSV, b=CSV)
    with pytest.raises(UserError, match="a zip archive of 2 files"):
        read(tmp_path / "data", "classification", {name: two}, **options)


@pytest.mark.parametrize(
    ("prefix", "name"),
    [("", "neg/0.txt"), ("train/", "neg/0_3.txt"), ("20-train/", "neg/49960")],
)
def test_a_folder_of_texts_for_each_class(tmp_path, prefix, name, caplog):
    files = {
        prefix + name: "bad",
        prefix + "pos/1.txt": "caf\xe9".encode("latin-1"),
        prefix + "unsup/2.txt": "who knows",
    }
    if prefix:
        files["README"] = "about"
    found = read(tmp_path, "classification", files)
    assert [(e.text, e.answer) for e in found] == [
        ("bad", "neg"), ("café", "pos"),
    ]  # fmt: skip
    assert "unsup: skipped" in caplog.text
    assert "1 files are not UTF-8" in caplog.text


def test_texts_of_a_folder_are_whole(tmp_path):
    long = "a word and " * 30_000 + "the end"
    files = {"pos/1.txt": long, "neg/1.txt": long.encode("utf-16")}
    found = read(tmp_path, "classification", files)
    assert [e.text for e in found] == [long, long]


def test_folders_of_splits_are_no_classes(tmp_path):
    files = {"train/seq.in": "a b\n", "test/seq.in": "c\n"}
    with pytest.raises(UserError, match="found no training file"):
        read(tmp_path, "classification", files)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.txt", "1 3:0.5 7:1\n-1 2:1 3:0.1\n", "numbers for each row"),
        ("train.txt", "(3 (2 It) (4 good))\n(1 (2 x) (2 y))\n", "trees in"),
        ("train.csv", "<!DOCTYPE html>\n<html></html>\n", "XML or HTML"),
        ("train.csv", "version https://git-lfs.github.com/spec/v1\n",
         "pointer of Git LFS"),
        ("train.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office document"),
        ("train.csv", "text,label\ra,x\rb,y\r", "carriage returns alone"),
        ("train.csv", "text,label\na\x96,x\n".encode("latin-1"), "iconv"),
        ("train.csv", '"3","Wall St.","Reuters"\n"4","a","b"\n',
         r"options\.columns .*a name for each of its columns \(3\)"),
        ("train.tsv", 'text\tlabel\n"a\tb"\tx\nc\ty\n', "delimiter tab"),
        ("train.csv", "text,label\na,x\nb,\nc,y\n", r"incomplete=skip"),
        ("train.csv", "text,label\na,x\n,y\n", r"is empty; .*plete=skip"),
        ("train.csv", "text,label\na,x\ntext,label\nb,y\n", "csv:3: repeats"),
        ("train.json", '[{"text": "a\\ud800", "label": 1}]', "half of a surr"),
        ("cat/1.jpg", b"\xff\xd8\xff\xe0", "cat/1.jpg: is an image"),
        ("cat/1.bin", b"a\0b", "cat/1.bin: is not text"),
        ("cat/1.txt", b"a " * (9 << 20), "cat/1.txt: has more than 16 MiB"),
        ("train.json", json.dumps({"train": ROWS, "test": ROWS}),
         r"holds several splits \(train, test\)"),
    ],
)  # fmt: skip
def test_what_is_refused_by_name(tmp_path, name, content, message):
    files = {name: content}
    if "/" in name:
        files["dog/1.txt"] = "a text"
    with pytest.raises(UserError, match=message):
        read(tmp_path, "classification", files)


def test_an_excel_sheet_is_named(tmp_path):
    path = tmp_path / "train.xlsx"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("[Content_Types].xml", "<Types/>")
        made.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(UserError, match=r"a sheet of Excel .* save it as CSV"):
        read(tmp_path, "classification", {})


@pytest.mark.parametrize(
    ("task", "files", "split", "count"),
    [
        ("classification", {"plain_text/train.csv": CSV}, "train", 2),
        ("classification", {"x_training.csv": CSV, "x_eval.csv": CSV},
         "validation", 2),
        ("squad/v1.1", {"plain_text/train-00000-of-00001.jsonl": lines(
            {"context": "a b", "question": "q", "answer": "b",
             "answer_start": 2})}, "train", 1),
        ("translation", {"europarl.de-en.de": "a\n", "europarl.de-en.en":
         "b\n"}, "train", 1),
    ],
)  # fmt: skip
def test_where_files_are(tmp_path, task, files, split, count):
    options = LANGUAGES if task == "translation" else {}
    assert len(read(tmp_path, task, files, split, **options)) == count


def test_questions_of_another_member_are_not_taken(tmp_path):
    with pytest.raises(UserError, match=r"no training file such as .*v1\.1"):
        read(tmp_path, "squad/v1.1", {"train-v2.0.json": "{}"})


# --- labels -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "right"),
    [
        (["0.0", "1.0", "1"], ["0", "1", "1"]),
        (["0.0", "1.0"], ["0.0", "1.0"]),  # one spelling each: unchanged
        (["True", "False", "TRUE"], ["true", "false", "true"]),
        (["1", "-1", "0"], ["1", "-1", "0"]),
        (["+", "-"], ["+", "-"]),
        (["1.5", "1"], ["1.5", "1"]),
    ],
)
def test_one_label_in_several_spellings(tmp_path, labels, right):
    text = "text,label\n" + "".join(
        f"{i},{name}\n" for i, name in enumerate(labels)
    )
    found = read(tmp_path, "classification", {"train.csv": text})
    assert [e.answer for e in found] == right


def test_a_spelling_of_validation_is_that_of_training(tmp_path):
    files = {
        "train.csv": "text,label\na,0\nb,1\n",
        "dev.csv": "text,label\na,0.0\nb,1.0\n",
    }
    found = read(tmp_path, "classification", files, "validation")
    assert [e.answer for e in found] == ["0", "1"]


@pytest.mark.parametrize("missing", ["-", "", "NaN", None, float("nan"), -1])
def test_rows_without_a_label_among_others(tmp_path, missing, caplog):
    files = {"train.jsonl": lines(
        *({"text": str(i), "label": v} for i, v in enumerate([0, 1, 2])),
        {"text": "u", "label": missing},
    )}  # fmt: skip
    if missing == -1:  # it may be a class
        found = read(tmp_path, "classification", files)
        assert len(found) == 4 and "'-1', of 1 rows" in caplog.text
    else:
        with pytest.raises(UserError, match=r"jsonl:4: no label.*=skip"):
            read(tmp_path, "classification", files)
    found = read(tmp_path, "classification", files, incomplete="skip")
    assert [e.answer for e in found] == ["0", "1", "2"]
    assert "1 of 4 rows have no label in 'label'" in caplog.text


def test_rows_without_a_text(tmp_path, caplog):
    rows = "label,sentence1,sentence2\nx,a,b\ny,c,\ny,c,d\n"
    files = {"train.csv": rows, "test.csv": "sentence1,sentence2\ne,\n"}
    found = read(tmp_path, "classification", files, incomplete="skip")
    assert [(e.text, e.text_pair, e.answer) for e in found] == PAIR
    assert "csv:3: 1 rows have no text" in caplog.text
    # Each row of a test file needs a prediction.
    (example,) = read(
        tmp_path, "classification", files, "test", incomplete="skip"
    )
    assert (example.text, example.text_pair) == ("e", "")


def test_labels_that_look_like_several(tmp_path, caplog):
    text = "text,label\na,x|y\nb,y\nc,x\n"
    read(tmp_path, "classification", {"train.csv": text})
    assert "'x|y' looks like several of the others" in caplog.text


def test_a_negative_class_stays_one(tmp_path):
    text = "text,label\n" + "".join(f"{i},{i % 3 - 1}\n" for i in range(9))
    found = read(
        tmp_path, "classification", {"train.csv": text}, incomplete="skip"
    )
    assert {e.answer for e in found} == {"-1", "0", "1"}


def test_what_is_reported_of_labels(tmp_path, caplog):
    text = "text,label,split\n" + "a,pos,train\nb,Pos,test\nc,neg,train\n" * 2
    read(tmp_path, "classification", {"train.csv": text})
    assert "the labels 'pos' and 'Pos' differ in capitals" in caplog.text
    assert "the column 'split' names splits" in caplog.text


def test_decimal_commas(tmp_path):
    text = "text;score\na;4,5\nb;-0,125\nc;3\n"
    found = read(tmp_path, "regression", {"train.csv": text})
    assert [e.answer for e in found] == [4.5, -0.125, 3.0]
    text = 'text,label\na,"1,234"\nb,"2,500"\n'
    with pytest.raises(UserError, match="expected a number in 'label'"):
        read(tmp_path, "regression", {"train.csv": text})


def test_a_table_of_bytes(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"text": ["café".encode(), b"b"], "label": [True, False]})
    parquet.write_table(table, tmp_path / "train.parquet")
    found = read(tmp_path, "classification", {})
    assert [(e.text, e.answer) for e in found] == [
        ("café", "true"), ("b", "false"),
    ]  # fmt: skip


def test_a_test_file_beside_its_labels(tmp_path):
    files = {
        "train.csv": "text,label\na,x\nb,y\n",
        "test.csv": "text\nc\n",
        "test_labels.csv": "id,x\n1,-1\n",
    }
    (example,) = read(tmp_path, "classification", files, "test")
    assert (example.text, example.answer) == ("c", None)


# --- words and tags -----------------------------------------------------------

ONTONOTES = (
    "#begin document (bc/0); part 000\n"
    "bc/0 0 0 In IN (TOP(PP* - - - A * (ARG* -\n"
    "bc/0 0 1 Paris NNP * - - - A (GPE) * (0)\n"
    "bc/0 0 2 summer NN * - - - A (DATE* *) -\n"
    "bc/0 0 3 95 CD *) - - - A *) * -\n\n"
    "bc/0 0 0 Yes UH (TOP*) - - - A * -\n\n#end document\n"
)
EU = [("EU", "says"), ("B-ORG", "O")]


@pytest.mark.parametrize(
    ("task", "name", "content", "right", "options"),
    [
        ("tagging", "train.v4_gold_conll", ONTONOTES,
         [("In", "Paris", "summer", "95"), ("O", "B-GPE", "B-DATE", "I-DATE"),
          ("Yes",), ("O",)], {}),
        ("tagging", "train.tsv", "## klue-ner_0\t<EU:ORG> says\nEU\tB-ORG\n"
         "says\tO\n", EU, {}),
        ("tagging", "train.txt", "token tag\nEU B-ORG\nsays O\n", EU, {}),
        ("tagging", "train.csv", "text,entities\nEU says,\"[(0, 2, 'ORG')]\"\n",
         EU, {}),
        ("tagging", "train.json", json.dumps([{"id": 1, "data":
         {"text": "EU says"}, "annotations": [{"result": [{"value":
         {"start": 0, "end": 2, "text": "EU", "labels": ["ORG"]}},
         {"value": {"choices": ["x"]}}]}]}]), EU, {}),
        ("tagging", "train.jsonl", lines({"text": "EU says", "tokens":
         [{"text": "EU"}, {"text": "says"}], "spans":
         [{"start": 0, "end": 2, "labels": ["ORG"]}]}), EU, {}),
        ("tagging", "train.txt", "###MEDLINE:95\nEU\tB-ORG\nsays\tO\n", EU, {}),
        ("tagging", "train", "en:EU\tB-ORG\nen:says\tO\n", EU, {}),
        ("tagging", "train.txt", "New York\tB-LOC\nis\tO\n\ufe0f\tO\n \tO\n",
         [("New York", "is", "\ufe0f", " "), ("B-LOC", "O", "O", "O")], {}),
        ("tagging", "train.txt", "a\tO\nb\tO\nPaul\tper-art\nWest\tper-art\n",
         [("a", "b", "Paul", "West"), ("O", "O", "I-per-art", "I-per-art")],
         {"scheme": "io"}),
        ("tagging", "train.txt", "a\tO\nb\tO\nc\tO\nPaul\tper\nWest\tper\n",
         [("a", "b", "c", "Paul", "West"), ("O", "O", "O", "I-per", "I-per")],
         {}),
        ("tagging", "train.csv", "Word,Tag\nEU,B-ORG\nsays,O\n\nEU,B-ORG\n"
         "says,O\n", EU * 2, {}),
        ("tagging", "train.csv", "Word,Tag\nEU,B-ORG\nsays,O\n,\nEU,B-ORG\n"
         "says,O\n", EU * 2, {}),
        ("tagging", "train.csv", "\ufeffSentence # , Word, Tag\nS: 1,EU,B-ORG\n"
         "NaN,says,O\n", EU, {}),
        ("tagging", "train.jsonl", lines({"text": "EU says",
         "slots": "B-ORG O"}), EU, {}),
        ("tagging", "train.jsonl", lines({"text": "北京的",
         "labels": ["B-L", "I-L", "O"]}), [("北", "京", "的"),
         ("B-L", "I-L", "O")], {}),
        ("tagging", "train.jsonl", lines({"text": "EU says",
         "entities": [[0, 2, "ORG"]]}), EU, {}),
        ("tagging", "train.jsonl", lines({"text": "EU says",
         "label": [[0, 2, "ORG"]]}), EU, {}),
        ("tagging", "train.jsonl", lines({"text": "EU says", "spans":
         [{"start": 0, "end": 2, "label": "ORG"}]}), EU, {}),
        ("tagging", "train.json", lines({"text": "叶老桂说", "label":
         {"name": {"叶老桂": [[0, 2]]}}}), [tuple("叶老桂说"),
         ("B-name", "I-name", "I-name", "O")], {}),
        ("tagging", "train.jsonl", lines({"utt": "up at nine am", "annot_utt":
         "up at [time : nine am]"}), [("up", "at", "nine", "am"),
         ("O", "O", "B-time", "I-time")], {}),
        ("tagging", "train.jsonl", lines({"tokens": ["EU", "says"],
         "ner_tags": [1, 0]}), EU, {"tag_names": ("O", "B-ORG")}),
        ("tagging", "train.txt", "EU 1\nsays 0\n", EU,
         {"tag_names": ("O", "B-ORG")}),
        ("tagging/pos", "train.jsonl", lines({"tokens": ["EU", "says"],
         "ner_tags": ["B-ORG", "O"], "pos_tags": ["N", "V"]}),
         [("EU", "says"), ("N", "V")], {}),
        ("tagging", "train.jsonl", lines({"tokens": ["EU", "says"],
         "ner_tags": ["B-ORG", "O"], "pos_tags": ["N", "V"]}),
         [("EU", "says"), ("N", "V")], {"tag_column": "pos_tags"}),
    ],
)  # fmt: skip
def test_tags(tmp_path, task, name, content, right, options):
    found = read(tmp_path, task, {name: content}, **options)
    assert [part for s in found for part in (s.tokens, s.tags)] == right


@pytest.mark.parametrize(
    "options",
    [
        {"token_column": 0}, {"tag_column": 1}, {"separator": "tab"},
        {"comment": "%"},
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", "word,pos,ner\nEU,N,B-ORG\nsays,V,O\n"),
        ("train.jsonl", lines({"tokens": ["EU", "a"], "tags": ["B-X", "O"]})),
    ],
)
def test_options_of_numbered_columns_are_refused_where_columns_have_names(
    tmp_path, name, content, options
):
    (key,) = options
    with pytest.raises(
        UserError, match=rf"options\.{key}: .*{name} have names"
    ):
        read(tmp_path, "tagging", {name: content}, **options)


def test_what_is_reported_of_tags(tmp_path, caplog):
    files = {"train.jsonl": lines(
        {"tokens": ["a", "b"], "ner_tags": [1, 0], "pos_tags": [3, 4]}
    )}  # fmt: skip
    read(tmp_path, "tagging", files)
    assert "options.tag_names gives their names" in caplog.text
    assert "taking the tags in 'ner_tags', and not pos_tags" in caplog.text
    with pytest.raises(UserError, match="'1' is not a number below 1"):
        read(tmp_path, "tagging", files, tag_names=("O",))
    with pytest.raises(UserError, match=r"txt:2: the tag '7' is not a number"):
        read(tmp_path / "columns", "tagging", {"train.txt": "EU 0\nsays 7\n"},
             tag_names=("O", "B-ORG"))  # fmt: skip
    with pytest.raises(UserError, match=r"no column 'x'.*options\.tag_column"):
        read(tmp_path, "tagging", files, tag_column="x")
    files = {"train.jsonl": lines(
        {"text": "EUs say", "entities": [[0, 2, "ORG"], [1, 3, "X"]]},
        {"text": "no", "entities": []},
    )}  # fmt: skip
    found = read(tmp_path, "tagging", files)
    assert [s.tags for s in found] == [("B-ORG", "O"), ("O",)]
    assert "2 of 2 marked spans begin or end within a word" in caplog.text
    with pytest.raises(UserError, match="table of a, b; expected columns of"):
        read(tmp_path / "csv", "tagging", {"train.csv": "a,b\n1,2\n"})
    files = {"train.jsonl": lines({"text": "EU", "entities": [[0, 9, "X"]]})}
    with pytest.raises(UserError, match=r"0 to 9 .* is not in the text"):
        read(tmp_path, "tagging", files)


def test_texts_without_tags_in_a_test_file(tmp_path):
    files = {
        "train.json": lines({"text": "EU says", "entities": [[0, 2, "ORG"]]}),
        "test.json": lines({"id": 0, "text": "EU, too"}),
    }
    (found,) = read(tmp_path, "tagging", files, "test")
    assert (found.tokens, found.tags) == (("EU", ",", "too"), None)


# --- questions ----------------------------------------------------------------

CONTEXT = "Bonn lies on the Rhine."
KNOWN = {"context": CONTEXT, "question": "Where?"}
RHINE = {"text": ["Rhine"], "answer_start": [17]}


@pytest.mark.parametrize(
    "answer",
    [
        {"answers": RHINE},
        {"answers": {"text": "Rhine", "answer_start": 17}},
        {"answer": {"text": "Rhine", "answer_start": 17}},
        {"answer": "Rhine", "answer_start": 17},
        {"answers": [{"text": "Rhine", "answer_start": "17"}]},
        {"answer": "Rhine", "answer_start": "17.0"},
    ],
)
@pytest.mark.parametrize("array", [False, True])
def test_answers(tmp_path, answer, array):
    row = KNOWN | answer
    text = json.dumps([row]) if array else lines(row)
    (found,) = read(tmp_path, "squad", {"train.json": text})
    assert (found.answers, found.answer_start) == (("Rhine",), 17)


@pytest.mark.parametrize("start", ["1_7", True, 17.5, float("nan"), "x"])
def test_starts_of_answers_that_are_no_whole_numbers(tmp_path, start):
    row = KNOWN | {"answers": [{"text": "Rhine", "answer_start": start}]}
    with pytest.raises(UserError, match=r"answer_start is .*no whole number"):
        read(tmp_path, "squad", {"train.json": lines(row)})


def test_shards_of_questions_without_ids(tmp_path):
    none = {"text": [], "answer_start": []}
    files = {
        f"train-0000{i}-of-00002.jsonl": lines(KNOWN | {"answers": answers})
        for i, answers in enumerate((RHINE, none))
    }
    first, second = read(tmp_path, "squad", files)
    assert (first.question_id, second.question_id) == ("0", "1")
    # A shard may hold unanswerable questions alone.
    assert (first.impossible, second.impossible) == (False, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines({"document_text": "x", "question_text": "q"}), "Natural Quest"),
        (
            lines(
                {
                    "question_text": "q",
                    "document_html": "<p>",
                    "long_answer_candidates": [],
                    "annotations": [],
                }
            ),
            "Natural Quest",
        ),
        (
            lines(
                {
                    "question": {"text": "q"},
                    "document": {"html": "<p>"},
                    "long_answer_candidates": {},
                    "annotations": {},
                }
            ),
            "Natural Quest",
        ),
        (
            lines(
                {
                    "question": "q",
                    "entity_pages": {},
                    "search_results": {},
                    "answer": {"value": "a"},
                }
            ),
            "TriviaQA",
        ),
        (json.dumps({"Data": [{"Question": "q"}]}), "TriviaQA"),
        (json.dumps({"data": [{"context": "x", "raw_html": "x"}]}), "KorQuAD"),
        (json.dumps({"data": [{"story": "x", "questions": []}]}), "CoQA"),
        (lines({"plot": "x", "question": "q", "answers": ["y"]}), "DuoRC"),
        (json.dumps([{"question": "q", "supporting_facts": []}]), "HotpotQA"),
        (lines(KNOWN | {"answers": ["Rhine"]}), "without answer_start"),
    ],
)
def test_questions_of_other_forms(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, "squad", {"train.json": content})


# --- ranking, translation, summaries ------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", lines({"query": "q", "positive_passages":
         [{"text": "a"}], "negative_passages": [{"text": "b"}]})),
        ("train.json", json.dumps([{"question": "q", "positive_ctxs":
         [{"text": "a"}], "hard_negative_ctxs": [{"text": "b"}]}])),
        ("train.jsonl", lines({"query": "q", "passages":
         {"passage_text": ["a", "b"], "is_selected": [1, 0]}})),
        ("train.jsonl", lines({"query": "q", "passages":
         [{"passage_text": "a", "is_selected": 1},
          {"passage_text": "b", "is_selected": 0}]})),
        ("train.jsonl", lines({"query": "q", "passages":
         {"passage_text": ["a", "b"], "is_selected": ["yes", False]}})),
        ("train.jsonl", lines({"anchor": "q", "positive": "a",
         "negative": "b"})),
        ("train.csv", "query,positive,negative\nq,a,b\n"),
        ("train.csv", "query,passage,label\nq,a,1\nq,b,0\n"),
        ("train.csv", "query,passage,relevance\nq,a,yes\nq,b,False\n"),
        ("train.tsv", "Question\tSentence\tLabel\nq\ta\t1\nq\tb\t0\n"),
    ],
)  # fmt: skip
def test_rankings(tmp_path, name, content):
    found = read(tmp_path, "ranking", {name: content})
    assert [(p.query, p.passage, p.relevance) for p in found] == [
        ("q", "a", 1.0), ("q", "b", 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize("ids", ["1\t2\t3\n4\t5\t6\n", "1\t0\t16\t1\n"])
def test_ids_are_no_texts(tmp_path, ids):
    with pytest.raises(UserError, match="holds ids alone"):
        read(tmp_path, "ranking", {"train.tsv": ids})


GO = {"translation": {"en": "Go", "de": "Geh"}}


@pytest.mark.parametrize(
    ("task", "files", "options"),
    [
        ("translation", {"train.jsonl": lines(GO)}, LANGUAGES),
        ("translation", {"train.csv": "en,de\nGo,Geh\n"}, LANGUAGES),
        ("translation", {"train.csv": "en,de\nGo,Geh\n"}, {}),
        ("translation", {"train.csv": "src,tgt\nGo,Geh\n"}, {}),
        ("translation", {"train.tags.de-en.en": "<url>x</url>\nGo\n",
         "train.tags.de-en.de": "<url>x</url>\nGeh\n"}, LANGUAGES),
        ("abstractive_summarization",
         {"train.jsonl": lines({"article": "Go", "highlights": "Geh"})}, {}),
        ("abstractive_summarization",
         {"train.json": json.dumps([{"dialogue": "Go", "summary": "Geh"}])},
         {}),
    ],
)  # fmt: skip
def test_pairs(tmp_path, task, files, options):
    (found,) = read(tmp_path, task, files, **options)
    assert (found.source, found.target) == ("Go", "Geh")


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"train.jsonl": lines(GO)}, {}, r"give options\.source_language"),
        ({"train.en": "a\n", "train.de": "b\n"}, {}, r"source_language"),
        ({"train.en": "<?xml?>\n", "train.de": "b\n"}, LANGUAGES, "is XML"),
        ({"train.txt": "Go.\tGeh.\tCC\n"}, {}, r"as \[source, target, other\]"),
        ({"train.tmx": '<?xml version="1.0"?>\n<tmx/>\n'},
         {"train_file": "train.tmx"}, "XML or HTML"),
    ],
)  # fmt: skip
def test_pairs_that_are_refused(tmp_path, files, options, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, "translation", files, **options)


def test_empty_targets_are_reported(tmp_path, caplog):
    read(tmp_path, "translation", {"train.tsv": "a\tb\nc\t\n"})
    assert "1 of 2 targets are empty" in caplog.text


def test_an_array_is_read_bit_by_bit(tmp_path):
    """Reading a large array of JSON takes less memory than its size."""
    import tracemalloc

    path = tmp_path / "train.json"
    row = json.dumps({"text": "x" * 500, "label": 1})
    path.write_text("[" + ",\n".join([row] * 40_000) + "]")  # 21 MB
    tracemalloc.start()
    try:
        assert sum(1 for _ in records.read_records(str(path))) == 40_000
        assert tracemalloc.get_traced_memory()[1] < 6e6
    finally:
        tracemalloc.stop()


def test_other_numbers_of_passages_and_marks_are_reported(tmp_path):
    passages = {"passage_text": ["a"], "is_selected": [1, 0]}
    row = lines({"query": "q", "passages": passages})
    with pytest.raises(UserError, match=r"jsonl:1.*passage_text and is_sel"):
        read(tmp_path, "ranking", {"train.jsonl": row})


@pytest.mark.parametrize(
    ("text", "chosen", "message"),
    [
        ("a", "1_000", "is_selected: expected a number.*'1_000'"),
        ("a", float("nan"), "is_selected: expected a number.*nan"),
        ("a", None, "passage_text and is_selected"),
        (None, 1, "texts that are not empty, got None"),
        (" ", 1, "texts that are not empty"),
    ],
)
def test_marks_that_are_no_numbers_and_no_texts_are_reported(
    tmp_path, text, chosen, message
):
    passages = [
        {"passage_text": text, "is_selected": chosen},
        {"passage_text": "b", "is_selected": "no"},
    ]
    row = lines({"query": "q", "passages": passages})
    with pytest.raises(UserError, match=rf"jsonl:1: passages: .*{message}"):
        read(tmp_path, "ranking", {"train.jsonl": row})


def test_spans_that_are_no_places_are_reported(tmp_path):
    row = lines({"text": "Ann sings", "label": {"PER": {"Ann": 3}}})
    with pytest.raises(UserError, match=r"jsonl:1: label"):
        read(tmp_path, "tagging", {"train.jsonl": row})


def test_blank_rows_before_the_first_word_end_no_sentence(tmp_path):
    table = "word,tag\n\nAnn,B-PER\nsings,O\n"
    (found,) = read(tmp_path, "tagging", {"train.csv": table})
    assert (found.tokens, found.tags) == (("Ann", "sings"), ("B-PER", "O"))


def test_a_line_for_excel_before_named_columns(tmp_path):
    table = "sep=;\na;x\nb;y\n"
    options = {"columns": ("text", "label")}
    found = read(tmp_path, "classification", {"train.csv": table}, **options)
    assert [(e.text, e.answer) for e in found] == [("a", "x"), ("b", "y")]
