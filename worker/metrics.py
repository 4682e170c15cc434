"""Every Prometheus series of the worker, and the port on which they are read."""

from __future__ import annotations

import threading
from typing import Literal
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

#: What became of an attempt, as its parent saw it.
Outcome = Literal["succeeded", "failed", "cancelled", "paused", "given_back", "lost", "fenced"]


class Metrics:
    """The worker's own numbers; those of jobs stand in their rows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.attempts = Counter(
            "hourglass_worker_attempts",
            "Attempts at jobs that ended on this worker, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.attempt_seconds = Histogram(
            "hourglass_worker_attempt_seconds",
            "How long attempts ran.",
            buckets=(1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600),
            registry=self.registry,
        )
        self.busy = Gauge("hourglass_worker_busy", "1 while a job runs here.", registry=self.registry)
        self.beats = Counter(
            "hourglass_worker_beats",
            "Lease renewals of running jobs, by result.",
            ["result"],
            registry=self.registry,
        )
        self.rows_per_second = Gauge(
            "hourglass_worker_rows_per_second",
            "Training speed of the running job, 0 between jobs.",
            registry=self.registry,
        )
        self.hints = Counter(
            "hourglass_worker_hints",
            "Hints that there is work, by what was found.",
            ["found"],
            registry=self.registry,
        )

    def ended(self, outcome: Outcome, seconds: float) -> None:
        """Count one attempt that is over."""
        self.attempts.labels(outcome).inc()
        self.attempt_seconds.observe(seconds)
        self.rows_per_second.set(0)


class MetricsPort:
    """An HTTP server for `/metrics` on a port of its own; port 0 in the settings means none."""

    def __init__(self, metrics: Metrics, port: int, address: str) -> None:
        self.number = port
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None
        if port:
            self._server, self._thread = start_http_server(port, addr=address, registry=metrics.registry)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
