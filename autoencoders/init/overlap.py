"""Which numbers of an earlier model correspond to which of a new one, along one dimension of a weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Overlap:
    """Pairs of places that correspond.

    Attributes:
        new: places in the new model's dimension.
        old: those in the earlier model's, in the same order.
    """

    new: Tensor
    old: Tensor


def overlap(pairs: Sequence[tuple[int, int]]) -> Overlap:
    """From pairs `(new, old)`."""
    both = torch.tensor(list(pairs), dtype=torch.long).reshape(-1, 2)
    return Overlap(both[:, 0], both[:, 1])


def prefix(new: int, old: int) -> Overlap:
    """The first of either."""
    both = torch.arange(min(new, old))
    return Overlap(both, both)


def row_places(new: tuple[int, ...], old: tuple[int, ...]) -> Overlap:
    """Features by their place in rows of two shapes: the corner of images, first columns of tables."""
    if len(new) != len(old):
        return prefix(int(torch.tensor(new).prod()), int(torch.tensor(old).prod()))
    window = tuple(slice(0, min(pair)) for pair in zip(new, old, strict=True))

    def places(shape: tuple[int, ...]) -> Tensor:
        return torch.arange(int(torch.tensor(shape).prod())).reshape(shape)[window].flatten()

    return Overlap(places(new), places(old))


def code_places(new: int, old: int, new_size: int, old_size: int) -> Overlap:
    """Features of the code layer: a code made of several features a number has them in blocks of its size."""
    blocks = min(new // new_size, old // old_size)
    both = min(new_size, old_size)
    return overlap(
        [
            (block * new_size + unit, block * old_size + unit)
            for block in range(blocks)
            for unit in range(both)
        ]
    )
