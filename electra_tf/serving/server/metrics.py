"""What the server counts, for Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters and histograms of one server.

    Labels take only names that the server knows: whoever sends requests
    cannot make new series.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "electra_tf_requests_total",
            "Requests, by what was asked and the HTTP status.",
            ["model", "verb", "status"],
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "electra_tf_request_seconds",
            "From the headers of a predict request to its answer.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.rows = Counter(
            "electra_tf_rows_total",
            "Rows that were answered.",
            ["model", "signature"],
            registry=self._registry,
        )
        self.call_rows = Histogram(
            "electra_tf_batch_rows",
            "Rows in one call of the model.",
            ["model"],
            buckets=_ROWS,
            registry=self._registry,
        )
        self.call_seconds = Histogram(
            "electra_tf_batch_seconds",
            "Duration of one call of the model.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.pending_rows = Gauge(
            "electra_tf_pending_rows",
            "Rows that wait or run.",
            registry=self._registry,
        )
        self.active_requests = Gauge(
            "electra_tf_active_requests",
            "Requests that are being read or answered.",
            registry=self._registry,
        )
        self.connections = Gauge(
            "electra_tf_connections",
            "Open connections.",
            registry=self._registry,
        )
        self.closed_connections = Counter(
            "electra_tf_closed_connections_total",
            "Connections closed by the server, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self.newest_version = Gauge(
            "electra_tf_model_version",
            "The newest version of a model that is loaded.",
            ["model"],
            registry=self._registry,
        )
        self.version_changes = Counter(
            "electra_tf_model_version_changes_total",
            "Versions loaded, failed to load, and unloaded.",
            ["model", "event"],
            registry=self._registry,
        )

    def version_changed(self, model: str, version: int, event: str) -> None:
        """A version was "loaded", has "failed", or was "unloaded"."""
        self.version_changes.labels(model, event).inc()
        if event == "loaded":
            self.newest_version.labels(model).set(version)

    def page(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)
