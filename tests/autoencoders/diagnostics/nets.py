"""Nets and plans for the tests of diagnostics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autoencoders.diagnostics import Plan
from autoencoders.init import InitContext, initialize
from autoencoders.models import Autoencoder, architectures
from autoencoders.objective import Objective
from autoencoders.optim import optimizers, schedules
from autoencoders.randomness import generator


def net(
    features: int | tuple[int, ...] = 64, init: Any = "lecun_normal", *, seed: int = 0, **parameters: Any
) -> Autoencoder:
    """A model of that architecture, initialised from normal rows."""
    shape = (features,) if isinstance(features, int) else features
    made: Autoencoder = architectures.call(architectures.choose({"name": "dense", **parameters}), shape)
    context = InitContext(seed=seed, rows=lambda count: normal_rows(count, made.features))
    for _ in initialize(made, init, context):
        pass
    return made


def normal_rows(count: int, features: int, seed: int = 0) -> Tensor:
    return torch.randn(count, features, generator=generator(seed, "rows"))


def plan(steps: int = 40, optimizer: Any = "adam", **rest: Any) -> Plan:
    chosen = optimizers.choose(optimizer)
    return Plan(
        objective=rest.pop("objective", Objective("mse")),
        optimizer=lambda module: optimizers.call(chosen, list(module.named_parameters())),
        schedule=schedules.call(schedules.choose(rest.pop("schedule", "constant")), steps),
        steps=steps,
        batch_size=rest.pop("batch_size", 32),
        **rest,
    )


def clock() -> Callable[[], float]:
    ticks = iter(range(10**6))
    return lambda: float(next(ticks))
