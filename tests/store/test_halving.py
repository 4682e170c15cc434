from __future__ import annotations

import math
from itertools import permutations

import pytest

from store.halving import order, survivors

INF = math.inf


def test_the_best_mean_goes_first_and_only_so_many_go_on() -> None:
    errors = {0: [4.0, 2.0], 1: [1.0, 3.0], 2: [9.0, 9.0], 3: [2.5, 2.5]}
    assert order(errors) == [1, 3, 0, 2]
    assert survivors(errors, 2) == [1, 3]
    assert survivors(errors, None) == [1, 3, 0, 2]


def test_equals_stand_in_the_order_of_the_grid() -> None:
    for cells in permutations(range(4)):
        assert survivors({cell: [1.0] for cell in cells}, 2) == [0, 1]


def test_a_cell_with_a_failed_seed_goes_behind_those_without() -> None:
    errors = {0: [0.1, INF], 1: [5.0, 5.0], 2: [0.2, INF], 3: [4.0]}
    assert order(errors) == [3, 1, 0, 2]


@pytest.mark.parametrize("none", [[], [INF], [INF, math.nan]])
def test_a_cell_without_an_error_never_goes_on(none: list[float]) -> None:
    assert survivors({0: none, 1: [7.0]}, 2) == [1]
    assert survivors({0: none}, 2) == []
