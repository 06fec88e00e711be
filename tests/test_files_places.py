"""Tests that an output that cannot be written is refused before the work."""

import os

import pytest

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.recipes.build_vocab import build_vocab
from electra_tf.recipes.convert import convert
from electra_tf.recipes.export import export
from electra_tf.recipes.minimal_pairs import minimal_pairs
from electra_tf.recipes.prepare_text import prepare_text

# Nothing of these inputs is there: a command that reads them first says so.
COMMANDS = {
    "build_vocab": lambda output: build_vocab(
        input="missing", output=f"{output}.txt", vocab_size=100
    ),
    "prepare_text": lambda output: prepare_text(input="missing", output=output),
    "minimal_pairs": lambda output: minimal_pairs(
        model="missing", input="missing", output=output
    ),
    "export": lambda output: export(model="missing", output=output),
    "export_tflite": lambda output: export(
        model="missing", output=f"{output}.tflite", format="tflite"
    ),
    "convert": lambda output: convert(
        "missing", to="huggingface", output=output
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_where_a_folder_should_be(name, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=f"{tmp_path}/file is not a directory"):
        COMMANDS[name](str(tmp_path / "file" / "deeper" / "output"))
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["minimal_pairs", "export", "convert"])
def test_a_file_in_the_place_of_the_output(name, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=r"--output: .* is a file; name a fold"):
        COMMANDS[name](str(tmp_path / "file"))


@pytest.mark.parametrize("existing", [True, False])
def test_no_permission(existing, tmp_path, monkeypatch):
    folder = tmp_path / "others"
    folder.mkdir()
    place = folder / "output"
    if existing:
        place.write_text("theirs")
    access = os.access
    monkeypatch.setattr(  # root may write anywhere
        os, "access", lambda path, *_: path != str(folder) and access(path, *_)
    )
    with pytest.raises(UserError, match=f"--best: .* to write in {folder}"):
        files.check_place(str(place), "--best")
    files.check_place(str(tmp_path / "own" / "output"))


def test_possible_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("new", "new/deeper/file", str(tmp_path), ".", "gs://bucket/x"):
        files.check_place(path)
    assert not list(tmp_path.iterdir())
