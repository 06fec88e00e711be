"""Tests flags made from a function's signature and docstring, and settings."""

import dataclasses
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest

from electra_tf import config
from electra_tf.cli import app
from electra_tf.config import Setting, Settings


@dataclasses.dataclass(frozen=True)
class Train(Settings):
    learning_rate: Annotated[float, Setting("Peak rate.", above=0)] = 1e-3
    num_train_epochs: (
        Annotated[float, Setting("Passes; null takes three.", above=0)] | None
    ) = None


def _settings() -> type:
    return dataclasses.make_dataclass(
        "Toy",
        [("train", Train, dataclasses.field(default_factory=Train))],
        frozen=True,
    )


def toy(
    source: str | Sequence[str],
    output: str,
    *,
    config: config.Config = None,
    overrides: config.Overrides = (),
    train: Mapping[str, Any] | None = None,
    steps: Annotated[int, Setting(at_least=1)] = 3,
    rate: float | None = None,
    lower_case: bool = True,
    strip: bool | None = None,
    mode: Literal["a", "b"] = "a",
    words: Sequence[str] = (),
    progress: bool = True,
) -> str:
    """Does a toy thing.

    At length: electra-tf toy --from=x.

    Args:
      source: files to read, and where
        they are.
      output: the file to write.
      steps: how often.
      rate: how fast: as a number.
      words: what to say; repeat.

    Returns:
      What was asked.
    """
    settings = config_of(config, overrides, train)
    return f"{source} {steps} {rate} {strip} {mode} {words} {settings.train}"


def config_of(given: Any, overrides: Any, train: Any) -> Any:
    return config.resolve(_settings(), given, overrides, train=train)


@pytest.fixture
def command(monkeypatch):
    """The module of a command `toy`, which needs no TensorFlow."""
    module = types.ModuleType("electra_tf.recipes.toy")
    module.toy = toy
    module.settings_class = lambda **arguments: _settings()
    monkeypatch.setitem(sys.modules, "electra_tf.recipes.toy", module)
    monkeypatch.setitem(
        app.COMMANDS,
        "toy",
        app.Command(
            "recipes.toy:toy", "a toy", words="words", tensorflow=False
        ),
    )
    return module


_REQUIRED = ["toy", "--from=x", "--output=y"]


def _run(capsys, *argv: str, status: int = 0) -> str:
    assert app.run([*_REQUIRED, *argv]) == status
    captured = capsys.readouterr()
    return captured.out if status == 0 else captured.err


def test_defaults_are_those_of_the_signature(capsys, command):
    out = _run(capsys)
    assert out == f"x 3 None None a () {Train()}\n"
    assert out == f"{toy('x', 'y')}\n"


def test_each_kind_of_flag_reaches_the_function(capsys, command):
    out = _run(
        capsys, "--steps=9", "--rate=.5", "--nostrip", "--mode=b", "one",
        "--words=two", "--set=train.learning_rate=2",
    )  # fmt: skip
    assert out == f"x 9 0.5 False b ('two', 'one') {Train(2.0)}\n"
    assert _run(capsys) == f"x 3 None None a () {Train()}\n"


def test_a_settings_file_reaches_the_function(capsys, command, tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text("train: {num_train_epochs: 2}\n")
    out = _run(capsys, f"--config={path}", "--set=train.learning_rate=2")
    assert str(Train(2.0, 2.0)) in out


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--steps=0"], "--steps=0: expected at least 1"),
        (["--steps=y"], "--steps=y: expected a whole number"),
        (["--mode=c"], "value should be one of <a|b>"),
        (["--train=x"], "unknown flag '--train'"),
        (["--progress"], "unknown flag '--progress'"),
        (["--set=train.learning_rate=0"], "expected above 0, got 0"),
        (["--set=learning_rate=1"], "did you mean 'train.learning_rate'?"),
        (["--set=train.epochs=1"], "did you mean 'train.num_train_epochs'?"),
        (["--config=no.yaml"], "no.yaml: no such file"),
    ],
)
def test_mistakes_take_one_line(capsys, command, argv, expected):
    err = _run(capsys, *argv, status=2)
    assert err.startswith("electra-tf toy: ")
    assert err.count("\n") == 1
    assert expected in err


def test_settings_are_checked_before_the_function_is_called(capsys, command):
    command.toy = lambda output, overrides=(): pytest.fail("was called")
    assert app.run(["toy", "--output=y", "--set=train.rate=x"]) == 2


def test_required_flags_are_asked_for(capsys, command):
    assert app.run(["toy", "--from=x"]) == 2
    assert "--output is required" in capsys.readouterr().err


def test_help_shows_docstring_and_flags(capsys, command):
    out = _run(capsys, "--help")
    assert "Does a toy thing.\n\nAt length: electra-tf toy" in out
    assert "Returns" not in out
    assert "  --from=...\n      files to read, and where they are.\n" in out
    assert "how fast: as a number." in out
    assert "how often. (default: 3)" in out
    assert "--[no]lower_case" in out
    assert "--help=settings" in out
    assert "progress" not in out and "train" not in out.split("flags:")[1]


def test_help_of_settings_lists_every_key(capsys, command):
    assert app.run(["toy", "--help=settings"]) == 0
    assert capsys.readouterr().out == (
        "train.learning_rate: a number, above 0 (default: 0.001)\n"
        "      Peak rate.\n"
        "train.num_train_epochs: a number or null, above 0 (default: null)\n"
        "      Passes; null takes three.\n"
    )
    del command.settings_class
    assert app.run(["toy", "--help=settings"]) == 2
    assert "has no settings" in capsys.readouterr().err


def test_a_whole_number_is_the_exit_status(capsys, command):
    command.toy = lambda output: 7
    assert app.run(["toy", "--output=y"]) == 7
