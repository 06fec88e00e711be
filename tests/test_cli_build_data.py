import signal
import subprocess
import sys
import time

import pytest

from electra_tf.cli import app
from electra_tf.data import manifest
from electra_tf.recipes.progress import ProgressLine
from electra_tf.text import corpus


@pytest.fixture
def flags(tmp_path, tiny_vocab_file, small_text_file):
    return [
        "build-data",
        f"--input={small_text_file}",
        f"--vocab={tiny_vocab_file}",
        f"--output={tmp_path / 'out'}",
    ]


def test_builds_and_reports(flags, tmp_path, capsys):
    more = ["--max_seq_length=64", "--nolower_case", "--num_shards=2"]
    assert app.run([*flags, *more, "--validation_fraction=0.1"]) == 0
    made = manifest.load_manifest(str(tmp_path / "out"))
    assert made.max_seq_length == 64 and not made.lower_case
    assert made.strip_accents is None
    shown = capsys.readouterr().out
    assert f"train: {made.splits['train'].examples} examples" in shown
    assert "0.1 MB in" in shown


def test_second_build_is_refused(flags, capsys):
    assert app.run(flags) == 0
    assert app.run(flags) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert app.run([*flags, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--input=/nowhere/*.txt", "/nowhere/*.txt"),
        ("--vocab=/nowhere/vocab.txt", "/nowhere/vocab.txt"),
        ("--max_seq_length=2", "--max_seq_length=2"),
        ("--legacy", "--validation_fraction=0"),
    ],
)
def test_mistakes_exit_with_2(flags, capsys, flag, message):
    assert app.run([*flags, flag]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_missing_flag_is_named(flags, capsys):
    assert app.run(flags[:-1]) == 2
    assert "output" in capsys.readouterr().err


def test_nothing_held_out_is_told(flags, capsys):
    more = ["--noblank_lines_separate_documents", "--validation_fraction=1e-9"]
    assert app.run([*flags, *more]) == 0
    assert "no document fell into the held-out" in capsys.readouterr().err


def test_progress_line_tells_rate_and_time_left(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    line = ProgressLine()
    now[0] += 20
    line.update(40_000_000, 100_000_000, "7 examples")
    line.update(41_000_000, 100_000_000, "8 examples")
    line.close()
    shown = capsys.readouterr().err
    assert shown.split() == (
        "40% 40 of 100 MB 2.0 MB/s 30 s left 7 examples".split()
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_build_cleanly(
    flags, tmp_path, tiny_vocab_file, number
):
    large = tmp_path / "large.txt"
    large.write_bytes(b"the cat sat on the mat. " * 20 + b"\n")
    with open(large, "ab") as handle:
        for _ in range(100):
            handle.write(b"the cat sat on the mat. \n" * (1 << 16))
    assert large.stat().st_size > 50 * corpus.PART_BYTES
    out = tmp_path / "out"
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "electra_tf",
            *flags,
            f"--input={large}",
            "--num_workers=2",
        ],
        stderr=subprocess.PIPE,
        text=True,
        # In the background of a shell, SIGINT is ignored, and children
        # inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    building = out / manifest.BUILDING
    for _ in range(600):
        sizes = [p.stat().st_size for p in building.glob("train-*")]
        if any(sizes):
            break
        time.sleep(0.1)
    child.send_signal(number)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "interrupted" in error and "Traceback" not in error
    assert list(out.iterdir()) == []
