"""Laws of the presets: on every sample and architecture they give cells that can be built, and enough."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import pytest

from autoencoders.data import samples
from autoencoders.data.manifest import Facts
from autoencoders.init import inits
from autoencoders.models import architectures
from autoencoders.spec import Spec
from autoencoders.study import PRESETS, Plan, plan

every_preset = pytest.mark.parametrize("preset", list(PRESETS))


@cache
def facts(sample: str) -> Facts:
    rows = samples.call(samples.choose(sample, **({} if sample == "digits" else {"rows": 50}))).rows
    return Facts(
        shape=rows.shape[1:],
        dtype="float32",
        rows=2000,
        training_rows=1800,
        held_out_rows=200,
        minimum=float(rows.min()),
        maximum=float(rows.max()),
    )


def made(preset: str, sample: str, architecture: str, **request: Any) -> Plan:
    depth = {"blocks": 1} if architecture.endswith("residual") else {}
    base = {"architecture": {"name": architecture, "code": 4, **depth}}
    return plan(base, facts=facts(sample), preset=preset, **request)


PLACES = [
    (sample, architecture)
    for sample, architecture in itertools.product(samples.names(), architectures.names())
    # Convolutions are for images.
    if not architecture.startswith("convolutional") or sample in ("digits", "curves")
]


@every_preset
@pytest.mark.parametrize(("sample", "architecture"), PLACES)
def test_every_cell_can_be_built(preset: str, sample: str, architecture: str) -> None:
    study = made(preset, sample, architecture, budget={"epochs": 30})
    assert len(study.cells) >= 16
    for cell in study.cells:
        assert Spec.model_validate(cell.job).resolve(facts(sample)).model_dump(mode="json") == cell.job
        assert cell.job["training"]["epochs"] >= 15, "a pretraining leaves the training a half"
    assert all(line["why"] for line in study.skipped)


def test_two_way_presets_are_whole_tables() -> None:
    study = made("inits-x-activations", "digits", "dense")
    assert len(study.cells) == 24
    assert not study.skipped


def test_the_inits_are_all_that_need_no_parameter_but_the_controls() -> None:
    study = made("inits", "digits", "dense", budget={"epochs": 300})
    words = {str(line["cell"]["init"]) for line in study.skipped} | {
        cell.job["init"]["name"] for cell in study.cells
    }
    assert words.isdisjoint({"zeros", "constant", "model", "auto", "normal"})
    assert {"he_normal", "pca", "lsuv", "stacked_denoising", "kmeans"} <= words
    assert len(words) > 0.7 * len(inits)


def test_the_classic_is_the_net_of_2006_unless_the_base_says_its_widths() -> None:
    study = made("classic-2006", "digits", "dense_residual", budget={"epochs": 20})
    assert {tuple(cell.job["architecture"]["widths"]) for cell in study.cells} == {(1000, 500, 250)}
    rbm = next(cell for cell in study.cells if cell.job["init"]["name"] == "rbm_stack")
    assert rbm.job["architecture"]["activation"]["name"] == "sigmoid"
    assert rbm.pretraining == 8.0
    small = {"architecture": {"name": "dense", "widths": [30, 20], "code": 4}}
    own = plan(small, facts=facts("digits"), preset="classic-2006", budget={"epochs": 20})
    assert {tuple(cell.job["architecture"]["widths"]) for cell in own.cells} == {(30, 20)}


@pytest.mark.parametrize(
    ("budget", "epochs"),
    [({"epochs": 5}, 1), ({"epochs": 20}, 2), ({"epochs": 200}, 10), ({"seconds": 60}, 2)],
)
def test_each_of_four_machines_has_its_share_of_half_the_budget(
    budget: dict[str, float], epochs: int
) -> None:
    study = made("classic-2006", "digits", "dense", budget=budget)
    rbm = next(cell for cell in study.cells if cell.job["init"]["name"] == "rbm_stack")
    assert rbm.job["init"]["epochs"] == epochs
