"""A short trial: the job's own first steps, taken on a copy and on few rows, and what they show.

The copy has its own random streams, so that the training that follows is bit-identical whether it was tried
or not. Besides the held-out error the trial follows the *gain*, the regression of reconstructions on rows,
`sum (y - mean y)(x - mean x) / sum (x - mean x)^2`. On the plateau at the mean image the error stands still
to many digits while the gain, however small, already grows by a constant factor a step: that tells a net
that will leave the plateau in time from one that will not.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from autoencoders.diagnostics.deadline import NEVER, Deadline
from autoencoders.diagnostics.plan import FEWEST
from autoencoders.diagnostics.stepper import Stepper
from autoencoders.models.autoencoder import Autoencoder

MARKS = 10


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


def try_training(stepper: Stepper, held_out: Tensor, deadline: Deadline = NEVER) -> Trial:
    """Take the plan's first steps; marks are of held-out rows [m, features] in scaled units.

    After ten steps it ends where the deadline has passed, with a mark at the last step.
    """
    model, plan = stepper.model, stepper.plan
    factors = plan.factors()
    marks, losses = [mark(model, held_out, 0)], list[float]()
    when = {round(len(factors) * tenth / MARKS) for tenth in range(1, MARKS + 1)} | {1, 2, 4}
    for step, factor in enumerate(factors):
        losses.append(stepper.step(factor, plan.batch_size))
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
