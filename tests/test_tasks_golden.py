"""Tests fine-tuning against values recorded from the original."""

import json

import numpy as np
import pytest
import qa_toys
import tensorflow as tf
from text_rows import pair_features

from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.models.task_networks import layer_rates, task_network
from electra_tf.tasks import losses
from electra_tf.tasks.qa import answers as qa_answers
from electra_tf.tasks.qa import examples as qa_examples
from electra_tf.tasks.qa import features as qa_features
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.training.optimizer import OptimizerConfig, make_optimizer

TOLERANCE = 2e-5
# Logits outside the text are lowered by 1000; floats of that size are 6e-5
# apart.
OUTSIDE_TOLERANCE = 1e-4
HEADS = {
    "mrpc": TaskHeadConfig(dropout=0.0),
    "squad": TaskHeadConfig("joint_span", answerable=True, dropout=0.0),
}
LAYERS = {
    "mrpc": {"output": "dense"},
    "squad": {
        "start": "dense",
        "end_hidden": "qa_hidden",
        "end": "dense_1",
        "answerable_hidden": "dense_2",
        "answerable": "dense_3",
    },
}
INPUTS = ("input_ids", "input_mask", "segment_ids")


def original_names(path: str, task: str) -> list[str]:
    """Returns the original's names of our variable (three for qkv)."""
    path = path.removeprefix("discriminator/").removeprefix("encoder/")
    path = path.replace("layer_norm/", "LayerNorm/")
    scope, rest = path.split("/", 1)
    if scope == "task":
        layer, leaf = rest.split("/")
        return [f"task_specific/{task}/{LAYERS[task][layer]}/{leaf}"]
    if scope in ("embeddings", "embeddings_project"):
        return [f"electra/{path}"]
    scope = f"electra/encoder/{scope}"
    if rest.startswith("attention/qkv/"):
        leaf = rest.rsplit("/", 1)[1]
        return [
            f"{scope}/attention/self/{name}/{leaf}"
            for name in ("query", "key", "value")
        ]
    layer, leaf = rest.rsplit("/", 1)
    theirs = {
        "attention/output": "attention/output/dense",
        "attention_LayerNorm": "attention/output/LayerNorm",
        "intermediate": "intermediate/dense",
        "output": "output/dense",
        "output_LayerNorm": "output/LayerNorm",
    }[layer]
    return [f"{scope}/{theirs}/{leaf}"]


class Recorded:
    """Reads one of the folders in golden/finetune."""

    def __init__(self, shared_dir, task):
        self.task = task
        folder = shared_dir / "golden" / "finetune" / task
        if not folder.is_dir():
            pytest.skip(f"no {folder}")
        self.checkpoint = tf.train.load_checkpoint(str(folder / "step0.ckpt"))
        self.settings = json.loads((folder / "finetune.json").read_text())
        with np.load(folder / "finetune.npz") as file:
            self.arrays = dict(file)

    def of(self, prefix, variable, suffix=""):
        """Returns a recorded array in the shape of `variable`, or None."""
        names = original_names(variable.path, self.task)
        names = [f"{prefix}{name}{suffix}" for name in names]
        # The token table is recorded before the first step and at the end.
        if names[0] not in self.arrays:
            assert "word_embeddings" in names[0] and "/step3/" not in prefix
            return None
        return np.concatenate([self.arrays[n] for n in names], axis=-1)

    def network(self):
        kwargs = self.settings["kwargs"]
        shape = kwargs["model_hparam_overrides"]
        model = task_network(
            ModelConfig(
                vocab_size=kwargs["vocab_size"],
                embedding_size=kwargs["embedding_size"],
                hidden_size=shape["hidden_size"],
                num_layers=shape["num_hidden_layers"],
                num_heads=shape["num_attention_heads"],
                intermediate_size=4 * shape["hidden_size"],
                hidden_dropout=0.0,
                attention_dropout=0.0,
            ),
            HEADS[self.task],
        )
        model.build()
        for variable in model.trainable_variables:
            names = original_names(variable.path, self.task)
            parts = [self.checkpoint.get_tensor(n) for n in names]
            variable.assign(np.concatenate(parts, axis=-1))
        return model

    def batch(self, split, rows=None):
        features = {}
        for name, value in self.arrays.items():
            folder, _, name = name.partition("/")
            if folder == f"{split}_features":
                name = name.removeprefix(f"{self.task}_")
                features[name] = tf.constant(value[:rows])
        return features


