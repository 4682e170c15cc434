"""What each cell of a study has shown so far: its trainings' outcomes, for every part of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from autoencoders.study import bootstrap, rungs

OVER = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Standing:
    """One cell.

    Attributes:
        place: in the plan.
        cell: `{path: value}`.
        job: the body of its job.
        planned_pretraining: passes over the rows before the first step, of the init that its job names.
        outcomes: of its trainings, in the seeds' order; those that do not exist yet are left out.
        baselines: held-out errors of the mean and of PCA at its code size, as far as they are known.
    """

    place: int
    cell: dict[str, Any]
    job: dict[str, Any]
    planned_pretraining: float
    outcomes: tuple[Mapping[str, Any], ...]
    baselines: Mapping[str, float | None]

    def pretraining_of(self, outcome: Mapping[str, Any]) -> float:
        """Passes over the rows before a training's first step: the plan's, or those of a chosen init."""
        chosen = outcome.get("pretraining")
        return self.planned_pretraining if chosen is None else float(chosen)

    @property
    def pretraining(self) -> float:
        """Their mean over seeds, for which an init may have been chosen differently."""
        found = [self.pretraining_of(outcome) for outcome in self.outcomes]
        return math.fsum(found) / len(found) if found else self.planned_pretraining

    @cached_property
    def errors(self) -> dict[int, float]:
        """Best held-out errors by seed: infinite where it failed, left out where it was cancelled by hand."""
        found: dict[int, float] = {}
        for outcome in self.outcomes:
            if outcome["state"] == "failed":
                found[outcome["seed"]] = math.inf
            elif outcome["state"] == "cancelled" and not outcome["raced_out"]:
                continue
            elif outcome["error"] is not None:
                found[outcome["seed"]] = float(outcome["error"])
        return found

    @property
    def finite(self) -> list[float]:
        """The errors that are numbers."""
        return [error for error in self.errors.values() if math.isfinite(error)]

    @property
    def failed(self) -> int:
        """How many of its trainings failed."""
        return len(self.errors) - len(self.finite)

    @property
    def mean(self) -> float | None:
        """The mean error over seeds; None where there is none yet, or one failed."""
        return None if not self.errors or self.failed else self.shown

    @property
    def shown(self) -> float:
        """The mean error of the seeds that did not fail; infinite where there is none."""
        return rungs.standing(self.finite)[1]

    @property
    def raced_out(self) -> bool:
        """Whether it was stopped at a rung."""
        return any(outcome["raced_out"] for outcome in self.outcomes)

    @property
    def rung(self) -> int:
        """The rung that it came to, counted from 1."""
        return max((int(outcome["rung"]) for outcome in self.outcomes), default=1)

    @property
    def over(self) -> bool:
        """Whether none of its trainings will say more."""
        return bool(self.outcomes) and all(outcome["state"] in OVER for outcome in self.outcomes)

    @property
    def order(self) -> tuple[bool, bool, float, int]:
        """What ranks it: whether it has errors, whether a seed failed, the mean of the others, the plan."""
        return not self.errors, *rungs.standing(list(self.errors.values())), self.place

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The outcome of its best training."""
        having = [
            outcome for outcome in self.outcomes if math.isfinite(self.errors.get(outcome["seed"], math.inf))
        ]
        return min(having, key=lambda outcome: self.errors[outcome["seed"]], default=None)

    def closed(self, floor: float | None) -> float | None:
        """How much of the way from the mean's error to PCA's, or else to `floor`, is closed."""
        mean, pca = self.baselines.get("mean"), self.baselines.get("pca")
        pca = floor if pca is None else pca
        if not self.finite or mean is None or pca is None:
            return None
        way = max(mean - pca, 1e-9 * max(mean, 1e-30))
        return (mean - self.shown) / way

    @property
    def diagnosis(self) -> Mapping[str, Any] | None:
        """What was seen of its start, at the first seed that has it."""
        return next(iter(self.diagnoses), None)

    @cached_property
    def diagnoses(self) -> list[Mapping[str, Any]]:
        """What was seen of its starts."""
        found = [outcome.get("diagnosis") for outcome in self.outcomes]
        # As the event has it, one level down, or by itself.
        return [dict(seen.get("diagnosis", seen)) for seen in found if seen]


def read(
    plan: Mapping[str, Any],
    outcomes: Sequence[Mapping[str, Any]],
    baselines: Mapping[str, float | None],
) -> list[Standing]:
    """The standing of every cell of a plan, in its order; the study's baselines where a cell has no own."""
    turn = {seed: number for number, seed in enumerate(plan["seeds"])}
    by_cell: dict[int, list[Mapping[str, Any]]] = {}
    for outcome in outcomes:
        by_cell.setdefault(outcome["cell"], []).append(outcome)
    found = []
    for place, line in enumerate(plan["cells"]):
        own = sorted(by_cell.get(place, []), key=lambda outcome: turn[outcome["seed"]])
        known = next((outcome["baselines"] for outcome in own if outcome.get("baselines")), baselines)
        found.append(
            Standing(place, line["cell"], line["job"], float(line["pretraining"]), tuple(own), known)
        )
    return found


def ties(standings: Sequence[Standing]) -> dict[int, list[int]]:
    """By its place: the places of the cells that a cell is tied with.

    Compared are cells that are over, without a failed seed, that came equally far and have the same seeds,
    two at least.
    """
    alike: dict[tuple[Any, ...], list[Standing]] = {}
    for standing in standings:
        if standing.over and standing.mean is not None and len(standing.errors) > 1:
            key = (standing.raced_out, standing.rung if standing.raced_out else 0, *sorted(standing.errors))
            alike.setdefault(key, []).append(standing)
    found: dict[int, list[int]] = {standing.place: [] for standing in standings}
    for (_, _, *seeds), group in alike.items():
        errors = np.array([[standing.errors[seed] for seed in seeds] for standing in group])
        for row, standing in zip(bootstrap.tied(errors), group, strict=True):
            found[standing.place] = [group[place].place for place in np.flatnonzero(row)]
    return found
