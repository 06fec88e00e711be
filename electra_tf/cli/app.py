"""Runs `electra-tf COMMAND --flags`: finds it, parses flags, reports errors.

A command is a function: its flags come from its signature and docstring
(`cli.flags`), and its result is printed. TensorFlow is imported only after
flags and settings were parsed, so that help and errors appear at once.
"""

import contextlib
import copy
import difflib
import importlib
import logging
import os
import re
import sys
import tempfile
import textwrap
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import electra_tf
from electra_tf import backend, config
from electra_tf.errors import UserError

if TYPE_CHECKING:
    from absl import flags


class Command(NamedTuple):
    """The command that `electra-tf NAME` runs.

    Its module may have `settings_class(**arguments)`, which returns the
    settings class of `--config` and `--set`, or None; they are checked at once.
    Checks that need further arguments are in `check_settings(**arguments)`.
    """

    function: str  # "module:name" in this package
    summary: str  # one line of help
    words: str | None = None  # the flag that words without a flag belong to
    tensorflow: bool = True  # whether it needs TensorFlow
    # Whether to keep freed memory for the next step. With batches of many
    # lengths the system's allocator returns it and asks again, which took a
    # third of the time of fine-tuning. Building data is better without, as
    # several processes share the memory.
    pooled: bool = True


# In the usual order of use.
COMMANDS = {
    "prepare-text": Command(
        "recipes.prepare_text:prepare_text",
        "clean text up, and count what changed",
    ),
    "build-vocab": Command(
        "recipes.build_vocab:build_vocab",
        "train a WordPiece vocabulary from text",
        pooled=False,
    ),
    "build-data": Command(
        "recipes.build_data:build_data",
        "turn text into pre-training examples",
        pooled=False,
    ),
    "pretrain": Command(
        "recipes.pretrain:pretrain", "train a generator and a discriminator"
    ),
    "evaluate-pretraining": Command(
        "recipes.evaluate_pretraining:evaluate_pretraining",
        "measure a pre-training run on held-out text",
    ),
    "finetune": Command(
        "recipes.finetune:finetune", "train a model for a task, and report"
    ),
    "tune": Command(
        "recipes.tune:tune", "search for the best settings of a fine-tuning"
    ),
    "evaluate": Command(
        "recipes.evaluate:evaluate", "score a fine-tuned model on labelled data"
    ),
    "predict": Command(
        "recipes.predict:predict",
        "write predictions of a fine-tuned model for a file",
    ),
    "embed": Command(
        "recipes.embed:embed", "write the vectors of a file's texts"
    ),
    "convert": Command(
        "recipes.convert:convert",
        "convert a checkpoint from and to TF1, Hugging Face, KerasHub",
    ),
    "push": Command(
        "recipes.push:push", "upload a model to a hub, by its handle"
    ),
    "score": Command(
        "recipes.score:score",
        "score sentences; rerank candidates, clean text up",
    ),
    "minimal-pairs": Command(
        "recipes.minimal_pairs:minimal_pairs",
        "measure how often a model prefers the better sentence of a pair",
    ),
    "fill": Command(
        "recipes.fill:fill", "fill in [MASK] with the most probable tokens"
    ),
    "generate": Command(
        "recipes.generate:generate", "sample texts that begin with a prompt"
    ),
    "ask": Command(
        "recipes.ask:ask",
        "answer questions from your own documents",
        words="question",
    ),
    "export": Command(
        "recipes.export:export",
        "export a model that takes texts, ready to be served",
    ),
    "serve": Command(
        "recipes.serve:serve", "serve exported models over HTTP and gRPC"
    ),
    "client": Command(
        "recipes.client:client",
        "ask a server for predictions, for texts or a file",
        tensorflow=False,
    ),
    "demo": Command(
        "recipes.demo:demo",
        "run all of the above, small, on the text that ships",
    ),
}

_OK, _USER_ERROR, _INTERRUPTED, _BROKEN_PIPE = 0, 2, 130, 141
# Seconds that the threads of an abandoned run may take to end.
_ENDING_SECONDS = 3.0
_HELP = ("--help", "-help", "-h", "--helpfull", "--helpshort")
_SETTINGS_HELP = "--help=settings"


