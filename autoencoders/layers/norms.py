"""The norms: a catalog whose words put a normalisation onto a linear map."""

from __future__ import annotations

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


@norms.word("none")
def none(linear: Map) -> None:
    """No normalisation."""


@norms.word("batch", formula="(x - mean over rows) / std over rows", reference="Ioffe and Szegedy, 2015")
def batch(linear: Map) -> nn.Module:
    """Each unit standardised over the batch; running statistics when serving."""
    linear.register_parameter("bias", None)
    return nn.BatchNorm1d(linear.out_features)


@norms.word("layer", formula="(x - mean over units) / std over units", reference="Ba, Kiros and Hinton, 2016")
def layer(linear: Map) -> nn.Module:
    """Each row standardised over its units."""
    return nn.LayerNorm(linear.out_features)


@norms.word(
    "group", formula="the layer norm within each of `groups` groups of units", reference="Wu and He, 2018"
)
def group(linear: Map, *, groups: Annotated[int, Field(ge=1, le=65_536)] = 8) -> nn.Module:
    """Each row standardised within groups of units; the groups must divide the units."""
    features = linear.out_features
    if features % groups:
        fitting = [str(count) for count in range(1, features + 1) if features % count == 0]
        shown = ", ".join(fitting if len(fitting) <= 12 else [*fitting[:11], "…"])
        raise SpecRefused([(("groups",), f"{groups} groups do not divide {features} units; {shown} would")])
    return nn.GroupNorm(groups, features)


@norms.word("rms", formula="x / sqrt(mean over units of x^2)", reference="Zhang and Sennrich, 2019")
def rms(linear: Map) -> nn.Module:
    """Each row divided by the root mean square of its units."""
    return nn.RMSNorm(linear.out_features, eps=1e-6)


class WeightNorm(nn.Module):
    """Splits a weight into a length and a direction for each unit; a zero weight keeps a direction."""

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        """The effective weight."""
        scale: Tensor = length / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
        return direction * scale

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Lengths and directions of which `weight` is made."""
        length = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        # 0 / 0 otherwise: a unit of zeros gets the diagonal as its direction, and the length 0.
        return length, torch.where(length > 0, weight, weight.shape[1] ** -0.5)


def _direction(vector: Tensor, otherwise: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(vector)
    return torch.where(size > 0, vector / size, otherwise)


class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value, which power iterations follow through training.

    Args:
        weight: the weight it is for.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        units, inputs = weight.shape
        # A fixed stream: where a power iteration starts does not matter, and no global stream is touched.
        stream = generator(0, "power iteration", units, inputs)
        left = functional.normalize(torch.randn(units, generator=stream, device="cpu"), dim=0)
        right = functional.normalize(torch.randn(inputs, generator=stream, device="cpu"), dim=0)
        self.register_buffer("left", left.to(weight))
        self.register_buffer("right", right.to(weight))

    @torch.no_grad()
    def _iterate(self, weight: Tensor, times: int) -> None:
        for _ in range(times):
            self.right.copy_(_direction(weight.t().mv(self.left), self.right))
            self.left.copy_(_direction(weight.mv(self.right), self.left))

    def forward(self, weight: Tensor) -> Tensor:
        """The effective weight; a weight of zeros stays zero."""
        if self.training:
            self._iterate(weight, 1)
        # Clones, for the buffers change in place before the backward pass may have used them.
        value = torch.dot(self.left.clone(), weight.mv(self.right.clone()))
        return weight / torch.where(value > 0, value, 1.0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The weight itself, with its largest singular value found afresh: the scale is the norm's."""
        self._iterate(weight, 50)
        return weight


@norms.word(
    "weight", formula="W = g v / ||v|| for each unit", reference="Salimans and Kingma, 2016", of_weight=True
)
def weight(linear: nn.Linear) -> None:
    """Each unit's weight split into its length and its direction."""
    parametrize.register_parametrization(linear, "weight", WeightNorm())


@norms.word(
    "spectral",
    formula="W / largest singular value",
    reference="Miyato, Kataoka, Koyama and Yoshida, 2018",
    of_weight=True,
)
def spectral(linear: nn.Linear) -> None:
    """The weight divided by its largest singular value; an init then says its shape, the norm its scale."""
    parametrize.register_parametrization(linear, "weight", SpectralNorm(linear.weight))
