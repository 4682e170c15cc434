"""What `auto` becomes: candidates are diagnosed, the best few race on the rows, the race's best is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from autoencoders import build
from autoencoders.data.dataset import Dataset
from autoencoders.diagnostics import Deadline
from autoencoders.diagnostics.deadline import NEVER
from autoencoders.errors import AutoencoderError
from autoencoders.events import Event, Initialised, Log
from autoencoders.experiment import DIAGNOSED_ROWS, Experiment
from autoencoders.init import InitChoice
from autoencoders.init.auto import FEWEST_STEPS, FINALISTS, WORD
from autoencoders.spec import Spec
from autoencoders.study.candidates import candidates
from autoencoders.study.race import NEWS_SECONDS, Length, Outcome, Race, job_steps, label, length_of
from autoencoders.training.batches import steps_per_epoch

IN_FRONT = 3
"""How many run another round at the most."""
CLOSE = 1.25
"""Errors within this ratio of the best leave open who is better after more steps."""
FEWEST = 3
"""How many race, whatever is expected of them."""
SURE = 0.9
"""Above it forecasts do not tell starts apart."""
BEHIND = 0.25
"""Who else is expected to close so much less of the way than the best does not race."""
FEWEST_IN_HASTE = 10
"""With a deadline a race of fewer steps than these would say nothing, and the forecasts decide."""

BROKEN = (AutoencoderError, RuntimeError, ValueError)
"""What ends one of several, and not all: a pretraining that diverges, a decomposition that fails."""

Make = Callable[[InitChoice], Experiment]


class NoCandidate(AutoencoderError):
    """No init can begin this model on these rows."""


@dataclass
class Entry:
    """One candidate, and what was found of it.

    Attributes:
        choice: the init.
        outlook: the forecast's word.
        forecast: the share of the way from the mean's error to PCA's that it is expected to close.
        rounds: what became of it in each round of the race.
        why: what kept it from a round's end, or from the race.
        pretraining: the passes over the rows that it begins with, as steps of the job.
        seconds: that each part took.
        start: the experiment with its first weights, while it may still race.
    """

    choice: InitChoice
    outlook: str | None = None
    forecast: float | None = None
    rounds: list[Outcome] = field(default_factory=list)
    why: str | None = None
    pretraining: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    start: Experiment | None = None

    @property
    def expected(self) -> float:
        """The forecast as something to sort by; of equals the one that stands first among candidates."""
        return -math.inf if self.forecast is None else min(self.forecast, SURE)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `error`, the last round's, is null where it did not race, or not to the end."""
        last = self.rounds[-1] if self.rounds else None
        return {
            "init": self.choice.model_dump(mode="json"),
            "outlook": self.outlook,
            "forecast": _plain(self.forecast),
            "raced": last is not None,
            "error": None if last is None else _plain(last.error),
            "rounds": [{"steps": found.steps, "error": _plain(found.error)} for found in self.rounds],
            "pretraining": self.pretraining,
            "why": self.why if last is None else last.why,
            "seconds": {part: round(took, 3) for part, took in self.seconds.items()},
        }


