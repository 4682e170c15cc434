"""Deep nets learn from the inits that depth needs: a residual one of fifty layers, a plain one of thirty."""

from __future__ import annotations

from typing import Any

import pytest

from autoencoders.data import Dataset, samples, write_rows
from autoencoders.events import Epoch
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec

RESIDUAL = {"name": "dense_residual", "width": 48, "blocks": 12, "code": 8}
PLAIN = {"name": "dense", "widths": [48] * 14, "activation": "tanh", "code": 8}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("digits") / "dataset"
    write_rows(samples.call(samples.choose("digits")).rows, folder)
    return Dataset.open(folder)


def share_closed(digits: Dataset, architecture: dict[str, Any], init: str) -> float:
    """How much of the way from the mean's held-out error to PCA's 160 steps close."""
    spec = Spec.model_validate(
        {"architecture": architecture, "init": init, "training": {"epochs": 10, "batch_size": 100}}
    )
    experiment = Experiment(spec, digits, diagnose=False)
    errors = [event.error for event in experiment.run() if isinstance(event, Epoch)]
    mean, pca = experiment.baselines["mean"], experiment.baselines["pca"]
    assert mean is not None
    assert pca is not None
    return (mean - errors[-1]) / (mean - pca)


@pytest.mark.parametrize("init", ["zero_branch", "depth_scaled"])
def test_a_residual_net_of_fifty_layers_learns(init: str, digits: Dataset) -> None:
    assert share_closed(digits, RESIDUAL, init) > 0.5


def test_a_plain_tanh_net_of_thirty_layers_learns_at_criticality_alone(digits: Dataset) -> None:
    assert share_closed(digits, PLAIN, "isometry") > 0.5
    assert share_closed(digits, PLAIN, "glorot_normal") < 0.1
