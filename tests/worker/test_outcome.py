"""What a finished experiment leaves: a bundle with graphs, aligned where asked; a warning where it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoencoders import bundle
from autoencoders.data import Dataset, samples, write_sample
from autoencoders.events import Event, Log, Warned
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from worker.outcome import NotAlignable, earlier_model, write_bundle

SPEC: dict[str, Any] = {
    "architecture": {"name": "dense", "widths": [32]},
    "code": 6,
    "init": "he_normal",
    "training": {"epochs": 2},
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("digits") / "dataset"
    write_sample(samples.choose("digits"), folder)
    return Dataset.open(folder)


def finished(digits: Dataset, seed: int = 0) -> Experiment:
    training = {**SPEC["training"], "seed": seed}
    experiment = Experiment(
        Spec.model_validate({**SPEC, "training": training}), digits, threads=1, diagnose=False
    )
    list(experiment.run())
    return experiment


@pytest.fixture(scope="module")
def first(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "model"
    told: list[Event] = []
    write_bundle(finished(digits), folder, earlier=None, tell=told.append)
    assert told == []
    return folder


def files(folder: Path) -> Callable[[str], Path]:
    return {"digits@1": folder}.__getitem__


def test_a_finished_experiment_becomes_a_bundle_with_graphs(first: Path) -> None:
    manifest = bundle.verify(first)
    assert {"encoder.onnx", "decoder.onnx", "golden.safetensors"} <= set(manifest.hashes)
    assert manifest.inference is not None


def test_an_aligned_model_shares_the_space_and_reconstructs_as_before(
    first: Path, digits: Dataset, tmp_path: Path
) -> None:
    experiment, told = finished(digits, seed=1), list[Event]()
    experiment.save(tmp_path / "loose")
    earlier = earlier_model({"align_to": "digits@1"}, experiment.spec, digits, files(first))
    manifest, turned = write_bundle(experiment, tmp_path / "model", earlier=earlier, tell=told.append)
    before, loose, after = (bundle.load(folder) for folder in (first, tmp_path / "loose", tmp_path / "model"))
    assert turned is not None
    assert turned.recall_after > turned.recall_before + 0.1
    assert manifest.space == before.manifest.space != loose.manifest.space
    rows = digits.held_out
    expected = loose.reconstruct(rows)
    np.testing.assert_allclose(after.reconstruct(rows), expected, 1e-5, 1e-5 * float(expected.std()))
    stored = before.encode(rows)
    apart, near = (float(np.square(each.encode(rows) - stored).sum()) for each in (loose, after))
    assert near < 0.6 * apart
    (line,) = told
    assert isinstance(line, Log)
    assert "aligned to digits@1" in line.message


def test_codes_that_do_not_fit_are_refused_before_the_training(first: Path, digits: Dataset) -> None:
    spec = Spec.model_validate({**SPEC, "code": 5}).resolve(digits.facts)
    with pytest.raises(NotAlignable, match="a code of 6 numbers, this job one of 5"):
        earlier_model({"align_to": "digits@1"}, spec, digits, files(first))
    assert earlier_model({"align_to": None}, spec, digits, files(first)) is None


def test_a_model_that_cannot_be_exported_is_published_with_a_warning(digits: Dataset, tmp_path: Path) -> None:
    experiment, told = finished(digits), list[Event]()
    # What is not a number agrees with nothing, in either runtime.
    with torch.no_grad():
        experiment.model.bottleneck.linear.bias.fill_(float("nan"))
    manifest, _ = write_bundle(experiment, tmp_path / "model", earlier=None, tell=told.append)
    assert manifest.inference is None
    (line,) = told
    assert isinstance(line, Warned)
    assert "PyTorch serves this model" in line.message
    assert "encoder.onnx" not in bundle.verify(tmp_path / "model").hashes
