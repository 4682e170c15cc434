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
    """He's weights with one more scale for each layer, so that a step changes every layer by the same share.

    L is the squared error over training rows. Scales follow by damped geometric steps, for where units bend
    each depends on all others; where they do not, their product of 1 leaves the function as it was.
    """
    draw_he(layers, context)
    names = scalable(layers)
    rows = calibration_rows(model, context, ROWS)
    twin = bare_twin(model)
    twins = {layer.name: layer for layer in twin.layers() if layer.name in names}
    live: list[str] = []
    widest, damping = math.inf, 1.0
    for _ in range(rounds):
        ratios = relative_gradients(twin, names, rows, context)
        live = [name for name, ratio in ratios.items() if math.isfinite(ratio)]
        if not live:
            break
        mean = sum(ratios[name] for name in live) / len(live)
        before, widest = widest, max(abs(ratios[name] - mean) for name in live)
        # Where units bend, a whole step may overshoot; where they do not, it is exact.
        damping = damping / 2 if widest > 0.9 * before else min(1.0, 1.2 * damping)
        if widest < TOLERANCE:
            break
        steps = {name: damping * (ratios[name] - mean) / 2 for name in live}
        longest = max(abs(step) for step in steps.values())
        with torch.no_grad():
            for name, step in steps.items():
                # All in proportion, so that the product of the scales stays 1.
                weight_of(twins[name]).mul_(math.exp(step * min(1.0, LONGEST / longest)))
    for layer in layers:
        if layer.name in live:
            layer.assign(weight_of(twins[layer.name]))
    if dead := [name for name in names if name not in live]:
        yield Warned(message=f"init gradient_balance: no gradient arrives at {', '.join(dead)}")
    if live and widest >= TOLERANCE:
        yield Warned(
            message=f"init gradient_balance: after {rounds} rounds the ratios still differ from their mean "
            f"by up to a factor of {math.exp(widest):.3g}"
        )
