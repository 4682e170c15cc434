"""One training, from a spec and a dataset to a model: build, initialise, train, evaluate, save.

dataset = Dataset.open(folder)
settling = Settling(Spec.model_validate({"code": 8}), dataset)  # chooses an init, unless the spec names one
for event in settling.run():
    print(event)
experiment = Experiment(settling.spec, dataset)
for event in experiment.run():
    print(event)
experiment.save(Path("model"))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoencoders import build, bundle
from autoencoders.bundle import BundleManifest, Metrics
from autoencoders.data.arrays import Array, stream
from autoencoders.data.baselines import mean_error, pca_error
from autoencoders.data.dataset import Dataset
from autoencoders.diagnostics import Deadline, Diagnosis, Yardsticks, diagnose, look, measure
from autoencoders.errors import AutoencoderError, SpecRefused
from autoencoders.events import Diagnosed, Event, Finished, Initialised, Warned
from autoencoders.init import Earlier, InitContext, initialize
from autoencoders.init.plan import is_open
from autoencoders.spec import Spec
from autoencoders.training import Batches, HeldOut, Requests, TrainingState, evaluate, row_errors, train
from autoencoders.training.aligned import aligned
from autoencoders.training.pace import SHARES

DIAGNOSED_ROWS = 2_000
"""The most rows that a diagnosis looks at, held-out ones included."""
UNCHOSEN = (
    "the init is still to be chosen: run `Settling(spec, dataset)` and train its spec, or name an init, such "
    "as he_normal"
)


class Unfinished(AutoencoderError):
    """An experiment has nothing to save before its training is over."""


class Experiment:
    """A training that may be watched, stopped, taken up again, and saved.

    Args:
        spec: what to train, its init chosen: `auto`, the default, is what `Settling` makes a choice of.
            Resolved for the dataset if it is not yet.
        dataset: the rows.
        device: where, as torch names it.
        threads: torch's threads for the whole process; None leaves them. Exact resuming needs the same
            number.
        earlier: the folder of an earlier model by the name that an init gives.
        checkpoint_seconds: the least time between checkpoints that nobody asked for.
        clock: seconds that only go forward.
        diagnose: whether `run` looks at the initialised model before the first step; the training is the same
            to the last bit either way.
        rehearse: whether a diagnosis walks to the horizon of its forecast, where that is affordable and the
            epochs say how many steps there are; else it extrapolates a short trial.
        most_rows: the most training rows that an initialisation may look at; None for all.
        budget_seconds: the time that initialisation and training have together. The schedule goes by the
            share of it that is gone, so that it has come to its end when the training ends (`max_seconds`);
            such a training repeats no better than time does. Looking at the start is not counted.

    Attributes:
        model: the model, whose weights are the best epoch's once `Finished` has been yielded.
        affine: the scaling, fitted to the training rows.
        metrics: what held-out rows show of the best weights; None before `Finished`.
        scores: each held-out row's squared error in the order of `dataset.held_out`; empty before `Finished`.
        factors: each parameter's learning-rate factor, where the init asked for one.

    Raises:
        SpecRefused: the spec cannot be built for this dataset, or its init is still to be chosen.
    """

    def __init__(
        self,
        spec: Spec,
        dataset: Dataset,
        *,
        device: torch.device | str = "cpu",
        threads: int | None = None,
        earlier: Callable[[str], Path] | None = None,
        checkpoint_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        diagnose: bool = True,
        rehearse: bool = True,
        most_rows: int | None = None,
        budget_seconds: float | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.spec, self.dataset, self.device = spec.resolve(dataset.facts), dataset, torch.device(device)
        self.spec.check(dataset.facts)
        if is_open(self.spec.init):
            raise SpecRefused([(("init",), UNCHOSEN)])
        self.earlier = earlier
        self.affine = build.affine(self.spec, dataset)
        self.model = build.model(self.spec, dataset.facts).to(self.device)
        self.metrics: Metrics | None = None
        self.scores: npt.NDArray[np.float32] = np.empty(0, np.float32)
        self.factors: dict[str, float] = {}
        self._checkpoint_seconds, self._clock = checkpoint_seconds, clock
        self._requests, self._most_rows = Requests(), most_rows
        self._diagnose, self._rehearse = diagnose, rehearse
        self._budget_seconds, self._prior_seconds = budget_seconds, 0.0

    @cached_property
    def baselines(self) -> dict[str, float | None]:
        """Held-out errors, in scaled units, of answering the mean and of PCA at the same code size."""
        moments = self.dataset.moments
        return {
            "mean": mean_error(moments, self.affine),
            "pca": pca_error(moments, self.affine, self.model.code_size),
        }

    def stop(self, reason: Literal["stopped"] = "stopped") -> None:  # noqa: ARG002  # the one reason there is
        """Ask for an end after this step, with the best weights; from another thread or a signal."""
        self._requests.stop = True

    def checkpoint(self) -> None:
        """Ask for a checkpoint after this step; from another thread or a signal."""
        self._requests.checkpoint = True

    def run(self, resume: TrainingState | None = None) -> Iterator[Event]:
        """Train; where there is a state to resume from, go on from it exactly.

        Raises:
            TrainingDiverged: the loss left the finite numbers, or the error ran away.
        """
        if resume is None:
            yield from self.initialise()
            if self._diagnose:
                yield self._diagnosed()
        else:
            self.factors = dict(resume.factors)
        held_out = HeldOut(self.dataset.held_out, self.affine, self.device, widest=self.model.widest)
        for event in self._train(held_out, resume):
            if isinstance(event, Finished):
                self._look_at_the_best(held_out)
            yield event

    def diagnose(self, rows: int = DIAGNOSED_ROWS, *, seconds: float | None = None) -> Diagnosis:
        """Look at the model, try its training on a copy, and forecast it.

        A quarter of the `rows` are held-out ones. The model and the streams of its training stay untouched.
        Where `seconds` are given and are over, it ends early, but its trial takes ten steps in any case.
        """
        deadline = Deadline.after(seconds, self._clock)
        timed = self._budget_seconds is not None
        plan = build.plan(
            self.spec,
            self.dataset,
            self.model,
            self.factors,
            steps=SHARES if timed else None,
            rehearse=self._rehearse and not timed,
        )
        sample = self._rows_to_look_at(rows)
        return diagnose(self.model, plan, *sample, clock=self._clock, deadline=deadline)

    def _diagnosed(self) -> Event:
        """The diagnosis, or why there is none: a forecast that cannot be made is no reason not to train."""
        try:
            return Diagnosed(diagnosis=self.diagnose().to_json())
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            return Warned(message=f"the start could not be diagnosed: {type(error).__name__}: {said}")

    def look(self, rows: int = DIAGNOSED_ROWS) -> Diagnosis:
        """Look at the model as it is now, without a trial and a verdict."""
        objective = build.objective(self.spec, self.dataset.facts, self.dataset.moments.statistics)
        sample = self._rows_to_look_at(rows)
        return look(self.model, objective, *sample, seed=self.spec.training.seed, clock=self._clock)

    def _rows_to_look_at(self, count: int) -> tuple[Tensor, Tensor, Yardsticks]:
        rows = self._sample(self.dataset.training, max(1, count - count // 4))
        held_out = self._sample(self.dataset.held_out, max(1, count // 4))
        yardsticks = measure(rows, held_out, self._mean_row(), self.model.code_size, self.baselines)
        return rows, held_out, yardsticks

    def save(self, folder: Path, *, space: str | None = None) -> BundleManifest:
        """Write the trained model's folder; `space` is that of the codes where they were aligned.

        Raises:
            Unfinished: `Finished` was not yielded yet.
        """
        if self.metrics is None:
            raise Unfinished("train to the end before saving")
        return bundle.save(
            folder,
            model=self.model,
            spec=self.spec,
            facts=self.dataset.facts,
            affine=self.affine,
            metrics=self.metrics,
            baselines=self.baselines,
            scores=self.scores,
            dataset_sha256=self.dataset.manifest.sha256,
            held_out=self.dataset.held_out,
            space=space,
        )

    def initialise(self) -> Iterator[Event]:
        """Give the model its first weights; `run` does so itself where it does not resume."""
        began = self._clock()
        self.factors = {}
        for event in initialize(self.model, self.spec.init, self._context()):
            if isinstance(event, Initialised):
                self.factors |= event.detail.get("rates", {})
            yield event
        self._prior_seconds = self._clock() - began
        if self._prior_seconds > self._checkpoint_seconds:
            # What took long must not be done again by the next worker.
            self._requests.checkpoint = True

    def _context(self) -> InitContext:
        statistics = self.dataset.moments.statistics
        spread = (statistics.std * self.affine.factor).astype(np.float32)
        return InitContext(
            seed=self.spec.training.seed,
            facts=self.dataset.facts,
            rows=self._some_rows,
            data_mean=self._mean_row(),
            data_variance=torch.from_numpy(spread).to(self.device).square(),
            optimizer=self.spec.optimizer,
            earlier=None if self.earlier is None else self._earlier_model,
            clock=self._clock,
        )

    def _earlier_model(self, source: str) -> Earlier:
        assert self.earlier is not None, "asked for only where there is one"
        found = bundle.load(self.earlier(source), self.device)
        return Earlier(found.model, found.facts.shape)

    def _some_rows(self, count: int) -> Tensor:
        """The same training rows each time, scaled: a sample where there are more than `count`."""
        return self._sample(self.dataset.training, min(count, self._most_rows or count))

    def _sample(self, rows: Array, count: int) -> Tensor:
        if count < len(rows):
            drawn = stream(self.spec.training.seed, "init", "rows").choice(len(rows), count, replace=False)
            rows = rows[np.sort(drawn)]
        return aligned(self.affine.apply(rows), self.device)

    def _mean_row(self) -> Tensor:
        return torch.from_numpy(self.affine.apply(self.dataset.moments.mean[None])[0]).to(self.device)

    def _train(self, held_out: HeldOut, resume: TrainingState | None) -> Iterator[Event]:
        spec, plan = self.spec, self.spec.training
        batches = Batches(
            self.dataset.training, self.affine, batch_size=plan.batch_size, seed=plan.seed, device=self.device
        )
        steps = SHARES if self._budget_seconds is not None else plan.epochs * batches.per_epoch
        return train(
            self.model,
            build.objective(spec, self.dataset.facts, self.dataset.moments.statistics),
            build.optimizer(spec, self.model, self.factors),
            build.schedule(spec, steps),
            batches,
            held_out=held_out,
            epochs=plan.epochs,
            seed=plan.seed,
            patience=None if plan.early_stopping is None else plan.early_stopping.patience,
            max_seconds=plan.max_seconds,
            budget_seconds=self._budget_seconds,
            prior_seconds=self._prior_seconds,
            precision=plan.precision,
            clip_norm=plan.clip_norm,
            checkpoint_seconds=self._checkpoint_seconds,
            clock=self._clock,
            requests=self._requests,
            resume=resume,
            factors=self.factors,
        )

    def _look_at_the_best(self, held_out: HeldOut) -> None:
        objective = build.objective(self.spec, self.dataset.facts, self.dataset.moments.statistics)
        found = evaluate(self.model, objective, held_out)
        self.scores = row_errors(self.model, held_out)
        self.metrics = Metrics(
            error=found.error,
            loss=found.loss,
            error_per_feature=found.error_per_feature,
            explained_variance=found.explained_variance,
        )
