"""Counts what the server does, for Prometheus."""

from collections.abc import Sequence
from http import HTTPStatus

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from electra_tf.serving.server.tensorflow_metrics import (
    API_NAMES,
    as_tensorflow_serving,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters and histograms of one server.

    Labels only take names that the server knows, so that clients cannot create
    new series.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._loaded: dict[str, set[int]] = {}
        ProcessCollector(registry=registry)

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(
                f"electra_tf_{name}", about, labels, registry=registry
            )

        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(f"electra_tf_{name}", about, labels, registry=registry)

        def histogram(
            name: str, about: str, buckets: Sequence[float], *labels: str
        ) -> Histogram:
            return Histogram(
                f"electra_tf_{name}", about, ["model", *labels],
                buckets=buckets, registry=registry,
            )  # fmt: skip

        self.requests = counter(
            "requests_total",
            "Requests, by kind of request and HTTP status.",
            "model", "verb", "status",
        )  # fmt: skip
        self.request_seconds = histogram(
            "request_seconds",
            "Time from a request's headers to its answer, for requests that a "
            "model answered.",
            _SECONDS,
            "verb", "protocol",
        )  # fmt: skip
        self.rows = counter(
            "rows_total", "Rows that were answered.", "model", "signature"
        )
        self.call_rows = histogram(
            "batch_rows", "Rows in one call of the model.", _ROWS
        )
        self.call_seconds = histogram(
            "batch_seconds", "Duration of one call of the model.", _SECONDS
        )
        self.pending_rows = gauge("pending_rows", "Rows that wait or run.")
        self.active_requests = gauge(
            "active_requests", "Requests that are being read or answered."
        )
        self.connections = gauge("connections", "Open connections.")
        self.closed_connections = counter(
            "closed_connections_total",
            "Connections closed by the server, by reason.",
            "reason",
        )
        self.newest_version = gauge(
            "model_version",
            "The newest version of a model that is loaded.",
            "model",
        )
        self.version_changes = counter(
            "model_version_changes_total",
            "Versions loaded, failed to load, and unloaded.",
            "model", "event",
        )  # fmt: skip

    def answered(
        self, model: str, verb: str, protocol: str, status: int, seconds: float
    ) -> None:
        """Counts a request.

        Args:
          model: name of the model; "" for an unknown one.
          verb: "predict", "classify", "regress", "status", ...
          protocol: "REST" or "GRPC".
          status: HTTP status.
          seconds: duration in seconds.
        """
        self.requests.labels(model, verb, status).inc()
        if status == HTTPStatus.OK and verb in API_NAMES:
            self.request_seconds.labels(model, verb, protocol).observe(seconds)

    def version_changed(self, model: str, version: int, event: str) -> None:
        """Counts an event of a version: "loaded", "failed" or "unloaded"."""
        self.version_changes.labels(model, event).inc()
        loaded = self._loaded.setdefault(model, set())
        if event == "loaded":
            loaded.add(version)
        elif event == "unloaded":
            loaded.discard(version)
        if loaded:
            self.newest_version.labels(model).set(max(loaded))
        elif event == "unloaded":
            self.newest_version.remove(model)

    def page(self, tensorflow_serving: bool = False) -> bytes:
        """Returns all metrics in Prometheus's text format.

        Args:
          tensorflow_serving: whether to add TensorFlow Serving's metrics under
            its names.
        """
        found = generate_latest(self._registry)
        if tensorflow_serving:
            found += as_tensorflow_serving(self._registry.collect())
        return found
