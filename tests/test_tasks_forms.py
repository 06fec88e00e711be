"""Tests reading files in the forms of public sets, with at most one option."""

# ruff: noqa: RUF001

import csv
import io
import json

import pytest

from electra_tf.errors import UserError
from electra_tf.tasks import formats, records
from electra_tf.tasks.registry import options_class, task_class
from electra_tf.tasks.seq2seq import pairs

WNUT = "@paulwalker\tO\nEmpire\tB-location\nState\tI-location\n\nIt\tO\n"
CONLL = (
    "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n"
    "Peter NNP B-NP B-PER\n"
)
MSRA = "北 B-LOC\n京 M-LOC\n市 E-LOC\n的 O\n\n李 B-PER\n明 E-PER\n， O\n"
GERMEVAL = "#\thttp://x\t[2009]\n1\tUni\tB-ORG\tO\n2\tBonn\tI-ORG\tB-LOC\n"
CONLLU = "".join(
    f"{number}\t{word}\t{word}\t{tag}" + "\t_" * 6 + "\n"
    for number, word, tag in (
        ("1-2", "don't", "_"), ("1", "do", "AUX"), ("2", "n't", "PART"),
    )
)  # fmt: skip
LCQMC = "喜欢打篮球的男生\t爱打篮球的男生\t1\n我手机丢了\t大家觉得\t0\n"
WAIMAI = "label,review\n1,很快，好吃\n0,太慢了\n"
TOXIC = 'id,comment_text,toxic,obscene\n1,"you, ""sir""",1,0\n2,hello,0,1\n'
TOKENS = (
    '{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}\n'
    '{"tokens": ["Peter"], "tags": ["B-PER"]}\n'
)
ZH = "北京是中国的首都。"


def squad(context, question, answer):
    start = context.index(answer)
    answers = [{"text": answer, "answer_start": start}]
    qa = {"id": "1", "question": question, "answers": answers}
    paragraphs = [{"context": context, "qas": [qa]}]
    return json.dumps(
        {"version": "1", "data": [{"paragraphs": paragraphs}]},
        ensure_ascii=False,
    )


FLAT = {
    "id": "1", "title": "t", "context": ZH, "question": "首都？",
    "answers": {"text": ["北京"], "answer_start": [0]},
}  # fmt: skip
CMRC_FIRST = [
    {"context_id": "1", "context_text": ZH,
     "qas": [{"query_id": "q", "query_text": "首都？", "answers": ["北京"]}]}
]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "name", "text", "options", "first"),
    [
        ("tagging/wnut17", "wnut17train.conll", WNUT, {},
         ("B-location", "I-location")),
        ("tagging", "eng.train", CONLL, {}, ("B-ORG", "O")),
        ("tagging", "msra_train_bio.txt", MSRA, {}, ("B-LOC", "M-LOC")),
        ("tagging/germeval2014", "NER-de-train.tsv", GERMEVAL, {},
         ("B-ORG", "I-ORG")),
        ("tagging", "NER-de-train.tsv", GERMEVAL, {"tag_column": 2},
         ("B-ORG", "I-ORG")),
        ("tagging", "de-ud-train.conllu", CONLLU, {}, ("AUX", "PART")),
        ("tagging", "train.txt", CONLLU, {}, ("AUX", "PART")),
        ("tagging", "X.train.jsonl", TOKENS, {}, ("B-ORG", "O")),
        ("tagging", "train.json", TOKENS, {}, ("B-ORG", "O")),
    ],
)  # fmt: skip
def test_tags(tmp_path, task, name, text, options, first):
    found = read(tmp_path, task, name, text, options)
    tags = [tag for sentence in found for tag in sentence.tags]
    assert set(first) <= set(tags)


@pytest.mark.parametrize(
    ("name", "text", "options", "first"),
    [
        ("train.txt", LCQMC, {"columns": ("text", "text_pair", "label")},
         ("喜欢打篮球的男生", "爱打篮球的男生", "1")),
        ("LCQMC_train.data", LCQMC,
         {"columns": ("text", "text_pair", "label")},
         ("喜欢打篮球的男生", "爱打篮球的男生", "1")),
        ("waimai_train.csv", WAIMAI, {}, ("很快，好吃", None, "1")),
        ("waimai_train.txt", WAIMAI, {}, ("很快，好吃", None, "1")),
        ("toxic_train.csv", TOXIC, {"label_columns": ("toxic", "obscene")},
         ('you, "sir"', None, ("toxic",))),
        ("train.csv", "text;label\na, b;x\nc;y\n", {}, ("a, b", None, "x")),
        ("train.csv", "text^label\na, b^x\nc^y\n", {"delimiter": "^"},
         ("a, b", None, "x")),
        ("train.json", '[{"text": "a", "label": 1},\n'
         '{"text": "b", "label": 0}]', {}, ("a", None, "1")),
        ("train.json", '{"data": [{"text": "a", "label": "x"}, '
         '{"text": "b", "label": "y"}]}', {}, ("a", None, "x")),
        ("train.csv", '{"text": "a", "label": "x"}\n'
         '{"text": "b", "label": "y"}\n', {}, ("a", None, "x")),
    ],
)  # fmt: skip
def test_tables(tmp_path, name, text, options, first):
    found = read(tmp_path, "classification", name, text, options)
    example = found[0]
    assert (example.text, example.text_pair, example.answer) == first


