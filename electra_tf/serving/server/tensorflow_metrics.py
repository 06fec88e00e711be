"""Exposes this server's metrics under TensorFlow Serving's names.

Dashboards and alerts made for TensorFlow Serving then work unchanged. Its other
metrics are about its own internals and have no counterpart here.
"""

import math
from collections.abc import Iterable, Mapping

from prometheus_client import Metric

from electra_tf.serving.server.limits import code_name

# Verbs of requests to a model -> TensorFlow Serving's names.
API_NAMES = {
    "predict": "Predict",
    "classify": "Classify",
    "regress": "Regress",
    "multi_inference": "MultiInference",
}
_PREFIX = ":tensorflow:"
_MICROSECONDS = 1e6
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def as_tensorflow_serving(metrics: Iterable[Metric]) -> bytes:
    """Returns the lines of Prometheus's text format.

    Args:
      metrics: metrics of `metrics.Metrics`.
    """
    counts: Samples = {}
    latencies: Samples = {}
    runtimes: Samples = {}
    runs: Samples = {}
    busy: Samples = {}
    rows: Samples = {}
    for metric in metrics:
        for sample in metric.samples:
            suffix = sample.name.removeprefix(metric.name)
            model = sample.labels.get("model", "")
            if metric.name == "electra_tf_requests" and suffix == "_total":
                if sample.labels["verb"] in API_NAMES:
                    status = code_name(int(sample.labels["status"]))
                    _add(counts, "", sample.value, model_name=model,
                         status=status)  # fmt: skip
            elif metric.name == "electra_tf_request_seconds":
                _add_latency(
                    latencies, suffix, sample.value, sample.labels.get("le"),
                    model_name=model, API=API_NAMES[sample.labels["verb"]],
                    entrypoint=sample.labels["protocol"],
                )  # fmt: skip
            elif metric.name == "electra_tf_batch_seconds":
                _add_latency(
                    runtimes, suffix, sample.value, sample.labels.get("le"),
                    model_name=model, API="Predict", runtime="TF2",
                )  # fmt: skip
                if suffix == "_count":
                    _add(runs, "", sample.value)
                elif suffix == "_sum":
                    _add(busy, "", sample.value * _MICROSECONDS)
            elif metric.name == "electra_tf_rows" and suffix == "_total":
                _add(rows, "", sample.value, model=model)
    found = [
        ("serving:request_count", "counter", counts),
        ("serving:request_example_count_total", "counter", rows),
        ("serving:request_latency", "histogram", latencies),
        ("serving:runtime_latency", "histogram", runtimes),
        ("core:graph_runs", "counter", runs),
        ("core:graph_run_time_usecs", "counter", busy),
    ]
    lines = [line for each in found for line in _lines(*each)]
    return "".join(f"{line}\n" for line in lines).encode()


def _add(into: Samples, suffix: str, value: float, **labels: str) -> None:
    key = suffix, tuple(labels.items())
    into[key] = into.get(key, 0.0) + value


def _add_latency(
    into: Samples, suffix: str, value: float, le: str | None, **labels: str
) -> None:
    """Adds a sample of a histogram, converted from seconds to microseconds."""
    if suffix == "_bucket" and le is not None:
        limit = float(le) * _MICROSECONDS
        labels["le"] = "+Inf" if math.isinf(limit) else f"{limit:g}"
    elif suffix == "_sum":
        value *= _MICROSECONDS
    elif suffix != "_count":
        return
    _add(into, suffix, value, **labels)


def _lines(name: str, kind: str, samples: Samples) -> Iterable[str]:
    yield f"# TYPE {_PREFIX}{name} {kind}"
    for (suffix, labels), value in samples.items():
        yield f"{_PREFIX}{name}{suffix}{_formatted(dict(labels))} {value:.17g}"


def _formatted(labels: Mapping[str, str]) -> str:
    if not labels:
        return "{}"
    pairs = (
        f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items())
    )
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    for mark, by in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        value = value.replace(mark, by)
    return value
