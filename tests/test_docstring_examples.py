"""Tests that every public class's docstring has an example that runs."""

import ast
import inspect
import textwrap

import pytest

import electra_tf

CLASSES = [
    name
    for name in electra_tf.__all__
    if inspect.isclass(getattr(electra_tf, name))
]
# Classes whose examples train.
SLOW = {
    "CrossEncoder", "ElectraPretrainer", "MaskedLM", "QuestionAnswerer",
    "ReplacedTokenDetector", "TextClassifier", "TextRegressor",
    "TokenClassifier",
}  # fmt: skip
# Their examples need a server, which tests/test_serving_*.py start.
NOT_RUN = {"AsyncClient", "Client", "ServingError"}


def example_of(documented):
    """Returns the indented block after a docstring's summary, or None."""
    text = inspect.cleandoc(documented.__doc__ or "")
    _, _, rest = text.partition("\n\n")
    found = []
    for line in rest.split("\n"):
        if line.strip() and not line.startswith("    "):
            break
        found.append(line)
    return textwrap.dedent("\n".join(found)).strip() or None


def test_all_public_classes_are_looked_at():
    assert len(CLASSES) == 21
    assert set(CLASSES) >= SLOW | NOT_RUN


@pytest.mark.parametrize("name", CLASSES)
def test_help_opens_with_an_example(name):
    code = example_of(getattr(electra_tf, name))
    assert code, f"help(electra_tf.{name}) has no example at its head"
    used = {
        getattr(node, "id", None) or getattr(node, "attr", None)
        for node in ast.walk(ast.parse(code))
    }
    assert name in used, "the example does not use its class"


def test_without_an_example_it_fails():
    class Bare:
        """Does something.

        It has no example.

            not_at_the_head()
        """

    assert example_of(Bare) is None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
        for name in CLASSES
        if name not in NOT_RUN
    ],
)
def test_example_runs(name, place, monkeypatch):
    monkeypatch.chdir(place)
    code = example_of(getattr(electra_tf, name))
    exec(compile(code, name, "exec"), {})


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_vocab_file, tiny_tokens):
    """A folder with the files that examples name: model and vocab.txt."""
    path = tmp_path_factory.mktemp("examples")
    (path / "vocab.txt").write_bytes(open(tiny_vocab_file, "rb").read())
    electra_tf.ElectraPretrainer.from_size(
        "tiny",
        vocab=tiny_vocab_file,
        model={
            "hidden_size": 16, "embedding_size": 16, "num_layers": 2,
            "num_heads": 2, "intermediate_size": 32, "max_positions": 64,
        },
    ).save_pretrained(str(path / "model"))  # fmt: skip
    return path


@pytest.fixture(scope="module", autouse=True)
def data(request):
    """Builds pre-training data if an example that reads them is run."""
    items = request.session.items
    if any("runs[ElectraPretrainer]" in item.name for item in items):
        path = request.getfixturevalue("place")
        text = "the cat sat on the mat and the dog ran to the house\n" * 60
        (path / "text.txt").write_text(text)
        electra_tf.build_data(
            str(path / "text.txt"),
            str(path / "vocab.txt"),
            str(path / "data"),
            max_seq_length=16,
            progress=False,
        )
