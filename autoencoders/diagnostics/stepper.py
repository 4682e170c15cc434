"""The job's steps, taken on a copy of its model with random streams of their own."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from autoencoders.diagnostics.plan import Plan
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.optim import set_rate
from autoencoders.randomness import generator


class Stepper:
    """Trains a model step by step.

    Args:
        model: which must be a copy: it is trained itself.
        plan: how the job will train.
        rows: [n, features], training rows in scaled units.
    """

    def __init__(self, model: Autoencoder, plan: Plan, rows: Tensor) -> None:
        self.model, self.plan, self._rows = model.train(), plan, rows
        self._optimizer = plan.optimizer(model)
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._noise = generator(plan.seed, "diagnosis", "noise", device=rows.device)
        self._epoch, self._at, self._order = 0, 0, self._shuffled(0)

    def step(self, factor: float, rows: int) -> float:
        """One step at that factor of the rate on the next rows of the epoch; the objective before it."""
        set_rate(self._optimizer, factor)
        pair = self.plan.objective.draw(self._next(min(rows, len(self._rows))), self._noise)

        def closure() -> Tensor:
            self._optimizer.zero_grad(set_to_none=True)
            with self._autocast():
                total = self.plan.objective.terms(self.model, pair, self._noise).total
            total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            if self.plan.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._parameters, self.plan.clip_norm)
            return total.detach()

        loss: Any = self._optimizer.step(closure)  # type: ignore[arg-type]  # torch's floats are tensors here
        return float(loss)

    def _next(self, count: int) -> Tensor:
        if self._at + count > len(self._rows):
            self._epoch += 1
            self._at, self._order = 0, self._shuffled(self._epoch)
        self._at += count
        return self._rows.index_select(0, self._order[self._at - count : self._at])

    def _shuffled(self, epoch: int) -> Tensor:
        drawn = generator(self.plan.seed, "diagnosis", "order", epoch)
        return torch.randperm(len(self._rows), generator=drawn).to(self._rows.device)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.plan.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._rows.device.type, dtype=torch.bfloat16)
