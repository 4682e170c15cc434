"""Inits that draw independent weights of a chosen variance: normal, uniform, truncated; LeCun, Glorot, He."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.layers.layer import Fans, Layer

Distribution: TypeAlias = Literal["normal", "uniform", "truncated_normal"]
Mode: TypeAlias = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
Scale = Annotated[float, Field(gt=0, le=1e6)]
Cut = Annotated[float, Field(ge=0.1, le=10)]


def truncated_share(cut: float) -> float:
    """The standard deviation that is left of a standard normal law cut off at `-cut` and `cut`."""
    density = math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))


def _draw_truncated(weight: Tensor, std: float, cut: float, stream: torch.Generator) -> None:
    # By the inverse of the distribution function: no rejection, so that each weight costs one draw.
    parent = std / truncated_share(cut)
    edge = math.erf(cut / math.sqrt(2))
    weight.uniform_(-edge, edge, generator=stream).erfinv_().mul_(parent * math.sqrt(2))
    weight.clamp_(-cut * parent, cut * parent)


def _draw(weight: Tensor, variance: float, distribution: Distribution, stream: torch.Generator) -> None:
    std = math.sqrt(variance)
    if distribution == "normal":
        weight.normal_(0, std, generator=stream)
    elif distribution == "uniform":
        weight.uniform_(-math.sqrt(3) * std, math.sqrt(3) * std, generator=stream)
    else:
        _draw_truncated(weight, std, 2.0, stream)


def _fan(fans: Fans, mode: Mode) -> float:
    return {
        "fan_in": fans.fan_in,
        "fan_out": fans.fan_out,
        "fan_avg": (fans.fan_in + fans.fan_out) / 2,
        "fan_geo_avg": math.sqrt(fans.fan_in * fans.fan_out),
    }[mode]


@inits.per_weight("normal", formula="W ~ N(0, std^2)", reference="Hinton and Salakhutdinov, 2006")
def normal(weight: Tensor, layer: Layer, context: InitContext, *, std: Scale) -> None:
    """Independent normal weights of one standard deviation, whatever the layer's width."""
    _draw(weight, std**2, "normal", context.stream(layer.name))


@inits.per_weight("uniform", formula="W ~ U(-bound, bound), variance bound^2 / 3")
def uniform(weight: Tensor, layer: Layer, context: InitContext, *, bound: Scale) -> None:
    """Independent uniform weights between two bounds, whatever the layer's width."""
    weight.uniform_(-bound, bound, generator=context.stream(layer.name))


@inits.per_weight(
    "truncated_normal", formula="W ~ N(0, s^2) given |W| <= cut s, with s such that Var W = std^2"
)
def truncated_normal(
    weight: Tensor, layer: Layer, context: InitContext, *, std: Scale, cut: Cut = 2.0
) -> None:
    """Normal weights without tails; what the cut takes from the standard deviation is given back."""
    _draw_truncated(weight, std, cut, context.stream(layer.name))


@inits.per_weight(
    "lecun_normal", formula="W ~ N(0, 1 / fan_in)", reference="LeCun, Bottou, Orr and Müller, 1998"
)
def lecun_normal(weight: Tensor, layer: Layer, context: InitContext) -> None:
    """Normal weights that keep the variance of standardised inputs; what SELU asks for."""
    _draw(weight, 1 / layer.fans.fan_in, "normal", context.stream(layer.name))


@inits.per_weight(
    "lecun_uniform",
    formula="W ~ U(-a, a), a = sqrt(3 / fan_in)",
    reference="LeCun, Bottou, Orr and Müller, 1998",
)
def lecun_uniform(weight: Tensor, layer: Layer, context: InitContext) -> None:
    """Uniform weights that keep the variance of standardised inputs."""
    _draw(weight, 1 / layer.fans.fan_in, "uniform", context.stream(layer.name))


@inits.per_weight(
    "glorot_normal", formula="W ~ N(0, 2 gain^2 / (fan_in + fan_out))", reference="Glorot and Bengio, 2010"
)
def glorot_normal(weight: Tensor, layer: Layer, context: InitContext, *, gain: Scale = 1.0) -> None:
    """Normal weights, a compromise between keeping activations and keeping gradients."""
    _draw(weight, gain**2 / _fan(layer.fans, "fan_avg"), "normal", context.stream(layer.name))


@inits.per_weight(
    "glorot_uniform",
    formula="W ~ U(-a, a), a = gain sqrt(6 / (fan_in + fan_out))",
    reference="Glorot and Bengio, 2010",
)
def glorot_uniform(weight: Tensor, layer: Layer, context: InitContext, *, gain: Scale = 1.0) -> None:
    """Uniform weights, a compromise between keeping activations and keeping gradients."""
    _draw(weight, gain**2 / _fan(layer.fans, "fan_avg"), "uniform", context.stream(layer.name))


@inits.per_weight("he_normal", formula="W ~ N(0, gain^2 / fan)", reference="He, Zhang, Ren and Sun, 2015")
def he_normal(
    weight: Tensor,
    layer: Layer,
    context: InitContext,
    *,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    gain: Scale | None = None,
) -> None:
    """Normal weights with the exact gain of the activation that feeds the layer."""
    gain = layer.gain if gain is None else gain
    _draw(weight, gain**2 / _fan(layer.fans, mode), "normal", context.stream(layer.name))


@inits.per_weight(
    "he_uniform", formula="W ~ U(-a, a), a = gain sqrt(3 / fan)", reference="He, Zhang, Ren and Sun, 2015"
)
def he_uniform(
    weight: Tensor,
    layer: Layer,
    context: InitContext,
    *,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    gain: Scale | None = None,
) -> None:
    """Uniform weights with the exact gain of the activation that feeds the layer."""
    gain = layer.gain if gain is None else gain
    _draw(weight, gain**2 / _fan(layer.fans, mode), "uniform", context.stream(layer.name))


@inits.per_weight(
    "variance_scaling",
    formula="Var W = scale / fan, fan by mode: in, out, their mean or their geometric mean",
)
def variance_scaling(
    weight: Tensor,
    layer: Layer,
    context: InitContext,
    *,
    scale: Scale = 1.0,
    mode: Mode = "fan_in",
    distribution: Distribution = "truncated_normal",
) -> None:
    """Independent weights whose variance is a share of a fan: the family of LeCun, Glorot and He."""
    _draw(weight, scale / _fan(layer.fans, mode), distribution, context.stream(layer.name))


@inits.per_weight("torch_default", formula="W, b ~ U(-a, a), a = 1 / sqrt(fan_in): Var W = 1 / (3 fan_in)")
def torch_default(weight: Tensor, layer: Layer, context: InitContext) -> None:
    """What torch's own linear layer does, its random biases too."""
    bound = 1 / math.sqrt(layer.fans.fan_in)
    stream = context.stream(layer.name)
    weight.uniform_(-bound, bound, generator=stream)
    if layer.bias is not None:
        layer.bias.copy_(torch.empty(layer.bias.shape).uniform_(-bound, bound, generator=stream))
