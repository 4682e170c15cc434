"""What mean-field theory expects of the layers, from their weights' variances alone.

In a wide net with independent weights pre-activations are Gaussian: with `q` the second moment of what
feeds a layer, its own is `fan_in E[W^2] E phi(sqrt(q) z)^2 + E[b^2]`, and a small difference between two
rows grows in variance by `chi = fan_in E[W^2] E phi'(sqrt(q) z)^2`; over many layers like it differences
fade or grow by e in `1 / |ln chi|` layers. (Poole et al., 2016; Schoenholz et al., 2017.) Where weights are
not independent, or biases depend on them as centring ones do, the measurement departs from it: that is a
finding, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from autoencoders.layers.layer import Layer, TiedLinear
from autoencoders.layers.meanfield import moments
from autoencoders.models.autoencoder import Autoencoder


@dataclass(frozen=True)
class Prediction:
    """What theory says of one layer.

    Attributes:
        variance: the second moment of its pre-activations.
        chi: by how much it multiplies the variance of a small difference between two rows.
        depth_scale: over how many such layers that changes by a factor e; None at criticality.
    """

    variance: float
    chi: float
    depth_scale: float | None


@torch.no_grad()
def predict(model: Autoencoder, input_second: float) -> dict[str, Prediction]:
    """A prediction for every layer by name, from the mean square of the numbers in a row.

    Residual streams add their branches' variances; a norm makes the second moment 1.
    """
    found: dict[str, Prediction] = {}
    current = stream = input_second
    for layer in model.layers():
        branch = layer.branch
        if branch is not None and layer.name == branch.layers[0]:
            stream = current
        strength = layer.fans.fan_in * float(_weight(layer).double().square().mean())
        fed, slope = current, 1.0
        if layer.fed_by is not None:
            there = moments(layer.fed_by.function, variance=1.0 if layer.normed else max(current, 1e-30))
            fed, slope = there.second, there.derivative_second
            if layer.normed:
                slope /= max(current, 1e-30)
        bias = 0.0 if layer.bias is None else float(layer.bias.double().square().mean())
        current = strength * fed + bias
        chi = strength * slope
        found[layer.name] = Prediction(current, chi, depth_scale(chi))
        if branch is not None and layer.name == branch.layers[-1]:
            current = stream + float(branch.scale.double().square().mean()) * current
    return found


def depth_scale(chi: float) -> float | None:
    """Over how many layers differences change by a factor e in variance; None where they never do."""
    if chi <= 0.0:
        return 0.0
    rate = abs(math.log(chi))
    return 1.0 / rate if rate > 1e-9 else None


def _weight(layer: Layer) -> Tensor:
    weight = layer.weight
    if weight is not None:
        return weight
    module = layer.module
    assert isinstance(module, TiedLinear)
    parameter = next(module.parameters())
    basis = torch.eye(module.in_features, dtype=parameter.dtype, device=parameter.device)
    # A tied map has no weight of its own: what it does to unit vectors is the one it borrows.
    borrowed: Tensor = (module(basis) - module(torch.zeros_like(basis[:1]))).t()
    return borrowed
