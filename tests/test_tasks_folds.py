"""Tests cross-validation: --folds of finetune."""

import json

import numpy as np
import pytest
import word_task
from finetune_command import SHAPE, TASK, TRAIN

from electra_tf.errors import UserError
from electra_tf.finetuning import settings, splits, start, trials
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