class Auto:
    """One choice of an init.

    Args:
        spec: resolved and checked; its init is `auto`.
        dataset: the rows.
        make: the experiment of this spec with another init; of fewer epochs, where it is pretrained instead.
        clock: seconds that only go forward.
        deadline: when there must be a choice, made of what is known by then.
        diagnosed_rows: how many rows a diagnosis looks at.
        counts_pretraining: whether a pretraining's passes over the rows are epochs of the spec.

    Attributes:
        chosen: the race's best, once `run` is over.
        evidence: what it rests on, as plain values; nothing in it but `seconds` depends on how fast it went.
    """

    def __init__(
        self,
        spec: Spec,
        dataset: Dataset,
        make: Make,
        *,
        clock: Callable[[], float],
        deadline: Deadline = NEVER,
        diagnosed_rows: int = DIAGNOSED_ROWS,
        counts_pretraining: bool = False,
    ) -> None:
        assert isinstance(spec.init, InitChoice)
        assert spec.init.name == WORD, "only `auto` is chosen for"
        self._spec, self._dataset, self._make, self._wanted = spec, dataset, make, spec.init
        self._clock, self._deadline, self._diagnosed_rows = clock, deadline, diagnosed_rows
        self._epochs = spec.training.epochs if counts_pretraining else None
        self._job_steps = job_steps(spec, len(dataset.training))
        self._spent = {"pretraining": 0, "diagnoses": 0, "race": 0}
        self._baselines: dict[str, float | None] | None = None
        self._rounds: list[Length] = []
        self.chosen: InitChoice | None = None
        self.evidence: dict[str, Any] = {}

    def run(self) -> Iterator[Event]:
        """Choose; an event for each diagnosis, each runner, and at last the choice with its evidence.

        Raises:
            NoCandidate: none could be initialised.
        """
        began, soon = self._clock(), self._deadline.share(0.5)
        entries = self._entries()
        for entry in entries:
            if entry is not entries[0] and soon.has_passed():
                entry.why = "there was no time to look at it"
                continue
            yield from self._diagnose(entry)
            _leave_the_weakest(entries)
        finalists = [entry for entry in entries if entry.start is not None]
        if not finalists:
            said = "; ".join(f"{entry.choice.name}: {entry.why}" for entry in entries)
            raise NoCandidate(f"no candidate for `{WORD}` could begin this model: {said}")
        yield from self._race(_worth_a_race(finalists))
        self.chosen = min(finalists, key=rank).choice
        self.evidence = self._found(entries, self._clock() - began)
        detail = {"chosen": self.chosen.model_dump(mode="json"), "evidence": self.evidence}
        yield Initialised(word=WORD, part="model", seconds=self._clock() - began, detail=detail)

    def _entries(self) -> list[Entry]:
        with torch.device("meta"):
            model = build.model(self._spec, self._dataset.facts)
        rows = len(self._dataset.training)
        found = [Entry(choice) for choice in candidates(self._wanted, model, rows, epochs=self._epochs)]
        per_epoch = steps_per_epoch(rows, self._spec.training.batch_size)
        for entry in found:
            entry.pretraining = round(per_epoch * entry.choice.passes(model, model.layers(), rows))
        return found

    def _diagnose(self, entry: Entry) -> Iterator[Event]:
        began = self._clock()
        try:
            experiment = self._make(entry.choice)
            yield from self._initialise(experiment)
            entry.seconds["initialisation"] = self._clock() - began
            self._spent["pretraining"] += entry.pretraining
            if self._baselines is not None:
                # Those of the rows, for which the spectrum need not be taken again.
                experiment.baselines = self._baselines
            self._baselines = experiment.baselines
        except BROKEN as error:
            entry.why = " ".join(str(error).split())[:300]
            return
        entry.start = experiment
        self._forecast(entry, experiment)
        entry.seconds["diagnosis"] = self._clock() - began - entry.seconds["initialisation"]
        yield self._news(entry, "diagnosis", self._clock() - began)

    def _initialise(self, experiment: Experiment) -> Iterator[Event]:
        """What a candidate says of itself is not the job's: only that it goes on is passed on."""
        told = self._clock()
        for _ in experiment.initialise():
            if self._clock() - told >= NEWS_SECONDS:
                told = self._clock()
                yield Log(message=f"{WORD}: initialising by {label(experiment.spec)}")

    def _forecast(self, entry: Entry, experiment: Experiment) -> None:
        left = self._deadline.share(0.5)
        seconds = None if math.isinf(left.at) else max(0.0, left.at - self._clock()) / FINALISTS
        try:
            found = experiment.diagnose(self._diagnosed_rows, seconds=seconds)
        except BROKEN as error:
            entry.why = f"it could not be diagnosed: {' '.join(str(error).split())[:300]}"
            return
        assert found.trial is not None
        assert found.verdict is not None
        self._spent["diagnoses"] += found.trial.steps
        closed = found.verdict.evidence["expected.closed"]
        entry.outlook, entry.forecast = found.verdict.outlook, closed

    def _race(self, runners: Sequence[Entry]) -> Iterator[Event]:
        """A round of all, and where it was close one of twice the length between those in front."""
        left = float(self._wanted.parameters()["budget"]) * self._job_steps - sum(self._spent.values())
        wanted = max(FEWEST_STEPS, int(left / (2 * len(runners))))
        if not math.isinf(self._deadline.at):
            wanted = min(FEWEST_STEPS, self._affordable(runners))
            if wanted < FEWEST_IN_HASTE:
                return
        yield from self._round(runners, wanted)
        steps, close = self._rounds[-1].steps, in_front(runners)
        if len(close) > 1 and steps < self._job_steps and math.isinf(self._deadline.at):
            left -= self._spent["race"]
            yield from self._round(close, max(2 * steps, int(left / len(close))))

    def _affordable(self, runners: Sequence[Entry]) -> int:
        """The steps for which each runner has time in the bounds of a diagnosis."""
        first = runners[0].start
        assert first is not None, "a runner has a start"
        return build.plan(first.spec, self._dataset, first.model).affordable // len(runners)

    def _round(self, runners: Sequence[Entry], wanted: int) -> Iterator[Event]:
        dataset = self._dataset
        rows, features = len(dataset.training), dataset.facts.features
        self._rounds.append(length_of(self._spec, rows, features, wanted))
        course: Race | None = None
        for place, entry in enumerate(runners):
            began, experiment = self._clock(), entry.start
            assert experiment is not None, "a runner has a start"
            # Whose epochs went to its pretraining may have fewer than the others run.
            length = length_of(experiment.spec, rows, features, wanted)
            if course is None or course.length != length:
                course = Race(experiment, length, clock=self._clock)
            seconds = None
            if not math.isinf(self._deadline.at):
                seconds = max(0.0, self._deadline.at - began) / (len(runners) - place)
            for event in course.run(experiment, seconds=seconds):
                if isinstance(event, Outcome):
                    entry.rounds.append(event)
                    self._spent["race"] += event.steps
                else:
                    yield event
            entry.seconds["race"] = entry.seconds.get("race", 0.0) + self._clock() - began
            yield self._news(entry, "race", self._clock() - began)

    def _news(self, entry: Entry, phase: str, seconds: float) -> Event:
        return Initialised(
            word=WORD, part="model", seconds=seconds, detail={"phase": phase, "candidate": entry.to_json()}
        )

    def _found(self, entries: Sequence[Entry], seconds: float) -> dict[str, Any]:
        assert self.chosen is not None
        return {
            "chosen": self.chosen.model_dump(mode="json"),
            "candidates": [entry.to_json() for entry in sorted(entries, key=rank)],
            "rounds": [asdict(length) for length in self._rounds],
            "steps": dict(self._spent),
            "job_steps": self._job_steps,
            "share": round(sum(self._spent.values()) / self._job_steps, 4),
            "budget": self._wanted.parameters()["budget"],
            "baselines": self._baselines,
            "seconds": round(seconds, 3),
        }


