"""The init whose learning rates carry over from one width to another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from autoencoders.events import Event, Initialised
from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.optim import optimizers
from autoencoders.optim.width import Reach, width_factors

ITERATIONS = 60

BaseWidth = Annotated[int, Field(ge=1, le=65_536)]


def strides(layer: Layer) -> tuple[int, int]:
    """Those of a transposed convolution, whose output pixels fall into as many phases; else 1."""
    module = layer.module
    if not isinstance(module, nn.ConvTranspose2d):
        return (1, 1)
    return (module.stride[0], module.stride[1])


def largest_singular_value(weight: Tensor, layer: Layer, stream: torch.Generator) -> float:
    """The most that the layer stretches what one output sums, by power iterations.

    Neighbouring outputs of a strided transposed convolution read through different weights: the largest of
    their matrices counts.
    """
    if weight.ndim == 2:
        return _power(weight, stream)
    down, across = strides(layer)
    phases = [weight[:, :, i::down, j::across].flatten(1) for i in range(down) for j in range(across)]
    return max(_power(phase, stream) for phase in phases if phase.numel())


def _power(matrix: Tensor, stream: torch.Generator) -> float:
    vector = torch.randn(matrix.shape[1], generator=stream)
    value = torch.zeros(())
    for _ in range(ITERATIONS):
        image = matrix.mv(vector / torch.linalg.vector_norm(vector))
        value = torch.linalg.vector_norm(image)
        vector = matrix.t().mv(image)
    return float(value)


def _draw(layer: Layer, context: InitContext) -> None:
    stream = context.stream(layer.name)
    weight = torch.randn(layer.shape, generator=stream)
    wanted = math.sqrt(layer.units / layer.fans.fan_in)
    layer.assign(weight.mul_(wanted / largest_singular_value(weight, layer, stream)))


def _reaches(model: nn.Module, layers: Sequence[Layer]) -> dict[str, Reach]:
    names = {id(module): name for name, module in model.named_modules()}
    found: dict[str, Reach] = {}
    for layer in layers:
        prefix = names[id(layer.module)]
        for own, _ in layer.module.named_parameters():
            bias = own == "bias"
            found[f"{prefix}.{own}"] = Reach(1 if bias else layer.fans.fan_in, layer.units, bias)
    return found


@inits.per_model(
    "spectral_mup",
    formula=(
        "W normal, its largest singular value sqrt(units / fan_in); each learning rate times "
        "base_width / fan_in (Adam), units / fan_in (SGD), min(1, units / fan_in)^(1/2) (Muon)"
    ),
    reference="Yang, Simon and Bernstein, 2023",
)
def spectral_mup(
    model: Autoencoder, layers: Sequence[Layer], context: InitContext, *, base_width: BaseWidth = 256
) -> Iterator[Event]:
    """Weights and learning rates that move every layer alike at every width, narrow codes included.

    A rate that was found at one width, `base_width`, is then good at all; factors are those that the job's
    optimizer needs.
    """
    started = context.clock()
    with torch.no_grad():
        for layer in layers:
            if not layer.tied:
                _draw(layer, context)
    word = "adam" if context.optimizer is None else context.optimizer.name
    rates = width_factors(
        optimizers[word].traits.get("steps"),
        list(model.named_parameters()),
        _reaches(model, layers),
        base_width=base_width,
    )
    names = {
        name: layer for layer in layers for name in _reaches(model, [layer]) if not name.endswith("bias")
    }
    factors = {names[name].name: factor for name, factor in rates.items() if name in names}
    yield Initialised(
        word="spectral_mup",
        part="learning rates",
        seconds=context.clock() - started,
        detail={"factors": factors, "rates": rates},
    )