def run(argv: Sequence[str]) -> int:
    """Runs one command.

    Args:
      argv: the words after `electra-tf`, e.g. `["build-vocab", "--input=x"]`.

    Returns:
      The exit status: 0 done, 2 an error of the user's (printed on stderr in
      one line), 3 done except for some rows (`predict`), 130 interrupted, 141
      the reader of our output is gone. Any other failure is a bug and raises.
    """
    name = argv[0] if argv else "--help"
    try:
        if name in _HELP or name == "help":
            print(_overview(), flush=True)
            return _OK
        if name == "--version":
            print(f"electra-tf {electra_tf.__version__}", flush=True)
            return _OK
        if name not in COMMANDS:
            raise UserError(_unknown_command(name))
        return _run_command(name, list(argv[1:]))
    except UserError as error:
        return _report(name, str(error))
    except KeyboardInterrupt:
        print(f"\nelectra-tf {name}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout again at exit; let that succeed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] == "electra_tf":
            raise
        package = error.name.split(".")[0].replace("_", "-")
        return _report(
            name,
            f"needs the package '{package}': {error}; "
            + _how_to_install(package),
        )
    except OSError as error:
        if error.errno is None:
            raise
        return _report(name, str(error))


def entry() -> None:
    """Runs the `electra-tf` console script."""
    status = 1  # if something raises
    try:
        status = run(sys.argv[1:])
    finally:
        # An abandoned run on Beam leaves threads behind, for which Python would
        # wait at exit.
        if status != _OK and "apache_beam" in sys.modules:
            _end_within(_ENDING_SECONDS, status)
    sys.exit(status)


def _end_within(seconds: float, status: int) -> None:
    """Ends this process after some time, if it is still running."""

    def end() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(status)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _run_command(name: str, words: list[str]) -> int:
    """Parses the words after the command, and calls its function."""
    command = COMMANDS[name]
    if not isinstance(command, Command):
        return _run_module(name, words)
    from electra_tf.cli import flags as command_flags

    path, _, attribute = command.function.partition(":")
    module = importlib.import_module(f"electra_tf.{path}")
    function = getattr(module, attribute)
    own = getattr(module, "settings_class", None)
    before = words[: words.index("--")] if "--" in words else words
    if any(word in _HELP for word in before):
        print(command_flags.show(name, function, own is not None), flush=True)
        return _OK
    asks_settings = _SETTINGS_HELP in before
    if asks_settings:
        words = [word for word in words if word != _SETTINGS_HELP]
    values = command_flags.define(function)
    if asks_settings:  # help on settings requires no flags
        for flag in values:
            with contextlib.suppress(AttributeError):
                values[flag].validators.clear()
    try:
        _parse(name, values, words, command.words)
    except UserError as error:
        raise UserError(f"{error}{_as_setting(error, own)}") from error
    arguments = command_flags.arguments(function, values)
    settings = None if own is None else own(**arguments)
    if asks_settings:
        if settings is None:
            raise UserError("--help=settings: this command has no settings")
        print(command_flags.show_settings(settings), flush=True)
        return _OK
    check = getattr(module, "check_settings", None)
    if check is not None:
        check(**arguments)
    elif settings is not None:
        config.resolve(
            settings, arguments.get("config"), arguments.get("overrides", ())
        )
    if command.tensorflow:
        _start_tensorflow(command.pooled)
    elif str(arguments.get("url", "")).startswith("grpc"):
        _start_tensorflow(pooled=False)  # gRPC's messages import it
    result = function(**arguments)
    status = (
        result
        if isinstance(result, int)
        else getattr(result, "exit_status", _OK)
    )
    if result is not None and not isinstance(result, int):
        text = str(result)
        if text:
            print(text)
    sys.stdout.flush()
    return status


def _parse(
    name: str, values: "flags.FlagValues", words: list[str], rest_to: str | None
) -> None:
    """Parses `words` into `values`; words without a flag go to `rest_to`."""
    from absl import flags

    values.set_gnu_getopt(True)  # flags may follow other words
    try:
        rest = values([f"electra-tf {name}", *words])[1:]
    except flags.Error as error:
        raise UserError(_flag_error(name, error)) from error
    if rest and rest_to:
        flag: Any = values[rest_to]  # its value is a list
        flag.value = [*flag.value, *rest]
    elif rest:
        raise UserError(
            f"unexpected '{rest[0]}': arguments are given as --flag=value"
            + _see_help(name)
        )


def _run_module(name: str, words: list[str]) -> int:
    """Runs a command that is a module with FLAGS and main."""
    module = importlib.import_module(f"electra_tf.cli.{COMMANDS[name][0]}")
    before = words[: words.index("--")] if "--" in words else words
    if any(word in _HELP for word in before):
        print(_command_help(name, module), flush=True)
        return _OK
    # A copy, so that a process can run a command twice.
    values = copy.deepcopy(module.FLAGS)
    _parse(name, values, words, getattr(module, "WORDS", None))
    _start_tensorflow(pooled=not name.startswith("build-"))
    status = module.main(values)
    sys.stdout.flush()
    return status or _OK


def _start_tensorflow(pooled: bool) -> None:
    """Imports TensorFlow without its notices about missing GPUs.

    Args:
      pooled: see `Command`.
    """
    from absl import logging as absl_logging

    if pooled:
        os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    backend.check()
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with _held_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()  # searches for GPU drivers
        if not pooled:  # needs no GPU, and must not take its memory
            with contextlib.suppress(RuntimeError):  # it is already initialised
                tf.config.set_visible_devices([], "GPU")


@contextlib.contextmanager
def _held_stderr() -> Iterator[None]:
    """Holds back output to file descriptor 2, and prints it only on failure.

    TensorFlow's libraries log before any of their settings takes effect.
    """
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(screen, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)


def _report(name: str, message: str) -> int:
    """Prints an error of the user's; returns its exit status."""
    command = f"electra-tf {name}" if name in COMMANDS else "electra-tf"
    print(f"{command}: {message}", file=sys.stderr, flush=True)
    return _USER_ERROR


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "ELECTRA for TensorFlow and Keras.",
        "",
        "usage: electra-tf COMMAND --flag=value ...",
        "",
        "commands:",
    ]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<{width}}  {command[1]}")
    lines += [
        "",
        "electra-tf COMMAND --help  explains a command and its flags",
        "electra-tf COMMAND --help=settings  lists its settings, if it has any",
        "electra-tf --version       prints the version",
    ]
    return "\n".join(lines)


