"""Layer-sequential unit variance: orthogonal weights, scaled by what the data make of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from autoencoders.events import Event
from autoencoders.init.context import InitContext
from autoencoders.init.flow import (
    CALIBRATION_ROWS,
    calibration_rows,
    follow,
    scale_is_fixed,
    settle,
    warn_of_dead,
)
from autoencoders.init.lift import inits
from autoencoders.init.orthogonal import semi_orthogonal
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder


def orthogonal_weight(layer: Layer, context: InitContext) -> Tensor:
    """Orthonormal rows or columns in the layer's layout, from its own stream."""
    units, *summed = layer.shape
    columns = torch.Size(summed).numel()
    return semi_orthogonal(units, columns, context.stream(layer.name)).reshape(layer.shape)


def _refuses(_model: Autoencoder, layers: Sequence[Layer], _parameters: dict[str, Any]) -> str | None:
    fixed = [layer.name for layer in layers if scale_is_fixed(layer)]
    if not fixed:
        return None
    return f"cannot set the scale of {', '.join(fixed)}: under the spectral norm it is the norm's"


@inits.per_model(
    "lsuv",
    formula="orthogonal; then layer by layer W /= sqrt(Var of the pre-activation over rows)",
    reference="Mishkin and Matas, 2016",
    refuses=_refuses,
    looks_at_others=True,
)
def lsuv(
    model: Autoencoder,
    layers: Sequence[Layer],
    context: InitContext,
    *,
    rounds: Annotated[int, Field(ge=1, le=1000)] = 10,
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.02,
    centred: bool = True,
) -> Iterator[Event]:
    """Orthogonal weights scaled so that every layer's output has variance 1 over a batch of rows.

    `centred`: biases subtract each unit's mean first. Any activation, any norm: what is measured is the
    output of the map itself. A tied layer has the scale of the layer whose weight it shares.
    """
    dead: list[str] = []

    def arrive(layer: Layer, read: Tensor) -> None:
        if not layer.tied:
            layer.assign(orthogonal_weight(layer, context))
        if not settle(layer, read, centred=centred, rounds=rounds, tolerance=tolerance):
            dead.append(layer.name)

    rows = calibration_rows(model, context, CALIBRATION_ROWS)
    follow(model, rows, layers, context, arrive=arrive)
    if dead:
        yield warn_of_dead("lsuv", dead)
