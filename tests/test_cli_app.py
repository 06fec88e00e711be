"""Tests what all commands share: help, error messages, exit statuses."""

import os
import subprocess
import sys
import textwrap
import types

import pytest
from absl import flags

from electra_tf.cli import app
from electra_tf.errors import UserError

_FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "input", None, "Files to read.", required=True, flag_values=_FLAGS
)
flags.DEFINE_integer(
    "steps", 3, "How often.", lower_bound=1, flag_values=_FLAGS
)
flags.DEFINE_float("rate", 0.5, "How fast.", flag_values=_FLAGS)
flags.DEFINE_bool("lower_case", True, "Fold case.", flag_values=_FLAGS)
flags.DEFINE_enum("mode", "a", ["a", "b"], "Which.", flag_values=_FLAGS)
flags.DEFINE_multi_string("set", [], "Overrides.", flag_values=_FLAGS)


@pytest.fixture
def command(monkeypatch):
    """The module of a command `toy`, whose `main` the test sets."""
    module = types.ModuleType("electra_tf.cli.toy")
    module.__doc__ = "Does a toy thing.\n\nAt length."
    module.FLAGS = _FLAGS
    module.main = lambda values: 0
    monkeypatch.setitem(sys.modules, "electra_tf.cli.toy", module)
    monkeypatch.setitem(app.COMMANDS, "toy", ("toy", "a toy"))
    return module


def _fails(capsys, argv, status=2) -> str:
    assert app.run(argv) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.rstrip("\n")


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_overview_lists_every_command(capsys, argv):
    assert app.run(argv) == 0
    out = capsys.readouterr().out
    for name, command in app.COMMANDS.items():
        assert name in out
        assert command[1] in out


def test_version(capsys):
    assert app.run(["--version"]) == 0
    assert capsys.readouterr().out == "electra-tf 0.1.0\n"


def test_unknown_command_names_the_nearest(capsys):
    assert _fails(capsys, ["pretain"]) == (
        "electra-tf: unknown command 'pretain'; did you mean 'pretrain'?"
    )
    assert "did you mean 'build-data'?" in _fails(capsys, ["build_data"])
    assert "known: prepare-text, build-vocab, build-data" in _fails(
        capsys, ["qqq"]
    )
    assert "expected a command before '--x'" in _fails(capsys, ["--x"])


def test_flags_reach_main_and_do_not_stick(command):
    seen = []
    command.main = lambda v: seen.append((v.input, v.steps, v.set))
    argv = ["toy", "--input", "x", "--set=a=1", "--set", "b=2", "--steps=9"]
    assert app.run(argv) == 0
    assert app.run(["toy", "--input=y"]) == 0
    assert seen == [("x", 9, ["a=1", "b=2"]), ("y", 3, [])]


def test_status_of_main_is_returned(command):
    command.main = lambda values: 7
    assert app.run(["toy", "--input=x"]) == 7


def test_command_help_shows_docstring_and_flags(capsys, command):
    assert app.run(["toy", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Does a toy thing." in out
    assert "At length." in out
    for name, flag in _FLAGS.flag_values_dict().items():
        assert f"{name}" in out, flag
    assert "How often. (default: 3)" in out
    assert "Overrides. (may be repeated)" in out
    assert "undefok" not in out


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "--input is required (see electra-tf toy --help)"),
        (["--inputt=x"], "unknown flag '--inputt'. did you mean --input?"),
        (["--zzz"], "unknown flag '--zzz'"),
        (["--input"], "missing value for --input"),
        (["--input=x", "--steps=y"], "--steps=y: expected a whole number"),
        (["--input=x", "--rate=y"], "--rate=y: expected a number"),
        (["--input=x", "--steps=0"], "--steps=0: 0 is not a positive integer"),
        (["--input=x", "--mode=c"], "value should be one of <a|b>"),
        (["--input=x", "--lower_case=7"], "expected true or false"),
        (["--input=x", "more"], "unexpected 'more'"),
        (["--input=x", "--", "--steps=1"], "unexpected '--steps=1'"),
    ],
)
def test_flag_mistakes_take_one_line(capsys, command, argv, expected):
    message = _fails(capsys, ["toy", *argv])
    assert message.startswith("electra-tf toy: ")
    assert expected in message


def _raiser(error):
    def main(values):
        raise error

    return main


def test_user_errors_take_one_line(capsys, command):
    command.main = _raiser(UserError("no file matches 'x'"))
    assert _fails(capsys, ["toy", "--input=x"]) == (
        "electra-tf toy: no file matches 'x'"
    )


def test_system_errors_name_the_path(capsys, command):
    command.main = _raiser(OSError(28, "No space left on device", "/full"))
    message = _fails(capsys, ["toy", "--input=x"])
    assert "No space left on device: '/full'" in message


def test_missing_package_is_named(capsys, command):
    error = ModuleNotFoundError("No module named 'apache_beam'")
    error.name = "apache_beam.io"
    command.main = _raiser(error)
    assert "'apache-beam'" in _fails(capsys, ["toy", "--input=x"])


def test_bugs_keep_their_traceback(command):
    command.main = _raiser(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        app.run(["toy", "--input=x"])


def test_interrupt_exits_130(capsys, command):
    command.main = _raiser(KeyboardInterrupt())
    assert app.run(["toy", "--input=x"]) == 130
    assert "interrupted" in capsys.readouterr().err


def _python(code: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("name", [None, *app.COMMANDS])
def test_help_imports_nothing_heavy(name):
    argv = ["--help"] if name is None else [name, "--help"]
    result = _python(
        f"""
        import sys, time
        from electra_tf.cli import app
        assert app.run({argv!r}) == 0
        heavy = {{"tensorflow", "keras", "numpy", "matplotlib"}}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        assert time.process_time() < 0.5
        """
    )
    assert result.returncode == 0, result.stderr
    assert "usage: electra-tf" in result.stdout
    assert "(no help available)" not in result.stdout
    assert result.stderr == ""


def test_a_reader_that_leaves_causes_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        result = subprocess.run(
            [sys.executable, "-m", "electra_tf", "--help"],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 141
    assert result.stderr == ""
