"""The report of a study, made of its plan and its trainings' outcomes at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoencoders.study import bootstrap, standings
from autoencoders.study.advice import advice, recommended
from autoencoders.study.curves import costs, curve
from autoencoders.study.heat_map import heat_map
from autoencoders.study.notes import notes
from autoencoders.study.predictors import predictors
from autoencoders.study.ranking import line, pair, stuck
from autoencoders.study.standings import Standing
from autoencoders.study.wording import words


def compose(
    document: Mapping[str, Any],
    plan: Mapping[str, Any],
    outcomes: Sequence[Mapping[str, Any]],
    *,
    baselines: Mapping[str, float | None],
    state: str,
) -> dict[str, Any]:
    """Everything that a study has shown so far, as JSON.

    Nothing in it depends on timing but what is called seconds: the same figures of an undisturbed study and
    of one whose workers were lost give the same report, where the budget is in epochs.

    Args:
        document: the study's request.
        plan: as `Plan.document` has it.
        outcomes: of the trainings that there are: `job`, `cell` and `seed`, `state`, `rung` and `raced_out`,
            `error` (the best held-out one), `curve` of epochs, `init_seconds`, `seconds`, `diagnosis`,
            `chosen` and `learning_rate` where they were settled, `problem`, `model`, `baselines`.
        baselines: held-out errors of the mean and of PCA, for cells whose outcomes bring none.
        state: of the study.

    Returns:
        `complete`, what was asked for, `baselines`, `ranking`, `best`, `stuck`, `cost`, `curves`, `heat_map`,
        `predictors`, `recommended`, `advice`, `notes`, `skipped`. Errors are squared, summed over a row's
        features and averaged over held-out rows, in scaled units.
    """
    cells = standings.read(plan, outcomes, baselines)
    ranked = sorted(cells, key=lambda standing: standing.order)
    complete = state in ("succeeded", "failed", "cancelled") and all(standing.over for standing in cells)
    tied = standings.ties(cells)
    intervals = _intervals(cells)
    floor = min((standing.mean for standing in cells if standing.mean is not None), default=None)
    best = _best(ranked)
    front = [best, *(standing for standing in ranked if standing is not best)] if best else ranked
    unknown_pca = any(standing.finite and standing.baselines.get("pca") is None for standing in cells)
    return {
        "complete": complete,
        "state": state,
        "preset": document.get("preset"),
        **{name: plan[name] for name in ("grid", "seeds", "budget", "learning_rate", "racing", "rungs")},
        "baselines": {name: baselines.get(name) for name in ("mean", "pca")},
        "ranking": [line(standing, cells, tied, intervals, floor) for standing in front],
        "best": None if best is None else _best_line(best, intervals),
        "stuck": [found for standing in front if (found := stuck(standing, floor)) is not None],
        "cost": costs(cells, baselines),
        "curves": [curve(standing) for standing in front],
        "heat_map": heat_map(cells),
        "predictors": predictors(cells),
        "recommended": None if best is None else recommended(best, plan),
        "advice": advice(front, tied, intervals, complete=complete, floor=floor),
        "notes": notes(plan, cells, own_floor=unknown_pca),
        "skipped": list(plan["skipped"]),
    }


def _best(ranked: Sequence[Standing]) -> Standing | None:
    """The first that was not raced out; a racer only where all who went on have failed."""
    having = [standing for standing in ranked if standing.finite]
    stayed = [standing for standing in having if not standing.raced_out]
    return next(iter(stayed or having), None)


def _intervals(cells: Sequence[Standing]) -> dict[int, tuple[float, float]]:
    return {
        standing.place: bootstrap.interval(np.array(standing.finite))
        for standing in cells
        if standing.over and standing.mean is not None and len(standing.errors) > 1
    }


def _best_line(best: Standing, intervals: Mapping[int, tuple[float, float]]) -> dict[str, Any]:
    outcome = best.best
    assert outcome is not None, "it has a finite error"
    return {
        "cell": best.cell,
        "name": words(best.cell),
        "error": best.shown,
        "interval": pair(intervals.get(best.place)),
        "seed": outcome["seed"],
        "job": outcome["job"],
        "model": outcome.get("model"),
    }
