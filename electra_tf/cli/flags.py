"""Derives a command's flags from the signature and docstring of its function.

A parameter becomes the flag of its name; `overrides` is called `--set`.
Parameters for Python callers only (sections of settings as mappings,
`progress`) have no flag. The text of a flag is the parameter's entry under
`Args:`.
"""

import collections.abc
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, Union

from absl import flags

from electra_tf import config

_RENAMED = {"overrides": "set", "source": "from"}
_PYTHON_ONLY = ("progress",)
_ENTRY = re.compile(r"(\*{0,2}\w+)(?: \([^)]*\))?: ?(.*)")
_SECTIONS = ("Args:", "Returns:", "Raises:", "Yields:", "Example:")


class Help(NamedTuple):
    """A docstring split into parts."""

    text: str  # everything before its first section
    arguments: dict[str, str]  # name -> description


def read_docstring(function: Callable[..., Any]) -> Help:
    """Splits a function's docstring into parts."""
    lines = inspect.cleandoc(function.__doc__ or "").splitlines()
    text: list[str] = []
    entries: dict[str, str] = {}
    section, name = "", ""
    for line in lines:
        if line in _SECTIONS:
            section = line
        elif not section:
            text.append(line)
        elif section == "Args:" and line.strip():
            found = _ENTRY.fullmatch(line[2:]) if line[2:3].strip() else None
            if found:
                name = found.group(1)
                entries[name] = found.group(2)
            elif name:
                entries[name] = f"{entries[name]} {line.strip()}".strip()
    return Help("\n".join(text).strip(), entries)


def define(function: Callable[..., Any]) -> flags.FlagValues:
    """Makes the flags of a function.

    Args:
      function: its parameters are bool, int, float, str, `Literal` or
        `Sequence[str]`, each perhaps `| None` and with a `Setting`. One
        without a default is a required flag.
    """
    values = flags.FlagValues()
    about = read_docstring(function).arguments
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints.get(name, str)
        if name in _PYTHON_ONLY or not _is_flag(name, kind):
            continue
        required = parameter.default is inspect.Parameter.empty
        _define_one(
            values,
            _RENAMED.get(name, name),
            kind,
            None if required else parameter.default,
            about.get(name, config.setting_of(kind).text),
        )
        if required:
            flags.mark_flag_as_required(
                _RENAMED.get(name, name), flag_values=values
            )
    return values


def arguments(
    function: Callable[..., Any], values: flags.FlagValues
) -> dict[str, Any]:
    """Returns the keyword arguments that parsed flags stand for."""
    names = inspect.signature(function).parameters
    found = {}
    for name in names:
        flag = _RENAMED.get(name, name)
        if name not in _PYTHON_ONLY and flag in values:
            value = values[flag].value
            found[name] = tuple(value) if isinstance(value, list) else value
    return found


def show(name: str, function: Callable[..., Any], own: bool) -> str:
    """Writes the help of a command.

    Args:
      name: name of the command.
      function: the function that it runs.
      own: whether it has settings that `--help=settings` shows.
    """
    lines = [
        f"usage: electra-tf {name} --flag=value ...",
        "",
        read_docstring(function).text,
        "",
        "flags:",
    ]
    values = define(function)
    for group in values.flags_by_module_dict().values():
        for flag in group:
            lines += _flag_lines(flag)
    if own:
        lines += ["", f"electra-tf {name} --help=settings  lists the settings"]
    return "\n".join(lines)


def show_settings(cls: type) -> str:
    """Formats every key of a settings class, for the terminal."""
    lines = []
    for key in config.describe(cls):
        kind = key.kind if not key.bounds else f"{key.kind}, {key.bounds}"
        lines.append(f"{key.key}: {kind} (default: {key.default})")
        lines += textwrap.wrap(
            key.text, 78, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return "\n".join(lines)


def _flag_lines(flag: flags.Flag) -> list[str]:
    if flag.name in ("flagfile", "undefok"):  # absl's own flags
        return []
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
    return [
        f"  {head}",
        *textwrap.wrap(
            text, 78, initial_indent=" " * 6, subsequent_indent=" " * 6
        ),
    ]


def _is_flag(name: str, kind: Any) -> bool:
    """Returns whether a parameter can be given on the command line."""
    if name in ("config", "overrides"):
        return True
    return _scalar(kind) is not None


def _scalar(kind: Any) -> Any:
    """Returns the type of a flag: bool, int, float, str, list or a Literal."""
    if typing.get_origin(kind) is Annotated:
        return _scalar(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (Union, types.UnionType):
        found = [_scalar(part) for part in typing.get_args(kind)]
        if str in found:  # one text, or in Python several
            return str
        return next((one for one in found if one is not None), None)
    if typing.get_origin(kind) is Literal:
        return kind
    if typing.get_origin(kind) is collections.abc.Sequence:
        return list
    return kind if kind in (bool, int, float, str) else None


def _define_one(
    values: flags.FlagValues, name: str, kind: Any, default: Any, text: str
) -> None:
    setting = config.setting_of(kind)
    scalar = _scalar(kind)
    if name == "set":
        scalar, default = list, []
    elif name == "config":
        scalar = str
    if scalar is list:
        flags.DEFINE_multi_string(
            name,
            None if default is None else list(default),
            text,
            flag_values=values,
        )
    elif scalar is bool:
        flags.DEFINE_bool(name, default, text, flag_values=values)
    elif scalar is int:
        flags.DEFINE_integer(name, default, text, flag_values=values)
    elif scalar is float:
        flags.DEFINE_float(name, default, text, flag_values=values)
    elif scalar is str:
        flags.DEFINE_string(name, default, text, flag_values=values)
    else:
        flags.DEFINE_enum(
            name, default, list(typing.get_args(scalar)), text,
            flag_values=values,
        )  # fmt: skip
    if setting.bounds():

        def valid(value: float | None) -> bool:
            if value is None or setting.allows(value):
                return True
            raise flags.ValidationError(f"expected {setting.wanted(value)}")

        flags.register_validator(name, valid, flag_values=values)
