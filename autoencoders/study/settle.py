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
from autoencoders.init.plan import is_open
from autoencoders.spec import Spec
from autoencoders.study.auto import Auto
from autoencoders.study.rates import Rates, Rule


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

    Attributes:
        spec: settled, once `run` is over.
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
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.spec = spec.resolve(dataset.facts)
        self.spec.check(dataset.facts)
        self.evidence: dict[str, Any] = {"auto": None, "learning_rate": None}
        self._dataset, self._rule, self._device, self._earlier = dataset, learning_rate, device, earlier
        self._clock, self._most_rows, self._seconds = clock, most_rows, seconds

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

    def _choose(self) -> Iterator[Event]:
        auto = Auto(
            self.spec,
            self._dataset,
            lambda choice: self._experiment(self.spec.model_copy(update={"init": choice})),
            clock=self._clock,
            deadline=Deadline.after(self._seconds, self._clock),
            diagnosed_rows=self._most_rows or DIAGNOSED_ROWS,
        )
        yield from auto.run()
        self.spec = self.spec.model_copy(update={"init": auto.chosen})
        self.evidence["auto"] = auto.evidence

    def _experiment(self, spec: Spec) -> Experiment:
        rows = self._most_rows
        return Experiment(
            spec,
            self._dataset,
            device=self._device,
            earlier=self._earlier,
            clock=self._clock,
            diagnose=False,
            most_rows=None if rows is None else rows - rows // 4,
        )
