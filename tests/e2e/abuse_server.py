"""Sends a server requests that clients should not send, and checks it.

  tests/e2e/abuse_server.py --model=DIR [--num_requests=100000] [--output=DIR]
  tests/e2e/abuse_server.py --url=http://127.0.0.1:8501 [--pid=N]
  tests/e2e/abuse_server.py --model=DIR --other=DIR [--change_every=20]
  tests/e2e/abuse_server.py --model=DIR --mode=kill [--every=2000]

DIR is the output of `electra-tf export`; the server is started with it as a
process. --mode is one of:

  mixed      two good requests, one malformed, and so on, from many
             connections, and slow clients at the same time. A fifth goes by
             gRPC if its packages are installed and the server was started
             here. With --other, an export whose newest version gives other
             answers, versions of both are added, deleted and broken meanwhile,
             and an answer must be that of a version served at the time
  kill       good requests; at intervals SIGKILL and a restart
  terminate  the same with SIGTERM
  reload     good requests; at intervals a new version of the model

The expected answers to good requests are recorded first, without other load.
Problems are: a good request without its answer (in kill: unless it was in
flight at a kill), a wrong answer, a status that does not fit the request, a
server that dies, and memory, threads or open files that grow. With problems the
exit status is 1. The output folder has metrics.jsonl (the server's use of
resources each second), plot.png, report.json and the server's log.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import json
import math
import pathlib
import shutil
import statistics
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

# For `capi`, which compares answers; pytest has it on its path.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tools"))

from abuse import (
    calls,
    mixed_load,
    plot,
    server_process,
    versions,
    wire,
    world,
)
from abuse.tally import Journal, Tally
from abuse.upheavals import Upheavals

from electra_tf.errors import UserError

MODES = ("mixed", "kill", "terminate", "reload")
_SETTLING = 90.0  # seconds for a server to close its clients' connections


def abuse(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the requests that the flags ask for.

    Returns:
      The report; its "problems" are empty if there were none.

    Raises:
      UserError: the server cannot be started, or is no `electra-tf serve`.
    """
    output = pathlib.Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        models = stack.enter_context(_copied(args)) if args.model else None
        process = None
        if models:
            log = output / "server.log"
            log.write_bytes(b"")
            flags = ["--poll_seconds=0.2", *args.serve_flag]
            if args.mode == "mixed" and _has_grpc():
                flags.append("--grpc_port=0")
            process = server_process.ServerProcess([str(models)], log, flags)
            stack.enter_context(server_process.running(process))
            host, port, pid = process.host, process.port, process.pid
        else:
            host, port = _address(args.url)
            pid = args.pid
        journal = Journal(output)
        stack.callback(journal.close)
        report = asyncio.run(
            _run(args, host, port, pid, journal, process, models)
        )
        if process:
            found = process.tracebacks()
            report["problems"] += [f"the server's log: {t}" for t in found]
    plot.draw(
        journal.rows,
        output / "plot.png",
        f"{args.mode}: {report['sent']:,} requests",
        {args.mode: report["times"]} if report["times"] else {},
    )
    content = json.dumps(report, indent=2, ensure_ascii=False)
    (output / "report.json").write_text(content + "\n", encoding="utf-8")
    return report


