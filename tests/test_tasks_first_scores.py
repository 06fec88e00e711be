"""Tests that files in the forms of public sets reach a first score.

As a new user would, each run sets at most one option beside a tiny network's
shape.
"""

# ruff: noqa: RUF001

import csv
import io
import json

import pytest

from electra_tf.cli import app
from electra_tf.text.vocab import SPECIALS

SHAPE = (
    "hidden_size=16", "embedding_size=16", "num_layers=1", "num_heads=2",
    "intermediate_size=32", "max_positions=512",
)  # fmt: skip
ROWS = 40  # of a training file; a quarter as many for validation
ZH = ("北京是中国的首都。", "首都是哪里？", "北京")
DE = ("Bonn liegt am Rhein.", "Was liegt am Rhein?", "Bonn")


def columns(lines, head=""):
    """Returns a function that writes `lines` `count` times after `head`."""
    return lambda count: head + "".join(f"{lines}\n" for _ in range(count))


def table(rows, delimiter, *header):
    def written(count):
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        writer.writerows(header)
        for number in range(count):
            row = rows[number % len(rows)]
            writer.writerow([cell.format(number) for cell in row])
        return stream.getvalue()

    return written


def lines(*rows):
    return lambda count: "".join(
        json.dumps(rows[i % len(rows)]).replace("{0}", str(i)) + "\n"
        for i in range(count)
    )


def squad(context, question, answer):
    def written(count):
        start = context.index(answer)
        answers = [{"text": answer, "answer_start": start}]
        paragraphs = [
            {"context": context, "qas": [
                {"id": str(i), "question": question, "answers": answers}
            ]}
            for i in range(count)
        ]  # fmt: skip
        return json.dumps({"version": "1", "data": [
            {"title": "t", "paragraphs": paragraphs}
        ]}, ensure_ascii=False)  # fmt: skip

    return written


CONLLU = "".join(
    f"{number}\t{word}\t{word}\t{tag}" + "\t_" * 6 + "\n"
    for number, word, tag in (
        ("1-2", "don't", "_"), ("1", "do", "AUX"), ("2", "n't", "PART"),
    )
)  # fmt: skip

# Name -> (task, training file, validation file, a function that returns the
# text of so many rows, an option, a metric that has to be reported).
FORMS = {
    "wnut17": (
        "tagging/wnut17", "wnut17train.conll", "emerging.dev.conll",
        columns("@paul\tO\nEmpire\tB-location\nState\tI-location\n"), "", "f1",
    ),
    "conll2003": (
        "tagging", "eng.train", "eng.testa",
        columns("EU NNP B-NP B-ORG\nsaid VBZ B-VP O\n",
                "-DOCSTART- -X- O O\n\n"), "", "f1",
    ),
    "msra": (
        "tagging", "msra_train.txt", "msra_dev.txt",
        columns("北 B-LOC\n京 M-LOC\n市 E-LOC\n的 O\n"), "", "f1",
    ),
    "germeval": (
        "tagging/germeval2014", "NER-de-train.tsv", "NER-de-dev.tsv",
        columns("#\thttp://x\t[2009]\n1\tUni\tB-ORG\tO\n2\tam\tO\tO\n"), "",
        "f1",
    ),
    "conllu": (
        "tagging", "de-ud-train.conllu", "de-ud-dev.conllu",
        columns(f"# sent_id = 1\n{CONLLU}"), "", "accuracy",
    ),
    "lcqmc": (
        "classification", "train.txt", "dev.txt",
        table([("喜欢球{}", "爱球", "1"), ("手机丢了{}", "觉得", "0")], "\t"),
        "options.columns=[text,text_pair,label]", "accuracy",
    ),
    "waimai": (
        "classification", "waimai_train.csv", "waimai_dev.csv",
        table([("1", "很快，好吃{}"), ("0", "太慢了{}")], ",",
              ("label", "review")), "", "accuracy",
    ),
    "toxic": (
        "classification", "train.csv", "dev.csv",
        table([("{}", 'you, "sir" {}', "1", "0"), ("{}", "hello", "0", "1")],
              ",", ("id", "comment_text", "toxic", "obscene")),
        "options.label_columns=[toxic,obscene]", "micro_f1",
    ),
    "xquad_zh": (
        "xquad/zh", "train-v1.1.json", "xquad.zh.json", squad(*ZH), "", "f1",
    ),
    "xquad_de": (
        "xquad/de", "train-v1.1.json", "xquad.de.json", squad(*DE), "", "f1",
    ),
    "cmrc": (
        "chinese_qa/cmrc2018", "cmrc2018_train.json", "cmrc2018_dev.json",
        squad(*ZH), "", "f1",
    ),
    "drcd": (
        "chinese_qa/drcd", "DRCD_training.json", "DRCD_dev.json", squad(*ZH),
        "", "f1",
    ),
    "dialogsum": (
        "abstractive_summarization", "dialogsum.train.jsonl",
        "dialogsum.dev.jsonl",
        lines({"fname": "{0}", "dialogue": "#P1#: Hi {0}.",
               "summary": "They meet."}),
        "options.source_column=dialogue", "rouge2",
    ),
    "translation": (
        "translation", "deu_train.txt", "deu_dev.txt",
        table([("Go {}.", "Geh {}.", "CC-BY"), ("Hi {}.", "Na {}.", "CC-BY")],
              "\t"),
        "options.columns=[source,target,licence]", "bleu",
    ),
    "kaggle": (
        "tagging", "ner_train.csv", "ner_dev.csv",
        table([("Sentence: {}", "EU", "NNP", "B-ORG"), ("", "said", "VB", "O")],
              ",", ("Sentence #", "Word", "POS", "Tag")), "", "f1",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    """Returns a vocabulary of all characters of the files: none is [UNK]."""
    letters = {c for f in FORMS.values() for c in f[3](ROWS)}
    letters |= {c.lower() for c in letters}
    letters = sorted(c for c in letters if not c.isspace())
    tokens = [*SPECIALS, *letters, *(f"##{c}" for c in letters)]
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in tokens), "utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_first_score(form, vocab, tmp_path, capfd):
    task, train, dev, written, option, metric = FORMS[form]
    data, output = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    (data / train).write_text(written(ROWS), "utf-8")
    (data / dev).write_text(written(ROWS // 4), "utf-8")
    words = [
        "finetune", f"--task={task}", f"--data={data}", f"--vocab={vocab}",
        f"--output={output}", "--num_trials=1",
        *(f"--set=model.{shape}" for shape in SHAPE),
        "--set=train.num_train_epochs=1", "--set=train.batch_size=16",
        *([f"--set={option}"] if option else ()),
    ]  # fmt: skip
    assert app.run(words) == 0, capfd.readouterr().err
    report = json.loads((output / "report.json").read_text("utf-8"))
    split = report["selected_on"] or "test"  # XQuAD's file is a test set
    words_a_row = form == "kaggle"  # two rows are a sentence
    examples = ROWS // 8 if words_a_row else ROWS // 4
    assert report["data"]["examples"][split] == examples
    assert 0 <= report["summary"][split][metric]["best"] <= 100
    assert report["data"]["unknown_percent"] == 0
