"""Tests that a failed save leaves no partial file and gives one error line."""

import contextlib
import pathlib
import resource
import signal

import keras
import numpy as np
import pytest

import electra_tf
from electra_tf.errors import UserError


@pytest.fixture(scope="module")
def classifier(tiny_model):
    return electra_tf.TextClassifier.from_pretrained(tiny_model, num_classes=2)


@pytest.fixture
def full_disk():
    """Limits files to 4 KB, so that a write fails as on a full disk."""

    @contextlib.contextmanager
    def limited():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)

    return limited


def refused(save, match):
    """Asserts that a save fails with a one-line error that matches."""
    with pytest.raises(UserError, match=match) as found:
        save()
    assert "\n" not in str(found.value)


def test_a_full_disk(classifier, tmp_path, full_disk):
    file, folder = tmp_path / "model.keras", tmp_path / "model"
    with full_disk():
        refused(lambda: classifier.save(file), r"cannot write .*model\.keras: ")
        refused(
            lambda: classifier.save_pretrained(folder), r"cannot write .*: "
        )
    assert not list(tmp_path.iterdir())


def test_what_was_there_stays(classifier, tmp_path, full_disk):
    file, folder = tmp_path / "model.keras", tmp_path / "model"
    classifier.save(file)
    classifier.save_pretrained(folder)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with full_disk():
        refused(lambda: classifier.save(file), "cannot write")
        refused(lambda: classifier.save_pretrained(folder), "cannot write")
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert before == after


class Unsaved(keras.metrics.Metric):
    """A metric that cannot be written to a file."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Does nothing."""

    def result(self):
        """Returns 0."""
        return 0.0

    def get_config(self):
        """Fails, as Keras' default does."""
        raise NotImplementedError("Unsaved has no config")


def test_what_cannot_be_saved(tiny_model, tmp_path):
    model = electra_tf.TextClassifier.from_pretrained(tiny_model, num_classes=2)
    model.compile("adam", metrics=[Unsaved()])
    refused(
        lambda: model.save(tmp_path / "model.keras"),
        r"cannot save .*model\.keras: Unsaved has no config",
    )
    assert not list(tmp_path.iterdir())


def test_wrong_paths(classifier, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    there = tmp_path / "there.keras"
    there.mkdir()
    absent = tmp_path / "absent" / "model.keras"
    refused(lambda: classifier.save(tmp_path / "model"), "ends in .keras")
    refused(
        lambda: classifier.save(absent), r"absent/model\.keras: No such file"
    )
    refused(lambda: classifier.save(there), r"there\.keras: Is a directory")
    refused(lambda: classifier.save_pretrained(file), "a file is there")
    refused(
        lambda: classifier.save_pretrained(file / "model"), "is not a directory"
    )
    refused(lambda: classifier.save_pretrained(""), "path: is empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "there.keras"]
    assert not list(there.iterdir())
    assert file.read_text(encoding="utf-8") == "mine"


def test_a_network_is_saved_as_well(tiny_model, tmp_path, full_disk):
    encoder = electra_tf.Encoder.from_pretrained(tiny_model)
    with full_disk():
        refused(
            lambda: encoder.save_pretrained(tmp_path / "model"), "cannot write"
        )
    assert not list(tmp_path.iterdir())
    encoder.save_pretrained(pathlib.Path(tmp_path, "model"))
    again = electra_tf.Encoder.from_pretrained(str(tmp_path / "model"))
    for a, b in zip(encoder.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
