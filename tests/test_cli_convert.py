"""Tests what `electra-tf convert` writes, reports and refuses."""

import dataclasses

import hub_models
import hub_random
import pytest

from electra_tf.cli import app
from electra_tf.hub import loading
from electra_tf.hub.config import DirectoryConfig
from electra_tf.models.config import ModelConfig
from electra_tf.text.vocab import AddedToken, Vocab

MODEL = ModelConfig(
    vocab_size=len(hub_random.VOCAB), embedding_size=6, hidden_size=8,
    num_layers=2, num_heads=2, intermediate_size=16, max_positions=7,
)  # fmt: skip
CONFIG = DirectoryConfig(MODEL, MODEL.generator(0.5), True, None, "", step=5)


@pytest.fixture
def tf1_folder(tmp_path):
    path = tmp_path / "source"
    loading.format_module("tf1").write(
        str(path), hub_random.checkpoint(CONFIG, slots=True)
    )
    return path


def _run(capsys, *words):
    status = app.run(["convert", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_there_and_back(tf1_folder, tmp_path, capsys):
    ours, back = tmp_path / "ours", tmp_path / "back"
    status, out, _ = _run(
        capsys, f"--from={tf1_folder}", "--to=electra_tf", f"--output={ours}"
    )
    assert status == 0
    assert "loaded 66 variables" in out
    assert "slots of 66 variables, at step 5" in out
    assert f"written as electra_tf to {ours}" in out
    status, _, _ = _run(
        capsys, f"--from={ours}", "--to=tf1", f"--output={back}"
    )
    assert status == 0
    hub_random.same(
        loading.open_checkpoint(str(back)),
        loading.open_checkpoint(str(tf1_folder)),
    )


def test_one_network_without_its_optimizer(tf1_folder, tmp_path, capsys):
    output = tmp_path / "hf"
    status, out, _ = _run(
        capsys, f"--from={tf1_folder}", "--to=huggingface",
        f"--output={output}",
    )  # fmt: skip
    assert status == 0
    assert "not carried over: the optimizer's slots" in out
    assert "left over (31): generator/encoder (26), generator/head (5)" in out
    read = loading.open_checkpoint(str(output))
    assert read.config.generator is None and read.slots is None
    status, out, _ = _run(
        capsys, f"--from={tf1_folder}", "--to=electra_tf",
        f"--output={tmp_path / 'gen'}", "--part=generator",
    )  # fmt: skip
    assert status == 0 and "discriminator/head (4)" in out
    read = loading.open_checkpoint(str(tmp_path / "gen"))
    assert read.config.discriminator is None


def test_settings_that_variables_do_not_determine(tf1_folder, tmp_path, capsys):
    (tf1_folder / "config.json").unlink()
    vocab = tf1_folder / "vocab.txt"
    vocab = vocab.rename(tmp_path / "vocab.txt")
    output = tmp_path / "ours"
    words = [f"--from={tf1_folder}", "--to=electra_tf", f"--output={output}"]
    status, _, err = _run(capsys, *words)
    assert status == 2 and "give --vocab=FILE" in err
    status, out, _ = _run(
        capsys, *words, f"--vocab={vocab}", "--set=model.num_heads=4",
        "--nolower_case",
    )  # fmt: skip
    assert status == 0
    assert "taken by default: generator.num_heads 1" in out
    config = loading.open_checkpoint(str(output)).config
    assert config.discriminator.num_heads == 4 and not config.lower_case


def test_refusals(tf1_folder, tmp_path, capsys):
    words = [f"--from={tf1_folder}", "--to=tf1", f"--output={tmp_path / 'x'}"]
    for bad, message in (
        ([*words, "--set=model.num_heads"], "--set: expected section.key"),
        ([*words, "--set=model.heads=2"], "did you mean 'model.num_heads'"),
        ([*words, "--to=pytorch"], "--to"),
        ([*words[1:], "--from=/nowhere"], "/nowhere: no such"),
        ([*words[:2], f"--output={tmp_path}"], "is not empty"),
        ([*words[:2], f"--output={tf1_folder}/", "--overwrite"], "is --from"),
        (words[1:], "--from"),
    ):
        status, _, err = _run(capsys, *bad)
        assert status == 2 and message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "x").exists()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "old").touch()
    assert _run(capsys, *words)[0] == 2
    assert _run(capsys, *words, "--overwrite")[0] == 0


def test_overwrite_does_not_mix_formats(tf1_folder, tmp_path, capsys):
    """Files of another format would be read in place of the new ones."""
    output = tmp_path / "x"
    words = [f"--from={tf1_folder}", f"--output={output}", "--overwrite"]
    assert _run(capsys, *words, "--to=tf1")[0] == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    for name in ("huggingface", "keras_hub", "electra_tf"):
        status, _, err = _run(capsys, *words, f"--to={name}")
        assert status == 2 and err.count("\n") == 1
        assert f"{output} has a model in the format tf1" in err
    assert before == {path.name: path.read_bytes() for path in output.iterdir()}
    assert _run(capsys, *words, "--to=tf1")[0] == 0


FORMATS = ("electra_tf", "huggingface", "tf1", "keras_hub")


@pytest.mark.parametrize("format_", FORMATS)
def test_a_source_that_fails_leaves_nothing(tmp_path, capsys, format_):
    """Its weights are read while the target is written."""
    source = tmp_path / "source"
    hub_models.saved(source)

    def quantised(arrays):
        name = "electra.encoder.layer.1.output.dense.weight"
        return arrays | {name: arrays[name].astype("int8")}

    hub_models.rewrite(source, quantised)
    output = tmp_path / "new"
    words = [f"--from={source}", f"--to={format_}", f"--output={output}"]
    status, _, err = _run(capsys, *words)
    assert status == 2 and "int8" in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    output.mkdir()
    (output / "notes").write_text("kept")
    assert _run(capsys, *words, "--overwrite")[0] == 2
    assert [path.name for path in output.iterdir()] == ["notes"]


@pytest.mark.parametrize("format_", FORMATS)
def test_overwriting_leaves_nothing_of_another_model(tmp_path, capsys, format_):
    marked = Vocab((*hub_models.TOKENS, "[E1]"), (AddedToken("[E1]"),))
    model = dataclasses.replace(hub_models.TINY, num_layers=1)
    config = hub_models.directory_config(model, model)
    output = tmp_path / "output"
    words = [f"--to={format_}", f"--output={output}", "--overwrite"]
    for name, vocab, parts in (
        ("both", marked, ["--part=both"]),
        ("one", hub_models.VOCAB, ["--part=discriminator"]),
    ):
        source = tmp_path / name
        loading.format_module("tf1").write(
            str(source), hub_models.checkpoint(config, vocab)
        )
        # What transformers and sentence-transformers may have beside it.
        if output.exists() and format_ == "huggingface":
            (output / "added_tokens.json").write_text('{"[E9]": 9}')
            (output / "sentence_bert_config.json").write_text("{}")
        status, _, _ = _run(capsys, f"--from={source}", *words, *parts)
        assert status == 0
        fresh = tmp_path / f"fresh_{name}"
        words_ = [f"--to={format_}", f"--output={fresh}", *parts]
        _run(capsys, f"--from={source}", *words_)
        found = loading.open_checkpoint(str(output))
        expected = loading.open_checkpoint(str(fresh))
        assert found.config == expected.config
        assert found.vocab == expected.vocab
        hub_models.assert_same_weights(
            dict(found.weights), dict(expected.weights)
        )
