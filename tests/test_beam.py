"""Compares predictions on Apache Beam with those of the local commands."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import serving_models

from electra_tf.cli import app

beam = pytest.importorskip(
    "apache_beam",
    reason="apache-beam is not installed: pip install 'electra-tf[beam]'",
)

HERE = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
TWO = (
    f"--runner={HERE} --direct_num_workers=2 "
    "--direct_running_mode=multi_processing"
)
WORDS = "the cat dog house sat on a mat and that was very nice".split()


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_vocab_file):
    return serving_models.fine_tuned(
        str(tmp_path_factory.mktemp("m") / "model"), tiny_vocab_file,
        "multilabel",
    )  # fmt: skip


def write_rows(path, count, first=0):
    with open(path, "w", encoding="utf-8") as file:
        for i in range(first, first + count):
            words = [WORDS[(i * k + k) % len(WORDS)] for k in range(1 + i % 9)]
            row = {"id": i, "text": " ".join(words)}
            if i % 1000 == 7:
                row = {"id": i, "words": "no text"}
            file.write("half a li\n" if i == 1030 else f"{json.dumps(row)}\n")
    return str(path)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder / "a.jsonl", 2500)
    write_rows(folder / "b.jsonl", 1, 3000)
    return folder


@pytest.fixture(scope="module")
def local(model, rows, tmp_path_factory):
    """The local command's predictions for both files."""
    folder = tmp_path_factory.mktemp("local")
    for name in "ab":
        app.run([
            "predict", f"--model={model}", f"--input={rows}/{name}.jsonl",
            f"--output={folder}/{name}.jsonl",
        ])  # fmt: skip
    return folder


def on_beam(model, rows, output, *more):
    return app.run([
        "predict", f"--model={model}", f"--input={rows}/*.jsonl",
        f"--output={output}", "--runner=beam", "--rows_per_shard=1024", *more,
    ])  # fmt: skip


def test_a_second_launcher_is_refused(model, rows, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    part = tmp_path / "o.jsonl.partial" / "of the other"
    part.parent.mkdir()
    part.touch()
    # A file opened again has a lock of its own, as in another process.
    other = os.open(part.parent, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert on_beam(model, rows, tmp_path / "o.jsonl", "--overwrite") == 2
    assert part.exists()
    os.close(other)


def check(folder, local):
    made = json.loads((folder / "o.manifest.json").read_text())
    names = [f"o-{i:05d}-of-00004.jsonl" for i in range(4)]
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [*names, "o.manifest.json"]
    )
    assert [s["rows"] for s in made["shards"]] == [1024, 1024, 452, 1]
    assert made["rows"] == 2501 and made["errors"] == 4
    content = [(folder / name).read_bytes() for name in names]
    assert b"".join(content[:3]) == (local / "a.jsonl").read_bytes()
    assert content[3] == (local / "b.jsonl").read_bytes()


def test_the_local_answers(model, rows, local, tmp_path, capfd):
    assert on_beam(model, rows, tmp_path / "o.jsonl") == 3
    check(tmp_path, local)
    captured = capfd.readouterr()
    assert (
        "4 of 4 shards were predicted in this run, by 1 process" in captured.err
    )
    assert f"2,501 rows: {tmp_path}/o-*-of-*.jsonl" in captured.out
    assert "4 of them without a prediction, the first:" in captured.out
    assert on_beam(model, rows, tmp_path / "o.jsonl") == 2
    assert "o.manifest.json is there already" in capfd.readouterr().err


def test_unknown_tokens_are_reported(model, tmp_path, capfd):
    (tmp_path / "a.jsonl").write_text('{"text": "\u8fd9\u5bb6\u5e97"}\n')
    assert on_beam(model, tmp_path, tmp_path / "out" / "o.jsonl") == 0
    assert "of the tokens are [UNK]" in capfd.readouterr().err


def test_errors_of_a_worker_are_reported(model, rows, tmp_path, capfd):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jsonl").write_text('{"text": "a cat"}\n')
    (tmp_path / "bad" / "b.jsonl").write_text("")
    assert on_beam(model, tmp_path / "bad", tmp_path / "o.jsonl") == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("electra-tf predict: ") and "b.jsonl" in line
    assert not (tmp_path / "o.manifest.json").exists()


@pytest.mark.slow
def test_two_processes(model, rows, local, tmp_path, capfd):
    assert on_beam(model, rows, tmp_path / "o.jsonl", "--num_workers=2") == 3
    check(tmp_path, local)
    err = capfd.readouterr().err
    assert (
        "shards were predicted in this run, by 2 processes; the model was "
        in err
    )


@pytest.mark.slow
def test_a_killed_run_resumes_with_the_missing_shards(
    model, rows, local, tmp_path
):
    """After SIGKILL, a second process predicts only the missing shards."""
    words = [
        sys.executable, "-m", "electra_tf", "predict", f"--model={model}",
        f"--input={rows}/*.jsonl", f"--output={tmp_path}/o.jsonl",
        "--runner=beam", "--rows_per_shard=1024", "--num_workers=2",
        "--batch_size=1",
    ]  # fmt: skip
    partial = tmp_path / "o.jsonl.partial"
    process = subprocess.Popen(words, start_new_session=True)
    end = time.monotonic() + 300
    while not (there := list(partial.glob("0*.jsonl"))):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in there}
    words = [word for word in words if not word.startswith("--batch_size")]
    again = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert again.returncode == 3
    done = int(again.stderr.partition("resuming: ")[2].partition(" ")[0])
    assert len(kept) <= done < 4
    assert f"{4 - done} of 4 shards were predicted in this run" in again.stderr
    check(tmp_path, local)


