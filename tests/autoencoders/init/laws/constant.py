"""Words without chance: zeros, constants."""

from __future__ import annotations

import torch

from tests.autoencoders.init.laws import Trial, law, needs, without_chance
from tests.autoencoders.init.maps import spectral

needs("constant", value=0.02)
without_chance("zeros", "constant")


@law("zeros", "constant", nets=None)
def all_weights_are_one_value(trial: Trial) -> None:
    """Every weight is the value."""
    for layer, weight in trial.weights():
        value = trial.parameters.get("value", 0.0)
        if not spectral(layer):
            torch.testing.assert_close(weight, torch.full_like(weight, value))


@law("zeros", "constant", nets=("sigmoid",))
def the_units_of_a_layer_stay_equal(trial: Trial) -> None:
    """Training cannot tell the units of a layer apart: their weights stay equal, a matrix of rank one."""
    model = trial.model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (model(trial.rows).output - trial.rows).square().mean().backward()
        optimizer.step()
    for layer in model.layers()[:-1]:
        assert layer.weight is not None
        weight = layer.weight.detach()
        torch.testing.assert_close(weight, weight[:1].expand_as(weight), atol=1e-7, rtol=1e-5)
        assert int(torch.linalg.matrix_rank(weight, rtol=1e-3)) <= 1
