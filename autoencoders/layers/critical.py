"""Where order meets chaos: weights and biases with which signals keep their size and rows their distances.

At a critical point the variance `q` of pre-activations stays, `q = w E phi(sqrt(q) z)^2 + b`, and `chi = w E
phi'(sqrt(q) z)^2` is 1: gradients neither vanish nor explode, at whatever depth. Here `w` is the variance of
a weight times the fan-in, and `b` that of a bias. (Poole et al., 2016; Schoenholz et al., 2017.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from autoencoders.errors import AutoencoderError
from autoencoders.layers.meanfield import Elementwise, bisect, moments

SMALLEST = 1e-6
LARGEST = 30.0
"""Beyond this variance of its input a bounded unit is all but binary, and no use to a gradient."""

_STEPS_PER_DECADE = 8


class NoCriticalPoint(AutoencoderError):
    """An activation has no critical point where one was looked for; the message says what was found."""


@dataclass(frozen=True)
class Critical:
    """A critical point.

    Attributes:
        variance: of pre-activations, q*.
        weight_variance: of a weight, times the fan-in.
        bias_variance: of a bias.
    """

    variance: float
    weight_variance: float
    bias_variance: float


def is_homogeneous(function: Elementwise) -> bool:
    """Whether it scales: `phi(a x) = a phi(x)` for positive a, as lines and rectifiers do."""
    x = torch.tensor([-3.0, -1.0, -0.25, 0.25, 1.0, 3.0], dtype=torch.float64)
    with torch.no_grad():
        return bool(torch.allclose(function(4 * x), 4 * function(x), rtol=1e-9, atol=1e-12))


@lru_cache(maxsize=256)
def critical(
    function: Elementwise,
    *,
    bias_variance: float | None = None,
    q: float | None = None,
    largest: float = LARGEST,
) -> Critical:
    """The critical point of an activation with this variance of biases, or of pre-activations.

    Lines and rectifiers have one alone, without biases and at any variance: for them it is at `q`, or 1.

    Args:
        function: the activation.
        bias_variance: of the biases; the smallest q that goes with it is found.
        q: the variance of pre-activations, where that is given instead.
        largest: how far q is looked for.

    Raises:
        NoCriticalPoint: there is none, and why.
        ValueError: neither variance is given, or both are.
    """
    if (bias_variance is None) == (q is None):
        raise ValueError("a critical point is asked for by its bias variance or by its q")
    if is_homogeneous(function):
        return Critical(1.0 if q is None else q, 1 / moments(function).derivative_second, 0.0)
    if q is None:
        assert bias_variance is not None
        q = _variance_with(function, bias_variance, largest)
    bias = _needed_bias(function, q)
    if bias < -1e-9 * q:
        raise NoCriticalPoint(
            f"at q = {q:g} gradients keep their size only if biases had the variance {bias:.4g}"
        )
    weight = 1 / moments(function, variance=q).derivative_second
    return Critical(q, weight, max(0.0, bias))


def _needed_bias(function: Elementwise, q: float) -> float:
    """The bias variance with which q stays where chi is 1; below zero there is none."""
    found = moments(function, variance=q)
    return q - found.second / found.derivative_second


def _variance_with(function: Elementwise, bias_variance: float, largest: float) -> float:
    low, most = SMALLEST, -math.inf
    if _needed_bias(function, low) >= bias_variance:
        return low
    while low < largest:
        high = min(largest, low * 10 ** (1 / _STEPS_PER_DECADE))
        needed = _needed_bias(function, high)
        if needed >= bias_variance:
            return bisect(lambda q: bias_variance - _needed_bias(function, q), low, high)
        low, most = high, max(most, needed)
    if most < 0:
        raise NoCriticalPoint(
            f"up to q = {largest:g} gradients keep their size only if biases had a variance below zero "
            f"({most:.3g} or less), so that rows always become equal with depth"
        )
    raise NoCriticalPoint(
        f"up to q = {largest:g} its critical points have biases of a variance of {most:.4g} or less, "
        f"not {bias_variance:g}"
    )


def repulsion(function: Elementwise, point: Critical) -> float:
    """What one layer multiplies a small deviation from q* by; below 1 variances are drawn to q*.

    It is `w (E phi'^2 + E phi phi'')`, so that activations that bend away from zero (GELU, SiLU) have it
    above 1: their variances leave q* with depth, if slowly.
    """
    step = 1e-4
    up, down = (moments(function, variance=point.variance * (1 + sign * step)).second for sign in (1, -1))
    return point.weight_variance * (up - down) / (2 * step * point.variance)


def obstacle_to_isometry(function: Elementwise) -> str | None:
    """Why no weights make all singular values of its layers' Jacobian near to one another; None if some do.

    Slopes must be all but equal at pre-activations near zero: the activation is 0 at 0, and neither bends
    nor turns a corner there. (Pennington, Schoenholz and Ganguli, 2017.)
    """
    step = 1e-3
    x = torch.tensor([-step, 0.0, step], dtype=torch.float64)
    with torch.no_grad():
        left, middle, right = (float(value) for value in function(x))
    if abs(middle) > 1e-9:
        return f"is {middle:.4g} at 0, so that pre-activations cannot stay near 0"
    below, above = 0.0 - left / step, right / step
    if abs(below) + abs(above) < step:
        return "is flat at 0"
    # A corner leaves a difference of slopes however small the step, a bend one that shrinks with it.
    half = float(function(x[2:] / 2)) + float(function(x[:1] / 2))
    bend = left + right
    if abs(bend) < 1e-3 * step * step:
        return None
    if abs(half) > 0.4 * abs(bend):
        return (
            f"has a corner at 0, with the slopes {below:.4g} and {above:.4g}: they differ however small q is"
        )
    return (
        f"bends at 0, its second derivative being {bend / step**2:.4g}: slopes spread as the square root of q"
    )
