"""The tanh init of 2025: a diagonal of ones and a little noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autoencoders.init.constant import middle_tap
from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.init.variance import Scale
from autoencoders.layers.layer import Layer

NOISE = 0.085


def wrapped_diagonal(rows: int, columns: int) -> Tensor:
    """A one in each row, at the row's number, which is counted again from 0 beyond the last column."""
    diagonal = torch.zeros(rows, columns, device="cpu")
    row = torch.arange(rows)
    diagonal[row, row % columns] = 1
    return diagonal


@inits.per_weight(
    "diagonal_noise",
    formula="W = D + Z, D[i, j] = 1 if j = i mod fan_in else 0, Z ~ N(0, std^2), std = 0.085 / sqrt(fan_in)",
    reference="Lee, Choi and Kim, 2025",
)
def diagonal_noise(weight: Tensor, layer: Layer, context: InitContext, *, std: Scale | None = None) -> None:
    """A diagonal with noise, which tanh nets thousands of layers deep pass signals through.

    `std` unset means 0.085 / sqrt(fan_in). A convolution has the diagonal at its middle tap, as `identity`
    does, and noise at every tap.
    """
    std = NOISE / math.sqrt(layer.fans.fan_in) if std is None else std
    weight.normal_(0, std, generator=context.stream(layer.name))
    middle = middle_tap(weight)
    middle += wrapped_diagonal(*middle.shape)
