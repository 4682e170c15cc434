"""Intervals over seeds and ties: exact where there are few seeds, repeatable where there are many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from autoencoders.study.bootstrap import interval, resamples, tied


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_seeds_have_every_resample_once(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    means = sorted(np.mean(drawn) for drawn in itertools.product(values, repeat=count))
    assert np.allclose(sorted(resamples(count) @ values), means)
    # As many resamples lie beyond either end as make 2.5% at the most.
    beyond = int(0.025 * len(means) - 1e-9)
    assert interval(values) == pytest.approx((means[beyond], means[-1 - beyond]))


def test_the_interval_of_many_seeds_is_that_of_the_normal_law_and_repeats() -> None:
    values = np.random.default_rng(0).normal(5.0, 1.0, 80)
    low, high = interval(values)
    reach = 1.96 * values.std() / np.sqrt(80)
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.03)
    assert interval(values) == (low, high)


def test_cells_are_tied_where_no_seed_decides_between_them() -> None:
    always_worse = [1.1, 2.1, 3.1]
    errors = np.array([[1.0, 2.0, 3.0], always_worse, [1.2, 1.9, 3.0], [1.0, 2.0, 3.0]])
    found = tied(errors)
    # By the differences within each seed: seeds differ far more than cells do.
    assert not found[0, 1]
    assert found[0, 2]
    assert found[0, 3], "equal ones are tied"
    assert (found == found.T).all()
    assert not found.diagonal().any()


@pytest.mark.parametrize("seeds", [3, 4, 8])
def test_a_tie_is_an_interval_of_the_differences_that_contains_0(seeds: int) -> None:
    errors = np.random.default_rng(seeds).normal(size=(12, seeds))
    found = tied(errors)
    for one, other in itertools.combinations(range(12), 2):
        low, high = interval(errors[one] - errors[other])
        assert found[one, other] == (low <= 0.0 <= high)
