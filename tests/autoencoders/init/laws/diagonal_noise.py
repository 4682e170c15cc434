"""A diagonal and a little noise, through which tanh nets of any depth pass signals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autoencoders.init import inits
from autoencoders.layers.layer import Layer
from tests.autoencoders.init.laws import Trial, law, variant
from tests.autoencoders.init.maps import outputs_follow, spectral

variant("diagonal_noise", std=0.03)


def _std(trial: Trial, layer: Layer) -> float:
    std = trial.parameters["std"]
    return 0.085 / math.sqrt(layer.fans.fan_in) if std is None else float(std)


def _diagonal(layer: Layer) -> Tensor:
    made = torch.zeros(layer.shape)
    middle = (layer.shape[-1] - 1) // 2
    for unit in range(layer.shape[0]):
        place = made[unit, unit % layer.shape[1]]
        if len(layer.shape) == 2:
            place.fill_(1)
        else:
            place[middle, middle] = 1
    return made


@law("diagonal_noise", nets=None)
def what_is_left_of_the_diagonal_is_noise(trial: Trial) -> None:
    """Less the wrapped diagonal, weights have mean 0 and the noise's variance, on the diagonal as off it."""
    for layer, weight in trial.weights():
        if spectral(layer):
            continue
        noise, diagonal = weight - _diagonal(layer), _diagonal(layer).bool()
        for part in (noise, noise[diagonal]):
            n, std = part.numel(), _std(trial, layer)
            assert abs(float(part.mean())) < 4.5 * std / math.sqrt(n)
            assert abs(float(part.square().mean()) / std**2 - 1) < 4.5 * math.sqrt(2 / n), layer.name


@law("diagonal_noise", nets=None)
def outputs_have_the_variance_that_diagonal_and_noise_give(trial: Trial) -> None:
    """The diagonal's square is certain, the noise's is expected; the cross term's spread is what is left."""

    def variances(layer: Layer) -> Tensor:
        return _diagonal(layer) + _std(trial, layer) ** 2

    outputs_follow(trial, variances, spread=2.0)


@law("diagonal_noise", nets=("deep tanh",))
def a_signal_outlives_hundreds_of_tanh_layers(trial: Trial) -> None:
    """At depth 480 more is left of it than a bare diagonal would leave.

    tanh alone shrinks it to 1 / sqrt(2 l); Glorot weights to nothing, less than a thousandth.
    """
    if trial.parameters["std"] is not None:
        return
    left: dict[str, float] = {}
    for word in ("diagonal_noise", "glorot_normal"):
        x = torch.randn(100, 32, generator=torch.Generator().manual_seed(2))
        for seed in range(8):
            options = {"shape": (32,), "widths": (32,) * 60, "code": 32}
            model = Trial(inits.choose(word), trial.name, seed, options).model
            with torch.no_grad():
                x = model.encoder(x)
        left[word] = float(x.std())
    assert left["diagonal_noise"] > 1.2 / math.sqrt(2 * 480)
    assert left["glorot_normal"] < 1e-3
