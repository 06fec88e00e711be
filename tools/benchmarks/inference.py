"""Measures a sentence classifier against PyTorch, ONNX Runtime, OpenVINO."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from benchmarks import inputs, latencies, report, served_model, workers
from benchmarks.report import Benchmark, Side

ALONE = "no --peer_python: no peer was measured"
EXPORT = "electra_tf, an export"
EXPORT_BF16 = "electra_tf, an export, bf16"
EXPORTS = (EXPORT, EXPORT_BF16)
PREDICT = "electra_tf, predict"
LITERT = "electra_tf, LiteRT"
LITERT_INT8 = "electra_tf, LiteRT, int8"
# Settings for ours_predict.py.
OURS = {
    PREDICT: {"engine": "tensorflow", "precision": "float32"},
    LITERT: {"engine": "litert", "precision": "float32"},
    LITERT_INT8: {"engine": "litert", "precision": "int8"},
}
# Settings for hf_inference.py.
PEERS = {
    name + ("" if precision == "float32" else f", {precision}"): {
        "engine": engine,
        "precision": precision,
    }
    for name, engine, precisions in (
        ("torch", "torch", ("float32", "bf16", "int8")),
        ("ONNX Runtime", "onnxruntime", ("float32", "int8")),
        ("ONNX Runtime, optimised", "onnxruntime+", ("float32", "int8")),
        ("OpenVINO", "openvino", ("float32", "bf16", "int8")),
    )
    for precision in precisions
}
# The peers of --peers=few: the plainest and the quickest.
FEW = (
    "ONNX Runtime",
    "ONNX Runtime, int8",
    "OpenVINO",
    "OpenVINO, bf16",
    "OpenVINO, int8",
)
CLIENTS = (1, 4, 16)
RATE, OF_CPU = "sentences/s", "sentences per CPU second"
MEDIAN, QUICK = "ms, median of calls", "ms, p10 of calls"
ONE_TEXT = "a charming and often affecting journey ."
_CALLS, _WARM_CALLS = 100, 10


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Measures sentences/s of each size: batches, a file, and by HTTP."""
    with inputs.prepared(args) as (text_file, vocab_file, _):
        texts = served_model.read_texts(args.data, text_file, args.sentences)
        found = []
        for size in args.size.split(","):
            with served_model.prepared(
                size, texts, vocab_file, args.max_seq_length,
                bool(args.peer_python),
            ) as forms:  # fmt: skip
                found += _measure_size(args, size, forms, len(texts))
        return found


