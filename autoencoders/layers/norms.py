"""The norms: a catalog whose words put a normalisation onto a linear map."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from autoencoders.catalog import Catalog, Choice
from autoencoders.errors import SpecRefused
from autoencoders.layers.layer import Map, TiedLinear
from autoencoders.randomness import generator

RMS_EPSILON = 1e-6

Norm = Callable[..., nn.Module | None]

norms: Catalog[Norm] = Catalog("norms")
"""Words `(linear, **parameters) -> nn.Module | None`: what follows the map, None where nothing does.

A word may change the map: drop a bias that it would cancel, or (trait `of_weight`) reparametrize the weight.
One that does not fit raises SpecRefused with locations relative to its own parameters.
"""


def put_norm(choice: Choice | str, linear: Map) -> nn.Module | None:
    """Put the chosen norm onto a map; a tied map's weight is left to the map that owns it."""
    chosen = norms.choose(choice)
    if isinstance(linear, TiedLinear) and norms[chosen.name].traits.get("of_weight"):
        return None
    made: nn.Module | None = norms.call(chosen, linear)
    return made


def _units(linear: Map) -> int:
    return linear.out_features if isinstance(linear, nn.Linear | TiedLinear) else linear.out_channels


def _convolves(linear: Map) -> bool:
    return isinstance(linear, nn.Conv2d | nn.ConvTranspose2d)


@norms.word("none")
def none(linear: Map) -> None:
    """No normalisation."""


@norms.word("batch", formula="(x - mean over rows) / std over rows", reference="Ioffe and Szegedy, 2015")
def batch(linear: Map) -> nn.Module:
    """Each unit or channel standardised over the batch; running statistics when serving."""
    linear.register_parameter("bias", None)
    return nn.BatchNorm2d(_units(linear)) if _convolves(linear) else nn.BatchNorm1d(_units(linear))


@norms.word("layer", formula="(x - mean over units) / std over units", reference="Ba, Kiros and Hinton, 2016")
def layer(linear: Map) -> nn.Module:
    """Each row standardised over its units, which in a convolution are all channels and pixels."""
    return nn.GroupNorm(1, _units(linear)) if _convolves(linear) else nn.LayerNorm(_units(linear))


@norms.word(
    "group", formula="the layer norm within each of `groups` groups of units", reference="Wu and He, 2018"
)
def group(linear: Map, *, groups: Annotated[int, Field(ge=1, le=65_536)] = 8) -> nn.Module:
    """Each row standardised within groups of units or channels; the groups must divide them."""
    units = _units(linear)
    # A group of one number would be nothing but zeros.
    if units % groups or groups == units:
        fitting = [str(count) for count in range(1, units) if units % count == 0]
        shown = ", ".join(fitting if len(fitting) <= 12 else [*fitting[:11], "…"]) or "no other number"
        what = f"of {units} units are of one each" if groups == units else f"do not divide {units} units"
        raise SpecRefused([(("groups",), f"{groups} groups {what}; {shown} would do")])
    return nn.GroupNorm(groups, units)


class ChannelRMSNorm(nn.Module):
    """Divides the channels at each pixel by their root mean square.

    Args:
        channels: how many; each has a factor of its own.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Images [n, channels, height, width] of root mean square 1 over the channels."""
        # Squares of half-precision numbers overflow; torch's own norm sums them as float32 too.
        size = x.float().square().mean(dim=1, keepdim=True).add(RMS_EPSILON).rsqrt()
        return x * size.to(x.dtype) * self.weight.view(-1, 1, 1)


@norms.word("rms", formula="x / sqrt(mean over units of x^2)", reference="Zhang and Sennrich, 2019")
def rms(linear: Map) -> nn.Module:
    """Each row divided by the root mean square of its units, each pixel by that of its channels."""
    if _convolves(linear):
        return ChannelRMSNorm(_units(linear))
    return nn.RMSNorm(_units(linear), eps=RMS_EPSILON)


class WeightNorm(nn.Module):
    """Splits a weight into a length and a direction for each unit; a zero weight keeps a direction.

    Args:
        dims: of the weight, all but that of its units.
    """

    def __init__(self, dims: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        """The effective weight."""
        scale: Tensor = length / torch.linalg.vector_norm(direction, dim=self.dims, keepdim=True)
        return direction * scale

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Lengths and directions of which `weight` is made."""
        length = torch.linalg.vector_norm(weight, dim=self.dims, keepdim=True)
        # 0 / 0 otherwise: a unit of zeros gets the diagonal as its direction, and the length 0.
        summed = math.prod(weight.shape[dim] for dim in self.dims)
        return length, torch.where(length > 0, weight, summed**-0.5)


def _direction(vector: Tensor, otherwise: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(vector)
    return torch.where(size > 0, vector / size, otherwise)


class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value, which power iterations follow through training.

    A convolution's weight counts as the matrix [units, all that a unit sums].

    Args:
        weight: the weight it is for.
        swapped: whether its units stand second, as in transposed convolutions.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor, *, swapped: bool = False) -> None:
        super().__init__()
        self.swapped = swapped
        units, inputs = self._matrix(weight).shape
        # A fixed stream: where a power iteration starts does not matter, and no global stream is touched.
        stream = generator(0, "power iteration", units, inputs)
        left = functional.normalize(torch.randn(units, generator=stream, device="cpu"), dim=0)
        right = functional.normalize(torch.randn(inputs, generator=stream, device="cpu"), dim=0)
        self.register_buffer("left", left.to(weight))
        self.register_buffer("right", right.to(weight))

    def _matrix(self, weight: Tensor) -> Tensor:
        return (weight.transpose(0, 1) if self.swapped else weight).flatten(1)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor, times: int) -> None:
        # A model that is only being sized has no numbers to iterate on.
        for _ in range(0 if matrix.is_meta else times):
            self.right.copy_(_direction(matrix.t().mv(self.left), self.right))
            self.left.copy_(_direction(matrix.mv(self.right), self.left))

    def forward(self, weight: Tensor) -> Tensor:
        """The effective weight; a weight of zeros stays zero."""
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, 1)
        # Clones, for the buffers change in place before the backward pass may have used them.
        value = torch.dot(self.left.clone(), matrix.mv(self.right.clone()))
        return weight / torch.where(value > 0, value, 1.0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The weight itself, with its largest singular value found afresh: the scale is the norm's."""
        self._iterate(self._matrix(weight), 50)
        return weight


@norms.word(
    "weight", formula="W = g v / ||v|| for each unit", reference="Salimans and Kingma, 2016", of_weight=True
)
def weight(linear: Map) -> None:
    """Each unit's weight split into its length and its direction."""
    own = _own_weight(linear)
    units = 1 if isinstance(linear, nn.ConvTranspose2d) else 0
    dims = tuple(dim for dim in range(own.ndim) if dim != units)
    parametrize.register_parametrization(linear, "weight", WeightNorm(dims))


@norms.word(
    "spectral",
    formula="W / largest singular value",
    reference="Miyato, Kataoka, Koyama and Yoshida, 2018",
    of_weight=True,
)
def spectral(linear: Map) -> None:
    """The weight divided by its largest singular value; an init then says its shape, the norm its scale."""
    made = SpectralNorm(_own_weight(linear), swapped=isinstance(linear, nn.ConvTranspose2d))
    parametrize.register_parametrization(linear, "weight", made)


def _own_weight(linear: Map) -> Tensor:
    assert not isinstance(linear, TiedLinear), "put_norm leaves a tied weight to the map that owns it"
    return linear.weight
