"""Tests official files through the download cache of TensorFlow Datasets."""

import os
import socket

import glue_files as made
import prepare_glue as tool
import pytest

from electra_tf.tasks.glue.sets import SETS
from electra_tf.tasks.glue.task import Glue

SIZES = {"train": 5, "validation": 3, "test": 4}
MNLI = {
    "train": 5, "validation_matched": 3, "validation_mismatched": 2,
    "test_matched": 4, "test_mismatched": 3,
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.fixture
def official(tmp_path):
    folder = tmp_path / "official"
    folder.mkdir()
    return folder


def same(name, official, data_dir, numbered=True):
    """Reads all splits both ways; returns the number of rows of each."""
    files, cached = (
        Glue(f"glue/{name}", None, str(where)) for where in (official, data_dir)
    )
    rows = {}
    for split in SETS[name].files:
        one, other = files.read(split), cached.read(split)
        if one is None:
            assert other is None
            continue
        assert len(one) == len(other)
        for ours, theirs in zip(one, other):
            assert ours.text == theirs.text
            assert ours.text_pair == theirs.text_pair
            assert ours.answer == theirs.answer
            assert not numbered or ours.index == theirs.index
        rows[split] = len(one)
    return rows


@pytest.mark.parametrize("name", ["cola", "mrpc", "stsb"])
def test_the_same_through_tfds(tmp_path, official, capsys, name):
    made.write(official, name, SIZES)
    assert tool.main([f"--input={official}", f"--data_dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert f"glue/{name}: copied to {tmp_path}/downloads/glue" in out
    assert f"train 5 (official: {SETS[name].rows['train']:,})" in out
    assert same(name, official, tmp_path, numbered=name != "mrpc") == SIZES


def test_mnli_and_ax(tmp_path, official):
    made.write(official, "mnli", MNLI)
    made.write(official, "ax", {"test": 4})
    assert tool.main([f"--input={official}", f"--data_dir={tmp_path}"]) == 0
    assert same("mnli", official, tmp_path) == MNLI
    assert same("ax", official, tmp_path) == {"test": 4}
    assert len(Glue("glue/mnli", None, str(tmp_path)).read("ax")) == 4


def test_without_a_test_file(tmp_path, official, capsys):
    made.write(official, "sst2", {"train": 5, "validation": 3})
    args = [f"--input={official}", f"--data_dir={tmp_path}", "--build"]
    assert tool.main(args) == 0
    out = capsys.readouterr().out
    assert out.count("test none (official: 1,821; is left empty)") == 2
    assert same("sst2", official, tmp_path) == {"train": 5, "validation": 3}


def test_again_and_with_other_files(tmp_path, official, capsys):
    made.write(official, "rte", SIZES)
    args = [f"--input={official}", f"--data_dir={tmp_path}", "--tasks=rte"]
    assert tool.main(args) == 0
    assert same("rte", official, tmp_path) == SIZES
    capsys.readouterr()
    assert tool.main(args) == 0
    assert "glue/rte: there already" in capsys.readouterr().out
    made.write(official, "rte", SIZES | {"train": 7})
    assert tool.main(args) == 2
    error = capsys.readouterr().err
    assert "another file is there already; --overwrite replaces it" in error
    assert tool.main([*args, "--overwrite"]) == 0
    assert same("rte", official, tmp_path) == SIZES | {"train": 7}


def test_built_data_sets_are_kept(tmp_path, official, capsys):
    made.write(official, "rte", SIZES)
    args = [f"--input={official}", f"--data_dir={tmp_path}"]
    assert tool.main(args) == 0
    assert same("rte", official, tmp_path) == SIZES
    for folder, _, names in os.walk(tmp_path / "downloads"):
        for name in names:
            os.remove(os.path.join(folder, name))
    assert tool.main(args) == 0
    assert "is built already, and stays as it is" in capsys.readouterr().out


def test_nothing_to_copy(tmp_path, official, capsys):
    args = [f"--input={official}", f"--data_dir={tmp_path}"]
    assert tool.main(args) == 2
    assert "found no official GLUE files" in capsys.readouterr().err
    assert tool.main([*args, "--tasks=sst-2"]) == 2
    assert "no set 'sst-2'; known: cola, sst2" in capsys.readouterr().err
    made.write(official, "rte", {"train": 5})
    assert tool.main(args) == 2
    assert "RTE: no dev.tsv" in capsys.readouterr().err
    assert tool.main([*args, "--tasks=cola"]) == 2
    assert "holds RTE, but no CoLA" in capsys.readouterr().err


def test_a_pair_of_mrpc_in_both(tmp_path, official, capsys):
    folder = made.write(official, "mrpc", SIZES)
    (folder / "dev.tsv").write_bytes((folder / "train.tsv").read_bytes())
    args = [f"--input={official}", f"--data_dir={tmp_path}"]
    assert tool.main(args) == 2
    assert "pair train0 train0 is in" in capsys.readouterr().err
    (folder / "dev.tsv").write_text("Quality\t#1 ID\n1\t2\n")
    assert tool.main(args) == 2
    assert "dev.tsv: expected the columns Quality, " in capsys.readouterr().err
