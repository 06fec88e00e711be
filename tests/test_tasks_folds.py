"""Tests cross-validation: --folds of finetune."""

import dataclasses
import json

import numpy as np
import pytest
import word_task
from finetune_command import SHAPE, TASK, TRAIN

from electra_tf.errors import UserError
from electra_tf.finetuning import settings, splits, start, trials
from electra_tf.tasks.qa.examples import QAExample
from electra_tf.tasks.ranking.pairs import Pair
from electra_tf.tasks.registry import task_class
from electra_tf.training import strategy


def make(**train):
    cls = settings.settings_class(TASK)
    kept = {k: v for k, v in TRAIN.items() if k != "num_train_epochs"}
    return cls(
        task=TASK,
        train=settings.FinetuneTrainConfig(
            **(kept | {"num_train_steps": 3} | train)
        ),
        model=settings.ModelSettings(**SHAPE),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return word_task.write_data(tmp_path_factory.mktemp("data") / "d")


@pytest.mark.slow
def test_each_example_is_held_out_once(tmp_path, data, tiny_vocab_file):
    chosen = make(folds=3)
    begin = start.from_random(chosen.model, tiny_vocab_file)
    run = (chosen, begin, data, str(tmp_path), strategy.make_strategy())
    summary = trials.run_trials(*run)
    sizes = []
    for number in (1, 2, 3):
        folder = tmp_path / f"trial_{number}" / "predictions" / "validation"
        lines = (folder / "predictions.jsonl").read_text().splitlines()
        sizes.append(len(lines))
    assert sorted(sizes) == [93, 93, 94] and sum(sizes) == 240 + 40
    found = summary["summary"]["validation"]["accuracy"]
    values = [t["scores"]["validation"]["accuracy"] for t in summary["trials"]]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["std"] == pytest.approx(np.std(values, ddof=1))
    assert [t["seed"] for t in summary["trials"]] == [42] * 3
    task = task_class(TASK)(TASK, chosen.options, data)
    tokenizer = begin.tokenizer()
    whole = splits.read(task, tokenizer, 32, None, 42)
    constant = [
        splits.fold(whole, n, 3, 42, tokenizer, 32).baseline()["validation"]
        for n in (1, 2, 3)
    ]
    assert summary["baseline"]["validation"]["accuracy"] == pytest.approx(
        np.mean([scores["accuracy"] for scores in constant])
    )
    text = (tmp_path / "report.md").read_text()
    assert f"accuracy {found['mean']:.2f} (mean of 3 folds, standard" in text
    assert trials.run_trials(*run) == summary  # all done
    assert json.loads((tmp_path / "config.json").read_text())["train"][
        "folds"
    ] == 3  # fmt: skip


def test_parts_are_even_and_the_same_each_time(data, tiny_vocab_file):
    begin = start.from_random(make().model, tiny_vocab_file)
    task = task_class(TASK)(TASK, make().options, data)
    tokenizer = begin.tokenizer()
    whole = splits.read(task, tokenizer, 512, None, 0)
    whole_size = len(whole.train) + len(whole.validation[0].examples)

    def parts(count, seed):
        return [
            splits.fold(whole, number, count, seed, tokenizer, 512)
            for number in range(1, count + 1)
        ]

    found = parts(4, 1)
    held_out = [part.validation[0].examples for part in found]
    assert sum(map(len, held_out)) == whole_size
    for part, examples in zip(found, held_out):
        assert len(part.train) + len(examples) == whole_size
        assert not {id(e) for e in part.train} & {id(e) for e in examples}
        assert part.test == whole.test
    share = [np.mean([e.label == "animal" for e in h]) for h in held_out]
    assert max(share) - min(share) < 0.02
    again = [part.fingerprint for part in parts(4, 1)]
    assert again == [part.fingerprint for part in found]
    assert again != [part.fingerprint for part in parts(4, 2)]
    with pytest.raises(UserError, match="--folds=999: there are 280"):
        splits.fold(whole, 1, 999, 0, tokenizer, 512)


def test_folds_and_trials_exclude_each_other():
    with pytest.raises(UserError, match="folds or num_trials"):
        make(folds=2, num_trials=2)
    assert settings.load(task=TASK, folds=4).train.folds == 4
    with pytest.raises(UserError, match="folds"):
        settings.load(task=TASK, folds=1)


def folds_of(task, examples, count, seed=3):
    """Returns each part's held-out examples."""
    part = splits._parts(task, examples, count, seed)
    return [
        [e for e, p in zip(examples, part) if p == number]
        for number in range(count)
    ]


def test_single_examples_are_divided_as_before(data):
    task = task_class(TASK)(TASK, None, data)
    examples = task.read("train")
    order = np.random.default_rng(3).permutation(len(examples))
    labels = np.array([examples[i].label for i in order])
    order = order[np.argsort(labels, kind="stable")]
    part = np.empty(len(examples), np.int64)
    part[order] = np.arange(len(examples)) % 4
    assert splits._parts(task, examples, 4, 3).tolist() == part.tolist()


def test_passages_of_a_query_are_in_one_part():
    task = task_class("ranking")("ranking")
    pairs = [
        Pair(f"query {q}", f"passage {i}", float(i == 0 and q % 3 == 0), str(q))
        for i in range(4)
        for q in range(15)
    ]
    found = folds_of(task, pairs, 5)
    queries = [{pair.query for pair in part} for part in found]
    assert [len(names) for names in queries] == [3] * 5
    assert len(set.union(*queries)) == 15
    assert [len(part) for part in found] == [12] * 5
    # Each part has a query with a relevant passage: there are five.
    assert [sum(p.relevance for p in part) for part in found] == [1.0] * 5
    message = "--folds=16: there are 60 examples in 15 groups that stay tog"
    with pytest.raises(UserError, match=message):
        folds_of(task, pairs, 16)


def test_a_part_without_a_relevant_passage_is_refused(
    tmp_path, tiny_vocab_file
):
    rows = ["query\tpassage\tlabel"]
    rows += [
        f"q {q}\tp {i}\t{int(q < 2 > i)}" for q in range(6) for i in (1, 2)
    ]
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n")
    options = task_class("ranking").Options(validation_fraction=0)
    task = task_class("ranking")("ranking", options, str(tmp_path))
    begin = start.from_random(make().model, tiny_vocab_file)
    tokenizer = begin.tokenizer()
    whole = splits.read(task, tokenizer, 512, None, 0)
    message = "--folds=3: part 3: no query for validation"
    with pytest.raises(UserError, match=message):
        splits.fold(whole, 3, 3, 0, tokenizer, 512)


def test_questions_on_a_context_are_in_one_part():
    task = task_class("squad")("squad")
    examples = [
        QAExample(f"{c}.{i}", f"question {i}", f"context {c}")
        for c in range(6)
        for i in range(c + 1)
    ]
    found = folds_of(task, examples, 3)
    contexts = [{e.context for e in part} for part in found]
    assert [len(names) for names in contexts] == [2] * 3
    assert len(set.union(*contexts)) == 6


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("tagging", "cat B-X\n\ndog O\nsat O\n"),
        ("ranking", "query\tpassage\tlabel\n"
         + "".join(f"q {q}\tp {i}\t{i}\n" for q in (1, 2) for i in (0, 1))),
    ],
)  # fmt: skip
def test_few_examples_need_no_part_besides_the_folds(
    task, text, tmp_path, tiny_vocab_file, monkeypatch
):
    """Of so few none is held out by validation_fraction, nor has to be."""
    data = tmp_path / "train.tsv"
    data.write_text(text)
    chosen = settings.load(
        {"model": SHAPE}, task=task, folds=2,
        options={"max_seq_length": 32}
        | ({"max_query_length": 8} if task == "ranking" else {}),
    )  # fmt: skip
    begin = start.from_random(chosen.model, tiny_vocab_file)
    seen = []

    def run_trial(folder, read, *others):
        seen.append(len(read.validation[0].examples))

    monkeypatch.setattr(trials.finetune, "run_trial", run_trial)
    arguments = str(data), str(tmp_path / "run"), strategy.make_strategy()
    assert trials.run_trials(chosen, begin, *arguments) is None
    assert seen == [1 if task == "tagging" else 2]
    none = dataclasses.replace(chosen.train, folds=None)
    with pytest.raises(UserError, match=r"validation_fraction of 0\.1 none"):
        trials.run_trials(
            dataclasses.replace(chosen, train=none), begin, *arguments
        )
