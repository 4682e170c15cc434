"""What greedy pretraining has in common: a net as storeys, each a layer upwards and its mirror downwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autoencoders.init.context import InitContext
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

ROWS_BYTES = 512 * 1024 * 1024
"""What two layers' values of all rows may take: where they would take more, a sample of rows must do."""

CHUNK = 4096
"""Rows that are passed on at once."""


@dataclass(frozen=True)
class Storey:
    """A layer of the encoder, or the code layer, and the decoder's layer that undoes it.

    Attributes:
        up: reads what the storey below yields, or the rows.
        down: yields a reconstruction of that.
        first: whether it stands on the rows.
        owned: the names of the layers that the init may change.
    """

    up: Layer
    down: Layer
    first: bool
    owned: frozenset[str]

    @property
    def wanted(self) -> bool:
        """Whether anything of it is to be initialised."""
        return bool(self.owned & {self.up.name, self.down.name})


def storeys(model: Autoencoder, layers: Sequence[Layer]) -> list[Storey]:
    """From the rows upwards to the last storey of which a layer is owned."""
    every, owned = model.layers(), frozenset(layer.name for layer in layers)
    pairs = list(zip(every, reversed(every), strict=True))[: len(every) // 2]
    found = [Storey(up, down, not index, owned) for index, (up, down) in enumerate(pairs)]
    while found and not found[-1].wanted:
        found.pop()
    return found


def held_bytes(model: Autoencoder, layers: Sequence[Layer], rows: int) -> int:
    """What the values of two layers take while so many rows are learnt from, sampled where there are more."""
    found = storeys(model, layers)
    return min(ROWS_BYTES, 4 * rows * _width(found)) if found else 0


def passes(model: Autoencoder, layers: Sequence[Layer], parameters: dict[str, Any], rows: int) -> float:
    """How often so many rows are passed over: each storey's `epochs`, of a sample by its share of them."""
    found = storeys(model, layers)
    if not found or not rows:
        return 0.0
    share = min(1.0, _room(found) / rows)
    return share * int(parameters["epochs"]) * sum(storey.wanted for storey in found)


def _room(found: Sequence[Storey]) -> int:
    """For how many rows there is room."""
    return ROWS_BYTES // (4 * _width(found))


def _width(found: Sequence[Storey]) -> int:
    return max(storey.up.inputs + storey.up.outputs for storey in found)


def training_rows(found: Sequence[Storey], context: InitContext, *, at_least: int = 1000) -> Tensor:
    """All training rows [n, features] in float32 on the model's device, or as many as there is room for.

    Raises:
        NeedsRows: there is no data.
    """
    device = next(found[0].up.module.parameters()).device
    return context.batch(max(at_least, _room(found))).to(device)


def shuffled(rows: Tensor, batch_size: int, order: torch.Generator) -> Sequence[Tensor]:
    """The row numbers of an epoch's batches, on the rows' device; every row once."""
    permutation = torch.randperm(len(rows), generator=order, device="cpu").to(rows.device)
    return torch.split(permutation, batch_size)
