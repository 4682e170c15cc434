"""What every layer passes on and gets back: mean, variance, saturation, dead units, gradients.

A unit is a row of the layer's weight: one output, or one channel at all of its places. All figures are of
one batch in training mode, as the first step will see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoencoders.layers.layer import TiedLinear
from autoencoders.layers.meanfield import Elementwise
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.models.probe import Probe, Reading, by_unit, slope
from autoencoders.objective import Objective

FLAT = 0.05
"""An activation is saturated where its slope is less than this share of its steepest."""
LIFELESS = 1e-6
"""A unit is dead where its slope is less than this share of the steepest, for every row."""


@dataclass(frozen=True)
class LayerSignal:
    """One layer in one pass.

    Attributes:
        name: the layer's.
        part: `encoder`, `code` or `decoder`.
        mean: of its pre-activations, over rows and units.
        variance: of the same, over rows and units.
        between: the part of the variance that tells rows apart: over rows, averaged over units.
        saturated: the share of the numbers that reach the activations behind it where these are all but
            flat; half of a rectifier's usually are. 0 where the next layer reads it as it is.
        dead: the share of units where they are flat for every row; where no activation follows, the share
            of units that yield the same for every row.
        gradient: the norm of the loss's gradient by its effective weight.
        backward: the root mean square, over rows, of the norm of a row's loss's gradient by its output.
    """

    name: str
    part: str
    mean: float
    variance: float
    between: float
    saturated: float
    dead: float
    gradient: float
    backward: float


@dataclass(frozen=True)
class Signals:
    """One pass forward and back.

    Attributes:
        layers: in forward order.
        objective: the objective's value, penalties and all.
        input_second: the mean square of the numbers that the first layer read.
    """

    layers: tuple[LayerSignal, ...]
    objective: float
    input_second: float


def read_signals(
    model: Autoencoder, objective: Objective, rows: Tensor, generator: torch.Generator
) -> Signals:
    """Send rows [n, features] through the objective once and read every layer; gradients are left behind.

    The caller's model is put in training mode and gets gradients: hand over a copy.
    """
    model.train(len(rows) > 1)
    model.zero_grad(set_to_none=True)
    with torch.enable_grad(), Probe(model) as probe:
        pair = objective.draw(rows, generator)
        total = objective.terms(model, pair, generator).total
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    layers = tuple(
        _read(reading, sigmoid=reading.layer.is_output and model.output_activation == "sigmoid")
        for reading in probe.readings
    )
    second = float(probe.readings[0].input.double().square().mean())
    return Signals(layers, float(total.detach()), second)


@torch.no_grad()
def _read(reading: Reading, *, sigmoid: bool) -> LayerSignal:
    out = by_unit(reading.output.double())
    rows = len(reading.output)
    seen: list[tuple[Elementwise, Tensor]] = [(act.function, z) for act, z in reading.activations]
    if sigmoid:
        seen.append((torch.sigmoid, reading.output))
    saturated, dead = _flatness(seen)
    if not seen:
        dead = _constant_share(reading.output)
    back = 0.0
    if reading.gradient is not None:
        # The objective is a mean over rows: a row's own loss has a gradient that many times as large.
        back = rows * float(reading.gradient.double().flatten(1).square().sum(1).mean().sqrt())
    return LayerSignal(
        name=reading.layer.name,
        part=reading.layer.part,
        mean=float(out.mean()),
        variance=float(out.var(correction=0)),
        between=float(reading.output.double().var(0, correction=0).mean()),
        saturated=saturated,
        dead=dead,
        gradient=_weight_gradient(reading),
        backward=back,
    )


def _flatness(seen: Sequence[tuple[Elementwise, Tensor]]) -> tuple[float, float]:
    """The share of numbers, and that of units, at which the activations are flat."""
    flat = dead = numbers = units = 0.0
    for function, at in seen:
        steep = steepest(function)
        slopes = by_unit(slope(function, at)).abs()
        flat += float((slopes < FLAT * steep).sum())
        dead += float((slopes.amax(1) <= LIFELESS * steep).sum())
        numbers, units = numbers + slopes.numel(), units + len(slopes)
    return (flat / numbers, dead / units) if units else (0.0, 0.0)


def steepest(function: Elementwise) -> float:
    """The greatest slope of an activation between -10 and 10."""
    return max(float(slope(function, torch.linspace(-10.0, 10.0, 4001)).abs().max()), 1e-30)


def _constant_share(out: Tensor) -> float:
    """The share of units that yield the same number, to float32's rounding, for every row."""
    values = by_unit(out)
    spread = values.amax(1) - values.amin(1)
    return float((spread <= 4 * torch.finfo(torch.float32).eps * values.abs().amax(1)).double().mean())


def _weight_gradient(reading: Reading) -> float:
    module = reading.layer.module
    if isinstance(module, torch.nn.Linear | TiedLinear):
        if reading.gradient is None:
            return 0.0
        # Through the output, so that a tied or parametrized weight has a gradient of its own too.
        return float((reading.gradient.double().t() @ reading.input.double()).norm())
    squares = [
        parameter.grad.double().square().sum()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and name != "bias"
    ]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
