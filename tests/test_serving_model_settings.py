"""Tests of the settings of one model, and of files of batching."""

import logging

import pytest

from electra_tf.errors import UserError
from electra_tf.serving.server import model_settings
from electra_tf.serving.server.limits import ModelSettings

pytest.importorskip("google.protobuf")

BATCHING = """
max_batch_size { value: 64 }
batch_timeout_micros { value: 2500 }
max_enqueued_batches { value: 10 }
num_batch_threads { value: 2 }
"""


def test_batching_parameters(tmp_path, caplog):
    path = tmp_path / "batching_parameters.txt"
    path.write_text(BATCHING)
    with caplog.at_level(logging.INFO, "electra_tf.serving"):
        found = model_settings.read_batching(str(path))
    assert found == ModelSettings(
        rows=64, wait_seconds=0.0025, parallel=2, pending_rows=640
    )
    assert not caplog.records
    path.write_text("batch_timeout_micros { value: 0 }")
    found = model_settings.read_batching(str(path))
    assert found == ModelSettings(wait_seconds=0.0)


def test_settings_without_a_meaning_are_reported(tmp_path, caplog):
    path = tmp_path / "batching_parameters.txt"
    path.write_text(
        BATCHING + "allowed_batch_sizes: 8 allowed_batch_sizes: 64\n"
        'thread_pool_name { value: "x" } pad_variable_length_inputs: true'
    )
    with caplog.at_level(logging.INFO, "electra_tf.serving"):
        assert model_settings.read_batching(str(path)).rows == 64
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 3
    assert "allowed_batch_sizes is ignored" in logged[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 3", "parameters.txt:1:"),
        ("max_batch { value: 3 }", "parameters.txt:1:.*max_batch"),
        ("max_batch_size { value: 0 }", "max_batch_size: expected at least 1"),
        ("batch_timeout_micros { value: -1 }", "micros: expected at least 0"),
        ("max_enqueued_batches { value: 3 }", "needs max_batch_size"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            "allowed_batch_sizes: expected rising numbers up to.*8; got 4",
        ),
    ],
)
def test_mistakes_in_batching_parameters(tmp_path, text, message):
    path = tmp_path / "parameters.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        model_settings.read_batching(str(path))


def test_what_an_export_writes_is_read(tmp_path):
    from electra_tf.exporting import serving_files

    serving_files.write(str(tmp_path), "toy", "{}")
    path = tmp_path / "batching_parameters.txt"
    assert model_settings.read_batching(str(path)).parallel == 2


def test_settings_of_one_model(tmp_path):
    version = tmp_path / "toy" / "3"
    version.mkdir(parents=True)
    assert model_settings.of_version(str(version)) == ModelSettings()
    (version / "batching_params.pbtxt").write_text(BATCHING)
    found = model_settings.of_version(str(version))
    assert (found.rows, found.pending_rows) == (64, 640)
    (tmp_path / "toy" / "serve.yaml").write_text(
        "batch_rows: 4\nbatch_wait_ms: 0\nmax_text_bytes: 1000\n"
        "answer_timeout: 2.5\n"
    )
    assert model_settings.of_version(str(version) + "/") == ModelSettings(
        rows=4, wait_seconds=0.0, parallel=2, pending_rows=640,
        text_bytes=1000, answer_seconds=2.5,
    )  # fmt: skip
    (tmp_path / "toy" / "serve.yaml").write_text("batch_row: 4\n")
    with pytest.raises(UserError, match=r"serve\.yaml:1.*batch_rows"):
        model_settings.of_version(str(version))
    (tmp_path / "toy" / "serve.yaml").write_text("batch_rows: 0\n")
    with pytest.raises(UserError, match="at least 1"):
        model_settings.of_version(str(version))
