"""The rungs of a race: what they cost, where cells wait, and who goes on."""

from __future__ import annotations

import math

import pytest

from autoencoders.study.rungs import is_due, pause, pauses, rungs, survivors
from store import halving


def cost(cells: int, epochs: int) -> float:
    """What a race costs, as a share of the whole grid."""
    spent, before, left = 0, 0, cells
    for rung in rungs(cells=cells, epochs=epochs, seconds=None, racing=True):
        spent += left * (rung["epochs"] - before)
        before, left = rung["epochs"], rung["keep"] or 0
    return spent / (cells * epochs)


@pytest.mark.parametrize("epochs", [5, 9, 10, 20, 26, 27, 50, 100])
def test_a_race_of_24_cells_costs_under_a_third_of_the_grid(epochs: int) -> None:
    assert cost(24, epochs) < 1 / 3


def test_a_third_goes_on_and_every_rung_lasts_three_times_as_long() -> None:
    found = rungs(cells=24, epochs=27, seconds=None, racing=True)
    assert [(rung["epochs"], rung["keep"]) for rung in found] == [(3, 8), (9, 3), (27, None)]
    timed = rungs(cells=24, epochs=None, seconds=90.0, racing=True)
    assert [(rung["seconds"], rung["keep"]) for rung in timed] == [(10.0, 8), (30.0, 3), (90.0, None)]


@pytest.mark.parametrize(("cells", "racing"), [(24, False), (3, True), (1, True)])
def test_without_a_race_or_with_few_cells_there_is_one_rung(cells: int, racing: bool) -> None:
    found = rungs(cells=cells, epochs=9, seconds=None, racing=racing)
    assert found == [{"epochs": 9, "seconds": None, "keep": None}]


def test_rungs_of_equal_length_are_one_that_keeps_the_fewer() -> None:
    found = rungs(cells=24, epochs=3, seconds=None, racing=True)
    assert [(rung["epochs"], rung["keep"]) for rung in found] == [(1, 3), (3, None)]
    assert len(rungs(cells=24, epochs=1, seconds=None, racing=True)) == 1


@pytest.mark.parametrize("cells", [2, 4, 10, 24, 81, 500])
@pytest.mark.parametrize("epochs", [1, 2, 7, 30, 300])
def test_rungs_always_grow_and_keep_ever_fewer(cells: int, epochs: int) -> None:
    found = rungs(cells=cells, epochs=epochs, seconds=None, racing=True)
    lengths = [rung["epochs"] for rung in found]
    keeps = [cells, *(rung["keep"] for rung in found[:-1])]
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == epochs
    assert keeps == sorted(set(keeps), reverse=True)
    assert found[-1]["keep"] is None


def test_a_pretraining_was_spent_before_the_pause() -> None:
    ladder = rungs(cells=24, epochs=27, seconds=None, racing=True)
    assert pauses(ladder, 0.0) == [3, 9, None]
    assert pauses(ladder, 1.5) == [1, 7, None]
    assert pauses(ladder, 20.0) == [1, 2, None], "it goes on a little at every rung"
    assert [pause(number, planned, 1.5) for number, planned in ((1, 3), (2, 9))] == [1, 7]
    assert pauses(rungs(cells=24, epochs=None, seconds=9.0, racing=True), 0.0) == [None, None, None]


def test_a_training_waits_at_its_rung_and_never_after_its_last_epoch() -> None:
    by_epochs = [is_due(epoch, of=9, pause_epochs=3) for epoch in (0, 1, 2, 3, 8, 9)]
    assert by_epochs == [False, False, False, True, True, False]
    by_time = [is_due(1, of=9, spent=spent, pause_seconds=10.0) for spent in (9.9, 10.0)]
    assert by_time == [False, True]
    assert not is_due(9, of=9, spent=99.0, pause_seconds=10.0)
    assert not is_due(8, of=9, spent=1e9), "at the last rung nobody waits"


def test_the_best_go_on_in_their_own_order_and_of_equals_the_first() -> None:
    assert survivors([[3.0], [1.0], [2.0], [1.0]], 2) == [1, 3]
    assert survivors([[2.0], [1.0], [2.0], [2.0]], 2) == [0, 1]


def test_a_cell_whose_seed_failed_stands_behind_all_that_came_through() -> None:
    assert survivors([[1.0, math.inf], [9.0, 9.0]], 1) == [1]
    assert survivors([[math.inf], [math.inf]], 1) == []
    assert survivors([[], [4.0]], 2) == [1]


def test_it_is_the_rule_by_which_the_store_races() -> None:
    errors = [[3.0, 1.0], [2.0, 2.0], [1.0, math.inf], [], [math.inf, math.inf], [0.1, 0.2], [2.5]]
    for keep in range(1, 8):
        assert survivors(errors, keep) == sorted(halving.survivors(dict(enumerate(errors)), keep))
