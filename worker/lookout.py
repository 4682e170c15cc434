"""Looking for jobs without being told: what is left where no hint arrives.

A hint that was lost is sent again, but a client of a broker can lose its connection in a way that it never
notices, and then hears no hint at all. Jobs that wait are in the database, so a worker finds them there.
"""

from __future__ import annotations

import threading

from store import logs
from worker.tasks import Bench

log = logs.get(__name__)


class Lookout:
    """Has the bench look for jobs every so often, as a hint would, in a thread of its own.

    Args:
        bench: where jobs are done.
        stopping: set when the worker leaves.
        seconds: between two looks.
    """

    def __init__(self, bench: Bench, stopping: threading.Event, seconds: float) -> None:
        self._bench, self._stopping, self._seconds = bench, stopping, seconds
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            if done := self._bench.work():
                log.info("jobs were found without a hint", jobs=done)
