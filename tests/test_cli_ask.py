"""Tests `ask` as a user runs it, with models of random weights."""

import json

import pytest
import serving_models
import span_models

from electra_tf.cli import app
from electra_tf.prediction import resumable
from electra_tf.recipes import ask as recipe
from electra_tf.retrieval.index import Found, Terms
from electra_tf.retrieval.passages import Passage

SHEEP = (
    "The sheep of the island were counted in spring by two brothers, who wrote"
    " the number on the wall of a house near the harbour."
)
SHIPS = (
    "Ships carried coal along the river until winter, and the harbour was"
    " closed from the first of december to the end of march each year."
)
QUESTION = "Where did the ships carry coal?"


@pytest.fixture(scope="module")
def reader(tmp_path_factory, tiny_vocab_file):
    path = tmp_path_factory.mktemp("reader")
    options = {"max_seq_length": 32, "doc_stride": 8, "max_query_length": 8}
    predictor = span_models.make(
        path, tiny_vocab_file, "squad/v1.1", options, {"unanswerable": False}
    )
    return str(path), predictor


@pytest.fixture(scope="module")
def ranker(tmp_path_factory, tiny_vocab_file):
    path = tmp_path_factory.mktemp("ranker")
    return serving_models.fine_tuned(path, tiny_vocab_file, "ranking")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "documents"
    (path / "below").mkdir(parents=True)
    (path / "sheep.md").write_text(f"# Sheep\n\n{SHEEP}\n")
    (path / "below" / "ships.txt").write_text(f"\n\n{SHIPS}\n\n{SHEEP}\n")
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def run(reader, folder):
    def call(*words):
        return app.run(
            ["ask", f"--model={reader[0]}", f"--documents={folder}", *words]
        )

    return call


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_answers_with_their_places(run, reader, folder, tmp_path, capsys):
    target = tmp_path / "out.jsonl"
    assert run(QUESTION, f"--output={target}") == 0
    assert "2 documents, 3 passages" in capsys.readouterr().err
    (row,) = rows_of(target)
    assert row["question"] == QUESTION and row["error"] is None
    assert len(row["answers"]) == 3  # every passage has "the"
    assert sum(a["score"] for a in row["answers"]) == pytest.approx(1, abs=1e-5)
    for answer in row["answers"]:
        with open(answer["file"], encoding="utf-8") as handle:
            text = handle.read()
        assert text[answer["start"] : answer["end"]] == answer["answer"] != ""
        line = text.count("\n", 0, answer["start"]) + 1
        assert answer["line"] == line
        assert answer["passage"] in text
        alone = reader[1].predict([(QUESTION, answer["passage"])])[0]
        assert alone["answer"] == answer["answer"]
        assert alone["n_best"][0]["score"] == pytest.approx(
            answer["reading_score"], abs=1e-4
        )
    best = max(row["answers"], key=lambda a: a["retrieval_score"])
    assert best["passage"] == SHIPS


def test_shown(run, folder, capsys):
    words = [QUESTION, "--top_k=1", "--reading_weight=0"]
    assert run(*words) == 0
    question, answer, place, around = capsys.readouterr().out.splitlines()
    assert question == QUESTION
    assert answer.split()[:2] == ["1", "1.000"]
    assert place.strip().startswith(f"{folder}/below/ships.txt:3, characters")
    assert answer.split(maxsplit=2)[2] in around


def test_many_questions_and_resuming(run, tmp_path, monkeypatch, capsys):
    source, target = tmp_path / "questions.txt", tmp_path / "out.jsonl"
    asked = [QUESTION, "", "Xylophones?", "[CLS] [SEP]", "Who? " * 400, "羊"]
    source.write_text("\n".join(asked), "utf-8")
    words = [f"--questions={source}", f"--output={target}", "--top_k=2"]
    monkeypatch.setattr(resumable, "PART_SECONDS", -1.0)
    monkeypatch.setattr(recipe, "_CHUNK", 3)
    whole, done = recipe.Asker.answer, []

    def interrupted(self, questions, number=1):
        if done:
            raise KeyboardInterrupt
        done.append(number)
        return whole(self, questions, number)

    monkeypatch.setattr(recipe.Asker, "answer", interrupted)
    assert run(*words) == 130
    done.clear()
    words.append("--text_field=body")
    assert run(*words) == 130
    assert "another text_field; starting again" in capsys.readouterr().err
    monkeypatch.setattr(recipe.Asker, "answer", whole)
    assert run(*words) == 0
    assert "resuming after 3 lines" in capsys.readouterr().err
    rows = rows_of(target)
    assert [row["question"] for row in rows] == asked
    assert [len(row["answers"]) for row in rows] == [2, 0, 0, 0, 2, 0]
    assert rows[1]["error"] == "an empty question"
    assert rows[2]["error"] == "no passage has a word of the question"
    assert rows[5]["error"].endswith(
        "in Chinese script, the documents in Latin"
    )
    assert rows[4]["error"] is None