def _how_to_install(package: str) -> str:
    """Describes which of our extras installs a package."""
    try:
        wanted = metadata.requires("electra-tf") or []
    except metadata.PackageNotFoundError:
        wanted = []
    for each in wanted:
        found = re.match(r"""([\w.-]+).*extra == ['"](\w+)['"]""", each)
        if found and found[2] != "dev":
            if found[1].lower().replace("_", "-") == package.lower():
                return f"pip install 'electra-tf[{found[2]}]'"
    return "install it, or electra-tf again with its extras"


def _unknown_command(name: str) -> str:
    if name.startswith("-"):
        return f"expected a command before '{name}' (see electra-tf --help)"
    close = difflib.get_close_matches(name.replace("_", "-"), COMMANDS, n=1)
    if close:
        return f"unknown command '{name}'; did you mean '{close[0]}'?"
    return f"unknown command '{name}'; known: {', '.join(COMMANDS)}"


def _see_help(name: str) -> str:
    return f" (see electra-tf {name} --help)"


def _flag_error(name: str, error: Exception) -> str:
    """Returns absl's message in one plain line with a hint."""
    text = " ".join(str(error).split())
    if "must have a value other than None" in text:
        flag = text.partition("=")[0].removeprefix("flag ")
        return f"{flag} is required" + _see_help(name)
    text = text.replace("Unknown command line flag '", "unknown flag '--")
    text = text.replace("Did you mean: ", "did you mean --").replace(" ?", "?")
    text = text.replace("Missing value for flag", "missing value for")
    flag, _, problem = text.removeprefix("flag ").partition(": ")
    if problem.startswith("invalid literal for int()"):
        text = f"{flag}: expected a whole number"
    elif problem.startswith("could not convert string to float"):
        text = f"{flag}: expected a number"
    elif problem.startswith("('Non-boolean"):
        text = f"{flag}: expected true or false"
    return text.removeprefix("flag ") + _see_help(name)


def _as_setting(error: UserError, own: Callable[..., type] | None) -> str:
    """Suggests --set for an unknown flag with the name of a setting."""
    found = re.match("unknown flag '--([^']+)'", str(error))
    if not found or own is None:
        return ""
    try:
        keys = [each.key for each in config.describe(own())]
    except UserError:  # the settings class depends on other flags
        return ""
    word = found[1].split("=")[0]
    for key in keys:
        if word in (key, key.rpartition(".")[2]):
            return f"; the setting is --set={key}=VALUE"
    return ""


def _command_help(name: str, module: types.ModuleType) -> str:
    """Returns the module's docstring, then each flag with its default."""
    lines = [
        f"usage: electra-tf {name} --flag=value ...",
        "",
        (module.__doc__ or "").strip(),
        "",
        "flags:",
    ]
    own = module.FLAGS.flags_by_module_dict()
    for flag in (flag for flags_ in own.values() for flag in flags_):
        if flag.name in ("flagfile", "undefok"):  # absl's own flags
            continue
        kind = flag.flag_type()
        head = f"--[no]{flag.name}" if kind == "bool" else f"--{flag.name}=..."
        text = " ".join(flag.help.split())
        if kind.startswith("multi"):
            text = text.replace(
                "; repeat this option to specify a list of values",
                " (may be repeated)",
            )
        elif flag.default is not None and flag.default != "":
            text += f" (default: {flag.default})"
        lines.append(f"  {head}")
        lines += textwrap.wrap(
            text, 78, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return "\n".join(lines)
