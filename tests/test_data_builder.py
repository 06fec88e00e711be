import hashlib
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from data_builds import settings_of

from electra_tf.data import builder, examples, manifest
from electra_tf.errors import UserError
from electra_tf.recipes.build_data import build_data
from electra_tf.text import cleaning, corpus
from electra_tf.text.cleaning import Cleaning
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import AddedToken, Vocab, load_vocab

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def build(tmp_path, tiny_vocab_file):
    """A function: builds `tmp_path/out` from bytes or a list -> manifest."""

    def run(text, *, progress=None, suffix=".txt", **options):
        texts = [text] if isinstance(text, bytes) else text
        source = tmp_path / "in"
        source.mkdir(exist_ok=True)
        for old in source.iterdir():
            old.unlink()
        for i, content in enumerate(texts):
            (source / f"{i}{suffix}").write_bytes(content)
        options = {
            "output": str(tmp_path / "out"),
            "max_seq_length": 32,
            "num_workers": 1,
            "overwrite": True,
            "vocab": tiny_vocab_file,
            **options,
        }
        settings = settings_of(input=str(source / "*"), **options)
        return builder.build_data(settings, progress)

    return run


def _text(documents=50, seed=0, lines=6):
    rng = random.Random(seed)
    words = "the cat sat on a mat and dog ran good house love 123".split()
    return b"\n".join(
        b"".join(
            " ".join(rng.choices(words, k=rng.randint(2, 25))).encode() + b"\n"
            for _ in range(rng.randint(1, lines))
        )
        for _ in range(documents)
    )


def _hashes(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(pathlib.Path(folder).iterdir())
    }


def _ids(folder, split="train"):
    found = []
    for path in sorted(pathlib.Path(folder).glob(f"{split}-*")):
        for record in tf.data.TFRecordDataset(str(path)):
            example = tf.train.Example.FromString(record.numpy())
            feature = example.features.feature["input_ids"]
            found.append(tuple(feature.int64_list.value))
    return found


def test_the_vocabulary_keeps_its_added_tokens(build, tmp_path, tiny_tokens):
    """Data opens with the vocabulary that it was built with."""
    added = (AddedToken("[E1]"),)
    given = Vocab((*tiny_tokens, "[E1]"), added)
    given.save(str(tmp_path / "mine.txt"))
    text = b"the cat [E1] sat on the mat\n" * 20
    made = build(text, vocab=str(tmp_path / "mine.txt"))
    out = tmp_path / "out"
    found = load_vocab(str(out / "vocab.txt"))
    assert found == given
    manifest.check_vocab(made, found)
    assert any(given.ids["[E1]"] in ids for ids in _ids(out, "train"))
    made = build(text)  # replaced by a build with a vocabulary without any
    found = load_vocab(str(out / "vocab.txt"))
    manifest.check_vocab(made, found)
    assert not found.added


def test_directory_is_complete(build, tmp_path, tiny_vocab_file):
    made = build(_text(), num_shards=3, validation_fraction=0.2, seed=4)
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        "manifest.json",
        *(f"train-{i:05d}-of-00003.tfrecord" for i in range(3)),
        "validation-00000-of-00001.tfrecord",
        "vocab.txt",
    ]
    assert manifest.load_manifest(str(out)) == made
    vocab = load_vocab(str(out / "vocab.txt"))
    manifest.check_vocab(made, vocab)
    assert vocab.tokens == load_vocab(tiny_vocab_file).tokens
    for name, split in made.splits.items():
        ids = _ids(out, name)
        assert len(ids) == split.examples > 0
        assert sum(map(len, ids)) == split.tokens
        assert max(map(len, ids)) <= made.max_seq_length == 32
        counts = [shard.examples for shard in split.shards]
        assert max(counts) - min(counts) <= 1
    splits = made.splits.values()
    assert sum(s.documents for s in splits) == 50
    lines = _text().replace(b"\n\n", b"\n").count(b"\n")
    assert sum(s.lines for s in splits) == lines
    assert made.input == {"files": 1, "empty_files": 0, "bytes": len(_text())}
    assert made.seed == 4 and made.lower_case
    content = (out / "manifest.json").read_text()
    assert "num_workers" not in content


def test_number_of_workers_changes_nothing(build, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "PART_BYTES", 4096)
    texts = [
        _text(40),
        _text(10, seed=1, lines=200),
        b"",
        b"word " * 9000 + b"\n\xff\n",
        _text(3, seed=2),
    ]
    for workers in (1, 3):
        build(
            texts,
            num_workers=workers,
            output=str(tmp_path / f"out{workers}"),
            num_shards=2,
            validation_fraction=0.1,
            drop_duplicates=True,
        )
    assert _hashes(tmp_path / "out1") == _hashes(tmp_path / "out3")


