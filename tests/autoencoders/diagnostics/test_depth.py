"""Depth does no harm where theory says so: deep nets at criticality are forecast to learn, and do."""

from __future__ import annotations

from typing import Any

import pytest

from autoencoders.data import Dataset
from autoencoders.events import Diagnosed, Epoch
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from tests.autoencoders import tiny

RESIDUAL = {"name": "dense_residual", "width": 64, "blocks": 12, "code": 8}
TANH = {"name": "dense", "widths": [64] * 14, "code": 8, "activation": "tanh"}


@pytest.mark.parametrize(
    ("architecture", "init", "depth", "epochs"),
    [
        pytest.param(RESIDUAL, "depth_scaled", 52, 6, id="52 residual layers, depth_scaled"),
        pytest.param(TANH, "isometry", 30, 8, id="30 layers of tanh, isometry"),
        pytest.param(
            TANH,
            {"name": "edge_of_chaos", "output_bias": "mean"},
            30,
            16,
            id="30 layers of tanh, edge_of_chaos",
        ),
    ],
)
def test_a_deep_net_at_criticality_is_forecast_to_learn_and_does(
    architecture: dict[str, Any], init: Any, depth: int, epochs: int, digits: Dataset
) -> None:
    """Half of the way from the mean's held-out error to PCA's is what the word `learns` means."""
    spec = Spec.model_validate(
        {
            "architecture": architecture,
            "init": init,
            "objective": {"loss": "mse"},
            "schedule": "constant",
            "training": {"epochs": epochs, "batch_size": 100, "early_stopping": None},
        }
    )
    experiment = Experiment(spec, digits, clock=tiny.Clock())
    assert len(experiment.model.layers()) == depth
    events = list(experiment.run())
    outlook = next(event.diagnosis["verdict"]["outlook"] for event in events if isinstance(event, Diagnosed))
    error = next(event.error for event in reversed(events) if isinstance(event, Epoch))
    mean, pca = experiment.baselines["mean"], experiment.baselines["pca"]
    assert mean is not None
    assert pca is not None
    assert outlook == "learns"
    assert (mean - error) / (mean - pca) >= 0.5
