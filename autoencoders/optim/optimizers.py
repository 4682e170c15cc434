"""How weights move: torch's optimizers by name, each with its fused kernel where the device has one.

A word is called with the named parameters and, where an init asks for it, each one's learning-rate factor;
it returns a `torch.optim.Optimizer`. Every parameter group keeps its own rate under `base_rate`, which
`set_rate` multiplies by the schedule's factor. The training loop always calls `step(closure)`, so that a
word that looks several times at a batch, as a line search does, needs nothing from it but the trait
`closure`.

The trait `moments` says how many numbers a word keeps for each weight; `steps`, what it makes of a gradient,
as `autoencoders.optim.width` needs to know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat
from torch import nn
from torch.optim import Optimizer

from autoencoders.catalog import Catalog, Choice
from autoencoders.optim.muon import Muon, split_matrices

Named = Iterable[tuple[str, nn.Parameter]]
Factors = Mapping[str, float]
Momentum = Annotated[float, Field(ge=0.0, lt=1.0)]
Decay = Annotated[float, Field(ge=0.0)]

optimizers: Catalog[Callable[..., Optimizer]] = Catalog("optimizers")

NO_FACTORS: Factors = {}


def numbers_kept(choice: Choice) -> int:
    """How many numbers an optimizer keeps for each weight."""
    moments = optimizers[choice.name].traits["moments"]
    return int(moments(**choice.parameters()) if callable(moments) else moments)


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Give every group its own rate times the schedule's `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * factor


def rate_of(optimizer: Optimizer) -> float:
    """The rate in force, as events report it: that of the first group, its own factor taken off."""
    first = optimizer.param_groups[0]
    return float(first["lr"] / first.get("factor", 1.0))


def grouped(named: Named, factors: Factors, learning_rate: float) -> list[dict[str, Any]]:
    """Parameter groups: one for each distinct learning-rate factor, in the parameters' order."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        groups.setdefault(factors.get(name, 1.0), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * factor,
            "base_rate": learning_rate * factor,
            "factor": factor,
        }
        for factor, parameters in groups.items()
    ]


@optimizers.word("adam", steps="entrywise", reference="Kingma and Ba, 2015", moments=2)
def adam(named: Named, factors: Factors = NO_FACTORS, *, learning_rate: PositiveFloat = 1e-3) -> Optimizer:
    """Steps of about one learning rate a weight, by running means of gradient and squared gradient."""
    return torch.optim.Adam(grouped(named, factors, learning_rate), lr=learning_rate, fused=True)


@optimizers.word("adamw", steps="entrywise", reference="Loshchilov and Hutter, 2019", moments=2)
def adamw(
    named: Named,
    factors: Factors = NO_FACTORS,
    *,
    learning_rate: PositiveFloat = 1e-3,
    weight_decay: Decay = 0.01,
) -> Optimizer:
    """Adam, and each step draws every weight towards zero by `learning_rate` times `weight_decay`."""
    groups = grouped(named, factors, learning_rate)
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)


@optimizers.word("sgd", steps="gradient", moments=1, formula="v = momentum v + g; w -= learning_rate v")
def sgd(
    named: Named,
    factors: Factors = NO_FACTORS,
    *,
    learning_rate: PositiveFloat = 1e-3,
    momentum: Momentum = 0.0,
) -> Optimizer:
    """Down the gradient, with momentum where asked."""
    groups = grouped(named, factors, learning_rate)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, fused=True)


def ramped_momentum(step: int, highest: float) -> float:
    """Sutskever's momentum at a step: `min(1 - 2^(-1 - log2(floor(step / 250) + 1)), highest)`."""
    rising = 1.0 - math.pow(2.0, -1.0 - math.log2(step // 250 + 1))
    return min(rising, highest)


class Nesterov(torch.optim.SGD):
    """SGD with Nesterov's momentum in torch's form, which may rise; the count of steps is in its state."""

    def __init__(
        self, groups: list[dict[str, Any]], *, learning_rate: float, momentum: float, ramp: bool
    ) -> None:
        for group in groups:
            group.update(taken=0, highest=momentum, ramp=ramp)
        super().__init__(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0, fused=True)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step at the momentum that is due."""
        for group in self.param_groups:
            if group["ramp"]:
                group["momentum"] = ramped_momentum(group["taken"], group["highest"])
            group["taken"] += 1
        return super().step(closure)


@optimizers.word(
    "nesterov",
    steps="gradient",
    moments=1,
    formula="v = momentum v + g; w -= learning_rate (g + momentum v)",
    reference="Sutskever, Martens, Dahl and Hinton, 2013",
)
def nesterov(
    named: Named,
    factors: Factors = NO_FACTORS,
    *,
    learning_rate: PositiveFloat = 1e-3,
    momentum: Momentum = 0.9,
    ramp: bool = False,
) -> Optimizer:
    """Momentum that looks ahead; with `ramp` it rises from a half towards `momentum`, every 250 steps."""
    groups = grouped(named, factors, learning_rate)
    return Nesterov(groups, learning_rate=learning_rate, momentum=momentum, ramp=ramp)


@optimizers.word("rmsprop", steps="entrywise", moments=1, reference="Tieleman and Hinton, 2012")
def rmsprop(named: Named, factors: Factors = NO_FACTORS, *, learning_rate: PositiveFloat = 1e-3) -> Optimizer:
    """The gradient over the root of its running mean square."""
    groups = grouped(named, factors, learning_rate)
    # There is no fused kernel, and on a CPU the list-wise one is slower than tensor by tensor.
    on_cpu = all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
    return torch.optim.RMSprop(groups, lr=learning_rate, foreach=False if on_cpu else None)


@optimizers.word("adagrad", steps="entrywise", moments=1, reference="Duchi, Hazan and Singer, 2011")
def adagrad(named: Named, factors: Factors = NO_FACTORS, *, learning_rate: PositiveFloat = 1e-2) -> Optimizer:
    """The gradient over the root of the sum of all its squares so far."""
    return torch.optim.Adagrad(grouped(named, factors, learning_rate), lr=learning_rate, fused=True)


@optimizers.word(
    "muon",
    steps="orthogonal",
    moments=2,
    formula="W -= learning_rate max(1, rows/columns)^(1/2) U V^T, U S V^T = the gradient's momentum",
    reference="Jordan, 2024",
)
def muon(
    named: Named,
    factors: Factors = NO_FACTORS,
    *,
    learning_rate: PositiveFloat = 0.02,
    momentum: Momentum = 0.95,
    other_rate: PositiveFloat = 1e-3,
) -> Optimizer:
    """Orthogonalised momentum for the matrices between hidden layers; AdamW at `other_rate` for all else.

    All else is biases, norms, convolutions, and the two layers that touch the data: there the iteration
    costs more than the forward pass and gains least. A net without a matrix between hidden layers is
    trained by AdamW alone.
    """
    matrices, others = split_matrices(list(named))
    return Muon(
        grouped(matrices, factors, learning_rate), grouped(others, factors, other_rate), momentum=momentum
    )
