"""A grid's paths lead into a spec, whatever form the base was written in, and lead nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.autoencoders.study.cells import BASE, planned, refused


def jobs(grid: dict[str, list[Any]], base: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return [cell.job for cell in planned(base or BASE, grid=grid).cells]


def test_the_last_path_varies_fastest_and_cells_say_their_values_as_submitted() -> None:
    grid = {"init": ["lsuv", {"name": "normal", "std": 0.1}], "architecture.activation": ["tanh", "relu"]}
    cells = [cell.cell for cell in planned(grid=grid).cells]
    assert [list(cell.values()) for cell in cells] == [
        ["lsuv", "tanh"],
        ["lsuv", "relu"],
        [{"name": "normal", "std": 0.1}, "tanh"],
        [{"name": "normal", "std": 0.1}, "relu"],
    ]


def test_a_deep_path_finds_its_way_through_what_the_base_left_out() -> None:
    (job,) = jobs(
        {"optimizer.learning_rate": [0.5], "objective.corruption": ["none"], "schedule.warmup": [0.3]}
    )
    assert job["optimizer"] == {"name": "adam", "learning_rate": 0.5}
    assert job["objective"]["corruption"] == {"name": "none"}
    assert (job["schedule"]["name"], job["schedule"]["warmup"]) == ("cosine", 0.3)


def test_a_path_leads_through_a_bare_word() -> None:
    (job,) = jobs({"init.gain": [2.0]}, {**BASE, "init": "orthogonal"})
    assert (job["init"]["name"], job["init"]["gain"]) == ("orthogonal", 2.0)


def test_a_part_of_an_init_is_a_path_and_the_others_keep_the_base_s() -> None:
    (job,) = jobs({"init.encoder": ["lsuv"]}, {**BASE, "init": "orthogonal"})
    assert [job["init"][part]["name"] for part in ("encoder", "code", "decoder")] == [
        "lsuv",
        "orthogonal",
        "orthogonal",
    ]
    (job,) = jobs({"init.layers.encoder.0": ["lsuv"]})
    assert job["init"]["layers"]["encoder.0"]["name"] == "lsuv"


def test_what_a_path_finds_where_the_base_leaves_its_init_out_is_the_default_s() -> None:
    base = {key: value for key, value in BASE.items() if key != "init"}
    (job,) = jobs({"init.output_bias": ["mean"]}, base)
    assert (job["init"]["name"], job["init"]["output_bias"]) == ("auto", "mean")
    # Of a part nothing can be chosen by trying.
    (job,) = jobs({"init.encoder": ["lsuv"]}, base)
    assert [job["init"][part]["name"] for part in ("encoder", "code", "decoder")] == [
        "lsuv",
        "he_normal",
        "he_normal",
    ]
    (job,) = jobs({"init.decoder.gain": [0.5]}, base)
    assert (job["init"]["decoder"]["name"], job["init"]["decoder"]["gain"]) == ("he_normal", 0.5)


def test_code_is_short_for_the_architecture_s() -> None:
    sizes = [
        job["architecture"]["code"]["size"] for job in jobs({"code": [2, 4]}, {"training": {"epochs": 1}})
    ]
    assert sizes == [2, 4]
    assert [job["architecture"]["code"]["size"] for job in jobs({"architecture.code": [5]}, {"code": 3})] == [
        5
    ]


def test_another_architecture_has_the_base_s_code() -> None:
    found = jobs({"architecture": ["dense_residual", {"name": "dense", "widths": [7]}]})
    assert [job["architecture"]["code"]["size"] for job in found] == [3, 3]
    assert found[1]["architecture"]["widths"] == [7]


def test_an_item_of_a_list_is_a_path() -> None:
    base = {**BASE, "objective": {"penalties": [{"name": "weight_decay", "rate": 0.1}]}}
    rates = [
        job["objective"]["penalties"][0]["rate"] for job in jobs({"objective.penalties.0.rate": [1, 2]}, base)
    ]
    assert rates == [1.0, 2.0]
    places = [place for place, _ in refused(grid={"objective.penalties.0.rate": [1]})]
    assert places == [("grid", "objective.penalties.0.rate")]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("architecture.activatoin", "leads to no field"),
        ("nonsense.field", "there is no field 'nonsense'"),
        ("scaling", "cannot be compared"),
        ("training.seed", "`seeds`"),
        ("training.epochs", "`budget`"),
        ("training.max_seconds", "`budget`"),
        ("training", "training.batch_size"),
        ("dataset", "one dataset"),
        ("architecture..norm", "single dots"),
    ],
)
def test_a_path_that_is_none_is_refused_where_it_stands(path: str, said: str) -> None:
    problems = refused(grid={path: ["tanh"]})
    assert [place for place, _ in problems] == [("grid", path)]
    assert said in problems[0][1]


def test_a_wrong_value_is_refused_at_its_place_and_its_cell_is_named() -> None:
    grid = {"init": ["lsuv", "lsv", {"name": "orthogonal", "gain": -1}], "training.batch_size": [16, 32]}
    problems = refused(grid=grid)
    assert [place for place, _ in problems] == [("grid", "init", "1"), ("grid", "init", "2", "gain")]
    assert "(cell init=lsv, training.batch_size=16)" in problems[0][1]


def test_what_only_some_cells_cannot_be_is_blamed_on_the_value_that_makes_it_so() -> None:
    problems = refused(
        {**BASE, "init": "rbm_stack"},
        grid={"architecture.activation": ["sigmoid", "tanh"]},
        budget={"epochs": 90},
    )
    assert [place for place, _ in problems] == [("grid", "architecture.activation", "1")]


def test_what_is_wrong_with_every_cell_is_the_base_s() -> None:
    wrong = {**BASE, "training": {"batch_size": 0}}
    problems = refused(wrong, grid={"init": ["lsuv", "orthogonal"]})
    assert [place for place, _ in problems] == [("base", "training", "batch_size")]


def test_a_grid_of_nothing_or_of_one_value_twice_is_refused() -> None:
    assert [place for place, _ in refused(grid={})] == [("grid",)]
    assert [place for place, _ in refused(grid={"init": []})] == [("grid", "init")]
    assert [place for place, _ in refused(grid={"init": ["lsuv", "lsuv"]})] == [("grid", "init", "1")]
    twice = {"code": [2], "architecture.code": [3]}
    assert [place for place, _ in refused(grid=twice)] == [("grid", "architecture.code")]
