"""The trial takes the job's own steps, on a copy and with streams of its own."""

from __future__ import annotations

import math

import pytest
import torch

from autoencoders.diagnostics.trial import LONGEST, RISING, mark, try_training
from tests.autoencoders.diagnostics.nets import net, normal_rows, plan


def test_it_is_no_longer_than_the_job_nor_than_a_hundred_steps() -> None:
    assert len(plan(steps=7).factors()) == 7
    assert len(plan(steps=5000).factors()) == LONGEST
    assert len(plan(steps=5000, affordable=25).factors()) == 25
    assert len(plan(steps=5000, affordable=0).factors()) == 10


def test_a_short_warm_up_is_the_job_s_own_and_a_long_one_is_walked_through_faster() -> None:
    short = plan(steps=900, schedule={"name": "cosine", "warmup": 0.02})
    assert short.factors() == [short.schedule(step, ()) for step in range(LONGEST)]
    long = plan(steps=9000, schedule={"name": "cosine", "warmup": 0.05})
    factors = long.factors()
    assert len(factors) == LONGEST
    assert max(factors) == pytest.approx(1.0)
    assert max(range(LONGEST), key=factors.__getitem__) <= RISING
    assert long.schedule(LONGEST, ()) < 0.3


def test_it_learns_where_the_job_would() -> None:
    rows = normal_rows(400, 4) @ normal_rows(4, 16, seed=1)
    model = net(16, "orthogonal", widths=(12,), code=4, activation="linear")
    found = try_training(
        model, plan(steps=100, optimizer={"name": "adam", "learning_rate": 0.01}), rows, rows
    )
    assert found.survived
    assert found.steps == 100
    assert found.marks[-1].error < 0.3 * found.marks[0].error
    assert found.marks[-1].gain > 0.7
    assert [item.step for item in found.marks][:5] == [0, 1, 2, 4, 10]


def test_it_ends_where_the_loss_is_no_number() -> None:
    rows = 1e3 * normal_rows(100, 16)
    wild = plan(steps=100, optimizer={"name": "sgd", "learning_rate": 1e3})
    found = try_training(net(16, widths=(12,), code=4), wild, rows, rows)
    assert not found.survived
    assert found.steps < 100


def test_no_global_random_number_is_drawn() -> None:
    before = torch.get_rng_state()
    rows = normal_rows(100, 16)
    try_training(net(16, widths=(12,), code=4), plan(steps=20), rows, rows)
    assert torch.equal(before, torch.get_rng_state())


def test_gain_and_spread_are_one_for_a_perfect_answer_and_zero_for_the_mean() -> None:
    rows = normal_rows(200, 8)
    perfect = net(8, "identity", widths=(8,), code=8, activation="linear")
    assert mark(perfect, rows, 0).gain == pytest.approx(1.0)
    assert mark(perfect, rows, 0).spread == pytest.approx(1.0)
    blank = net(8, "zeros", widths=(8,), code=8, activation="linear")
    assert mark(blank, rows, 0).gain == 0.0
    assert math.isclose(mark(blank, rows, 0).error, float(rows.square().sum(1).mean()), rel_tol=1e-5)
