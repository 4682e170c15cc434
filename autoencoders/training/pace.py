"""The clock of a training: time spent, speed, and when something is due."""

from __future__ import annotations

from collections.abc import Callable

from autoencoders.events import Step
from autoencoders.training.state import Progress
from autoencoders.training.stopping import DivergenceGuard

SECONDS_BETWEEN_STEP_EVENTS = 0.5


class Pace:
    """How long a training has run, by a clock that was passed in, and the `Step` events that are due by it.

    Args:
        clock: seconds that only go forward.
        progress: where the time spent is written down.
        epoch_loss: the objective summed over the epoch's rows so far.
        steps: of the whole training.
        max_seconds: after which it is over.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        progress: Progress,
        epoch_loss: float,
        *,
        steps: int,
        max_seconds: float | None,
    ) -> None:
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
        """Whether `max_seconds` have passed."""
        return self._max_seconds is not None and self._progress.seconds >= self._max_seconds

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
            steps=self._steps,
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
        left = (self._steps - self._progress.step) * (self._ticked - self._began) / taken
        if self._max_seconds is None:
            return left
        return min(left, max(0.0, self._max_seconds - self._progress.seconds))
