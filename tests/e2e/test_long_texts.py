"""Short requests beside long ones: the short form of `long_texts.py`."""

import json
import math

import check_export_models
import long_texts
import pytest

import electra_tf

pytest.importorskip("uvicorn")


def test_lengths_of_long_requests():
    found = long_texts.long_requests("q", "t", 1.0)
    sizes = [len(data) for data in found.values()]
    assert [math.floor(size / 1e5) for size in sizes[:2]] == [25, 39]
    assert 2_400_000 < sizes[2] < 2_500_000
    bodies = [json.loads(d.partition(b"\r\n\r\n")[2]) for d in found.values()]
    assert [len(body["instances"]) for body in bodies] == [1, 1, 300]


@pytest.mark.slow  # three exports, and a server in a process of its own
def test_short_requests_beside_long_ones(tmp_path, capsys):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "ark", "of"]
    flags = []
    for flag, kind in (
        ("qa", "qa"), ("tagging", "tagging"), ("asked", "classification"),
    ):  # fmt: skip
        run = check_export_models.save(tmp_path / f"run-{kind}", kind, tokens)
        electra_tf.export(run, str(tmp_path / kind))
        flags.append(f"--{flag}={tmp_path / kind}")
    status = long_texts.main(
        [*flags, "--seconds=8", "--scale=0.1", f"--log={tmp_path}"]
    )
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert status == 0
    assert len(report["answered"]) >= 3
    assert {each[1] for each in report["answered"]} == {200}
    assert report["quiet"]["requests"] > 100


def test_mistakes(tmp_path, capsys):
    flags = [f"--{name}={tmp_path}" for name in ("qa", "tagging", "asked")]
    with pytest.raises(SystemExit):
        long_texts.main(flags[:2])
    assert "--asked" in capsys.readouterr().err
