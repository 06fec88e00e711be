"""Fine-tunes with transformers' Trainer for one task of `study`.

  ENV/bin/python trainer.py ANSWERS < settings.json

It does not use electra_tf. It writes the predictions for the held-out rows,
the seconds, and the training rows per second.
"""

import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

GLUE = {  # folder, columns of texts, column of the answer
    "sst2": ("SST-2", ["sentence"], "label"),
    "mrpc": ("MRPC", ["#1 String", "#2 String"], "Quality"),
    "stsb": ("STS-B", ["sentence1", "sentence2"], "score"),
}
# DISTANCE is that of the starts of two windows; tokenizers' `stride` is their
# overlap instead.
DISTANCE, MAX_ANSWER, CANDIDATES = 128, 30, 20
Row = dict[str, Any]


class Prepared(NamedTuple):
    """Holds a task's rows, model and collator, and its decoding function."""

    train: list[Row]
    dev: list[Row]
    model: Any
    collator: Any
    answers: Callable[[Any], Row]


def chosen(rows: list, count: int, seed: int) -> list:
    """Returns `count` sampled rows in their order; all if `count` is 0."""
    if not count or count >= len(rows):
        return rows
    rng = np.random.default_rng(seed)
    places = sorted(rng.choice(len(rows), count, replace=False))
    return [rows[place] for place in places]


def glue(settings: Row, tokenizer: Any) -> Prepared:
    """Prepares texts or pairs with a class, or with a number from 0 to 5."""
    folder, columns, label = GLUE[settings["task"]]
    regression = settings["task"] == "stsb"

    def rows(split: str) -> list[tuple[list[str], str]]:
        path = pathlib.Path(settings["data"], folder, f"{split}.tsv")
        head, *lines = path.read_text(encoding="utf-8").split("\n")
        names, found = head.rstrip("\r").split("\t"), []
        for line in lines:
            cells = line.rstrip("\r").split("\t")
            if len(cells) >= len(names):
                row = dict(zip(names, cells))
                found.append(([row[name] for name in columns], row[label]))
        return found

    def features(rows: list[tuple[list[str], str]]) -> list[Row]:
        return [
            {
                **tokenizer(*texts, truncation=True,
                            max_length=settings["max_seq_length"]),
                "labels": float(answer) / 5 if regression else int(answer),
            }
            for texts, answer in rows
        ]  # fmt: skip

    train = chosen(rows("train"), settings["max_train"], settings["seed"])
    dev = features(rows("dev"))
    head: Row = {"num_labels": 2}
    if regression:
        head = {"num_labels": 1, "problem_type": "regression"}

    def answers(logits: np.ndarray) -> Row:
        given = logits[:, 0] if regression else logits.argmax(-1)
        gold = [row["labels"] for row in dev]
        return {"gold": gold, "given": given.tolist()}

    return Prepared(
        features(train),
        dev,
        transformers.AutoModelForSequenceClassification.from_pretrained(
            settings["model"], **head
        ),
        transformers.DataCollatorWithPadding(tokenizer),
        answers,
    )


def chunks(settings: Row, tokenizer: Any) -> Prepared:
    """Prepares words with tags; the first piece of a word has its tag."""

    def sentences(part: str) -> list[tuple[list[str], list[str]]]:
        text = pathlib.Path(settings["data"], f"{part}.txt").read_text("utf-8")
        found = []
        for block in text.strip().split("\n\n"):
            cells = [line.split() for line in block.split("\n")]
            found.append(([c[0] for c in cells], [c[-1] for c in cells]))
        return found

    train = chosen(sentences("train"), settings["max_train"], settings["seed"])
    held_out = sentences("test")
    names = sorted({t for _, tags in [*train, *held_out] for t in tags})
    ids = {name: number for number, name in enumerate(names)}

    def features(rows: list[tuple[list[str], list[str]]]) -> list[Row]:
        found = []
        for words, tags in rows:
            made = tokenizer(
                words, is_split_into_words=True, truncation=True,
                max_length=settings["max_seq_length"],
            )  # fmt: skip
            before, labels = None, []
            for word in made.word_ids():
                first = word is not None and word != before
                labels.append(ids[tags[word]] if first else -100)
                before = word
            found.append({**made, "labels": labels})
        return found

    dev = features(held_out)

    def answers(logits: np.ndarray) -> Row:
        given = []
        for row, scores, (_, tags) in zip(dev, logits, held_out):
            best = zip(scores.argmax(-1), row["labels"])
            tagged = [names[tag] for tag, label in best if label != -100]
            given.append(tagged + ["O"] * (len(tags) - len(tagged)))
        return {"gold": [tags for _, tags in held_out], "given": given}

    return Prepared(
        features(train),
        dev,
        transformers.AutoModelForTokenClassification.from_pretrained(
            settings["model"], num_labels=len(names)
        ),
        transformers.DataCollatorForTokenClassification(tokenizer),
        answers,
    )


