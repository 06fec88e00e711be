"""Tests that the data jobs do the same from Python and from the shell."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

import electra_tf
from electra_tf.data import builder, manifest
from electra_tf.errors import UserError
from electra_tf.recipes.build_data import build_data
from electra_tf.recipes.build_vocab import build_vocab
from electra_tf.recipes.prepare_text import prepare_text
from electra_tf.recipes.progress import ProgressLine

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A program as a user writes it; it prints what the commands print.
PROGRAM = """
import sys
import electra_tf

if __name__ == "__main__":
    source, out = sys.argv[1:]
    print(electra_tf.build_vocab(source, f"{out}/vocab.txt", vocab_size=900))
    for workers in (1, 2):
        print(electra_tf.build_data(
            source, f"{out}/vocab.txt", f"{out}/data{workers}",
            max_seq_length=64, num_workers=workers, num_shards=3,
            validation_fraction=0.1, drop_duplicates=True, seed=7,
        ))
    print(electra_tf.prepare_text(
        source, f"{out}/text.txt.gz", stop_words="english",
        min_line_length=30, drop_duplicates=True,
    ))
"""


def _process(*words):
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(
            str(folder).encode(), b"OUT"
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_python_and_the_shell_make_the_same_bytes(tmp_path, sample_text_dir):
    # Several units of work, and duplicate documents.
    text = b"\n\n".join(
        novel.read_bytes() for novel in sorted(sample_text_dir.glob("*.txt"))
    )
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_bytes(name.encode() + text)
    source = f"{tmp_path}/*.txt"
    shell, python = tmp_path / "shell", tmp_path / "python"
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    from_python = _process(str(script), source, str(python))
    command = ("-m", "electra_tf")
    from_shell = _process(
        *command, "build-vocab", f"--input={source}",
        f"--output={shell}/vocab.txt", "--vocab_size=900",
    )  # fmt: skip
    for workers in (1, 2):
        from_shell += _process(
            *command, "build-data", f"--input={source}", "--seed=7",
            f"--vocab={shell}/vocab.txt", f"--output={shell}/data{workers}",
            "--max_seq_length=64", f"--num_workers={workers}",
            "--num_shards=3", "--validation_fraction=0.1", "--drop_duplicates",
        )  # fmt: skip
    from_shell += _process(
        *command, "prepare-text", f"--input={source}",
        f"--output={shell}/text.txt.gz", "--stop_words=english",
        "--min_line_length=30", "--drop_duplicates",
    )  # fmt: skip

    made = _contents(python)
    assert made == _contents(shell)
    assert {"vocab.txt", "text.txt.gz", "data1/manifest.json"} <= made.keys()
    for name in made:
        if name.startswith("data1"):
            assert made[name] == made[name.replace("data1", "data2")]
    from_python = from_python.replace(str(python), str(shell))
    seconds = re.compile(r"in \d+\.\d s")
    assert seconds.sub("", from_python) == seconds.sub("", from_shell)
    assert "duplicate_documents_dropped" in from_python


@pytest.fixture
def arguments(small_text_file, tiny_vocab_file, tmp_path):
    return {
        "input": [small_text_file],
        "vocab": tiny_vocab_file,
        "output": str(tmp_path / "out"),
        "num_workers": 1,
    }


def test_results(arguments, tmp_path):
    text, vocab = arguments["input"], tmp_path / "vocab.txt"
    trained = build_vocab(text, str(vocab), vocab_size=300)
    assert trained.size == len(vocab.read_text().splitlines()) == 300
    assert trained.words > trained.different_words > 300
    built = build_data(**{**arguments, "vocab": str(vocab)})
    assert built.manifest == manifest.load_manifest(built.path)
    assert built.manifest.vocab_size == 300 and built.seconds > 0
    prepared = prepare_text(text, min_line_length=20)
    assert prepared.path is None
    assert prepared.before["lines"] > prepared.after["lines"] > 0


def test_public_names_are_the_recipes():
    assert electra_tf.build_vocab is build_vocab
    assert electra_tf.build_data is build_data
    assert electra_tf.prepare_text is prepare_text


def test_words_of_too_many_letters_are_named_as_the_cause(tmp_path):
    path = tmp_path / "encoded.txt"
    words = ["".join("abcd"[(i + j) % 4] for j in range(201)) for i in range(4)]
    path.write_text("\n".join([*words, *["a word of four letters"] * 2]))
    built = build_vocab(str(path), str(tmp_path / "v.txt"), vocab_size=60)
    assert built.unknown_share == pytest.approx(4 / 14)
    assert "28.57% of the words are [UNK]: 4 words are longer than 200" in (
        str(built)
    )


def test_progress_and_notes_can_be_silenced(arguments, capfd):
    nothing_held_out = {"validation_fraction": 1e-9, "overwrite": True}
    build_data(**arguments, **nothing_held_out, progress=False)
    assert capfd.readouterr().err == ""
    build_data(**arguments, **nothing_held_out)
    assert "held-out share" in capfd.readouterr().err


def test_a_result_is_no_text_of_the_next_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("a.txt").write_text("The cat sat on the mat. " * 9)
    pathlib.Path("b.txt").write_text("A dog sat there, on a mat. " * 9)
    build_vocab("*.txt", "v.txt", vocab_size=60, progress=False)
    before = pathlib.Path("v.txt").read_bytes()
    with pytest.raises(
        UserError, match=r"--output: v\.txt is one of the files"
    ):
        build_vocab("*.txt", "v.txt", vocab_size=50, progress=False)
    absolute = str(tmp_path / "v.txt")
    with pytest.raises(
        UserError, match=r"--vocab: .*v\.txt is one of the files"
    ):
        build_data("*.txt", absolute, "data", progress=False)
    assert not pathlib.Path("data").exists()
    assert pathlib.Path("v.txt").read_bytes() == before
    again = {"overwrite": True, "progress": False}
    prepare_text("[ab].txt", "clean.txt", **again)
    with pytest.raises(
        UserError, match=r"--output: clean\.txt is one of the 4"
    ):
        prepare_text("*.txt", "clean.txt", **again)
    # In place of the only input is what was asked for.
    assert prepare_text("clean.txt", "clean.txt", **again).path


@pytest.mark.parametrize(
    ("function", "more", "message"),
    [
        (build_vocab, {"vocab_size": 0}, "vocab_size=0: .*at least 1"),
        (build_vocab, {"runner": "spark"}, "runner=spark"),
        (prepare_text, {"min_line_length": -1}, "min_line_length=-1"),
        (
            prepare_text,
            {"divide_words": True},
            "divide_words: needs --word_segmenter",
        ),
    ],
)
def test_mistakes(function, more, message, small_text_file, tmp_path):
    with pytest.raises(UserError, match=message):
        function(small_text_file, str(tmp_path / "out"), **more)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["build_vocab", "build_data"])
def test_beam_is_an_extra(name, monkeypatch, arguments):
    for module in list(sys.modules):
        if module.startswith("electra_tf.data.beam"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    if name == "build_vocab":
        del arguments["vocab"]
    with pytest.raises(UserError, match=r"electra-tf\[beam\]"):
        getattr(electra_tf, name)(**arguments, runner="beam")


def test_imports_are_light():
    program = (
        "import sys; from electra_tf.recipes import"
        " build_data, build_vocab, prepare_text;"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    _process("-c", program)


def test_sigterm_interrupts_a_build(arguments, monkeypatch, tmp_path):
    def units(reader):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
        yield []

    before = signal.getsignal(signal.SIGTERM)
    assert before is signal.SIG_DFL
    monkeypatch.setattr(builder, "_units", units)
    with pytest.raises(KeyboardInterrupt):
        build_data(**arguments)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not (tmp_path / "out").exists()


def test_a_handler_of_the_caller_is_kept(arguments, monkeypatch):
    def own(*_):
        pass

    seen = []
    build = builder.build_data

    def watched(*words):
        seen.append(signal.getsignal(signal.SIGTERM))
        return build(*words)

    monkeypatch.setattr(builder, "build_data", watched)
    before = signal.signal(signal.SIGTERM, own)
    try:
        build_data(**arguments)
        assert seen == [own] and signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_build_in_another_thread(arguments):
    made = []
    thread = threading.Thread(
        target=lambda: made.append(build_data(**arguments))
    )
    thread.start()
    thread.join()
    assert made[0].manifest.splits["train"].examples


def test_progress_line_has_speed_and_time_left(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    line, silent = ProgressLine(), ProgressLine(enabled=False)
    now[0] += 20
    silent.update(40_000_000, 100_000_000, "never")
    silent.close()
    line.update(40_000_000, 100_000_000, "7 examples")
    line.update(41_000_000, 100_000_000, "8 examples")
    line.close()
    shown = capsys.readouterr().err
    assert shown.split() == (
        "40% 40 of 100 MB 2.0 MB/s 30 s left 7 examples".split()
    )
