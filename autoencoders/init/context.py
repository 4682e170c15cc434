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
    from autoencoders.catalog import Choice
    from autoencoders.data.manifest import Facts
    from autoencoders.models.autoencoder import Autoencoder


class NeedsRows(AutoencoderError):
    """An init that looks at the data was given none."""


@dataclass(frozen=True)
class Earlier:
    """An earlier model from which weights may be taken.

    Attributes:
        model: as its training left it; only read.
        shape: of one of its rows.
    """

    model: Autoencoder
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class InitContext:
    """The surroundings of one initialisation.

    Attributes:
        seed: the job's seed; each layer draws from its own stream of it.
        facts: the dataset's shape and counts, if there is one.
        rows: up to so many training rows, flat and in scaled units, when an init asks for them.
        data_mean: the mean of the scaled training rows, if it is known without reading them.
        data_variance: their variance about it, feature by feature, if that is known too.
        optimizer: what will train the model; `adam` where nothing is said.
        earlier: the earlier model that `name@3` means.
        clock: seconds that only go forward, for the events.
    """

    seed: int
    facts: Facts | None = None
    rows: Callable[[int], Tensor] | None = None
    data_mean: Tensor | None = None
    data_variance: Tensor | None = None
    optimizer: Choice | None = None
    earlier: Callable[[str], Earlier] | None = None
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

    def second_moment(self, count: int = 10_000) -> Tensor:
        """The mean square of each feature of the scaled training rows, estimated where it is not known.

        Raises:
            NeedsRows: its parts are not known and there is no data.
        """
        if self.data_mean is not None and self.data_variance is not None:
            return self.data_mean.float().square() + self.data_variance.float()
        return self.batch(count).square().mean(dim=0)
