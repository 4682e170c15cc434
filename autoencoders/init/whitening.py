"""Whitening: a layer's outputs uncorrelated and of variance 1, as far as there are directions for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from autoencoders.events import Event
from autoencoders.init.context import InitContext
from autoencoders.init.flow import calibration_rows, centre_units, follow, summands, warn_of_dead
from autoencoders.init.lift import inits
from autoencoders.init.mirror import Mirror
from autoencoders.init.orthogonal import semi_orthogonal
from autoencoders.init.pca import Rows
from autoencoders.init.principal import principal
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

FAINTEST = 1e-4
"""Directions with less than this share of the largest variance are noise, and are not blown up."""


def _whitener(sample: Tensor, units: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    """The matrix [units, d] that whitens a sample, and the transpose of the one that undoes it."""
    directions, variances = principal(sample, min(units, sample.shape[1]), stream, negligible=FAINTEST)
    kept = variances > 0
    directions, std = directions[kept], variances[kept].sqrt()[:, None]
    turn = semi_orthogonal(units, len(directions), stream).to(directions)
    return (turn @ (directions / std)).to(sample), (turn @ (directions * std)).to(sample)


def _refuses(model: Autoencoder, _layers: Sequence[Layer], _parameters: dict[str, Any]) -> str | None:
    if any(layer.tied for layer in model.layers()):
        return (
            "needs a decoder with weights of its own: what whitens takes from the strong directions, and its "
            "transpose would take from them once more instead of giving it back"
        )
    return None


@inits.per_model(
    "whitening",
    formula="W = R Lambda^-1/2 U^T of what it reads: Cov of the pre-activation = I; W_dec ~ U Lambda^1/2 R^T",
    reference="LeCun, Bottou, Orr and Müller, 1998; Desjardins et al., 2015",
    refuses=_refuses,
    looks_at_others=True,
)
def whitening(
    model: Autoencoder, layers: Sequence[Layer], context: InitContext, *, rows: Rows = 10_000
) -> Iterator[Event]:
    """Layer by layer the encoder whitens what it reads, and the decoder colours it again.

    Where a layer has more units than what it reads has directions, its outputs lie in so many dimensions,
    in each of which the variance is 1. Directions fainter than 1e-4 of the strongest are left out. `R` is a
    random rotation. Convolutions whiten their patches. The decoder's scales are fitted, the logits by
    cross-entropy. The
    decoder's residual branches are as `lsuv` makes them.
    """
    seen = calibration_rows(model, context, rows)
    mirror = Mirror(model, seen)
    undoing: dict[str, Tensor] = {}
    dead: list[str] = []

    def arrive(layer: Layer, read: Tensor) -> None:
        if layer.part == "decoder":
            mirror.undo(layer, read, undoing, context)
            return
        sample = summands(layer, read, rows, context)
        if not bool((sample != sample[0]).any()):
            dead.append(layer.name)
        weight, back = _whitener(sample, layer.units, context.stream(layer.name))
        layer.assign(weight.reshape(layer.shape))
        undoing[layer.name] = back.reshape(layer.shape)
        centre_units(layer, read)

    follow(model, seen, layers, context, arrive=arrive, leave=mirror.keep)
    if dead:
        yield warn_of_dead("whitening", dead)
