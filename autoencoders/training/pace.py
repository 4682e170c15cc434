"""The clock of a training: time spent, speed, and when something is due."""

from __future__ import annotations

from collections.abc import Callable

from autoencoders.events import Step
from autoencoders.training.state import Progress
from autoencoders.training.stopping import DivergenceGuard

SECONDS_BETWEEN_STEP_EVENTS = 0.5
SHARES = 10_000
"""In how many steps a schedule is walked through where time is the budget."""


class Pace:
    """How long a training has run, by a clock that was passed in, and the `Step` events that are due by it.

    Args:
        clock: seconds that only go forward.
        progress: where the time spent is written down.
        epoch_loss: the objective summed over the epoch's rows so far.
        steps: of the whole training.
        max_seconds: after which it is over.
        budget_seconds: after which it is over likewise, with what was spent before the first step; the
            schedule goes by the share of it that is gone.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        progress: Progress,
        epoch_loss: float,
        *,
        steps: int,
        max_seconds: float | None,
        budget_seconds: float | None = None,
    ) -> None:
        self._budget = budget_seconds
        self._clock, self._progress, self._steps, self._max_seconds = clock, progress, steps, max_seconds
        self._began = self._ticked = self._last = clock()
        self._first_step = progress.step
        self._marked_rows, self._marked_loss, self._epoch = progress.epoch_rows, epoch_loss, progress.epoch
        self._rows = progress.rows

    def tick(self) -> None:
        """Add the time since the last tick to the training's."""
        now, progress = self._clock(), self._progress
        progress.seconds += now - self._ticked
        progress.epoch_seconds += (now - self._ticked) if progress.batch else 0.0
        self._ticked = now

    def due(self) -> bool:
        """Whether a `Step` event is due."""
        return self._ticked - self._last >= SECONDS_BETWEEN_STEP_EVENTS

    def out_of_time(self) -> bool:
        """Whether `max_seconds` have passed, or the budget."""
        left = self._time_left()
        return left is not None and left <= 0.0

    def place(self) -> int:
        """The step of the schedule that is next: the training's own, or by the share of its time."""
        return self._progress.step if self._budget is None else min(SHARES, int(self._share() * SHARES))

    def _share(self) -> float:
        """How much of the budget is gone, at most 1."""
        assert self._budget is not None, "asked only where there is one"
        return min(1.0, (self._progress.seconds + self._progress.prior_seconds) / self._budget)

    def _time_left(self) -> float | None:
        left = []
        if self._max_seconds is not None:
            left.append(self._max_seconds - self._progress.seconds)
        if self._budget is not None:
            left.append(self._budget - self._progress.seconds - self._progress.prior_seconds)
        return min(left, default=None)

    def _expected_steps(self) -> int:
        """Those of the whole training; by time, as many as it will be at this speed."""
        if self._budget is None:
            return self._steps
        prior = self._progress.prior_seconds
        return max(
            self._progress.step,
            round(self._progress.step * (self._budget - prior) / max(self._progress.seconds, 1e-9)),
        )

    def step(self, guard: DivergenceGuard, epoch_loss: float, learning_rate: float) -> Step:
        """The event; `epoch_loss`, the epoch's sum so far, is the one figure read from the device.

        Its loss is over the rows since the last event, or since the epoch began if that is later.
        """
        progress = self._progress
        guard.finite(epoch_loss, step=progress.step)
        if progress.epoch != self._epoch:
            self._marked_rows, self._marked_loss, self._epoch = 0, 0.0, progress.epoch
        rows = progress.epoch_rows - self._marked_rows
        event = Step(
            epoch=progress.epoch,
            step=progress.step,
            steps=self._expected_steps(),
            loss=(epoch_loss - self._marked_loss) / max(rows, 1),
            learning_rate=learning_rate,
            rows_per_second=(progress.rows - self._rows) / max(self._ticked - self._last, 1e-9),
            seconds_left=self._seconds_left(),
        )
        self._marked_rows, self._marked_loss = progress.epoch_rows, epoch_loss
        self._rows, self._last = progress.rows, self._ticked
        return event

    def _seconds_left(self) -> float | None:
        taken = self._progress.step - self._first_step
        if taken == 0:
            return None
        by_steps = (self._steps - self._progress.step) * (self._ticked - self._began) / taken
        by_time = self._time_left()
        return by_steps if by_time is None else min(by_steps, max(0.0, by_time))
