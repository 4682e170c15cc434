"""Small trainings of the real parts, for the tests of objective, optim and training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autoencoders.data.scaling import Affine
from autoencoders.events import Event
from autoencoders.models import Autoencoder, architectures
from autoencoders.objective import Objective
from autoencoders.optim import optimizers, schedules
from autoencoders.randomness import generator
from autoencoders.training import Batches, HeldOut, Requests, TrainingState, train

FEATURES = 12


def rows(
    count: int = 200, features: int = FEATURES, *, rank: int = 3, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Rows in [0, 1] near a plane of few dimensions."""
    rng = np.random.default_rng(seed)
    plane = rng.normal(size=(count, rank)) @ rng.normal(size=(rank, features)) / rank
    return (1 / (1 + np.exp(-plane))).astype(np.float32)


def identity(features: int = FEATURES) -> Affine:
    """The scaling that leaves rows as they are."""
    return Affine(np.zeros(features, np.float32), np.ones(features, np.float32))


def model(features: int = FEATURES, *, seed: int = 0, **parameters: Any) -> Autoencoder:
    """A small dense autoencoder with normal weights."""
    choice = architectures.choose({"name": "dense", "widths": (8, 6), "code": 3, **parameters})
    made: Autoencoder = architectures.call(choice, (features,))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim >= 2:
                spread = (2.0 / parameter.shape[1]) ** 0.5
                parameter.normal_(0.0, spread, generator=generator(seed, name))
    return made


class Clock:
    """Seconds that pass by so much at every look."""

    def __init__(self, tick: float = 0.0) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@dataclass
class Training:
    """One training as its parts' words; `start` builds everything afresh and runs it."""

    optimizer: Any = "adam"
    schedule: Any = "cosine"
    loss: Any = "mse"
    corruption: Any = "none"
    penalties: Sequence[Any] = ()
    epochs: int = 3
    batch_size: int = 32
    seed: int = 0
    training_rows: int = 180
    window_bytes: int = 1 << 20
    architecture: dict[str, Any] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)
    model: Autoencoder = field(init=False)
    requests: Requests = field(init=False)

    def start(self, resume: TrainingState | None = None, **options: Any) -> Iterator[Event]:
        """The events of a training from freshly built parts, as another process would have them."""
        data = rows()
        factors = self.factors if resume is None else resume.factors
        self.model = model(seed=self.seed, **self.architecture)
        self.requests = Requests()
        batches = Batches(
            data[: self.training_rows],
            identity(),
            batch_size=self.batch_size,
            seed=self.seed,
            window_bytes=self.window_bytes,
        )
        return train(
            self.model,
            Objective(self.loss, self.corruption, "none", self.penalties),
            optimizers.call(optimizers.choose(self.optimizer), list(self.model.named_parameters()), factors),
            schedules.call(schedules.choose(self.schedule), self.epochs * batches.per_epoch),
            batches,
            held_out=HeldOut(data[self.training_rows :], identity()),
            **{
                "epochs": self.epochs,
                "seed": self.seed,
                "clock": Clock(),
                "requests": self.requests,
                "resume": resume,
                "factors": factors,
                **options,
            },
        )
