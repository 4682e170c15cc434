"""Catalog: how raw rows become the numbers a network sees, and how they come back.

Every scaling is affine per feature: scaled = (raw - shift) * factor. `min_max` and
`standard` are fitted to the training rows alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoencoders.catalog import Catalog, Choice
from autoencoders.data.arrays import Array
from autoencoders.data.manifest import Facts
from autoencoders.data.moments import FeatureStatistics


@dataclass(frozen=True)
class Affine:
    """A fitted scaling: scaled = (raw - shift) * factor, per feature, both float32 [d]."""

    shift: npt.NDArray[np.float32]
    factor: npt.NDArray[np.float32]

    def apply(self, rows: Array) -> npt.NDArray[np.float32]:
        """Scaled rows as float32, from raw rows [n, d] of any numeric type; a new array."""
        scaled = rows.astype(np.float32)
        scaled -= self.shift
        scaled *= self.factor
        return scaled

    def invert(self, rows: Array) -> npt.NDArray[np.float32]:
        """Raw units as float32, from scaled rows [n, d]; a new array."""
        raw = rows.astype(np.float32)
        raw /= self.factor
        raw += self.shift
        return raw


Scaling = Callable[..., Affine]
scalings: Catalog[Scaling] = Catalog("scalings")


def _affine(shift: Array | float, factor: Array | float, features: int) -> Affine:
    def wide(values: Array | float) -> npt.NDArray[np.float32]:
        return np.broadcast_to(np.asarray(values, dtype=np.float32), (features,)).copy()

    return Affine(wide(shift), wide(factor))


def _inverse(spread: Array, magnitude: Array) -> Array:
    """1 / spread, and 1 for features that are constant up to float32's rounding of their values."""
    resolution = np.finfo(np.float32).eps * magnitude
    constant = (spread <= resolution) | (spread < np.finfo(np.float32).tiny)
    return np.where(constant, 1.0, 1.0 / np.where(constant, 1.0, spread))


def _largest(facts: Facts) -> float:
    return max(abs(facts.minimum), abs(facts.maximum)) or 1.0


@scalings.word("none", formula="x")
def none(statistics: FeatureStatistics, facts: Facts) -> Affine:  # noqa: ARG001  # one signature for the family
    """The rows as they are."""
    return _affine(0.0, 1.0, facts.features)


@scalings.word("unit", formula="x / 255 for uint8 rows, x / max |x| for others")
def unit(statistics: FeatureStatistics, facts: Facts) -> Affine:  # noqa: ARG001  # one signature for the family
    """One factor for all features: bytes onto [0, 1], floats onto [-1, 1]."""
    if facts.dtype == "uint8":
        return _affine(0.0, 1.0 / 255.0, facts.features)
    return _affine(0.0, 1.0 / _largest(facts), facts.features)


@scalings.word("min_max", formula="(x - min) / (max - min)")
def min_max(statistics: FeatureStatistics, facts: Facts) -> Affine:
    """Each feature onto [0, 1], by the extremes of the training rows."""
    magnitude = np.maximum(np.abs(statistics.minimum), np.abs(statistics.maximum))
    factor = _inverse(statistics.maximum - statistics.minimum, magnitude)
    return _affine(statistics.minimum, factor, facts.features)


@scalings.word("standard", formula="(x - mean) / std")
def standard(statistics: FeatureStatistics, facts: Facts) -> Affine:
    """Each feature to mean 0 and standard deviation 1 over the training rows."""
    magnitude = np.maximum(np.abs(statistics.minimum), np.abs(statistics.maximum))
    return _affine(statistics.mean, _inverse(statistics.std, magnitude), facts.features)


def fit_scaling(choice: Choice, statistics: FeatureStatistics, facts: Facts) -> Affine:
    """The scaling of that choice, fitted to the training rows' statistics."""
    affine: Affine = scalings.call(choice, statistics, facts)
    return affine


def scaled_range(
    choice: Choice, facts: Facts, statistics: FeatureStatistics | None = None
) -> tuple[float, float]:
    """The least and greatest scaled value.

    For `none` and `unit` over all rows; for the fitted ones over the training rows (a held-out row may lie
    outside). Statistics are needed by all but `none`, `unit` and `min_max`; `standard` without them is
    unbounded.
    """
    if choice.name == "none":
        return facts.minimum, facts.maximum
    if choice.name == "unit":
        scale = 255.0 if facts.dtype == "uint8" else _largest(facts)
        return facts.minimum / scale, facts.maximum / scale
    if choice.name == "min_max":
        return 0.0, 1.0
    if statistics is None:
        return -np.inf, np.inf
    ends = fit_scaling(choice, statistics, facts).apply(np.stack([statistics.minimum, statistics.maximum]))
    return float(ends.min()), float(ends.max())
