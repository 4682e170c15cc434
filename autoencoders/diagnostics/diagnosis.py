"""One look at an initialised model before its training: measured figures, a trial, a rehearsal, a verdict."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from autoencoders.diagnostics.deadline import NEVER, Deadline
from autoencoders.diagnostics.jacobian import JacobianFigures, read_jacobian
from autoencoders.diagnostics.latent import CodeFigures, read_codes
from autoencoders.diagnostics.plan import Plan
from autoencoders.diagnostics.prediction import Prediction, predict
from autoencoders.diagnostics.rehearsal import Rehearsal, rehearse
from autoencoders.diagnostics.signal import LayerSignal, read_signals
from autoencoders.diagnostics.stepper import Stepper
from autoencoders.diagnostics.trial import Trial, mark, try_training
from autoencoders.diagnostics.verdict import Verdict, forecast
from autoencoders.diagnostics.yardsticks import Yardsticks, closed_share
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.objective import Objective
from autoencoders.randomness import generator

SIGNAL_ROWS = 500
JACOBIAN_ROWS = 64


@dataclass(frozen=True)
class Diagnosis:
    """What was seen of a model.

    Attributes:
        rows: training and held-out rows that were looked at.
        layers: each layer's figures.
        predictions: what theory expects of each layer, by its name.
        code: the codes' figures.
        cosine: the mean cosine between a row and its reconstruction.
        jacobian: its singular values.
        error: the held-out rows' squared error.
        objective: the objective's value on training rows.
        yardsticks: the errors to be compared with.
        seconds: what it took.
        trial: the short training; None where there was none.
        after: the codes' figures after it.
        rehearsal: the way from its end to the horizon; None where it was not walked.
        verdict: the forecast drawn from all this.
    """

    rows: int
    layers: tuple[LayerSignal, ...]
    predictions: dict[str, Prediction]
    code: CodeFigures
    cosine: float
    jacobian: JacobianFigures
    error: float
    objective: float
    yardsticks: Yardsticks
    seconds: float
    trial: Trial | None = None
    after: CodeFigures | None = None
    rehearsal: Rehearsal | None = None
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; a figure that is no finite number is None."""
        found = {
            "rows": self.rows,
            "layers": [
                {**asdict(layer), "predicted": asdict(self.predictions[layer.name])} for layer in self.layers
            ],
            "code": {**asdict(self.code), "after": None if self.after is None else asdict(self.after)},
            "reconstruction": {"cosine": self.cosine},
            "jacobian": asdict(self.jacobian),
            "losses": {
                "start": self.error,
                "mean": self.yardsticks.mean,
                "pca": self.yardsticks.pca,
                "objective": self.objective,
            },
            "trial": None if self.trial is None else _trial_json(self.trial, self.yardsticks),
            "rehearsal": None if self.rehearsal is None else _rehearsal_json(self.rehearsal, self.yardsticks),
            "verdict": None if self.verdict is None else asdict(self.verdict),
            "seconds": self.seconds,
        }
        plain: dict[str, Any] = _finite(found)
        return plain


def _trial_json(trial: Trial, yardsticks: Yardsticks) -> dict[str, Any]:
    return {
        "steps": trial.steps,
        "planned": trial.planned,
        "horizon": trial.horizon,
        "errors": [[item.step, item.error] for item in trial.marks],
        "gains": [[item.step, item.gain] for item in trial.marks],
        "spreads": [[item.step, item.spread] for item in trial.marks],
        "losses": list(trial.losses),
        "survived": trial.survived,
        "done": trial.done,
        "ahead": trial.ahead,
        "closed": closed_share(trial.marks[-1].error, yardsticks),
    }


def _rehearsal_json(rehearsal: Rehearsal, yardsticks: Yardsticks) -> dict[str, Any]:
    return {
        "steps": rehearsal.steps,
        "horizon": rehearsal.horizon,
        "rows": rehearsal.rows,
        "errors": [list(mark) for mark in rehearsal.errors],
        "survived": rehearsal.survived,
        "closed": closed_share(rehearsal.errors[-1][1], yardsticks),
    }


def look(
    model: Autoencoder,
    objective: Objective,
    rows: Tensor,
    held_out: Tensor,
    yardsticks: Yardsticks,
    *,
    seed: int,
    clock: Callable[[], float],
    deadline: Deadline = NEVER,
) -> Diagnosis:
    """The figures of a model as it is, trained or not, without a trial; it stays untouched.

    Args:
        model: on its device; a copy of it is looked at.
        objective: what is minimised.
        rows: [n, features], training rows in scaled units, the first 500 of which are looked at.
        held_out: [m, features], likewise.
        yardsticks: the errors of these held-out rows.
        seed: of the streams that corruptions and codes draw from here.
        clock: seconds that only go forward.
        deadline: after it the Jacobian is looked at in a slice.
    """
    began = clock()
    copied = copy.deepcopy(model)
    seen = rows[:SIGNAL_ROWS]
    error = mark(copied, held_out, 0).error
    signals = read_signals(copied, objective, seen, generator(seed, "diagnosis", "pass", device=rows.device))
    jacobian = read_jacobian(copied, seen[:JACOBIAN_ROWS], generator(seed, "diagnosis", "jacobian"), deadline)
    code, cosine = _read_codes(copied, seen, held_out)
    return Diagnosis(
        rows=len(rows) + len(held_out),
        layers=signals.layers,
        predictions=predict(copied, signals.input_second),
        code=code,
        cosine=cosine,
        jacobian=jacobian,
        error=error,
        objective=signals.objective,
        yardsticks=yardsticks,
        seconds=clock() - began,
    )


def diagnose(
    model: Autoencoder,
    plan: Plan,
    rows: Tensor,
    held_out: Tensor,
    yardsticks: Yardsticks,
    *,
    clock: Callable[[], float],
    deadline: Deadline = NEVER,
) -> Diagnosis:
    """Look at an initialised model, try its training on a copy, and forecast its job.

    The model, its gradients, buffers and modes stay untouched. Arguments are those of `look`; `plan` says how
    the job will train, and `deadline` when the trial shall end, if it has taken ten steps; a quarter of the
    time till then goes by before the Jacobian is cut short.
    """
    began = clock()
    soon = deadline.share(0.25)
    seen = look(model, plan.objective, rows, held_out, yardsticks, seed=plan.seed, clock=clock, deadline=soon)
    tried = copy.deepcopy(model)
    tried.zero_grad(set_to_none=True)
    stepper = Stepper(tried, plan, rows)
    trial = try_training(stepper, held_out, deadline)
    after, _ = _read_codes(tried, rows[:SIGNAL_ROWS], held_out)
    rehearsal = rehearse(stepper, trial, held_out, deadline)
    tried_out = replace(seen, trial=trial, after=after, rehearsal=rehearsal)
    # Of the figures as they are answered: whoever has them can draw the same verdict again.
    return replace(tried_out, verdict=forecast(tried_out.to_json()), seconds=clock() - began)


@torch.no_grad()
def _read_codes(model: Autoencoder, rows: Tensor, held_out: Tensor) -> tuple[CodeFigures, float]:
    # In training mode, as the signals: before the first step a norm has no statistics of its own.
    model.train(len(rows) > 1)
    held = held_out if len(held_out) > 1 else rows
    codes = model.encode(rows)
    figures = read_codes(codes, rows, model.encode(held), held)
    cosine = float(functional.cosine_similarity(model.decode(codes), rows, dim=1).mean())
    return figures, cosine


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
