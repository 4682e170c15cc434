"""Events into the job's rows: gathered to two writes a second, fenced, and never silent for two seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from autoencoders.events import Epoch, Event, Finished, Step
from store import logs
from store.errors import Unavailable

log = logs.get(__name__)

#: One event on its way: its type and its data.
Line = tuple[str, dict[str, Any]]


#: Lines that say no more than how far the job is.
_ONLY_THE_NEWEST = ("step", "rows")


class Write(Protocol):
    """Writes lines and the newest progress and metrics into a job's rows, in one fenced transaction."""

    def __call__(
        self, lines: list[Line], progress: dict[str, Any] | None, metrics: dict[str, Any] | None
    ) -> object:
        """Write them, or raise `Fenced`."""


class Publisher:
    """Takes events from the training loop and writes them from a thread of its own.

    The loop never waits for the database: one that is away only lets the lines queue up. `step` lines that
    were not yet written give way to newer ones; every other line is kept.

    Args:
        write: where the lines go.
        interval_seconds: least time between two writes.
        silence_seconds: after so long without a line, one is written that says what is going on.
        metrics: what earlier attempts at the job reached.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        write: Write,
        *,
        interval_seconds: float = 0.5,
        silence_seconds: float = 1.25,
        metrics: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._interval = interval_seconds
        self._silence = silence_seconds
        self._clock = clock
        self._lines: list[Line] = []
        self._progress: dict[str, Any] = {}
        self._metrics: dict[str, Any] = dict(metrics or {})
        self._phase, self._phase_began = "starting", clock()
        self._written = clock() - interval_seconds
        self._said = clock()
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._closing = False
        self._broken: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def enter(self, phase: str) -> None:
        """Say what is going on from now on; a line repeats it while nothing else happens."""
        with self._changed:
            self._phase, self._phase_began = phase, self._clock()
            self._add("log", {"message": phase, "phase": phase, "seconds": 0.0})

    def say(self, kind: str, data: dict[str, Any]) -> None:
        """Put a line of any type."""
        with self._changed:
            self._add(kind, data)

    def put(self, event: Event, **extra: Any) -> None:
        """Put an event of the science.

        Raises:
            Fenced: another attempt has this job by now.
        """
        if self._broken is not None:
            raise self._broken
        data = {**event.to_json(), **extra}
        with self._changed:
            if isinstance(event, Step):
                self._progressed(
                    step=event.step, rows_per_second=event.rows_per_second, seconds_left=event.seconds_left
                )
            elif isinstance(event, Epoch):
                self._note_epoch(event)
            elif isinstance(event, Finished):
                self._progressed(epoch=event.epoch, step=event.step, seconds_left=0.0)
                data = {"message": f"training ended: {event.ended}", **data}
            self._add(event.type, data)

    def note(self, **metrics: Any) -> None:
        """Have these figures written among the job's metrics, with the next line."""
        with self._changed:
            self._metrics.update(metrics)

    def advance(self, kind: str, **facts: Any) -> None:
        """Say how far the job is, in a line and in its progress; the newest line alone waits to be written.

        Raises:
            Fenced: another attempt has this job by now.
        """
        if self._broken is not None:
            raise self._broken
        with self._changed:
            self._progressed(**facts)
            self._add(kind, dict(facts))

    def flush(self) -> None:
        """Write what is waiting, now.

        Raises:
            Fenced: another attempt has this job by now.
            Unavailable: the database is away; the lines wait on.
        """
        with self._writing:
            with self._changed:
                lines, self._lines = self._lines, []
                progress, metrics = dict(self._progress) or None, dict(self._metrics) or None
            try:
                self._write(lines, progress, metrics)
            except Unavailable:
                with self._changed:
                    self._lines = lines + self._lines
                raise
            except Exception as error:
                self._broken = error
                raise
            finally:
                self._written = self._said = self._clock()

    def close(self) -> tuple[list[Line], dict[str, Any] | None, dict[str, Any] | None]:
        """End the thread; what was not written comes back, to be written with the job's last row."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        lines, self._lines = self._lines, []
        return lines, dict(self._progress) or None, dict(self._metrics) or None

    def _add(self, kind: str, data: dict[str, Any]) -> None:
        if kind in _ONLY_THE_NEWEST and self._lines and self._lines[-1][0] == kind:
            self._lines[-1] = (kind, data)
        else:
            self._lines.append((kind, data))
        self._changed.notify()

    def _progressed(self, **progress: Any) -> None:
        self._progress.update(progress)

    def _note_epoch(self, event: Epoch) -> None:
        self._progressed(
            epoch=event.epoch, epochs=event.epochs, step=event.step, rows_per_second=event.rows_per_second
        )
        self._metrics["train_loss"] = event.train_loss
        if event.best or "error" not in self._metrics:
            # The best epoch's weights are what will be published, so its figures are the job's.
            self._metrics.update(error=event.error, loss=event.loss)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and not self._due():
                    self._changed.wait(self._patience())
                if self._closing:
                    return
                if not self._lines:
                    seconds = round(self._clock() - self._phase_began, 1)
                    self._lines.append(
                        ("log", {"message": self._phase, "phase": self._phase, "seconds": seconds})
                    )
            try:
                self.flush()
            except Unavailable as error:
                log.warning("the database is away; events wait", error=str(error))
            except Exception:
                # The loop meets it at its next event: Fenced, above all.
                return

    def _due(self) -> bool:
        now = self._clock()
        if self._lines:
            return now - self._written >= self._interval
        return now - self._said >= self._silence

    def _patience(self) -> float:
        now = self._clock()
        wait = self._interval - (now - self._written) if self._lines else self._silence - (now - self._said)
        return max(0.001, wait)
