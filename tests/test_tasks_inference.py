"""Tests that outputs of inference do not depend on the batches."""

import finetuning_toy as toy
import numpy as np
import pytest
import tensorflow as tf

from electra_tf.prediction.predictor import Inference
from electra_tf.tasks.features import Features


def run(model, features, kind="sequence", **settings):
    return Inference(model, toy.ToyTask(kind), **settings).run(features)


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_batches_do_not_matter(kind):
    model = toy.network(kind)
    features = toy.features(40, group=2)
    one = run(model, features, kind, batch_size=1, pad_to_multiple=1)
    assert len(one) == 80
    assert np.ptp([o["logits"].ravel()[0] for o in one]) > 1e-3
    for settings in (
        {"batch_size": 1},
        {"batch_size": 3},
        {"batch_size": 32},
        {"batch_size": 32, "pad_to_multiple": 64},
        {"batch_size": 32, "bucket": False},
        {"batch_size": 100, "bucket": False, "pad_to_multiple": 1},
    ):
        many = run(model, features, kind, **settings)
        for row, (a, b) in enumerate(zip(one, many, strict=True)):
            real = features.lengths[row] if kind == "token" else None
            np.testing.assert_allclose(
                a["logits"][:real], b["logits"][:real], atol=1e-5
            )


def test_rows_are_in_their_order():
    model = toy.network()
    features = toy.features(20)
    found = run(model, features, batch_size=6)
    for row in range(20):
        batch = features.batch([row])
        alone = model(
            batch["input_ids"], batch["input_mask"], batch["segment_ids"]
        )
        np.testing.assert_allclose(
            found[row]["logits"], alone.logits[0], atol=1e-5
        )


def test_it_is_traced_once_and_sees_new_weights():
    model = toy.network()
    traces = []

    class Watched(toy.ToyTask):
        def outputs(self, outputs):
            traces.append(1)
            return super().outputs(outputs)

    inference = Inference(model, Watched(), batch_size=4)
    before = inference.run(toy.features(10))
    model.head.output_dense.bias.assign([5.0, -5.0])
    after = inference.run(toy.features(10))
    for a, b in zip(before, after):
        np.testing.assert_allclose(
            b["logits"] - a["logits"], [5.0, -5.0], atol=1e-5
        )
    inference.run(toy.features(9, longest=12, seed=3))
    assert traces == [1]


def test_progress_and_stopping():
    inference = Inference(toy.network(), toy.ToyTask(), batch_size=4)
    seen = []
    inference.run(toy.features(10), lambda *a: seen.append(a))
    assert seen == [(4, 10), (8, 10), (10, 10)]
    stops = iter([False, True])
    assert inference.run(toy.features(10), None, lambda: next(stops)) is None
    empty = Features(
        np.zeros([1], "int64"),
        {name: np.zeros([0], "i4") for name in ("input_ids", "segment_ids")},
    )
    assert inference.run(empty) == []


def test_several_outputs_of_any_rank():
    class Two(toy.ToyTask):
        def outputs(self, outputs):
            logits = outputs.logits
            return {"logits": logits, "best": tf.argmax(logits, -1)}

    found = Inference(toy.network(), Two()).run(toy.features(5))
    assert found[3]["best"] == np.argmax(found[3]["logits"])
    assert found[3]["best"].shape == ()
