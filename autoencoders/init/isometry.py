"""Dynamical isometry: all singular values of a deep net's Jacobian near 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from autoencoders.events import Event
from autoencoders.init.context import InitContext
from autoencoders.init.following import followed_by
from autoencoders.init.lift import inits
from autoencoders.init.orthogonal import length_keeping
from autoencoders.layers.activations import Activation
from autoencoders.layers.critical import is_homogeneous, obstacle_to_isometry
from autoencoders.layers.layer import Layer
from autoencoders.layers.meanfield import moments
from autoencoders.models.autoencoder import Autoencoder

VARIANCE = 0.01
"""Of the pre-activations, q*: so small that the squared slopes of tanh vary by 3% from unit to unit."""


def _without_isometry(
    model: Autoencoder,
    layers: Sequence[Layer],
    parameters: dict[str, Any],  # noqa: ARG001 - every refusal's signature
) -> str | None:
    if any(layer.tied for layer in model.layers()):
        return "is impossible in a tied net: one weight cannot lead into the bend and, transposed, out of it"
    after = followed_by(model)
    for layer in layers:
        for function in (layer.fed_by, after[layer.name]):
            obstacle = None if function is None else obstacle_to_isometry(function.function)
            if function is not None and obstacle is not None:
                return f"is impossible with {function.label}, which {obstacle}"
        if layer.branch is not None:
            return "is impossible in a residual net: each block adds its branch's Jacobian to 1"
        if layer.normed:
            return "is impossible behind a norm, which takes pre-activations away from 0"
    return None


def _scale(function: Activation | None) -> float:
    """The standard deviation of its inputs at which this activation is all but a line; 1 if it is one."""
    return 1.0 if function is None or is_homogeneous(function.function) else math.sqrt(VARIANCE)


def _gain(layer: Layer, after: Activation | None) -> float:
    read, yielded = _scale(layer.fed_by), _scale(after)
    if layer.fed_by is not None:
        read = math.sqrt(moments(layer.fed_by.function, variance=read**2).second)
    return yielded / read


@inits.per_model(
    "isometry",
    formula=(
        "W W^T = w I, w = q / E phi(sqrt(q) z)^2, q = 0.01, b = 0; times sqrt(q) where it reads rows or a "
        "code, and 1 / sqrt(q) where it yields them"
    ),
    reference="Pennington, Schoenholz and Ganguli, 2017",
    refuses=_without_isometry,
)
def isometry(model: Autoencoder, layers: Sequence[Layer], context: InitContext) -> Iterator[Event]:
    """Orthogonal weights with which activations work where they are all but lines.

    The variance of pre-activations keeps a small q*, for rows and codes of second moment 1: what reads linear
    values is scaled by `sqrt(q*)`, what yields them by its inverse, so that encoder and decoder each keep
    lengths. The squared singular values of their Jacobians then have mean 1 and a variance that vanishes with
    q*. Convolutions are orthogonal at their middle taps.
    """
    after = followed_by(model)
    for layer in layers:
        if not layer.tied:
            weight = length_keeping(layer, context.stream(layer.name))
            layer.assign(weight.mul_(_gain(layer, after[layer.name])))
    yield from ()
