"""Tests predictions of fine-tuned models of any format, and their files."""

import csv
import dataclasses
import datetime
import decimal
import gzip
import json
import math
import os
import pathlib
import shutil

import fine_tuned_models
import numpy as np
import pytest
import serving_models
import word_task
from finetune_command import SHAPE, TASK

import electra_tf
from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.hub import directory, loading
from electra_tf.models import task_networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction import (
    marked_names,
    predictor,
    resumable,
    row_answers,
)
from electra_tf.recipes.predict import predict
from electra_tf.tasks import formats, records
from electra_tf.text.vocab import load_vocab

HEAD = TaskHeadConfig("sequence", 2, ("animal", "thing"), hidden_layer=True)


def save(path, vocab_file, head=HEAD, task=TASK, state=None, options=None):
    """Saves a model with random weights as if it were fine-tuned."""
    vocab = load_vocab(vocab_file)
    config = ModelConfig(vocab_size=len(vocab), **SHAPE)
    network = task_networks.task_network(config, head)
    network.build()
    about = None
    if task is not None:
        about = fine_tuned_models.about(
            task,
            {"hidden_layer": head.hidden_layer} | (options or {}),
            state or {"labels": ["animal", "thing"]},
        )
    return fine_tuned_models.save(path, network, vocab, about)


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_vocab_file):
    return save(tmp_path_factory.mktemp("m") / "run" / "model", tiny_vocab_file)


@pytest.fixture(scope="module")
def loaded(model):
    return electra_tf.load(model)


@pytest.mark.parametrize(
    "item", ["an emoji \ud83d cut", {"text": "\udc00"}, ["ok", "b \ud83d"]]
)
def test_half_characters_are_reported_by_their_item(loaded, item):
    with pytest.raises(UserError, match=r"item 2: .*half of a surrogate pair"):
        loaded.predict(["fine", item])


def test_half_characters_of_a_programs_rows_are_one_error(loaded):
    found = row_answers.RowAnswers(loaded).answer_elements(
        ["fine", {"text": "an emoji \ud83d cut", "id": 2}, "good"]
    )
    assert [set(row) for row in found[::2]] == [
        {"text", "label", "probabilities"}
    ] * 2
    assert set(found[1]) == {"text", "id", "error"}
    assert "character 10 is half of a surrogate pair" in found[1]["error"]


def test_it_predicts_for_lists(loaded, model):
    texts = ["the cat sat", "a house", "", "not that " * 30]
    answers = loaded.predict(texts[:2] + texts[3:])
    assert [set(a) for a in answers] == [{"label", "probabilities"}] * 3
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        best = max(answer["probabilities"], key=answer["probabilities"].get)
        assert answer["label"] == best
    assert (
        loaded.predict([{"text": "a house"}])[0]["label"]
        == (answers[1]["label"])
    )
    assert loaded.predict([]) == []
    # The run directory can be given instead of the model directory.
    again = electra_tf.load(os.path.dirname(model))
    assert again.predict(texts[:2] + texts[3:]) == answers
    with pytest.raises(UserError, match="item 3: the text is empty"):
        loaded.predict(texts)
    with pytest.raises(UserError, match="item 2: expected a text, a pair"):
        loaded.predict(["a", 7])
    with pytest.raises(UserError, match=r"options.max_seq_length: a row has"):
        options = word_task.WordOptions(max_seq_length=99, hidden_layer=True)
        electra_tf.load(model, options=options).predict(texts[3:])
    with pytest.raises(UserError, match="expected a list"):
        loaded.predict("the cat")


def test_answers_are_the_networks(loaded):
    batch = loaded.tokenizer.encode(["the cat sat"])
    logits = loaded.network(**batch).logits.numpy()[0]
    shares = np.exp(logits) / np.exp(logits).sum()
    (answer,) = loaded.predict(["the cat sat"])
    np.testing.assert_allclose(
        list(answer["probabilities"].values()), shares, rtol=1e-5
    )


def test_evaluate(loaded, tmp_path):
    data = word_task.write_data(tmp_path / "d", 10, 20, 0)
    task = type(loaded.task)(TASK, loaded.task.options, data, loaded.task.state)
    examples = task.read("validation")
    scores, answers = loaded.evaluate(examples)
    right = [e.label == a["label"] for e, a in zip(examples, answers)]
    assert scores == {"accuracy": pytest.approx(100 * np.mean(right))}


