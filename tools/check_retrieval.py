"""Measures whether `electra-tf ask` finds paragraphs and answers in a folder.

  tools/check_retrieval.py --input=dev-v1.1.json --output=FOLDER
      [--articles=20] [--questions=200] [--seed=0]
      [--ranker=RUN] [--model=RUN] [--candidates=50]

Articles of a SQuAD file are sampled, and written as text: a file an article, a
blank line between paragraphs. Questions about them are asked. It reports how
often the passage with a true answer, at its original place, is among the first
1, 5, 10 and 20; and with a model the scores of the answers, at several values
of `reading_weight`.
"""

import argparse
import json
import pathlib
import random
import re
import sys
import time
from typing import NamedTuple

import numpy as np

from electra_tf.errors import UserError
from electra_tf.recipes import ask
from electra_tf.retrieval.index import Terms, combined
from electra_tf.retrieval.passages import Passage
from electra_tf.tasks.qa import metrics as qa_metrics

FIRST = (1, 5, 10, 20)
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


class Question(NamedTuple):
    """A question about one of the articles."""

    text: str
    answers: tuple[str, ...]
    file: str
    places: tuple[int, ...]  # of its answers, in characters of the file


def write_articles(
    source: str, target: pathlib.Path, articles: int, questions: int, seed: int
) -> list[Question]:
    """Writes a folder of articles; returns questions about them.

    Raises:
      UserError: the file has too few articles or questions.
    """
    content = json.loads(pathlib.Path(source).read_text("utf-8"))["data"]
    if len(content) < articles:
        raise UserError(f"{source}: has {len(content)} articles")
    rng = random.Random(seed)
    found = []
    target.mkdir(parents=True, exist_ok=True)
    for number, article in enumerate(rng.sample(content, articles)):
        title = re.sub(r"\W+", "_", article.get("title", ""))
        file = target / f"{number:03d}_{title}.txt"
        text = ""
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                if asked["answers"]:
                    found.append(
                        Question(
                            asked["question"],
                            tuple(a["text"] for a in asked["answers"]),
                            str(file),
                            tuple(
                                len(text) + a["answer_start"]
                                for a in asked["answers"]
                            ),
                        )
                    )
            text += f"{paragraph['context']}\n\n"
        file.write_text(text, "utf-8")
    if len(found) < questions:
        raise UserError(f"{source}: has {len(found)} questions in these")
    return rng.sample(found, questions)


def holds(passage: Passage, question: Question) -> bool:
    """Returns whether a true answer is in the passage, at its own place."""
    return passage.file == question.file and any(
        passage.start <= place
        and place + len(answer) <= passage.start + len(passage.text)
        for answer, place in zip(question.answers, question.places)
    )


def ranks(asker: ask.Asker, questions: list[Question]) -> np.ndarray:
    """Returns the right passages' ranks, from 0; 10**6 if not found."""
    found = []
    for question in questions:
        passages = asker.passages(question.text)
        right = [
            i for i, p in enumerate(passages) if holds(p.passage, question)
        ]
        found.append(right[0] if right else 10**6)
    return np.array(found)


def answer_scores(
    rows: list[dict], questions: list[Question], weight: float
) -> dict[str, float]:
    """Returns exact match and F1 of the answers ranked first by a weight."""
    best = []
    for row in rows:
        answers = row["answers"]
        shares = combined(
            [a["retrieval_score"] for a in answers],
            [a["reading_score"] for a in answers],
            weight,
        )
        best.append(answers[int(shares.argmax())]["answer"] if answers else "")
    return qa_metrics.squad1_scores([q.answers for q in questions], best)


def main(words: list[str] | None = None) -> int:
    """Asks the questions; prints the scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--input", required=True, help="file in SQuAD's format")
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument("--articles", type=int, default=20)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="run directory of question answering")
    parser.add_argument("--ranker", help="run directory of ranking")
    parser.add_argument("--top_k", type=int, default=5, help="passages to read")
    parser.add_argument(
        "--candidates", type=int, default=50, help="passages to rank"
    )
    parser.add_argument("--language", default="english")
    asked = parser.parse_args(words)
    try:
        questions = write_articles(
            asked.input, pathlib.Path(asked.output), asked.articles,
            asked.questions, asked.seed,
        )  # fmt: skip
        start = time.monotonic()
        kept = ask.load_index(asked.output, Terms(asked.language))
        documents, index = kept.documents, kept.index
        seconds = time.monotonic() - start
        reader = ranker = None
        if asked.ranker:
            ranker = ask.load_model(asked.ranker, "ranker", "--ranker")
        if asked.model:
            reader = ask.load_model(asked.model, "reader", "--model")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{len(documents.digests)} documents, {len(documents.passages)} "
        f"passages, indexed in {seconds:.1f} s; {len(questions)} questions"
    )
    for name, model in {"BM25": None, "ranker": ranker}.items():
        if name == "ranker" and ranker is None:
            continue
        start = time.monotonic()
        asker = ask.Asker(index, reader, model, FIRST[-1], asked.candidates)
        where = ranks(asker, questions)
        seconds = time.monotonic() - start
        shares = ", ".join(
            f"{100 * (where < first).mean():.1f} % in {first}"
            for first in FIRST
        )
        print(f"{name}: {shares}; {1e3 * seconds / len(where):.1f} ms each")
    if reader:
        asker = ask.Asker(index, reader, ranker, asked.top_k, asked.candidates)
        rows = asker.answer([q.text for q in questions])
        for weight in WEIGHTS:
            scores = answer_scores(rows, questions, weight)
            print(
                f"reading_weight {weight}: exact match "
                f"{scores['exact_match']:.1f}, F1 {scores['f1']:.1f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