@pytest.mark.parametrize(
    ("task", "name", "text"),
    [
        ("xquad/zh", "train-v1.1.json", squad(ZH, "首都？", "北京")),
        ("xquad/de", "train-v1.1.json", squad("Bonn am Rhein", "Wo?", "Bonn")),
        ("chinese_qa/cmrc2018", "cmrc2018_train.json", squad(ZH, "？", "北京")),
        ("chinese_qa/drcd", "DRCD_training.json", squad(ZH, "？", "北京")),
        ("squad", "mine_train.json", squad("Bonn am Rhein", "Wo?", "Bonn")),
        ("squad", "X.train.jsonl", json.dumps(FLAT)),
        ("chinese_qa", "train.json", json.dumps([FLAT], indent=1)),
        ("chinese_qa", "train.json", json.dumps(CMRC_FIRST)),
        ("chinese_qa", "train.json", json.dumps({"data": [FLAT]})),
    ],
)
def test_questions(tmp_path, task, name, text):
    (found,) = read(tmp_path, task, name, text, {})
    assert found.target in ("北京", "Bonn") and found.answer_start == 0


def test_a_file_of_questions_is_training_data(tmp_path):
    path = tmp_path / "any.json"
    path.write_text(squad(ZH, "？", "北京"), encoding="utf-8")
    task = task_class("squad")("squad", None, str(path))
    assert len(task.read("train")) == 1
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match=r"any\.json"):
        task.read("train")


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("deu_train.txt", "Go.\tGeh.\tCC-BY 1\nHi.\tHallo!\tCC-BY 2\n",
         {"columns": ("source", "target", "licence")}),
        ("train.tsv", "Go.\tGeh.\nHi.\tHallo!\n", {}),
        ("train.csv", "source;target\nGo.;Geh.\n", {}),
        ("X.train.jsonl", '{"source": "Go.", "target": "Geh."}\n', {}),
    ],
)  # fmt: skip
def test_translations(tmp_path, name, text, options):
    found = read(tmp_path, "translation", name, text, options)
    assert (found[0].source, found[0].target) == ("Go.", "Geh.")


def test_dialogsum_folder(tmp_path):
    row = {"fname": "1", "dialogue": "#P1: Hi.", "summary": "They meet."}
    for split in ("train", "dev"):
        (tmp_path / f"dialogsum.{split}.jsonl").write_text(json.dumps(row))
    several = {"fname": "2", "dialogue": "#P1: Hi."}
    several |= {f"summary{i}": f"They meet {i}." for i in (1, 2, 3)}
    (tmp_path / "dialogsum.test.jsonl").write_text(json.dumps(several))
    cls = options_class("abstractive_summarization")
    task = task_class("abstractive_summarization")(
        "abstractive_summarization", cls(source_column="dialogue"),
        str(tmp_path),
    )  # fmt: skip
    for split in ("train", "validation"):
        assert task.read(split)[0].target == "They meet."
    (example,) = task.read("test")
    assert example.references == tuple(f"They meet {i}." for i in (1, 2, 3))
    preds = [{"text": "They meet 3."}]  # the best reference counts
    assert task.scores([example], preds)["rouge1"] == 100.0


def read(folder, task, name, text, options):
    (folder / name).write_text(text, encoding="utf-8")
    kind = options_class(task)
    made = task_class(task)(
        task, kind(validation_fraction=0.0, **options), str(folder)
    )
    found = made.read("train")
    made.fit(found)
    return found


# --- Parquet, Arrow, folders ---------------------------------------------


def features(**named):
    about = {"info": {"features": named}}
    return {b"huggingface": json.dumps(about).encode()}


@pytest.fixture(params=["parquet", "stream", "file", "folder"])
def saved(request, tmp_path):
    pa = pytest.importorskip("pyarrow")

    def save(columns, metadata=None):
        table = pa.table(columns).replace_schema_metadata(metadata)
        path = tmp_path / "train.bin"
        if request.param == "parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, path)
            return tmp_path
        if request.param == "folder":
            (tmp_path / "train").mkdir()
            (tmp_path / "dataset_dict.json").write_text("{}")
            (tmp_path / "train" / "state.json").write_text("{}")
            path = tmp_path / "train" / "data-00000-of-00001.arrow"
        kind = pa.ipc.new_file if request.param == "file" else pa.ipc.new_stream
        with kind(str(path), table.schema) as writer:
            writer.write_table(table)
        return tmp_path

    return save