def _measure_size(
    args: argparse.Namespace, size: str, forms: served_model.Forms, count: int
) -> list[Benchmark]:
    settings = {
        "texts": forms.texts,
        "batch_size": args.batch_size,
        "max_seq_length": args.max_seq_length,
        "cores": args.cores,
        "spinning": not args.no_spinning,
    }
    given = {
        EXPORT: {"export": f"{forms.export}/1", "precision": "float32"},
        EXPORT_BF16: {"export": f"{forms.export_bf16}/1", "precision": "bf16"},
    }
    given |= {name: own | {"model": forms.run} for name, own in OURS.items()}
    if args.peer_python:
        given |= {
            name: own | {"model": forms.huggingface}
            for name, own in PEERS.items()
            if args.peers == "all" or name in FEW
        }
    sides = {
        name: (_script(name), settings | own, _python(name, args))
        for name, own in given.items()
    }
    missing: dict[str, str] = {}
    limited = any(each.startswith("ONEDNN_MAX_CPU_ISA=") for each in args.env)
    if limited or not forms.export_bf16:
        missing[EXPORT_BF16] = "there are no instructions for bfloat16"
        del sides[EXPORT_BF16]
    if not forms.export_int8:
        for name in (LITERT, LITERT_INT8):
            missing[name] = "ai-edge-litert is not installed"
            del sides[name]
    environment = {**os.environ, **dict(e.split("=", 1) for e in args.env)}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if args.no_spinning:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    load = [os.getloadavg()[0]]
    with workers.started(sides, environment, missing) as running:
        answers = {
            name: np.array(worker.ask({"do": "answers"})["answers"])
            for name, worker in running.items()
        }
        sides_found = _Sides(running, given, count)
        notes = differences(
            answers, {name: given[name]["precision"] for name in running}
        )
        notes |= report.left_out(missing)
        if not args.peer_python:
            notes["peer"] = ALONE
        batches = sides_found.measured(list(running), "batches", args.rounds)
        of_file = [name for name in running if name not in EXPORTS]
        file = sides_found.measured(of_file, "file", args.rounds)
        for worker in running.values():
            worker.ask({"do": "one", "text": ONE_TEXT, "calls": _WARM_CALLS})
        one = sides_found.measured(
            list(running), "one", args.rounds, text=ONE_TEXT, calls=_CALLS
        )
        load.append(os.getloadavg()[0])
        notes["load of the machine before and after"] = _spoken(load)
        found = [
            Benchmark(
                f"inference {size}",
                f"a classifier of two classes, {count} texts in their order, "
                f"{_cores(args)}; strings in, probabilities out, in batches of "
                f"{args.batch_size}, which peers pad to the longest",
                batches,
                _pairs(batches),
                notes,
                (RATE, OF_CPU),
            ),
            Benchmark(
                f"inference {size}, a file",
                f"the same {count} texts at once; ours are given to predict in "
                "one call, peers go through them by length, in batches of "
                f"{args.batch_size}",
                file,
                _pairs(file),
                {},
                (RATE, OF_CPU),
            ),
            Benchmark(
                f"inference {size}, one text",
                f"'{ONE_TEXT}', one call after the other in one process, "
                f"{_CALLS} a round, strings in, probabilities out, "
                f"{_cores(args)}",
                one,
                _pairs(one),
                {},
                (MEDIAN, QUICK),
                times=(MEDIAN, QUICK),
            ),
        ]
        if not args.no_http:
            served = {EXPORT: forms.export, LITERT_INT8: forms.export_int8}
            for name, export in served.items():
                if name in running:
                    offline = running[name]
                    found.append(
                        _by_http(args, size, name, export, settings,
                                 environment, offline, count)
                    )  # fmt: skip
    return found


def _script(name: str) -> str:
    if name in EXPORTS:
        return "ours_export.py"
    return "ours_predict.py" if name in OURS else "hf_inference.py"


def _python(name: str, args: argparse.Namespace) -> str:
    return args.peer_python if name in PEERS else sys.executable


def _pairs(sides: list[Side]) -> list[tuple[str, str]]:
    names = [side.name for side in sides]
    peers = [name for name in names if name in PEERS]
    return [(own, peer) for own in names if own not in PEERS for peer in peers]


class _Sides(NamedTuple):
    """The sides that run, and the settings they received."""

    running: dict[str, workers.Worker]
    settings: Mapping[str, Mapping]
    count: int

    def measured(
        self, names: list[str], what: str, rounds: int, **asked: object
    ) -> list[Side]:
        """Runs one request on them in turn; returns rates or latencies."""
        replies = workers.interleave(
            {name: self.running[name] for name in names},
            [{"do": what, **asked}] * len(names),
            rounds,
        )
        make: Callable = _latency if what == "one" else _side
        return [
            make(
                name,
                self.running[name].facts["version"],
                replies[name],
                self.count,
                self.settings[name]["precision"],
            )
            for name in names
        ]


