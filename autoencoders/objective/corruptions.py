"""What is done to the input alone, so that the model must undo it: the denoising autoencoder.

A word is called with scaled rows, a generator and the range in which scaled rows lie; it returns new rows
and leaves the ones it was given as they are, since these are the target.

Reference: Vincent, Larochelle, Lajoie, Bengio and Manzagol, "Stacked denoising autoencoders", 2010.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Generator, Tensor

from autoencoders.catalog import Catalog

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


Corruption = Callable[..., Tensor]
"""A word: `(rows, generator, bounds, **parameters) -> rows`; the rows given stay as they are."""

corruptions: Catalog[Corruption] = Catalog("corruptions")


@corruptions.word("none")
def none(rows: Tensor, generator: Generator, bounds: tuple[float, float]) -> Tensor:  # noqa: ARG001
    """The input is the target."""
    return rows


@corruptions.word("gaussian", formula="x + std z, z ~ N(0, 1)", reference="Vincent et al., 2010")
def gaussian(
    rows: Tensor,
    generator: Generator,
    bounds: tuple[float, float],  # noqa: ARG001
    *,
    std: PositiveFloat,
) -> Tensor:
    """Independent normal noise of one standard deviation, in scaled units."""
    noise = torch.empty_like(rows).normal_(0.0, std, generator=generator)
    return noise.add_(rows)


@corruptions.word("masking", formula="x_j = 0 with probability share", reference="Vincent et al., 2008")
def masking(
    rows: Tensor,
    generator: Generator,
    bounds: tuple[float, float],  # noqa: ARG001
    *,
    share: Share,
) -> Tensor:
    """Each value is set to zero with probability `share`."""
    kept = torch.empty_like(rows).uniform_(generator=generator) >= share
    return rows * kept


@corruptions.word(
    "salt_and_pepper",
    formula="x_j = low or high, each with probability share/2",
    reference="Vincent et al., 2010",
)
def salt_and_pepper(
    rows: Tensor, generator: Generator, bounds: tuple[float, float], *, share: Share
) -> Tensor:
    """Each value becomes, with probability `share`, the least or the greatest that rows have: a fair coin."""
    low, high = bounds
    drawn = torch.empty_like(rows).uniform_(generator=generator)
    flecked = rows.masked_fill(drawn < share / 2, low)
    return flecked.masked_fill_((drawn >= share / 2) & (drawn < share), high)
