"""A race: the job's own training, shortened, from each of several starts; held-out error decides.

The schedule is compressed to the race, so that every rate that the job will see is seen and the last is the
lowest: what a start is worth shows only once the rate has come down, and a race that ends at a high rate
overrates whoever is fast at first.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from autoencoders import build
from autoencoders.data.arrays import Array, stream
from autoencoders.errors import TrainingDiverged
from autoencoders.events import Epoch, Event, Finished, Log, Step
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from autoencoders.training import Batches, HeldOut, train
from autoencoders.training.batches import FLOAT32_BYTES, WINDOW_BYTES, steps_per_epoch

HELD_OUT_ROWS = 10_000
"""The most held-out rows that a race looks at."""
NEWS_SECONDS = 2.0
"""The least time between two lines about a race that is under way."""


@dataclass(frozen=True)
class Length:
    """How long a race is.

    Attributes:
        rows: training rows that are trained on.
        epochs: passes over them.
        steps: in all.
    """

    rows: int
    epochs: int
    steps: int


@dataclass(frozen=True)
class Outcome:
    """What became of one runner.

    Attributes:
        error: the best held-out error, squared, in scaled units; infinite where the training diverged or
            there was no time for its end.
        steps: taken.
        why: what ended it early.
    """

    error: float
    steps: int
    why: str | None = None


def job_steps(spec: Spec, rows: int) -> int:
    """The steps of the whole job over so many training rows."""
    return spec.training.epochs * steps_per_epoch(rows, spec.training.batch_size)


def length_of(spec: Spec, rows: int, features: int, wanted: int) -> Length:
    """A race of at least the wanted steps, in whole epochs; of no more than the job has.

    Where all rows are more than are wanted, a sample of them is trained on, as large as fits one window.
    """
    batch, whole = spec.training.batch_size, steps_per_epoch(rows, spec.training.batch_size)
    if wanted >= job_steps(spec, rows):
        return Length(rows, spec.training.epochs, job_steps(spec, rows))
    fitting = max(1, WINDOW_BYTES // (FLOAT32_BYTES * features * batch))
    epochs = -(-wanted // min(whole, fitting))
    per_epoch = -(-wanted // epochs)
    seen = rows if per_epoch == whole else min(rows, per_epoch * batch)
    return Length(seen, epochs, epochs * steps_per_epoch(seen, batch))


class Race:
    """The course that every runner runs: the same rows in the same order, the same held-out rows.

    Args:
        experiment: any runner's: its rows, scaling, batches and device are all runners'.
        length: how long it is.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        experiment: Experiment,
        length: Length,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.length = length
        self._clock, self._device = clock, experiment.device
        dataset, training = experiment.dataset, experiment.spec.training
        self._batches = Batches(
            sampled(dataset.training, length.rows, training.seed),
            experiment.affine,
            batch_size=training.batch_size,
            seed=training.seed,
            device=experiment.device,
        )
        self._held_out = HeldOut(
            sampled(dataset.held_out, HELD_OUT_ROWS, training.seed),
            experiment.affine,
            experiment.device,
            widest=experiment.model.widest,
        )

    def run(self, experiment: Experiment, *, seconds: float | None = None) -> Iterator[Event | Outcome]:
        """Train a copy of the experiment's model, whose weights are initialised; the outcome comes last.

        Between them come events that say how far it is. `seconds`: after so many there is no outcome but an
        infinite error.
        """
        told, steps, found = self._clock(), 0, math.inf
        why: str | None = "there was no time to end it"
        try:
            for event in self._trained(experiment, seconds):
                if isinstance(event, Step) and self._clock() - told >= NEWS_SECONDS:
                    told = self._clock()
                    yield Log(
                        message=f"racing {label(experiment.spec)}: step {event.step} of {self.length.steps}"
                    )
                if isinstance(event, Step | Epoch | Finished):
                    steps = event.step
                if isinstance(event, Finished) and event.ended == "epochs":
                    found, why = event.error, None
        except TrainingDiverged as diverged:
            steps, why = diverged.step, str(diverged)
        yield Outcome(found, steps, why)

    def _trained(self, experiment: Experiment, seconds: float | None) -> Iterator[Event]:
        spec, dataset = experiment.spec, experiment.dataset
        training, model = spec.training, copy.deepcopy(experiment.model)
        return train(
            model,
            build.objective(spec, dataset.facts, dataset.moments.statistics),
            build.optimizer(spec, model, experiment.factors),
            build.schedule(spec, self.length.steps),
            self._batches,
            held_out=self._held_out,
            epochs=self.length.epochs,
            seed=training.seed,
            precision=training.precision,
            clip_norm=training.clip_norm,
            checkpoint_seconds=math.inf,
            max_seconds=seconds,
            clock=self._clock,
            factors=experiment.factors,
        )


def label(spec: Spec) -> str:
    """The word of a spec's init."""
    return str(getattr(spec.init, "name", "an init for each part"))


def sampled(rows: Array, count: int, seed: int) -> Array:
    """So many rows, the same each time; all of them where there are not more."""
    if count >= len(rows):
        return rows
    drawn = stream(seed, "race", "rows").choice(len(rows), count, replace=False)
    sample: Array = np.asarray(rows[np.sort(drawn)])
    return sample
