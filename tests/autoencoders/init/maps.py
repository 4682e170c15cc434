"""A net's maps one by one: what each read and yielded, and what another weight would have made of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from autoencoders.layers.layer import Layer, TiedLinear
from autoencoders.layers.norms import SpectralNorm
from tests.autoencoders.init.trial import Trial


def spectral(layer: Layer) -> bool:
    """Whether a spectral norm, and not the init, says the weight's scale."""
    return parametrize.is_parametrized(layer.module, "weight") and any(
        isinstance(step, SpectralNorm)
        for step in layer.module.parametrizations["weight"]  # type: ignore[index]  # torch's own list
    )


@torch.no_grad()
def passed_through(trial: Trial) -> dict[str, tuple[Tensor, Tensor]]:
    """What every layer read and yielded, by its name, in one pass of the trial's rows in training mode."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Any:
        return lambda _module, read, out: seen.__setitem__(name, (read[0].clone(), out.clone()))

    hooks = [layer.module.register_forward_hook(keep(layer.name)) for layer in trial.model.layers()]
    trial.model.train()
    trial.model(trial.rows, generator=torch.Generator().manual_seed(0))
    for hook in hooks:
        hook.remove()
    return seen


def without_bias(layer: Layer, out: Tensor) -> Tensor:
    """The layer's output less its bias."""
    if layer.bias is None:
        return out
    return out - layer.bias.detach().view(1, -1, *([1] * (out.ndim - 2)))


@torch.no_grad()
def through(layer: Layer, weight: Tensor, read: Tensor) -> Tensor:
    """What the layer's map, with this weight (in the layer's layout) and no bias, makes of `read`."""
    module = layer.module
    if isinstance(module, nn.Linear | TiedLinear):
        return functional.linear(read, weight)
    if isinstance(module, nn.Conv2d):
        return functional.conv2d(
            read, weight, stride=module.stride, padding=module.padding, dilation=module.dilation
        )
    assert isinstance(module, nn.ConvTranspose2d)
    assert not isinstance(module.padding, str)
    return functional.conv_transpose2d(
        read,
        weight.transpose(0, 1),
        stride=module.stride,
        padding=module.padding,
        output_padding=module.output_padding,
    )
