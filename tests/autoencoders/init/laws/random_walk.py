"""The random walk of a gradient's length: its logarithm has no drift."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autoencoders.init import InitContext, initialize
from autoencoders.layers.layer import Layer
from tests.autoencoders.init.laws import Trial, law
from tests.autoencoders.init.maps import outputs_follow, spectral
from tests.autoencoders.init.nets import net


def _claimed(layer: Layer) -> float:
    """The squared gain: as published for lines and rectifiers, by the same expansion for leaky ones."""
    n = layer.inputs
    word = "linear" if layer.fed_by is None else layer.fed_by.word
    if word == "linear":
        return math.exp(1 / n)
    if word == "relu":
        return 2 * math.exp(2 * 1.2 / (max(n, 6) - 2.4))
    assert word == "leaky_relu"
    # Slopes 1 and .1: E s^2 = .505, E s^4 = .50005. ln of a sum of n terms lies below ln of its mean by half
    # of its relative variance, (3 E s^4 / (E s^2)^2 - 1) / 2n.
    return math.exp((3 * 0.50005 / 0.505**2 - 1) / (2 * n)) / 0.505


@law("random_walk", nets=None)
def weights_have_the_variance_of_the_width(trial: Trial) -> None:
    """Within 4.5 standard errors of a normal sample, and the expansion's next term."""
    for layer, weight in trial.weights():
        if spectral(layer):
            continue
        claimed, n = _claimed(layer) / layer.fans.fan_in, weight.numel()
        found = float(weight.double().square().mean())
        assert abs(float(weight.double().mean())) < 4.5 * math.sqrt(claimed / n)
        assert abs(found / claimed - 1) < 4.5 * math.sqrt(2 / n) + 2 / layer.inputs**2, (layer.name, found)


@law("random_walk", nets=None)
def outputs_have_the_variance_that_follows(trial: Trial) -> None:
    """On every kind of map, by its true fans."""

    def variances(layer: Layer) -> Tensor:
        return torch.full(layer.shape, _claimed(layer) / layer.fans.fan_in)

    outputs_follow(trial, variances, slack=0.01)


@law("random_walk", nets=("narrow",))
def the_logarithm_of_a_gradients_length_has_no_drift(trial: Trial) -> None:
    """Over seeds the mean of `ln ||J^T v||` is 0 for unit vectors v, in nets of narrow layers."""
    seeds = 250
    for activation in ("linear", "leaky_relu", "relu"):
        options = {"shape": (14,), "widths": (20, 16), "code": 10, "activation": activation}
        logarithms = []
        model = net(trial.name, **options)
        for seed in range(seeds):
            list(initialize(model, trial.choice, InitContext(seed=seed)))
            stream = torch.Generator().manual_seed(seed)
            x = torch.randn(1, 14, generator=stream).requires_grad_()
            v = torch.nn.functional.normalize(torch.randn(1, 14, generator=stream))
            (back,) = torch.autograd.grad(model(x).logits, x, v)
            logarithms.append(math.log(float(back.norm())))
        found = torch.tensor(logarithms)
        tolerance = 4.5 * float(found.std()) / math.sqrt(seeds)
        # Without the widths' factors the drift of the rectifiers would be -.33, of the lines -.2.
        assert tolerance < 0.2
        assert abs(float(found.mean())) < tolerance, (activation, float(found.mean()), tolerance)
