"""What an init may look at besides the layer: the seed's named streams, and the data on demand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from autoencoders.errors import AutoencoderError
from autoencoders.randomness import generator

if TYPE_CHECKING:
    from autoencoders.data.manifest import Facts


class NeedsRows(AutoencoderError):
    """An init that looks at the data was given none."""


@dataclass(frozen=True, kw_only=True)
class InitContext:
    """The surroundings of one initialisation.

    Attributes:
        seed: the job's seed; each layer draws from its own stream of it.
        facts: the dataset's shape and counts, if there is one.
        rows: up to so many training rows, flat and in scaled units, when an init asks for them.
        data_mean: the mean of the scaled training rows, if it is known without reading them.
        clock: seconds that only go forward, for the events.
    """

    seed: int
    facts: Facts | None = None
    rows: Callable[[int], Tensor] | None = None
    data_mean: Tensor | None = None
    clock: Callable[[], float] = time.perf_counter

    def stream(self, *names: str | int) -> torch.Generator:
        """A fresh generator for a layer, or for another named purpose of an init.

        Always on the CPU: the same seed gives the same weights on every device.
        """
        return generator(self.seed, "init", *names)

    def batch(self, count: int) -> Tensor:
        """Up to `count` training rows.

        Raises:
            NeedsRows: there is no data.
        """
        if self.rows is None:
            raise NeedsRows("this init looks at the data, and was given none")
        return self.rows(count).float()

    def mean(self, count: int = 10_000) -> Tensor:
        """The mean of the scaled training rows, estimated from `count` of them where it is not known.

        Raises:
            NeedsRows: there is neither a mean nor data.
        """
        return self.data_mean.float() if self.data_mean is not None else self.batch(count).mean(dim=0)
