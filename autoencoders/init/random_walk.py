"""Gains with which a back-propagated signal's length is a walk without drift, in narrow layers too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.layers.activations import Activation
from autoencoders.layers.critical import is_homogeneous
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder


def linear_gain(width: int) -> float:
    """The published gain of linear layers of this width."""
    return math.exp(1 / (2 * width))


def rectifier_gain(width: int) -> float:
    """The published gain of rectifiers; below six units whole layers die, and it stays what it is there."""
    return math.sqrt(2) * math.exp(1.2 / (max(width, 6) - 2.4))


@lru_cache(maxsize=1024)
def leaky_gain(above: float, below: float, width: int) -> float:
    """The gain for slopes `above` and `below` zero, by the rule from which the published ones follow.

    The mean of `ln sum_i (s_i z_i)^2` over `width` normal `z` and slopes `s` is `int (e^-t - L(t)^width) / t
    dt` with `L` the Laplace transform of one term; twice the gain's logarithm is what it lacks of `ln width`.
    """
    # Over ln t the integrand is smooth and dies at either end like a power; the trapezium rule is exact.
    logarithm = torch.linspace(-40.0, 80.0, 24_001, dtype=torch.float64)
    t = logarithm.exp()
    transform = (torch.rsqrt(1 + 2 * t * above**2) + torch.rsqrt(1 + 2 * t * below**2)) / 2
    mean = float(torch.trapezoid(torch.exp(-t) - transform.pow(width), logarithm))
    return math.sqrt(width * math.exp(-mean))


def _gain(function: Activation | None, width: int) -> float:
    if function is None:
        return linear_gain(width)
    with torch.no_grad():
        below, above = (abs(float(value)) for value in function(torch.tensor([-1.0, 1.0])))
    if above == below:
        return linear_gain(width) / above
    return rectifier_gain(width) / above if below == 0 else leaky_gain(above, below, width)


def _curved(
    model: Autoencoder,  # noqa: ARG001 - every refusal's signature
    layers: Sequence[Layer],
    parameters: dict[str, Any],  # noqa: ARG001
) -> str | None:
    for function in (layer.fed_by for layer in layers):
        if function is not None and not is_homogeneous(function.function):
            return (
                f"is for lines and rectifiers: the slopes of {function.label} depend on how large signals "
                "are, which its gain does not say"
            )
    return None


@inits.per_weight(
    "random_walk",
    formula=(
        "W ~ N(0, g^2 / fan_in), g = exp(1 / 2N), or sqrt(2) exp(1.2 / (max(N, 6) - 2.4)) behind a "
        "rectifier, N the layer's inputs"
    ),
    reference="Sussillo and Abbott, 2014",
    refuses=_curved,
)
def random_walk(weight: Tensor, layer: Layer, context: InitContext) -> None:
    """Normal weights with which the logarithm of a gradient's length has no drift, however narrow the layer.

    A long product of random factors of mean 1 shrinks; what must be unbiased is its logarithm. The narrower
    the layer, the larger the gain: the code's width counts. Leaky rectifiers get theirs by the same rule.
    """
    gain = _gain(layer.fed_by, layer.inputs)
    weight.normal_(0, gain / math.sqrt(layer.fans.fan_in), generator=context.stream(layer.name))
