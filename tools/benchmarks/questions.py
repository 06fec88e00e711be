"""Measures question features against the original's algorithm, on one core."""

import argparse
import contextlib
import json
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks import inputs, workers
from benchmarks.report import Benchmark, Side

ALONE = "no --peer_python: the plain-Python side was not measured"
_WORDS = 120  # of a context that is made from running text


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Measures questions per second, and per second of CPU time."""
    with _questions(args) as (path, vocab, count):
        settings = {
            "questions": path,
            "vocab": vocab,
            "max_seq_length": 384,
            "doc_stride": 128,
            "max_query_length": 64,
            "cores": 1,
        }
        sides = {"electra_tf": ("ours_questions.py", settings, sys.executable)}
        if args.peer_python:
            sides["plain Python"] = (
                "squad_python.py",
                settings,
                args.peer_python,
            )
        with workers.started(sides) as running:
            made = {
                name: worker.ask({"do": "digest"})
                for name, worker in running.items()
            }
            replies = workers.interleave(
                running, [{"do": "features"}] * len(running), args.rounds
            )
            facts = {name: worker.facts for name, worker in running.items()}
    found = [
        Side(
            name,
            facts[name]["version"],
            {
                "questions/s": [
                    count / reply["seconds"] for reply in replies[name]
                ],
                "questions per CPU second": [
                    count / reply["cpu_seconds"] for reply in replies[name]
                ],
            },
        )
        for name in sides
    ]
    notes: dict[str, Any] = {"windows": made["electra_tf"]["rows"]}
    if args.peer_python:
        same = len({reply["digest"] for reply in made.values()}) == 1
        notes["same ids"] = "yes" if same else "NO"
    else:
        notes["peer"] = ALONE
    return [
        Benchmark(
            "questions",
            f"{count} questions, windows of 384 tokens every 128, from a JSON "
            "file to arrays with the answers' places, one process on one core",
            found,
            [("electra_tf", "plain Python")] if args.peer_python else [],
            notes,
        )
    ]


@contextlib.contextmanager
def _questions(args: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """Yields (JSON file, vocabulary file, number of questions)."""
    is_squad = (args.input or "").endswith(".json")
    text = argparse.Namespace(**vars(args))
    if is_squad:
        text.input = None  # the vocabulary comes from the shipped text
    with contextlib.ExitStack() as stack:
        if is_squad and args.vocab:
            lines, vocab = None, args.vocab
        else:
            lines, vocab, _ = stack.enter_context(inputs.prepared(text))
        if is_squad:
            source = pathlib.Path(args.input).read_text(encoding="utf-8")
            content = json.loads(source)
        else:
            content = made_up(pathlib.Path(lines).read_text("utf-8"))
        count = cut(content, args.questions)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = pathlib.Path(folder) / "questions.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        yield str(path), vocab, count


def made_up(text: str) -> dict[str, Any]:
    """Turns text into SQuAD's format, with five questions a paragraph."""
    words, paragraphs = text.split(), []
    for begin in range(0, len(words) - _WORDS, _WORDS):
        own = words[begin : begin + _WORDS]
        context = " ".join(own)
        questions = []
        for i in range(5):
            answer = " ".join(own[20 * i : 20 * i + 3])
            questions.append(
                {
                    "id": f"{begin}-{i}",
                    "question": " ".join(own[20 * i + 5 : 20 * i + 16]) + "?",
                    "answers": [
                        {"text": answer, "answer_start": context.index(answer)}
                    ],
                }
            )
        paragraphs.append({"context": context, "qas": questions})
    return {"data": [{"title": "", "paragraphs": paragraphs}]}


def cut(content: dict[str, Any], wanted: int) -> int:
    """Removes paragraphs beyond the first `wanted` questions, or some more.

    Returns:
      The number of questions that remain.
    """
    count = 0
    for article in content["data"]:
        kept = []
        for paragraph in article["paragraphs"]:
            if count < wanted:
                kept.append(paragraph)
                count += len(paragraph["qas"])
        article["paragraphs"] = kept
    return count
