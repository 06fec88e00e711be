"""Tests `generate` as a user runs it."""

import json

import generation_models as models
import pytest

from electra_tf.cli import app


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_tokens):
    return models.save(tmp_path_factory.mktemp("m"), tiny_tokens)


def run(model, *words):
    return app.run(["generate", f"--model={model}", *words])


def test_written(model, tmp_path, capsys):
    words = ["--prompt=The cat", "--prompt=今天", "--num_samples=3", "--seed=4"]
    words += ["--length=6", "--num_iterations=2"]
    rows = tmp_path / "out.jsonl"
    assert run(model, *words, f"--output={rows}") == 0
    found = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    shown = [row["text"] for row in found]
    assert "6 texts" in capsys.readouterr().out
    assert len(shown) == 6 and len(set(shown)) > 3
    assert [t.startswith("The cat") for t in shown] == [True] * 3 + [False] * 3
    assert [row["sample"] for row in found] == [0, 1, 2] * 2


@pytest.mark.slow  # every call loads and traces
def test_other_samples_without_the_critic(model, tmp_path, capsys):
    words = ["--num_samples=3", "--length=8", "--num_iterations=4"]
    assert run(model, *words) == 0
    shown = capsys.readouterr().out.splitlines()
    plain = tmp_path / "out.txt"
    assert run(model, *words, f"--output={plain}") == 0
    assert plain.read_text("utf-8").splitlines() == shown
    capsys.readouterr()
    assert run(model, *words, "--nocritic") == 0
    assert capsys.readouterr().out.splitlines() != shown


def test_a_text_is_on_one_line_of_a_text_file(model, tmp_path):
    target = tmp_path / "out.txt"
    words = ["--prompt=the\ncat", "--length=2", "--method=one_shot"]
    assert run(model, *words, f"--output={target}") == 0
    (line,) = target.read_text("utf-8").splitlines()
    assert line.startswith("the cat ")


def test_none(model, tmp_path, capsys):
    assert run(model, "--num_samples=0") == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "nothing to sample" in captured.err

    target = tmp_path / "out.txt"
    assert run(model, "--num_samples=0", f"--output={target}") == 0
    assert target.read_bytes() == b""


def test_odd_prompts(model, tmp_path):
    """Special tokens are read as plain text, and unknown scripts are kept."""
    prompts = ["", " \t", "[CLS] [SEP]", "[PAD]", "\u0436\u2603", "\0"]
    target = tmp_path / "out.jsonl"
    words = [f"--prompt={prompt}" for prompt in prompts]
    words += ["--length=3", "--method=one_shot", f"--output={target}"]
    assert run(model, *words) == 0
    rows = [json.loads(r) for r in target.read_text("utf-8").splitlines()]
    assert [row["prompt"] for row in rows] == prompts
    for row in rows:
        assert row["text"].startswith(row["prompt"].strip())
        assert row["continuation"]


def test_a_long_prompt_is_reported(model, capsys):
    words = ["--length=4", "--method=one_shot"]
    assert run(model, "--prompt=" + "the cat. " * 20, *words) == 0
    seen = capsys.readouterr()
    assert "has 60 tokens" in seen.err and seen.out.startswith("the cat. the")


def test_unigrams(model, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("cat dog cat")
    words = ["--method=unigram", f"--counts_from={text}", "--length=20"]
    assert run(model, *words) == 0
    assert set(capsys.readouterr().out.split()) == {"cat", "dog"}


@pytest.mark.slow
def test_without_a_discriminator(tmp_path, tiny_tokens, model, capfd):
    alone = models.save(tmp_path, tiny_tokens, discriminator=False)
    words = ["--length=4", "--num_iterations=2"]
    assert run(alone, *words) == 0
    plain = capfd.readouterr().out
    assert run(alone, "--critic", *words) == 2
    assert "--critic_model=DIR" in capfd.readouterr().err
    assert run(alone, f"--critic_model={model}", *words) == 0
    assert capfd.readouterr().out.strip() and plain.strip()


def test_a_critic_of_fewer_positions(tmp_path, tiny_tokens, model, capfd):
    critic = models.save(tmp_path / "c", tiny_tokens, positions=12)
    words = [f"--critic_model={critic}", "--num_iterations=2"]
    prompt = f"--prompt={'the cat ' * 10}"
    assert run(model, *words, prompt, "--length=10") == 0
    assert run(model, *words, "--length=11") == 2
    message = "--length=11: expected 1 to 10, the tokens that the model and its"
    assert message in capfd.readouterr().err
    assert run(model, *words, "--max_seq_length=13") == 2
    message = capfd.readouterr().err.strip().splitlines()[-1]
    assert message.endswith(
        "--max_seq_length=13: the generator has 40 positions, but the critic "
        "12; give at most 12, or another --critic_model"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt=the [MASK]"], "electra-tf fill fills"),
        (["--length=0"], "--length=0: expected 1 to 22"),
        (["--length=23"], "--length=23: expected 1 to 22"),
        (["--num_samples=-1"], "--num_samples=-1"),
        (["--temperature=-1"], "--temperature=-1"),
        (["--top_p=0"], "--top_p=0"),
        (["--num_iterations=0"], "--num_iterations=0"),
        (["--method=unigram"], "--counts_from=FILE"),
        (
            ["--method=unigram", "--counts_from=/dev/null"],
            "--counts_from: /dev/null: no words",
        ),
        (["--temperature=nan"], "--temperature=nan"),
        (["--counts_from=/no/such"], "--counts_from: /no/such"),
        (
            ["--counts_from=/dev/null"],
            "--counts_from: --method=mask_predict does not use it",
        ),
        (
            ["--method=one_shot", "--num_iterations=3"],
            "--num_iterations: --method=one_shot does not use it",
        ),
        (
            ["--method=one_shot", "--critic"],
            "--critic: --method=one_shot does not use it",
        ),
        (
            ["--method=unigram", "--temperature=0.5"],
            "--temperature: --method=unigram does not use it",
        ),
        (
            ["--nocritic", "--critic_model=c"],
            "--critic_model: not with --nocritic",
        ),
        (["--output=a.doc"], "--output: a.doc"),
        (["--critic_model=/no/such"], "/no/such: no such model"),
        (["--model=/no/such"], "/no/such: no such model"),
    ],
)
def test_mistakes_are_reported_in_one_line(model, arguments, message, capfd):
    assert run(model, *arguments) == 2
    assert message in capfd.readouterr().err.strip().splitlines()[-1]
