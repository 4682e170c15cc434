"""The word that carries mean squares through the model."""

from __future__ import annotations

import math

import torch
from torch import nn

from autoencoders.init import InitContext, initialize
from autoencoders.layers.layer import Layer
from tests.autoencoders.init.laws import Trial, law
from tests.autoencoders.init.maps import outputs_follow, passed_through, spectral
from tests.autoencoders.init.nets import net, rows


@law("autoinit")
def weights_are_alike_within_a_layer(trial: Trial) -> None:
    def variances(layer: Layer) -> torch.Tensor:
        weight = layer.weight
        assert weight is not None
        return torch.full_like(weight, float(weight.detach().square().mean()))

    outputs_follow(trial, variances)


@law("autoinit")
def every_layer_yields_a_mean_square_of_one(trial: Trial) -> None:
    if any(spectral(layer) for layer in trial.model.layers()):
        return  # the norm says what such a layer yields, and so what the next one reads in one draw
    squares: dict[str, list[float]] = {}
    for seed in range(8):
        again = Trial(trial.choice, trial.name, seed, trial.options)
        seen = passed_through(again)
        for layer, _ in again.weights():
            squares.setdefault(layer.name, []).append(float(seen[layer.name][1].square().mean()))
    depth = 0.0
    for layer in trial.model.layers():
        # The spread of all layers since the last norm adds up: each is a mean over its units, alike for all
        # rows at worst.
        depth = 2 / layer.units + (0.0 if layer.normed else depth)
        if layer.name in squares:
            found = squares[layer.name]
            tolerance = 4.5 * math.sqrt(depth / len(found)) + 0.03
            assert abs(sum(found) / len(found) - 1) < tolerance, (layer.name, found)


@law("autoinit", nets=("sigmoid", "convolutional"))
def it_reads_no_rows_and_takes_them_to_be_standardised_where_nothing_is_known(trial: Trial) -> None:
    model = net(trial.name)
    assert list(initialize(model, trial.choice, InitContext(seed=2)))
    first = model.layers()[0]
    assert first.weight is not None
    x = torch.randn(400, model.features, generator=torch.Generator().manual_seed(3))
    image = x if isinstance(first.module, nn.Linear) else x.reshape(-1, *_shape(trial.name))
    found = float(first.module(image).detach().square().mean())
    assert abs(found - 1) < 4.5 * math.sqrt(2 / first.units) + 0.03
    # Rows in [0, 1] are then met with the mean square that they have.
    assert float(rows(model).square().mean()) < 0.6


def _shape(name: str) -> tuple[int, ...]:
    from tests.autoencoders.init.nets import NETS

    shape: tuple[int, ...] = NETS[name]["shape"]
    return shape
