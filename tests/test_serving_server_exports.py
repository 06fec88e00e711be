"""Tests that requests to real exports give the same beside others."""

import threading

import numpy as np
import pytest
import serving_models
import serving_toy
from serving_models import ODD_TEXTS

import electra_tf
from electra_tf.exporting import servable
from electra_tf.exporting import writer as export
from electra_tf.serving.server import limits

# Exporting two networks takes half a minute.
pytestmark = pytest.mark.slow

pytest.importorskip("uvicorn")

TEXTS = [*ODD_TEXTS[:12], "[MASK] the [MASK]", "the [MASK]"]


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_vocab_file):
    """A server of a discriminator and a generator, which pad outputs."""
    folder = tmp_path_factory.mktemp("exports")
    serving_models.pretrained(folder / "run", tiny_vocab_file)
    models = {}
    for part in ("discriminator", "generator"):
        models[part] = folder / part
        opened = servable.open_pretrained(str(folder / "run"), part)
        names = ["serving_default", "embed"]
        export.export(opened, str(models[part]), names=names)
    batching = limits.Batching(wait_seconds=0.3)
    with serving_toy.served(models, batching=batching) as found:
        yield found


@pytest.mark.parametrize("name", ["discriminator", "generator"])
def test_rows_that_share_a_call(server, name):
    client = electra_tf.Client(server.url, name)
    found = {}

    def go(index):
        found[index] = client.predict([TEXTS[index]])[0]

    threads = [
        threading.Thread(target=go, args=(index,))
        for index in range(len(TEXTS))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, text in enumerate(TEXTS):
        alone = client.predict([text])[0]
        assert found[index].keys() == alone.keys()
        for key, value in alone.items():
            if key.endswith(("probabilities", "probability")):
                assert np.shape(found[index][key]) == np.shape(value)
                np.testing.assert_allclose(found[index][key], value, atol=1e-5)
            else:
                assert found[index][key] == value


def test_every_signature_shares_calls(server):
    for name in ("discriminator", "generator"):
        model = server.versions.get(name)
        for info in model.signatures.values():
            assert info.divisible
        client = electra_tf.Client(server.url, name)
        vectors = client.predict(TEXTS, signature="embed")
        size = serving_models.SHAPE["hidden_size"]
        assert {len(vector) for vector in vectors} <= {size, size // 2}
