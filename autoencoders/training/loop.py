"""The one loop of the house: a generator of events, which its caller may leave, ask, or take up again.

A step never waits for the device: the loss stays there and is read about twice a second, for a `Step`
event, and at the end of an epoch. The environment of the process decides how fast it is, before torch is
imported: libgomp spins at barriers and starves beside a busy neighbour, so `GOMP_SPINCOUNT=2000` stands in
the environment of the worker's child, and `benchmarks/training.py` starts itself again with it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autoencoders.errors import TrainingDiverged
from autoencoders.events import Checkpoint, Epoch, Event, Finished
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.objective import Objective
from autoencoders.optim import NO_FACTORS, Schedule, rate_of, set_rate
from autoencoders.randomness import generator
from autoencoders.training.batches import Batches
from autoencoders.training.evaluation import Evaluation, HeldOut, evaluate
from autoencoders.training.pace import Pace
from autoencoders.training.state import Progress, TrainingState, copied
from autoencoders.training.stopping import DivergenceGuard, Requests, epochs_without_gain

Precision = Literal["float32", "bfloat16"]


def train(
    model: Autoencoder,
    objective: Objective,
    optimizer: Optimizer,
    schedule: Schedule,
    batches: Batches,
    *,
    held_out: HeldOut,
    epochs: int,
    seed: int = 0,
    patience: int | None = None,
    max_seconds: float | None = None,
    budget_seconds: float | None = None,
    prior_seconds: float = 0.0,
    precision: Precision = "float32",
    clip_norm: float | None = None,
    checkpoint_seconds: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
    requests: Requests | None = None,
    resume: TrainingState | None = None,
    factors: Mapping[str, float] = NO_FACTORS,
) -> Iterator[Event]:
    """Train until epochs or time are over, nothing improves, or somebody asks; the best weights come back.

    Args:
        model: on its device, its weights initialised.
        objective: what is minimised.
        optimizer: over the model's parameters.
        schedule: the rate's factor at each step.
        batches: the training rows.
        held_out: the rows on which every epoch is judged, by squared error.
        epochs: passes over the training rows.
        seed: of the noise; the order of rows has its own in `batches`.
        patience: end when so many epochs in a row brought no better error.
        max_seconds: end after so much time, resumes counted together.
        budget_seconds: end after so much time, `prior_seconds` counted too; the schedule, which must be one
            of `SHARES` steps, goes by the share of it that is gone, and so comes to its end.
        prior_seconds: what was spent before the first step; a resumed state brings its own.
        precision: that of the products; weights, losses and evaluation are float32 always.
        clip_norm: the greatest norm of the whole gradient.
        checkpoint_seconds: the least time between two checkpoints that nobody asked for.
        clock: seconds from any origin.
        requests: what another thread may ask.
        resume: the state to go on from, exactly.
        factors: the learning-rate factors with which the optimizer was made; checkpoints keep them.

    Raises:
        TrainingDiverged: the loss left the finite numbers, or the error ran away.
    """
    requests = requests or Requests()
    run = _Run(
        model,
        objective,
        optimizer,
        schedule,
        held_out=held_out,
        seed=seed,
        precision=precision,
        clip_norm=clip_norm,
        factors=factors,
    )
    progress = run.begin(resume, prior_seconds)
    guard = DivergenceGuard(progress.reference)
    pace = Pace(
        clock,
        progress,
        float(run.epoch_loss),
        steps=epochs * batches.per_epoch,
        max_seconds=max_seconds,
        budget_seconds=budget_seconds,
    )
    ended = None
    checkpoint_at = clock() + checkpoint_seconds

    while ended is None and (ended := _over(progress, epochs, patience)) is None:
        pace.tick()
        for rows in batches.epoch(progress.epoch, skip=progress.batch):
            run.take(rows, pace.place())
            pace.tick()
            if pace.due():
                yield pace.step(guard, float(run.epoch_loss), rate_of(optimizer))
            if requests.checkpoint:
                requests.checkpoint = False
                yield run.checkpoint(best=False)
                checkpoint_at = clock() + checkpoint_seconds
            if requests.stop or pace.out_of_time():
                ended = "stopped" if requests.stop else "max_seconds"
                break
        else:
            guard.finite(float(run.epoch_loss), step=progress.step)
            epoch = run.finish_epoch(epochs)
            guard.epoch(epoch.error, step=progress.step)
            pace.tick()
            yield epoch
            if requests.checkpoint or clock() >= checkpoint_at:
                requests.checkpoint = False
                yield run.checkpoint(best=epoch.best)
                checkpoint_at = clock() + checkpoint_seconds

    run.finish(guard)
    pace.tick()
    yield Finished(
        ended=ended,
        epoch=progress.epoch,
        step=progress.step,
        error=progress.best_error,
        loss=progress.best_loss,
        seconds=progress.seconds,
    )


def _over(progress: Progress, epochs: int, patience: int | None) -> str | None:
    if progress.epoch >= epochs:
        return "epochs"
    if patience is not None and epochs_without_gain(progress.errors) >= patience:
        return "early_stopping"
    return None


class _Run:
    """The live objects of a training, and what is done to them: a step, an epoch's end, a copy."""

    def __init__(
        self,
        model: Autoencoder,
        objective: Objective,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        held_out: HeldOut,
        seed: int,
        precision: Precision,
        clip_norm: float | None,
        factors: Mapping[str, float],
    ) -> None:
        self.model, self.objective, self.optimizer, self.schedule = model, objective, optimizer, schedule
        self.held_out, self.clip_norm, self.precision = held_out, clip_norm, precision
        self.factors = dict(factors)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.device = self.parameters[0].device
        self.noise = generator(seed, "noise", device=self.device)
        self.progress = Progress()
        self.epoch_loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.best: dict[str, Tensor] | None = None

    def begin(self, resume: TrainingState | None, prior_seconds: float) -> Progress:
        """Take up a saved state, or look once at the held-out rows before the first step."""
        self.model.train()
        if resume is None:
            start = evaluate(self.model, self.objective, self.held_out)
            finite = start.error if math.isfinite(start.error) else 0.0
            self.progress.reference = max(finite, start.variance, 1e-3 * self.held_out.features)
            self.progress.prior_seconds = prior_seconds
            return self.progress
        self.progress = Progress(**copied(vars(resume.progress)))
        self.model.load_state_dict(resume.model)
        # Copied, since an optimizer takes a state's tensors as its own and writes into them.
        self.optimizer.load_state_dict(copied(resume.optimizer))
        self.noise.set_state(resume.generators["noise"])
        self.epoch_loss.copy_(resume.epoch_loss)
        self.best = None if resume.best is None else copied(resume.best, self.device)
        return self.progress

    def take(self, rows: Tensor, place: int) -> None:
        """One step on a batch, at the schedule's factor of that place."""
        progress = self.progress
        set_rate(self.optimizer, self.schedule(place, progress.errors))
        pair = self.objective.draw(rows, self.noise)
        drawn = self.noise.get_state()

        def closure() -> Tensor:
            # An optimizer that looks again must see the same noise: it compares points, not draws.
            self.noise.set_state(drawn)
            self.optimizer.zero_grad(set_to_none=True)
            with self._autocast():
                total = self.objective.terms(self.model, pair, self.noise).total
            total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
            return total.detach()

        loss: Any = self.optimizer.step(closure)  # type: ignore[arg-type]  # torch's floats are tensors here
        self.epoch_loss.add_(loss, alpha=len(rows))
        progress.step += 1
        progress.batch += 1
        progress.rows += len(rows)
        progress.epoch_rows += len(rows)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def finish_epoch(self, epochs: int) -> Epoch:
        """Judge the epoch on the held-out rows, and keep its weights if none were better."""
        progress = self.progress
        train_loss = float(self.epoch_loss) / progress.epoch_rows
        speed = progress.epoch_rows / progress.epoch_seconds if progress.epoch_seconds else 0.0
        progress.epoch += 1
        found, best = self._judge()
        progress.errors.append(found.error)
        progress.batch, progress.epoch_rows, progress.epoch_seconds = 0, 0, 0.0
        self.epoch_loss.zero_()
        return Epoch(
            epoch=progress.epoch,
            epochs=epochs,
            step=progress.step,
            train_loss=train_loss,
            loss=found.loss,
            error=found.error,
            best=best,
            learning_rate=rate_of(self.optimizer),
            seconds=progress.seconds,
            rows_per_second=speed,
        )

    def _judge(self) -> tuple[Evaluation, bool]:
        found = evaluate(self.model, self.objective, self.held_out)
        best = found.error < self.progress.best_error
        if best:
            self.progress.best_error, self.progress.best_loss = found.error, found.loss
            self.progress.best_epoch = self.progress.epoch
            self.best = copied(self.model.state_dict(), self.device)
        return found, best

    def finish(self, guard: DivergenceGuard) -> None:
        """Put the best weights back; those of an epoch cut short count too."""
        if self.progress.batch or self.best is None:
            self._judge()
        if self.best is None:
            raise TrainingDiverged("no held-out error was a number", step=self.progress.step)
        guard.end(self.progress.best_error, step=self.progress.step)
        self.model.load_state_dict(self.best)

    def checkpoint(self, *, best: bool) -> Checkpoint:
        """A copy of everything that goes on changing."""
        state = TrainingState(
            progress=Progress(**copied(vars(self.progress))),
            model=copied(dict(self.model.state_dict())),
            optimizer=copied(self.optimizer.state_dict()),
            generators={"noise": self.noise.get_state()},
            epoch_loss=copied(self.epoch_loss),
            best=copied(self.best),
            factors=dict(self.factors),
        )
        return Checkpoint(epoch=self.progress.epoch, step=self.progress.step, best=best, state=state)
