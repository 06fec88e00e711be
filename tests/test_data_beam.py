"""Compares builds and word counts on Apache Beam with the local ones."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from data_builds import settings_of

from electra_tf.cli import app
from electra_tf.data import builder, manifest
from electra_tf.errors import UserError

pytest.importorskip(
    "apache_beam",
    reason="apache-beam is not installed: pip install 'electra-tf[beam]'",
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory, sample_text_dir):
    """Text files with a repeated part and bad bytes, and a file of records."""
    folder = tmp_path_factory.mktemp("texts")
    sources = sorted(sample_text_dir.glob("*.txt"))
    for number, source in enumerate(sources[:2]):
        text = source.read_text()[: 90_000 * (number + 1)]
        (folder / f"{number}.txt").write_text(text)
    (folder / "2.txt").write_bytes(
        (folder / "0.txt").read_bytes()[:30_000] + b"bad \xff bytes\n"
    )
    records = [{"text": f"Record {i}. It says it."} for i in range(60)]
    records += records[:30]  # duplicates, some of them held out
    lines = [json.dumps(r) for r in [*records, {"title": "no text"}]]
    (folder / "3.jsonl").write_text("\n".join(lines))
    (folder / "4.txt").write_text("")
    return folder


def _settings(texts, vocab, output, **more):
    return settings_of(
        input=f"{texts}/*",
        vocab=vocab,
        output=str(output),
        max_seq_length=48,
        validation_fraction=0.1,
        num_workers=1,
        **more,
    )


def _same(one: pathlib.Path, other: pathlib.Path) -> None:
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    assert "manifest.json" in names
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize(
    "more",
    [
        {"num_shards": 3},
        {"drop_duplicates": True, "num_shards": 2, "seed": 5},
        {"blank_lines_separate_documents": False, "min_line_length": 20},
    ],
)
def test_the_bytes_of_the_local_build(
    more, texts, tiny_vocab_file, tmp_path, monkeypatch
):
    from electra_tf.data import beam
    from electra_tf.text import corpus

    # Small parts, so that there are many and documents are cut into pieces.
    read = corpus.Reader.__init__
    monkeypatch.setitem(read.__kwdefaults__, "part_bytes", 1 << 13)
    monkeypatch.setattr(corpus, "PART_BYTES", 1 << 13)
    local = _settings(texts, tiny_vocab_file, tmp_path / "local", **more)
    made = builder.build_data(local)
    there = dataclasses.replace(local, output=str(tmp_path / "beam"))
    assert beam.build_data(there) == made
    _same(tmp_path / "local", tmp_path / "beam")
    assert made.repairs["invalid_utf8_replaced"]
    assert made.splits["validation"].documents >= 4
    if "drop_duplicates" in more:
        assert made.repairs["duplicate_documents_dropped"] >= 30


pools = {}


@contextlib.contextmanager
def _worker_pool(python_from):
    """Starts Beam's worker pool with that PATH; yields its address."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pool = subprocess.Popen(
        [
            sys.executable, "-m",
            "apache_beam.runners.worker.worker_pool_main",
            f"--service_port={port}",
        ],
        env={**os.environ, "PATH": f"{python_from}:/usr/bin:/bin"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                socket.create_connection(("localhost", port)).close()
                break
            time.sleep(0.1)
        pools[f"localhost:{port}"] = pool
        yield f"localhost:{port}"
    finally:
        pool.terminate()
        pool.wait(60)


def _pool_args(address):
    return (
        "--beam_args=--runner=PortableRunner --job_endpoint=embed "
        f"--environment_type=EXTERNAL --environment_config={address}"
    )


@pytest.mark.slow
def test_two_processes_and_a_worker_pool(
    texts, tiny_vocab_file, tmp_path, capfd
):
    words = [
        "build-data", f"--input={texts}/*", f"--vocab={tiny_vocab_file}",
        "--num_shards=3", "--num_workers=2", "--drop_duplicates",
        "--validation_fraction=0.1",
    ]  # fmt: skip
    assert app.run([*words, f"--output={tmp_path}/local"]) == 0
    capfd.readouterr()  # discards the progress report
    assert app.run([*words, f"--output={tmp_path}/beam", "--runner=beam"]) == 0
    _same(tmp_path / "local", tmp_path / "beam")
    there = [*words, f"--output={tmp_path}/pool", "--runner=beam"]
    ours = os.path.dirname(sys.executable)
    with _worker_pool(ours) as one, _worker_pool(ours) as other:
        assert app.run([*there, _pool_args(f"{one},{other}")]) == 0
        assert app.run([*there, "--overwrite", _pool_args(one)]) == 0
    _same(tmp_path / "local", tmp_path / "pool")
    # No message of Beam, of gRPC or of a worker's TensorFlow is printed.
    assert capfd.readouterr().err == ""


def test_the_vocabulary(texts, tmp_path):
    words = ["build-vocab", f"--input={texts}/*", "--vocab_size=900"]
    local, there = tmp_path / "local.txt", tmp_path / "beam.txt"
    assert app.run([*words, f"--output={local}"]) == 0
    assert app.run([*words, f"--output={there}", "--runner=beam"]) == 0
    assert there.read_bytes() == local.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "beam.txt", "local.txt",
    ]  # fmt: skip


