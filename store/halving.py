"""Successive halving: which cells of a study go on from a rung (Karnin, Koren and Somekh, 2013).

A rung is decided once all of its trainings have come to it, by their errors alone: in what order they came,
and on how many workers, changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def order(errors: Mapping[int, Sequence[float]]) -> list[int]:
    """The cells that have an error at all, best first.

    Cells of which every seed came through go before those of which one failed; then by the mean of the errors
    that are numbers; equals in the order of the grid.

    Args:
        errors: by the cell's place in the grid, one best held-out error a seed; a failed training's is
            infinite, one that was cancelled has none.
    """
    ranked = []
    for cell, of_seeds in errors.items():
        known = [error for error in of_seeds if math.isfinite(error)]
        if known:
            ranked.append((len(known) < len(of_seeds), math.fsum(known) / len(known), cell))
    return [cell for _, _, cell in sorted(ranked)]


def survivors(errors: Mapping[int, Sequence[float]], keep: int | None) -> list[int]:
    """The cells that go on, best first: `keep` of them at most, all that have an error where it is None."""
    return order(errors)[:keep]
