"""The learning rate over a training, as a factor of the optimizer's own rate.

A word is called with the number of steps of the whole training and gives a `Schedule`: a pure function of
the step and of the held-out errors of the epochs so far. Only `plateau` looks at the errors; so nothing has
a state of its own, and a resumed training meets the very same rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field, PositiveInt

from autoencoders.catalog import Catalog

Schedule = Callable[[int, Sequence[float]], float]
"""The factor, in (0, 1], of step 0, 1, ... given the held-out error of every finished epoch."""

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Floor = Annotated[float, Field(ge=0.0, le=1.0)]
Factor = Annotated[float, Field(gt=0.0, lt=1.0)]

schedules: Catalog[Callable[..., Schedule]] = Catalog("schedules")


def _warming(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / (warmup_steps + 1))


def _progress(step: int, steps: int, warmup_steps: int = 0) -> float:
    """The share of the steps after the warm-up that lie behind `step`; below 1 for steps that are taken."""
    return min(max(0, step - warmup_steps) / max(1, steps - warmup_steps), 1.0)


@schedules.word("constant")
def constant(steps: int) -> Schedule:  # noqa: ARG001
    """The same rate all along."""
    return lambda step, errors: 1.0  # noqa: ARG005


@schedules.word("linear", formula="1 - (1 - end) t, t = the share of the steps done; warm-up before")
def linear(steps: int, *, warmup: Share = 0.0, end: Floor = 0.0) -> Schedule:
    """Straight down to `end`, after a straight rise over the share `warmup` of the steps."""
    rising = round(warmup * steps)

    def factor(step: int, errors: Sequence[float]) -> float:  # noqa: ARG001
        return _warming(step, rising) * (1.0 - (1.0 - end) * _progress(step, steps, rising))

    return factor


@schedules.word("step", formula="factor^k, k = how many of the shares `at` lie behind")
def step(steps: int, *, at: tuple[Factor, ...] = (0.5, 0.75), factor: Factor = 0.1) -> Schedule:
    """Down by `factor` at each of the given shares of the training."""
    edges = [round(share * steps) for share in at]
    return lambda step, errors: factor ** sum(step >= edge for edge in edges)  # noqa: ARG005


@schedules.word("exponential", formula="end^t, t = the share of the steps done")
def exponential(steps: int, *, end: Factor = 0.01) -> Schedule:
    """By the same ratio each step, down to `end`."""
    return lambda step, errors: end ** _progress(step, steps)  # noqa: ARG005


@schedules.word(
    "cosine",
    formula="end + (1 - end) (1 + cos(pi t)) / 2; warm-up before",
    reference="Loshchilov and Hutter, 2017",
)
def cosine(steps: int, *, warmup: Share = 0.02, end: Floor = 0.0) -> Schedule:
    """Half a cosine down to `end`, after a straight rise over the share `warmup` of the steps."""
    rising = round(warmup * steps)

    def factor(step: int, errors: Sequence[float]) -> float:  # noqa: ARG001
        falling = (1.0 + math.cos(math.pi * _progress(step, steps, rising))) / 2
        return _warming(step, rising) * (end + (1.0 - end) * falling)

    return factor


@schedules.word(
    "plateau", formula="factor^k, k = how often no error was below (1 - threshold) best for `patience` epochs"
)
def plateau(
    steps: int,  # noqa: ARG001
    *,
    patience: PositiveInt = 5,
    factor: Factor = 0.5,
    threshold: Share = 0.001,
    end: Factor = 0.001,
) -> Schedule:
    """Down by `factor` whenever the held-out error has stopped improving, never below `end`.

    The count is taken afresh from the errors of all epochs, so that there is no state to lose.
    """

    def value(step: int, errors: Sequence[float]) -> float:  # noqa: ARG001
        best, waited, drops = math.inf, 0, 0
        for error in errors:
            if error < best * (1.0 - threshold):
                best, waited = error, 0
            else:
                waited += 1
            if waited >= patience:
                drops, waited = drops + 1, 0
        return max(end, factor**drops)

    return value
