"""Synchronous successive halving: how long every cell runs before which of them go on.

A third of the cells go on at each rung, and each rung lasts three times as long as the one before: every
rung costs about the same, and 24 cells together under a third of the whole grid (Jamieson and Talwalkar,
2016). The schedule of a training is that of the whole budget all along, so that whoever wins has trained as
if nobody had raced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

FACTOR = 3
"""One in so many goes on, and trains so many times as long."""


def rungs(*, cells: int, epochs: int | None, seconds: float | None, racing: bool) -> list[dict[str, Any]]:
    """The rungs of a study, `{"epochs", "seconds", "keep"}` each; the last is the whole budget, keep None.

    Args:
        cells: how many begin.
        epochs: the whole budget in passes over the rows, or None.
        seconds: or in time.
        racing: False: the whole budget for all, one rung.

    Earlier rungs last a third of the next one, epochs rounded down but at least 1; of rungs of equal length
    the last one stands for all. There are as many as it takes to come down to three cells or fewer.
    """
    whole: dict[str, Any] = {"epochs": epochs, "seconds": seconds, "keep": None}
    ladder = [whole]
    keeps, left = list[int](), cells if racing else 0
    while left > FACTOR:
        left = math.ceil(left / FACTOR)
        keeps.append(left)
    for keep in reversed(keeps):
        above = ladder[0]
        shorter = {
            "epochs": None if epochs is None else max(1, above["epochs"] // FACTOR),
            "seconds": None if seconds is None else above["seconds"] / FACTOR,
            "keep": keep,
        }
        # Where no time would lie between two rungs, the upper one decides for both.
        if epochs is None or shorter["epochs"] != above["epochs"]:
            ladder.insert(0, shorter)
    return ladder


def pauses(ladder: Sequence[dict[str, Any]], pretraining: float) -> list[int | None]:
    """After how many epochs of training a cell waits at each rung; None at the last one, and by time."""
    return [
        None if rung["keep"] is None or rung["epochs"] is None else pause(number, rung["epochs"], pretraining)
        for number, rung in enumerate(ladder, start=1)
    ]


def pause(rung: int, epochs: int, pretraining: float) -> int:
    """After how many epochs of training a cell waits at a rung.

    A pretraining's passes over the rows have been spent before. A rung that they use up whole still sees one
    epoch of training more than the rung before.

    Args:
        rung: counted from 1; each is longer than the one before.
        epochs: that it lasts, a pretraining's passes counted.
        pretraining: those passes.
    """
    return max(rung, epochs - math.ceil(pretraining))


def is_due(
    epoch: int,
    *,
    of: int,
    spent: float = 0.0,
    pause_epochs: int | None = None,
    pause_seconds: float | None = None,
) -> bool:
    """Whether a training waits for the others after so many epochs `of` its own; never after its last.

    Args:
        epoch: how many it has behind it.
        of: how many it has in all.
        spent: seconds, its initialisation and whatever was settled before counted.
        pause_epochs: after how many it is to wait, or None.
        pause_seconds: or after how much time; both None: at the last rung nobody waits.
    """
    if not 0 < epoch < of:
        return False
    if pause_epochs is not None:
        return epoch >= pause_epochs
    return pause_seconds is not None and spent >= pause_seconds


def survivors(errors: Sequence[Sequence[float]], keep: int) -> list[int]:
    """Which cells go on: those without a failed seed first, then by mean error; in the cells' own order.

    Args:
        errors: each cell's best held-out errors so far, one for each seed; infinity where it failed. A cell
            without a finite one does not go on.
        keep: how many. Of equals the first go on.
    """
    alive = [place for place, cell in enumerate(errors) if any(math.isfinite(error) for error in cell)]
    return sorted(sorted(alive, key=lambda place: (*standing(errors[place]), place))[:keep])


def standing(errors: Sequence[float]) -> tuple[bool, float]:
    """What cells are ordered by: whether a seed failed, then the mean error of those that did not."""
    finite = [error for error in errors if math.isfinite(error)]
    return len(finite) < len(errors), math.fsum(finite) / len(finite) if finite else math.inf