def questions(settings: Row, tokenizer: Any) -> Prepared:
    """Prepares questions with contexts, in windows; answers are spans."""
    names = ("input_ids", "token_type_ids", "attention_mask")

    def asked(path: str) -> list[tuple]:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        return [
            (q["id"], q["question"].strip(), p["context"],
             [(a["text"], a["answer_start"]) for a in q["answers"]])
            for article in content["data"]
            for p in article["paragraphs"]
            for q in p["qas"]
        ]  # fmt: skip

    def windows(rows: list[tuple], training: bool) -> list[Row]:
        found = []
        for number, (_, question, context, answers) in enumerate(rows):
            words = tokenizer(question, add_special_tokens=False)["input_ids"]
            room = settings["max_seq_length"] - 3 - len(words)
            made = tokenizer(
                question, context, truncation="only_second",
                max_length=settings["max_seq_length"],
                stride=max(0, room - DISTANCE),
                return_overflowing_tokens=True, return_offsets_mapping=True,
            )  # fmt: skip
            for i in range(len(made["input_ids"])):
                kinds = made.sequence_ids(i)
                places = [
                    place if kind == 1 else None
                    for place, kind in zip(made["offset_mapping"][i], kinds)
                ]
                row = {name: made[name][i] for name in names}
                if training:
                    row |= positions(places, *answers[0])
                else:
                    row |= {"number": number, "places": places}
                found.append(row)
        return found

    train_file, dev_file = settings["files"]
    train = chosen(asked(train_file), settings["max_train"], settings["seed"])
    held_out = asked(dev_file)
    read = windows(held_out, training=False)

    def answers(logits: tuple) -> Row:
        best: dict[int, tuple[float, int, int]] = {}
        for row, starts, ends in zip(read, *logits[:2]):
            places, count = row["places"], len(row["places"])
            for i in np.argsort(starts[:count])[::-1][:CANDIDATES]:
                for j in np.argsort(ends[:count])[::-1][:CANDIDATES]:
                    if not i <= j < i + MAX_ANSWER:
                        continue
                    if places[i] is None or places[j] is None:
                        continue
                    value = float(starts[i] + ends[j])
                    if value > best.get(row["number"], (-np.inf,))[0]:
                        span = places[i][0], places[j][1]
                        best[row["number"]] = (value, *span)
        given, truths = {}, {}
        for number, (name, _, context, answers) in enumerate(held_out):
            _, start, end = best.get(number, (0.0, 0, 0))
            given[name] = context[start:end]
            truths[name] = [text for text, _ in answers]
        return {"given": given, "truths": truths}

    return Prepared(
        windows(train, training=True),
        [{name: row[name] for name in names} for row in read],
        transformers.AutoModelForQuestionAnswering.from_pretrained(
            settings["model"]
        ),
        transformers.DataCollatorWithPadding(tokenizer),
        answers,
    )


def positions(
    places: list[tuple[int, int] | None], text: str, begin: int
) -> Row:
    """Returns an answer's tokens; [CLS] if the window does not hold it all."""
    end = begin + len(text)
    inside = [i for i, place in enumerate(places) if place is not None]
    start_at = end_at = 0
    if inside:
        first, last = places[inside[0]], places[inside[-1]]
        if first[0] <= begin and last[1] >= end:
            start_at = max(i for i in inside if places[i][0] <= begin)
            end_at = min(i for i in inside if places[i][1] >= end)
    return {"start_positions": start_at, "end_positions": end_at}


def train(settings: Row) -> Row:
    """Trains, and predicts the held-out rows."""
    transformers.logging.set_verbosity_error()
    transformers.set_seed(settings["seed"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(settings["model"])
    prepare = {"conll2000": chunks, "squad": questions}
    task = prepare.get(settings["task"], glue)(settings, tokenizer)
    steps = settings["epochs"] * len(task.train) / settings["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=task.model,
            args=transformers.TrainingArguments(
                folder,
                num_train_epochs=settings["epochs"],
                learning_rate=settings["learning_rate"],
                lr_scheduler_type="linear",
                warmup_steps=round(0.1 * steps),
                weight_decay=0.01,
                per_device_train_batch_size=settings["batch_size"],
                per_device_eval_batch_size=64,
                train_sampling_strategy="group_by_length",
                seed=settings["seed"],
                data_seed=settings["seed"],
                use_cpu=True,
                bf16=settings["bf16"],
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=task.train,
            data_collator=task.collator,
        )
        start = time.monotonic()
        outcome = trainer.train()
        # With group_by_length, `predict` returns rows ordered by length.
        trainer.args.train_sampling_strategy = "random"
        logits = trainer.predict(task.dev).predictions
    return {
        "answers": task.answers(logits),
        "seconds": time.monotonic() - start,
        "examples_per_second": outcome.metrics["train_samples_per_second"],
        "versions": f"transformers {transformers.__version__}, "
        f"torch {torch.__version__}",
    }


if __name__ == "__main__":
    answers = train(json.load(sys.stdin))
    pathlib.Path(sys.argv[1]).write_text(json.dumps(answers), "utf-8")
