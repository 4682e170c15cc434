"""What a wide random layer does to its input, by quadrature: no network is needed.

In a wide layer with independent weights every pre-activation is Gaussian, so that all that initialisation
theory asks of an activation `phi` are Gaussian integrals: `E phi(z)`, `E phi(z)^2`, `E phi'(z)^2` with `z ~
N(0, variance)`. From them follow maps: of the variance of pre-activations, of the correlation of two rows, of
the size of gradients. (Poole, Lahiri, Raghu, Sohl-Dickstein and Ganguli, 2016; Schoenholz, Gilmer, Ganguli
and Sohl-Dickstein, 2017.)

Throughout, `weight_variance` is that of a weight times the true fan-in, `bias_variance` that of a bias.
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
_STEPS_PER_DECADE = 8  # in which a fixed point is looked for
_VANISHED, _EXPLODED = 1e-9, 1e9


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
def _rule(panels: int = _PANELS) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the standard normal law: Gauss-Legendre on panels, none of which straddles zero.

    Activations have their kinks at zero, where the usual Gauss-Hermite rule would lose all but a few digits.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(0.0, _REACH, panels + 1)
    half = (edges[1] - edges[0]) / 2
    right = ((edges[:-1] + half)[:, None] + half * nodes[None, :]).ravel()
    mass = np.tile(half * weights, panels) * np.exp(-(right**2) / 2) / math.sqrt(2 * math.pi)
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


def variance_map(
    function: Elementwise, variance: float, *, weight_variance: float, bias_variance: float = 0.0
) -> float:
    """The variance of a layer's pre-activations, from that of the layer before."""
    return weight_variance * moments(function, variance=variance).second + bias_variance


def fixed_point(
    function: Elementwise, weight_variance: float, bias_variance: float = 0.0, *, start: float = 1.0
) -> float:
    """The variance to which pre-activations tend with depth, from `start`.

    0 where they vanish and infinity where they grow without bound. Where every variance stays as it is (a
    rectifier of the exact gain), it is `start`.
    """

    def growth(q: float) -> float:
        return variance_map(function, q, weight_variance=weight_variance, bias_variance=bias_variance) / q - 1

    first = growth(start)
    if abs(first) < 1e-9:
        return start
    # The map is monotone, so that what is iterated runs into the first fixed point that lies ahead.
    step = 10 ** ((1 if first > 0 else -1) / _STEPS_PER_DECADE)
    near, far = start, start * step
    while growth(far) * first > 0:
        near, far = far, far * step
        if far > _EXPLODED:
            return math.inf
        if far < _VANISHED:
            return 0.0
    return bisect(lambda q: growth(q) * first, near, far)


def bisect(positive_at_first: Callable[[float], float], first: float, last: float) -> float:
    """Where a function that is positive at `first` and not at `last` changes its sign, both above 0."""
    for _ in range(60):
        middle = math.sqrt(first * last)
        first, last = (middle, last) if positive_at_first(middle) > 0 else (first, middle)
    return math.sqrt(first * last)


def chi(function: Elementwise, weight_variance: float, variance: float) -> float:
    """What one layer multiplies small differences, and the square of gradients, by.

    Below 1 rows become equal with depth and gradients vanish (order), above 1 neighbours part and gradients
    explode (chaos). It is also the slope of the correlation map at 1.
    """
    return weight_variance * moments(function, variance=variance).derivative_second


def depth_scale(chi: float) -> float:
    """The layers in which differences and squared gradients change by a factor of e: `1 / |ln chi|`."""
    if chi <= 0:
        return 0.0
    return math.inf if chi == 1 else 1 / abs(math.log(chi))


def correlation_map(
    function: Elementwise,
    correlation: float,
    *,
    variance: float,
    weight_variance: float,
    bias_variance: float = 0.0,
) -> float:
    """The correlation of two rows' pre-activations in one layer, from that in the layer before.

    Args:
        function: the activation between the two layers.
        correlation: the uncentred correlation before, from -1 to 1.
        variance: that of the pre-activations before, the same for both rows.
        weight_variance: of a weight, times the fan-in.
        bias_variance: of a bias.

    Returns:
        The correlation after, to about five digits.
    """
    nodes, weights = _rule(16)
    # On the axes of the sum and of the difference the two rows are the same function.
    wide, narrow = math.sqrt(variance * (1 + correlation) / 2), math.sqrt(variance * (1 - correlation) / 2)
    with torch.no_grad():
        total, half = wide * nodes[:, None], narrow * nodes[None, :]
        shared = float(weights @ (function(total + half) * function(total - half)) @ weights)
    after = variance_map(function, variance, weight_variance=weight_variance, bias_variance=bias_variance)
    return (weight_variance * shared + bias_variance) / after


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
