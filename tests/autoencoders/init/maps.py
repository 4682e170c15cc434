"""A net's maps one by one: what each read and yielded, and what another weight would have made of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from autoencoders.layers.layer import Layer, TiedLinear
from autoencoders.layers.norms import SpectralNorm
from tests.autoencoders.init.trial import Trial

FEW = 24


def spectral(layer: Layer) -> bool:
    """Whether a spectral norm, and not the init, says the weight's scale."""
    return parametrize.is_parametrized(layer.module, "weight") and any(
        isinstance(step, SpectralNorm)
        for step in layer.module.parametrizations["weight"]  # type: ignore[index]  # torch's own list
    )


@torch.no_grad()
def passed_through(trial: Trial, count: int | None = None) -> dict[str, tuple[Tensor, Tensor]]:
    """What every layer read and yielded, by its name, in one pass of the trial's rows in training mode.

    `count`: of the first so many rows alone.
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Any:
        return lambda _module, read, out: seen.__setitem__(name, (read[0].clone(), out.clone()))

    hooks = [layer.module.register_forward_hook(keep(layer.name)) for layer in trial.model.layers()]
    trial.model.train()
    trial.model(trial.rows[:count], generator=torch.Generator().manual_seed(0))
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


def outputs_follow(
    trial: Trial,
    variances: Callable[[Layer], Tensor],
    *,
    spread: float = 2.0,
    slack: float = 0.0,
    heavy: bool = False,
    shorter: int = 1,
) -> None:
    """Check that what each layer yields has the second moment that its input and its weights' variances give.

    Over draws of uncorrelated weights that is the same map of the squared input with each weight replaced by
    its variance: so fans, strides, edges and transposition are all in it. Units are the independent samples,
    pooled over seeds, more of them where channels are few; rows share the weights, so that a few say as much
    as many; biases are left out.

    Args:
        trial: the init and the net.
        variances: of each weight of a layer, in the layer's layout.
        spread: the variance of one unit's mean square over its mean squared, 2 if it is a normal square.
        slack: what is allowed on top, relatively.
        heavy: whether a few units may hold most of what there is, as with sparse weights on sparse codes.
        shorter: by how much fewer seeds are looked at.
    """
    ratios: dict[str, list[Tensor]] = {}
    for seed in range((16 if "convolutional" in trial.model.architecture else 4) // shorter):
        again = Trial(trial.choice, trial.name, seed, trial.options)
        seen = passed_through(again, FEW)
        for layer, _weight in again.weights():
            if spectral(layer):
                continue
            read, out = seen[layer.name]
            expected = through(layer, variances(layer), read.square()).mean()
            found = without_bias(layer, out).square().transpose(0, 1).flatten(1).mean(dim=1)
            ratios.setdefault(layer.name, []).append(found / expected)
    for name, parts in ratios.items():
        every = torch.cat(parts)
        # Rows and places tell more than one normal square where they differ: the sample's spread is less.
        deviation = math.sqrt(spread)
        if len(every) >= 16 * shorter:
            deviation = (max if heavy else min)(deviation, float(every.std()))
        tolerance = 4.5 * deviation / math.sqrt(len(every)) + slack
        assert abs(float(every.mean()) - 1) < tolerance, (name, float(every.mean()), tolerance)
