"""What every init claims about the weights it leaves: one check for each word, with its tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autoencoders.init.variance import truncated_share
from autoencoders.layers.layer import Layer

Parameters = dict[str, Any]
Claim = Callable[[Layer, Parameters], float]


def _gain(layer: Layer, p: Parameters) -> float:
    return layer.gain if p["gain"] is None else float(p["gain"])


def _average(layer: Layer, p: Parameters) -> float:
    return 2 * float(p["gain"]) ** 2 / (layer.inputs + layer.outputs)


def _he(layer: Layer, p: Parameters) -> float:
    return _gain(layer, p) ** 2 / (layer.inputs if p["mode"] == "fan_in" else layer.outputs)


def _scaled(layer: Layer, p: Parameters) -> float:
    i, o = layer.inputs, layer.outputs
    fan = {"fan_in": i, "fan_out": o, "fan_avg": (i + o) / 2, "fan_geo_avg": math.sqrt(i * o)}[p["mode"]]
    return float(p["scale"]) / fan


VARIANCES: dict[str, Claim] = {
    "normal": lambda _, p: p["std"] ** 2,
    "uniform": lambda _, p: p["bound"] ** 2 / 3,
    "truncated_normal": lambda _, p: p["std"] ** 2,
    "lecun_normal": lambda layer, _: 1 / layer.inputs,
    "lecun_uniform": lambda layer, _: 1 / layer.inputs,
    "glorot_normal": _average,
    "glorot_uniform": _average,
    "he_normal": _he,
    "he_uniform": _he,
    "variance_scaling": _scaled,
    "torch_default": lambda layer, _: 1 / (3 * layer.inputs),
    "orthogonal": lambda layer, p: _gain(layer, p) ** 2 / max(layer.inputs, layer.outputs),
}
"""The variance of one weight, from the word's formula, written a second time."""


def has_its_variance(layer: Layer, weight: Tensor, p: Parameters, *, word: str) -> None:
    """Mean 0 and the claimed variance, each within 4.5 standard errors of a normal sample."""
    claimed, n = VARIANCES[word](layer, p), weight.numel()
    assert abs(float(weight.double().mean())) < 4.5 * math.sqrt(claimed / n)
    found = float(weight.double().square().mean())
    assert abs(found / claimed - 1) < 4.5 * math.sqrt(2 / n), (layer.name, found, claimed)


def _is_bounded(limit: Callable[[Layer, Parameters], float]) -> Callable[[Layer, Tensor, Parameters], None]:
    def check(layer: Layer, weight: Tensor, p: Parameters) -> None:
        bound, n = limit(layer, p), weight.numel()
        largest = float(weight.abs().max())
        # None of n uniform draws in the outer 30/n of the range: less than once in 10^13.
        assert (1 - 30 / n) * bound < largest <= bound * (1 + 1e-6)

    return check


def _is_truncated(_layer: Layer, weight: Tensor, p: Parameters) -> None:
    limit = p["cut"] * p["std"] / truncated_share(p["cut"])
    largest = float(weight.abs().max())
    assert largest <= limit * (1 + 1e-6)
    # A few dozen draws come near to a cut at two deviations; nobody waits for one at five.
    assert p["cut"] > 2 or largest > 0.8 * limit


def _is_orthogonal(layer: Layer, weight: Tensor, p: Parameters) -> None:
    rows, columns = weight.shape
    product = weight @ weight.T if rows <= columns else weight.T @ weight
    expected = _gain(layer, p) ** 2 * torch.eye(min(rows, columns))
    torch.testing.assert_close(product, expected, atol=2e-5 * max(1.0, _gain(layer, p) ** 2), rtol=0)


def _is_identity(_layer: Layer, weight: Tensor, p: Parameters) -> None:
    torch.testing.assert_close(weight, p["gain"] * torch.eye(*weight.shape))


def _is_one_value(_layer: Layer, weight: Tensor, p: Parameters) -> None:
    torch.testing.assert_close(weight, torch.full_like(weight, p.get("value", 0.0)))


def _nothing_more(_layer: Layer, _weight: Tensor, _p: Parameters) -> None: ...


SHAPES: dict[str, Callable[[Layer, Tensor, Parameters], None]] = {
    "zeros": _is_one_value,
    "constant": _is_one_value,
    "identity": _is_identity,
    "normal": _nothing_more,
    "uniform": _is_bounded(lambda _, p: p["bound"]),
    "truncated_normal": _is_truncated,
    "lecun_normal": _nothing_more,
    "lecun_uniform": _is_bounded(lambda layer, _: math.sqrt(3 / layer.inputs)),
    "glorot_normal": _nothing_more,
    "glorot_uniform": _is_bounded(lambda layer, p: math.sqrt(3 * _average(layer, p))),
    "he_normal": _nothing_more,
    "he_uniform": _is_bounded(lambda layer, p: math.sqrt(3 * _he(layer, p))),
    "variance_scaling": _nothing_more,
    "torch_default": _is_bounded(lambda layer, _: 1 / math.sqrt(layer.inputs)),
    "orthogonal": _is_orthogonal,
}
"""What besides the variance is true of every weight; a word that is missing here fails the law."""
