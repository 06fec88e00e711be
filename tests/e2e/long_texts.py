"""Checks that a server answers short requests while it works on long ones.

  tests/e2e/long_texts.py --qa=DIR --tagging=DIR --asked=DIR [--seconds=60]

Each DIR is the output of `electra-tf export`. Clients send the model of --asked
one line at a time: first alone, then while another client sends the model of
--qa a context of 2.5 MB, then while it sends the model of --tagging a text of
3.9 MB, then 300 contexts of 8 kB. Each takes --seconds. The long request is
repeated when it is answered, and its client disconnects when the time is over.
The exit status is 1 if the 99th percentile of the short requests beside a long
one reaches --most_times that without, if the server's memory grows by more than
--most_mb, if a short request is not answered, or if a long one gets a status
that does not fit.

By default the server's limits are raised, so that it works on the long texts
until their client disconnects; with --default_limits they are not.
"""

import argparse
import asyncio
import itertools
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from abuse import server_process, wire

from electra_tf.errors import UserError

RAISED = (
    "--max_request_bytes=8000000",
    "--max_text_bytes=8000000",
)
_LINES = ("a fine film", "nothing in it is new", "see it twice", "dull")
_SENTENCE = "The ark of God was taken by the men of the city near the river. "
_SAMPLED = 0.1  # seconds between two measurements of the memory