def test_the_counts_of_words(texts):
    from electra_tf.data import beam_corpus
    from electra_tf.text import corpus, vocab_training

    paths = sorted(map(str, texts.iterdir()))
    found = beam_corpus.count_words_of(
        paths,
        str(texts / "counting"),
        lower_case=True,
        strip_accents=None,
        text_field="text",
    )
    lines = corpus.iter_lines(paths)
    assert found == vocab_training.count_words(lines, True, None)
    assert not (texts / "counting").exists()


@pytest.fixture
def build(texts, tiny_vocab_file, tmp_path, capfd):
    """A function: runs a build on Beam that fails; returns its error line."""

    def run(*more):
        words = [
            "build-data", f"--input={texts}/*", f"--vocab={tiny_vocab_file}",
            f"--output={tmp_path}/beam", "--runner=beam",
        ]  # fmt: skip
        assert app.run([*words, *more]) == 2
        (line,) = capfd.readouterr().err.strip().splitlines()
        assert line.startswith("electra-tf build-data: ")
        return line

    return run


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--runner=NoRunner", "Unexpected pipeline runner: NoRunner"),
        ("--runner=DaskRunner", "without some of the outputs"),
        ("--runner=dask", "without some of the outputs"),
        (
            "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
            "Beam 2.77.0",
        ),
        ("--runner=PortableRunner", "must specify a --job_endpoint"),
        (
            "--runner=PortableRunner --job_endpoint=localhost:1",
            "no job server answers at localhost:1",
        ),
        (
            "--runner=PortableRunner --job_endpoint=embed "
            "--environment_type=EXTERNAL --environment_config=localhost:1",
            "no worker pool answers at 'localhost:1'",
        ),
        ("--foo=3", "Beam does not know ['--foo=3']"),
        ("--direct_num_workers=x", "--direct_num_workers: invalid int"),
        ("--runner='", "No closing quotation"),
        (
            "--runner=FlinkRunner --job_server_java_launcher=no_java",
            "FlinkRunner starts its job server with Java, and there is no "
            "program 'no_java'",
        ),
        (
            "--runner=SparkRunner --job_server_java_launcher=no_java",
            "SparkRunner starts its job server with Java",
        ),
    ],
)
def test_refused_runners_leave_nothing_behind(flag, message, build, tmp_path):
    line = build(f"--beam_args={flag}")
    assert f"--beam_args={flag}: " in line and message in line
    assert not any(tmp_path.iterdir())


def test_mistakes(build, tmp_path):
    line = build("--legacy", "--validation_fraction=0")
    assert "leave out --runner=beam" in line
    assert "; drop --strict" in build("--strict")
    assert not any(tmp_path.iterdir())


