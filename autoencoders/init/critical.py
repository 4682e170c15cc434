"""The edge of chaos: variances of weights and biases with which depth does no harm, for any activation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field

from autoencoders.events import Event, Warned
from autoencoders.init.context import InitContext
from autoencoders.init.following import followed_by
from autoencoders.init.lift import inits
from autoencoders.layers.activations import Activation
from autoencoders.layers.critical import Critical, NoCriticalPoint, critical, repulsion
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

BIAS_VARIANCE = 0.05

BiasVariance = Annotated[float, Field(ge=0, le=1e3)]
Variance = Annotated[float, Field(gt=0, le=1e3)]


def _point(function: Activation | None, parameters: dict[str, Any]) -> Critical:
    if function is None:
        return Critical(1.0, 1.0, 0.0)
    q = parameters["q"]
    given = {"bias_variance": parameters["bias_variance"]} if q is None else {"q": q}
    return critical(function.function, **given)


def _points(
    model: Autoencoder, layers: Sequence[Layer], parameters: dict[str, Any]
) -> dict[str, tuple[Critical, float]]:
    """Of each layer, the critical point that it works for and the second moment of what it reads, by name.

    A layer that an activation feeds keeps that activation's q*. One that reads linear values makes the q* of
    the activation that follows: of rows of second moment 1, or of a code that is at q* as all pre-activations
    are.
    """
    after = followed_by(model)
    points = {}
    for layer in layers:
        if layer.fed_by is not None:
            point = _point(layer.fed_by, parameters)
            read = (point.variance - point.bias_variance) / point.weight_variance
        else:
            point = _point(after[layer.name], parameters)
            read = point.variance if layer.part == "decoder" else 1.0
        points[layer.name] = (point, read)
    return points


def _without_critical_point(
    model: Autoencoder, layers: Sequence[Layer], parameters: dict[str, Any]
) -> str | None:
    if parameters["q"] is not None and parameters["bias_variance"] != BIAS_VARIANCE:
        return "takes a bias_variance or a q: either follows from the other"
    after = followed_by(model)
    for function in (layer.fed_by or after[layer.name] for layer in layers):
        try:
            _point(function, parameters)
        except NoCriticalPoint as none:
            assert function is not None
            return f"cannot be had with {function.label}: {none}"
    return None


def _warnings(layers: Sequence[Layer], parameters: dict[str, Any]) -> Iterator[Event]:
    functions = {layer.fed_by.label: layer.fed_by for layer in layers if layer.fed_by is not None}
    for label, function in functions.items():
        point = _point(function, parameters)
        growth = repulsion(function.function, point)
        if growth > 1 + 1e-6:
            yield Warned(
                message=f"init edge_of_chaos: behind {label} the critical variance {point.variance:.4g} "
                f"repels: a deviation from it grows by a factor of {growth:.3g} with each layer"
            )


@inits.per_model(
    "edge_of_chaos",
    formula="W ~ N(0, w / fan_in), b ~ N(0, v), q = w E phi(sqrt(q) z)^2 + v, w E phi'(sqrt(q) z)^2 = 1",
    reference="Poole et al., 2016; Schoenholz et al., 2017; Hayou, Doucet and Rousseau, 2019",
    refuses=_without_critical_point,
)
def edge_of_chaos(
    model: Autoencoder,
    layers: Sequence[Layer],
    context: InitContext,
    *,
    bias_variance: BiasVariance = BIAS_VARIANCE,
    q: Variance | None = None,
) -> Iterator[Event]:
    """Normal weights and biases at the critical point of the activation, solved for it by quadrature.

    `q` gives the variance of pre-activations in the place of the biases'. Lines and rectifiers are critical
    without biases alone, at any variance. Layers that read linear values are scaled such that pre-activations
    begin at q*: rows are taken to have second moment 1, a code to have q*. Behind GELU and SiLU q* repels:
    a deviation from it grows by a tenth a layer, of which the word warns.
    """
    yield from _warnings(layers, {"bias_variance": bias_variance, "q": q})
    points = _points(model, layers, {"bias_variance": bias_variance, "q": q})
    for layer in layers:
        if layer.tied:
            continue
        point, read = points[layer.name]
        variance = (point.variance - point.bias_variance) / read / layer.fans.fan_in
        stream = context.stream(layer.name)
        layer.assign(torch.empty(layer.shape, device="cpu").normal_(0, math.sqrt(variance), generator=stream))
        if layer.bias is not None and point.bias_variance > 0:
            drawn = torch.empty(layer.units, device="cpu")
            drawn.normal_(0, math.sqrt(point.bias_variance), generator=stream)
            with torch.no_grad():
                layer.bias.copy_(drawn)
