"""Martens' sparse weights: few and strong, and as many whatever the layer's width."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autoencoders.layers.layer import Layer
from tests.autoencoders.init.laws import Trial, law, own_biases, variant
from tests.autoencoders.init.maps import outputs_follow, spectral

variant("sparse", replacement=False)
variant("sparse", nonzeros=4, std=0.5)
own_biases("sparse")


def _is_tanh(trial: Trial) -> bool:
    return any(layer.fed_by is not None and layer.fed_by.word == "tanh" for layer in trial.model.layers())


def _std(trial: Trial, layer: Layer) -> float:
    """Halved for tanh on either side, of which linear values have none."""
    std = float(trial.parameters["std"])
    if _is_tanh(trial):
        std *= 0.5 if layer.fed_by is not None else 1.0
        std *= 0.5 if layer.part != "code" and not layer.is_output else 1.0
    return std


def _count(trial: Trial, layer: Layer) -> int:
    """Of each unit's weights: `stride^2` times as many in transposed convolutions, which share them out."""
    count: int = round(trial.parameters["nonzeros"] * layer.overlap)
    return count if trial.parameters["replacement"] else min(count, math.prod(layer.shape[1:]))


@law("sparse", nets=None)
def each_unit_reads_a_few_inputs(trial: Trial) -> None:
    """At most `nonzeros` weights of a row are not zero; exactly so many where none is drawn twice."""
    for layer, weight in trial.weights():
        found = (weight.flatten(1) != 0).sum(dim=1)
        # A parametrization divides a weight of exactly zero by its length: it stays zero.
        assert int(found.max()) <= _count(trial, layer)
        assert int(found.min()) >= 1
        if not trial.parameters["replacement"]:
            assert bool((found == _count(trial, layer)).all())


@law("sparse", nets=None)
def the_sum_of_a_row_has_one_variance_at_every_width(trial: Trial) -> None:
    """`nonzeros std^2`, as independent rows show it over seeds."""
    squares: dict[str, list[Tensor]] = {}
    for seed in range(4):
        again = Trial(trial.choice, trial.name, seed)
        for layer, weight in again.weights():
            if not spectral(layer):
                expected = _count(again, layer) * _std(again, layer) ** 2
                squares.setdefault(layer.name, []).append(weight.flatten(1).sum(dim=1).square() / expected)
    for name, found in squares.items():
        every = torch.cat(found)
        assert abs(float(every.mean()) - 1) < 4.5 * math.sqrt(2 / len(every)), (name, float(every.mean()))


@law("sparse", nets=None)
def outputs_have_the_variance_that_sparse_weights_give(trial: Trial) -> None:
    """On every kind of map; a unit that reads few inputs has the spread of their squares as well."""

    def variances(layer: Layer) -> Tensor:
        columns = math.prod(layer.shape[1:])
        return torch.full(layer.shape, _count(trial, layer) * _std(trial, layer) ** 2 / columns)

    # Per unit: 2 for the normal weights, and for the choice of inputs the variance of 4 or 15 squares.
    outputs_follow(trial, variances, spread=2 + 12 / trial.parameters["nonzeros"], heavy=True)


@law("sparse", nets=None)
def tanh_units_are_shifted(trial: Trial) -> None:
    """A layer that goes into tanh has biases of a half, any other of zero."""
    for layer, _weight in trial.weights():
        if layer.bias is not None:
            into_tanh = _is_tanh(trial) and layer.part != "code" and not layer.is_output
            expected = torch.full_like(layer.bias, 0.5 if into_tanh else 0.0)
            torch.testing.assert_close(layer.bias.detach(), expected.detach())
