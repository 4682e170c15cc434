"""What every version has done since this process began: the counts behind `/v2`'s statistics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from service import metrics

_NS = 1_000_000_000


@dataclass(slots=True)
class Took:
    """How often something was done, and how long all of it took together."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, times: int = 1) -> None:
        """It was done so many times more, in so many seconds altogether."""
        self.count += times
        self.ns += int(seconds * _NS)


@dataclass(slots=True)
class Statistics:
    """The counts of one version; it sees what its lanes do.

    Attributes:
        inference_count: rows that were answered.
        execution_count: forward passes.
        last_inference_ms: when the last request was answered, in Unix milliseconds; 0 before the first.
        success: requests that were answered, from their submission to their last row.
        fail: requests that were not.
        queue: their waiting.
        compute_input: reading requests, where the protocol's route counts it.
        compute_output: writing their answers, likewise.
        compute_infer: the forward passes that their rows were in.
        batch_stats: the forward passes by their rows.
    """

    inference_count: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0
    success: Took = field(default_factory=Took)
    fail: Took = field(default_factory=Took)
    queue: Took = field(default_factory=Took)
    compute_infer: Took = field(default_factory=Took)
    compute_input: Took = field(default_factory=Took)
    compute_output: Took = field(default_factory=Took)
    batch_stats: dict[int, Took] = field(default_factory=dict)

    def ran(self, rows: int, seconds: float) -> None:
        """One forward pass was made."""
        self.execution_count += 1
        batch = self.batch_stats.get(rows)
        if batch is None:
            batch = self.batch_stats[rows] = Took()
        batch.add(seconds)
        metrics.batch_rows.observe(rows)
        metrics.forward_seconds.observe(seconds)

    def answered(self, requests: int, rows: int, queue_seconds: float, compute_seconds: float) -> None:
        """So many requests have all their answers; the times are those of all of them together."""
        self.inference_count += rows
        self.last_inference_ms = time.time_ns() // 1_000_000
        self.success.add(queue_seconds + compute_seconds, requests)
        self.queue.add(queue_seconds, requests)
        self.compute_infer.add(compute_seconds, requests)

    def failed(self, seconds: float) -> None:
        """One request got no answer."""
        self.fail.add(seconds)
