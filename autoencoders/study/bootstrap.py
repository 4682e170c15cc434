"""How sure a mean over a few seeds is: the percentile bootstrap (Efron, 1979)."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_ENUMERATED = 5
DRAWS = 10_000
SEED = 0
TAIL = 0.025
"""What lies beyond either end of an interval of 95%."""


@cache
def resamples(count: int) -> Floats:
    """Weights [resamples, count] of the means of resamples of `count` values; every row sums to 1.

    All `count`^`count` of them where there are at most five values, else 10,000 drawn by a fixed seed: the
    same values have the same interval each time.
    """
    if count <= MOST_ENUMERATED:
        drawn = np.array(list(itertools.product(range(count), repeat=count)))
    else:
        drawn = np.random.default_rng(SEED).integers(count, size=(DRAWS, count))
    weights = np.stack([(drawn == value).mean(axis=1) for value in range(count)], axis=1)
    weights.setflags(write=False)
    return np.asarray(weights, np.float64)


def interval(values: Floats) -> tuple[float, float]:
    """The 95% interval of the mean of values [n], n at least 2: either end is the mean of some resample."""
    means = resamples(len(values)) @ values
    low = np.quantile(means, TAIL, method="inverted_cdf")
    high = -np.quantile(-means, TAIL, method="inverted_cdf")
    return float(low), float(high)


def tied(errors: Floats) -> npt.NDArray[np.bool_]:
    """Which rows of errors [cells, seeds] are tied, [cells, cells], by the differences within each seed.

    Two are where the 95% interval of the mean of their paired differences contains 0: where neither sign has
    less than 2.5% of the resamples; equal ones are. Every error is finite; nothing is tied to itself.
    """
    means = errors @ resamples(errors.shape[1]).T
    found = np.zeros((len(errors), len(errors)), np.bool_)
    for place, one in enumerate(means):
        # Sums of the same numbers in another order differ in their last digits alone.
        difference = one - means[place + 1 :]
        slack = 1e-12 * np.abs(one)
        below = (difference <= slack).mean(axis=1)
        above = (difference >= -slack).mean(axis=1)
        found[place, place + 1 :] = (below >= TAIL) & (above >= TAIL)
    return found | found.T
