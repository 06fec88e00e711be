"""Counts parameters and FLOPs of pre-training configs, as the paper does.

    python tools/flops.py --config=configs/pretrain/small.yaml
    python tools/flops.py --all
    python tools/flops.py --plan

The first prints every part, the second a line for each file in
configs/pretrain/. The sequence length is that of the command in the file's
opening comment, unless --max_seq_length is given. `electra_tf/models/flops.py`
has the rules. The third prints hours and cost of the paper's runs on large
machines, under the assumptions in its flags, and the time that predictions for
a million to ten billion sentences take at the measured speed:
`benchmarks/plan.py`.
"""

import argparse
import pathlib
import sys

from benchmarks import outputs, plan

from electra_tf import config
from electra_tf.errors import UserError
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.models import flops
from electra_tf.recipes import pretrain

CONFIGS = plan.CONFIGS
RESULTS = CONFIGS.parents[1] / "docs/performance" / outputs.RESULTS


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags."""
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = flags.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", help="a YAML file as pretrain takes it")
    what.add_argument(
        "--all", action="store_true", help="all files in configs/pretrain/"
    )
    what.add_argument(
        "--plan",
        action="store_true",
        help="hours and cost of the paper's runs and of predictions",
    )
    plan.add_flags(flags)
    flags.add_argument(
        "--results", default=str(RESULTS),
        help="results.json of tools/benchmark.py all, for --plan (%(default)s)",
    )  # fmt: skip
    flags.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="overrides a setting, as in pretrain",
    )  # fmt: skip
    flags.add_argument(
        "--max_seq_length", type=int, help="tokens in a sequence"
    )
    return flags


def costs_of(
    path: str, overrides: list[str], seq_length: int | None
) -> flops.Costs:
    """Returns the costs of the run that a file describes.

    Raises:
      UserError: the file is wrong, or names no sequence length.
    """
    settings = config.resolve(PretrainSettings, path, overrides)
    if seq_length is None:
        seq_length = plan.seq_length(path)
    return pretrain.costs(settings, seq_length)


def part_table(costs: flops.Costs) -> str:
    """Returns a Markdown table with a row for each part."""
    lines = [
        "| part | parameters | training FLOPs | inference FLOPs |",
        "| --- | ---: | ---: | ---: |",
    ]
    for part in dict.fromkeys([*costs.parameters, *costs.training]):
        columns = [f"{costs.parameters.get(part, 0):,}"]
        for counts in (costs.training, costs.inference):
            columns.append(f"{counts[part]:.2e}" if part in counts else "")
        lines.append(" | ".join(["| " + part, *columns]) + " |")
    lines.append(
        f"| all | {sum(costs.parameters.values()):,} "
        f"| {costs.training_flops:.2e} | {costs.inference_flops:.2e} |"
    )
    return "\n".join(lines)


def run_table(runs: dict[str, flops.Costs]) -> str:
    """Returns a Markdown table with a row for each run."""
    lines = [
        "| config | parameters | of the generator "
        "| training FLOPs | inference FLOPs |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, costs in runs.items():
        every = sum(costs.parameters.values())
        lines.append(
            f"| {name} | {flops.millions(costs.model_parameters)} "
            f"| {flops.millions(every - costs.model_parameters)} "
            f"| {costs.training_flops:.2e} | {costs.inference_flops:.2e} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Prints the requested tables as Markdown."""
    args = parser().parse_args(argv)
    try:
        if args.plan:
            measured, _ = outputs.load(pathlib.Path(args.results))
            print(
                plan.tables(
                    measured,
                    plan.shares(args.utilisation),
                    args.gpu_price,
                    args.tpu_price,
                    args.core_price,
                )
            )
        elif args.config:
            costs = costs_of(args.config, args.set, args.max_seq_length)
            print(part_table(costs))
            print(f"\n{costs.line()}")
        else:
            runs = {
                path.stem: costs_of(str(path), args.set, args.max_seq_length)
                for path in sorted(CONFIGS.glob("*.yaml"))
            }
            print(run_table(runs))
    except UserError as error:
        print(f"flops: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
