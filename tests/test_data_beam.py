"""Apache Beam's build and count against the local ones."""

import dataclasses
import json
import pathlib

import pytest
from data_builds import settings_of

from electra_tf.cli import app
from electra_tf.data import builder

pytest.importorskip(
    "apache_beam",
    reason="apache-beam is not installed: pip install 'electra-tf[beam]'",
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory, sample_text_dir):
    """Three files; of one, a part is there twice; records, and bad bytes."""
    folder = tmp_path_factory.mktemp("texts")
    sources = sorted(sample_text_dir.glob("*.txt"))
    for number, source in enumerate(sources[:2]):
        text = source.read_text()[: 90_000 * (number + 1)]
        (folder / f"{number}.txt").write_text(text)
    (folder / "2.txt").write_bytes(
        (folder / "0.txt").read_bytes()[:30_000] + b"bad \xff bytes\n"
    )
    records = [{"text": f"Record {i}. It says it."} for i in range(20)]
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

    # Many parts, and documents that are cut into pieces.
    read = corpus.Reader.__init__
    monkeypatch.setitem(read.__kwdefaults__, "part_bytes", 1 << 13)
    monkeypatch.setattr(corpus, "PART_BYTES", 1 << 13)
    local = _settings(texts, tiny_vocab_file, tmp_path / "local", **more)
    made = builder.build_data(local)
    there = dataclasses.replace(local, output=str(tmp_path / "beam"))
    assert beam.build_data(there) == made
    _same(tmp_path / "local", tmp_path / "beam")
    assert made.repairs["invalid_utf8_replaced"]
    if "drop_duplicates" in more:
        assert made.repairs["duplicate_documents_dropped"]


@pytest.mark.slow
def test_two_processes(texts, tiny_vocab_file, tmp_path):
    words = [
        "build-data", f"--input={texts}/*", f"--vocab={tiny_vocab_file}",
        "--num_shards=3", "--num_workers=2",
    ]  # fmt: skip
    assert app.run([*words, f"--output={tmp_path}/local"]) == 0
    assert app.run([*words, f"--output={tmp_path}/beam", "--runner=beam"]) == 0
    _same(tmp_path / "local", tmp_path / "beam")


def test_the_vocabulary(texts, tmp_path):
    words = ["build-vocab", f"--input={texts}/*", "--vocab_size=900"]
    local, there = tmp_path / "local.txt", tmp_path / "beam.txt"
    assert app.run([*words, f"--output={local}"]) == 0
    assert app.run([*words, f"--output={there}", "--runner=beam"]) == 0
    assert there.read_bytes() == local.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "beam.txt", "local.txt",
    ]  # fmt: skip


def test_mistakes(texts, tiny_vocab_file, tmp_path, capfd):
    words = [
        "build-data", f"--input={texts}/*", f"--vocab={tiny_vocab_file}",
        f"--output={tmp_path}/beam", "--runner=beam",
    ]  # fmt: skip
    for more, told in (
        (["--legacy", "--validation_fraction=0"], "leave out --runner=beam"),
        (["--beam_args=--runner=NoRunner"], "--beam_args=--runner=NoRunner: "),
        (["--strict"], "; drop --strict"),
    ):
        assert app.run([*words, *more]) == 2
        last = capfd.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("electra-tf build-data: ") and told in last
    assert not (tmp_path / "beam").exists()
