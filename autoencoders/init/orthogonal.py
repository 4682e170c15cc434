"""Inits whose maps keep lengths: orthonormal rows or columns, of matrices and of convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.init.variance import Scale
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder


def semi_orthogonal(rows: int, columns: int, stream: torch.Generator) -> Tensor:
    """A matrix with orthonormal rows or columns, whichever are fewer, drawn uniformly from all of them."""
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=stream, device="cpu")
    q, r = torch.linalg.qr(tall)
    # QR alone favours some matrices; with the signs of R's diagonal the law is the uniform one.
    q *= torch.where(r.diagonal() < 0, -1.0, 1.0)
    square: Tensor = q if rows >= columns else q.t()
    return square


def length_keeping(layer: Layer, stream: torch.Generator) -> Tensor:
    """A weight, in the layer's layout, whose whole map keeps lengths as far as its sizes allow.

    A linear map is a semi-orthogonal matrix. A convolution is one at its middle taps, as many as a stride
    steps over, and zero elsewhere: `stride x stride` pixels without overlap become one, and a transposed
    convolution makes them of one. Where that leads from more numbers to fewer, lengths are projected.
    """
    shape, module = layer.shape, layer.module
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return semi_orthogonal(shape[0], shape[1], stream)
    units, channels, *kernel = shape
    taps = [min(stride, size) for stride, size in zip(module.stride, kernel, strict=True)]
    top, left = (min((size - 1) // 2, size - tap) for size, tap in zip(kernel, taps, strict=True))
    if isinstance(module, nn.Conv2d):
        tile = semi_orthogonal(units, channels * math.prod(taps), stream).view(units, channels, *taps)
    else:
        tile = semi_orthogonal(units * math.prod(taps), channels, stream)
        tile = tile.view(units, *taps, channels).permute(0, 3, 1, 2)
    weight = torch.zeros(shape, device="cpu")
    weight[:, :, top : top + taps[0], left : left + taps[1]] = tile
    return weight


@inits.per_weight(
    "orthogonal",
    formula="W W^T = gain^2 I, or W^T W = gain^2 I where there are more rows than columns",
    reference="Saxe, McClelland and Ganguli, 2014",
)
def orthogonal(weight: Tensor, layer: Layer, context: InitContext, *, gain: Scale | None = None) -> None:
    """Orthonormal rows or columns, scaled by the gain of the activation that feeds the layer.

    A convolution's rows are its units with all that they read. In a strided transposed convolution an output
    sums only each `stride^2`-th of a row; rows are longer by `stride` there, so that outputs have the
    variance that they have elsewhere.
    """
    matrix = semi_orthogonal(layer.units, math.prod(layer.shape[1:]), context.stream(layer.name))
    weight.copy_(matrix.reshape(layer.shape))
    weight.mul_((layer.gain if gain is None else gain) * math.sqrt(layer.overlap))


def _without_convolution(
    model: Autoencoder,  # noqa: ARG001 - every refusal's signature
    layers: Sequence[Layer],
    parameters: dict[str, Any],  # noqa: ARG001
) -> str | None:
    if any(isinstance(layer.module, nn.Conv2d | nn.ConvTranspose2d) for layer in layers):
        return None
    return "is for convolutions, and there is none among the layers that it would initialise; see orthogonal"


@inits.per_weight(
    "delta_orthogonal",
    formula=(
        "W[:, :, middle taps] = gain H, H^T H = I or H H^T = I, all other taps 0; one tap, or stride x stride"
    ),
    reference="Xiao, Bahri, Sohl-Dickstein, Schoenholz and Pennington, 2018",
    refuses=_without_convolution,
)
def delta_orthogonal(
    weight: Tensor, layer: Layer, context: InitContext, *, gain: Scale | None = None
) -> None:
    """Convolutions that keep lengths: orthogonal at the middle tap, zero at all others.

    With a stride the middle taps are the `stride x stride` that tile the image, so that no pixel is dropped;
    from more numbers to fewer the map is an orthogonal projection. Linear layers among convolutions are
    plainly orthogonal. All of it is scaled by the gain of the activation that feeds the layer.
    """
    weight.copy_(length_keeping(layer, context.stream(layer.name)))
    weight.mul_(layer.gain if gain is None else gain)
