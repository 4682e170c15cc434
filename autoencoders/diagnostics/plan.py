"""How a job will train, as far as its first steps are tried before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import Optimizer

from autoencoders.objective import Objective
from autoencoders.optim import Schedule

HORIZON = 900
"""How many of a job's steps a forecast is made for."""
LONGEST = 100
FEWEST = 10
"""How many steps are taken however little time there is, where the job has them."""
RISING = 30
PART = 4
FEWEST_ROWS = 16


@dataclass(frozen=True)
class Plan:
    """How the job will train.

    Attributes:
        objective: what it minimises.
        optimizer: makes its optimizer for a model.
        schedule: the rate's factor at each step.
        steps: of the whole job.
        batch_size: rows in a step.
        seed: of the job; the trial has streams of its own derived from it.
        precision: that of the products.
        clip_norm: the greatest norm of the whole gradient.
        affordable: steps that may be spent on a trial; at least 10 are taken where the job has them.
        rehearses: whether the rest of the way to the horizon is affordable too, on a part of each batch.
    """

    objective: Objective
    optimizer: Callable[[nn.Module], Optimizer]
    schedule: Schedule
    steps: int
    batch_size: int
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    clip_norm: float | None = None
    affordable: int = LONGEST
    rehearses: bool = False

    @property
    def horizon(self) -> int:
        """The step for which the forecast is made."""
        return min(self.steps, HORIZON)

    @property
    def walk(self) -> list[int]:
        """The job's steps whose rates the trial's have.

        They are the job's own first ones; but a warm-up of more than 30 steps is walked through in 30, so
        that the trial sees the highest rate that the job will reach.
        """
        count = min(self.steps, LONGEST, max(FEWEST, self.affordable))
        peak = max(range(self.horizon), key=lambda step: (self.schedule(step, ()), -step))
        rising = min(RISING, count // 3)
        if peak <= rising:
            return list(range(count))
        walked = [round(step * peak / rising) for step in range(rising)]
        return [*walked, *range(peak, min(peak + count - rising, self.horizon))]

    def factors(self) -> list[float]:
        """The rate's factors at the trial's steps."""
        return [self.schedule(step, ()) for step in self.walk]

    @property
    def rehearsed_rows(self) -> int:
        """Rows in a step of a rehearsal: a quarter of the job's, but sixteen at least where it has them."""
        return min(self.batch_size, max(FEWEST_ROWS, self.batch_size // PART))
