"""Learning rates that are found: by short trainings on a grid that widens, or by a range test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from autoencoders import build
from autoencoders.diagnostics import Plan
from autoencoders.diagnostics.stepper import Stepper
from autoencoders.diagnostics.trial import try_training
from autoencoders.events import Event, Initialised
from autoencoders.experiment import DIAGNOSED_ROWS, Experiment
from autoencoders.optim import optimizers
from autoencoders.spec import Spec
from autoencoders.study.race import Outcome, Race, length_of, sampled
from autoencoders.training.aligned import aligned
from autoencoders.training.state import copied

Rule: TypeAlias = Literal["fixed", "trial", "range_test"]
Make = Callable[[Spec], Experiment]

WORD = "learning_rate"
TRIAL_STEPS = 200
"""Of each training on the grid, where the job has so many."""
STEP = 3.0
"""The ratio of neighbours on the grid."""
FURTHEST = 4
"""How many neighbours the grid may widen to on either side of the spec's own rate."""
RANGE_STEPS = 200
DECADES = 3
"""How far below and above the spec's own rate a range test begins and ends."""
SMOOTHING = 0.9
FALLEN = 0.01
"""A loss that never falls by this share of where it began does not say where it turns up."""


def with_rate(spec: Spec, rate: float) -> Spec:
    """The spec at another learning rate."""
    parameters = {**spec.optimizer.parameters(), "learning_rate": rate}
    return spec.model_copy(
        update={"optimizer": optimizers.choose({"name": spec.optimizer.name, **parameters})}
    )


def rate_in(spec: Spec) -> float:
    """The spec's learning rate."""
    return float(spec.optimizer.parameters()["learning_rate"])


@dataclass
class Rates:
    """One search for a learning rate.

    Args:
        spec: resolved, its init settled; its own rate is where the search begins.
        make: the experiment of a spec.
        clock: seconds that only go forward.

    Attributes:
        chosen: the rate, once a search is over.
        evidence: what it rests on; nothing in it but `seconds` depends on how fast it went.
    """

    spec: Spec
    make: Make
    clock: Callable[[], float]
    chosen: float | None = None
    evidence: dict[str, Any] | None = None

    @property
    def settled(self) -> Spec:
        """The spec at the chosen rate, once there is one."""
        return self.spec if self.chosen is None else with_rate(self.spec, self.chosen)

    def run(self, rule: Literal["trial", "range_test"]) -> Iterator[Event]:
        """Search by a rule; an event with the rate and the evidence comes last."""
        began, first = self.clock(), self.make(self.spec)
        for _ in first.initialise():
            pass
        if rule == "trial":
            yield from self._try_grid(first)
        else:
            self._test_range(first)
        assert self.evidence is not None
        seconds = self.clock() - began
        self.evidence = {"rule": rule, "given": rate_in(self.spec), "chosen": self.chosen, **self.evidence}
        self.evidence["seconds"] = round(seconds, 3)
        detail = {"chosen": self.chosen, "evidence": self.evidence}
        yield Initialised(word=WORD, part="model", seconds=seconds, detail=detail)

    def _try_grid(self, first: Experiment) -> Iterator[Event]:
        """Short trainings from the same start at rates in steps of 3, from the spec's own outwards.

        The grid widens while its best lies at an edge; what diverges counts as infinitely bad. Of equals the
        one nearest to the spec's own is taken.
        """
        dataset, start = first.dataset, copied(dict(first.model.state_dict()))
        length = length_of(self.spec, len(dataset.training), dataset.facts.features, TRIAL_STEPS)
        race, errors = Race(first, length, clock=self.clock), dict[int, float]()
        ahead = [0, -1, 1]
        while ahead:
            place = ahead.pop(0)
            experiment = self.make(with_rate(self.spec, self._at(place)))
            experiment.model.load_state_dict(start)
            experiment.factors = dict(first.factors)
            for event in race.run(experiment):
                if isinstance(event, Outcome):
                    errors[place] = event.error
                else:
                    yield event
            if not ahead and (further := _beyond(errors)) is not None:
                ahead.append(further)
        best = _best(errors)
        self.chosen = self._at(best)
        tried = [{"rate": self._at(place), "error": _plain(errors[place])} for place in sorted(errors)]
        self.evidence = {"tried": tried, "steps": length.steps}

    def _at(self, place: int) -> float:
        return float(f"{rate_in(self.spec) * STEP**place:.6g}")

    def _test_range(self, experiment: Experiment) -> None:
        """A tenth of the rate at which the smoothed loss is least while the rate grows (Smith, 2017).

        The rate grows by the same factor each step, from a thousandth of the spec's own to a thousand times
        it. Where the loss never falls, the spec's own rate stays.
        """
        dataset, own = experiment.dataset, rate_in(self.spec)
        plan = build.plan(experiment.spec, dataset, experiment.model, experiment.factors)
        rows, held_out = (
            aligned(experiment.affine.apply(part), experiment.device)
            for part in (
                sampled(dataset.training, DIAGNOSED_ROWS, plan.seed),
                sampled(dataset.held_out, DIAGNOSED_ROWS // 4, plan.seed),
            )
        )
        growing = _Growing(**{**vars(plan), "steps": RANGE_STEPS})
        losses = try_training(Stepper(experiment.model, growing, rows), held_out).losses
        curve = smoothed([loss for loss in losses if math.isfinite(loss)])
        factors = growing.factors()
        lowest = turning(curve)
        turns_up = None if lowest is None else own * factors[lowest]
        self.chosen = own if turns_up is None else float(f"{turns_up / 10:.6g}")
        points = [[float(f"{own * factors[step]:.6g}"), curve[step]] for step in range(0, len(curve), 4)]
        self.evidence = {"turns_up": turns_up, "curve": points, "steps": len(losses)}


class _Growing(Plan):
    """A plan whose rate grows by the same factor each step."""

    def factors(self) -> list[float]:
        """From a thousandth of the rate to a thousand times it."""
        last = max(1, self.steps - 1)
        return [10.0 ** (2 * DECADES * step / last - DECADES) for step in range(self.steps)]


def smoothed(losses: Sequence[float]) -> list[float]:
    """The running mean that forgets a tenth a step, without its bias towards the first loss."""
    found, mean = list[float](), 0.0
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**step))
    return found


def turning(curve: Sequence[float]) -> int | None:
    """Where a smoothed loss is least; None where it never falls by a hundredth of what it began with."""
    lowest = min(range(len(curve)), key=curve.__getitem__, default=None)
    if lowest is None or curve[lowest] >= curve[0] - FALLEN * abs(curve[0]):
        return None
    return lowest


def _best(errors: dict[int, float]) -> int:
    return min(errors, key=lambda place: (errors[place], abs(place), place))


def _beyond(errors: dict[int, float]) -> int | None:
    """The place beyond the edge at which the best lies; downwards where everything diverged."""
    best, lowest, highest = _best(errors), min(errors), max(errors)
    if not math.isfinite(errors[best]) or best == lowest:
        return lowest - 1 if lowest > -FURTHEST else None
    return highest + 1 if best == highest and highest < FURTHEST else None


def _plain(error: float) -> float | None:
    return error if math.isfinite(error) else None
