"""A worker in this process: attempts at jobs as a worker's child makes them, without the child's start."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store import Store
from worker import begin, exits
from worker.ledger import Ledger
from worker.run import Wishes
from worker.settings import WorkerSettings


def work(store: Store, settings: WorkerSettings) -> bool:
    """Do the next job that waits; whether there was one."""
    row = Ledger(store, worker="here", device="cpu", lease_seconds=600).claim()
    if row is None:
        return False
    assert begin._attempt(store, settings, row, Wishes()) in (exits.FINISHED, exits.PAUSED)
    return True


@contextmanager
def a_worker(home: Path) -> Iterator[None]:
    """A worker of this house until the block ends."""
    settings = WorkerSettings(home=home, device="cpu", threads=1, free_disk_floor_bytes=0, _env_file=None)
    store, over = Store.open(settings), threading.Event()
    broken: list[BaseException] = []

    def go_on() -> None:
        try:
            while not over.is_set():
                if not work(store, settings):
                    over.wait(0.05)
        except BaseException as error:
            broken.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
        store.close()
    if broken:
        raise broken[0]
