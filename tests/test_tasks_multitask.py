"""Tests fine-tuning of several tasks over one encoder."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.finetuning.fine_tuner import FineTuner
from electra_tf.models import task_networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.models.task_networks import MultiHeadConfig, task_network
from electra_tf.prediction.predictor import Inference
from electra_tf.tasks.features import Features, Mixture, mix_by_size
from electra_tf.tasks.multitask.options import Member, MultitaskOptions
from electra_tf.tasks.multitask.task import TASK_INDEX, Multitask
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.training.optimizer import OptimizerConfig, make_optimizer

CONLL = "the B-NP\ncat I-NP\nsat O\n\nshe B-NP\nran O\n\n"
TRIPLES = "the cat\ta cat sat\ta dog sat\nthe dog\ta dog\tshe ran\n"
ROWS = (
    "query_id\tquery\tpassage\trelevance\n"
    "q1\tthe cat\ta cat sat\t1\nq1\tthe cat\ta dog\t0\n"
)
MEMBERS = (
    Member("tagging/conll2000", {"convert_to": "bioes"}, "chunks", "chunks"),
    Member("ranking", {"loss": "pointwise"}, "pairs"),
)


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab_file):
    return Tokenizer(tiny_vocab_file)


@pytest.fixture
def data(tmp_path):
    for folder in ("chunks", "pairs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "chunks/train.txt").write_text(CONLL * 3)
    (tmp_path / "chunks/dev.txt").write_text(CONLL)
    (tmp_path / "chunks/test.txt").write_text(CONLL * 2)
    (tmp_path / "pairs/train.tsv").write_text(TRIPLES)
    (tmp_path / "pairs/dev.tsv").write_text(ROWS)
    return str(tmp_path)


@pytest.fixture
def task(data):
    task = Multitask("multitask", MultitaskOptions(MEMBERS), data)
    task.fit(task.read("train"))
    return task


def network_of(task, tokenizer):
    config = ModelConfig.of_size(
        "tiny", vocab_size=len(tokenizer.vocab), embedding_size=16,
        hidden_size=32, num_layers=1, num_heads=2, intermediate_size=64,
        max_positions=64, hidden_dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    network = task_network(config, task.head())
    network.build()
    return network


# --- sampling --------------------------------------------------------------


def test_shares_follow_the_power():
    assert mix_by_size([81, 16], 1.0).draws == (81, 16)
    assert mix_by_size([81, 16], 0.0).draws in ((49, 48), (48, 49))
    # 81^0.75 is 27, 16^0.75 is 8.
    draws = mix_by_size([8100, 1600], 0.75).draws
    assert sum(draws) == 9700
    assert draws[0] / draws[1] == pytest.approx(27 / 8, rel=1e-3)
    assert mix_by_size([10**6, 1], 0.75).draws[1] >= 1
    assert sum(mix_by_size([7, 5, 3], 0.3).draws) == 15


def test_units_are_seen_equally_often():
    mixed = Mixture((10, 4), (6, 8))
    epochs = [mixed.epoch(e, seed=3) for e in range(10)]
    assert all(epoch.shape == (14,) for epoch in epochs)
    counts = np.bincount(np.concatenate(epochs), minlength=14)
    assert counts.tolist() == [6] * 10 + [20] * 4
    for epoch in epochs:  # no unit repeats before all are used
        assert len(set(epoch[:6])) >= 5
        assert epoch[:6].max() < 10 <= epoch[6:].min()
    np.testing.assert_array_equal(epochs[4], mixed.epoch(4, seed=3))
    assert not np.array_equal(epochs[0], mixed.epoch(0, seed=4))


def test_without_a_mixture_an_epoch_is_all():
    features = Features(np.arange(6), {"input_ids": np.arange(5)})
    assert features.epoch_units == 5
    assert features.epoch(3, 0).tolist() == [0, 1, 2, 3, 4]


# --- the task --------------------------------------------------------------


def test_splits(task):
    train = task.read("train")
    assert [e.key for e in train] == ["chunks"] * 6 + ["ranking"] * 4
    assert task.validation_splits == ("validation",)
    assert len(task.read("validation")) == 4
    assert task.test_splits == ("chunks.test", "ranking.test")
    assert len(task.read("chunks.test")) == 4
    assert task.read("ranking.test") is None
    assert task.state["chunks"]["learned"] == "bioes"
    again = Multitask("multitask", task.options, task.data, task.state)
    assert again.state == task.state and again.head() == task.head()


def test_joined_features(task, tokenizer):
    train = task.read("train")
    features = task.features(tokenizer, train, training=True)
    assert len(features) == 10 and features.units == 10
    batch = features.batch([0, 6])
    assert batch["task_index"].tolist() == [0, 1]
    own = task.tasks["chunks"].features(
        tokenizer, [train[0].example], training=True
    )
    width = own.lengths[0]
    assert batch["chunks/labels"][0, :width].tolist() == (
        own.tokens["labels"].tolist()
    )
    assert not batch["chunks/labels"][1, : features.lengths[6]].any()
    assert batch["ranking/relevance"].tolist() == [0, 1]
    assert features.mixture.sizes == (6, 4)
    assert features.examples.tolist() == list(range(10))
    assert task.features(tokenizer, train, training=False).mixture is None


def test_a_rows_loss_is_its_tasks(task, tokenizer):
    train = task.read("train")
    features = task.features(tokenizer, train, training=True)
    batch = features.batch([6, 0, 7])
    network = network_of(task, tokenizer)
    outputs = network(
        *(batch[n] for n in ("input_ids", "input_mask", "segment_ids"))
    )
    losses = task.loss(outputs, batch).numpy()
    for key, rows in (("ranking", [0, 2]), ("chunks", [1])):
        part = task.tasks[key]
        own = features.extra[key].features
        first = 6 if key == "ranking" else 0
        small = own.batch(
            [[6, 0, 7][i] - first for i in rows], batch["input_ids"].shape[1]
        )
        alone = network.part(key)(
            *(small[n] for n in ("input_ids", "input_mask", "segment_ids"))
        )
        np.testing.assert_allclose(
            part.loss(alone, small), losses[rows], rtol=1e-4
        )


def test_parts_predict_as_the_whole(task, tokenizer):
    network = network_of(task, tokenizer)
    examples = task.read("validation")
    features = task.features(tokenizer, examples, training=False)
    outputs = Inference(network, task, batch_size=3).run(features)
    found = task.predictions(examples, features, outputs)
    assert [p["task"] for p in found] == ["chunks"] * 2 + ["ranking"] * 2
    scores = task.scores(examples, found)
    models = task.models(network)
    assert list(models) == ["chunks", "ranking"]
    for key, (part, alone) in models.items():
        own = [e.example for e in examples if e.key == key]
        rows = part.features(tokenizer, own, training=False)
        answers = part.predictions(own, rows, Inference(alone, part).run(rows))
        for answer, prediction in zip(
            answers, (p for p in found if p["task"] == key)
        ):
            if key == "ranking":
                assert answer["score"] == pytest.approx(
                    prediction["score"], abs=1e-5
                )
            else:
                assert answer["tags"] == prediction["tags"]
        for name, value in part.scores(own, answers).items():
            assert scores[f"{key}/{name}"] == pytest.approx(value)
    assert scores["mean"] == pytest.approx(
        (scores["chunks/f1"] + scores["ranking/mrr@10"]) / 2
    )
    constant = task.constant(task.read("train"), examples)
    assert "mean" in task.scores(examples, constant)
    assert set(task.files("validation", examples, found)) == {
        "chunks/validation_predictions.txt", "chunks/validation_types.txt",
        "ranking/validation_run.txt",
    }  # fmt: skip


def test_all_heads_learn(task, tokenizer):
    features = task.features(tokenizer, task.read("train"), training=True)
    keras.utils.set_random_seed(0)
    network = network_of(task, tokenizer)
    tuner = FineTuner(network, task)
    tuner.compile(
        make_optimizer(
            OptimizerConfig(learning_rate=1e-3, num_warmup_steps=0), 100
        )
    )
    step = tf.function(tuner.train_step, autograph=False)
    before = {v.path: v.numpy() for v in network.trainable_variables}
    batch = {n: tf.constant(v) for n, v in features.batch([0, 6]).items()}
    first = float(tf.reduce_sum(tuner(batch)))
    for _ in range(10):
        step(batch)
    assert float(tf.reduce_sum(tuner(batch))) < first
    for variable in network.trainable_variables:
        changed = np.abs(variable.numpy() - before[variable.path]).max() > 0
        assert changed or "position" in variable.path, variable.path
    heads = {p for p in before if p.startswith("discriminator/task/")}
    assert heads == {
        f"discriminator/task/{key}/output/{kind}"
        for key in ("chunks", "ranking")
        for kind in ("kernel", "bias")
    }
    assert task_networks.layer_rates(0.5, 2)(min(heads)) == 1.0


def test_a_joint_head_gets_its_own_starts():
    config = ModelConfig.of_size(
        "tiny", vocab_size=50, embedding_size=16, hidden_size=32, num_layers=1,
        num_heads=2, intermediate_size=64, max_positions=32,
    )  # fmt: skip
    heads = {
        "qa": TaskHeadConfig("joint_span", joint_size=8, beam_size=2),
        "cls": TaskHeadConfig(num_labels=3),
    }
    network = task_network(config, MultiHeadConfig(heads))
    network.build()
    ids = tf.constant(np.random.default_rng(0).integers(5, 50, [2, 8]))
    starts = tf.constant([3, 0])
    found = network(ids, start_positions={"qa": starts}).heads
    assert found["cls"].logits.shape == (2, 3)
    alone = network.part("qa")(ids, start_positions=starts)
    assert found["qa"].spans.end_top_index is None
    np.testing.assert_allclose(
        found["qa"].spans.end_logits, alone.spans.end_logits, atol=1e-5
    )
    assert network(ids).heads["qa"].spans.end_top_index is not None


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((), "name the tasks"),
        ((Member("rankin"),), "did you mean 'ranking'"),
        ((Member("ranking", {"los": 1}),), r"unknown key 'los'.*'loss'"),
        ((Member("ranking", {"loss": "x"}),), "options: loss: expected"),
        ((Member("ranking", {"max_seq_length": 9}),), "options: max_seq_len"),
        ((Member("ranking", {"max_seq_length": "x"}),), "a whole number"),
        ((Member("ranking"), Member("ranking")), "two are called 'ranking'"),
        ((Member("ranking", label="a/b"),), "the label 'a/b'"),
        ((Member("multitask"),), "cannot be one of its own tasks"),
    ],
)  # fmt: skip
def test_mistakes_are_named(members, message):
    with pytest.raises(UserError, match=message):
        Multitask("multitask", MultitaskOptions(members))


def test_groups_are_refused(data, tokenizer):
    members = (Member("ranking", {}, "pairs"),)
    task = Multitask("multitask", MultitaskOptions(members), data)
    train = task.read("train")
    task.fit(train)
    with pytest.raises(UserError, match=r"groups of 2 rows.*pointwise"):
        task.features(tokenizer, train, training=True)


def test_there_is_no_model_of_all(task):
    with pytest.raises(UserError, match="RUN/model/chunks or RUN/model/rank"):
        task.example({"text": "x"}, "f:1")


def test_a_task_without_training_examples_is_named(task):
    examples = [e for e in task.read("train") if e.key == "chunks"]
    with pytest.raises(UserError, match="ranking has no training example"):
        task.fit(examples)


def test_no_padding_is_a_label(task, tokenizer):
    features = task.features(tokenizer, task.read("train"), training=True)
    longest = int(features.lengths.max())
    batch = features.batch([0], longest + 2)
    assert batch["chunks/labels"][0, -1] == -1
    assert TASK_INDEX in batch
