"""The examples at the head of public classes run as they stand."""

import ast
import inspect
import textwrap

import pytest

import electra_tf

# Of those that need no more than a model directory `model`.
RUN = (
    "CrossEncoder", "MaskedLM", "QuestionAnswerer", "ReplacedTokenDetector",
    "TextClassifier", "TextRegressor", "TokenClassifier",
)  # fmt: skip


def example_of(name):
    """The first indented block of a class's docstring; None without one."""
    text = inspect.cleandoc(getattr(electra_tf, name).__doc__ or "")
    lines, found = text.split("\n"), []
    for line in lines[1:]:
        if line.startswith("    ") or (found and not line.strip()):
            found.append(line)
        elif found:
            break
        elif line.endswith(":") and line.rstrip(":") in ("Args", "Attributes"):
            return None
    return textwrap.dedent("\n".join(found)) if found else None


@pytest.mark.parametrize("name", RUN)
def test_help_opens_with_an_example(name):
    code = example_of(name)
    assert code and name in code
    ast.parse(code)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_example_runs(name, model_directory, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(model_directory)
    exec(compile(example_of(name), name, "exec"), {})


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory, tiny_vocab_file):
    path = str(tmp_path_factory.mktemp("pretrained") / "model")
    electra_tf.ElectraPretrainer.from_size(
        "tiny",
        vocab=tiny_vocab_file,
        model={
            "hidden_size": 16, "embedding_size": 16, "num_layers": 2,
            "num_heads": 2, "intermediate_size": 32, "max_positions": 64,
        },
    ).save_pretrained(path)  # fmt: skip
    return path