ROWS = [{"id": i, "text": f"the {WORDS[i % 11]} sat"} for i in range(40)]


def pipeline(model, output, options, rows=None):
    from electra_tf.beam import Predict

    options = beam.options.pipeline_options.PipelineOptions(options.split())
    with beam.Pipeline(options=options) as made:
        _ = (
            made
            | beam.Create([*ROWS, "a house", ["the mat", "x"], 7, {"id": 9}])
            | beam.Reshuffle()
            | Predict(model)
            | beam.Map(json.dumps)
            | beam.io.WriteToText(f"{output}/rows")
        )


def check_pipeline(model, folder):
    import electra_tf

    lines = [
        json.loads(line)
        for path in folder.glob("rows-*")
        for line in path.read_text().splitlines()
    ]
    assert len(lines) == len(ROWS) + 4
    answers = {row["id"]: row for row in lines if "id" in row and "text" in row}
    whole = electra_tf.load(model).predict([row["text"] for row in ROWS])
    for row, answer in zip(ROWS, whole):
        assert answers[row["id"]] == row | json.loads(json.dumps(answer))
    errors = sorted(row["error"] for row in lines if "error" in row)
    assert len(errors) == 3 and any("7" in error for error in errors)


def test_in_a_pipeline(model, tmp_path):
    pipeline(model, tmp_path, f"--runner={HERE}")
    check_pipeline(model, tmp_path)


def test_windows_and_times_stay(model):
    from apache_beam.testing.util import assert_that, equal_to
    from apache_beam.transforms import window

    from electra_tf.beam import Predict

    options = beam.options.pipeline_options.PipelineOptions(
        [f"--runner={HERE}"]
    )
    with beam.Pipeline(options=options) as made:
        counts = (
            made
            | beam.Create(ROWS)
            | beam.Map(lambda r: window.TimestampedValue(r, r["id"]))
            | beam.WindowInto(window.FixedWindows(10))
            | Predict(model)
            | beam.Map(lambda row: ("all", row["id"]))
            | beam.GroupByKey()
            | beam.MapTuple(lambda _, ids: sorted(ids))
        )
        expected = [list(range(n, n + 10)) for n in range(0, 40, 10)]
        assert_that(counts, equal_to(expected))


@pytest.mark.slow
def test_in_a_pipeline_of_two_processes(model, tmp_path):
    pipeline(model, tmp_path, TWO)
    check_pipeline(model, tmp_path)


