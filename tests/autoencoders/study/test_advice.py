"""What a report advises: what to use, how much hangs on it, and nothing that its figures do not say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.autoencoders.study.cells import (
    BASE,
    CLOSE,
    DIVERGED,
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


def test_what_is_recommended_is_the_job_of_the_best_training() -> None:
    found = outcomes({0: [3.0, 2.5], 1: [4.0, 4.0]})
    found[1] |= {"learning_rate": 0.02, "chosen": {"name": "pca", "rows": 100}}
    base = {"dataset": "digits", "model": "mine", "code": 3}
    plan = planned(base, grid={"init": ["lsuv", "zeros"]}, seeds=[0, 1])
    body = report(plan, found)["recommended"]
    assert (body["dataset"], body["model"], body["training"]["seed"]) == ("digits", "mine", 1)
    assert body["optimizer"] == {"name": "adam", "learning_rate": 0.02}
    assert body["init"] == {"name": "pca", "rows": 100}
    assert body["training"]["epochs"] == plan.cells[0].job["training"]["epochs"]


def test_what_a_chosen_pretraining_took_of_the_epochs_is_not_recommended_twice() -> None:
    rbm = {"name": "rbm_stack", "epochs": 2}
    found = outcomes({0: [3.0]}, chosen=rbm, pretraining=3.5)
    body = report(planned(grid={"training.batch_size": [32]}), found)["recommended"]
    assert (body["init"], body["training"]["epochs"]) == (rbm, 9 - 4)


def test_by_time_the_recommended_job_has_the_epochs_that_the_best_one_came_to() -> None:
    plan = planned(grid={"init": ["lsuv", "zeros"]}, budget={"seconds": 9.0})
    made = report(plan, outcomes({0: [3.0], 1: [4.0]}))
    assert made["recommended"]["training"]["epochs"] == 3
    assert any("seconds" in note for note in made["notes"])


def test_the_advice_is_two_sentences() -> None:
    said = report(three_seeds(), outcomes(CLOSE))["advice"]
    assert said.startswith("Use init=lsuv: its held-out error is 4 (3 to 5 over 3 seeds), beside 2 for PCA")
    assert "init=orthogonal is tied with it" in said
    alike = report(three_seeds(), outcomes({cell: [3.0, 4.0, 5.0] for cell in range(4)}))["advice"]
    assert alike.endswith("What was varied hardly matters on these rows: all cells are tied.")


def test_the_advice_names_what_most_hangs_on() -> None:
    found = outcomes({0: [2.0], 1: [2.1], 2: [6.0], 3: [6.1]})
    said = report(planned(grid=TWO_WAYS), found)["advice"]
    assert said.endswith("has 3.05 times its error, and most hangs on init.")
    # Raced out, a cell was trained for less: its error does not tell what hangs on its values.
    found[3] |= {"raced_out": True, "state": "cancelled"}
    said = report(planned(grid=TWO_WAYS), found)["advice"]
    assert said.endswith("stopped early, has 3.05 times its error.")


def test_while_it_runs_the_report_says_so() -> None:
    found = [outcome(0, 0, 3.0), outcome(1, 0, 4.0, state="running"), outcome(2, 0, None, state="queued")]
    made = report(planned(grid=GRID), found, state="running")
    assert not made["complete"]
    assert made["advice"].startswith("So far best is init=lsuv")
    assert [line["cell"]["init"] for line in made["ranking"]] == STARTS
    nothing = report(planned(grid=GRID), [], state="queued")
    assert (nothing["best"], nothing["recommended"], nothing["complete"]) == (None, None, False)


def test_a_study_of_which_everything_failed_says_why_and_recommends_nothing() -> None:
    found = [outcome(place, 0, None, state="failed", problem={"title": "No room"}) for place in range(4)]
    made = report(planned(grid=GRID), found, state="failed")
    assert made["complete"]
    assert made["recommended"] is None
    assert {line["cause"] for line in made["ranking"]} == {"No room"}
    assert "Every training of this study failed." in made["notes"]


def advice(found: list[dict[str, Any]], state: str = "succeeded", **request: Any) -> str:
    said: str = report(planned(grid=GRID, **request), found, state)["advice"]
    return said


def test_a_cell_without_an_error_is_no_cell_to_compare_with() -> None:
    found = [*outcomes({0: [3.0], 1: [3.5], 2: [4.5]}), outcome(3, 0, None, state="cancelled")]
    assert advice(found).endswith("The last cell, init=he_normal, has 1.5 times its error.")


def test_a_training_that_failed_or_rose_is_not_said_to_have_stayed_on_the_plateau() -> None:
    found = outcomes({0: [3.0], 1: [9.9], 2: [12.0]})
    found.append(outcome(3, 0, None, state="failed", problem=DIVERGED))
    said = advice(found)
    assert "1 of 4 cells had not left the plateau when they ended (init=orthogonal)" in said
    assert "1 of 4 cells ended above the mean's error (init=he_normal)" in said
    assert "1 of 4 cells had trainings that failed (init=zeros)" in said


def test_where_every_cell_is_lost_no_choice_is_said_to_matter() -> None:
    said = advice(outcomes({0: [9.8], 1: [9.9], 2: [9.95], 3: [11.0]}))
    assert "matters" not in said
    assert said.startswith("Nothing here learned: the best is init=lsuv: its held-out error is 9.8, beside 2")
    assert said.endswith("No cell has left the plateau: nothing that was varied is a cure for that.")
    # Those that were stopped early might have left it later.
    found = [*outcomes({0: [9.8], 1: [9.9]}), *outcomes({2: [9.9], 3: [9.9]}, raced_out=True)]
    said = advice(found, racing=True)
    assert said.startswith("Nothing here learned")
    assert said.endswith("No cell has left the plateau by the time it was stopped.")
    # One that left it, and lost a seed, stands behind those that came through and did not.
    found = [*outcomes({0: [9.8, 9.8], 1: [2.0]}), outcome(1, 1, None, state="failed", problem=DIVERGED)]
    said = report(planned(grid={"init": STARTS[:2]}, seeds=[0, 1]), found)["advice"]
    assert said.startswith("The best did not learn: init=lsuv")
    assert "1 of 2 cells had trainings that failed (init=orthogonal)" in said


def test_what_was_cancelled_or_failed_otherwise_is_not_blamed_on_the_rate() -> None:
    over: dict[str, Any] = {"state": "cancelled"}
    said = advice([outcome(place, 0, None, **over) for place in range(4)], "cancelled")
    assert said == "No cell has a result to recommend. The ranking says why."
    over = {"state": "failed", "problem": DIVERGED}
    assert "smaller learning rate" in advice(
        [outcome(place, 0, None, **over) for place in range(4)], "failed"
    )
    over = {"state": "failed", "problem": {"title": "No room"}}
    assert "learning rate" not in advice([outcome(place, 0, None, **over) for place in range(4)], "failed")


def test_nobody_is_called_stuck_before_its_training_is_over() -> None:
    found = [outcome(0, 0, 9.9, state="running", diagnosis=diagnosis("stuck")), outcome(1, 0, 9.9)]
    made = report(planned(grid=GRID), found, "running")
    assert [line["cell"]["init"] for line in made["stuck"]] == ["orthogonal"]
    assert {line["cell"]["init"]: line["outlook"] for line in made["ranking"]}["lsuv"] is None


@pytest.mark.parametrize(("state", "all_failed"), [("cancelled", False), ("failed", True)])
def test_every_training_is_said_to_have_failed_where_each_did(state: str, all_failed: bool) -> None:
    found = [outcome(0, 0, None, state="failed", rung=2, problem={"title": "No room"})]
    found.append(outcome(1, 0, None if all_failed else 4.0, state=state, raced_out=True))
    notes = report(planned(grid={"init": STARTS[:2]}, racing=True), found, state="failed")["notes"]
    assert ("Every training of this study failed." in notes) == all_failed


@pytest.mark.parametrize(
    ("seeds", "held"), [(2, "half"), (3, "three quarters"), (4, "80 to 90%"), (9, "80 to 90%"), (10, None)]
)
def test_how_often_intervals_of_few_seeds_hold_the_mean_is_said(seeds: int, held: str | None) -> None:
    plan = planned(grid=GRID, seeds=list(range(seeds)))
    notes = [note for note in report(plan, outcomes({0: [3.0] * seeds}))["notes"] if "Intervals" in note]
    assert len(notes) == (held is not None)
    assert held is None or held in notes[0]


@pytest.mark.parametrize("rule", ["fixed", "trial"])
@pytest.mark.parametrize("chosen", [None, "lsuv", "rbm_stack"])
@pytest.mark.parametrize("budget", [{"epochs": 9}, {"seconds": 9.0}])
def test_which_cost_of_a_search_is_in_no_budget_is_said(rule: Any, chosen: str | None, budget: Any) -> None:
    plan = planned(grid=GRID, learning_rate=rule, budget=budget)
    passes = {None: None, "lsuv": 0.0, "rbm_stack": 4.0}[chosen]
    found = outcome(0, 0, 3.0, chosen=chosen and {"name": chosen}, pretraining=passes)
    said = " ".join(report(plan, [found, outcome(1, 0, 4.0)])["notes"])
    searched = rule != "fixed" or chosen is not None
    assert ("not counted in a budget of epochs" in said) == (searched and "epochs" in budget)
    assert ("passes over the rows count as epochs" in said) == (chosen == "rbm_stack" and "epochs" in budget)
    assert ("without the search" in said) == searched


def test_a_limit_of_time_in_the_base_is_said_to_leave_budgets_unequal() -> None:
    limited = {**BASE, "training": {**BASE["training"], "max_seconds": 5.0}}
    for base, told in ((limited, 1), (BASE, 0)):
        notes = report(planned(base, grid=GRID), [])["notes"]
        assert sum("max_seconds" in note for note in notes) == told


def test_how_well_figures_that_tell_nothing_would_have_told_the_outcome_is_said() -> None:
    starts = [{"name": "normal", "std": 0.01 * step} for step in range(1, 21)]
    for cells, best in ((5, 0.95), (20, 0.44)):
        found = [
            outcome(place, 0, 2.0 + place, diagnosis=diagnosis("slow", 0.5 - 0.01 * place))
            for place in range(cells)
        ]
        made = report(planned(grid={"init": starts[:cells]}), found)
        assert made["predictors"]
        (note,) = (note for note in made["notes"] if "tell nothing" in note)
        assert f"about {best}" in note
