"""Settling: what a spec leaves to be found by trying, found before anything is built.

settling = Settling(spec, dataset)
for event in settling.run():
    print(event)
experiment = Experiment(settling.spec, dataset)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from autoencoders.data.dataset import Dataset
from autoencoders.diagnostics import Deadline
from autoencoders.events import Event
from autoencoders.experiment import DIAGNOSED_ROWS, Experiment
from autoencoders.init import InitChoice, InitParts
from autoencoders.init.plan import is_open
from autoencoders.spec import Spec
from autoencoders.study.auto import Auto
from autoencoders.study.pretraining import charged, passes_of
from autoencoders.study.rates import Rates, Rule, with_rate


def time_left(budget_seconds: float | None, spent: float) -> float | None:
    """What settling leaves of a budget in seconds; never nothing, since there must be a model."""
    return None if budget_seconds is None else max(1e-3, budget_seconds - spent)


class Settling:
    """The init `auto` and the learning rate of a spec, settled on the user's rows.

    The same spec, dataset and number of threads give the same choice, unless there is a deadline.

    Args:
        spec: what to train; resolved for the dataset if it is not yet.
        dataset: the rows.
        learning_rate: `fixed`, the spec's own; `trial`, by short trainings on a grid; `range_test`.
        device: where, as torch names it.
        threads: torch's threads for the whole process; None leaves them.
        earlier: the folder of an earlier model by the name that an init gives.
        clock: seconds that only go forward.
        most_rows: the most rows, held-out ones included, that initialisations and diagnoses look at; None for
            as many as each would.
        seconds: when there must be a choice of an init, made of what is known by then; None where it may take
            what it takes.
        counts_pretraining: whether the passes of a pretraining that is chosen come off the spec's epochs, as
            those of a named one come off a study's budget.

    Attributes:
        spec: settled, once `run` is over.
        pretraining: how often the chosen init passes over the training rows; None where none was chosen.
        evidence: for `auto` and for `learning_rate`, what was tried and chosen; None where nothing was.

    Raises:
        SpecRefused: the spec cannot be built for this dataset.
    """

    def __init__(
        self,
        spec: Spec,
        dataset: Dataset,
        *,
        learning_rate: Rule = "fixed",
        device: torch.device | str = "cpu",
        threads: int | None = None,
        earlier: Callable[[str], Path] | None = None,
        clock: Callable[[], float] = time.monotonic,
        most_rows: int | None = None,
        seconds: float | None = None,
        counts_pretraining: bool = False,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.spec = spec.resolve(dataset.facts)
        self.spec.check(dataset.facts)
        self.pretraining: float | None = None
        self.evidence: dict[str, Any] = {"auto": None, "learning_rate": None}
        self._dataset, self._rule, self._device, self._earlier = dataset, learning_rate, device, earlier
        self._clock, self._most_rows, self._seconds = clock, most_rows, seconds
        self._counts_pretraining = counts_pretraining

    @property
    def is_needed(self) -> bool:
        """Whether anything of the spec is still to be found."""
        return is_open(self.spec.init) or self._rule != "fixed"

    def run(self) -> Iterator[Event]:
        """Settle the init, then the rate; nothing happens where neither is open.

        Raises:
            NoCandidate: no candidate for `auto` could begin this model.
        """
        if is_open(self.spec.init):
            yield from self._choose()
        if self._rule != "fixed":
            rates = Rates(self.spec, self._experiment, self._clock)
            yield from rates.run(self._rule)
            self.spec, self.evidence["learning_rate"] = rates.settled, rates.evidence

    def adopt(self, init: InitChoice | InitParts, learning_rate: float) -> None:
        """Take what was settled before for the same spec, in place of `run`."""
        if is_open(self.spec.init):
            self._begin_with(init)
        self.spec = with_rate(self.spec, learning_rate)

    def _choose(self) -> Iterator[Event]:
        auto = Auto(
            self.spec,
            self._dataset,
            lambda choice: self._experiment(self._with(choice)),
            clock=self._clock,
            deadline=Deadline.after(self._seconds, self._clock),
            diagnosed_rows=self._most_rows or DIAGNOSED_ROWS,
            counts_pretraining=self._counts_pretraining,
        )
        yield from auto.run()
        assert auto.chosen is not None, "its run is over"
        self._begin_with(auto.chosen)
        self.evidence["auto"] = auto.evidence

    def _begin_with(self, choice: InitChoice | InitParts) -> None:
        self.spec = self._with(choice)
        self.pretraining = passes_of(self.spec, self._dataset.facts)

    def _with(self, choice: InitChoice | InitParts) -> Spec:
        spec = self.spec.model_copy(update={"init": choice})
        return charged(spec, self._dataset.facts) if self._counts_pretraining else spec

    def _experiment(self, spec: Spec) -> Experiment:
        rows = self._most_rows
        return Experiment(
            spec,
            self._dataset,
            device=self._device,
            earlier=self._earlier,
            clock=self._clock,
            diagnose=False,
            rehearse=False,
            most_rows=None if rows is None else rows - rows // 4,
        )