async def _run(
    args: argparse.Namespace,
    host: str,
    port: int,
    pid: int | None,
    journal: Journal,
    process: server_process.ServerProcess | None,
    models: pathlib.Path | None,
) -> dict[str, Any]:
    found = await world.look(
        host, port, args.num_answers, args.seed, args.signature
    )
    started = await _process_start(found)
    tally = Tally()
    report: dict[str, Any] = {"mode": args.mode, "times": []}
    if args.mode == "mixed":
        if process and process.grpc_port is not None:
            found.grpc = calls.Calls(found, process.grpc_port)
            await found.grpc.look()
        changing = None
        if args.other:
            assert models
            changing = await _changing(args, models, found, tally)
        before = server_process.usage(pid) if pid else None
        plan = mixed_load.Plan(
            requests=args.num_requests,
            seconds=args.max_seconds,
            connections=args.connections,
            slow=args.slow,
            seed=args.seed,
            tolerance=args.tolerance,
        )
        churn = changing and asyncio.ensure_future(
            changing.keep(args.change_every)
        )
        await mixed_load.run(plan, found, tally, journal, pid)
        if changing and churn:
            churn.cancel()
            done = await asyncio.gather(churn, return_exceptions=True)
            if not isinstance(done[0], asyncio.CancelledError):
                tally.problem(f"changing versions failed: {done[0]!r}")
            report["changes"] = changing.changes
        if found.grpc is not None:
            await found.grpc.close()
        report["restarts"] = int(await _process_start(found) != started)
        if report["restarts"]:
            tally.problem("the server is another than before")
        if pid and before:
            report["memory"] = await _settled(args, journal, tally, pid, before)
    else:
        assert process and models
        begin = time.monotonic()
        upheavals = Upheavals(
            args.mode, process, found, tally, journal, args.num_requests,
            args.connections, args.every, args.seed, args.tolerance,
        )  # fmt: skip
        await upheavals.run(models)
        report["times"] = [when - begin for when in upheavals.times]
        report["starts"] = process.starts
        report["lost_in_flight"] = upheavals.lost
        report["refused"] = upheavals.refused
        if upheavals.lost > len(upheavals.times) * args.connections:
            tally.problem("more were lost than can have been in flight")
        if process.ended() is not None:
            tally.problem("the server has ended")
    print(tally.table())
    return report | tally.as_json()


async def _changing(
    args: argparse.Namespace,
    models: pathlib.Path,
    found: world.World,
    tally: Tally,
) -> versions.Versions:
    """Serves the other version once, to record its answers as kind 1."""
    contents = [_newest(path) for path in (args.model, args.other)]
    changing = versions.Versions(models, contents, found, tally)
    await changing.add()
    await world.look_again(found)
    if found.grpc is not None:
        await found.grpc.look()
    found.serving.changing = True
    return changing


def _has_grpc() -> bool:
    return all(
        importlib.util.find_spec(name)
        for name in ("grpc", "tensorflow_serving")
    )


async def _settled(
    args: argparse.Namespace,
    journal: Journal,
    tally: Tally,
    pid: int,
    before: dict[str, float],
) -> dict[str, Any]:
    """Compares the server's resources at the end with those at 10 %."""
    tenth = 0.1 * tally.sent
    early = [r for r in journal.rows if tenth <= r["requests"] <= 2 * tenth]
    late = [r for r in journal.rows if r["requests"] >= 9 * tenth]
    found: dict[str, Any] = {"before": before}
    if early and late:
        for name, rows in (("early", early), ("late", late)):
            found[name] = {
                key: statistics.median(row[key] for row in rows)
                for key in ("rss_mb", "threads", "fds")
            }
        growth = found["late"]["rss_mb"] / found["early"]["rss_mb"] - 1
        found["growth"] = growth
        if growth > args.max_growth:
            tally.problem(f"memory has grown by {growth:.0%}")
        if found["late"]["threads"] > found["early"]["threads"] + 8:
            tally.problem("the threads grow")
    deadline = time.monotonic() + _SETTLING
    while True:
        after = server_process.usage(pid)
        journal.add(tally.sent, **after)
        if after["fds"] <= before["fds"] + 4:
            break
        if time.monotonic() > deadline:
            tally.problem(
                f"{after['fds']} files are open, {before['fds']} were before"
            )
            break
        await asyncio.sleep(1)
    found["after"] = after
    return found


