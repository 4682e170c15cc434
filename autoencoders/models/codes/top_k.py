"""The sparse code that keeps its largest numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from autoencoders.errors import SpecRefused
from autoencoders.models.codes.code import Code, Size, codes


class TopK(Code):
    """A linear code of which a row keeps the `k` largest numbers; the others are zero and have no gradient.

    Args:
        size: the numbers in a code.
        k: how many a row keeps.
    """

    def __init__(self, size: int, k: int) -> None:
        super().__init__(size, size)
        self.k = k

    def point(self, features: Tensor) -> Tensor:
        """The code; among equal numbers some are kept, so that there are never more than `k`."""
        values, places = features.topk(self.k, dim=1, sorted=False)
        return torch.zeros_like(features).scatter(1, places, values)


@codes.word(
    "top_k",
    formula="z_j = a_j if a_j is among the k largest of a = W h + b, else 0",
    reference="Makhzani and Frey, 2013; Gao et al., 2024",
)
def top_k(*, size: Size, k: Size) -> Code:
    """A sparse code: the largest numbers of each row as they are, and zeros."""
    if k > size:
        raise SpecRefused([(("k",), f"a code of {size} numbers cannot keep {k}")])
    return TopK(size, k)
