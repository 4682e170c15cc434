"""Inits without chance: zeros and constants, as controls, and the identity."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

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


def middle_tap(weight: Tensor) -> Tensor:
    """The part `[units, inputs]` of a weight that reads an image's own place; a linear map's is all of it.

    It is the tap of the padding, `(kernel - 1) // 2`: with a stride, output `i` reads input `stride * i`, and
    a transposed convolution puts input `i` at output `stride * i`. So the two are adjoint, at any kernel.
    """
    return (
        weight if weight.ndim == 2 else weight[:, :, (weight.shape[2] - 1) // 2, (weight.shape[3] - 1) // 2]
    )


@inits.per_weight(
    "identity",
    formula="W[i, j] = gain if i = j else 0; in a convolution at the tap (kernel - 1) // 2, 0 at the others",
    reference="Le, Jaitly and Hinton, 2015",
)
def identity(
    weight: Tensor,
    layer: Layer,  # noqa: ARG001
    context: InitContext,  # noqa: ARG001
    *,
    gain: Value = 1.0,
) -> None:
    """The identity map, cut or padded with zeros where the layer is not square.

    A convolution passes each channel's own pixel on, the first of every `stride`; a transposed one puts it
    back there and leaves the pixels between them dark.
    """
    weight.zero_()
    middle_tap(weight).fill_diagonal_(gain)
