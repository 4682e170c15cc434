"""Hooks that record one pass: what every layer reads and yields, what its activations see, what comes back.

with Probe(model) as probe:
    objective.terms(model, pair, noise).total.backward()
for reading in probe.readings:
    print(reading.layer.name, reading.output.var(), reading.gradient)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from autoencoders.layers.activations import Activation
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder


@dataclass
class Reading:
    """What one layer showed in one pass; all tensors are detached.

    Attributes:
        layer: the layer.
        input: [rows, inputs] or [rows, channels, height, width], what it read.
        output: its pre-activations, before any norm.
        gradient: the loss's gradient by `output`, once it came back; None before, or where none did.
        activations: the activations that ran after it and before the next layer, each with its input.
    """

    layer: Layer
    input: Tensor
    output: Tensor
    gradient: Tensor | None = None
    activations: list[tuple[Activation, Tensor]] = field(default_factory=list)


class Probe:
    """Records the first pass that a model makes while it is open, and the gradients that come back.

    Args:
        model: what is looked at; nothing of it is changed.

    Attributes:
        readings: one for each layer that ran, in the order of running.
    """

    def __init__(self, model: Autoencoder) -> None:
        self._model = model
        self._hooks: list[RemovableHandle] = []
        self._over = False
        self.readings: list[Reading] = []

    def __enter__(self) -> Self:
        for layer in self._model.layers():
            self._hooks.append(layer.module.register_forward_hook(self._of(layer)))
        for module in self._model.modules():
            if isinstance(module, Activation):
                self._hooks.append(module.register_forward_hook(self._activated))
        # A penalty may look at the model again; what counts is the pass that reconstructs.
        self._hooks.append(self._model.register_forward_hook(self._end))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _of(self, layer: Layer) -> Callable[[nn.Module, Any, Tensor], None]:
        def record(_module: nn.Module, arguments: Any, out: Tensor) -> None:
            if self._over:
                return
            reading = Reading(layer, arguments[0].detach(), out.detach())
            self.readings.append(reading)

            def keep(gradient: Tensor) -> None:
                reading.gradient = gradient.detach()

            if out.requires_grad:
                out.register_hook(keep)  # type: ignore[no-untyped-call]  # torch leaves it untyped

        return record

    def _activated(self, module: nn.Module, arguments: Any, _out: Tensor) -> None:
        if self.readings and not self._over:
            assert isinstance(module, Activation)
            self.readings[-1].activations.append((module, arguments[0].detach()))

    def _end(self, _module: nn.Module, _arguments: Any, _out: Any) -> None:
        self._over = True


def by_unit(values: Tensor) -> Tensor:
    """[units, rows x places] from [rows, units] or [rows, channels, height, width]."""
    return values.transpose(0, 1).flatten(1)


def slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The derivative of an elementwise function at each number."""
    with torch.inference_mode(False), torch.enable_grad():
        at = at.clone().requires_grad_()
        (found,) = torch.autograd.grad(function(at).sum(), at)
    return found
