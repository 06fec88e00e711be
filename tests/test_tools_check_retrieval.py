"""Tests finding the paragraph of a question, in made-up and real articles."""

import json
import re

import check_retrieval
import numpy as np
import pytest


def squad(path, articles=6, paragraphs=5):
    """Writes articles of random words, with a question on each paragraph."""
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = ["".join(rng.choice(letters, 5)) for _ in range(400)]
    data = []
    for article in range(articles):
        made = []
        for paragraph in range(paragraphs):
            text = " ".join(rng.choice(words, 30))
            answer = text.split()[7]
            qas = {
                "id": f"{article}-{paragraph}",
                "question": " ".join(text.split()[5:12]) + "?",
                "answers": [
                    {"text": answer, "answer_start": text.index(answer)}
                ],
            }
            made.append({"context": text, "qas": [qas]})
        data.append({"title": f"a b/{article}", "paragraphs": made})
    path.write_text(json.dumps({"data": data}), "utf-8")
    return path


def shares(text):
    return {
        int(first): float(share)
        for share, first in re.findall(r"([\d.]+) % in (\d+)", text)
    }


def test_made_up(tmp_path, capsys):
    source = squad(tmp_path / "dev.json")
    words = [f"--input={source}", f"--output={tmp_path / 'out'}"]
    assert check_retrieval.main([*words, "--articles=4", "--questions=12"]) == 0
    out = capsys.readouterr().out
    assert "4 documents, 20 passages" in out and "12 questions" in out
    assert shares(out)[5] == 100.0
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert check_retrieval.main([*words, "--articles=9"]) == 2
    assert "has 6 articles" in capsys.readouterr().err


def test_the_right_place_counts():
    passage = check_retrieval.Passage("a", 1, 100, "the cat sat")
    question = check_retrieval.Question("?", ("cat", "x"), "a", (104, 900))
    assert check_retrieval.holds(passage, question)
    assert not check_retrieval.holds(passage._replace(file="b"), question)
    assert not check_retrieval.holds(passage._replace(start=0), question)


def test_answers_by_weight():
    def answer(text, retrieval, reading):
        return {
            "answer": text, "retrieval_score": retrieval,
            "reading_score": reading,
        }  # fmt: skip

    questions = [check_retrieval.Question("?", ("cat",), "a", (1,))] * 2
    rows = [
        {"answers": [answer("dog", 2, 1), answer("the cat", 1, 4)]},
        {"answers": []},
    ]
    assert check_retrieval.answer_scores(rows, questions, 1.0) == {
        "exact_match": 50.0, "f1": 50.0,
    }  # fmt: skip
    assert check_retrieval.answer_scores(rows, questions, 0.0)["f1"] == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_real_articles(shared_dir, tmp_path, capsys, seed):
    source = shared_dir / "data" / "squad" / "dev-v1.1.json"
    if not source.exists():
        pytest.skip(f"no {source}")
    words = [
        f"--input={source}", f"--output={tmp_path}", f"--seed={seed}",
        "--articles=20", "--questions=200",
    ]  # fmt: skip
    assert check_retrieval.main(words) == 0
    assert shares(capsys.readouterr().out)[5] >= 90
