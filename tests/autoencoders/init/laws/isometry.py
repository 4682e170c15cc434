"""Dynamical isometry: the singular values of deep Jacobians gather at 1."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from autoencoders.layers.layer import Layer
from autoencoders.models import Autoencoder
from tests.autoencoders.init.laws import Trial, law
from tests.autoencoders.init.laws.orthogonal import is_scaled_isometry, keeps_lengths, tile_of
from tests.autoencoders.init.maps import outputs_follow, passed_through, spectral

Q = 0.01


def _claimed(layer: Layer, trial: Trial) -> float:
    """The squared gain: q* from linear values on, `q* / E phi^2` between activations, back to 1 at last."""
    words = [one.fed_by.word for one in trial.model.layers() if one.fed_by is not None]
    if "tanh" not in words:
        return 1.0
    # E tanh^2(sqrt(q) z) = q - 2 q^2 + 17/3 q^3 - ..., whose next term is 4e-8 here.
    share = 1 - 2 * Q + 17 / 3 * Q**2 - 18.6 * Q**3
    into = 1.0 if layer.fed_by is None else Q * share
    out = 1.0 if layer.part == "code" or layer.is_output else Q
    return out / into


# The plain convolutional net, with units that allow it.
def _image(trial: Trial) -> Trial:
    return Trial(trial.choice, "convolutional", trial.seed, {"activation": "tanh", "kernel": 5})


@law("isometry", nets=("convolutional",))
def convolutions_too(trial: Trial) -> None:
    """A net of convolutions keeps the same laws, transposed ones too."""
    maps_are_scaled_isometries(_image(trial))
    outputs_have_the_variance_of_the_scaled_maps(_image(trial))


@law("isometry", nets=None)
def maps_are_scaled_isometries(trial: Trial) -> None:
    """Each map keeps lengths, convolutions too, scaled into the activation's straight part and out of it."""
    seen = passed_through(trial)
    for layer, weight in trial.weights():
        if spectral(layer):
            continue
        square = _claimed(layer, trial)
        is_scaled_isometry(tile_of(layer, weight) / math.sqrt(square), 1.0)
        keeps_lengths(layer, weight, seen[layer.name][0], math.sqrt(square))


@law("isometry", nets=None)
def outputs_have_the_variance_of_the_scaled_maps(trial: Trial) -> None:
    """The middle taps alone have a variance."""

    def variances(layer: Layer) -> Tensor:
        square = _claimed(layer, trial)
        if len(layer.shape) == 2:
            return torch.full(layer.shape, square / max(layer.shape))
        units, channels, kernel, _ = layer.shape
        assert isinstance(layer.module, nn.Conv2d | nn.ConvTranspose2d)
        stride, start = layer.module.stride[0], (kernel - 1) // 2
        taps = stride**2
        wide = (
            (units * taps, channels)
            if isinstance(layer.module, nn.ConvTranspose2d)
            else (units, channels * taps)
        )
        made = torch.zeros(layer.shape)
        made[:, :, start : start + stride, start : start + stride] = square / max(wide)
        return made

    outputs_follow(trial, variances)


@law("isometry", nets=("deep tanh",))
def singular_values_of_the_jacobian_gather_at_one(trial: Trial) -> None:
    """Encoder, decoder and whole: their squares have mean 1 and hardly a variance, at any depth.

    Over one tanh layer the variance of squared slopes is 8 q^2 of their mean squared; layers add theirs up.
    With the exact forward gain the same net's singular values spread over orders of magnitude.
    """
    width, rows = 48, 4
    for depth in (4, 24):
        options = {"shape": (width,), "widths": (width,) * depth, "code": width, "activation": "tanh"}
        model = Trial(trial.choice, trial.name, trial.seed, options).model
        x = torch.randn(rows, width, generator=torch.Generator().manual_seed(9))
        x /= x.square().mean(dim=1, keepdim=True).sqrt()
        for layers, whole in ((depth, False), (2 * depth, True)):
            # What the layers add up to: 8 q^2 of variance each, of which the mean over the width has a share.
            expected = 8 * Q**2 * layers
            for row in x:
                jacobian = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
                    _one_row(model, whole=whole), row
                )
                squares = torch.linalg.svdvals(jacobian).square()
                assert abs(float(squares.mean()) - 1) < 4.5 * math.sqrt(expected / width) + expected, depth
                assert float(squares.var()) < 2 * expected, depth


def _one_row(model: Autoencoder, *, whole: bool) -> Callable[[Tensor], Tensor]:
    """From one row to its code, or to its logits."""
    return lambda row: (model(row[None]).logits if whole else model.encode(row[None]))[0]