def _plain(figure: float | None) -> float | None:
    return figure if figure is not None and math.isfinite(figure) else None


def _leave_the_weakest(entries: Sequence[Entry]) -> None:
    """Let go of the starts that will not race: only the best few forecasts so far are kept in memory."""
    waiting = [entry for entry in entries if entry.start is not None]
    for entry in sorted(waiting, key=lambda entry: -entry.expected)[FINALISTS:]:
        entry.start = None


def _worth_a_race(entries: Sequence[Entry]) -> list[Entry]:
    ranked = sorted(entries, key=lambda entry: -entry.expected)
    least = ranked[0].expected - BEHIND
    return [entry for place, entry in enumerate(ranked) if place < FEWEST or not entry.expected < least]


def in_front(entries: Sequence[Entry]) -> list[Entry]:
    """Those in front, where the round before does not tell them apart."""
    front = sorted(entries, key=rank)[:IN_FRONT]
    return [entry for entry in front if _error(entry) <= CLOSE * _error(front[0]) < math.inf]


def _error(entry: Entry) -> float:
    return entry.rounds[-1].error if entry.rounds else math.inf


def rank(entry: Entry) -> tuple[bool, int, float, float]:
    """Those with an error first, of them who got furthest, by that error; the others by forecast."""
    return (math.isinf(_error(entry)), -len(entry.rounds), _error(entry), -entry.expected)
