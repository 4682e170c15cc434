"""Words whose maps keep lengths."""

from __future__ import annotations

import torch

from tests.autoencoders.init.laws import Trial, law, variant, without_chance
from tests.autoencoders.init.maps import spectral

variant("identity", gain=-0.5)
variant("orthogonal", gain=1.2)
without_chance("identity")


@law("orthogonal", nets=None)
def rows_or_columns_are_orthonormal(trial: Trial) -> None:
    """`W W^T` or `W^T W` is a multiple of the identity, whichever is smaller."""
    for layer, weight in trial.weights():
        if spectral(layer):
            continue
        matrix = weight.flatten(1)
        units, columns = matrix.shape
        gain = trial.parameters["gain"]
        square = (layer.gain if gain is None else gain) ** 2 * layer.overlap
        product = matrix @ matrix.T if units <= columns else matrix.T @ matrix
        expected = square * torch.eye(min(units, columns))
        torch.testing.assert_close(product, expected, atol=2e-5 * max(1.0, square), rtol=0)


@law("identity", nets=("square", "wide", "narrow", "deep tanh", "tied"))
def a_linear_map_is_the_identity(trial: Trial) -> None:
    """Ones on the diagonal, times the gain."""
    for _layer, weight in trial.weights():
        torch.testing.assert_close(weight, trial.parameters["gain"] * torch.eye(*weight.shape))