def test_scores(tiny_model, tmp_path, capfd):
    """Scores, reranked n-best lists and filtered texts equal the local ones."""
    lines = [" ".join(WORDS[(i + k) % 11] for k in range(i % 7))
             for i in range(1100)]  # fmt: skip
    text, lists = tmp_path / "text.txt", tmp_path / "lists.txt"
    text.write_text("\n".join(lines) + "\n")
    lists.write_text("".join(f"{i // 3}\tthe {WORDS[i % 11]}\t{-i}\n"
                             for i in range(30)))  # fmt: skip
    notes = {}
    for runner in ("local", "beam"):
        words = ["score", f"--model={tiny_model}", f"--runner={runner}"]
        words += ["--rows_per_shard=512"] if runner == "beam" else []
        capfd.readouterr()
        for source, name, more in (
            (text, "s.jsonl", []),
            (lists, "r.jsonl", ["--rerank", f"--best={tmp_path}/{runner}.tsv"]),
            (text, "k.txt", ["--keep_share=0.5"]),
        ):
            output = tmp_path / f"{runner}-{name}"
            assert app.run(
                [*words, f"--input={source}", f"--output={output}", *more]
            ) == 0  # fmt: skip
        last = capfd.readouterr().err.splitlines()
        notes[runner] = [line for line in last if "a token" in line]
    shards = sorted(tmp_path.glob("beam-s-*-of-00003.jsonl"))
    assert len(shards) == 3
    content = b"".join(path.read_bytes() for path in shards)
    assert content == (tmp_path / "local-s.jsonl").read_bytes()
    for name in ("-r.jsonl", "-k.txt", ".tsv"):
        assert (tmp_path / f"local{name}").read_bytes() == (
            tmp_path / f"beam{name}"
        ).read_bytes()
    assert notes["local"] == notes["beam"] and len(notes["beam"]) == 2
    assert not list(tmp_path.glob("*.partial"))


def test_vectors(tiny_model, rows, tmp_path):
    import numpy as np

    words = ["embed", f"--model={tiny_model}"]
    for name in "ab":
        app.run([
            *words, f"--input={rows}/{name}.jsonl",
            f"--output={tmp_path}/{name}.npy",
        ])  # fmt: skip
    assert app.run([
        *words, f"--input={rows}/*", f"--output={tmp_path}/v.npy",
        "--runner=beam", "--rows_per_shard=2000",
    ]) == 3  # fmt: skip
    whole = [np.load(tmp_path / f"v-{i:05d}-of-00003.npy") for i in range(3)]
    assert [len(part) for part in whole] == [2048, 452, 1]
    np.testing.assert_array_equal(
        np.concatenate(whole),
        np.concatenate([np.load(tmp_path / f"{n}.npy") for n in "ab"]),
    )


def test_evaluation(model, tmp_path, capfd):
    data = tmp_path / "data"
    data.mkdir()
    rows = [f"the {WORDS[i % 11]} sat\t{'red' if i % 3 else 'blue'}"
            for i in range(1500)]  # fmt: skip
    (data / "validation.tsv").write_text("\n".join(["text\tlabel", *rows]))
    shown = []
    for runner in ("local", "beam"):
        assert app.run([
            "evaluate", f"--model={model}", f"--data={data}",
            f"--output={tmp_path}/{runner}.json", f"--runner={runner}",
            f"--predictions={tmp_path}/{runner}",
        ]) == 0  # fmt: skip
        shown.append(capfd.readouterr().out)
    assert shown[0] == shown[1] and "validation" in shown[0]
    one, other = (
        tmp_path / runner / "validation" / "predictions.jsonl"
        for runner in ("local", "beam")
    )
    assert one.read_bytes() == other.read_bytes()
    assert not list(tmp_path.glob("*.partial"))
    words = ["evaluate", f"--model={model}", f"--data={data}", "--runner=beam"]
    assert app.run(words) == 2
    assert "give --output or --predictions" in capfd.readouterr().err


@contextlib.contextmanager
def worker_pool():
    """Starts Beam's worker pool; yields the flags that use it."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    path = f"{os.path.dirname(sys.executable)}:/usr/bin:/bin"
    pool = subprocess.Popen(
        [
            sys.executable, "-m",
            "apache_beam.runners.worker.worker_pool_main",
            f"--service_port={port}",
        ],
        env={**os.environ, "PATH": path},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                socket.create_connection(("localhost", port)).close()
                break
            time.sleep(0.1)
        yield (
            "--runner=PortableRunner --job_endpoint=embed "
            f"--environment_type=EXTERNAL --environment_config=localhost:{port}"
        )
    finally:
        pool.terminate()
        pool.wait(60)


@pytest.mark.slow
def test_on_a_worker_pool(model, rows, local, tmp_path):
    for name in ("own", "command"):
        (tmp_path / name).mkdir()
    with worker_pool() as arguments:
        pipeline(model, tmp_path / "own", arguments)
        output = tmp_path / "command" / "o.jsonl"
        assert on_beam(model, rows, output, f"--beam_args={arguments}") == 3
    check_pipeline(model, tmp_path / "own")
    check(tmp_path / "command", local)