def test_seed_changes_examples_but_not_the_held_out(build, tmp_path):
    split = {}
    for seed in (0, 1):
        out = str(tmp_path / f"seed{seed}")
        made = build(_text(), seed=seed, validation_fraction=0.2, output=out)
        split[seed] = made.splits["validation"]
    assert split[0].documents == split[1].documents
    assert split[0].lines == split[1].lines
    assert _ids(tmp_path / "seed0") != _ids(tmp_path / "seed1")


def test_place_of_a_document_changes_nothing(build, tmp_path):
    documents = _text().split(b"\n\n")
    build(b"\n\n".join(documents), output=str(tmp_path / "a"))
    build(b"\n\n".join(reversed(documents)), output=str(tmp_path / "b"))
    assert sorted(_ids(tmp_path / "a")) == sorted(_ids(tmp_path / "b"))


def test_validation_share_is_about_the_fraction(build):
    text = b"\n\n".join(b"cat %d" % i for i in range(4000))
    made = build(text, validation_fraction=0.1)
    assert abs(made.splits["validation"].documents - 400) < 60
    assert "validation" not in build(text, validation_fraction=0.0).splits


def test_layouts_of_documents(build):
    made = build(_text(20), validation_fraction=0.0)
    assert made.splits["train"].documents == 20
    made = build(
        [_text(20), _text(5)],
        blank_lines_separate_documents=False,
        validation_fraction=0.0,
    )
    assert made.splits["train"].documents == 2
    record = b'{"body": "a cat sat.\\nand ran", "text": 1}\n'
    made = build(
        record * 7 + b"{}\n",
        suffix=".jsonl",
        text_field="body",
        validation_fraction=0.0,
    )
    assert made.splits["train"].documents == 7
    assert made.splits["train"].lines == 14
    assert made.repairs["bad_records"] == 1


def test_large_document_is_one_document(build, monkeypatch):
    monkeypatch.setattr(corpus, "PART_BYTES", 2048)
    made = build(
        _text(1, lines=2) + b"\n" + b"the cat sat\n" * 3000,
        validation_fraction=0.0,
    )
    assert made.splits["train"].documents == 2
    assert made.splits["train"].lines > 3000


def test_duplicates_are_dropped(build):
    text = _text(30)
    plain = build(text, drop_duplicates=True)
    twice = build([text, text + b"\n\nnew\n"], drop_duplicates=True)
    assert twice.repairs["duplicate_documents_dropped"] == 30
    count = [
        sum(s.documents for s in m.splits.values()) for m in (plain, twice)
    ]
    assert count == [30, 31]


def test_flaws_are_counted(build):
    made = build(
        [
            b"",
            b"\x00good\x01 \xff cat\n" + b"dog " * 20_000 + b"\n",
            b"\n\n \n",
            _text(9),
        ]
    )
    assert made.input["files"] == 4 and made.input["empty_files"] == 1
    assert made.repairs == {
        "bad_records": 0,
        "control_characters_dropped": 2,
        "invalid_utf8_replaced": 1,
        "long_lines_cut": 1,
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_strict_stops_at_the_first_flaw(build, tmp_path, monkeypatch, workers):
    monkeypatch.setattr(corpus, "PART_BYTES", 4096)
    text = b"the cat sat\n" * 5000 + b"bad \xff\n" + b"\x00\n" * 5000
    with pytest.raises(UserError, match=r"0\.txt:5001: byte 0xff"):
        build(text, strict=True, num_workers=workers)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_seq_length": 4}, "--max_seq_length=4"),
        ({"validation_fraction": 1.0}, "--validation_fraction=1.0"),
        ({"num_shards": 0}, "--num_shards=0"),
        ({"num_workers": 0}, "--num_workers=0"),
        ({"runner": "cloud"}, "--runner=cloud"),
        ({"legacy": True}, "--validation_fraction=0"),
        ({"stop_words": "/nowhere/words"}, "/nowhere/words: no such file"),
    ],
)
def test_bad_settings_are_named(tmp_path, tiny_vocab_file, options, message):
    source, out = tmp_path / "text.txt", tmp_path / "out"
    source.write_bytes(_text(5))
    with pytest.raises(UserError, match=message):
        build_data(str(source), tiny_vocab_file, str(out), **options)
    assert not out.exists()