def test_refused_for_words_too(texts, tmp_path, capfd):
    words = ["build-vocab", f"--input={texts}/*", "--runner=beam"]
    words += [f"--output={tmp_path}/v", "--beam_args=--runner=DaskRunner"]
    assert app.run(words) == 2
    assert "DaskRunner ends as DONE" in capfd.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        # Lost are records of a shard, a branch's output, or a whole branch.
        ("records", r"\d+ (train|validation) examples of [\d,]+ arrived"),
        ("parts", r"\d+ parts of the files of \d+ arrived"),
        ("tags", r"0 files of 5 arrived"),
        ("summary", r"0 summaries of 1 arrived"),
    ],
)
def test_lost_data_is_reported_and_left_aside(
    lost, message, build, tmp_path, monkeypatch
):
    from electra_tf.data import beam, beam_corpus

    if lost == "records":
        whole = beam._placed

        def lose(*args):
            for shard, (place, records) in whole(*args):
                yield shard, (place, records[1:])

        monkeypatch.setattr(beam, "_placed", lose)
    elif lost == "parts":
        monkeypatch.setattr(beam_corpus, "count_done", lambda *_: None)
    elif lost == "tags":
        whole_file = beam_corpus._read_file
        monkeypatch.setattr(
            beam_corpus,
            "_read_file",
            lambda *args: list(whole_file(*args))[:-1],
        )
    else:
        monkeypatch.setattr(beam, "_write_summary", lambda *_: None)
    line = build()
    left = tmp_path / "beam" / manifest.BUILDING
    assert re.search(message, line) and f"left in {left}" in line
    assert [p.name for p in (tmp_path / "beam").iterdir()] == [left.name]
    assert any(p.suffix == ".tfrecord" for p in left.iterdir())


def test_errors_of_beam_are_one_line():
    from electra_tf.data import beam_runs

    start = beam_runs._Start("--runner=SparkRunner", 1)

    def message(error):
        return beam_runs._explained(error, start)

    flag = "--beam_args=--runner=SparkRunner: "
    jar = (
        "Unable to fetch remote job server jar at https://h/x/beam-spark.jar: "
        "<urlopen error>. If no Internet access, stage the jar at /y/z.jar"
    )
    assert message(RuntimeError(jar)) == (
        f"{flag}SparkRunner needs its job server, beam-spark.jar, and it "
        "cannot be fetched from https://h/x/beam-spark.jar; name a copy of it "
        "with --spark_job_server_jar=FILE, or a job server that runs with "
        "--job_endpoint=HOST:PORT"
    )
    remote = (
        "Pipeline job-1 failed in state FAILED: Traceback (most recent call "
        "last):\n  File x\n"
    )
    assert (
        message(
            RuntimeError(
                f"{remote}electra_tf.errors.UserError: a.txt:1: no text [while "
                "running 'Examples']\n\n"
            )
        )
        == "a.txt:1: no text"
    )
    refused = "ipv4:127.0.0.1:1: Connection refused"
    rpc = f'{remote}<_InactiveRpcError\n\tdetails = "{refused}"\n'
    assert message(RuntimeError(rpc)).endswith(
        f"a connection failed: {refused}"
    )
    missing = f"{remote}ModuleNotFoundError: No module named 'electra_tf'\n"
    assert "a worker failed: ModuleNotFoundError: No module named" in message(
        RuntimeError(missing)
    )
    assert "--environment_type=EXTERNAL" in message(
        RuntimeError(f"{remote}Command '['docker', 'run']' returned 125")
    )
    assert message(ValueError("two\nlines")) == f"{flag}SparkRunner: two lines"
    # A bug is not explained.
    assert message(RuntimeError(f"{remote}KeyError: 'x'\n")) is None