@pytest.mark.parametrize("format", ["huggingface", "electra_tf"])
def test_other_formats_keep_the_answers(model, loaded, tmp_path, format):
    """Our format also stores the task; others store the head and its labels."""
    there = str(tmp_path / "there")
    loading.format_module(format).write(
        there, loading.open_checkpoint(model), "discriminator"
    )
    found = electra_tf.load(there)
    answers = loaded.predict(["the cat", "a house of cards"])
    for ours, theirs in zip(
        answers, found.predict(["the cat", "a house of cards"])
    ):
        assert ours["label"] == theirs["label"]
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"])
    kept = found.directory_config.fine_tuning
    assert (kept is not None) == (format == "electra_tf")
    # Converted back to our format.
    back = str(tmp_path / "back")
    loading.format_module("electra_tf").write(
        back, loading.open_checkpoint(there), "discriminator"
    )
    assert (
        electra_tf.load(back).predict(["the cat"])[0]["label"]
        == (answers[0]["label"])
    )
    assert directory.load_config(back).fine_tuning == kept


@pytest.mark.parametrize(
    ("head", "item", "keys"),
    [
        (TaskHeadConfig("sequence", 3), "the cat", {"label", "probabilities"}),
        (TaskHeadConfig("sequence", 1), "the cat", {"score"}),
        (TaskHeadConfig("token", 3, ("O", "B-x", "I-x")), "the cat sat",
         {"tokens", "tags", "entities"}),
        (TaskHeadConfig("token", 2), "the cat sat", {"tokens", "tags"}),
        (TaskHeadConfig("span"), ("who sat", "the cat sat"),
         {"answer", "start", "end", "score"}),
        (TaskHeadConfig("joint_span", beam_size=3, answerable=True),
         ("who sat", "the cat sat"), {"answer", "null_odds"}),
    ],
)  # fmt: skip
def test_a_head_alone_determines_the_task(
    tmp_path, tiny_vocab_file, head, item, keys
):
    path = save(tmp_path / "m", tiny_vocab_file, head, task=None)
    options = {}
    if "span" in head.kind:
        from electra_tf.tasks.qa.task import QAOptions

        options["options"] = QAOptions(
            max_seq_length=32, doc_stride=8, max_query_length=8,
            head="joint" if head.kind == "joint_span" else "independent",
            answerability="head" if head.answerable else "first_token",
        )  # fmt: skip
    (answer,) = electra_tf.load(path, **options).predict([item])
    assert keys <= set(answer)
    if head.kind == "token":  # as other frameworks: each word's best tag
        assert not electra_tf.load(path).task.options.constrained
    if "probabilities" in keys:
        assert list(answer["probabilities"]) == [
            "LABEL_0",
            "LABEL_1",
            "LABEL_2",
        ]


def test_the_beam_of_a_joint_head_is_as_wide_as_asked(
    tmp_path, tiny_vocab_file
):
    vocab = load_vocab(tiny_vocab_file)
    network = task_networks.task_network(
        ModelConfig(vocab_size=len(vocab), **SHAPE),
        TaskHeadConfig("joint_span", beam_size=5, dropout=0.0),
    )
    network.build()
    about = fine_tuned_models.about(
        "squad",
        {"beam_size": 5, "max_seq_length": 32, "max_query_length": 8},
        {"unanswerable": False},
    )
    path = fine_tuned_models.save(tmp_path / "m", network, vocab, about)
    for given, size in (
        ({}, 5), ({"options": {"beam_size": 2}}, 2),
        ({"overrides": ["options.beam_size=7"]}, 7),
    ):  # fmt: skip
        found = electra_tf.load(path, **given)
        assert found.network.head_config.beam_size == size
        ids = np.ones([1, 12], "int32")
        found = found.task.infer(found.network, ids, ids, ids)
        assert found["starts"].shape == (1, size)
        assert found["ends"].shape == (1, size, size)


def test_mistakes_are_reported(tmp_path, tiny_vocab_file, model):
    with pytest.raises(UserError, match="no such model directory"):
        electra_tf.load(str(tmp_path / "none"))
    vocab = load_vocab(tiny_vocab_file)
    config = directory.load_config(model)
    plain = dataclasses.replace(config, task=None, fine_tuning=None)
    network = electra_tf.Encoder.from_pretrained(model)
    directory.save(str(tmp_path / "plain"), plain, [network], vocab)
    for call in (electra_tf.load, predictor.fine_tuning_of):
        with pytest.raises(UserError, match="has no task head; expected a"):
            call(str(tmp_path / "plain"))
    other = save(
        tmp_path / "other", tiny_vocab_file, TaskHeadConfig("token", 2),
        task=None,
    )  # fmt: skip
    with pytest.raises(UserError, match="is a model of tagging, with which"):
        electra_tf.load(other, task=TASK)
    three = save(
        tmp_path / "three", tiny_vocab_file, HEAD,
        state={"labels": ["animal", "plant", "thing"]},
    )  # fmt: skip
    with pytest.raises(UserError, match="num_labels 2 there, 3 needed"):
        electra_tf.load(three)
    strange = save(tmp_path / "s", tiny_vocab_file, options={"colour": 1})
    with pytest.raises(UserError, match="options do not fit the task"):
        electra_tf.load(strange)
    gone = save(tmp_path / "g", tiny_vocab_file, task="nowhere/task.py:Task")
    with pytest.raises(UserError, match="no such file as nowhere"):
        electra_tf.load(gone)