def test_no_text_is_an_error(build, tmp_path):
    with pytest.raises(UserError, match="no text to train on"):
        build([b"", b"\n"])
    with pytest.raises(UserError, match=r"3 JSON lines .*--text_field"):
        build(b'{"a": "b"}\n' * 3, suffix=".jsonl")
    with pytest.raises(UserError, match=r"0\.999 holds out all 2 documents"):
        build(_text(2), validation_fraction=0.999)
    with pytest.raises(UserError, match=r"min_line_length=99 .* all 1 lines"):
        build(b"the cat", min_line_length=99)
    assert not (tmp_path / "out").exists()


def test_finished_build_is_kept_unless_overwritten(build, tmp_path):
    build(_text(), num_shards=4)
    before = _hashes(tmp_path / "out")
    with pytest.raises(UserError, match="--overwrite"):
        build(_text(seed=1), overwrite=False)
    with pytest.raises(UserError, match=r"0\.txt:1: "):
        build(b"\xff", strict=True)
    assert _hashes(tmp_path / "out") == before
    build(_text(seed=1), num_shards=1)
    names = [p.name for p in (tmp_path / "out").iterdir()]
    assert len(names) == 4 and "train-00000-of-00001.tfrecord" in names


def test_interrupted_build_leaves_nothing(build, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "PART_BYTES", 2048)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(_text(), progress=interrupt)
    assert not (tmp_path / "out").exists()


def test_two_builds_do_not_write_one_directory(build, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    part = tmp_path / "out" / ".building" / "train-00000-of-00001.tfrecord"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"of the other")
    # A file opened again has a lock of its own, as in another process.
    other = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another process works on this output"):
        build(_text())
    assert part.read_bytes() == b"of the other"
    os.close(other)
    build(_text())
    assert not part.exists()


def test_leftovers_are_cleared(build, tmp_path):
    out = tmp_path / "out"
    (out / manifest.BUILDING).mkdir(parents=True)
    (out / manifest.BUILDING / "train-00000-of-00099.tfrecord").touch()
    (out / "train-00001-of-00099.tfrecord").touch()
    (out / "mine.txt").touch()
    assert not manifest.is_finished(str(out))
    build(_text(), overwrite=False, num_shards=1)
    assert sorted(p.name for p in out.iterdir()) == [
        "manifest.json",
        "mine.txt",
        "train-00000-of-00001.tfrecord",
        "validation-00000-of-00001.tfrecord",
        "vocab.txt",
    ]


def test_killed_worker_ends_the_build(build, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "PART_BYTES", 2048)
    killed = []

    def kill(_):
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(UserError, match="worker process died"):
        build(_text(2000), num_workers=2, progress=kill)
    assert killed
    assert not (tmp_path / "out").exists()
    assert multiprocessing.active_children() == []


def test_legacy_is_one_sequence(build, tmp_path, monkeypatch):
    options = {"legacy": True, "validation_fraction": 0.0, "num_shards": 1}
    build(_text(), output=str(tmp_path / "a"), num_workers=3, **options)
    monkeypatch.setattr(corpus, "PART_BYTES", 2048)
    build(_text(), output=str(tmp_path / "b"), **options)
    assert _ids(tmp_path / "a") == _ids(tmp_path / "b")


def _whole(text, vocab_file):
    """The ids of one LegacyBuilder's examples, all documents at once."""
    words = load_vocab(vocab_file)
    documents = cleaning.clean_text(
        text, Cleaning(cut_lines=False), Counter(), split_at_blank=True,
        path="x",
    )  # fmt: skip
    rows = [line for lines in documents for line in lines]
    tokens = Tokenizer(words)(tf.constant(rows))
    made = examples.LegacyBuilder(32, words.cls_id, words.sep_id, 0).add(
        examples.Lines(
            tokens.flat_values.numpy(), tokens.row_splits.numpy(),
            np.cumsum([0, *map(len, documents)]),
        )
    )  # fmt: skip
    return [
        tuple(made.ids[a:b].tolist())
        for a, b in itertools.pairwise(made.starts)
    ]


