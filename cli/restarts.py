"""When to start again what has died: at once the first time, ever later while it keeps dying."""

from __future__ import annotations

from collections.abc import Callable

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
HEALTHY_SECONDS = 10.0


class Restarts:
    """The waiting time of one process.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._deaths = 0
        self._started = clock()
        self._due: float | None = None

    def started(self) -> None:
        """It runs now."""
        self._started, self._due = self._clock(), None

    def died(self) -> float:
        """It is dead; the seconds until it is started again. After a healthy while it is the first death."""
        now = self._clock()
        if now - self._started >= HEALTHY_SECONDS:
            self._deaths = 0
        self._deaths += 1
        # 0, 1, 2, 4 … seconds: the first death is an accident, the fourth is a pattern.
        wait = (
            0.0
            if self._deaths == 1
            else min(FIRST_WAIT_SECONDS * 2 ** (self._deaths - 2), LONGEST_WAIT_SECONDS)
        )
        self._due = now + wait
        return wait

    @property
    def waiting(self) -> bool:
        """Is it dead, and not started again yet?"""
        return self._due is not None

    @property
    def due(self) -> bool:
        """Has the time come to start it again?"""
        return self._due is not None and self._clock() >= self._due