def test_a_run_of_several_models_names_them(tmp_path, tiny_vocab_file):
    for name in ("a", "b"):
        save(tmp_path / "run" / "model" / name, tiny_vocab_file)
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"several models; name one: .*model/b"):
        electra_tf.load(str(tmp_path / "run"))
    found = electra_tf.load(str(tmp_path / "run" / "model" / "b"))
    assert found.predict(["the cat"])


# --- files of answers --------------------------------------------------------

ROWS = "id\ttext\tlabel\n1\tthe cat is in\tx\n2\n3\t\ty\n4\tthat house\tz\n"


def write(path, text=ROWS):
    path.write_text(text, encoding="utf-8")
    return str(path)


def read_jsonl(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def test_rows_repeat_the_input_and_bad_rows_do_not_stop_the_file(
    loaded, tmp_path
):
    source = write(tmp_path / "in.tsv")
    target = str(tmp_path / "out.jsonl")
    done = row_answers.predict_file(loaded, source, target)
    first, second, third, fourth = read_jsonl(target)
    (answer,) = loaded.predict(["the cat is in"])
    assert first == {
        "id": "1", "text": "the cat is in", "label": "x",
        "predicted_label": answer["label"],
        "probabilities": pytest.approx(answer["probabilities"]),
    }  # fmt: skip
    assert second == {
        "id": "2",
        "error": f"{source}:3: 1 columns, expected 3: id, text, label",
    }
    assert third["error"] == f"{source}:4: the text is empty"
    assert fourth["id"] == "4" and "error" not in fourth
    assert (done.rows, done.errors) == (4, 2)
    assert done.first_error == second["error"]
    assert not os.path.exists(f"{target}.partial")


@pytest.mark.parametrize("bad", ['"\\ud83d"', '["\\ud83d"]', "5"])
def test_a_bad_element_of_a_json_array_is_an_error_in_its_row(
    loaded, tmp_path, bad
):
    """A half character within a list, which is repeated, ended the file."""
    source, target = str(tmp_path / "in.json"), str(tmp_path / "out.jsonl")
    bad = bad if bad == "5" else f'{{"text": "a cat", "more": {bad}}}'
    with open(source, "w") as file:
        file.write(f'[{{"text": "a cat"}}, {bad}, {{"text": "a dog"}}]')
    done = row_answers.predict_file(loaded, source, target)
    assert (done.rows, done.errors) == (3, 1)
    one, two, three = read_jsonl(target)
    assert "error" not in one | three and three["text"] == "a dog"
    assert two == {"error": done.first_error}
    assert done.first_error.startswith(f"{source}:[1]: ")


@pytest.mark.parametrize("ending", ["jsonl", "tsv"])
def test_a_prediction_never_has_the_name_of_a_column(loaded, tmp_path, ending):
    """Of any row: a column has labels of one kind, and a table each once."""
    source = str(tmp_path / "in.jsonl")
    rows = [
        {"text": "the cat"},  # no label: still predicted_..., as in the others
        {"text": "a dog", "label": "x", "predicted_label": "mine"},
        {"text": "", "label": "y", "error": "none"},
    ]
    prediction_files.write_jsonl(source, rows)
    target = str(tmp_path / f"out.{ending}")
    row_answers.predict_file(loaded, source, target)
    found = [row for row, _ in records.read_records(target)]
    given = ("label", "predicted_label", "error")
    for row, before in zip(found, rows):
        assert all((row.get(n) or "") == before.get(n, "") for n in given)
    named = [row.get("predicted_predicted_label") for row in found]
    answers = loaded.predict(["the cat", "a dog"])
    assert named[:2] == [answer["label"] for answer in answers]
    assert not named[2] and "the text is empty" in found[2]["predicted_error"]
    if ending == "tsv":
        assert list(found[0]) == [
            "text", *given, "predicted_predicted_label", "probabilities",
            "predicted_error",
        ]  # fmt: skip
    # What predict wrote can be predicted again.
    again = str(tmp_path / f"again.{ending}")
    row_answers.predict_file(loaded, target, again)
    third = "predicted_predicted_predicted_label"
    last = [row.get(third) for row, _ in records.read_records(again)]
    assert last[:2] == named[:2]


def test_parts_of_an_earlier_version_are_marked(tmp_path):
    """Their rows had the names of the output, chosen for each row alone."""
    head = {"rows": 3, "inputs": ["text", "label"]}
    head["outputs"] = ["label", "predicted_label", "error"]
    rows = [
        {"text": "a\u2028b", "label": "predicted"},
        {"text": "c", "label": "x", "predicted_label": "y"},
        {"text": "", "label": "z", "error": "empty"},
    ]
    part = tmp_path / "part-000000.jsonl"
    lines = [json.dumps(each, ensure_ascii=False) for each in (head, *rows)]
    part.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    (tmp_path / "about.json").write_text("{}")
    wanted = [
        {"=text": "a\u2028b", "+label": "predicted"},
        {"=text": "c", "=label": "x", "+label": "y"},
        {"=text": "", "=label": "z", "+error": "empty"},
    ]
    for _ in range(2):  # the second time it changes nothing
        marked_names.renew(str(tmp_path))
        first, *found = part.read_text("utf-8").split("\n")[:-1]
        assert list(map(json.loads, found)) == wanted
        assert json.loads(first) == {
            "rows": 3, "inputs": ["=text", "=label"],
            "outputs": ["+label", "+error"],
        }  # fmt: skip
        (tmp_path / "about.json").write_text("{}")


@pytest.mark.parametrize("ending", ["tsv", "csv", "csv.gz"])
def test_tables(loaded, tmp_path, ending):
    source = str(tmp_path / "in.jsonl")
    texts = ["the\tcat", 'a "house", and\nmore', "dog"]
    prediction_files.write_jsonl(
        source,
        [{"text": t, "n": i, "more": {"a": [i]}} for i, t in enumerate(texts)]
        + [{"n": 7, "late": None}],
    )
    target = str(tmp_path / f"out.{ending}")
    row_answers.predict_file(loaded, source, target)
    content = files.read_bytes(target)
    if ending.endswith("gz"):
        content = gzip.decompress(content)
    lines = content.decode().splitlines(keepends=True)
    if ending == "tsv":
        rows = [line.rstrip("\n").split("\t") for line in lines]
        texts = ["the cat", 'a "house", and more', "dog"]
    else:
        rows = list(csv.reader(lines))
    assert rows[0] == [
        "text", "n", "more", "late", "label", "probabilities", "error",
    ]  # fmt: skip
    assert [row[0] for row in rows[1:4]] == texts
    assert [row[1] for row in rows[1:]] == ["0", "1", "2", "7"]
    assert json.loads(rows[2][2]) == {"a": [1]}
    assert json.loads(rows[1][5]).keys() == {"animal", "thing"}
    assert rows[1][-1] == "" and "no column 'text'" in rows[4][-1]


def test_a_carriage_return_ends_no_row_of_csv(loaded, tmp_path):
    texts = ["the cat\rsat", "a\r", "the dog\r\nran", "the\nhouse"]
    source, target = str(tmp_path / "in.jsonl"), str(tmp_path / "out.csv")
    prediction_files.write_jsonl(source, [{"text": text} for text in texts])
    row_answers.predict_file(loaded, source, target)
    with open(target, encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["text"] for row in found] == texts
    labels = [answer["label"] for answer in loaded.predict(texts)]
    assert [row["label"] for row in found] == labels
    assert [row["text"] for row, _ in records.read_records(target)] == texts
    header = pathlib.Path(target).read_bytes().split(b"\n")[0]
    assert header == b"text,label,probabilities,error"  # rows end in \n alone


def test_columns_to_keep(loaded, tmp_path):
    source, target = write(tmp_path / "in.tsv"), str(tmp_path / "o.jsonl")
    row_answers.predict_file(loaded, source, target, keep=["id"])
    assert list(read_jsonl(target)[0]) == ["id", "label", "probabilities"]
    with pytest.raises(UserError, match=r"--keep: .* no column 'idd'"):
        row_answers.predict_file(loaded, source, target, keep=["idd"])


def test_rows_that_the_task_refuses_late_have_errors(model, tmp_path):
    options = word_task.WordOptions(refused="mat", hidden_layer=True)
    found = electra_tf.load(model, options=options)
    lines = [f"{i}\ta {'mat' if i in (3, 11) else 'dog'}" for i in range(20)]
    source = write(tmp_path / "in.tsv", "id\ttext\n" + "\n".join(lines))
    target = str(tmp_path / "o.jsonl")
    done = row_answers.predict_file(found, source, target)
    bad = {r["id"]: r["error"] for r in read_jsonl(target) if "error" in r}
    assert set(bad) == {"3", "11"} and bad["3"] == f"{source}:5: refused"
    assert (done.rows, done.errors) == (20, 2)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Returns a file of ten parts of four rows, predicted in chunks of two."""
    monkeypatch.setattr(predictor, "_MANY", 2)
    monkeypatch.setattr(resumable, "PART_ROWS", 4)
    lines = [f"{i}\tthe {'cat' if i % 3 else 'house'} {i}" for i in range(39)]
    return write(tmp_path / "in.tsv", "id\ttext\n" + "\n".join(lines) + "\n")


def killed_after(parts, monkeypatch):
    """Lets `predict_file` die before part number `parts` is written."""

    write_text = files.write_text

    def write_or_die(path, text):
        if path.endswith(f"part-{parts:06d}.jsonl"):
            # Like a kill in the middle of writing, leave a temporary file.
            write_text(f"{path}.tmp-1", "{")
            raise Killed
        write_text(path, text)

    monkeypatch.setattr(files, "write_text", write_or_die)


@pytest.mark.parametrize("parts", [0, 1, 7, 9])
@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_killed_run_resumes_to_the_same_bytes(
    model, many, tmp_path, monkeypatch, parts, ending
):
    loaded = electra_tf.load(model)
    whole, target = str(tmp_path / f"w.{ending}"), str(tmp_path / f"t.{ending}")
    row_answers.predict_file(loaded, many, whole)
    with monkeypatch.context() as patch:
        killed_after(parts, patch)
        with pytest.raises(Killed):
            row_answers.predict_file(loaded, many, target)
    assert not os.path.exists(target)
    predicted, notes, seen = [], [], []
    answer = predictor.Predictor.answer
    monkeypatch.setattr(
        predictor.Predictor, "answer",
        lambda self, e: predicted.extend(e) or answer(self, e),
    )  # fmt: skip
    done = row_answers.predict_file(
        electra_tf.load(model), many, target, note=notes.append,
        progress=lambda rows, taken: seen.append(rows),
    )  # fmt: skip
    assert done.rows == 39 and len(predicted) == 39 - 4 * parts
    assert seen[0] == 4 * parts and seen[-1] == 39
    assert bool(notes) == bool(parts)
    assert files.read_bytes(target) == files.read_bytes(whole)
    assert not os.path.exists(f"{target}.partial")


@pytest.mark.parametrize("first", [{"int8": True}, {}])
def test_runs_differ_by_settings_that_only_one_has(tmp_path, first):
    partial, notes = str(tmp_path / "o.partial"), []
    other = {} if first else {"int8": True}
    assert not resumable.begin(partial, {"task": "t"} | first)
    assert resumable.begin(partial, {"task": "t"} | first)
    assert not resumable.begin(partial, {"task": "t"} | other, notes.append)
    assert "was started with another int8; starting again" in notes[0]


def test_one_process_works_on_an_output(model, many, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    loaded, target = electra_tf.load(model), tmp_path / "t.jsonl"
    partial = tmp_path / "t.jsonl.partial"
    partial.mkdir()
    other = os.open(partial, os.O_RDONLY)  # a lock has no process, but a file
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another process"):
        row_answers.predict_file(loaded, many, str(target))
    assert list(partial.iterdir()) == [] and not target.exists()
    os.close(other)
    assert row_answers.predict_file(loaded, many, str(target)).rows == 39
    assert not partial.exists()
    # It is let go after a failure too.
    killed_after(3, monkeypatch)
    with pytest.raises(Killed):
        row_answers.predict_file(loaded, many, str(target))
    other = os.open(partial, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_columns_to_keep_may_come_late_and_after_bad_rows(model, tmp_path):
    rows = ["nonsense", '{"text": "a"}', '{"text": "b", "id": 7}']
    source = write(tmp_path / "in.jsonl", "\n".join(rows))
    target = tmp_path / "out.jsonl"
    loaded = electra_tf.load(model)
    row_answers.predict_file(loaded, source, str(target), keep=["id"])
    found = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row.get("id") for row in found] == [None, None, 7]
    assert ["error" in row for row in found] == [True, False, False]
    with pytest.raises(UserError, match="no column 'ix'; there are text, id"):
        row_answers.predict_file(loaded, source, "x.jsonl", keep=["ix"])


def test_flags_without_an_effect_are_refused(model, tmp_path):
    rows = write(tmp_path / "in.jsonl", '{"text": "a"}\n')
    table = write(tmp_path / "in.csv", "a,b\nc,d\n")
    for source, options, message in (
        (rows, {"columns": "text"}, "--columns: is for tables without a head"),
        (table, {"columns": ""}, "--columns: names none"),
        (table, {"columns": "text,text"}, "in.csv: its columns are named 'tex"),
        (rows, {"delimiter": ";"}, "--delimiter: is for CSV; .* as jsonl"),
        (table, {"delimiter": ";", "format": "tsv"}, "--delimiter: is for CSV"),
        (table, {"num_workers": 2}, "--num_workers=2: only with --runner=beam"),
        (table, {"beam_args": "--x"}, "--beam_args=--x: only with --runner"),
        (table, {"rows_per_shard": 9}, "--rows_per_shard=9: only with"),
    ):
        with pytest.raises(UserError, match=message):
            predict(model, source, str(tmp_path / "x.jsonl"), **options)
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "in.csv"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("columns", ["label", "text"]), ("delimiter", ";"), ("format", "csv")],
)
def test_options_of_the_data_do_not_read_the_input(
    tmp_path, tiny_vocab_file, name, value
):
    """They had no effect: without a header a row was taken for one."""
    model = serving_models.fine_tuned(
        tmp_path / "model", tiny_vocab_file, "classification"
    )
    source = str(tmp_path / "rows.tsv")
    with open(source, "w") as file:
        file.write("1\tthe cat\n2\ta dog\n")
    target = str(tmp_path / "out.jsonl")
    for given in (
        {"overrides": {f"options.{name}": value}},
        {"overrides": [f"options.{name}={json.dumps(value)}"]},
        {"options": {name: value}},
    ):
        with pytest.raises(UserError, match="so give that") as error:
            electra_tf.predict(model, source, target, **given)
        assert f"--{name}" in str(error.value)
    assert not os.path.exists(target)
    done = electra_tf.predict(model, source, target)
    assert "(predict: --columns)" in done.first_error
    done = electra_tf.predict(
        model, source, target, columns="id,text", overwrite=True
    )
    assert (done.rows, done.errors) == (2, 0)


def test_a_failed_start_leaves_nothing(model, tmp_path):
    empty = write(tmp_path / "empty.jsonl", "")
    with pytest.raises(UserError, match="holds no rows"):
        predict(model, empty, str(tmp_path / "x.jsonl"))
    assert [path.name for path in tmp_path.iterdir()] == ["empty.jsonl"]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_columns_of_any_type_are_repeated(model, tmp_path, ending):
    pa = pytest.importorskip("pyarrow")
    values = {
        "text": "the cat",
        "day": datetime.date(2020, 1, 2),
        "at": datetime.datetime(2020, 1, 2, 3, 4, 5),
        "zone": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
        "hour": datetime.time(3, 4),
        "took": datetime.timedelta(hours=1),
        "price": decimal.Decimal("1.50"),
        "data": b"caf\xc3\xa9",
        "picture": {"bytes": b"\xff", "days": [datetime.date(2020, 1, 2)]},
    }
    table = pa.table({name: [value, None] for name, value in values.items()})
    source, target = tmp_path / f"in.{ending}", tmp_path / "out.csv"
    if ending == "parquet":
        pytest.importorskip("pyarrow.parquet").write_table(table, source)
    else:
        with pa.ipc.new_file(str(source), table.schema) as writer:
            writer.write_table(table)
    row_answers.predict_file(electra_tf.load(model), str(source), str(target))
    with open(target, encoding="utf-8", newline="") as lines:
        first, second = csv.DictReader(lines)
    assert {name: first[name] for name in values} == {
        "text": "the cat",
        "day": "2020-01-02",
        "at": "2020-01-02T03:04:05",
        "zone": "2020-01-02T00:00:00+00:00",
        "hour": "03:04:00",
        "took": "1:00:00",
        "price": "1.50",
        "data": "caf\u00e9",
        "picture": '{"bytes": {"b64": "/w=="}, "days": ["2020-01-02"]}',
    }
    assert "is empty" in second["error"] and second["day"] == ""


def test_numbers_that_json_lacks_are_null(model, tmp_path):
    """NaN is no JSON: readers other than Python's refuse such a line."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    numbers = {"x": [math.nan, 1.5], "y": [[math.inf, 2.0], None]}
    source, target = tmp_path / "in.parquet", tmp_path / "out.jsonl"
    parquet.write_table(pa.table({"text": ["a", "b"]} | numbers), source)
    row_answers.predict_file(electra_tf.load(model), str(source), str(target))
    first, second = (
        json.loads(line, parse_constant=pytest.fail)
        for line in target.read_text().splitlines()
    )
    assert (first["x"], first["y"]) == (None, [None, 2.0])
    assert (second["x"], second["y"]) == (1.5, None)
    assert prediction_files.dumps(np.array([np.nan, 1])) == "[null, 1.0]"


def test_times_that_python_cannot_hold_are_texts(tmp_path):
    pa = pytest.importorskip("pyarrow")
    nanoseconds = pa.array([1577934245000000001], pa.timestamp("ns"))
    table = pa.table(
        {
            "text": ["a"],
            "at": nanoseconds,
            "late": pa.array([10**7], pa.date32()),
            "took": pa.array([1], pa.duration("ns")),
        }
    )
    source = str(tmp_path / "in.arrow")
    with pa.ipc.new_file(source, table.schema) as writer:
        writer.write_table(table)
    ((row, _),) = records.read_records(source)
    assert row["at"] == "2020-01-02 03:04:05.000000001"
    assert row["late"].endswith("29349-01-26") and row["took"] == 1
    nested = pa.table(
        {"text": ["a"], "at": pa.array([[1]], pa.list_(nanoseconds.type))}
    )
    with pa.ipc.new_file(source, nested.schema) as writer:
        writer.write_table(nested)
    with pytest.raises(UserError, match=r"in\.arrow: Nanosecond"):
        list(records.read_records(source))


def test_a_column_called_error_is_written_once(model, tmp_path):
    source, target = tmp_path / "rows.tsv", tmp_path / "found.tsv"
    source.write_text("text\terror\nthe cat\tnone yet\n")
    row_answers.predict_file(electra_tf.load(model), str(source), str(target))
    head, row = target.read_text().splitlines()
    names = head.split("\t")
    assert names.count("error") == 1
    assert dict(zip(names, row.split("\t")))["error"] == "none yet"


def test_parts_of_something_else_are_not_taken(
    model, many, tmp_path, tiny_vocab_file, monkeypatch
):
    loaded, target = electra_tf.load(model), str(tmp_path / "t.jsonl")

    def begin():
        with monkeypatch.context() as patch:
            killed_after(3, patch)
            with pytest.raises(Killed):
                row_answers.predict_file(loaded, many, target)

    def first_note(chosen, source=many, **options):
        notes = []
        row_answers.predict_file(
            chosen, source, target, note=notes.append, **options
        )
        return notes[0]

    begin()
    assert "resuming after 12 rows" in first_note(loaded)
    begin()
    assert "another columns to keep" in first_note(loaded, keep=["id"])
    begin()
    with monkeypatch.context() as patch:
        patch.setattr(loaded, "engine", "litert")
        patch.setattr(loaded.tokenizer, "lower_case", False)
        assert "another lower_case, engine;" in first_note(loaded)
    # As an earlier version began it, which did not store these.
    begin()
    about = pathlib.Path(f"{target}.partial/about.json")
    stored = json.loads(about.read_text())
    for key in ("vocabulary", "lower_case", "strip_accents", "engine"):
        del stored[key]
    about.write_text(json.dumps(stored))
    assert "resuming after 12 rows" in first_note(loaded)
    begin()
    os.utime(many, (1, 1))
    assert "another time of the input; starting again" in first_note(loaded)
    begin()
    other = electra_tf.load(save(tmp_path / "other", tiny_vocab_file))
    assert "another weights" in first_note(other)
    begin()
    options = word_task.WordOptions(max_seq_length=5, hidden_layer=True)
    assert "another options" in first_note(
        electra_tf.load(model, options=options)
    )
    begin()
    shutil.copy(many, tmp_path / "copy.tsv")
    assert "another input" in first_note(loaded, str(tmp_path / "copy.tsv"))
    # A directory with a user's files is not removed.
    os.mkdir(f"{target}.partial")
    (tmp_path / "t.jsonl.partial" / "mine").write_text("")
    with pytest.raises(UserError, match="is in the way"):
        row_answers.predict_file(loaded, many, target)


def test_a_full_disk_is_reported_and_nothing_is_lost(
    loaded, tmp_path, monkeypatch
):
    """Finished parts stay on disk, and a later run resumes after them."""
    import errno

    source, target = write(tmp_path / "in.tsv"), str(tmp_path / "o.jsonl")
    write_rows = prediction_files.write_rows

    def full(**arguments):
        with files.named_errors(target, "write"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prediction_files, "write_rows", full)
    with pytest.raises(UserError, match=r"cannot write .*o.jsonl: No space"):
        row_answers.predict_file(loaded, source, target)
    monkeypatch.setattr(prediction_files, "write_rows", write_rows)
    assert not os.path.exists(target)
    notes = []
    done = row_answers.predict_file(loaded, source, target, note=notes.append)
    assert done.rows == 4 and "resuming after 4 rows" in notes[0]


def test_rows_that_were_read_in_another_way_are_not_used(
    loaded, tmp_path, monkeypatch
):
    source = write(tmp_path / "in.csv", "id,x;text\n1,a;the cat\n")
    target, notes = str(tmp_path / "o.jsonl"), []

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prediction_files, "write_rows", stopped)
        with pytest.raises(KeyboardInterrupt):
            row_answers.predict_file(loaded, source, target)
    row_answers.predict_file(
        loaded, source, target,
        layout=formats.Layout("csv", ";"), note=notes.append,
    )  # fmt: skip
    assert "started with another layout" in notes[0]
    (row,) = read_jsonl(target)
    assert row["id,x"] == "1,a" and row["text"] == "the cat"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("o.txt", "expected a name"),
        ("o.tsv.xz", "only .gz"),
        ("o.tsv.bz2", "only .gz"),
        ("o.csv.GZ", "only .gz"),
    ],
)
def test_wrong_outputs(loaded, tmp_path, name, message):
    source = write(tmp_path / "in.tsv")
    with pytest.raises(UserError, match=message):
        row_answers.predict_file(loaded, source, str(tmp_path / name))


