"""Figures of codes that are known."""

from __future__ import annotations

import pytest
import torch

from autoencoders.diagnostics.latent import (
    active_units,
    effective_rank,
    mean_cosine,
    read_codes,
    readable_share,
)
from tests.autoencoders.diagnostics.nets import normal_rows


def test_the_effective_rank_of_equal_directions_is_their_number() -> None:
    basis = torch.linalg.qr(normal_rows(50, 8) - normal_rows(50, 8).mean(0)).Q
    assert effective_rank(basis[:, :6]) == pytest.approx(6.0, rel=1e-4)
    padded = torch.cat([basis[:, :3], torch.zeros(50, 4)], dim=1)
    assert effective_rank(padded) == pytest.approx(3.0, rel=1e-4)


def test_codes_that_are_all_alike_have_rank_zero_and_correlation_one() -> None:
    same = torch.full((20, 5), 0.3)
    assert effective_rank(same) == 0.0
    assert mean_cosine(same) == pytest.approx(1.0)
    assert active_units(same) == 0


def test_the_mean_cosine_is_that_over_all_pairs() -> None:
    rows = normal_rows(30, 4) + 1.0
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True)
    pairs = unit @ unit.t()
    expected = float((pairs.sum() - pairs.diagonal().sum()) / (30 * 29))
    assert mean_cosine(rows) == pytest.approx(expected, abs=1e-12)
    assert mean_cosine(torch.zeros(5, 3)) == 1.0


def test_a_unit_that_hardly_varies_beside_the_others_is_not_active() -> None:
    codes = normal_rows(200, 4) * torch.tensor([1.0, 0.5, 1e-3, 0.0])
    assert active_units(codes) == 2


def test_a_linear_code_is_read_back_as_far_as_its_directions_reach() -> None:
    rows, held = normal_rows(2000, 10), normal_rows(2000, 10, seed=1)
    share = readable_share(rows[:, :4], rows, held[:, :4], held)
    # Four of ten independent directions; the estimate of the variance has a relative error of sqrt(2 / 2000).
    assert share == pytest.approx(0.4, abs=4.5 * 0.4 * (2 / 2000) ** 0.5)
    assert readable_share(torch.ones(50, 3), rows[:50], torch.ones(40, 3), held[:40]) == 0.0


def test_codes_whose_sum_is_beyond_float32_have_a_rank_all_the_same() -> None:
    codes = 3e36 * normal_rows(400, 5) + 3e37
    assert effective_rank(codes) == pytest.approx(effective_rank(codes / 1e37), rel=1e-3)


def test_the_figures_of_codes_are_theirs_and_those_of_rows_the_rows() -> None:
    rows, held = normal_rows(60, 50) + 0.5, normal_rows(60, 50, seed=1) + 0.5
    codes = normal_rows(60, 40, seed=2) * 3
    found = read_codes(codes, rows, normal_rows(60, 40, seed=3) * 3, held)
    assert found.variance == pytest.approx(float(codes.double().var(0, correction=0).mean()))
    assert found.input_correlation == pytest.approx(mean_cosine(rows))
    assert found.correlation == pytest.approx(mean_cosine(codes))
    assert found.active == 40
    # Forty random numbers tell of sixty rows a lot, and of other rows nothing.
    assert found.readable < 0.0
