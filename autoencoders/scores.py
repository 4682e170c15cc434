"""How odd rows are: their reconstruction errors beside those of held-out rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """How odd rows are.

    Attributes:
        error: squared error of each row in scaled units, summed over its features.
        percentile: the share of held-out rows, in percent, whose error is no greater.
        share_per_feature: each feature's part of the row's error; every row adds up to 1 (or 0 where there
            is none).
    """

    error: Float32
    percentile: Float32
    share_per_feature: Float32 | None = None


def judge(squared: Float32, scores: Float32, *, per_feature: bool = False) -> Scores:
    """What squared errors `[n, features]` in scaled units say of rows, beside the sorted `scores`."""
    error = squared.sum(1)
    percentile = np.searchsorted(scores, error, side="right") * (100.0 / max(1, len(scores)))
    if not per_feature:
        return Scores(error, percentile.astype(np.float32))
    share = np.divide(squared, error[:, None], out=np.zeros_like(squared), where=error[:, None] > 0)
    return Scores(error, percentile.astype(np.float32), share)