# --- whole splits ------------------------------------------------------------


def test_splits(model, tmp_path):
    data = word_task.write_data(tmp_path / "d", 10, 20, 5)
    found = electra_tf.load(model, data=data)
    scores = predictor.evaluate(found, predictions=str(tmp_path / "p"))
    assert set(scores) == {"validation"}
    assert len(read_jsonl(tmp_path / "p/validation/predictions.jsonl")) == 20
    assert (tmp_path / "p/validation/validation.txt").exists()
    scores = predictor.evaluate(found, ["test", "train"])
    assert set(scores) == {"test", "train"}
    with pytest.raises(UserError, match=r"found no split dev in .*; its s"):
        predictor.evaluate(found, ["test", "dev"])
    with pytest.raises(
        UserError, match=r"did you mean 'test'\? its splits are train, valida"
    ):
        predictor.evaluate(found, ["tset"])
    only = word_task.write_data(tmp_path / "t", 0, 0, 5)
    assert set(predictor.evaluate(electra_tf.load(model, data=only))) == {
        "test"
    }
    (tmp_path / "t" / "test.tsv").write_text("text\tlabel\nthe cat\t\n")
    with pytest.raises(UserError, match="test: has no answers to score"):
        predictor.evaluate(electra_tf.load(model, data=only))
    found = electra_tf.evaluate(
        model, data=only, split=["test"], predictions=str(tmp_path / "q")
    )
    assert found.metrics == {"test": {}}
    assert str(found) == "test: no scores, as its examples have no labels"
    assert (tmp_path / "q/test/predictions.jsonl").exists()
    with pytest.raises(UserError, match="found no split of validation or te"):
        predictor.evaluate(electra_tf.load(model, data=str(tmp_path / "no")))


