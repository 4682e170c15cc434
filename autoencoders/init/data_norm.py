"""The data-dependent init of weight normalisation: each unit standardised over one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from autoencoders.events import Event
from autoencoders.init.context import InitContext
from autoencoders.init.flow import (
    CALIBRATION_ROWS,
    by_unit,
    calibration_rows,
    follow,
    scale_is_fixed,
    warn_of_dead,
)
from autoencoders.init.lift import inits
from autoencoders.layers.layer import Layer
from autoencoders.layers.norms import WeightNorm
from autoencoders.models.autoencoder import Autoencoder

_STD = 0.05
_NEGLIGIBLE = 1e-5


def _weight_norm(layer: Layer) -> WeightNorm | None:
    if not parametrize.is_parametrized(layer.module, "weight"):
        return None
    return next((module for module in layer.module.modules() if isinstance(module, WeightNorm)), None)


def _refuses(model: Autoencoder, _layers: Sequence[Layer], _parameters: dict[str, Any]) -> str | None:
    if any(_weight_norm(layer) is not None for layer in model.layers()):
        return None
    return "sets the lengths of a weight norm, and no layer has one; with norm `weight` it would fit"


def standardise(layer: Layer, read: Tensor) -> bool:
    """Give each unit's output over `read` mean 0 and standard deviation 1, by weights' length and bias.

    A unit that yields the same for every row keeps its weights; of a layer whose weight is another's, or
    has its scale from a spectral norm, only the means change.

    Returns:
        Whether any unit could be standardised.
    """
    yielded = by_unit(layer.module.forward(read))
    std, mean = yielded.std(dim=0, correction=0), yielded.mean(dim=0)
    alive = std > _NEGLIGIBLE * yielded.square().mean().sqrt()
    if layer.weight is None or scale_is_fixed(layer):
        length = torch.ones_like(std)
    else:
        length = torch.where(alive, 1 / torch.where(alive, std, 1.0), 1.0)
        layer.assign(layer.weight * length.view(-1, *[1] * (layer.weight.ndim - 1)))
    if layer.bias is not None:
        layer.bias.copy_((layer.bias - mean) * length)
    return bool(alive.any())


@inits.per_model(
    "data_norm",
    formula="v ~ N(0, .05^2), t = v . x / ||v||: g = 1 / std[t], b = -mean[t] / std[t]",
    reference="Salimans and Kingma, 2016",
    refuses=_refuses,
    looks_at_others=True,
)
def data_norm(model: Autoencoder, layers: Sequence[Layer], context: InitContext) -> Iterator[Event]:
    """Random directions, with the length and the bias that standardise every unit over one batch of rows.

    For models with the norm `weight`; their layers without it (the code, the output) get the weight that the
    same length and direction make.
    """
    directions: dict[str, Tensor] = {}
    dead: list[str] = []

    def arrive(layer: Layer, read: Tensor) -> None:
        if not layer.tied:
            drawn = torch.empty(layer.shape, device="cpu").normal_(
                0, _STD, generator=context.stream(layer.name)
            )
            directions[layer.name] = drawn
            layer.assign(functional.normalize(drawn.flatten(1), dim=1).view(drawn.shape))
        if not standardise(layer, read):
            dead.append(layer.name)

    rows = calibration_rows(model, context, CALIBRATION_ROWS)
    follow(model, rows, layers, context, arrive=arrive)
    for layer in layers:
        norm = _weight_norm(layer)
        if norm is not None:
            _keep_direction(layer, directions[layer.name])
    if dead:
        yield warn_of_dead("data_norm", dead)


@torch.no_grad()
def _keep_direction(layer: Layer, drawn: Tensor) -> None:
    """Store the direction as it was drawn: the size of `v` says how fast training turns it."""
    stored = layer.module.parametrizations["weight"].original1  # type: ignore[index,union-attr]  # torch's own
    transposed = isinstance(layer.module, nn.ConvTranspose2d)
    stored.copy_(drawn.transpose(0, 1) if transposed else drawn)