def test_classes_of_saved_sets(saved):
    named = features(label={"names": ["neg", "pos"], "_type": "ClassLabel"})
    columns = {"text": ["a", "b"], "label": [1, 0]}
    data = str(saved(columns, named))
    kind = options_class("classification")
    task = task_class("classification")(
        "classification", kind(validation_fraction=0.0), data
    )
    assert [e.answer for e in task.read("train")] == ["pos", "neg"]


def test_tags_of_saved_sets(saved):
    tags = {"names": ["O", "B-PER"], "_type": "ClassLabel"}
    named = features(ner_tags={"feature": tags, "_type": "Sequence"})
    columns = {"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 1], [0]]}
    data = str(saved(columns, named))
    kind = options_class("tagging")
    task = task_class("tagging")("tagging", kind(validation_fraction=0.0), data)
    assert [s.tags for s in task.read("train")] == [("O", "B-PER"), ("O",)]


def test_what_is_reported_of_files(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("only words\nand more, of them\n")
    with pytest.raises(
        UserError, match=r"format is not recognised.*options\.format"
    ):
        formats.detect(str(path))
    with pytest.raises(UserError, match="is a directory"):
        formats.detect(str(tmp_path))
    path.write_text("a^b\n1^2\n")
    found = list(records.read_records(str(path), delimiter="^"))
    assert found[0][0] == {"a": "1", "b": "2"}
    path = tmp_path / "one.tsv"
    path.write_text("text\nHello, world\nyes, no\n")
    assert [r["text"] for r, _ in records.read_records(str(path))] == [
        "Hello, world", "yes, no",
    ]  # fmt: skip


def test_several_references_of_a_translation():
    cls = task_class("translation")
    task = cls("translation", options_class("translation")())
    rows = [
        {"source": "a", "target": ["the cat sat on it", "a dog ran far away"]},
        {"source": "b", "target": "she saw the big house"},
    ]
    found = [pairs.pair(row, "f:1", task.options, True) for row in rows]
    assert (found[0].target, len(found[0].references)) == (
        "the cat sat on it", 2,
    )  # fmt: skip
    preds = [{"text": "a dog ran far away"}, {"text": "she saw the big house"}]
    assert task.scores(found, preds)["bleu"] == pytest.approx(100.0)
    with pytest.raises(UserError, match=r"expected a text in 'target\[1\]'"):
        row = {"source": "a", "target": ["x", 7]}
        pairs.pair(row, "f:1", task.options, True)


KAGGLE = (
    "Sentence #,Word,POS,Tag\nSentence: 1,EU,NNP,B-ORG\n,rejects,VBZ,O\n"
    'Sentence: 2,Peter,NNP,B-PER\n,",",",",O\n'
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.csv", KAGGLE),
        ("train.csv", "sentence_id;word;tag\n0;EU;B-ORG\n0;rejects;O\n"
         '1;Peter;B-PER\n1;",";O\n'),
        ("train.tsv", "sentence_id\ttoken\tlabel\n0\tEU\tB-ORG\n"
         "0\trejects\tO\n1\tPeter\tB-PER\n1\t,\tO\n"),
        ("train.csv", "id,tokens,ner_tags\n1,\"['EU', 'rejects']\","
         "\"['B-ORG', 'O']\"\n2,\"['Peter', ',']\",\"['B-PER', 'O']\"\n"),
        ("train.csv", "tokens,ner_tags\n\"['EU' 'rejects']\","
         "\"['B-ORG' 'O']\"\n\"['Peter' ',']\",\"['B-PER' 'O']\"\n"),
        ("train.csv", 'tokens,tags\n"[""EU"", ""rejects""]",'
         '"[""B-ORG"", ""O""]"\n"[""Peter"", "",""]","[""B-PER"", ""O""]"\n'),
        ("train.csv", "text,labels\nEU rejects,B-ORG O\n"
         '"Peter ,",B-PER O\n'),
        ("train.tsv", "text\tlabels\nEU rejects\tB-ORG O\n"
         "Peter ,\tB-PER O\n"),
    ],
)  # fmt: skip
def test_tags_of_tables(tmp_path, name, text):
    found = read(tmp_path, "tagging", name, text, {})
    assert [(s.tokens, s.tags) for s in found] == [
        (("EU", "rejects"), ("B-ORG", "O")),
        (("Peter", ","), ("B-PER", "O")),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokens,tags\n\"['a' ... 'b']\",O O\n", r"csv:2: tokens: expected J"),
        ("tokens,tags\na b,O\n", "csv:2: 2 words, and 1 tags"),
        ("sentence_id,word,tag\n1,,O\n", "csv:2: the word is empty"),
    ],
)
def test_damaged_tags_of_tables(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, "tagging", "train.csv", text, {})


