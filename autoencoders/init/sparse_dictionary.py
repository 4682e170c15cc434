"""Sparse codes: a decoder of unit columns all over the sphere, and an encoder that reads with the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from autoencoders.events import Event
from autoencoders.init.context import InitContext
from autoencoders.init.flow import CALIBRATION_ROWS, calibration_rows, follow, settle, warn_of_dead
from autoencoders.init.lift import inits
from autoencoders.init.lsuv import orthogonal_weight
from autoencoders.init.mirror import Mirror
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.models.codes.top_k import TopK

_ROUNDS = 100
_CLOSE_ENOUGH = 1e-6


@torch.no_grad()
def geometric_median(sample: Tensor) -> Tensor:
    """The point [d] of the least summed distance to the rows of a sample [n, d], by Weiszfeld's iteration.

    (Weiszfeld, 1937; a row that the iteration meets is kept at a small distance.)
    """
    rows = sample.double()
    median = rows.mean(dim=0)
    size = float((rows - median).square().sum(dim=1).mean().sqrt())
    for _ in range(_ROUNDS):
        distance = torch.linalg.vector_norm(rows - median, dim=1).clamp_min(1e-9 * size + 1e-300)
        weights = 1 / distance
        following = (weights[:, None] * rows).sum(dim=0) / weights.sum()
        moved = float(torch.linalg.vector_norm(following - median))
        median = following
        if moved <= _CLOSE_ENOUGH * size:
            break
    return median.to(sample)


def _dictionary(size: int, features: int, context: InitContext) -> Tensor:
    """Unit rows [size, features], uniform on the sphere; the same whichever layer asks."""
    drawn = torch.randn(size, features, generator=context.stream("dictionary"), device="cpu")
    return functional.normalize(drawn, dim=1)


def _refuses(model: Autoencoder, _layers: Sequence[Layer], _parameters: dict[str, Any]) -> str | None:
    if isinstance(model.bottleneck.head, TopK):
        return None
    return "is for sparse codes, and this one keeps all its numbers; with a `top_k` code it would fit"


@inits.per_model(
    "sparse_dictionary",
    formula="W_dec: columns uniform on the sphere; W_enc = W_dec^T, b_enc = -W_enc m, m geometric median",
    reference="Bricken et al., 2023; Gao et al., 2024",
    refuses=_refuses,
    looks_at_others=True,
)
def sparse_dictionary(model: Autoencoder, layers: Sequence[Layer], context: InitContext) -> Iterator[Event]:
    """The code layer reads with the unit vectors that the first layer after it writes with.

    The code layer's bias subtracts the geometric median of what it reads; the decoder's adds that of what
    stands in its place in the encoder. All other layers become as `lsuv` makes them.
    """
    rows = calibration_rows(model, context, CALIBRATION_ROWS)
    mirror = Mirror(model, rows)
    dead: list[str] = []

    def arrive(layer: Layer, read: Tensor) -> None:
        other = mirror.counterpart(layer)
        if layer.part == "code":
            _read_with_dictionary(layer, read, context)
        elif other is not None and other.part == "code":
            _write_with_dictionary(layer, model.code_size, mirror.wanted(layer), context)
        else:
            if not layer.tied:
                layer.assign(orthogonal_weight(layer, context))
            if not settle(layer, read):
                dead.append(layer.name)

    follow(model, rows, layers, context, arrive=arrive, leave=mirror.keep)
    if dead:
        yield warn_of_dead("sparse_dictionary", dead)


def _read_with_dictionary(layer: Layer, read: Tensor, context: InitContext) -> None:
    layer.assign(_dictionary(layer.units, layer.shape[1], context))
    if layer.bias is not None:
        layer.bias.copy_(-layer.module.forward(geometric_median(read)[None])[0])


def _write_with_dictionary(layer: Layer, size: int, wanted: Tensor, context: InitContext) -> None:
    if not layer.tied:
        layer.assign(_dictionary(size, layer.units, context).T)
    if layer.bias is not None:
        layer.bias.copy_(geometric_median(wanted.flatten(1)))
