"""The parent's side of a job: start the child, beat its lease, pass on cancel and stop, end it.

The parent reads rows and counts seconds; it never computes. So the lease is beaten however long the child
reads, decomposes or writes, and a child that does not listen is ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import worker
from store import logs
from store.errors import Fenced, Unavailable
from store.tables import JobRow
from worker import exits
from worker.child import Child
from worker.devices import DeviceClass, child_environment, thread_count
from worker.ledger import Ledger
from worker.metrics import Metrics, Outcome
from worker.scratch import attempt_scratch
from worker.settings import WorkerSettings

log = logs.get(__name__)


def child_command(job: JobRow) -> list[str]:
    """The command of a job's child; `-P` keeps the working folder's modules out of it."""
    return [sys.executable, "-P", "-m", "worker.run", job.id, str(job.token)]


class Watch:
    """Follows one job at a time from its claim to a row that is final, or given back.

    Args:
        ledger: the job's rows.
        settings: intervals, and what the child is told.
        device: the class of device that the child may see.
        stopping: set once this worker is to leave.
        metrics: where attempts and beats are counted.
        command: what to run for a job.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: WorkerSettings,
        *,
        device: DeviceClass,
        stopping: threading.Event,
        metrics: Metrics,
        command: Callable[[JobRow], Sequence[str]] = child_command,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._device = device
        self._stopping = stopping
        self._metrics = metrics
        self._command = command

    def follow(self, job: JobRow) -> Outcome:
        """Run the job's child to its end and answer what became of the attempt."""
        began = time.monotonic()
        self._metrics.busy.set(1)
        try:
            with attempt_scratch(self._settings.home, job.id, job.token) as folder:
                outcome = self._attempt(job, folder / "stderr")
        finally:
            self._metrics.busy.set(0)
        self._metrics.ended(outcome, time.monotonic() - began)
        log.info("attempt ended", job=job.id, token=job.token, outcome=outcome)
        return outcome

    def _attempt(self, job: JobRow, stderr: Path) -> Outcome:
        child = Child.start(self._command(job), environment=self._environment(), stderr=stderr)
        log.info("child started", job=job.id, token=job.token, child=child.pid)
        try:
            return _Following(self, job, child).until_over()
        finally:
            child.kill()

    def _environment(self) -> Mapping[str, str]:
        root = str(Path(worker.__file__).resolve().parent.parent)
        path = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        return {
            **os.environ,
            **self._settings.as_environment(),
            **child_environment(self._device, thread_count(self._settings.threads)),
            "PYTHONPATH": os.pathsep.join(path),
            "HOURGLASS_WATCHER": str(os.getpid()),
            "HOURGLASS_CHILD_NICENESS": str(self._settings.niceness),
        }


class _Following:
    """One child being watched: what it was told, and when it was last beaten for."""

    def __init__(self, watch: Watch, job: JobRow, child: Child) -> None:
        self._ledger, self._settings = watch._ledger, watch._settings
        self._stopping, self._metrics = watch._stopping, watch._metrics
        self._job, self._child = job, child
        self._next_beat = time.monotonic() + self._settings.beat_seconds
        self._leave_by: float | None = None
        self._told_to_stop = False

    def until_over(self) -> Outcome:
        while (status := self._child.poll()) is None:
            try:
                asked = self._asked()
            except Fenced:
                # Either another attempt has the job, or this child has just finished its row.
                self._child.kill()
                return self._ledger.outcome(self._job)
            if asked == "cancel":
                self._child.kill()
                return self._ledger.cancelled(self._job)
            if asked == "stop" and not self._told_to_stop:
                self._told_to_stop = True
                self._child.tell(signal.SIGUSR1)
            if self._stopping.is_set() and self._must_go():
                status = self._child.kill()
                break
            self._pause()
        return self._after(status)

    def _asked(self) -> str | None:
        """What the job's owner asked for; renews the lease in time. A database that is away is awaited."""
        beat = time.monotonic() >= self._next_beat
        try:
            asked = self._ledger.beat(self._job) if beat else self._look()
        except Unavailable as error:
            log.warning("the database is away; the job goes on", job=self._job.id, error=str(error))
            self._metrics.beats.labels("database_away").inc()
            return None
        if beat:
            self._next_beat = time.monotonic() + self._settings.beat_seconds
            self._metrics.beats.labels("renewed").inc()
        return asked

    def _look(self) -> str | None:
        row = self._ledger.look(self._job)
        self._metrics.rows_per_second.set(row.progress.get("rows_per_second") or 0)
        return row.asked

    def _must_go(self) -> bool:
        """Tell the child once to leave; true when its time for that is over."""
        if self._leave_by is None:
            self._leave_by = time.monotonic() + self._settings.leave_seconds
            self._child.tell(signal.SIGTERM)
        return time.monotonic() >= self._leave_by

    def _pause(self) -> None:
        if self._stopping.is_set():
            time.sleep(min(0.05, self._settings.watch_seconds))
        else:
            self._stopping.wait(self._settings.watch_seconds)

    def _after(self, status: int) -> Outcome:
        """The child is gone: see to it that the row says what happened."""
        if status == exits.FENCED:
            return self._ledger.outcome(self._job)
        if status == exits.PAUSED:
            # By now it may be released, and another attempt's: what this one did stays the same.
            outcome = self._ledger.outcome(self._job)
            return "paused" if outcome == "fenced" else outcome
        if self._leave_by is not None or status == exits.LEFT:
            return self._ledger.given_back(self._job)
        if status < 0 or status == exits.UNREACHABLE:
            return self._ledger.lost(self._job, _how_it_died(status, self._child.last_words()))
        return self._ledger.crashed(self._job, status, self._child.last_words())


def _how_it_died(status: int, last_words: str) -> str:
    if status >= 0:
        reason = "the training process could not reach the database or the files"
    elif -status == signal.SIGKILL:
        reason = "the training process was killed (SIGKILL), as the system does when memory runs out"
    else:
        reason = f"the training process was ended by {_signal_name(-status)}"
    return f"{reason}: {last_words}" if last_words else reason


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
