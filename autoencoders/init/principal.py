"""Principal directions of a sample, and how well an activation lets a signal through."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from autoencoders.layers.activations import Activation

LARGEST_SQUARE = 2048
"""Up to so many columns a covariance is decomposed whole; above, only the directions that are asked for."""

NEAR = 0.25
"""Where an activation's slope is taken; small enough for odd ones to be straight up to there."""

_ITERATIONS = 6
_EXTRA = 16


@torch.no_grad()
def principal(
    sample: Tensor, count: int, stream: torch.Generator, *, negligible: float = 1e-10
) -> tuple[Tensor, Tensor]:
    """The directions of largest variance of a sample [n, d] and the variances, largest first.

    Where the sample has fewer directions of any variance than `count`, random ones orthogonal to them follow,
    with variance 0. Above `LARGEST_SQUARE` columns by subspace iteration (Halko, Martinsson and Tropp, 2011).

    Args:
        sample: [n, d].
        count: how many, at most d.
        stream: for random directions, on the CPU.
        negligible: variances below this share of the largest are held to be rounding errors.

    Returns:
        Directions [count, d] with orthonormal rows, and variances [count], in double precision.
    """
    centred = (sample - sample.mean(dim=0)).double()
    columns = centred.shape[1]
    if columns <= LARGEST_SQUARE:
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    else:
        values, vectors = _iterated(centred, min(count, columns), stream)
    values = torch.where(values > negligible * values[0].clamp_min(1e-300), values, 0.0)
    vectors = vectors * _signs(vectors)
    rank = int((values > 0).sum())
    if rank < count:
        random = torch.randn(columns, count - rank, generator=stream, dtype=torch.float64, device="cpu")
        known = vectors[:, :rank]
        random = random.to(known) - known @ (known.T @ random.to(known))
        completed, _ = torch.linalg.qr(torch.cat([known, random], dim=1))
        vectors = torch.cat([known, completed[:, rank:]], dim=1)
    return vectors.T.contiguous(), values


def _iterated(centred: Tensor, count: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    width = min(count + _EXTRA, *centred.shape)
    basis = torch.randn(centred.shape[1], width, generator=stream, dtype=torch.float64, device="cpu")
    basis = basis.to(centred.device)
    for _ in range(_ITERATIONS):
        basis, _ = torch.linalg.qr(centred.T @ (centred @ basis))
    projected = centred @ basis
    values, turned = torch.linalg.eigh(projected.T @ projected / len(centred))
    found = (basis @ turned).flip(1)[:, :count]
    values = values.flip(0)[:count]
    missing = count - len(values)
    if missing > 0:
        values = torch.cat([values, values.new_zeros(missing)])
        found = torch.cat([found, found.new_zeros(len(found), missing)], dim=1)
    return values, found


def _signs(vectors: Tensor) -> Tensor:
    """For each column the sign that makes its largest component positive: a decomposition leaves it open."""
    largest = vectors.abs().argmax(dim=0, keepdim=True)
    return torch.where(vectors.gather(0, largest) < 0, -1.0, 1.0)


@dataclass(frozen=True)
class Passage:
    """How an activation lets a signal through.

    Attributes:
        paired: whether it takes two units, `phi(z)` and `phi(-z)`, to get it through: their difference is
            odd, which the activation alone is not.
        slope: of that difference, or of the activation, near 0.
        exact: whether it is linear.
        variance: of the pre-activation, at which a share `linearity` of the variance behind the activation is
            linear in what came in; 1 where more is at any.
    """

    paired: bool
    slope: float
    exact: bool
    variance: float


@functools.lru_cache(maxsize=256)
def passage(activation: Activation, linearity: float) -> Passage:
    """How the activation lets a signal through whose law is near the normal one."""
    z = torch.linspace(-4, 4, 801, dtype=torch.float64)
    up, down = activation(z), activation(-z)
    even, odd = (up + down) / 2, (up - down) / 2
    paired = float(even.max() - even.min()) > 1e-6
    near = torch.full((1,), NEAR, dtype=torch.float64)
    slope = float(activation(near) - activation(-near)) / (2 * NEAR)
    exact = bool((odd - z * slope).abs().max() < 1e-6)
    variance = 1.0 if exact else _variance(activation, linearity)
    return Passage(paired, 2 * slope if paired else slope, exact, variance)


def _variance(activation: Activation, linearity: float) -> float:
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    law = torch.exp(-(z**2) / 2)
    law /= law.sum()

    def share(log_variance: float) -> float:
        scaled = math.exp(log_variance / 2) * z
        odd = (activation(scaled) - activation(-scaled)) / 2
        return float((law * odd * z).sum() ** 2 / (law * odd**2).sum())

    low, high = math.log(1e-4), math.log(1e4)
    if share(high) > linearity:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) > linearity else (low, middle)
    return math.exp(low)