def _by_http(
    args: argparse.Namespace,
    size: str,
    served: str,
    export: str,
    settings: Mapping,
    environment: dict[str, str],
    offline: workers.Worker,
    count: int,
) -> Benchmark:
    """Measures a server and its clients, in turn with a side without them."""
    with served_model.served(export, environment, args.cores) as server:
        asking = {"address": server.address, "model": served_model.NAME}
        clients = workers.Worker("http_clients.py", settings | asking)
        both = _ClientsAndServer(clients, server)
        try:
            clients.ask({"do": "ask", "clients": max(CLIENTS)})
            known = {
                f"HTTP, {n} client{'s' if n > 1 else ''}": n for n in CLIENTS
            }
            requests = {served: {"do": "batches"}}
            requests |= {
                name: {"do": "ask", "clients": n} for name, n in known.items()
            }
            running = {
                name: offline if name == served else both for name in requests
            }
            replies = workers.interleave(
                running, list(requests.values()), args.rounds
            )
            version = clients.facts["version"]
        finally:
            clients.close()
    named = [
        _side(
            name,
            "offline" if name == served else version,
            replies[name],
            count,
            "int8" if served == LITERT_INT8 else "float32",
        )
        for name in requests
    ]
    notes = {"load of the machine after": _spoken([os.getloadavg()[0]])}
    by_clients = {
        n: [ms for reply in replies[name] for ms in reply["milliseconds"]]
        for name, n in known.items()
    }
    if args.plot and served == EXPORT:
        latencies.plot(
            args.plot,
            by_clients,
            {n: named_side.median(RATE) for named_side in named
             if (n := known.get(named_side.name))},
            named[0].median(RATE),
        )  # fmt: skip
        notes["plot"] = args.plot
    return Benchmark(
        f"inference {size}, by HTTP"
        + ("" if served == EXPORT else f", {served.partition(', ')[2]}"),
        "electra-tf serve in a process of its own; clients keep their "
        "connections and send the next text when the last is answered; "
        "against batches of the same model without a server",
        named,
        [(name, served) for name in known],
        notes,
        (RATE, OF_CPU),
    )


class _ClientsAndServer:
    """Acts as a worker whose CPU time is that of both processes.

    Args:
      clients: the worker that sends the requests.
      server: the server that answers them.
    """

    def __init__(self, clients: workers.Worker, server: served_model.Server):
        self._clients = clients
        self._server = server

    def ask(self, request: Mapping) -> dict:
        """See `workers.Worker.ask`."""
        before = self._server.cpu_seconds()
        reply = self._clients.ask(request)
        used = self._server.cpu_seconds() - before
        return reply | {"cpu_seconds": reply["cpu_seconds"] + used}


def _side(
    name: str, version: str, replies: list[dict], count: int, precision: str
) -> Side:
    """Returns rates of each round, and latencies of calls where known."""
    rates = {
        RATE: [count / reply["seconds"] for reply in replies],
        OF_CPU: [count / reply["cpu_seconds"] for reply in replies],
    }
    if all(reply.get("milliseconds") for reply in replies):
        for share in (50, 99):
            rates[f"p{share} of a call, ms"] = [
                float(np.percentile(reply["milliseconds"], share))
                for reply in replies
            ]
    return Side(name, version, rates, None, precision)


def _latency(
    name: str, version: str, replies: list[dict], _: int, precision: str
) -> Side:
    """Returns the median and the 10th percentile of the calls' latencies."""
    rates = {
        unit: [
            float(np.percentile(reply["milliseconds"], share))
            for reply in replies
        ]
        for unit, share in ((MEDIAN, 50), (QUICK, 10))
    }
    return Side(name, version, rates, None, precision)


def differences(
    answers: Mapping[str, np.ndarray], precisions: Mapping[str, str]
) -> dict[str, float]:
    """Returns the largest differences from the first side, by description.

    Args:
      answers: name of a side -> probabilities [texts, classes].
      precisions: name -> its precision; for others than float32 the share of
        texts with the same best class is reported too.

    Raises:
      workers.SideError: two sides of float32 are too far apart to compute
        the same; or a probability is not finite.
    """
    (first, wanted), *others = answers.items()
    found = {}
    for name, got in others:
        largest = float(np.abs(got - wanted).max())
        exact = precisions[name] == "float32"
        if not (largest < 1e-3 if exact else np.isfinite(largest)):
            raise workers.SideError(
                f"outputs of {name} differ from those of {first} by "
                f"{largest:.2g}"
            )
        found[f"largest difference of {name} from {first}"] = largest
        if not exact:
            same = got.argmax(axis=-1) == wanted.argmax(axis=-1)
            found[f"share of the same labels, {name} and {first}"] = float(
                same.mean()
            )
    return found


def _cores(args: argparse.Namespace) -> str:
    found = f"{args.cores} core(s)" if args.cores else "all cores"
    return f"{found}, no spinning" if args.no_spinning else found


def _spoken(load: list[float]) -> str:
    return " and ".join(f"{each:.1f}" for each in load)
