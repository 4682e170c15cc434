"""One net after one init: what a law looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from autoencoders.events import Event
from autoencoders.init import InitChoice, initialize
from autoencoders.layers.layer import Layer
from autoencoders.models import Autoencoder
from tests.autoencoders.init.nets import context, net, rows


@dataclass(frozen=True)
class Trial:
    """One net after one init.

    Attributes:
        choice: the init.
        name: the net's name.
        seed: what it was drawn from.
    """

    choice: InitChoice
    name: str
    seed: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def model(self) -> Autoencoder:
        """The net, initialised."""
        assert self.events is not None
        return self._model

    @cached_property
    def _model(self) -> Autoencoder:
        return net(self.name, **self.options)

    @cached_property
    def events(self) -> list[Event]:
        """What the initialisation said."""
        return list(initialize(self._model, self.choice, context(self._model, self.seed)))

    @property
    def rows(self) -> Tensor:
        """The rows that the init saw."""
        return rows(self._model)

    @property
    def parameters(self) -> dict[str, Any]:
        """The init's parameters."""
        return self.choice.parameters()

    def weights(self) -> Iterator[tuple[Layer, Tensor]]:
        """Every layer that has a weight of its own, with it."""
        for layer in self.model.layers():
            if layer.weight is not None:
                yield layer, layer.weight.detach()
