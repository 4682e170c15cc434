"""The lines of a study's ranking: what became of each cell, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from autoencoders.diagnostics.outlook import word_of
from autoencoders.study.standings import Standing
from autoencoders.study.wording import words

DIVERGED = "training-diverged"
LOST = ("stuck", "diverges")


def line(
    standing: Standing,
    cells: Sequence[Standing],
    tied: Mapping[int, Sequence[int]],
    intervals: Mapping[int, tuple[float, float]],
    floor: float | None,
) -> dict[str, Any]:
    """A cell's line.

    Args:
        standing: the cell's.
        cells: every cell, in the plan's order.
        tied: places by place.
        intervals: of the mean error, by place.
        floor: stands in for PCA's error where that is not known.
    """
    outcomes, closed = standing.outcomes, standing.closed(floor)
    outlook = seen_outlook(standing, closed)
    return {
        "cell": standing.cell,
        "name": words(standing.cell),
        "place": standing.place,
        "error": standing.mean,
        "errors": [_plain(standing.errors.get(outcome["seed"])) for outcome in outcomes],
        "interval": pair(intervals.get(standing.place)),
        "tied_with": [cells[place].cell for place in tied[standing.place]],
        "outlook": outlook,
        "closed": closed,
        "cause": _cause(standing, outlook),
        "rung": standing.rung,
        "raced_out": standing.raced_out,
        "failed": standing.failed,
        "pretraining": standing.pretraining,
        "epochs": _epochs(standing),
        "ended": [outcome.get("ended") for outcome in outcomes],
        "learning_rate": _only([outcome.get("learning_rate") for outcome in outcomes]),
        "learning_rates": [outcome.get("learning_rate") for outcome in outcomes],
        "chosen": [outcome["chosen"] for outcome in outcomes if outcome.get("chosen") is not None],
        "seconds": {
            "init": _mean(outcome.get("init_seconds") for outcome in outcomes),
            "train": _mean(outcome.get("seconds") for outcome in outcomes),
        },
        "jobs": [outcome["job"] for outcome in outcomes],
    }


def seen_outlook(standing: Standing, closed: float | None) -> str | None:
    """What a verdict would have had to say: the share of the way that was closed tells.

    A cell that still trains, or was raced out before it had closed a tenth, is not judged: it may still come.
    Where every training failed it is `diverges` if one of them diverged.
    """
    if not standing.over:
        return None
    if closed is not None:
        seen = word_of(closed)
        return None if standing.raced_out and seen in LOST else seen
    problems = [outcome.get("problem") or {} for outcome in standing.outcomes]
    diverged = any(str(problem.get("type", "")).endswith(DIVERGED) for problem in problems)
    return "diverges" if diverged else None


def stuck(standing: Standing, floor: float | None) -> dict[str, Any] | None:
    """What is known of a cell that had not left the plateau when it ended; None for the others.

    One that was raced out is among them where the diagnosis had said that it would not.
    """
    closed = standing.closed(floor)
    outlook = seen_outlook(standing, closed)
    verdict = (standing.diagnosis or {}).get("verdict") or {}
    foretold = standing.raced_out and verdict.get("outlook") in LOST
    if outlook not in LOST and not (outlook is None and standing.over and closed is not None and foretold):
        return None
    return {
        "cell": standing.cell,
        "name": words(standing.cell),
        "error": standing.mean,
        "outlook": outlook,
        "closed": closed,
        "epochs": _epochs(standing),
        "raced_out": standing.raced_out,
        "forecast": verdict.get("outlook"),
        "cause": _cause(standing, outlook),
        "cure": verdict.get("cure"),
        "evidence": verdict.get("evidence"),
    }


def pair(interval: tuple[float, float] | None) -> list[float] | None:
    """An interval as JSON has it."""
    return None if interval is None else list(interval)


def _cause(standing: Standing, outlook: str | None) -> str | None:
    """Why a cell did not learn: what its training said when it failed, or what its start showed."""
    if standing.failed:
        problems = [outcome["problem"] for outcome in standing.outcomes if outcome.get("problem")]
        problem = problems[0] if problems else {}
        told = problem.get("detail") or problem.get("title")
        if told:
            return str(told)
    if outlook == "learns" or (outlook is None and not standing.raced_out):
        return None
    verdict = (standing.diagnosis or {}).get("verdict")
    if not verdict:
        return None
    if verdict["outlook"] == "learns":
        return f"its start was held to be healthy: {verdict['cause']}"
    return str(verdict["cause"])


def _epochs(standing: Standing) -> float | None:
    """The mean over seeds of what it used of a budget in epochs, a pretraining counted."""
    reached = [
        standing.pretraining_of(outcome) + outcome["curve"][-1]["epoch"]
        for outcome in standing.outcomes
        if outcome["curve"]
    ]
    return float(np.mean(reached)) if reached else None


def _plain(error: float | None) -> float | None:
    return error if error is not None and math.isfinite(error) else None


def _only(values: Sequence[Any]) -> Any:
    """The value, where all seeds have the same."""
    return values[0] if values and all(value == values[0] for value in values) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
