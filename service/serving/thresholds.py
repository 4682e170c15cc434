"""Thresholds: the score above which a row is an anomaly, for the false alarms that one is ready to bear.

Of n held-out rows, independent and from where the rows to come are from, let S(1) <= … <= S(n) be the
sorted scores. The threshold for a false-alarm rate a is S(k), k = ceil((n + 1)(1 - a)): a row to come that
is no different from them is above it with a probability of at most a (of (n + 1 - k)/(n + 1) exactly where
scores do not tie). Such a k <= n exists from n = 1/a - 1 rows on; with fewer, no score is known to be high
enough.

How well the rows determine it: the number of held-out scores above the true quantile q at level 1 - a is
binomial B with n draws and chance a, whatever the distribution of scores, so that

    P(S(l) <= q <= S(u)) >= P(n - u < B <= n - l)

and the interval is the order statistics that leave at most 2.5% on either side (David and Nagaraja, Order
Statistics, 3rd edition 2003, section 7.1; Conover, Practical Nonparametric Statistics, 3rd edition 1999,
section 3.2). Where even the largest score leaves more than that above it, the interval ends there, and its
confidence, which is always the one computed, says that it is less than 95%.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoencoders.bundle import MAX_SCORES, SCORES
from autoencoders.data.npy_format import array_of
from autoencoders.errors import BundleDamaged
from service.errors import FieldRefused

_TAIL = 0.025
_FAR_OUT = 40.0


@dataclass(frozen=True)
class HeldOut:
    """The sorted scores of held-out rows, or ten thousand quantiles of them at equal ranks.

    Attributes:
        kept: the sorted scores that are there.
        rows: how many rows they are of.
    """

    kept: npt.NDArray[np.float32]
    rows: int

    def at_least(self, rank: int) -> float:
        """The score of this rank (the smallest is 1), or the nearest larger one that was kept."""
        return float(self.kept[int(np.searchsorted(self._ranks(), rank, side="left"))])

    def at_most(self, rank: int) -> float:
        """The score of this rank, or the nearest smaller one that was kept."""
        return float(self.kept[int(np.searchsorted(self._ranks(), rank, side="right")) - 1])

    def _ranks(self) -> npt.NDArray[np.int64]:
        return 1 + np.linspace(0, self.rows - 1, len(self.kept)).round().astype(np.int64)


@dataclass(frozen=True)
class Threshold:
    """A threshold and how well the held-out rows determine it.

    Attributes:
        false_alarm_rate: the share of ordinary rows that may be called anomalies.
        threshold: a row whose score is greater is called an anomaly.
        interval: where the true quantile is.
        confidence: the probability, at least, that the interval holds it.
        held_out_rows: how many scores it was found from.
    """

    false_alarm_rate: float
    threshold: float
    interval: tuple[float, float]
    confidence: float
    held_out_rows: int


def held_out(folder: Path, manifest: Mapping[str, Any]) -> HeldOut:
    """The held-out scores in a bundle's folder.

    Raises:
        BundleDamaged: they are not what the manifest promises.
    """
    try:
        content = (folder / SCORES).read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest["hashes"][SCORES]:
            raise BundleDamaged(f"{folder}: {SCORES} is not what its manifest promises")
        kept = array_of(content)
        known = int(manifest["facts"]["held_out_rows"])
    except (OSError, KeyError, TypeError, ValueError) as problem:
        raise BundleDamaged(f"{folder}: {problem}") from problem
    return HeldOut(kept, known if len(kept) == MAX_SCORES and known > MAX_SCORES else len(kept))


def choose(scores: HeldOut, false_alarm_rate: float) -> Threshold:
    """The threshold for a false-alarm rate between 0 and 1.

    Raises:
        FieldRefused: no score of so few rows is known to be high enough; says how many rows are needed.
    """
    rows = scores.rows
    # Rounding must not ask for a rank more where (n + 1) a is whole.
    above = math.floor((rows + 1) * false_alarm_rate + 1e-9)
    if above < 1:
        needed = math.ceil(1 / false_alarm_rate - 1 - 1e-9)
        raise FieldRefused(
            [
                (
                    ("false_alarm_rate",),
                    f"needs at least {needed:,} held-out rows; the model was judged by {rows:,}, "
                    f"which support rates from {1 / (rows + 1):.3g} on",
                )
            ]
        )
    low, high, confidence = _interval(rows, false_alarm_rate)
    return Threshold(
        false_alarm_rate=false_alarm_rate,
        threshold=scores.at_least(rows + 1 - above),
        interval=(scores.at_most(low), scores.at_least(high)),
        confidence=confidence,
        held_out_rows=rows,
    )


def anomalies(scores: npt.NDArray[np.float32], threshold: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Which rows are anomalies by a version's threshold, as it is kept in its row."""
    return scores > np.float32(threshold["threshold"])


def _interval(rows: int, chance: float) -> tuple[int, int, float]:
    """Ranks l and u of the interval, and the probability of n - u < B <= n - l."""
    first, probability = _binomial(rows, chance)
    cumulated = np.cumsum(probability)
    # The most scores above the quantile that 2.5% leave out at the top of B, the fewest at its bottom.
    most = first + int(np.searchsorted(cumulated, 1 - _TAIL))
    fewest = first + int(np.searchsorted(cumulated, _TAIL, side="right"))
    low, high = max(1, rows - most), min(rows, rows + 1 - fewest)
    above = first + np.arange(len(probability))
    within = (rows - high < above) & (above <= rows - low)
    return low, high, float(probability[within].sum())


def _binomial(draws: int, chance: float) -> tuple[int, npt.NDArray[np.float64]]:
    """The probabilities of B = first, first + 1, … as far as they count; nothing beyond adds up to 1e-15.

    They follow from their ratios P(b + 1)/P(b) = (n - b)/(b + 1) a/(1 - a), so that no factorial is needed.
    """
    mean, spread = draws * chance, math.sqrt(draws * chance * (1 - chance))
    first = max(0, math.floor(mean - _FAR_OUT * spread - _FAR_OUT))
    last = min(draws, math.ceil(mean + _FAR_OUT * spread + _FAR_OUT))
    counts = np.arange(first, last, dtype=np.float64)
    steps = np.log((draws - counts) / (counts + 1)) + (math.log(chance) - math.log1p(-chance))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    weights = np.exp(logs - logs.max())
    return first, weights / weights.sum()
