"""A layer as initialisation sees it: its weight, its true fans, what feeds it, the branch it stands in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from autoencoders.layers.activations import Activation

Part: TypeAlias = Literal["encoder", "code", "decoder"]


@dataclass(frozen=True)
class Fans:
    """How many products one output sums (`fan_in`), and how many outputs one input reaches (`fan_out`).

    The architecture states them, since a tensor's shape does not: a strided transposed convolution sums
    `channels_in * kernel^2 / stride^2` products, which need not even be whole.
    """

    fan_in: float
    fan_out: float


class TiedLinear(nn.Module):
    """A linear map that uses another's weight, transposed; only the bias is its own.

    Args:
        source: the map whose weight it shares.
    """

    bias: nn.Parameter | None

    def __init__(self, source: nn.Linear) -> None:
        super().__init__()
        # In a tuple, so that the weight stays the source's alone in the state dict and among the parameters.
        self._source = (source,)
        self.in_features, self.out_features = source.out_features, source.in_features
        self.bias = nn.Parameter(torch.zeros(source.in_features))

    def forward(self, x: Tensor) -> Tensor:
        """The product with the source's effective weight, transposed."""
        return functional.linear(x, self._source[0].weight.t(), self.bias)


def blank_linear(features_in: int, features_out: int) -> nn.Linear:
    """A linear map of zeros: what it starts from is an init's affair; no hidden random number is drawn."""
    made = nn.Linear(features_in, features_out, device="meta").to_empty(device=torch.get_default_device())
    with torch.no_grad():
        made.weight.zero_()
        made.bias.zero_()
    return made


Map: TypeAlias = nn.Linear | nn.Conv2d | nn.ConvTranspose2d | TiedLinear
"""What may bear a layer's weight."""


@dataclass(frozen=True, eq=False)
class Branch:
    """A residual branch: its block yields `x + scale * F(x)`.

    Attributes:
        scale: [channels]; one for each channel of the stream, 1 where no init says otherwise.
        index: its place among the model's branches, in forward order.
        count: how many branches the whole model has.
        layers: the names of the layers in `F`, in forward order.
    """

    scale: nn.Parameter
    index: int
    count: int
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """One weight-bearing layer of a model.

    Weights are read and assigned in one layout for every kind of map, `[units, inputs]` or
    `[channels out, channels in, height, width]`; so `weight.transpose(0, 1)` is always the adjoint's weight,
    and `weight.flatten(1)` has a row for each unit.

    Attributes:
        name: `encoder.0`, `code`, `decoder.0`, `decoder.output`; its random stream is named after it.
        part: the part of the model to which it belongs.
        module: the module that holds weight and bias; its output is the pre-activation, before any norm.
        fans: its true fans.
        fed_by: the activation whose output it reads; None where that is linear (the rows, a linear code).
        is_output: whether it yields the logits.
        positions: how many places its input and its output have, 1 each unless they are images.
        branch: the residual branch in which it stands, if any.
        normed: whether a norm standardises what goes into the activation that feeds it.
    """

    name: str
    part: Part
    module: Map
    fans: Fans
    fed_by: Activation | None = None
    is_output: bool = False
    positions: tuple[int, int] = (1, 1)
    branch: Branch | None = None
    normed: bool = False

    @property
    def tied(self) -> bool:
        """Whether its weight is another layer's."""
        return isinstance(self.module, TiedLinear)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its weight: units, what they read, and the kernel where it is a convolution."""
        if isinstance(self.module, nn.Linear | TiedLinear):
            return (self.module.out_features, self.module.in_features)
        return (self.module.out_channels, self.module.in_channels, *self.module.kernel_size)

    @property
    def units(self) -> int:
        """The units that have weights and a bias of their own: outputs, or channels."""
        return self.shape[0]

    @property
    def inputs(self) -> int:
        """The numbers that it reads of one row."""
        return self.shape[1] * self.positions[0]

    @property
    def outputs(self) -> int:
        """The numbers that it yields of one row."""
        return self.units * self.positions[1]

    @property
    def products(self) -> float:
        """The multiplications of one row, edges left aside."""
        return self.fans.fan_in * self.outputs

    @property
    def weight(self) -> Tensor | None:
        """Its effective weight, after any parametrization; None where it is another layer's."""
        if isinstance(self.module, TiedLinear):
            return None
        return self._layout(self.module.weight)

    @property
    def bias(self) -> nn.Parameter | None:
        """Its bias; None where the norm that follows would cancel it."""
        bias = self.module.bias
        assert bias is None or isinstance(bias, nn.Parameter)
        return bias

    @property
    def gain(self) -> float:
        """The exact forward gain of the activation that feeds it; 1 after a linear input."""
        return 1.0 if self.fed_by is None else self.fed_by.forward_gain

    @property
    def overlap(self) -> float:
        """A unit's weights over the products that one output sums: 1; stride^2 in transposed convolutions.

        A matrix whose rows shall have norm `g` for each output needs rows of norm `g sqrt(overlap)`.
        """
        return math.prod(self.shape[1:]) / self.fans.fan_in

    @torch.no_grad()
    def assign(self, weight: Tensor) -> None:
        """Make `weight` the effective weight, through whatever parametrization it has.

        Raises:
            ValueError: the layer is tied.
        """
        if isinstance(self.module, TiedLinear):
            raise ValueError(f"{self.name} has no weight of its own")
        own = self.module.weight
        weight = self._layout(weight)
        if parametrize.is_parametrized(self.module, "weight"):
            # A copy: the parametrization may keep the very tensor that it is given.
            self.module.weight = torch.empty(own.shape, dtype=own.dtype, device=own.device).copy_(weight)
        else:
            own.copy_(weight)

    def _layout(self, weight: Tensor) -> Tensor:
        # torch keeps transposed convolutions as [channels in, channels out, ...]; the swap inverts itself.
        return weight.transpose(0, 1) if isinstance(self.module, nn.ConvTranspose2d) else weight
