"""A plan's cells: whole jobs with equal budgets, a pretraining counted, and refusals before anything runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoencoders.errors import SpecRefused
from autoencoders.init.storeys import ROWS_BYTES
from autoencoders.spec import Spec
from autoencoders.study import plan
from tests.autoencoders.study.cells import BASE, FACTS, planned, refused

STARTS: dict[str, list[Any]] = {"init": ["lsuv", "orthogonal"]}
SIGMOID = {**BASE, "architecture": {**BASE["architecture"], "activation": "sigmoid"}}


def test_every_job_is_whole_and_carries_what_is_none_of_a_spec_s() -> None:
    study = planned({**BASE, "dataset": "digits", "labels": {"a": "b"}, "promote": "never"}, grid=STARTS)
    for cell in study.cells:
        assert (cell.job["dataset"], cell.job["labels"], cell.job["promote"]) == (
            "digits",
            {"a": "b"},
            "never",
        )
        described = {key: value for key, value in cell.job.items() if key in Spec.model_fields}
        spec = Spec.model_validate(described)
        assert spec.resolve(FACTS) == spec, "every default is written out"
        assert spec.model_dump(mode="json") == described


def test_the_document_is_json_and_says_the_grid() -> None:
    document = planned(preset="inits", seeds=[3, 1], racing=True).document()
    assert json.loads(json.dumps(document)) == document
    assert document["seeds"] == [3, 1]
    assert {cell["job"]["training"]["seed"] for cell in document["cells"]} == {3}
    assert {"lsuv", "he_normal"} <= set(map(str, document["grid"]["init"]))


def test_unset_the_budget_is_the_base_s_epochs() -> None:
    study = planned(grid=STARTS)
    assert study.budget == {"epochs": 9}
    assert {cell.job["training"]["epochs"] for cell in study.cells} == {9}
    assert planned({"code": 2}, grid=STARTS).budget == {"epochs": 50}
    # Whatever a spec reads as a number is one.
    assert planned({"code": 2, "training": {"epochs": 20.0}}, grid=STARTS).budget == {"epochs": 20}
    wrong = refused({"code": 2, "training": {"epochs": 0}}, grid=STARTS)
    assert [place for place, _ in wrong] == [("base", "training", "epochs")]


def test_a_base_that_names_no_init_has_one_chosen_in_every_cell_at_no_cost_in_epochs() -> None:
    base = {key: value for key, value in BASE.items() if key != "init"}
    study = planned(base, grid={"architecture.activation": ["tanh", "sigmoid"]}, seeds=[0, 1])
    assert [cell.job["init"]["name"] for cell in study.cells] == ["auto", "auto"]
    assert [(cell.pretraining, cell.job["training"]["epochs"]) for cell in study.cells] == [(0.0, 9)] * 2


def test_a_pretraining_s_passes_are_epochs_of_its_cell() -> None:
    grid = {"init": ["lsuv", {"name": "rbm_stack", "epochs": 4}, {"name": "stacked_denoising", "epochs": 2}]}
    study = planned(SIGMOID, grid=grid, budget={"epochs": 20})
    # Two hidden layers and the code: three machines.
    assert [cell.pretraining for cell in study.cells] == [0.0, 12.0, 6.0]
    assert [cell.job["training"]["epochs"] for cell in study.cells] == [20, 8, 14]
    assert [cell.job["init"].get("epochs") for cell in study.cells] == [None, 4, 2]


def test_a_part_of_a_pass_takes_a_whole_epoch_of_the_budget() -> None:
    # There is room for half of the rows, of which each of three machines makes one pass.
    many = FACTS.model_copy(update={"training_rows": 2 * (ROWS_BYTES // (4 * (12 + 8)))})
    once = {"init": [{"name": "rbm_stack", "epochs": 1}]}
    (cell,) = plan(SIGMOID, facts=many, grid=once, budget={"epochs": 20}).cells
    assert (cell.pretraining, cell.job["training"]["epochs"]) == (1.5, 18)


def test_a_pretraining_of_parts_counts_those_parts() -> None:
    word = {"name": "rbm_stack", "epochs": 4}
    study = planned(SIGMOID, grid={"init.encoder": [word, "lsuv"]}, budget={"epochs": 20})
    assert [cell.pretraining for cell in study.cells] == [8.0, 0.0]


def test_a_pretraining_that_leaves_no_epoch_is_refused_or_left_out() -> None:
    grid = {"init": [{"name": "rbm_stack", "epochs": 3}, "lsuv"]}
    problems = refused(SIGMOID, grid=grid, budget={"epochs": 9})
    assert [place for place, _ in problems] == [("grid", "init", "0")]
    study = planned(SIGMOID, grid=grid, budget={"epochs": 9}, unfit="skip")
    assert [cell.cell for cell in study.cells] == [{"init": "lsuv"}]
    assert study.skipped[0]["cell"] == {"init": grid["init"][0]}
    assert "9 of the 9 epochs" in study.skipped[0]["why"]
    assert planned(SIGMOID, grid=grid, budget={"epochs": 10}).cells[0].job["training"]["epochs"] == 1


def test_a_budget_of_seconds_leaves_the_end_to_time() -> None:
    base = {**SIGMOID, "training": {"max_seconds": 5.0, "epochs": 2}}
    study = planned(base, grid={"init": ["lsuv", "rbm_stack"]}, budget={"seconds": 30}, racing=True)
    assert study.budget == {"seconds": 30}
    for cell in study.cells:
        assert cell.job["training"]["max_seconds"] is None
        assert cell.job["training"]["epochs"] >= 1_000_000


def test_cells_that_cannot_be_built_are_left_out_and_listed_where_asked() -> None:
    grid = {"init": ["lsuv", "rbm_stack", "fixup"]}
    study = planned(grid=grid, unfit="skip")
    assert [cell.cell["init"] for cell in study.cells] == ["lsuv"]
    assert [line["cell"]["init"] for line in study.skipped] == ["rbm_stack", "fixup"]
    assert "sigmoid" in study.skipped[0]["why"]
    only_unfit = refused(grid={"init": ["rbm_stack", "fixup"]}, unfit="skip")
    assert [place for place, _ in only_unfit] == [("grid", "init", "0"), ("grid", "init", "1")]


def test_a_path_that_leads_nowhere_is_refused_even_where_unfit_cells_are_left_out() -> None:
    problems = refused(grid={**STARTS, "architecture.activatoin": ["tanh"]}, unfit="skip")
    assert [place for place, _ in problems] == [("grid", "architecture.activatoin")]


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        ({"grid": STARTS, "seeds": []}, ("seeds",)),
        ({"grid": STARTS, "seeds": [1, 1]}, ("seeds",)),
        ({"grid": STARTS, "seeds": [-1]}, ("seeds",)),
        ({"grid": STARTS, "seeds": list(range(101))}, ("seeds",)),
        ({"grid": STARTS, "budget": {}}, ("budget",)),
        ({"grid": STARTS, "budget": {"epochs": 1, "seconds": 1}}, ("budget",)),
        ({"grid": STARTS, "budget": {"epochs": 0}}, ("budget",)),
        ({"grid": STARTS, "budget": {"epochs": 1.5}}, ("budget", "epochs")),
        ({"grid": STARTS, "budget": {"seconds": float("inf")}}, ("budget",)),
        ({"preset": "nonsense"}, ("preset",)),
        ({"preset": "inits", "grid": STARTS}, ("grid",)),
        ({}, ("grid",)),
        ({"grid": {"training.batch_size": list(range(1, 12))}, "seeds": list(range(100))}, ("grid",)),
    ],
)
def test_a_request_that_is_no_study_s_is_refused_where_it_is_wrong(
    request_: dict[str, Any], place: tuple[str, ...]
) -> None:
    assert [where for where, _ in refused(**request_)] == [place]


def test_what_else_becomes_of_a_job_may_refuse_its_cell() -> None:
    def settle(job: dict[str, Any]) -> dict[str, Any]:
        if job["init"]["name"] == "orthogonal":
            raise SpecRefused([(("init", "gain"), "not today")])
        return {**job, "model": "mine"}

    problems = refused(grid=STARTS, settle=settle)
    assert problems == [(("grid", "init", "1", "gain"), "not today (cell init=orthogonal)")]
    study = planned(grid=STARTS, settle=settle, unfit="skip")
    assert [cell.job["model"] for cell in study.cells] == ["mine"]


def test_among_very_many_problems_the_first_are_told() -> None:
    problems = refused(grid={"training.batch_size": [-number for number in range(60)]})
    assert len(problems) == 21
    assert problems[-1] == (("grid",), "and 40 more problems")
