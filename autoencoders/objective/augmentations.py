"""What is done to input and target together, where rows are images.

A word is called with scaled rows `[n, features]`, a generator and the shape of one row, `(height, width)` or
`(channels, height, width)`; it returns new rows. Rows without such a shape are refused.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import PositiveInt
from torch import Generator, Tensor

from autoencoders.catalog import Catalog
from autoencoders.errors import SpecRefused

Augmentation = Callable[..., Tensor]
"""A word: `(rows, generator, shape, **parameters) -> rows`; the rows given stay as they are."""

augmentations: Catalog[Augmentation] = Catalog("augmentations")


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """One row's shape as (channels, height, width).

    Raises:
        SpecRefused: rows of this shape are no images.
    """
    if len(shape) == 2:
        return (1, *shape)
    if len(shape) == 3:
        return shape
    said = "x".join(str(length) for length in shape)
    raise SpecRefused(
        [(("objective", "augmentation"), f"needs rows that are images; these have the shape {said}")]
    )


@augmentations.word("none")
def none(rows: Tensor, generator: Generator, shape: tuple[int, ...]) -> Tensor:  # noqa: ARG001
    """Rows as they are."""
    return rows


@augmentations.word(
    "shift", formula="x(i - u, j - v), u and v uniform on -pixels..pixels, half of the rows", images=True
)
def shift(rows: Tensor, generator: Generator, shape: tuple[int, ...], *, pixels: PositiveInt = 1) -> Tensor:
    """Half of the images move by up to so many pixels each way; the edge is repeated where they came from."""
    channels, height, width = image_shape(shape)
    count, device = len(rows), rows.device
    moved = torch.randint(0, 2, (count, 1), generator=generator, device=device)
    offsets = torch.randint(-pixels, pixels + 1, (count, 2), generator=generator, device=device) * moved
    lines = (torch.arange(height, device=device) - offsets[:, :1]).clamp_(0, height - 1)
    places = (torch.arange(width, device=device) - offsets[:, 1:]).clamp_(0, width - 1)
    index = (lines[:, :, None] * width + places[:, None, :]).view(count, 1, height * width)
    planes = rows.reshape(count, channels, height * width)
    return planes.gather(2, index.expand(-1, channels, -1)).view_as(rows)


@augmentations.word("flip", formula="x(i, width - 1 - j), half of the rows", images=True)
def flip(rows: Tensor, generator: Generator, shape: tuple[int, ...]) -> Tensor:
    """Half of the images are mirrored left to right."""
    channels, height, width = image_shape(shape)
    mirrored = torch.randint(0, 2, (len(rows), 1, 1, 1), generator=generator, device=rows.device) == 1
    images = rows.reshape(-1, channels, height, width)
    return torch.where(mirrored, images.flip(3), images).view_as(rows)
