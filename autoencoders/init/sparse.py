"""Martens' sparse weights: each unit reads a few inputs, strongly, however many there are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from autoencoders.events import Event
from autoencoders.init.context import InitContext
from autoencoders.init.following import followed_by
from autoencoders.init.lift import inits
from autoencoders.init.variance import Scale
from autoencoders.layers.activations import Activation
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

Nonzeros = Annotated[int, Field(ge=1, le=65_536)]

TANH_FACTOR = 0.5
TANH_BIAS = 0.5


def sparse_rows(
    rows: int, columns: int, nonzeros: int, std: float, *, replacement: bool, stream: torch.Generator
) -> Tensor:
    """A matrix [rows, columns] with up to so many normal weights in each row, at places drawn uniformly.

    With replacement a place may be drawn twice; its weights add, so that a row's sum has the variance
    `nonzeros * std^2` whatever its length. Without, a row has exactly so many, or all of its columns.
    """
    if replacement:
        places = torch.randint(columns, (rows, nonzeros), generator=stream, device="cpu")
    else:
        keys = torch.rand(rows, columns, generator=stream, device="cpu")
        places = keys.topk(min(nonzeros, columns), dim=1).indices
    values = torch.empty(places.shape, device="cpu").normal_(0, std, generator=stream)
    return torch.zeros(rows, columns, device="cpu").scatter_add_(1, places, values)


def _is_tanh(function: Activation | None) -> bool:
    return function is not None and function.word == "tanh"


@inits.per_model(
    "sparse",
    formula=(
        "each unit: nonzeros inputs drawn at random, weights N(0, std^2), the rest 0; halved for tanh before "
        "and again for tanh after, and with tanh after b = 0.5"
    ),
    reference="Martens, 2010; Sutskever, Martens, Dahl and Hinton, 2013",
)
def sparse(
    model: Autoencoder,
    layers: Sequence[Layer],
    context: InitContext,
    *,
    nonzeros: Nonzeros = 15,
    std: Scale = 1.0,
    replacement: bool = True,
) -> Iterator[Event]:
    """A few strong weights for each unit, so that units differ and none saturates, however wide the layer.

    It is for sigmoid units; tanh units get the half of it, and biases that shift them as sigmoids are.
    In a strided transposed convolution a unit has `stride^2` times as many, of which each output sums one in
    `stride^2`.
    """
    after = followed_by(model)
    for layer in layers:
        if layer.tied:
            continue
        scale = std * TANH_FACTOR ** (_is_tanh(layer.fed_by) + _is_tanh(after[layer.name]))
        matrix = sparse_rows(
            layer.units,
            math.prod(layer.shape[1:]),
            round(nonzeros * layer.overlap),
            scale,
            replacement=replacement,
            stream=context.stream(layer.name),
        )
        layer.assign(matrix.view(layer.shape))
        if layer.bias is not None and _is_tanh(after[layer.name]):
            with torch.no_grad():
                layer.bias.fill_(TANH_BIAS)
    yield from ()
