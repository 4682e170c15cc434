"""Learning curves of cells, and what it cost each to come down to an error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoencoders.study.standings import Standing

MOST_POINTS = 200
NEAR = 1.1

Marks = Sequence[Mapping[str, Any]]
Outcome = Mapping[str, Any]


def curve(standing: Standing) -> dict[str, Any]:
    """The mean held-out error over seeds by epoch, as far as every seed has come that has an error.

    Epochs count the passes of a pretraining too. There are at most 200 points, the last epoch among them.
    """
    runs = _runs(standing)
    length = min((len(marks) for _, marks in runs), default=0)
    shown = sorted({round(place) for place in np.linspace(0, length - 1, min(length, MOST_POINTS))})
    points = []
    for place in shown:
        at = [(outcome, marks[place]) for outcome, marks in runs]
        points.append(
            {
                "epoch": _mean([_epochs(standing, outcome, mark) for outcome, mark in at]),
                "step": at[0][1]["step"],
                "error": _mean([mark["error"] for _, mark in at]),
                "seconds": _mean([_seconds(outcome, mark) for outcome, mark in at]),
            }
        )
    return {"cell": standing.cell, "raced_out": standing.raced_out, "points": points}


def _runs(standing: Standing) -> list[tuple[Outcome, Marks]]:
    """Each seed's outcome and its epochs; those without an error only where all are."""
    having = [outcome for outcome in standing.outcomes if outcome["curve"]]
    whole = [outcome for outcome in having if math.isfinite(standing.errors.get(outcome["seed"], math.inf))]
    return [(outcome, _finite(outcome["curve"])) for outcome in whole or having]


def _epochs(standing: Standing, outcome: Outcome, mark: Mapping[str, Any]) -> float:
    """What was used up of a budget in epochs."""
    return standing.pretraining_of(outcome) + float(mark["epoch"])


def _seconds(outcome: Outcome, mark: Mapping[str, Any]) -> float:
    return (outcome.get("init_seconds") or 0.0) + (mark.get("seconds") or 0.0)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _finite(marks: Marks) -> Marks:
    return [mark for mark in marks if mark["error"] is not None and math.isfinite(mark["error"])]


def costs(standings: Sequence[Standing], baselines: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """What it cost to come down to a few errors: half-way to PCA's, PCA's, and near the best one's.

    PCA's are targets only where all cells have the same, as those of one code size do.

    Of each target the cells all of whose seeds came there, the cheapest first, with the means over seeds of
    the first epoch, step and time at which they had.
    """
    found = []
    for error, what in _targets(standings, baselines):
        cells = [line for standing in standings if (line := _reached(standing, error)) is not None]
        if cells:
            cells.sort(key=lambda line: line["epochs"])
            found.append({"target": error, "what": what, "cells": cells})
    return found


def _targets(standings: Sequence[Standing], baselines: Mapping[str, float | None]) -> list[tuple[float, str]]:
    mean, pca = baselines.get("mean"), baselines.get("pca")
    targets: list[tuple[float, str]] = []
    alone = all(_alike(pca, standing.baselines.get("pca")) for standing in standings)
    if mean is not None and pca is not None and pca < mean and alone:
        targets += [
            ((mean + pca) / 2, "half of the way from the mean's error to PCA's"),
            (pca, "PCA's error"),
        ]
    best = min((standing.mean for standing in standings if standing.mean is not None), default=None)
    if best is not None and best > 0:
        targets.append((NEAR * best, "a tenth above the best cell's error"))
    return sorted(targets, reverse=True)


def _alike(one: float | None, other: float | None) -> bool:
    """Whether two machines' figures are one, to the digits in which they may differ."""
    return one == other or (one is not None and other is not None and math.isclose(one, other, rel_tol=1e-6))


def _reached(standing: Standing, error: float) -> dict[str, Any] | None:
    firsts = []
    for outcome in standing.outcomes:
        if outcome["seed"] not in standing.errors:
            continue
        first = next((mark for mark in _finite(outcome["curve"]) if mark["error"] <= error), None)
        if first is None:
            return None
        firsts.append((outcome, first))
    if not firsts:
        return None
    return {
        "cell": standing.cell,
        "epochs": _mean([_epochs(standing, outcome, mark) for outcome, mark in firsts]),
        "steps": _mean([mark["step"] for _, mark in firsts]),
        "seconds": _mean([_seconds(outcome, mark) for outcome, mark in firsts]),
    }
