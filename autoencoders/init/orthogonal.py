"""Inits whose maps keep lengths: orthonormal rows or columns."""

from __future__ import annotations

import torch
from torch import Tensor

from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.init.variance import Scale
from autoencoders.layers.layer import Layer


def semi_orthogonal(rows: int, columns: int, stream: torch.Generator) -> Tensor:
    """A matrix with orthonormal rows or columns, whichever are fewer, drawn uniformly from all of them."""
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=stream, device="cpu")
    q, r = torch.linalg.qr(tall)
    # QR alone favours some matrices; with the signs of R's diagonal the law is the uniform one.
    q *= torch.where(r.diagonal() < 0, -1.0, 1.0)
    square: Tensor = q if rows >= columns else q.t()
    return square


@inits.per_weight(
    "orthogonal",
    formula="W W^T = gain^2 I, or W^T W = gain^2 I where there are more rows than columns",
    reference="Saxe, McClelland and Ganguli, 2014",
)
def orthogonal(weight: Tensor, layer: Layer, context: InitContext, *, gain: Scale | None = None) -> None:
    """Orthonormal rows or columns, scaled by the gain of the activation that feeds the layer."""
    rows, columns = weight.shape
    weight.copy_(semi_orthogonal(rows, columns, context.stream(layer.name)))
    weight.mul_(layer.gain if gain is None else gain)