def test_the_share_of_unknown_tokens_is_counted(model):
    loaded = electra_tf.load(model)
    loaded.predict(["the cat sat"])
    assert loaded.unknown.percent == 0.0 and loaded.unknown.total > 0
    loaded.predict(["这家店很好"])
    found = loaded.unknown
    assert found.unknown == 5 and found.notable and "(CJK)" in str(found)


@pytest.mark.parametrize("kind", ["multilabel"])
def test_a_row_has_one_answer_whatever_it_is_beside(
    kind, tmp_path, tiny_vocab_file
):
    """Predictions are equal to the last digit however rows are batched."""
    path = serving_models.fine_tuned(
        str(tmp_path / "model"), tiny_vocab_file, kind
    )
    found = electra_tf.load(path)
    texts = [f"the cat sat {'on a mat ' * (i % 5)}{i}" for i in range(29)]
    rows = [({"text": text}, text) for text in texts]
    together = found.predict_rows(rows)
    for size in (1, 2, 5):
        apart = [
            answer
            for start in range(0, len(texts), size)
            for answer in found.predict_rows(rows[start : start + size])
        ]
        assert apart == together


def test_no_rows_are_added_to_a_few_texts(loaded, monkeypatch):
    """Added rows would double the time of one sentence."""
    sizes = []
    forward = loaded._inference._forward
    monkeypatch.setattr(
        loaded._inference,
        "_forward",
        lambda *arrays: sizes.append(len(arrays[0])) or forward(*arrays),
    )
    loaded.predict(["the cat"])
    loaded.predict(["the cat"] * 20)
    loaded.predict_rows([({"text": "the cat"}, "row 1")])
    assert sizes == [1, 32, 16]


@pytest.mark.parametrize(
    "content", [b"text,label\na,x\n", b'{"data": []}', b"PAR1\xff", b"[1]\n"]
)
@pytest.mark.parametrize(
    "recipe", [electra_tf.evaluate, electra_tf.evaluate_pretraining]
)
def test_metrics_replace_nothing_but_metrics(recipe, content, tmp_path):
    """Such as the data: before the model is opened."""
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"--output: {file} .* no metrics"):
        recipe("no model", data=str(file), output=str(file))
    assert file.read_bytes() == content
    for result in (b"", b'{"loss": 1.5}', b'{"scores": {}, "data": null}'):
        file.write_bytes(result)
        with pytest.raises(UserError, match="no model"):
            recipe("no model", data=str(tmp_path), output=str(file))
