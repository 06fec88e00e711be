"""Tests the commands' error message where Apache Beam is not installed."""

import importlib.util

import pytest

from electra_tf.cli import app


@pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is not None, reason="is installed"
)
@pytest.mark.parametrize("command", ["score"])
def test_the_package_is_named(command, tiny_model, tmp_path, capfd):
    (tmp_path / "rows.jsonl").write_text('{"text": "a cat"}\n')
    assert app.run([
        command, f"--model={tiny_model}", f"--input={tmp_path}/rows.jsonl",
        f"--output={tmp_path}/o.jsonl", "--runner=beam",
    ]) == 2  # fmt: skip
    err = capfd.readouterr().err
    assert "--runner=beam needs the package apache-beam" in err
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]
