"""Writes docs/settings.md: every key of every settings file, from the code.

    python tools/settings_reference.py [--output=docs/settings.md]

`electra-tf COMMAND --help=settings` prints the same text for one command.
"""

import argparse
import pathlib

from electra_tf import config, files
from electra_tf.finetuning import settings as finetune_settings
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.tasks import registry

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "settings.md"
_OPENING = """\
# Settings

Every key that a file in `configs/` may have, and `--set KEY=VALUE` with it;
`tools/settings_reference.py` writes this page. From Python the keys of a
section are a mapping: `train={"learning_rate": 1e-3}`. Two sections have the
name of another argument, `data` of `pretrain` and `model` of `finetune` and
`tune`: their keys are given as `overrides={"data.pack_examples": True}`, or in
`config=`.
"""


def page() -> str:
    """Returns the whole page, as Markdown."""
    kind = finetune_settings.settings_class("classification")
    parts = [
        _OPENING,
        _section("pretrain", config.describe(PretrainSettings)),
        _section(
            "finetune",
            [key for key in config.describe(kind) if _is_shared(key.key)],
        ),
    ]
    for family in registry.FAMILIES:
        options = registry.options_class(family)
        parts.append(
            _section(
                f"finetune --task={family}",
                config.describe(options, "options."),
            )
        )
    return "\n".join(parts)


def _is_shared(key: str) -> bool:
    return not key.startswith("options.")


def _section(title: str, keys: list[config.Key]) -> str:
    lines = [
        f"## `{title}`",
        "",
        "| key | values | default | what it does |",
        "| --- | --- | --- | --- |",
    ]
    for key in keys:
        kind = ", ".join(filter(None, (key.kind, key.bounds)))
        cells = (f"`{key.key}`", kind, f"`{key.default}`", key.text)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Writes the page."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--output", default=str(PAGE), help="the file")
    files.write_text(flags.parse_args().output, page())


if __name__ == "__main__":
    main()
