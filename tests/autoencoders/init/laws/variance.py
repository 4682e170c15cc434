"""Words that draw independent weights: each one's variance, and what it does to what passes through."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autoencoders.init.variance import truncated_share
from autoencoders.layers.layer import Layer
from tests.autoencoders.init.laws import Trial, choose, law, needs, own_biases, variant
from tests.autoencoders.init.maps import outputs_follow, spectral

needs("normal", std=0.01)
needs("uniform", bound=0.05)
needs("truncated_normal", std=0.03)
variant("truncated_normal", std=0.5, cut=1.0)
variant("truncated_normal", std=0.5, cut=5.0)
variant("glorot_normal", gain=4.0)
variant("glorot_uniform", gain=0.5)
variant("he_normal", mode="fan_out")
variant("he_uniform", mode="fan_out", gain=1.5)
for _mode, _distribution in itertools.product(
    ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"), ("normal", "uniform", "truncated_normal")
):
    variant("variance_scaling", scale=2.0, mode=_mode, distribution=_distribution)
own_biases("torch_default")

Parameters = dict[str, Any]
Claim = Callable[[Layer, Parameters], float]


def _gain(layer: Layer, p: Parameters) -> float:
    return layer.gain if p["gain"] is None else float(p["gain"])


def _average(layer: Layer, p: Parameters) -> float:
    return 2 * float(p["gain"]) ** 2 / (layer.fans.fan_in + layer.fans.fan_out)


def _he(layer: Layer, p: Parameters) -> float:
    return _gain(layer, p) ** 2 / (layer.fans.fan_in if p["mode"] == "fan_in" else layer.fans.fan_out)


def _scaled(layer: Layer, p: Parameters) -> float:
    i, o = layer.fans.fan_in, layer.fans.fan_out
    fan = {"fan_in": i, "fan_out": o, "fan_avg": (i + o) / 2, "fan_geo_avg": math.sqrt(i * o)}[p["mode"]]
    return float(p["scale"]) / fan


VARIANCES: dict[str, Claim] = {
    "normal": lambda _, p: p["std"] ** 2,
    "uniform": lambda _, p: p["bound"] ** 2 / 3,
    "truncated_normal": lambda _, p: p["std"] ** 2,
    "lecun_normal": lambda layer, _: 1 / layer.fans.fan_in,
    "lecun_uniform": lambda layer, _: 1 / layer.fans.fan_in,
    "glorot_normal": _average,
    "glorot_uniform": _average,
    "he_normal": _he,
    "he_uniform": _he,
    "variance_scaling": _scaled,
    "torch_default": lambda layer, _: 1 / (3 * layer.fans.fan_in),
}
"""The variance of one weight, from the word's formula, written a second time."""


@law(*VARIANCES, nets=None)
def weights_have_the_claimed_variance(trial: Trial) -> None:
    """Mean 0 and the claimed variance, each within 4.5 standard errors of a normal sample."""
    for layer, weight in trial.weights():
        if spectral(layer):
            continue  # the scale is the norm's
        claimed, n = VARIANCES[trial.choice.name](layer, trial.parameters), weight.numel()
        assert abs(float(weight.double().mean())) < 4.5 * math.sqrt(claimed / n)
        found = float(weight.double().square().mean())
        assert abs(found / claimed - 1) < 4.5 * math.sqrt(2 / n), (layer.name, found, claimed)


@law(*VARIANCES, nets=None)
def outputs_have_the_variance_that_follows(trial: Trial) -> None:
    """What a layer yields has, over draws of its weights, the second moment that its input and formula give.

    Over independent weights that is the same map of the squared input with every weight `Var W`: so fans,
    strides, edges and transposition are all in the law. Units are the independent samples, pooled over
    seeds; the biases are left out.
    """

    def variances(layer: Layer) -> Tensor:
        return torch.full(layer.shape, VARIANCES[trial.choice.name](layer, trial.parameters))

    # One choice of each word is looked at closely: others differ in a number, not in how a fan is counted.
    outputs_follow(trial, variances, shorter=1 if trial.choice == choose(trial.choice.name) else 4)


BOUNDS: dict[str, Claim] = {
    "uniform": lambda _, p: float(p["bound"]),
    "lecun_uniform": lambda layer, _: math.sqrt(3 / layer.fans.fan_in),
    "glorot_uniform": lambda layer, p: math.sqrt(3 * _average(layer, p)),
    "he_uniform": lambda layer, p: math.sqrt(3 * _he(layer, p)),
    "torch_default": lambda layer, _: 1 / math.sqrt(layer.fans.fan_in),
}


@law(*BOUNDS, nets=None)
def weights_fill_their_bounds(trial: Trial) -> None:
    """No weight lies beyond the bound, and the largest is near it."""
    for layer, weight in trial.weights():
        if spectral(layer):
            continue
        bound, n = BOUNDS[trial.choice.name](layer, trial.parameters), weight.numel()
        largest = float(weight.abs().max())
        # None of n uniform draws in the outer 30/n of the range: less than once in 10^13.
        assert (1 - 30 / n) * bound < largest <= bound * (1 + 1e-5)


@law("truncated_normal", nets=None)
def tails_are_cut(trial: Trial) -> None:
    """No weight lies beyond the cut, which the given standard deviation moves outwards."""
    p = trial.parameters
    limit = p["cut"] * p["std"] / truncated_share(p["cut"])
    for layer, weight in trial.weights():
        if spectral(layer):
            continue
        largest = float(weight.abs().max())
        assert largest <= limit * (1 + 1e-6)
        # A few dozen draws come near to a cut at two deviations; nobody waits for one at five.
        assert p["cut"] > 2 or largest > 0.8 * limit


@law("torch_default", nets=None)
def biases_are_drawn_as_torch_draws_them(trial: Trial) -> None:
    """Biases lie within the bound of the weights."""
    for layer, _ in trial.weights():
        if layer.bias is not None:
            bound = 1 / math.sqrt(layer.fans.fan_in)
            assert 0 < float(layer.bias.detach().abs().max()) <= bound


@law("he_normal", "he_uniform", nets=("square",))
def with_the_exact_gain_pre_activations_keep_their_second_moment(trial: Trial) -> None:
    """Whatever the activation: from standard rows, every layer of the encoder has second moment 1."""
    if trial.parameters["mode"] == "fan_out" or trial.parameters["gain"] is not None:
        return
    for activation in ("leaky_relu", "tanh", "sigmoid", "selu"):
        deep = Trial(
            trial.choice,
            "square",
            options={"shape": (600,), "widths": (600,) * 4, "code": 600, "activation": activation},
        )
        seen: list[float] = []
        for layer in deep.model.layers()[:5]:
            layer.module.register_forward_hook(lambda *a, seen=seen: seen.append(float(a[2].square().mean())))
        with torch.no_grad():
            deep.model.encode(torch.randn(200, 600, generator=torch.Generator().manual_seed(6)))
        # Five layers, each of which multiplies by a factor of relative error sqrt(2 / 600) or a little more.
        for found in seen:
            assert abs(found - 1) < 4.5 * math.sqrt(5 * 5 / 600), activation