async def _process_start(found: world.World) -> str:
    """Returns the server's start time, as its metrics report it."""
    connection = await wire.Connection.open(found.host, found.port)
    try:
        await connection.send(wire.request("GET", "/metrics"))
        text = (await connection.answer()).body.decode()
    except wire.NoAnswer as error:
        raise UserError(f"/metrics does not answer: {error}") from error
    finally:
        await connection.close()
    name = "process_start_time_seconds"
    lines = [line for line in text.split("\n") if line.startswith(name)]
    return lines[0] if lines else ""


@contextlib.contextmanager
def _copied(args: argparse.Namespace) -> Iterator[pathlib.Path]:
    """Yields the model's directory; a copy if versions are added to it."""
    source = pathlib.Path(args.model)
    if not source.is_dir():
        raise UserError(f"--model={args.model}: no such directory")
    if args.mode != "reload" and not args.other:
        yield source
        return
    newest = _newest(args.model)
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / source.resolve().name
        shutil.copytree(newest, copy / newest.name)
        yield copy


def _newest(model: str) -> pathlib.Path:
    """Returns the newest version in a directory of versions."""
    source = pathlib.Path(model)
    if not source.is_dir():
        raise UserError(f"{model}: no such directory")
    numbers = [int(p.name) for p in source.iterdir() if p.name.isdigit()]
    if not numbers:
        raise UserError(f"{model}: has no version")
    return source / str(max(numbers))


def _address(url: str) -> tuple[str, int]:
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or not port:
        raise UserError(f"--url={url}: expected http://HOST:PORT")
    return parts.hostname, port


def _flags() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = flags.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="export to start a server with")
    what.add_argument("--url", help="URL of a running server; mixed only")
    flags.add_argument("--mode", choices=MODES, default="mixed")
    flags.add_argument("--other", help="second export, to change versions")
    flags.add_argument(
        "--change_every", type=float, default=20.0,
        help="seconds between two changes of versions",
    )  # fmt: skip
    flags.add_argument("--output", default="abuse_results")
    flags.add_argument("--pid", type=int, help="process of the server at --url")
    flags.add_argument("--num_requests", type=int, default=100_000)
    flags.add_argument(
        "--max_seconds", type=float, default=math.inf,
        help="mixed: stop sending after this time",
    )  # fmt: skip
    flags.add_argument(
        "--signature", action="append",
        help="use only this signature of those that take texts; repeat",
    )  # fmt: skip
    flags.add_argument("--connections", type=int, default=32)
    flags.add_argument("--slow", type=int, default=6, help="slow clients")
    flags.add_argument("--seed", type=int, default=1)
    flags.add_argument(
        "--num_answers", type=int, default=300,
        help="number of different good requests",
    )  # fmt: skip
    flags.add_argument(
        "--every", type=int, default=2000,
        help="requests between two kills, terminations or new versions",
    )  # fmt: skip
    flags.add_argument(
        "--tolerance", type=float, default=1e-5,
        help="allowed difference of decimals; relative for those above 1",
    )  # fmt: skip
    flags.add_argument(
        "--max_growth", type=float, default=0.1,
        help="allowed growth of memory, from the second tenth of the run on",
    )  # fmt: skip
    flags.add_argument(
        "--serve_flag", action="append", default=[],
        help="flag of electra-tf serve, as --serve_flag=--batch_rows=8; repeat",
    )  # fmt: skip
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = _flags().parse_args(argv)
    try:
        if args.url and args.mode != "mixed":
            raise UserError(f"--mode={args.mode} needs --model, not --url")
        if args.other and (args.mode != "mixed" or not args.model):
            raise UserError("--other needs --model and --mode=mixed")
        if args.num_requests < 1 or args.connections < 1 or args.every < 1:
            raise UserError(
                "--num_requests, --connections, --every: at least 1"
            )
        report = abuse(args)
    except (UserError, OSError) as error:
        print(f"abuse_server: {error}", file=sys.stderr)
        return 2
    facts = {
        key: value
        for key, value in report.items()
        if key not in ("kinds", "problems", "times")
    }
    print(json.dumps(facts))
    print(f"{len(report['problems'])} problems; more in {args.output}")
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
