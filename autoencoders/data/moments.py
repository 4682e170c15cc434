"""Moments of the rows, in one pass and float64: all that the mean's and PCA's held-out errors need.

Chunks are centred on their own mean before anything is squared and are merged by the pairwise update (Chan,
Golub and LeVeque, 1979), so that rows far from zero lose no digits.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from autoencoders.data.arrays import Array, Floats
from autoencoders.errors import DataRefused

MAX_COVARIANCE_FEATURES = 4096
_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class FeatureStatistics:
    """Per feature, over the training rows, in raw units; `std` is the population's."""

    count: int
    mean: Floats
    std: Floats
    minimum: Floats
    maximum: Floats


class Accumulator:
    """Count, mean, scatter and extremes of rows that pass by once.

    Args:
        features: numbers in a row.
        covariance: whether the scatter is a full matrix; otherwise only its diagonal is kept.
    """

    def __init__(self, features: int, *, covariance: bool) -> None:
        self.count = 0
        self.mean: Floats = np.zeros(features)
        self.scatter: Floats = np.zeros((features, features) if covariance else features)
        self.minimum: Floats = np.full(features, np.inf)
        self.maximum: Floats = np.full(features, -np.inf)
        self._block = max(1, _BLOCK_BYTES // (8 * features), min(features, 1024) if covariance else 1)

    def add(self, rows: Array) -> None:
        """Take in rows [n, features] of any numeric type."""
        for start in range(0, len(rows), self._block):
            self._add(rows[start : start + self._block].astype(np.float64))

    def _add(self, rows: Floats) -> None:
        np.minimum(self.minimum, rows.min(axis=0), out=self.minimum)
        np.maximum(self.maximum, rows.max(axis=0), out=self.maximum)
        mean = rows.mean(axis=0)
        rows -= mean
        self._merge(
            len(rows), mean, rows.T @ rows if self.scatter.ndim == 2 else np.einsum("nd,nd->d", rows, rows)
        )

    def _merge(self, count: int, mean: Floats, scatter: Floats) -> None:
        shift, total = mean - self.mean, self.count + count
        self.scatter += scatter
        _add_outer(self.scatter, shift, self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total

    def variance(self) -> Floats:
        """Per feature, of the population."""
        diagonal = self.scatter.diagonal() if self.scatter.ndim == 2 else self.scatter
        return diagonal / max(1, self.count)

    def scatter_around(self, centre: Floats) -> Floats:
        """The mean of (x - centre)(x - centre)^T, or its diagonal; made in place: the accumulator ends."""
        if self.count:
            self.scatter /= self.count
            _add_outer(self.scatter, self.mean - centre, 1.0)
        return self.scatter


def _add_outer(matrix: Floats, vector: Floats, weight: float) -> None:
    """Matrix += weight * vector vector^T by strips, so that no second matrix is ever made."""
    if matrix.ndim == 1:
        matrix += weight * vector**2
        return
    for start in range(0, len(vector), 256):
        matrix[start : start + 256] += np.multiply.outer(weight * vector[start : start + 256], vector)


@dataclass
class Moments:
    """Moments of a split dataset in raw units.

    Attributes:
        covariance: of the training rows, [d, d] (population); None where d is over `MAX_COVARIANCE_FEATURES`.
        variance: its diagonal, always there.
        held_out_second_moment: mean over held-out rows of (x - mean)(x - mean)^T around the *training* mean,
            or None.
        held_out_variance: its diagonal, always there.
    """

    count: int
    mean: Floats
    minimum: Floats
    maximum: Floats
    variance: Floats
    held_out_count: int
    held_out_variance: Floats
    covariance: Floats | None = None
    held_out_second_moment: Floats | None = None
    spectra: dict[bytes, Floats] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, training: Accumulator, held_out: Accumulator) -> Moments:
        """The moments of two accumulators, which are used up."""
        full = training.scatter.ndim == 2
        minimum, maximum = training.minimum, training.maximum
        covariance = training.scatter_around(training.mean)
        second = held_out.scatter_around(training.mean)
        return cls(
            count=training.count,
            mean=training.mean,
            minimum=minimum,
            maximum=maximum,
            variance=covariance.diagonal().copy() if full else covariance,
            held_out_count=held_out.count,
            held_out_variance=second.diagonal().copy() if full else second,
            covariance=covariance if full else None,
            held_out_second_moment=second if full else None,
        )

    @classmethod
    def accumulate(cls, training: Array, held_out: Array) -> Moments:
        """The moments of rows that are at hand, each [n, d]."""
        features = training.shape[1]
        both = [Accumulator(features, covariance=features <= MAX_COVARIANCE_FEATURES) for _ in range(2)]
        both[0].add(training)
        both[1].add(held_out)
        return cls.of(*both)

    @cached_property
    def statistics(self) -> FeatureStatistics:
        """What a scaling is fitted to."""
        return FeatureStatistics(self.count, self.mean, np.sqrt(self.variance), self.minimum, self.maximum)

    def save(self, path: Path) -> None:
        """Write them as an npz."""
        arrays: dict[str, Array] = {
            "count": np.int64(self.count),  # type: ignore[dict-item]  # numpy scalars save as 0-d arrays
            "held_out_count": np.int64(self.held_out_count),  # type: ignore[dict-item]  # likewise
            "mean": self.mean,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "variance": self.variance,
            "held_out_variance": self.held_out_variance,
        }
        if self.covariance is not None and self.held_out_second_moment is not None:
            arrays |= {"covariance": self.covariance, "held_out_second_moment": self.held_out_second_moment}
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Moments:
        """Read what `save` wrote.

        Raises:
            DataRefused: the file is missing or damaged.
        """
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
                counts = {name: int(found.pop(name)) for name in ("count", "held_out_count")}
                return cls(**counts, **found)  # type: ignore[arg-type]  # the arrays by name
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise DataRefused(f"the moments of the dataset are damaged: {error}") from error
