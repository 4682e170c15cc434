"""The report says what the figures say: who is best, what is a tie, who never learnt and why, what to use."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from autoencoders.study import compose
from tests.autoencoders.study.cells import (
    CLOSE,
    GRID,
    STARTS,
    TWO_WAYS,
    diagnosis,
    outcome,
    outcomes,
    planned,
    report,
    three_seeds,
)


def test_cells_are_ranked_by_their_mean_error_with_an_interval_over_seeds() -> None:
    ranking = report(three_seeds(), outcomes(CLOSE))["ranking"]
    assert [line["cell"]["init"] for line in ranking] == STARTS
    assert ranking[0]["error"] == pytest.approx(4.0)
    assert ranking[0]["errors"] == [3.0, 4.0, 5.0]
    assert ranking[0]["interval"] == [3.0, 5.0]
    assert ranking[0]["jobs"] == ["job_0_0", "job_0_1", "job_0_2"]


def test_a_tie_is_called_a_tie_by_the_differences_within_seeds() -> None:
    ranking = report(three_seeds(), outcomes(CLOSE))["ranking"]
    assert ranking[0]["tied_with"] == [{"init": "orthogonal"}]
    # Its interval overlaps that of the best, yet it is worse at every seed.
    assert ranking[2]["tied_with"] == []
    assert ranking[2]["interval"][0] < ranking[0]["interval"][1]


def test_with_one_seed_there_is_neither_interval_nor_tie_but_a_note() -> None:
    made = report(planned(grid=GRID), outcomes({0: [3.0], 1: [3.0], 2: [4.0], 3: [9.0]}))
    assert all(line["interval"] is None and line["tied_with"] == [] for line in made["ranking"])
    assert any("One seed" in note for note in made["notes"])


def test_the_outlook_is_what_was_seen() -> None:
    errors = {0: [2.0], 1: [8.0], 2: [9.9], 3: [11.0]}
    ranking = report(planned(grid=GRID), outcomes(errors))["ranking"]
    assert [line["outlook"] for line in ranking] == ["learns", "slow", "stuck", "diverges"]
    assert [line["closed"] for line in ranking] == pytest.approx([1.0, 0.25, 0.0125, -0.125])


def test_a_cell_goes_by_the_baselines_of_its_own_code() -> None:
    found = [*outcomes({0: [6.0]}), outcome(1, 0, 6.0, baselines={"mean": 10.0, "pca": 5.0})]
    ranking = report(planned(grid={"code": [3, 2]}), found)["ranking"]
    assert [line["closed"] for line in ranking] == pytest.approx([0.5, 0.8])


def test_where_pca_s_error_is_not_known_the_best_cell_s_stands_in() -> None:
    errors = {0: [2.0], 1: [4.0], 2: [6.0], 3: [10.0]}
    made = compose(
        {},
        planned(grid=GRID).document(),
        outcomes(errors, baselines=None),
        baselines={"mean": 10.0, "pca": None},
        state="succeeded",
    )
    assert [line["closed"] for line in made["ranking"]] == pytest.approx([1.0, 0.75, 0.5, 0.0])
    assert any("PCA" in note for note in made["notes"])


def test_cells_that_never_left_the_plateau_are_listed_with_their_diagnosis() -> None:
    found = outcomes({0: [3.0], 1: [3.5], 2: [4.0]})
    found.append(outcome(3, 0, 9.9, diagnosis=diagnosis("stuck")))
    made = report(planned(grid=GRID), found)
    (stuck,) = made["stuck"]
    assert (stuck["cell"], stuck["cause"], stuck["cure"]) == ({"init": "zeros"}, "dead code", "another start")
    assert made["ranking"][-1]["cause"] == "dead code"
    assert "1 of 4 cells had not left the plateau" in made["advice"]
    assert "zeros" in made["advice"]


def test_a_diagnosis_that_was_wrong_is_not_told_as_the_cause() -> None:
    found = [outcome(0, 0, 9.9, diagnosis=diagnosis("learns")), outcome(1, 0, 3.0)]
    line = report(planned(grid={"init": ["zeros", "lsuv"]}), found)["ranking"][-1]
    assert line["cause"] == "its start was held to be healthy: dead code"


def test_a_cell_with_a_failed_training_stands_behind_those_that_came_through() -> None:
    said = {"type": "training-diverged", "title": "Training diverged", "detail": "it ran away at step 9"}
    found = outcomes({0: [3.0, 3.1, 3.2], 1: [1.0, 1.1], 2: [9.0, 9.0, 9.0]})
    found.append(outcome(1, 2, None, state="failed", problem=said))
    found += [outcome(3, seed, None, state="failed", problem=said) for seed in range(3)]
    made = report(three_seeds(), found)
    assert [line["cell"]["init"] for line in made["ranking"]] == ["lsuv", "he_normal", "orthogonal", "zeros"]
    broken, lost = made["ranking"][2:]
    assert (broken["failed"], broken["error"], broken["errors"]) == (1, None, [1.0, 1.1, None])
    assert (lost["failed"], lost["outlook"], lost["cause"]) == (3, "diverges", "it ran away at step 9")
    assert made["best"]["cell"] == {"init": "lsuv"}
    assert "2 of 4 cells had trainings that failed" in made["advice"]


def test_a_training_cancelled_by_hand_counts_for_nothing() -> None:
    found = outcomes(CLOSE)
    found[0] |= {"state": "cancelled", "error": 0.1}
    made = report(three_seeds(), found)
    line = next(line for line in made["ranking"] if line["cell"] == {"init": "lsuv"})
    assert line["error"] == pytest.approx(4.5)
    assert line["errors"] == [None, 4.0, 5.0]
    assert any("1 training was cancelled" in note for note in made["notes"])
    found[0]["curve"] = found[0]["curve"][:1]
    curve = next(line for line in report(three_seeds(), found)["curves"] if line["cell"] == {"init": "lsuv"})
    assert [point["error"] for point in curve["points"]] == [6.5, 5.5, 4.5]
    alone = [outcome(0, 0, 3.0, state="cancelled")]
    (curve,) = report(planned(grid={"init": ["lsuv"]}), alone, "cancelled")["curves"]
    assert len(curve["points"]) == 3, "what it has shown stays"


def test_whoever_was_raced_out_is_compared_with_its_like_and_never_the_best() -> None:
    plan = three_seeds(racing=True)
    found = outcomes({0: [3.0, 4.0, 5.0], 1: [3.1, 3.9, 5.0]}, rung=2)
    found += outcomes({2: [3.0, 4.0, 5.1], 3: [2.9, 4.1, 5.0]}, rung=1, raced_out=True, state="cancelled")
    made = report(plan, found)
    by_init = {line["cell"]["init"]: line for line in made["ranking"]}
    assert by_init["lsuv"]["tied_with"] == [{"init": "orthogonal"}]
    assert by_init["he_normal"]["tied_with"] == [{"init": "zeros"}]
    assert made["ranking"][0]["cell"] == made["best"]["cell"] == {"init": "lsuv"}
    assert made["complete"]


def test_whoever_stayed_in_the_race_is_the_best_though_a_seed_of_it_failed_later() -> None:
    found = outcomes({0: [3.0, 3.0]}, rung=2)
    found.append(outcome(0, 2, None, state="failed", rung=2))
    found += outcomes({1: [3.5, 3.5, 3.5]}, raced_out=True, state="cancelled")
    made = report(planned(grid={"init": STARTS[:2]}, seeds=[0, 1, 2], racing=True), found)
    assert made["best"]["cell"] == made["ranking"][0]["cell"] == {"init": "lsuv"}
    assert made["recommended"]["init"]["name"] == "lsuv"


def test_whoever_was_raced_out_on_the_plateau_is_not_judged_but_listed_where_it_was_foretold() -> None:
    out = {"raced_out": True, "state": "cancelled"}
    found = [
        outcome(0, 0, 3.0),
        outcome(1, 0, 3.5),
        outcome(2, 0, 12.0, diagnosis=diagnosis("stuck"), **out),
        outcome(3, 0, 12.5, diagnosis=diagnosis("learns"), **out),
    ]
    made = report(planned(grid=GRID, racing=True), found)
    assert [line["outlook"] for line in made["ranking"]] == ["learns", "learns", None, None]
    assert [line["cell"]["init"] for line in made["stuck"]] == ["he_normal"]


def test_the_cost_of_an_error_counts_a_pretraining_and_the_initialisation() -> None:
    net = {"name": "dense", "widths": [8, 6], "code": 3, "activation": "sigmoid"}
    rbm = {"name": "rbm_stack", "epochs": 2}
    plan = planned({"architecture": net}, grid={"init": [rbm, "lsuv"]}, budget={"epochs": 20})
    made = report(plan, outcomes({0: [2.0], 1: [5.9]}))
    half, near, pca = made["cost"]
    assert (half["target"], pca["target"]) == (6.0, 2.0)
    assert near["target"] == pytest.approx(2.2)
    first, second = half["cells"]
    assert (first["cell"], first["epochs"], first["steps"]) == ({"init": "lsuv"}, 3.0, 18.0)
    assert second["epochs"] == 6.0 + 1.0
    assert first["seconds"] == pytest.approx(1.75)
    assert [line["cell"] for line in pca["cells"]] == [{"init": rbm}]
    assert [curve["points"][0]["epoch"] for curve in made["curves"]] == [7.0, 1.0]


def test_the_passes_of_a_pretraining_that_was_chosen_count_for_the_seed_that_chose_it() -> None:
    plan = planned(grid={"training.batch_size": [32]}, seeds=[0, 1])
    found = [outcome(0, 0, 3.0, pretraining=4.0), outcome(0, 1, 3.0, pretraining=0.0)]
    made = report(plan, found)
    (line,) = made["ranking"]
    assert (line["pretraining"], line["epochs"]) == (2.0, 2.0 + 3.0)
    assert [point["epoch"] for point in made["curves"][0]["points"]] == [3.0, 4.0, 5.0]
    assert made["cost"][0]["cells"][0]["epochs"] == 2.0 + 1.0


def test_the_cost_of_pca_s_error_is_told_where_all_cells_have_one_code() -> None:
    found = [*outcomes({0: [1.5]}), outcome(1, 0, 4.0, baselines={"mean": 10.0, "pca": 5.0})]
    made = report(planned(grid={"code": [3, 2]}), found)
    assert [line["what"] for line in made["cost"]] == ["a tenth above the best cell's error"]


def test_a_cell_reaches_an_error_when_all_of_its_seeds_do() -> None:
    found = outcomes({0: [5.0, 6.5], 1: [5.0, 5.5]})
    made = report(planned(grid={"init": ["lsuv", "zeros"]}, seeds=[0, 1]), found)
    half = next(line for line in made["cost"] if line["target"] == 6.0)
    assert [line["cell"] for line in half["cells"]] == [{"init": "zeros"}]
    assert half["cells"][0]["epochs"] == pytest.approx(2.5)


def test_a_curve_is_the_mean_over_seeds_as_far_as_all_have_come() -> None:
    found = outcomes({0: [2.0, 4.0]})
    found[1]["curve"] = found[1]["curve"][:2]
    (curve,) = report(planned(grid={"init": ["lsuv"]}, seeds=[0, 1]), found)["curves"]
    assert [point["epoch"] for point in curve["points"]] == [1.0, 2.0]
    assert [point["error"] for point in curve["points"]] == [5.0, 4.0]
    assert [point["seconds"] for point in curve["points"]] == [0.75, 1.25]


def test_a_long_curve_is_thinned_to_its_ends() -> None:
    found = outcomes({0: [2.0]})
    found[0]["curve"] = [
        {"epoch": epoch, "step": epoch, "error": 1.0, "loss": 1.0, "seconds": 0.0} for epoch in range(1, 1001)
    ]
    (curve,) = report(planned(grid={"init": ["lsuv"]}), found)["curves"]
    epochs = [point["epoch"] for point in curve["points"]]
    assert len(epochs) == 200
    assert (epochs[0], epochs[-1]) == (1.0, 1000.0)


def test_a_two_way_grid_is_a_heat_map_with_holes_where_there_are_no_cells() -> None:
    found = report(planned(grid=TWO_WAYS), outcomes({0: [1.0], 1: [2.0], 2: [3.0], 3: [4.0]}))["heat_map"]
    assert found["rows"] == {"path": "init", "values": ["lsuv", "zeros"]}
    assert found["columns"] == {"path": "architecture.activation", "values": ["tanh", "relu"]}
    assert found["errors"] == [[1.0, 2.0], [3.0, 4.0]]
    assert found["raced_out"] == [[False, False], [False, False]]
    some = [*outcomes({0: [1.0], 2: [3.0], 3: [4.0]}), outcome(1, 0, 2.0, raced_out=True)]
    assert report(planned(grid=TWO_WAYS), some)["heat_map"]["raced_out"] == [[False, True], [False, False]]
    wide = {"init": ["lsuv", "zeros"], "architecture.activation": ["tanh", "relu", "elu"]}
    found = report(planned(grid=wide), outcomes({place: [1.0 + place] for place in range(6)}))["heat_map"]
    assert found["errors"] == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    net = {"architecture": {"name": "dense", "widths": [8, 6], "code": 3}}
    grid = {"init": ["lsuv", "rbm_stack"], "architecture.activation": ["tanh", "sigmoid"]}
    holes = planned(net, grid=grid, budget={"epochs": 50}, unfit="skip")
    assert report(holes, outcomes({0: [1.0], 1: [2.0], 2: [3.0]}))["heat_map"]["errors"] == [
        [1.0, 2.0],
        [None, 3.0],
    ]
    assert report(planned(grid=GRID), outcomes({0: [1.0]}))["heat_map"] is None


def test_the_figures_that_told_the_outcome_come_first() -> None:
    starts = ["lsuv", "orthogonal", "he_normal", "glorot_normal", "pca"]
    found = [
        outcome(place, 0, error, diagnosis=diagnosis("learns", gain))
        for place, (error, gain) in enumerate([(1.0, 0.5), (2.0, 0.4), (3.0, 0.3), (4.0, 0.2), (5.0, 0.1)])
    ]
    predictors = report(planned(grid={"init": starts}), found)["predictors"]
    assert {line["figure"]: line["correlation"] for line in predictors} == {
        "trial.gain": -1.0,
        "losses.start": 1.0,
    }
    assert all(line["cells"] == 5 for line in predictors), "what is alike in all cells tells nothing"
    assert report(planned(grid=GRID), found[:4])["predictors"] == []
    # A cell that lost a seed stands behind all others, however small the error of the other one is.
    found += [{**one, "seed": 1, "job": "other"} for one in found]
    found[4]["error"], found[9]["state"] = 0.1, "failed"
    predictors = report(planned(grid={"init": starts}, seeds=[0, 1]), found)["predictors"]
    assert {line["figure"]: line["correlation"] for line in predictors}["trial.gain"] == -1.0


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(item) for key, item in value.items() if key != "seconds"}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def test_nothing_but_seconds_depends_on_timing() -> None:
    calm = outcomes(CLOSE, diagnosis=diagnosis("learns"))
    disturbed = copy.deepcopy(calm)[::-1]
    for found in disturbed:
        found |= {"attempts": 3, "seconds": 99.0, "init_seconds": 7.0}
        for mark in found["curve"]:
            mark["seconds"] *= 11.0
    disturbed.sort(key=lambda found: found["cell"])
    one, other = (report(three_seeds(), found) for found in (calm, disturbed))
    assert one != other
    assert without_seconds(one) == without_seconds(other)
