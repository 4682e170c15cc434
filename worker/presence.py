"""A worker's sign of life: a row that says where it is and at which job, renewed from a thread of its own."""

from __future__ import annotations

import os
import socket
import threading
from importlib.metadata import PackageNotFoundError, version

from store import ids, logs
from store.errors import StoreError
from store.store import Store
from store.workers import WorkerFacts, Workers
from worker.devices import DeviceClass

log = logs.get(__name__)


def facts_of_this_process(name: str | None, device: DeviceClass) -> WorkerFacts:
    """What this process says about itself."""
    try:
        ours = version("hourglass")
    except PackageNotFoundError:
        ours = "unknown"
    return WorkerFacts(
        id=name or ids.new("worker"), host=socket.gethostname(), pid=os.getpid(), device=device, version=ours
    )


class Presence:
    """Says every few seconds that this worker lives, and at once when it takes up or puts down a job."""

    def __init__(self, store: Store, facts: WorkerFacts, *, interval_seconds: float = 5.0) -> None:
        self.facts = facts
        self._store = store
        self._interval = interval_seconds
        self._job: str | None = None
        self._changed = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def at(self, job: str | None) -> None:
        """Say at which job this worker is; None: idle."""
        self._job = job
        self._changed.set()

    def close(self) -> None:
        """Say that it is gone."""
        self._closing = True
        self._changed.set()
        self._thread.join(timeout=2)
        try:
            with self._store.transaction() as session:
                Workers(session).remove(self.facts.id)
        except StoreError as error:
            log.warning("could not sign off", error=str(error))

    def _run(self) -> None:
        while not self._closing:
            self._changed.clear()
            job = self._job
            try:
                with self._store.transaction() as session:
                    Workers(session).beat(self.facts, "idle" if job is None else "busy", job)
            except Exception as error:
                # Nothing may end this thread: the database will be back.
                log.warning("no sign of life could be written", error=str(error))
            self._changed.wait(self._interval)
