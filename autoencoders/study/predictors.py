"""Which figures of the diagnosis, taken before the first step, told how the cells would end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autoencoders.study.standings import Standing

FEWEST = 5
MOST = 12

MEANS: Mapping[str, str] = {
    "expected.closed": "the share of the way to PCA's error that the forecast expects",
    "expected.signal": "the forecast without what wrong levels and scales still cost",
    "expected.excess": "what the forecast expects wrong levels and scales still to cost",
    "trial.closed": "the share of the way that the short trial closed",
    "trial.gain": "how far reconstructions follow their rows after the trial",
    "code.correlation": "how alike the codes of different rows are at the start",
    "code.active": "code units that tell rows apart at the start",
    "code.effective_rank": "directions that the codes use at the start",
    "code.after.effective_rank": "directions that the codes use after the trial",
    "code.variance": "the codes' variance over rows at the start",
    "code.readable": "what the best linear decoder could read from the codes at the start",
    "saturated": "the share of hidden numbers where the activation is flat",
    "gradient_ratio": "the first layer's gradient over the last one's",
    "jacobian.mean_square": "the mean square of the Jacobian's singular values",
    "jacobian.variance": "the variance of their squares",
    "losses.start": "the error before the first step",
    "reconstruction.cosine": "the cosine between a row and its first reconstruction",
}
"""The figures that are compared, and what each is."""


def predictors(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """Spearman's rank correlation (1904) of each figure with the cells' order, the strongest first.

    A figure counts where five cells or more have it, averaged over seeds, and not all alike. Cells whose
    trainings failed stand behind all others.
    """
    judged = [standing for standing in standings if standing.errors]
    figures = [_figures(standing) for standing in judged]
    outcome = [standing.order[1:3] for standing in judged]
    found: list[tuple[float, dict[str, Any]]] = []
    for name, means in MEANS.items():
        having = [place for place, known in enumerate(figures) if name in known]
        if len(having) < FEWEST:
            continue
        correlation = spearman(
            _ranks([figures[place][name] for place in having]), _ranks([outcome[place] for place in having])
        )
        if correlation is not None:
            line = {"figure": name, "correlation": correlation, "cells": len(having), "means": means}
            found.append((abs(correlation), line))
    return [line for _, line in sorted(found, key=lambda pair: -pair[0])[:MOST]]


def _figures(standing: Standing) -> dict[str, float]:
    read = [dict(_read(diagnosis)) for diagnosis in standing.diagnoses]
    names = set.intersection(*(set(known) for known in read)) if read else set()
    return {name: float(np.mean([known[name] for known in read])) for name in names}


def _read(diagnosis: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    evidence = (diagnosis.get("verdict") or {}).get("evidence") or {}
    for name in MEANS:
        value: Any = evidence.get(name)
        if name not in evidence:
            value = diagnosis
            for part in name.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, int | float) and math.isfinite(value):
            yield name, float(value)


def _ranks(values: Sequence[Any]) -> npt.NDArray[np.float64]:
    """The rank of each value; equal ones share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = np.empty(len(values))
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        ranks[order[start:end]] = (start + end - 1) / 2
        start = end
    return ranks


def spearman(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float | None:
    """The correlation of two rankings [n]; None where either has one value alone."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return round(float(np.corrcoef(one, other)[0, 1]), 12)
