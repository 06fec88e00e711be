"""Runs an export as TensorFlow Serving would, and compares its outputs.

  tools/check_export.py DIR --model=RUN [--texts=FILE] [--tolerance=1e-5]

DIR is what `electra-tf export --output=DIR` wrote, or one version in it. Every
signature is run through TensorFlow's C API, in a process without Python
TensorFlow; again in a Python that has only tensorflow and tensorflow-text;
and by the model that the export was made of. Texts are English and Chinese,
odd ones and very long ones. The exit status is 0 if all agree, 1 if not.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence

from capi import checks, processes, questions, signatures, texts
from capi.checks import Line
from capi.processes import Answers, ProcessError

from electra_tf.errors import UserError

_SHOWN = 5  # problems of each line of the table


def check(
    path: str,
    model: str | None = None,
    texts_file: str | None = None,
    tolerance: float = 1e-5,
    longest: int = 100_000,
    plain: bool = True,
) -> list[Line]:
    """Runs an export in all ways, and compares the outputs.

    Args:
      path: an export, or a version of it.
      model: the model that it was made of; None to skip this comparison.
      texts_file: lines or JSON Lines; built-in texts where None.
      tolerance: between numbers, absolute; relative for those above 1.
      longest: bytes of the longest texts; 0 for none.
      plain: whether the plain process runs too.

    Raises:
      UserError: there is no export, text or model.
      ProcessError: a process died before it answered.
    """
    folder, about = questions.find(path)
    kind = about.get("task")
    if model and not kind:
        raise UserError(
            f"{folder}: has no assets.extra/electra_tf.json, so it cannot be "
            "compared with a model; leave --model out"
        )
    lines, records = texts.built_in(), []
    if texts_file:
        lines, records = texts.read(texts_file)
    with tempfile.TemporaryDirectory() as exchange:
        asked = questions.ask(
            {
                name: signature
                for name, signature in signatures.of_folder(folder).items()
                # `serving_default.part` and the like are steps of the
                # others, and do not take texts alone.
                if "." not in name
            },
            kind,
            lines,
            records,
            longest,
        )
        requests = [one.request for one in asked]
        _tell(f"the C API: {len(requests)} requests")
        capi = processes.run_capi(folder, requests, exchange)
        _alone(capi, "the C API's process")
        found = checks.check_answers(asked, capi, tolerance)
        if plain:
            _tell("a Python with only tensorflow and tensorflow-text")
            answers = processes.run_plain(folder, requests, exchange)
            _alone(answers, "the plain process")
            found += checks.check_plain(asked, capi, answers, tolerance)
        if model:
            _tell(f"the Python model {model}")
            wanted = questions.rows(asked)
            question = {
                "model": model,
                "kind": kind,
                "max_seq_length": about["max_seq_length"],
                "rows": wanted,
            }
            answers = processes.run_model(question, exchange)
            found += checks.check_model(asked, capi, answers, wanted, tolerance)
    return found


def _alone(answers: Answers, who: str) -> None:
    """Raises if a process imported a package that it must not need."""
    if answers.facts["foreign"]:
        raise ProcessError(
            f"{who} has imported {', '.join(answers.facts['foreign'])}"
        )


def report(lines: Sequence[Line]) -> str:
    """Returns a table, and below it the problems."""
    rows = [("signature", "run by", "rows", "values", "difference", "wrong")]
    for line in sorted(lines, key=lambda line: line.signature):
        found = line.found
        rows.append(
            (
                line.signature,
                line.what,
                str(line.rows),
                f"{found.values:,}",
                f"{found.difference:.1e}" if found.values else "",
                str(len(found.problems)),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    table = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    wrong = []
    for line in lines:
        problems = line.found.problems
        wrong += [f"{line.what}: {problem}" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            more = len(problems) - _SHOWN
            wrong.append(f"{line.what}: {line.signature}: {more} more")
    return "\n".join([*table, *wrong])


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument("export", metavar="DIR", help="the export")
    flags.add_argument("--model", help="the run or model that was exported")
    flags.add_argument(
        "--texts",
        help="a text a line, or JSON Lines (.jsonl) with the inputs' names; "
        "built-in ones by default",
    )
    flags.add_argument(
        "--tolerance", type=float, default=1e-5,
        help="largest difference of numbers, relative for those above 1",
    )  # fmt: skip
    flags.add_argument(
        "--longest", type=int, default=100_000,
        help="bytes of the longest odd texts; 0 for none",
    )  # fmt: skip
    flags.add_argument(
        "--no-plain", dest="plain", action="store_false",
        help="skip the run in a Python with only TensorFlow",
    )  # fmt: skip
    args = flags.parse_args(argv)
    try:
        lines = check(
            args.export, args.model, args.texts, args.tolerance, args.longest,
            args.plain,
        )  # fmt: skip
    except UserError as error:
        print(f"check_export: {error}", file=sys.stderr)
        return 2
    except ProcessError as error:
        print(f"check_export: {error}")
        return 1
    print(report(lines))
    return 1 if any(line.found.problems for line in lines) else 0


def _tell(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