@pytest.fixture(scope="module")
def tokenizer(shared_dir):
    folder = shared_dir / "golden" / "finetune" / "data_dir"
    return Tokenizer(str(folder / "vocab.txt"))


@pytest.fixture(scope="module")
def data_dir(shared_dir):
    return shared_dir / "golden" / "finetune" / "data_dir"


def close(actual, expected, tolerance=TOLERANCE, name=""):
    np.testing.assert_allclose(
        actual, expected, atol=tolerance, rtol=1e-6, err_msg=name
    )


def rows_of(task, split, data_dir):
    """Returns the texts of each row, as the original's task reads them."""
    first_line, columns = {
        "mrpc": (1, (3, 4)), "sts": (1, (7, 8)), "cola": (0, (3,)),
    }[task]  # fmt: skip
    path = data_dir / "finetuning_data" / task / f"{split}.tsv"
    lines = path.read_text(encoding="utf-8").splitlines()[first_line:]
    rows = [[line.split("\t")[c] for c in columns] for line in lines]
    if split == "train" and len(columns) == 2:
        # The original trains on both orders of a pair.
        rows += [row[::-1] for row in rows]
    return rows


def stored_features(task, split, data_dir):
    """Returns the original's serialised features, with the eid of each row."""
    path = data_dir / "models" / "ft" / "finetuning_tfrecords"
    path = path / f"{task}_tfrecords" / f"{task}_{split}.tfrecord"
    rows = []
    for record in tf.data.TFRecordDataset(str(path)):
        example = tf.train.Example.FromString(record.numpy())
        feature = example.features.feature
        rows.append({n: list(feature[n].int64_list.value) for n in feature})
    return [row for row in rows if any(row["input_mask"])]


@pytest.mark.parametrize("task", ["mrpc", "cola", "sts"])
@pytest.mark.parametrize("split", ["train", "dev"])
def test_classification_features(task, split, tokenizer, data_dir):
    rows = rows_of(task, split, data_dir)
    ours = pair_features(
        tokenizer,
        [row[0] for row in rows],
        [row[1] for row in rows] if len(rows[0]) > 1 else None,
        64,
    )
    stored = stored_features(task, split, data_dir)
    assert len(stored) == len(rows)
    for row in stored:
        (eid,) = row[f"{task}_eid"]
        for name in INPUTS:
            assert ours[name][eid].tolist() == row[name]


def test_recorded_arrays_are_the_stored_ones(shared_dir, tokenizer, data_dir):
    recorded = Recorded(shared_dir, "mrpc")
    for split in ("train", "dev"):
        rows = rows_of("mrpc", split, data_dir)
        ours = pair_features(
            tokenizer, [r[0] for r in rows], [r[1] for r in rows], 64
        )
        golden = recorded.batch(split)
        eid = golden["eid"].numpy()[: len(rows)]
        for name in INPUTS:
            np.testing.assert_array_equal(
                ours[name][eid], golden[name][: len(rows)]
            )


def windows_of(task, split, tokenizer, data_dir):
    path = data_dir / "finetuning_data" / task / f"{split}.json"
    examples = qa_examples.squad_examples(json.loads(path.read_text()), path)
    training = split == "train"
    if training:
        examples = [
            e for e in examples if e.impossible or qa_examples.locate_answer(e)
        ]
    config = qa_features.QAFeatureConfig(64, 24, 16)
    windows = qa_features.make_windows(tokenizer, examples, config, training)
    return examples, windows


@pytest.mark.parametrize("task", ["squad", "squadv1"])
@pytest.mark.parametrize("split", ["train", "dev"])
def test_question_features(task, split, tokenizer, data_dir):
    _, windows = windows_of(task, split, tokenizer, data_dir)
    ours = qa_toys.window_arrays(windows, tokenizer.vocab, 64)
    place = {1000 * w.example + w.index: i for i, w in enumerate(windows)}
    stored = stored_features(task, split, data_dir)
    assert len(stored) == len(windows)
    for row in stored:
        i = place[row[f"{task}_eid"][0]]
        for name in INPUTS:
            assert ours[name][i].tolist() == row[name]
        for name in ("start_positions", "end_positions", "is_impossible"):
            assert [ours[name][i]] == row.get(f"{task}_{name}", [0])


