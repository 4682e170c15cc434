"""How a layer's learning rate follows its width, so that a rate found on one width serves at another.

A weight of `units` rows, each of which sums `summands` products, shall change by an update whose largest
singular value is that of the weight itself, `sqrt(units / summands)`: then what every layer yields changes by
the same amount at every width (Yang, Simon and Bernstein, 2023). What rate that takes depends on what an
optimizer makes of a gradient, which its trait `steps` says:

    entrywise    every number moves by about one rate (Adam and its kin): the update's largest singular value
                 is `rate sqrt(units summands)`, so the factor is `base_width / summands`
    gradient     the gradient itself (SGD, Nesterov): its largest singular value shrinks with the width, and
                 the factor is `units / summands`
    orthogonal   matrices by singular vectors alone (Muon), times `max(1, units / summands)^(1/2)`: the factor
                 is `min(1, units / summands)^(1/2)`; everything else entrywise

A bias is a weight with one summand whose input is 1: it moves at the rate itself where steps are entrywise,
and by `units / base_width` where they are gradients. An optimizer without the trait chooses lengths itself,
as a line search does, and gets no factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import nn

from autoencoders.optim.muon import split_matrices

Steps: TypeAlias = Literal["entrywise", "gradient", "orthogonal"]


@dataclass(frozen=True)
class Reach:
    """What a parameter connects.

    Attributes:
        summands: the products that one output sums; 1 for a bias.
        units: the outputs, or the channels.
        bias: whether it is a bias.
    """

    summands: float
    units: int
    bias: bool = False


def width_factors(
    steps: Steps | None,
    named: Sequence[tuple[str, nn.Parameter]],
    reaches: Mapping[str, Reach],
    *,
    base_width: int,
) -> dict[str, float]:
    """Each parameter's learning-rate factor, for those of which `reaches` knows what they connect.

    At `base_width` units that each sum as many products, every factor is 1.
    """
    if steps is None:
        return {}
    turned = {name for name, _ in split_matrices(named)[0]} if steps == "orthogonal" else set()
    return {
        name: _factor(_steps(steps, name, turned), reaches[name], base_width)
        for name, _ in named
        if name in reaches
    }


def _steps(steps: Steps, name: str, turned: set[str]) -> Steps:
    return "entrywise" if steps == "orthogonal" and name not in turned else steps


def _factor(steps: Steps, reach: Reach, base_width: int) -> float:
    if reach.bias:
        return reach.units / base_width if steps == "gradient" else 1.0
    if steps == "gradient":
        return reach.units / reach.summands
    if steps == "orthogonal":
        return math.sqrt(min(1.0, reach.units / reach.summands))
    return base_width / reach.summands