def test_a_ranking_model_orders(run, ranker, reader, folder):
    kept = recipe.load_index(str(folder), Terms())
    documents, index = kept.documents, kept.index
    model = recipe.load_model(ranker, "ranker", "--ranker")
    asker = recipe.Asker(index, reader[1], model, top_k=2, candidates=3)
    scores = {
        p.text: model.predict([(QUESTION, p.text)])[0]["score"]
        for p in documents.passages
    }
    found = asker.passages(QUESTION)
    assert [f.passage.text for f in found] == sorted(
        (p.text for p in documents.passages), key=lambda t: -scores[t]
    )[:2]
    assert [f.score for f in found] == pytest.approx(
        sorted(scores.values(), reverse=True)[:2], abs=1e-4
    )
    assert run(QUESTION, f"--ranker={ranker}") == 0


class Silent:
    """A reader that finds nothing."""

    def predict(self, items):
        return [{"answer": "", "n_best": []} for _ in items]


def test_answers_are_in_the_order_of_scores_before_rounding():
    read = [
        (
            Found(Passage("a.txt", 1, 0, name), score),
            {"answer": name, "start": 0, "end": 1, "n_best": [{"score": 0.0}]},
        )
        for name, score in (("x", 0.0), ("y", 60.0), ("z", 1.0))
    ]
    rows = recipe.Asker(None, None)._answers(read)
    assert [row["answer"] for row in rows] == ["y", "z", "x"]
    assert [row["score"] for row in rows] == [1.0, 0.0, 0.0]


def test_no_answer_there(folder):
    index = recipe.load_index(str(folder), Terms()).index
    (row,) = recipe.Asker(index, Silent()).answer([QUESTION])
    assert row["answers"] == []
    assert row["error"] == "no answer in the passages that were read"


def test_the_index_is_kept_and_follows_the_documents(
    run, folder, tmp_path, capsys
):
    assert run(QUESTION) == 0
    first = capsys.readouterr()
    assert "index made, of 2 files" in first.err
    (place,) = (tmp_path / "cache" / "electra_tf" / "ask").iterdir()
    assert str(place) in first.err
    (folder / "sheep.md").write_text(SHIPS)
    assert run(QUESTION) == 0
    assert "brought up to date: 1 changed" in capsys.readouterr().err
    index = tmp_path / "index"

    def summary(path, **words):
        made = recipe.load_index(str(folder), Terms(), path=str(path), **words)
        return made.summary

    assert summary(index) == f"made, of 2 files ({index})"
    assert summary(index, overwrite=True).startswith("rebuilt, of 2 files")
    assert summary("none") == "made, of 2 files"
    assert len(list(place.parent.iterdir())) == 1
    assert run(QUESTION, f"--index={folder}", "--overwrite") == 2
    assert (folder / "sheep.md").exists()


def test_places_within_files(reader, folder, tmp_path):
    (folder / "below" / "ships.txt").unlink()
    (folder / "sheep.md").unlink()
    (folder / "a.csv").write_text(f"id,said\n1,{SHIPS.replace(',', ' ')}\n")
    (folder / "b.md").write_text(f"# On ships\n\n{SHEEP}\n\n{SHIPS}\n")
    (folder / "一.txt").write_text("中国人的国。人中之国", "utf-8")
    found = recipe.ask(reader[0], str(folder), [QUESTION, "中国人"], top_k=3)
    english, chinese = found.rows
    assert f"{folder}/a.csv, row 2, characters" in str(found)
    assert f"{folder}/b.md:5, under “On ships”, characters" in str(found)
    assert {a["where"] for a in english["answers"]} == {"row 2", ""}
    text = (folder / "一.txt").read_text("utf-8")
    for answer in chinese["answers"]:
        assert text[answer["start"] : answer["end"]] == answer["answer"] != ""


def test_questions_in_another_script(folder):
    index = recipe.load_index(str(folder), Terms()).index
    (row,) = recipe.Asker(index, Silent()).answer(["羊在哪里"])
    assert row["error"] == (
        "no passage has a word of the question: it is in Chinese script, the "
        "documents in Latin"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], 'give "a question", in quotes'),
        ([""], "the question is empty"),
        ([" \t"], "the question is empty"),
        (["who", "ran"], "put the question in quotes"),
        (["who?", "--questions=x"], 'give "a question"'),
        (["--questions=/no/such"], "--questions: /no/such: no such file"),
        (["who?", "--documents=/no/such"], "--documents: no file matches"),
        (["who?", "--model=/no/such"], "/no/such: no such"),
        (["who?", "--language=klingon"], "--language=klingon: no stemmer"),
        (["who?", "--top_k=0"], "top_k"),
        (["who?", "--reading_weight=2"], "reading_weight"),
        (["who?", "--output=a.doc"], "--output: a.doc: expected a name"),
    ],
)
def test_mistakes_are_reported_in_one_line(run, arguments, message, capfd):
    assert run(*arguments) == 2
    assert message in capfd.readouterr().err.strip().splitlines()[-1]


def test_models_of_other_tasks(run, reader, ranker, tmp_path, capfd):
    assert run("who?", f"--model={ranker}") == 2
    assert "is a model of ranking; expected one" in capfd.readouterr().err
    assert run("who?", f"--ranker={reader[0]}") == 2
    assert "is a model of squad/v1.1" in capfd.readouterr().err
    assert run("who?", f"--documents={tmp_path / 'empty'}") == 2
    (tmp_path / "empty").mkdir()
    assert run("who?", f"--documents={tmp_path / 'empty'}") == 2
    assert "has no documents in it" in capfd.readouterr().err
