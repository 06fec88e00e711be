"""Writes docs/commands.md, each command with its flags, from the code."""

import importlib
import re
import textwrap

from absl import flags as absl_flags

from electra_tf.cli import app, flags

_OPENING = """\
# Commands

What `electra-tf --help` and `electra-tf COMMAND --help` print;
`tools/write_docs.py` writes this page. In Python each is a function of the same
name, with `_` for `-`, and the same arguments
([reference](reference/commands.md)).

| command | what it does |
| --- | --- |
"""


def page() -> str:
    """Returns the whole page, as Markdown."""
    lines = [
        f"| [`{name}`](#{name}) | {command.summary} |"
        for name, command in app.COMMANDS.items()
    ]
    parts = [_OPENING + "\n".join(lines)]
    parts += [_section(name) for name in app.COMMANDS]
    return "\n\n".join(parts) + "\n"


def function_of(name: str):
    """Returns the function that a command runs."""
    path, _, attribute = app.COMMANDS[name].function.partition(":")
    return getattr(importlib.import_module(f"electra_tf.{path}"), attribute)


def flag_table(name: str) -> str:
    """Returns the flags of a command with defaults and help, as Markdown."""
    rows = [
        "| flag | default | what it is |",
        "| --- | --- | --- |",
    ]
    values = flags.define(function_of(name))
    for group in values.flags_by_module_dict().values():
        rows += [
            _row(flag)
            for flag in group
            if flag.name not in ("flagfile", "undefok")
        ]
    return "\n".join(rows)


def _section(name: str) -> str:
    text = _fenced(flags.read_docstring(function_of(name)).text)
    return "\n".join([f"## {name}", "", text, "", flag_table(name)])


def _row(flag: absl_flags.Flag) -> str:
    kind = flag.flag_type()
    head = f"--[no]{flag.name}" if kind == "bool" else f"--{flag.name}"
    text = " ".join(flag.help.split()).replace(
        "; repeat this option to specify a list of values", " (may be repeated)"
    )
    default = "" if flag.default in (None, "", []) else f"`{flag.default}`"
    cells = (f"`{head}`", default, re.sub(r"<([\w|]+)>", r"`\1`", text))
    return (
        f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"
    )


def _fenced(text: str) -> str:
    """Puts commands and indented lines of a help text into fences."""
    parts = []
    for block in text.split("\n\n"):
        if all(line.startswith("  ") for line in block.split("\n")):
            block = textwrap.dedent(block)
            kind = "sh" if block.startswith("electra-tf ") else "text"
            parts.append(f"```{kind}\n{block}\n```")
        else:
            parts.append(block.replace("<", "&lt;"))
    return "\n\n".join(parts)
