"""A short trial: the job's own first steps, taken on a copy and on few rows, and what they show.

The copy has its own random streams, so that the training that follows is bit-identical whether it was tried
or not. Besides the held-out error the trial follows the *gain*, the regression of reconstructions on rows,
`sum (y - mean y)(x - mean x) / sum (x - mean x)^2`. On the plateau at the mean image the error stands still
to many digits while the gain, however small, already grows by a constant factor a step: that tells a net
that will leave the plateau in time from one that will not.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autoencoders.diagnostics.deadline import NEVER, Deadline
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.objective import Objective
from autoencoders.optim import Schedule, set_rate
from autoencoders.randomness import generator

HORIZON = 900
"""How many of a job's steps a forecast is made for."""
LONGEST = 100
FEWEST = 10
"""How many steps are taken however little time there is, where the job has them."""
RISING = 30
MARKS = 10


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

    @property
    def horizon(self) -> int:
        """The step for which the forecast is made."""
        return min(self.steps, HORIZON)

    def factors(self) -> list[float]:
        """The rate's factors at the trial's steps.

        They are the job's own first ones; but a warm-up of more than 30 steps is walked through in 30, so
        that the trial sees the highest rate that the job will reach.
        """
        count = min(self.steps, LONGEST, max(FEWEST, self.affordable))
        ahead = [self.schedule(step, ()) for step in range(self.horizon)]
        peak = max(range(len(ahead)), key=lambda step: (ahead[step], -step))
        rising = min(RISING, count // 3)
        if peak <= rising:
            return ahead[:count]
        walked = [ahead[round(step * peak / rising)] for step in range(rising)]
        return [*walked, *ahead[peak : peak + count - rising]]


@dataclass(frozen=True)
class Mark:
    """The held-out rows after so many steps of the trial.

    Attributes:
        step: how many were taken.
        error: the squared error of a row, summed over features.
        gain: the regression of reconstructions on rows; 1 where they agree, 0 where all are alike.
        spread: the variance of the reconstructions over that of the rows.
    """

    step: int
    error: float
    gain: float
    spread: float


@dataclass(frozen=True)
class Trial:
    """What the trial showed.

    Attributes:
        steps: taken; fewer than planned where the loss left the finite numbers, or time ran out.
        planned: to be taken.
        horizon: the job's step for which a forecast is made.
        marks: held-out figures at step 0, after the first steps and then ten times at equal distances.
        losses: the objective at every step.
        done: the sum of the schedule's factors over the steps taken.
        ahead: the same over the job's steps from there to the horizon.
        survived: whether every loss was a finite number.
    """

    steps: int
    planned: int
    horizon: int
    marks: tuple[Mark, ...]
    losses: tuple[float, ...]
    done: float
    ahead: float
    survived: bool


def try_training(
    model: Autoencoder, plan: Plan, rows: Tensor, held_out: Tensor, deadline: Deadline = NEVER
) -> Trial:
    """Train `model` itself, which must be a copy, on rows [n, features] in scaled units.

    After ten steps it ends where the deadline has passed, with a mark at the last step.
    """
    factors = plan.factors()
    noise = generator(plan.seed, "diagnosis", "noise", device=rows.device)
    optimizer = plan.optimizer(model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    batches = _batches(rows, plan)
    marks, losses = [mark(model, held_out, 0)], list[float]()
    when = {round(len(factors) * tenth / MARKS) for tenth in range(1, MARKS + 1)} | {1, 2, 4}
    model.train()
    for step, factor in enumerate(factors):
        set_rate(optimizer, factor)
        pair = plan.objective.draw(next(batches), noise)

        def closure() -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            with _autocast(plan, rows.device):
                total = plan.objective.terms(model, pair, noise).total  # noqa: B023  # called before the next
            total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            if plan.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, plan.clip_norm)
            return total.detach()

        loss: Any = optimizer.step(closure)  # type: ignore[arg-type]  # torch's floats are tensors here
        losses.append(float(loss))
        if not math.isfinite(losses[-1]):
            break
        late = step + 1 >= FEWEST and deadline.has_passed()
        if late or step + 1 in when:
            marks.append(mark(model, held_out, step + 1))
        if late:
            break
    taken = len(losses)
    ahead = sum(plan.schedule(step, ()) for step in range(taken, plan.horizon))
    return Trial(
        steps=taken,
        planned=len(factors),
        horizon=plan.horizon,
        marks=tuple(marks),
        losses=tuple(losses),
        done=sum(factors[:taken]),
        ahead=ahead,
        survived=math.isfinite(losses[-1]) and math.isfinite(marks[-1].error),
    )


def _batches(rows: Tensor, plan: Plan) -> Iterator[Tensor]:
    size = min(plan.batch_size, len(rows))
    epoch = 0
    while True:
        drawn = generator(plan.seed, "diagnosis", "order", epoch)
        order = torch.randperm(len(rows), generator=drawn).to(rows.device)
        for start in range(0, len(rows) - size + 1, size):
            yield rows.index_select(0, order[start : start + size])
        epoch += 1


def _autocast(plan: Plan, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if plan.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@torch.no_grad()
def mark(model: Autoencoder, rows: Tensor, step: int) -> Mark:
    """The figures of held-out rows, as the model answers a client; it stays as it is.

    In float64: on a plateau reconstructions of different rows may differ in the tenth digit alone, and these
    differences are what grows.
    """
    exact = copy.deepcopy(model).eval().double()
    target = rows.double()
    out = exact(target).output
    error = float((out - target).square().sum(1).mean())
    out, target = out - out.mean(0), target - target.mean(0)
    whole = max(float(target.square().sum()), 1e-300)
    return Mark(step, error, float((out * target).sum()) / whole, float(out.square().sum()) / whole)
