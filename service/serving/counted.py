"""What is counted of every answered request, by what was asked."""

from __future__ import annotations

from service import metrics
from service.serving.forward import Action
from service.serving.lane import Asked


class Counted:
    """The series of one action, looked up once.

    Args:
        action: whose.
    """

    __slots__ = ("compute", "queue", "rows")

    def __init__(self, action: Action) -> None:
        self.rows = metrics.inference_rows.labels(action)
        self.queue = metrics.inference_queue_seconds.labels(action)
        self.compute = metrics.inference_compute_seconds.labels(action)

    def answered(self, asked: Asked) -> None:
        """One request has all its answers."""
        self.rows.inc(asked.count)
        self.queue.observe(asked.queue_seconds)
        self.compute.observe(asked.compute_seconds)