class _Stuck:
    """A pipeline that never ends, as Beam's does while no worker starts."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.runner = None

    def run(self):
        return self

    def wait_until_finish(self):
        self.cancelled.wait(30)
        return "CANCELLED"

    def cancel(self):
        self.cancelled.set()


def test_a_stuck_run_is_reported_interrupted_and_cancelled(
    tmp_path, monkeypatch, capfd
):
    from electra_tf.data import beam_runs, beam_workers

    monkeypatch.setattr(beam_runs, "_WORKER_SECONDS", 0.1)
    mark = str(tmp_path / "mark")
    stuck = _Stuck()
    with beam_workers.Workers() as workers:
        watched = beam_runs._Watched(stuck, workers, mark)
        timer = threading.Timer(
            1.5, lambda: signal.pthread_kill(main, signal.SIGINT)
        )
        main = threading.main_thread().ident
        timer.start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            watched.finish(in_this_thread=False)
        assert time.monotonic() - begin < 8
    assert stuck.cancelled.is_set()
    err = capfd.readouterr().err
    assert err.count("note: no worker has connected") == 1
    assert "`python` of a worker pool's PATH" in err


def test_a_worker_that_dies_ends_the_run(tmp_path):
    from electra_tf.data import beam_runs, beam_workers

    with beam_workers.Workers() as workers:
        ended = subprocess.Popen(["true"])
        ended.wait()
        folder = pathlib.Path(workers.command.split()[-1])
        (folder / f"{ended.pid}").touch()
        (folder / f"{ended.pid}.log").write_text("one\nlast words\n")
        watched = beam_runs._Watched(_Stuck(), workers, None)
        with pytest.raises(UserError, match=r"died .*last output: last words"):
            watched.finish(in_this_thread=False)
    assert not folder.exists()


def test_workers_that_cannot_start(monkeypatch):
    from electra_tf.data import beam_runs, beam_workers

    enter = beam_workers.Workers.__enter__

    def started(workers):
        enter(workers).command = "exec false"
        return workers

    monkeypatch.setattr(beam_workers.Workers, "__enter__", started)

    def compose(pipeline):
        _ = pipeline | beam_runs.beam.Create([1])

    with pytest.raises(UserError, match="a worker process died"):
        beam_runs.run(compose, num_workers=2)


@pytest.fixture(scope="module")
def much(tmp_path_factory, sample_text_dir):
    """Text that takes half a minute to build."""
    path = tmp_path_factory.mktemp("much") / "text.txt"
    text = sorted(sample_text_dir.glob("*.txt"))[0].read_text()
    size = 60_000_000 // len(text)
    path.write_text("\n\n".join([text] * size))
    for other in "bcd":
        shutil.copy(path, path.with_name(f"{other}.txt"))
    return path.parent


def _command(much, vocab, output, *more):
    return subprocess.Popen(
        [
            sys.executable, "-m", "electra_tf", "build-data",
            f"--input={much}/*", f"--vocab={vocab}", f"--output={output}",
            "--runner=beam", *more,
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        # A process group in the background would ignore SIGINT.
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),
    )  # fmt: skip


def _workers_of(process, name=b"beam_worker"):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            words = stat.with_name("cmdline").read_bytes()
            if parent == process.pid and name in words:
                found.append(int(stat.parent.name))
    return found


def _wait_for(what, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError(f"nothing after {seconds} s")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["SIGTERM", "SIGINT", "a worker's SIGKILL"])
def test_two_processes_end_when_they_are_to(
    what, much, tiny_vocab_file, tmp_path
):
    output = tmp_path / "out"
    process = _command(much, tiny_vocab_file, output, "--num_workers=2")
    workers = _wait_for(
        lambda: len(_workers_of(process)) == 2 and _workers_of(process)
    )
    time.sleep(8)  # until the workers are busy
    begin = time.monotonic()
    if what.startswith("a worker"):
        os.kill(workers[0], signal.SIGKILL)
    else:
        process.send_signal(getattr(signal, what))
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 10
    if what.startswith("a worker"):
        assert process.returncode == 2
        assert "a worker process died" in err
    else:
        assert process.returncode == 130
        assert err.strip() == "electra-tf build-data: interrupted"
    assert not output.exists()
    assert not any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.slow
def test_a_pool_that_cannot_start_its_workers(much, tiny_vocab_file, tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    with _worker_pool(str(python.parent)) as address:
        process = _command(
            much, tiny_vocab_file, tmp_path / "out", _pool_args(address)
        )
        begin = time.monotonic()
        line = process.stderr.readline()
        assert "note: no worker has connected in 45 s" in line
        assert time.monotonic() - begin < 90  # includes the start
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
        assert time.monotonic() - begin < 10
        process.stderr.close()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_worker_of_a_pool_that_dies(much, tiny_vocab_file, tmp_path):
    with _worker_pool(os.path.dirname(sys.executable)) as address:
        process = _command(
            much, tiny_vocab_file, tmp_path / "out", "--num_workers=2",
            _pool_args(address),
        )  # fmt: skip

        def workers():
            return _workers_of(pools[address], b"SdkHarness")

        _wait_for(lambda: len(workers()) == 2)
        time.sleep(8)
        begin = time.monotonic()
        os.kill(workers()[1], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - begin < 10
        assert process.returncode == 2 and "a worker process died" in err
    assert not (tmp_path / "out").exists()
