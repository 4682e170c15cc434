"""What a wide random layer does to its input, by quadrature: no network is needed.

In a wide layer with independent weights every pre-activation is Gaussian, so that all that initialisation
theory asks of an activation `phi` are Gaussian integrals: `E phi(z)`, `E phi(z)^2`, `E phi'(z)^2` with `z ~
N(0, variance)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

Elementwise = Callable[[Tensor], Tensor]

_REACH = 10.0  # standard deviations: beyond lies less than 1e-22 of the mass
_PANELS = 128  # on either side of zero
_NODES = 16


@dataclass(frozen=True)
class Moments:
    """Gaussian integrals of one activation, and the gains that follow from them.

    Attributes:
        mean: `E phi(z)`.
        second: `E phi(z)^2`.
        derivative_second: `E phi'(z)^2`.
    """

    mean: float
    second: float
    derivative_second: float

    @property
    def variance(self) -> float:
        """`Var phi(z)`."""
        return self.second - self.mean**2

    @property
    def forward_gain(self) -> float:
        """`1 / sqrt(E phi^2)`: with `Var W = gain^2 / fan_in` the next pre-activation has second moment 1."""
        return _inverse_root(self.second)

    @property
    def centred_gain(self) -> float:
        """`1 / sqrt(Var phi)`: the same where biases subtract the mean."""
        return _inverse_root(self.variance)

    @property
    def backward_gain(self) -> float:
        """`1 / sqrt(E phi'^2)`: with `Var W = gain^2 / fan_out` gradients keep their variance."""
        return _inverse_root(self.derivative_second)


def _inverse_root(value: float) -> float:
    return 1 / math.sqrt(value) if value > 0 else math.inf


@cache
def _rule() -> tuple[Tensor, Tensor]:
    """Nodes and weights of the standard normal law: Gauss-Legendre on panels, none of which straddles zero.

    Activations have their kinks at zero, where the usual Gauss-Hermite rule would lose all but a few digits.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(0.0, _REACH, _PANELS + 1)
    half = (edges[1] - edges[0]) / 2
    right = ((edges[:-1] + half)[:, None] + half * nodes[None, :]).ravel()
    mass = np.tile(half * weights, _PANELS) * np.exp(-(right**2) / 2) / math.sqrt(2 * math.pi)
    return torch.from_numpy(np.concatenate([-right[::-1], right])), torch.from_numpy(
        np.concatenate([mass[::-1], mass])
    )


def moments(function: Elementwise, *, variance: float = 1.0) -> Moments:
    """The Gaussian integrals of `function` at pre-activations `z ~ N(0, variance)`, to about ten digits."""
    nodes, weights = _rule()
    # Leaves inference mode too: the derivative comes from autograd, exact for any activation.
    with torch.inference_mode(False), torch.enable_grad():
        z = (nodes * math.sqrt(variance)).clone().requires_grad_()
        value = function(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    value = value.detach()
    return Moments(
        mean=float((weights * value).sum()),
        second=float((weights * value**2).sum()),
        derivative_second=float((weights * slope**2).sum()),
    )


def leaky_correlation(correlation: float, slope: float) -> float:
    """The correlation of two rows after one wide layer of leaky rectifiers, from that before it."""
    c = min(1.0, max(-1.0, correlation))
    bend = (1 - slope) ** 2 / (math.pi * (1 + slope**2))
    return min(1.0, c + bend * (math.sqrt(1 - c * c) - c * math.acos(c)))


def tailored_slope(depth: int, eta: float) -> float:
    """The negative slope with which `depth` layers take orthogonal rows to correlation `eta`.

    Zero (a plain rectifier) where even that does not reach `eta`. (Zhang, Botev and Martens, 2022.)
    """

    def after(slope: float) -> float:
        correlation = 0.0
        for _ in range(depth):
            correlation = leaky_correlation(correlation, slope)
        return correlation

    if after(0.0) <= eta:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if after(middle) > eta else (low, middle)
    return (low + high) / 2
