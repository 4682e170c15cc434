"""Rows on their way through a model, met at every layer: what inits that look at the data are made of.

Each layer is met before its map is applied and is set there and then, so that what the next one reads is what
it will read in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from autoencoders.events import Warned
from autoencoders.init.biases import undisturbed
from autoencoders.init.context import InitContext
from autoencoders.layers.layer import Layer
from autoencoders.layers.norms import SpectralNorm
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.randomness import generator

ROOM = 2**25
"""The numbers that one layer's output may hold at once; fewer rows are looked at where it would be more."""

CALIBRATION_ROWS = 2048

Visit: TypeAlias = Callable[[Layer, Tensor], None]

_NEGLIGIBLE = 1e-10


def calibration_rows(model: Autoencoder, context: InitContext, count: int) -> Tensor:
    """Up to `count` training rows [n, features] as the model takes them, as many as there is room for.

    Raises:
        NeedsRows: there is no data.
    """
    widest = max(max(layer.inputs, layer.outputs) for layer in model.layers())
    return context.batch(max(2, min(count, ROOM // widest))).to(next(model.parameters()))


@torch.no_grad()
def follow(
    model: Autoencoder,
    rows: Tensor,
    layers: Sequence[Layer],
    context: InitContext,
    *,
    arrive: Visit,
    leave: Visit | None = None,
) -> None:
    """Send rows through the model, calling `arrive(layer, read)` before each of the layers' maps.

    `arrive` may set the layer: the map that is applied then is the new one. `leave(layer, yielded)` is called
    after every map of the model, before any norm. Modes and the statistics of norms are left as they were.
    """
    weights: dict[str, Tensor] = {}

    def keep(layer: Layer, _yielded: Tensor) -> None:
        if layer.weight is not None and scale_is_fixed(layer):
            weights[layer.name] = layer.weight.clone()

    hooks = [layer.module.register_forward_pre_hook(_before(layer, arrive)) for layer in layers]
    hooks += [layer.module.register_forward_hook(_after(layer, keep)) for layer in layers]
    if leave is not None:
        hooks += [layer.module.register_forward_hook(_after(layer, leave)) for layer in model.layers()]
    try:
        # Batch norms must see the batch's own statistics, which one row does not have.
        with undisturbed(model, training=len(rows) > 1):
            model(rows, generator=generator(context.seed, "init", "flow", device=rows.device))
        # The statistics that were put back are also those of power iterations; they are found afresh.
        for layer in layers:
            if layer.name in weights:
                layer.assign(weights[layer.name])
    finally:
        for hook in hooks:
            hook.remove()


def scale_is_fixed(layer: Layer) -> bool:
    """Whether a spectral norm, and no init, says the scale of the layer's weight."""
    return parametrize.is_parametrized(layer.module, "weight") and any(
        isinstance(module, SpectralNorm) for module in layer.module.modules()
    )


def _before(layer: Layer, arrive: Visit) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda _module, read: arrive(layer, read[0])


def _after(layer: Layer, leave: Visit) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    return lambda _module, _read, yielded: leave(layer, yielded)


def by_unit(yielded: Tensor) -> Tensor:
    """A layer's output as [samples, units]: the places of an image are samples too."""
    return yielded if yielded.ndim == 2 else yielded.movedim(1, -1).flatten(0, -2)


def summands(layer: Layer, read: Tensor, count: int, context: InitContext) -> Tensor:
    """What a linear map or a convolution multiplies its weights with, [samples, columns of its matrix].

    Up to `count` patches of a convolution's input, drawn from the layer's own stream.
    """
    if not isinstance(layer.module, nn.Conv2d):
        return read[:count]
    module = layer.module
    places = max(1, layer.positions[1])
    # From four times as many places as are asked for, so that the patches come from many rows.
    some = read[: -(-4 * count // places)]
    patches = functional.unfold(
        some, module.kernel_size, padding=_pixels(module.padding), stride=_pixels(module.stride)
    )
    flat = patches.transpose(1, 2).flatten(0, 1)
    drawn = torch.randperm(len(flat), generator=context.stream(layer.name, "patches"), device="cpu")[:count]
    return flat[drawn.to(flat.device)]


def _pixels(setting: str | tuple[int, ...]) -> tuple[int, ...]:
    assert not isinstance(setting, str), "convolutions here state their padding in pixels"
    return setting


@torch.no_grad()
def mean_yield(layer: Layer, read: Tensor) -> Tensor:
    """Each unit's mean output over `read`; of a linear map, that of the mean."""
    return by_unit(layer.module.forward(read.mean(dim=0, keepdim=True))).mean(dim=0)


@torch.no_grad()
def centre_units(layer: Layer, read: Tensor) -> None:
    """Subtract from a layer's bias, if it has one, each unit's mean output over `read`."""
    if layer.bias is not None:
        layer.bias.sub_(mean_yield(layer, read))


@torch.no_grad()
def settle(
    layer: Layer,
    read: Tensor,
    *,
    variance: float = 1.0,
    centred: bool = True,
    rounds: int = 10,
    tolerance: float = 1e-3,
) -> bool:
    """Scale a layer's weight until its output over `read` has the variance; first subtract each unit's mean.

    Where there is no bias nothing is subtracted; where the weight is another layer's, or a spectral norm has
    its scale, nothing is scaled. Two rounds do, since the map is linear: one to scale, one to see.

    Returns:
        Whether there was variance to scale: not so where all outputs are equal.
    """
    for _ in range(rounds):
        yielded = by_unit(layer.module.forward(read))
        size = float(yielded.square().mean())
        if centred and layer.bias is not None:
            mean = yielded.mean(dim=0)
            layer.bias.sub_(mean)
            yielded = yielded - mean
        found = float(yielded.var(correction=0))
        if not found > _NEGLIGIBLE * size:
            return False
        if layer.weight is None or scale_is_fixed(layer) or abs(found / variance - 1) < tolerance:
            return True
        factor = (variance / found) ** 0.5
        layer.assign(layer.weight * factor)
        if layer.bias is not None:
            layer.bias.mul_(factor)
    return True


def warn_of_dead(word: str, names: Sequence[str]) -> Warned:
    """What whoever chose the word is told of layers that yield the same for every row."""
    return Warned(
        message=f"init {word}: {', '.join(names)} yielded the same for every row, so that there was no "
        "variance to set; are the rows all equal, or did a layer before it die?"
    )
