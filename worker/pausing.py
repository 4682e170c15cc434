"""Pausing: where a training that belongs to a study waits for the others at its rung.

The pause is at the end of an epoch and behind a checkpoint, so that a training which goes on ends with the
weights of one that never paused. It depends on the epoch alone (or on the time, where the budget is in
seconds), not on the attempt: one that begins where its predecessor was to pause does so before any step.
"""

from __future__ import annotations

import math
from typing import Any

from autoencoders.events import Epoch
from autoencoders.study import rungs
from autoencoders.training.state import Progress
from store.tables import JobRow
from worker.settling import Settled


class Paused(Exception):
    """The training has come to its rung, and what it needs to go on is kept.

    Args:
        progress: how far it came.
    """

    def __init__(self, progress: Progress) -> None:
        super().__init__(f"paused after epoch {progress.epoch}")
        self.metrics = {"error": _finite(progress.best_error), "loss": _finite(progress.best_loss)}


class Rung:
    """How far one training may go before it waits.

    Args:
        row: its job, as it was claimed.

    Attributes:
        reached: whether the training is there and only its checkpoint is awaited.
        init_seconds: how long the initialisation took, in this attempt or an earlier one.
        settling_seconds: how long it took to choose what the spec leaves open; part of a time budget too.
    """

    def __init__(self, row: JobRow) -> None:
        place: dict[str, Any] = row.study_place or {}
        self._number: int = place.get("rung", 1)
        self._pauses = {name: place.get(name) for name in ("pause_epochs", "pause_seconds")}
        self._last_epoch: int = row.spec.get("training", {}).get("epochs") or 0
        self.init_seconds = float(row.metrics.get("init_seconds") or 0.0)
        self.settling_seconds = 0.0
        self.reached = False

    def settle(self, found: Settled) -> None:
        """Count what was chosen, and what its choosing took, as spent before the first step."""
        self.settling_seconds = found.seconds
        self._last_epoch = found.spec.training.epochs
        planned = self._pauses["pause_epochs"]
        if planned is not None and found.pretraining is not None:
            self._pauses["pause_epochs"] = rungs.pause(self._number, planned, found.pretraining)

    def is_due(self, event: Epoch) -> bool:
        """Whether the training waits after this epoch; never after its last."""
        self.reached = self._is_due(event.epoch, event.epochs, event.seconds)
        return self.reached

    def was_due(self, progress: Progress) -> bool:
        """Whether an attempt that goes on from here is to wait before any step."""
        self.init_seconds = progress.prior_seconds
        return progress.batch == 0 and self._is_due(progress.epoch, self._last_epoch, progress.seconds)

    def _is_due(self, epoch: int, epochs: int, seconds: float) -> bool:
        spent = self.settling_seconds + self.init_seconds + seconds
        return rungs.is_due(epoch, of=epochs, spent=spent, **self._pauses)


def _finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None
