"""The init that gives every layer one scale, such that the first steps change all of them alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from autoencoders.events import Event, Warned
from autoencoders.init.bare import bare_twin, scalable, squared_error
from autoencoders.init.context import InitContext
from autoencoders.init.flow import calibration_rows
from autoencoders.init.lift import inits
from autoencoders.init.residual import depth_scaled
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

ROWS = 256
TOLERANCE = 0.02
LONGEST = math.log(2)

Rounds = Annotated[int, Field(ge=1, le=1000)]


def draw_he(layers: Sequence[Layer], context: InitContext) -> None:
    """He's weights with the exact gain; residual branches, whose growth would hide all else, depth-scaled."""
    with torch.no_grad():
        for layer in layers:
            if not layer.tied:
                weight = torch.empty(layer.shape)
                depth_scaled(weight, layer, context)
                layer.assign(weight)


def weight_of(layer: Layer) -> Tensor:
    """The weight of a layer that has one, in the layer's layout."""
    assert layer.weight is not None, "a tied layer has none of its own"
    return layer.weight.detach()


def relative_gradients(
    twin: Autoencoder, names: Sequence[str], rows: Tensor, context: InitContext
) -> dict[str, float]:
    """`log(||dL/dW|| / ||W||)` of the layers, L the squared error; minus infinity where nothing arrives."""
    with torch.enable_grad():
        weights = {
            layer.name: layer.module.weight
            for layer in twin.layers()
            if layer.name in names and isinstance(layer.module.weight, Tensor)
        }
        noise = torch.Generator(rows.device).manual_seed(context.seed)
        gradients = torch.autograd.grad(
            squared_error(twin, rows, noise), list(weights.values()), materialize_grads=True
        )
    found = {}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        ratio = float(gradient.norm()) / max(float(weight.detach().norm()), 1e-30)
        found[name] = math.log(ratio) if 0 < ratio < math.inf else -math.inf
    return found


def balanced_groups(layers: Sequence[Layer]) -> list[list[str]]:
    """The names of the layers that scales can bring into balance with one another.

    Those outside of residual branches, and those of each branch by themselves: `dL/dW` of one of a branch's
    layers grows with the others' scales, so that all of them together, scaled alike, keep their ratios.
    """
    names = scalable(layers)
    found: dict[int | None, list[str]] = {}
    for layer in layers:
        if layer.name in names:
            found.setdefault(None if layer.branch is None else layer.branch.index, []).append(layer.name)
    return list(found.values())


def _away(ratios: dict[str, float], groups: Sequence[Sequence[str]]) -> dict[str, float]:
    """How far each ratio that is a number lies from the mean of its group."""
    found: dict[str, float] = {}
    for group in groups:
        live = [name for name in group if math.isfinite(ratios[name])]
        for name in live:
            found[name] = ratios[name] - sum(ratios[other] for other in live) / len(live)
    return found


@inits.per_model(
    "gradient_balance",
    formula=(
        "W = s_l N(0, gain^2 / fan_in), with the s_l of product 1 that make ||dL/dW_l|| / ||W_l|| "
        "equal over l"
    ),
    reference="Krähenbühl, Doersch, Donahue and Darrell, 2016",
    looks_at_others=True,
)
def gradient_balance(
    model: Autoencoder, layers: Sequence[Layer], context: InitContext, *, rounds: Rounds = 60
) -> Iterator[Event]:
    """He's weights and one more scale a layer, so that a step changes every layer by the same share.

    L is the squared error over training rows. Scales follow by damped geometric steps, for where units bend
    each depends on all others; where they do not, their product of 1 keeps the function as it was. The layers
    of a residual branch are balanced among themselves.
    """
    draw_he(layers, context)
    groups = balanced_groups(layers)
    names = [name for group in groups for name in group]
    if not names:
        return
    rows = calibration_rows(model, context, ROWS)
    twin = bare_twin(model)
    twins = {layer.name: layer for layer in twin.layers() if layer.name in names}
    away: dict[str, float] = {}
    widest, damping = math.inf, 1.0
    for _ in range(rounds):
        away = _away(relative_gradients(twin, names, rows, context), groups)
        before, widest = widest, max(map(abs, away.values()), default=0.0)
        if widest < TOLERANCE:
            break
        # Where units bend, a whole step may overshoot; where they do not, it is exact.
        damping = damping / 2 if widest > 0.9 * before else min(1.0, 1.2 * damping)
        # All in proportion, so that the product of the scales stays 1.
        part = damping * min(1.0, LONGEST / widest) / 2
        for name, distance in away.items():
            weight_of(twins[name]).mul_(math.exp(part * distance))
    for layer in layers:
        if layer.name in away:
            layer.assign(weight_of(twins[layer.name]))
    if dead := [name for name in names if name not in away]:
        yield Warned(message=f"init gradient_balance: no gradient arrives at {', '.join(dead)}")
    if widest >= TOLERANCE:
        yield Warned(
            message=f"init gradient_balance: after {rounds} rounds the ratios still differ from their mean "
            f"by up to a factor of {math.exp(widest):.3g}"
        )