_LONG_LINE = b"the cat sat on a mat " * 5000  # 105 KB
_LEGACY = {
    "documents": (_text(40), 100),
    "ends in blank lines": (b"the cat sat\n" * 40 + b"\n \n\n", 65),
    "as long as two parts": (b"the cat sat on\n\n" + b"a cat\n" * 8, 32),
    "without an end of line": (b"a mat\n" * 50 + b"the cat", 64),
    "one line": (_LONG_LINE, 1000),
    "lines over a part": (
        b"a\n" + _LONG_LINE + b"\nb\n\nc\n" + _LONG_LINE + b"\n\nd\n", 4096,
    ),
    "over 2 MiB": (
        _text(4000).replace(b"\n\n", b"\n") * 4 + b"\n\nthe end\n",
        corpus.PART_BYTES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", _LEGACY)
def test_legacy_is_the_original_whatever_the_parts(
    build, tmp_path, monkeypatch, tiny_vocab_file, case
):
    text, part_bytes = _LEGACY[case]
    monkeypatch.setattr(corpus, "PART_BYTES", part_bytes)
    made = build(text, legacy=True, validation_fraction=0.0, num_shards=1)
    found, expected = _ids(tmp_path / "out"), _whole(text, tiny_vocab_file)
    assert len(found) == len(expected)
    assert found == expected
    assert made.repairs["long_lines_cut"] == 0


def _command(tmp_path, vocab, *more):
    (tmp_path / "text.txt").write_bytes(_text(20_000))
    program = (
        "import sys; sys.path.insert(0, 'tests');"
        "from data_builds import settings_of;"
        "from electra_tf.data import builder;"
        "from electra_tf.errors import UserError;"
        "import resource, signal;"
        "limit = int(sys.argv[4]);"
        "limit and resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit));"
        "s = settings_of(input=sys.argv[1], vocab=sys.argv[2],"
        " output=sys.argv[3], num_workers=1, num_shards=2)\n"
        "def show(p): print(p.examples, flush=True)\n"
        "try: builder.build_data(s, show)\n"
        "except UserError as e: print('UserError', e); sys.exit(2)"
    )
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            program,
            str(tmp_path / "text.txt"),
            vocab,
            str(tmp_path / "out"),
            *more,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.slow
def test_full_disk_is_an_error(tmp_path, tiny_vocab_file):
    assert resource.RLIMIT_FSIZE is not None
    child = _command(tmp_path, tiny_vocab_file, str(1 << 19))
    output, _ = child.communicate(timeout=120)
    assert child.returncode == 2
    assert "UserError cannot write" in output
    assert not manifest.is_finished(str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_kill_leaves_nothing_finished(tmp_path, tiny_vocab_file, build):
    child = _command(tmp_path, tiny_vocab_file, "0")
    assert child.stdout.readline()  # a unit is written
    child.kill()
    child.wait()
    out = tmp_path / "out"
    assert [p.name for p in out.iterdir()] == [manifest.BUILDING]
    build(_text(), overwrite=False)
    assert manifest.is_finished(str(out))


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path, tiny_vocab_file):
    (tmp_path / "text.txt").write_bytes(_text(100))
    program = (
        "import multiprocessing, os, sys, time\n"
        "from data_builds import settings_of\n"
        "from electra_tf.data import builder\n"
        "from electra_tf.text import corpus\n"
        "corpus.PART_BYTES = 2048\n"
        "def show(p):\n"
        "    print(*[c.pid for c in multiprocessing.active_children()],"
        " flush=True)\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    builder.build_data(settings_of("
        "input=sys.argv[1], vocab=sys.argv[2], output=sys.argv[3],"
        " num_workers=2), show)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(program)
    child = subprocess.Popen(
        [
            sys.executable,
            str(script),
            str(tmp_path / "text.txt"),
            tiny_vocab_file,
            str(tmp_path / "out"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    pids = [int(pid) for pid in child.stdout.readline().split()]
    assert len(pids) == 2
    child.kill()
    child.wait()
    for _ in range(100):
        alive = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
        if not alive:
            break
        time.sleep(0.1)
    assert not alive


def test_settings_are_in_the_manifest(build, tmp_path):
    words = tmp_path / "words"
    words.write_text("The\ncat\n")
    made = build(_text(), stop_words=str(words), min_line_length=3)
    settings = json.loads((tmp_path / "out/manifest.json").read_text())
    settings = settings["settings"]
    assert settings["min_line_length"] == 3
    want = hashlib.sha256(b"cat\nthe").hexdigest()
    assert settings["stop_words_sha256"] == want
    assert made.repairs["stop_words_removed"] > 50
    cat = load_vocab(str(tmp_path / "out/vocab.txt")).ids["cat"]
    assert not np.isin(cat, np.concatenate(_ids(tmp_path / "out")))