def test_a_column_file_stays_one(tmp_path):
    text = "word\tO\ntag\tB-X\n\nsentence\tO\n"
    found = read(tmp_path, "tagging", "train.tsv", text, {})
    assert [s.tokens for s in found] == [("word", "tag"), ("sentence",)]


@pytest.mark.parametrize(
    "cells",
    [
        ("answers", '{"text": ["Bonn"], "answer_start": [0]}'),
        ("answers", "{'text': ['Bonn'], 'answer_start': [0]}"),
        ("answers", "{'text': array(['Bonn'], dtype=object), 'answer_start': "
         "array([0], dtype=int32)}"),
        ("answers", "[{'text': 'Bonn', 'answer_start': 0}]"),
        ("answer,answer_start", "Bonn", "0"),
        ("answer_start,answer_text", "0", "Bonn"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_questions_of_tables(tmp_path, cells, delimiter):
    names = ["id", "question", "context", *cells[0].split(",")]
    rows = [
        names,
        ["1", "Wo?", "Bonn am Rhein", *cells[1:]],
        ["2", "Wer?", "Bonn am Rhein", *("" for _ in cells[1:])],
    ]
    stream = io.StringIO()
    if delimiter == ",":
        csv.writer(stream).writerows(rows)
    else:
        stream.write("".join("\t".join(row) + "\n" for row in rows))
    name = "train.csv" if delimiter == "," else "train.tsv"
    known, empty = read(tmp_path, "squad", name, stream.getvalue(), {})
    assert (known.target, known.answer_start) == ("Bonn", 0)
    assert (known.impossible, empty.impossible) == (False, True)


def test_an_answer_without_its_place_is_refused(tmp_path):
    text = "question,context,answer\nWo?,Bonn am Rhein,Bonn\n"
    with pytest.raises(UserError, match=r"csv:2.*answer_start, the number of"):
        read(tmp_path, "squad", "train.csv", text, {})


# --- a split in several files --------------------------------------------


def test_shards_are_one_split(tmp_path):
    for split, count in (("train", 3), ("test", 1)):
        for number in range(count):
            name = f"{split}-{number:05d}-of-{count:05d}.csv"
            (tmp_path / name).write_text(
                f"text,label\n{split} {number},{'xy'[number % 2]}\n"
            )
    kind = options_class("classification")

    def task(data=tmp_path, **options):
        options = kind(validation_fraction=0.0, **options)
        return task_class("classification")(
            "classification", options, str(data)
        )

    found = task().read("train")
    assert [e.text for e in found] == ["train 0", "train 1", "train 2"]
    assert [e.text for e in task().read("test")] == ["test 0"]
    # A shard that is named is read alone.
    one = "train-00001-of-00003.csv"
    assert [e.text for e in task(train_file=one).read("train")] == ["train 1"]
    assert [e.text for e in task(tmp_path / one).read("train")] == ["train 1"]
    (tmp_path / one).unlink()
    with pytest.raises(UserError, match=r"one of 3 parts; .* 00001 is missing"):
        task().read("train")


def test_shards_as_hubs_have_them(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    (tmp_path / "README.md").write_text("text")
    (tmp_path / "data").mkdir()
    for number, name in enumerate(("6f3344faa23e9b0a", "05d0a76a1b2c3d4e")):
        path = tmp_path / f"data/train-{number:05d}-of-00002-{name}.parquet"
        row = {"text": [f"a {number}"], "label": [number]}
        parquet.write_table(pa.table(row), path)
    kind = options_class("classification")(validation_fraction=0.0)
    task = task_class("classification")("classification", kind, str(tmp_path))
    assert [(e.text, e.answer) for e in task.read("train")] == [
        ("a 0", "0"), ("a 1", "1"),
    ]  # fmt: skip
    assert task.read("test") is None


def test_shards_of_questions(tmp_path):
    for number in range(2):
        row = FLAT | {"id": str(number)}
        path = tmp_path / f"train-{number:05d}-of-00002.jsonl"
        path.write_text(json.dumps(row))
    kind = options_class("squad")(validation_fraction=0.0)
    task = task_class("squad")("squad", kind, str(tmp_path))
    assert [e.question_id for e in task.read("train")] == ["0", "1"]
    path.write_text(json.dumps(FLAT | {"id": "0"}))
    with pytest.raises(UserError, match="question id '0' comes twice"):
        task.read("train")
