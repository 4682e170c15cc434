"""Singular values of the Jacobian from a row to its reconstruction: how far a net is from an isometry.

The Jacobian is a product `J_d J_e` through the code, so that it has no more than code-size singular values
that are not zero. `J_e` comes row by row from vector-Jacobian products, `J_d` column by column from
Jacobian-vector products (a vector-Jacobian product of the vector-Jacobian product, which needs no forward
mode), and two QR factorisations leave one small matrix. (Pennington, Schoenholz and Ganguli, 2017: the mean
of the squared singular values says whether signals keep their size, their variance whether directions do.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from autoencoders.diagnostics.deadline import NEVER, Deadline
from autoencoders.models.autoencoder import Autoencoder

ROWS = 4
DIRECTIONS = 64
FEWEST = 4
"""How many directions are looked at however little time there is."""


@dataclass(frozen=True)
class JacobianFigures:
    """Singular values over a few rows.

    Attributes:
        singular_values: the largest first, each the mean over rows of that rank's; at most 64.
        mean_square: the mean of their squares over rows and ranks.
        variance: the variance of their squares.
    """

    singular_values: tuple[float, ...]
    mean_square: float
    variance: float


def read_jacobian(
    model: Autoencoder, rows: Tensor, generator: torch.Generator, deadline: Deadline = NEVER
) -> JacobianFigures:
    """The singular values at the first four of these rows; the model is used in the mode in which it is.

    Where the code is wider than 64, a random slice of it of 64 directions is looked at. In training mode
    a batch norm lets rows see each other, by a share of one over their number, which is left aside. Where
    the deadline passes after four directions, those that were looked at till then are the slice.
    """
    with torch.enable_grad():
        codes = model.encode(rows).detach()
        size = codes.shape[1]
        if size <= DIRECTIONS:
            basis = torch.eye(size)
        else:
            basis = torch.linalg.qr(torch.randn(size, DIRECTIONS, generator=generator)).Q.t()
        basis = basis.to(rows)
        pairs = list[tuple[Tensor, Tensor]]()
        for pair in zip(_pulled(model.encode, rows, basis), _pushed(model.decode, codes, basis), strict=True):
            pairs.append(pair)
            if len(pairs) >= FEWEST and deadline.has_passed():
                break
    down, up = (torch.stack(found)[:, :ROWS] for found in zip(*pairs, strict=True))
    if not bool(torch.isfinite(down).all() & torch.isfinite(up).all()):
        nan = float("nan")
        return JacobianFigures(
            singular_values=(nan,) * min(len(down), len(up)), mean_square=nan, variance=nan
        )
    values = torch.stack(
        [
            torch.linalg.svdvals(
                torch.linalg.qr(up[:, row].double().t()).R @ torch.linalg.qr(down[:, row].double().t()).R.t()
            )
            for row in range(down.shape[1])
        ]
    )
    squares = values.square()
    return JacobianFigures(
        singular_values=tuple(values.mean(0).tolist()),
        mean_square=float(squares.mean()),
        variance=float(squares.var(correction=0)),
    )


def _pulled(function: Callable[[Tensor], Tensor], at: Tensor, basis: Tensor) -> Iterator[Tensor]:
    """[rows, inputs] for each direction of the output: as the input feels it."""
    at = at.detach().requires_grad_()
    out = function(at)
    for direction in basis:
        (pulled,) = torch.autograd.grad(out, at, direction.expand_as(out), retain_graph=True)
        yield pulled


def _pushed(function: Callable[[Tensor], Tensor], at: Tensor, basis: Tensor) -> Iterator[Tensor]:
    """[rows, outputs] for each direction of the input: what it does to the output."""
    at = at.detach().requires_grad_()
    out = function(at)
    cotangent = torch.zeros_like(out, requires_grad=True)
    (pulled,) = torch.autograd.grad(out, at, cotangent, create_graph=True)
    for direction in basis:
        (pushed,) = torch.autograd.grad(pulled, cotangent, direction.expand_as(at), retain_graph=True)
        yield pushed
