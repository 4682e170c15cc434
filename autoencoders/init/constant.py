"""Inits without chance: zeros and constants, as controls, and the identity."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.layers.layer import Layer

Value = Annotated[float, Field(ge=-1e6, le=1e6)]

SYMMETRY = "all units of a layer stay equal through training; it is here as a control, not as a way to train"


@inits.per_weight("zeros", formula="W = 0", warning=SYMMETRY)
def zeros(weight: Tensor, layer: Layer, context: InitContext) -> None:  # noqa: ARG001
    """All weights zero: a control in which units can never become different."""
    weight.zero_()


@inits.per_weight("constant", formula="W = value", warning=SYMMETRY)
def constant(
    weight: Tensor,
    layer: Layer,  # noqa: ARG001
    context: InitContext,  # noqa: ARG001
    *,
    value: Value,
) -> None:
    """All weights one value: a control in which units can never become different."""
    weight.fill_(value)


@inits.per_weight(
    "identity", formula="W[i, j] = gain if i = j else 0", reference="Le, Jaitly and Hinton, 2015"
)
def identity(
    weight: Tensor,
    layer: Layer,  # noqa: ARG001
    context: InitContext,  # noqa: ARG001
    *,
    gain: Value = 1.0,
) -> None:
    """The identity map, cut or padded with zeros where the layer is not square."""
    nn.init.eye_(weight).mul_(gain)
