"""A worker's process: Celery in a thread, the bench it wakes, and an end within ten seconds of a signal."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from celery import Celery
from celery.worker import WorkController
from celery.worker import state as celery_state
from pydantic import ValidationError

from store import logs
from store.caretaker import Caretaker
from store.errors import StoreError, Unavailable
from store.migrate import migrate
from store.queue import make_celery
from store.store import Store
from worker.devices import DeviceClass, DeviceMissing, device_class
from worker.ledger import Ledger
from worker.lookout import Lookout
from worker.metrics import Metrics, MetricsPort
from worker.presence import Presence, facts_of_this_process
from worker.scratch import sweep
from worker.settings import WorkerSettings
from worker.tasks import Bench, install
from worker.watch import Watch

log = logs.get(__name__)

#: How long Celery may take to end, once the device is free.
_CELERY_SECONDS = 1.5


class Signals:
    """Counts the signals that ask to end; the second one ends this process at once, and its child with it."""

    def __init__(self) -> None:
        self.received = 0

    def listen(self) -> None:
        """Answer SIGTERM and SIGINT from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        # Nothing but a count: a lock taken here might be held by the very code that was interrupted.
        self.received += 1
        if self.received > 1:
            os._exit(1)


def run(settings: WorkerSettings) -> int:
    """Work until a signal asks to end; the exit status comes back.

    Raises:
        DeviceMissing: the settings ask for a device that is not here.
    """
    logs.configure(settings, "worker")
    signals = Signals()
    signals.listen()
    device = device_class(settings.device)
    if not _database_is_ready(settings, lambda: signals.received > 0):
        return 0
    store = Store.open(settings)
    try:
        return _Worker(store, settings, device).run(signals)
    finally:
        store.close()


class _Worker:
    """The parts of a running worker, put together once."""

    def __init__(self, store: Store, settings: WorkerSettings, device: DeviceClass) -> None:
        self._settings, self._device = settings, device
        self._store = store
        self._stopping = threading.Event()
        self._presence = Presence(store, facts_of_this_process(settings.worker_name, device))
        metrics = Metrics()
        self._port = MetricsPort(metrics, settings.metrics_port, settings.metrics_host)
        ledger = Ledger(
            store, worker=self._presence.facts.id, device=device, lease_seconds=settings.lease_seconds
        )
        watch = Watch(ledger, settings, device=device, stopping=self._stopping, metrics=metrics)
        self._bench = Bench(ledger, watch, self._presence, metrics, self._stopping)
        self._lookout = Lookout(self._bench, self._stopping, settings.hint_seconds)
        self._caretaker = Caretaker(store)
        sweep(settings.home, ledger.is_running)

    def run(self, signals: Signals) -> int:
        self._presence.start()
        self._caretaker.start()
        self._lookout.start()
        celery = make_celery(self._settings)
        install(celery, self._bench)
        consumer = self._consumer(celery)
        # The main thread stays free to see signals, and to leave when Celery does not.
        thread = threading.Thread(target=consumer.start, name="celery", daemon=True)
        thread.start()
        log.info("worker started", worker=self._presence.facts.id, device=self._device)
        while not signals.received and thread.is_alive():
            time.sleep(0.1)
        failed = not signals.received
        self._leave(thread)
        return 1 if failed else 0

    def _consumer(self, celery: Celery) -> WorkController:
        return celery.WorkController(
            hostname=f"{self._presence.facts.id}@{self._presence.facts.host}",
            pool="threads",
            concurrency=1,
            queues=[self._device],
            loglevel=self._settings.log_level,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            # What was queued before this worker came needs no hint of its own.
            ready_callback=lambda _consumer: self._store.queue.hint(self._device),
        )

    def _leave(self, thread: threading.Thread) -> None:
        """Job first, then the sign of life, then Celery, which may be waiting for a broker that is away."""
        log.info("worker leaves")
        # Celery reads a status here, though it declares a flag that is never set.
        celery_state.should_stop = 0  # type: ignore[assignment]
        self._stopping.set()
        self._bench.wait_until_free(self._settings.leave_seconds + 1.0)
        self._caretaker.stop()
        self._presence.close()
        self._port.close()
        thread.join(_CELERY_SECONDS)
        if thread.is_alive():
            log.info("celery did not end in time; leaving without it")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


def _database_is_ready(settings: WorkerSettings, leaving: Callable[[], bool]) -> bool:
    """Bring the database to this version's schema; wait for one that is away."""
    while not leaving():
        try:
            migrate(settings)
        except Unavailable as error:
            log.warning("the database is away; waiting for it", error=str(error))
            time.sleep(1.0)
        else:
            return True
    return False


def main() -> int:
    """`python -m worker.app`: work with the settings of the environment."""
    try:
        return run(WorkerSettings())
    except (ValidationError, DeviceMissing, StoreError) as error:
        sys.stderr.write(f"worker: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
