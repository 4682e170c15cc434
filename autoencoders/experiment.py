"""One training, from a spec and a dataset to a model: build, initialise, train, evaluate, save.

experiment = Experiment(Spec.model_validate({"code": 8}), Dataset.open(folder))
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
from autoencoders.data.arrays import stream
from autoencoders.data.baselines import mean_error, pca_error
from autoencoders.data.dataset import Dataset
from autoencoders.errors import AutoencoderError
from autoencoders.events import Event, Finished
from autoencoders.init import InitContext, initialize
from autoencoders.spec import Spec
from autoencoders.training import Batches, HeldOut, Requests, TrainingState, evaluate, row_errors, train
from autoencoders.training.aligned import aligned


class Unfinished(AutoencoderError):
    """An experiment has nothing to save before its training is over."""


class Experiment:
    """A training that may be watched, stopped, taken up again, and saved.

    Args:
        spec: what to train; resolved for the dataset if it is not yet.
        dataset: the rows.
        device: where, as torch names it.
        threads: torch's threads for the whole process; None leaves them. Exact resuming needs the same
            number.
        earlier: the folder of an earlier model by the name that an init gives.
        checkpoint_seconds: the least time between checkpoints that nobody asked for.
        clock: seconds that only go forward.

    Attributes:
        model: the model, whose weights are the best epoch's once `Finished` has been yielded.
        affine: the scaling, fitted to the training rows.
        metrics: what held-out rows show of the best weights; None before `Finished`.
        scores: each held-out row's squared error in the order of `dataset.held_out`; empty before `Finished`.

    Raises:
        SpecRefused: the spec cannot be built for this dataset.
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
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.spec, self.dataset, self.device = spec.resolve(dataset.facts), dataset, torch.device(device)
        self.spec.check(dataset.facts)
        self.earlier = earlier
        self.affine = build.affine(self.spec, dataset)
        self.model = build.model(self.spec, dataset.facts).to(self.device)
        self.metrics: Metrics | None = None
        self.scores: npt.NDArray[np.float32] = np.empty(0, np.float32)
        self._checkpoint_seconds, self._clock = checkpoint_seconds, clock
        self._requests = Requests()

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
            yield from self._initialise()
        held_out = HeldOut(self.dataset.held_out, self.affine, self.device)
        for event in self._train(held_out, resume):
            if isinstance(event, Finished):
                self._look_at_the_best(held_out)
            yield event

    def save(self, folder: Path) -> BundleManifest:
        """Write the trained model's folder.

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
        )

    def _initialise(self) -> Iterator[Event]:
        began = self._clock()
        mean = self.affine.apply(self.dataset.moments.mean[None])[0]
        context = InitContext(
            seed=self.spec.training.seed,
            facts=self.dataset.facts,
            rows=self._some_rows,
            data_mean=torch.from_numpy(mean).to(self.device),
            clock=self._clock,
        )
        yield from initialize(self.model, self.spec.init, context)
        if self._clock() - began > self._checkpoint_seconds:
            # What took long must not be done again by the next worker.
            self._requests.checkpoint = True

    def _some_rows(self, count: int) -> Tensor:
        """The same training rows each time, scaled: a sample where there are more than `count`."""
        rows = self.dataset.training
        if count < len(rows):
            drawn = stream(self.spec.training.seed, "init", "rows").choice(len(rows), count, replace=False)
            rows = rows[np.sort(drawn)]
        return aligned(self.affine.apply(rows), self.device)

    def _train(self, held_out: HeldOut, resume: TrainingState | None) -> Iterator[Event]:
        spec, plan = self.spec, self.spec.training
        batches = Batches(
            self.dataset.training, self.affine, batch_size=plan.batch_size, seed=plan.seed, device=self.device
        )
        return train(
            self.model,
            build.objective(spec, self.dataset.facts, self.dataset.moments.statistics),
            build.optimizer(spec, self.model),
            build.schedule(spec, plan.epochs * batches.per_epoch),
            batches,
            held_out=held_out,
            epochs=plan.epochs,
            seed=plan.seed,
            patience=None if plan.early_stopping is None else plan.early_stopping.patience,
            max_seconds=plan.max_seconds,
            precision=plan.precision,
            clip_norm=plan.clip_norm,
            checkpoint_seconds=self._checkpoint_seconds,
            clock=self._clock,
            requests=self._requests,
            resume=resume,
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
