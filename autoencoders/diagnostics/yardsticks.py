"""What held-out rows cost without a model: the ends of the way that a training has to go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Yardsticks:
    """Squared errors of held-out rows, summed over features, in scaled units.

    Attributes:
        mean: of answering the training rows' mean.
        pca: of PCA with as many components as the code has numbers.
    """

    mean: float
    pca: float


def closed_share(error: float, yardsticks: Yardsticks) -> float:
    """How much of the way from the mean's error to PCA's is closed: 0 at the mean's, 1 at PCA's."""
    way = max(yardsticks.mean - yardsticks.pca, 1e-9 * max(yardsticks.mean, 1e-30))
    return (yardsticks.mean - error) / way


@torch.no_grad()
def measure(
    rows: Tensor, held_out: Tensor, mean: Tensor, code_size: int, known: Mapping[str, float | None]
) -> Yardsticks:
    """The yardsticks of a sample of the held-out rows.

    Args:
        rows: [n, features], a sample of the training rows.
        held_out: [m, features], a sample of the held-out rows.
        mean: [features], of all training rows.
        code_size: how many components PCA may have.
        known: `mean` and `pca` over all held-out rows. Where PCA's is not known, that of `rows` stands in.
    """
    centred = held_out.double() - mean.double()
    own = float(centred.square().sum(1).mean())
    whole, best = known["mean"], known["pca"]
    if whole is not None and best is not None and whole > 0:
        return Yardsticks(own, own * best / whole)
    _, _, directions = torch.linalg.svd(rows.double() - mean.double(), full_matrices=False)
    left = centred - (centred @ directions[:code_size].t()) @ directions[:code_size]
    return Yardsticks(own, float(left.square().sum(1).mean()))
