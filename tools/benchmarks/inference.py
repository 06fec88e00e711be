"""A sentence classifier: ours against PyTorch and ONNX Runtime, and by HTTP."""

import argparse
import os
import sys
from collections.abc import Mapping

import numpy as np

from benchmarks import inputs, latencies, served_model, workers
from benchmarks.report import Benchmark, Side

ALONE = "no --peer_python: PyTorch and ONNX Runtime were not measured"
EXPORT = "electra_tf, an export"
PREDICT = "electra_tf, predict"
ENGINES = {
    "torch": "torch",
    "ONNX Runtime": "onnxruntime",
    "ONNX Runtime, optimised": "onnxruntime+",
}
CLIENTS = (1, 4, 16)
RATE, OF_CPU = "sentences/s", "sentences per CPU second"


def measure(args: argparse.Namespace) -> list[Benchmark]:
    """Sentences/s of each size: batches, a whole file, and by HTTP."""
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
    sides = {
        EXPORT: (
            "ours_export.py",
            settings | {"export": f"{forms.export}/1"},
            sys.executable,
        ),
        PREDICT: (
            "ours_predict.py",
            settings | {"model": forms.run},
            sys.executable,
        ),
    }
    if args.peer_python:
        for name, engine in ENGINES.items():
            sides[name] = (
                "hf_inference.py",
                settings | {"model": forms.huggingface, "engine": engine},
                args.peer_python,
            )
    environment = {**os.environ, **dict(e.split("=", 1) for e in args.env)}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if args.no_spinning:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    load = [os.getloadavg()[0]]
    with workers.started(sides, environment) as running:
        answers = {
            name: np.array(worker.ask({"do": "answers"})["answers"])
            for name, worker in running.items()
        }
        replies = workers.interleave(
            running, [{"do": "batches"}] * len(running), args.rounds
        )
        load.append(os.getloadavg()[0])
        versions = {n: w.facts["version"] for n, w in running.items()}
        offline = [
            _side(name, versions[name], replies[name], count) for name in sides
        ]
        notes = differences(answers)
        notes["load of the machine before and after"] = _spoken(load)
        if not args.peer_python:
            notes["peer"] = ALONE
        peers = [name for name in ENGINES if name in sides]
        found = [
            Benchmark(
                f"inference {size}",
                f"a classifier of two classes, {count} texts in their order, "
                f"float32, {_cores(args)}; strings in, probabilities out; "
                f"{PREDICT} is given all of them at once and may sort them, "
                f"the others batches of {args.batch_size}, which peers pad to "
                "the longest",
                offline,
                [(ours, peer) for ours in (EXPORT, PREDICT) for peer in peers],
                notes,
                (RATE, OF_CPU),
            )
        ]
        if not args.no_http:
            found.append(
                _by_http(args, size, forms, settings, environment,
                         running[EXPORT], count)
            )  # fmt: skip
    return found


def _by_http(
    args: argparse.Namespace,
    size: str,
    forms: served_model.Forms,
    settings: Mapping,
    environment: dict[str, str],
    offline: workers.Worker,
    count: int,
) -> Benchmark:
    """A server and clients in processes of their own, in turn with a side."""
    with served_model.served(forms.export, environment, args.cores) as server:
        asking = {"address": server.address, "model": served_model.NAME}
        clients = workers.Worker("http_clients.py", settings | asking)
        both = _ClientsAndServer(clients, server)
        try:
            clients.ask({"do": "ask", "clients": max(CLIENTS)})
            known = {
                f"HTTP, {n} client{'s' if n > 1 else ''}": n for n in CLIENTS
            }
            requests = {EXPORT: {"do": "batches"}}
            requests |= {
                name: {"do": "ask", "clients": n} for name, n in known.items()
            }
            running = {
                name: offline if name == EXPORT else both for name in requests
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
            "offline" if name == EXPORT else version,
            replies[name],
            count,
        )
        for name in requests
    ]
    notes = {"load of the machine after": _spoken([os.getloadavg()[0]])}
    by_clients = {
        n: [ms for reply in replies[name] for ms in reply["milliseconds"]]
        for name, n in known.items()
    }
    if args.plot:
        latencies.plot(
            args.plot,
            by_clients,
            {n: named_side.median(RATE) for named_side in named
             if (n := known.get(named_side.name))},
            named[0].median(RATE),
        )  # fmt: skip
        notes["plot"] = args.plot
    return Benchmark(
        f"inference {size}, by HTTP",
        "electra-tf serve in a process of its own; clients keep their "
        "connections and send the next text when the last is answered; "
        "against batches of the same export without a server",
        named,
        [(name, EXPORT) for name in known],
        notes,
        (RATE, OF_CPU),
    )


class _ClientsAndServer:
    """As a worker; the processor's time is that of both processes.

    Args:
      clients: the worker.
      server: that it asks.
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
    name: str,
    version: str,
    replies: list[dict],
    count: int,
) -> Side:
    """Rates of each round; and, of calls, milliseconds that many take."""
    rates = {
        RATE: [count / reply["seconds"] for reply in replies],
        OF_CPU: [count / reply["cpu_seconds"] for reply in replies],
    }
    if "milliseconds" in replies[0]:
        for share in (50, 99):
            rates[f"p{share} of a call, ms"] = [
                float(np.percentile(reply["milliseconds"], share))
                for reply in replies
            ]
    return Side(name, version, rates)


def differences(answers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The largest differences from the first side's, by what they are.

    Args:
      answers: name of a side -> probabilities [texts, classes].

    Raises:
      workers.SideError: they are so far apart that the sides do not compute
        the same.
    """
    (first, wanted), *others = answers.items()
    found = {}
    for name, got in others:
        largest = float(np.abs(got - wanted).max())
        if not largest < 1e-3:
            raise workers.SideError(
                f"{name} answers otherwise than {first}, by {largest:.2g}"
            )
        found[f"largest difference of {name} from {first}"] = largest
    return found


def _cores(args: argparse.Namespace) -> str:
    found = f"{args.cores} core(s)" if args.cores else "all cores"
    return f"{found}, no spinning" if args.no_spinning else found


def _spoken(load: list[float]) -> str:
    return " and ".join(f"{each:.1f}" for each in load)