def test_recorded_question_features(shared_dir, tokenizer, data_dir):
    recorded = Recorded(shared_dir, "squad")
    for split in ("train", "dev"):
        _, windows = windows_of("squad", split, tokenizer, data_dir)
        ours = qa_toys.window_arrays(windows, tokenizer.vocab, 64)
        golden = recorded.batch(split)
        place = {1000 * w.example + w.index: i for i, w in enumerate(windows)}
        rows = [place[e] for e in golden["eid"].numpy()[: len(windows)]]
        for name, value in ours.items():
            np.testing.assert_array_equal(
                value[rows], golden[name][: len(windows)], err_msg=name
            )


def test_classifier_output(shared_dir):
    recorded = Recorded(shared_dir, "mrpc")
    batch, golden = recorded.batch("dev"), recorded.arrays
    logits = recorded.network()(*(batch[n] for n in INPUTS)).logits
    close(logits, golden["dev_out/logits"])
    np.testing.assert_array_equal(
        np.argmax(logits, axis=-1), golden["dev_out/predictions"]
    )
    close(
        losses.classification_loss(logits, batch["label_ids"]),
        golden["dev_out/loss"],
    )


def test_span_output(shared_dir):
    recorded = Recorded(shared_dir, "squad")
    batch, golden = recorded.batch("dev"), recorded.arrays
    spans = recorded.network()(*(batch[n] for n in INPUTS)).spans
    close(spans.impossible_logit, golden["dev_out/answerable_logit"], TOLERANCE)
    for name in ("start_logits", "start_top_log_probs", "end_top_log_probs"):
        ours, theirs = getattr(spans, name).numpy(), golden[f"dev_out/{name}"]
        inside = theirs > -500
        close(ours[inside], theirs[inside], name=name)
        close(ours, theirs, OUTSIDE_TOLERANCE, name)
    for name in ("start", "end"):
        index = golden[f"dev_out/{name}_top_index"]
        # Equally likely positions may be in another order.
        tied = np.diff(golden[f"dev_out/{name}_top_log_probs"]) > -1e-6
        tied = np.pad(tied, [(0, 0)] * (index.ndim - 1) + [(1, 1)])
        tied = tied[..., 1:] | tied[..., :-1]
        same = getattr(spans, f"{name}_top_index").numpy() == index
        assert np.all(same | tied)
        assert np.mean(same) > 0.999
    # There is no true start in evaluation: the original's end is uniform.
    spans = spans._replace(end_logits=tf.zeros_like(spans.start_logits))
    loss = losses.span_loss(
        spans, batch["start_positions"], batch["end_positions"],
        batch["is_impossible"],
    )  # fmt: skip
    close(loss, golden["dev_out/loss"])


def test_recorded_answers(shared_dir, tokenizer, data_dir):
    recorded = Recorded(shared_dir, "squad")
    examples, windows = windows_of("squad", "dev", tokenizer, data_dir)
    batch = recorded.batch("dev", len(windows))
    spans = recorded.network()(*(batch[n] for n in INPUTS)).spans
    arrays = qa_answers.beam_tensors(spans, 20)
    arrays = {name: value.numpy() for name, value in arrays.items()}
    beams = [
        qa_answers.beam_of({n: v[i] for n, v in arrays.items()}, True)
        for i in range(len(windows))
    ]
    expected = recorded.settings["dev_preds"]
    for i, example in enumerate(examples):
        rows = [n for n, w in enumerate(windows) if w.example == i]
        prediction = qa_answers.predict(
            [windows[n] for n in rows],
            [beams[n] for n in rows],
            qa_answers.AnswerConfig(),
        )
        name = example.question_id
        assert prediction.text == expected["preds"][name]
        close(prediction.null_odds, expected["na"][name])
        assert sum(c.probability for c in prediction.n_best) == pytest.approx(1)


