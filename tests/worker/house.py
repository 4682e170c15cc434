"""What the worker's tests need of a house: datasets, jobs, what became of them, and moments to wait for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil

from store import Datasets, EventLog, EventRow, JobRow, Jobs, Store, ids
from worker.ledger import Ledger
from worker.metrics import Metrics, Outcome
from worker.settings import WorkerSettings
from worker.watch import Watch, child_command

T = TypeVar("T")


def until(question: Callable[[], T | None], *, seconds: float = 60.0) -> T:
    """The first answer that is true; a test that waits in vain fails."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
    return answer


@dataclass
class Following:
    """A watch that follows a job in a thread of its own."""

    stopping: threading.Event
    _outcomes: list[Outcome | BaseException] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def begin(self, watch: Watch, job: JobRow) -> None:
        def follow() -> None:
            try:
                self._outcomes.append(watch.follow(job))
            except BaseException as error:
                self._outcomes.append(error)

        self._thread = threading.Thread(target=follow, daemon=True)
        self._thread.start()

    def outcome(self, seconds: float = 120.0) -> Outcome:
        assert self._thread is not None
        self._thread.join(seconds)
        assert self._outcomes, "the watch goes on"
        (outcome,) = self._outcomes
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class House:
    """A store with jobs in it, and watches to follow them."""

    def __init__(self, store: Store, settings: WorkerSettings) -> None:
        self.store, self.settings = store, settings
        self.metrics = Metrics()
        self._followings: list[Following] = []
        self.ledger = Ledger(store, worker="w1", device="cpu", lease_seconds=settings.lease_seconds)

    def dataset(self) -> str:
        """The row of a dataset without files."""
        identity = ids.new("ds")
        with self.store.transaction() as session:
            Datasets(session).create(id=identity, name="rows", manifest={"sha256": "0" * 64, "bytes": 1})
        return identity

    def submit(
        self, spec: dict[str, Any] | None = None, *, dataset: str | None = None, **more: Any
    ) -> JobRow:
        """A queued job."""
        with self.store.transaction() as session:
            return Jobs(session).create(
                **{
                    "kind": "train",
                    "spec": spec or {},
                    "dataset_id": dataset or self.dataset(),
                    "dataset_name": "rows",
                    "model": "rows-code",
                    "labels": {"team": "a"},
                    "device": "cpu",
                    **more,
                }
            )

    def claim(self) -> JobRow:
        job = self.ledger.claim()
        assert job is not None, "no job waits"
        return job

    def watch(
        self,
        command: Callable[[JobRow], Sequence[str]] = child_command,
        stopping: threading.Event | None = None,
        **settings: Any,
    ) -> Watch:
        return Watch(
            self.ledger,
            self.settings.model_copy(update=settings),
            device="cpu",
            stopping=stopping or threading.Event(),
            metrics=self.metrics,
            command=command,
        )

    def follow(
        self, job: JobRow, command: Callable[[JobRow], Sequence[str]] = child_command, **settings: Any
    ) -> Following:
        """Watch a claimed job from another thread."""
        following = Following(threading.Event())
        self._followings.append(following)
        following.begin(self.watch(command, following.stopping, **settings), job)
        return following

    def close(self) -> None:
        """End what a failed test left running."""
        for following in self._followings:
            following.stopping.set()
            following.outcome()

    def row(self, job: JobRow) -> JobRow:
        with self.store.session() as session:
            return Jobs(session).get(job.id)

    def events(self, job: JobRow, kind: str | None = None) -> list[EventRow]:
        with self.store.session() as session:
            events = EventLog(session).read(job.id, limit=100_000)
        return [event for event in events if kind in (None, event.type)]

    def cancel(self, job: JobRow) -> None:
        with self.store.transaction() as session:
            Jobs(session).cancel(job.id)

    def stop(self, job: JobRow) -> None:
        with self.store.transaction() as session:
            Jobs(session).stop(job.id)

    def resume(self, job: JobRow) -> None:
        with self.store.transaction() as session:
            Jobs(session).resume(job.id)


def child_of(job: JobRow, parent: int | None = None) -> psutil.Process | None:
    """The process that runs a job for this process, or for another parent."""
    for process in psutil.Process(parent or os.getpid()).children():
        try:
            if job.id in process.cmdline():
                return process
        except psutil.Error:
            continue
    return None
