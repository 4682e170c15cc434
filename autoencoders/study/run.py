"""A study in one process, without a queue: for notebooks and benchmarks.

study = Study({"code": 8}, Dataset.open(folder), preset="inits-x-activations", seeds=[0, 1, 2], racing=True)
for told in study.run():
    print(told.cell, told.seed, told.event)
print(study.report()["advice"])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from autoencoders.data.dataset import Dataset
from autoencoders.errors import TrainingDiverged
from autoencoders.events import Checkpoint, Diagnosed, Epoch, Event, Finished, Initialised
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from autoencoders.study import rungs
from autoencoders.study.auto import BROKEN
from autoencoders.study.grid import Document
from autoencoders.study.planning import Cell, LearningRate, plan
from autoencoders.study.ranking import DIVERGED
from autoencoders.study.rates import rate_in
from autoencoders.study.report import compose
from autoencoders.study.settle import Settling, time_left
from autoencoders.training import TrainingState

POINT = ("epoch", "step", "error", "loss", "seconds")


@dataclass(frozen=True)
class Told:
    """What one training of a study yields.

    Attributes:
        cell: its cell's place in the plan.
        seed: from which it is trained.
        event: what happened.
    """

    cell: int
    seed: int
    event: Event


class Study:
    """A grid of trainings on one dataset, one after the other, and the report on them.

    Every training that is stopped at a rung waits as the state of its last epoch, in memory, and goes on from
    it exactly. Arguments are those of `plan`, and of `Experiment`.

    Attributes:
        plan: the cells.

    Raises:
        SpecRefused: as `plan` does.
    """

    def __init__(
        self,
        base: Mapping[str, Any],
        dataset: Dataset,
        *,
        grid: Mapping[str, Sequence[Any]] | None = None,
        preset: str | None = None,
        seeds: Sequence[int] = (0,),
        budget: Mapping[str, float] | None = None,
        learning_rate: LearningRate = "fixed",
        racing: bool = False,
        unfit: Literal["refuse", "skip"] = "refuse",
        device: torch.device | str = "cpu",
        threads: int | None = None,
        earlier: Callable[[str], Path] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = plan(
            base,
            facts=dataset.facts,
            grid=grid,
            preset=preset,
            seeds=seeds,
            budget=budget,
            learning_rate=learning_rate,
            racing=racing,
            unfit=unfit,
        )
        self._document = {"base": dict(base), "preset": preset}
        hardware: dict[str, Any] = {"device": device, "threads": threads, "earlier": earlier, "clock": clock}
        self._trainings = [
            _Training(
                place,
                cell,
                seed,
                dataset,
                learning_rate=learning_rate,
                seconds=self.plan.budget.get("seconds"),
                hardware=hardware,
            )
            for place, cell in enumerate(self.plan.cells)
            for seed in self.plan.seeds
        ]

    def run(self) -> Iterator[Told]:
        """Train every cell from every seed, rung by rung."""
        for number, rung in enumerate(self.plan.rungs, start=1):
            for training in self._trainings:
                yield from training.go_on(number, rung["seconds"] if rung["keep"] else None)
            if rung["keep"] is not None and any(training.waits for training in self._trainings):
                self._stop_losers(rung["keep"])

    def _stop_losers(self, keep: int) -> None:
        errors = [
            [
                training.error
                for training in self._trainings
                if training.place == place and not training.outcome["raced_out"]
            ]
            for place in range(len(self.plan.cells))
        ]
        stay = rungs.survivors(errors, keep)
        for training in self._trainings:
            if training.place not in stay:
                training.lose()

    @property
    def outcomes(self) -> list[Document]:
        """What each training has shown so far, as `compose` reads it."""
        return [training.outcome for training in self._trainings]

    def report(self) -> Document:
        """The report, at any time: see `compose`."""
        states = {outcome["state"] for outcome in self.outcomes}
        over = states <= {"succeeded", "failed", "cancelled"}
        state = ("succeeded" if "succeeded" in states else "failed") if over else "running"
        known: dict[str, float | None] = next(
            (one["baselines"] for one in self.outcomes if one["baselines"]), {}
        )
        return compose(self._document, self.plan.document(), self.outcomes, baselines=known, state=state)


class _Training:
    """One training of one cell: its outcome so far, and the state in which it waits."""

    def __init__(
        self,
        place: int,
        cell: Cell,
        seed: int,
        dataset: Dataset,
        *,
        learning_rate: LearningRate,
        seconds: float | None,
        hardware: Mapping[str, Any],
    ) -> None:
        described = {key: value for key, value in cell.job.items() if key in Spec.model_fields}
        described["training"] = {**described["training"], "seed": seed}
        self.place, self._cell, self._dataset = place, cell, dataset
        self._spec = Spec.model_validate(described)
        self._learning_rate, self._hardware = learning_rate, hardware
        self._seconds, self._settling_seconds = seconds, 0.0
        self._state: TrainingState | None = None
        self.outcome: dict[str, Any] = {
            "job": f"{place}.{seed}",
            "cell": place,
            "seed": seed,
            "state": "queued",
            "rung": 1,
            "raced_out": False,
            "error": None,
            "ended": None,
            "problem": None,
            "model": None,
            "baselines": None,
            "curve": [],
            "init_seconds": None,
            "seconds": None,
            "diagnosis": None,
            "init": None,
            "learning_rate": None,
            "chosen": None,
            "pretraining": None,
            "attempts": 1,
        }

    @property
    def error(self) -> float:
        """What the race goes by."""
        error = self.outcome["error"]
        return float("inf") if error is None or self.outcome["state"] == "failed" else float(error)

    @property
    def waits(self) -> bool:
        """Whether it is at a rung, with more to come."""
        return self._state is not None

    def lose(self) -> None:
        """Take no further part."""
        self.outcome["raced_out"] = True
        if self.outcome["state"] in ("queued", "running"):
            self.outcome["state"] = "cancelled"
        self._state = None

    def go_on(self, number: int, until_seconds: float | None) -> Iterator[Told]:
        """Train on to a rung, counted from 1, or to the end; whoever is over or raced out stays so."""
        if self.outcome["state"] not in ("queued", "running"):
            return
        self.outcome |= {"state": "running", "rung": number}
        try:
            for event in self._events(number, until_seconds):
                self._note(event)
                yield Told(self.place, self.outcome["seed"], event)
        except BROKEN as error:
            kind = DIVERGED if isinstance(error, TrainingDiverged) else type(error).__name__
            problem = {"type": kind, "title": "The training failed", "detail": str(error)}
            self.outcome |= {"state": "failed", "error": None, "problem": problem}
            self._state = None

    def _events(self, number: int, until_seconds: float | None) -> Iterator[Event]:
        if self._state is None:
            yield from self._settled()
        experiment = Experiment(
            self._spec,
            self._dataset,
            checkpoint_seconds=float("inf"),
            rehearse=False,  # what becomes of it will be seen
            budget_seconds=self._seconds,
            **self._hardware,
        )
        self.outcome["baselines"] = experiment.baselines
        pause = self._cell.pauses[number - 1]
        if pause is not None and self.outcome["pretraining"]:
            pause = rungs.pause(number, pause, self.outcome["pretraining"])
        for event in experiment.run(self._state):
            yield event
            if isinstance(event, Epoch) and rungs.is_due(
                event.epoch,
                of=event.epochs,
                spent=self._spent(event),
                pause_epochs=pause,
                pause_seconds=until_seconds,
            ):
                experiment.checkpoint()
            if isinstance(event, Checkpoint):
                self._state = event.state
                return
        self._state = None

    def _settled(self) -> Iterator[Event]:
        """Choose what the spec leaves open: an init that stands for others, and the rate where asked to."""
        settling = Settling(
            self._spec,
            self._dataset,
            learning_rate=self._learning_rate,
            counts_pretraining=self._seconds is None,
            **self._hardware,
        )
        if not settling.is_needed:
            return
        began = self._hardware["clock"]()
        yield from settling.run()
        self._settling_seconds = self._hardware["clock"]() - began
        self._seconds = time_left(self._seconds, self._settling_seconds)
        self._spec = settling.spec
        if settling.evidence["auto"] is not None:
            self.outcome["chosen"] = self._spec.model_dump(mode="json")["init"]
            self.outcome["pretraining"] = settling.pretraining
        if settling.evidence["learning_rate"] is not None:
            self.outcome["learning_rate"] = rate_in(self._spec)

    def _spent(self, event: Epoch) -> float:
        """All seconds of its budget that are gone."""
        return self._settling_seconds + (self.outcome["init_seconds"] or 0.0) + event.seconds

    def _note(self, event: Event) -> None:
        outcome = self.outcome
        match event:
            case Initialised():
                outcome["init"] = event.to_json()
                if "layers" in event.detail:  # a word is through; its own epochs were told before
                    outcome["init_seconds"] = (outcome["init_seconds"] or 0.0) + event.seconds
            case Diagnosed():
                outcome["diagnosis"] = event.diagnosis
            case Epoch():
                outcome["curve"].append({name: getattr(event, name) for name in POINT})
                outcome["error"] = min(event.error, self.error)
                outcome["seconds"] = event.seconds
            case Finished():
                outcome |= {"state": "succeeded", "ended": event.ended, "error": event.error}
                outcome["seconds"] = event.seconds
            case _:
                pass