def optimizer_for(recorded, model, **overrides):
    settings = recorded.settings
    steps = settings["num_train_steps"]
    warmup = settings.get("warmup_proportion", 0.1)
    optimizer = make_optimizer(
        OptimizerConfig(
            learning_rate=settings["learning_rate"],
            num_warmup_steps=int(steps * warmup),
            weight_decay_rate=settings.get("weight_decay_rate", 0.01),
            **overrides,
        ),
        steps,
        learning_rate_multipliers=layer_rates(
            settings["layerwise_lr_decay"], model.config.num_layers
        ),
    )
    variables = model.trainable_variables
    optimizer.build(variables)
    slots = {v.path.rsplit("/", 1)[-1]: v for v in optimizer.variables}
    for variable in variables:
        for ours, theirs in ("m", "adam_m"), ("v", "adam_v"):
            slot = slots[f"{variable.path.replace('/', '_')}_{ours}"]
            slot.assign(recorded.of("train/step0/var/", variable, f"/{theirs}"))
    return optimizer


@pytest.mark.parametrize("task", ["mrpc", "squad"])
def test_layer_learning_rates(task, shared_dir):
    recorded = Recorded(shared_dir, task)
    model = recorded.network()
    optimizer = optimizer_for(recorded, model)
    share = layer_rates(0.8, model.config.num_layers)
    for row in recorded.settings["log"]:
        optimizer.iterations.assign(row["step"])
        rate = optimizer.learning_rate.numpy()
        for part, expected in row["lr"].items():
            part = part.replace("task_specific/", "task/output")
            np.testing.assert_allclose(
                rate * share(f"discriminator/encoder/{part.strip('/')}/kernel"),
                expected,
                rtol=1e-6,
            )


@pytest.mark.parametrize("task", ["mrpc", "squad"])
def test_updates_from_recorded_gradients(task, shared_dir):
    recorded = Recorded(shared_dir, task)
    model = recorded.network()
    # The original clips by a norm that counts duplicate rows of the sparse
    # gradient separately; that norm is taken from the record here.
    optimizer = optimizer_for(recorded, model, max_grad_norm=0.0)
    variables = model.trainable_variables
    for step, row in enumerate(recorded.settings["log"]):
        clip = 1.0 / max(1.0, row["norm"])
        gradients = [
            tf.constant(recorded.of(f"train/step{step}/grad/", v) * clip)
            for v in variables
        ]
        optimizer.apply(gradients, variables)
        for v in variables:
            expected = recorded.of(f"train/step{step + 1}/var/", v)
            if expected is not None:
                close(v, expected, 1e-6, f"step {step} {v.path}")


@pytest.mark.parametrize("task", ["mrpc", "squad"])
def test_training_steps_end_to_end(task, shared_dir):
    recorded = Recorded(shared_dir, task)
    model = recorded.network()
    optimizer = optimizer_for(recorded, model)
    variables = model.trainable_variables
    rows = recorded.settings["kwargs"]["train_batch_size"]
    batch = recorded.batch("train", rows)
    inputs = [batch[n] for n in INPUTS]

    def loss_of_examples():
        if task == "mrpc":
            logits = model(*inputs, training=True).logits
            return losses.classification_loss(logits, batch["label_ids"])
        start = batch["start_positions"]
        spans = model(*inputs, start_positions=start, training=True).spans
        return losses.span_loss(
            spans, start, batch["end_positions"], batch["is_impossible"]
        )

    @tf.function
    def train_step():
        with tf.GradientTape() as tape:
            each = loss_of_examples()
            loss = tf.reduce_sum(each)  # ours is a mean, the original's a sum
        gradients = tape.gradient(loss, variables)
        optimizer.apply(gradients, variables)
        return each, [tf.convert_to_tensor(g) for g in gradients]

    for step, row in enumerate(recorded.settings["log"]):
        each, gradients = train_step()
        close(each, recorded.arrays[f"train/step{step}/out/loss"], 1e-4)
        np.testing.assert_allclose(sum(each), row["loss"], rtol=1e-4)
        np.testing.assert_allclose(
            optimizer.last_global_norm.numpy(), row["norm_dense"], rtol=1e-4
        )
        for v, gradient in zip(variables, gradients):
            expected = recorded.of(f"train/step{step}/grad/", v)
            scale = max(1.0, np.abs(expected).max())
            close(gradient / scale, expected / scale, 1e-4, v.path)
            expected = recorded.of(f"train/step{step + 1}/var/", v)
            if expected is not None:
                close(v, expected, 1e-4, f"step {step} {v.path}")