def long_requests(qa: str, tagging: str, scale: float) -> dict[str, bytes]:
    """Returns the long requests by name.

    Args:
      qa: the name of a model that answers questions.
      tagging: the name of a model that tags.
      scale: factor of all lengths; 1 gives those of the module's docstring.
    """

    def text(size: int) -> str:
        size = int(size * scale)
        return (_SENTENCE * (size // len(_SENTENCE) + 1))[:size]

    def asked(context: str) -> dict[str, str]:
        return {"question": "Who took the ark?", "context": context}

    bodies = {
        "a context of 2.5 MB": (qa, [asked(text(2_500_000))]),
        "a text of 3.9 MB": (tagging, [text(3_900_000)]),
        "300 contexts of 8 kB": (
            qa, [asked(text(8_000)) for _ in range(int(300 * scale) or 1)],
        ),
    }  # fmt: skip
    return {
        name: wire.request(
            "POST", f"/v1/models/{model}:predict",
            json.dumps({"instances": rows}).encode(),
        )
        for name, (model, rows) in bodies.items()
    }  # fmt: skip


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Starts the server, measures it, and returns the report."""
    flags = [] if args.default_limits else [*RAISED]
    flags += args.serve_flag
    models = [args.qa, args.tagging, args.asked]
    log = pathlib.Path(args.log or tempfile.mkdtemp()) / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    process = server_process.ServerProcess(models, log, flags)
    with server_process.running(process):
        names = [pathlib.Path(model).resolve().name for model in models]
        run = _Run(process, names[2], args.clients)
        await run.short(min(5.0, args.seconds))  # to warm up
        quiet = await run.short(args.seconds)
        mb = server_process.usage(process.pid)["rss_mb"]
        beside = {}
        for name, data in long_requests(names[0], names[1], args.scale).items():
            run.peak_mb = 0.0
            found = await run.short(
                args.seconds,
                lambda until, n=name, d=data: run.long(n, d, until),
            )
            found["times"] = found["p99_ms"] / quiet["p99_ms"]
            found["more_mb"] = run.peak_mb - mb
            beside[name] = found
        # The last long call is cancelled by now, so its effects must be gone.
        again = await run.short(min(5.0, args.seconds))
        again["more_mb"] = server_process.usage(process.pid)["rss_mb"] - mb
    report: dict[str, Any] = {
        "quiet": quiet | {"mb": mb}, "beside": beside, "again": again,
        "answered": run.answered, "problems": [],
    }  # fmt: skip
    report["problems"] = run.problems + process.tracebacks()
    for name, found in beside.items():
        if found["times"] >= args.most_times:
            report["problems"].append(
                f"beside {name} p99 is {found['times']:.1f} times that in "
                f"quiet, {found['p99_ms']:.0f} ms"
            )
        if found["more_mb"] > args.most_mb:
            report["problems"].append(
                f"{name}: memory has grown by {found['more_mb']:.0f} MB"
            )
    return report


class _Run:
    """Clients of one server.

    Args:
      process: the server.
      model: the model that the short requests ask.
      clients: number of clients that send short requests at once.
    """

    def __init__(
        self,
        process: server_process.ServerProcess,
        model: str,
        clients: int,
    ) -> None:
        self.problems: list[str] = []
        self.answered: list[tuple[str, int, float]] = []
        self.peak_mb = 0.0
        self._process = process
        self._clients = clients
        self._requests = [
            wire.request(
                "POST", f"/v1/models/{model}:predict",
                json.dumps({"instances": [line]}).encode(),
            )
            for line in _LINES
        ]  # fmt: skip

    async def short(
        self,
        seconds: float,
        beside: Callable[[float], Awaitable[None]] | None = None,
    ) -> dict[str, float]:
        """Sends short requests for `seconds`, while `beside` runs.

        Returns:
          Their number, and percentiles of their latencies.
        """
        until = time.monotonic() + seconds
        took: list[float] = []
        clients = [self._client(until, took) for _ in range(self._clients)]
        others = [self._watch(until)]
        if beside:
            others.append(beside(until))
        await asyncio.gather(*clients, *others)
        milliseconds = np.array(took or [float("nan")]) * 1000
        found = {
            f"p{share}_ms": float(np.percentile(milliseconds, share))
            for share in (50, 90, 99)
        }
        return {
            "requests": len(took), **found,
            "max_ms": float(milliseconds.max()),
        }  # fmt: skip

    async def long(self, name: str, data: bytes, until: float) -> None:
        """Sends a long request again and again, until the time `until`."""
        while (left := until - time.monotonic()) > 0:
            began = time.monotonic()
            connection = await wire.Connection.open(
                self._process.host, self._process.port
            )
            try:
                await connection.send(data)
                answer = await asyncio.wait_for(connection.answer(), left)
            except asyncio.TimeoutError:
                return  # disconnects, which the server has to notice
            except wire.NoAnswer as error:
                self.problems.append(f"{name}: {error}")
                return
            finally:
                await connection.close()
            seconds = round(time.monotonic() - began, 1)
            self.answered.append((name, answer.status, seconds))
            if answer.status not in (200, 413, 503, 504):
                self.problems.append(
                    f"{name}: status {answer.status}: {answer.body[:200]!r}"
                )
            if answer.status != 200:
                await asyncio.sleep(0.5)

    async def _client(self, until: float, took: list[float]) -> None:
        connection = await wire.Connection.open(
            self._process.host, self._process.port
        )
        for data in itertools.cycle(self._requests):
            began = time.monotonic()
            if began >= until:
                break
            await connection.send(data)
            try:
                answer = await connection.answer()
            except wire.NoAnswer as error:
                self.problems.append(f"a short request: {error}")
                break
            took.append(time.monotonic() - began)
            if answer.status != 200:
                self.problems.append(
                    f"a short request: status {answer.status}: "
                    f"{answer.body[:200]!r}"
                )
        await connection.close()

    async def _watch(self, until: float) -> None:
        while time.monotonic() < until:
            used = server_process.usage(self._process.pid)["rss_mb"]
            self.peak_mb = max(self.peak_mb, used)
            await asyncio.sleep(_SAMPLED)


def _flags() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument("--qa", required=True, help="model for questions")
    flags.add_argument("--tagging", required=True, help="model that tags")
    flags.add_argument("--asked", required=True, help="model for one text")
    flags.add_argument("--seconds", type=float, default=60.0, help="for each")
    flags.add_argument("--clients", type=int, default=8)
    flags.add_argument(
        "--scale", type=float, default=1.0, help="factor of the long lengths"
    )
    flags.add_argument("--default_limits", action="store_true")
    flags.add_argument("--most_times", type=float, default=5.0)
    flags.add_argument("--most_mb", type=float, default=500.0)
    flags.add_argument("--log", help="folder for the server's log")
    flags.add_argument("--serve_flag", action="append", default=[])
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = _flags().parse_args(argv)
    try:
        report = asyncio.run(measure(args))
    except (UserError, OSError) as error:
        print(f"long_texts: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report, indent=2))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
