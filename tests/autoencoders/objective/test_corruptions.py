"""Every corruption: seeded, of the promised share, and never the target's affair."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from autoencoders.objective import Objective, corruptions

CHOICES: list[dict[str, Any]] = [
    {"name": "none"},
    {"name": "gaussian", "std": 0.5},
    {"name": "masking", "share": 0.3},
    {"name": "salt_and_pepper", "share": 0.3},
]
EVERY_CORRUPTION = pytest.mark.parametrize("word", CHOICES, ids=lambda word: word["name"])
COUNT = 200_000


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def corrupt(
    word: dict[str, Any], rows: Tensor, seed: int = 0, bounds: tuple[float, float] = (-1.0, 2.0)
) -> Tensor:
    found: Tensor = corruptions.call(corruptions.choose(word), rows, stream(seed), bounds)
    return found


def within_binomial(count: int, share: float, total: int = COUNT) -> bool:
    return abs(count - share * total) < 4.5 * math.sqrt(total * share * (1 - share))


def test_every_word_is_under_law() -> None:
    assert {word["name"] for word in CHOICES} == set(corruptions.names())


@EVERY_CORRUPTION
def test_the_target_stays_as_it_is(word: dict[str, Any]) -> None:
    rows = torch.rand(50, 7, generator=stream(1))
    before = rows.clone()
    pair = Objective(corruption=word).draw(rows, stream())
    assert torch.equal(rows, before)
    assert torch.equal(pair.target, before)
    assert pair.input.shape == rows.shape
    assert pair.input.dtype == rows.dtype
    assert torch.equal(pair.input, before) == (word["name"] == "none")


@EVERY_CORRUPTION
def test_the_same_seed_gives_the_same_noise(word: dict[str, Any]) -> None:
    rows = torch.rand(50, 7, generator=stream(1))
    assert torch.equal(corrupt(word, rows), corrupt(word, rows))
    assert torch.equal(corrupt(word, rows), corrupt(word, rows, seed=1)) == (word["name"] == "none")


def test_gaussian_noise_has_mean_zero_and_the_standard_deviation_asked_for() -> None:
    noise = corrupt({"name": "gaussian", "std": 0.5}, torch.ones(COUNT, 1, dtype=torch.float64)) - 1
    assert abs(float(noise.mean())) < 4.5 * 0.5 / math.sqrt(COUNT)
    assert abs(float(noise.std()) - 0.5) < 4.5 * 0.5 / math.sqrt(2 * COUNT)


def test_masking_sets_the_share_to_zero_and_leaves_the_rest() -> None:
    found = corrupt({"name": "masking", "share": 0.3}, torch.full((COUNT, 1), 0.7))
    assert within_binomial(int((found == 0).sum()), 0.3)
    assert sorted(set(found.flatten().tolist())) == [0.0, pytest.approx(0.7)]


def test_salt_and_pepper_are_the_extremes_in_equal_parts() -> None:
    found = corrupt({"name": "salt_and_pepper", "share": 0.3}, torch.full((COUNT, 1), 0.7))
    assert within_binomial(int((found == -1.0).sum()), 0.15)
    assert within_binomial(int((found == 2.0).sum()), 0.15)
    assert within_binomial(int((found == 0.7).sum()), 0.7)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_a_share_lies_between_nothing_and_all(share: float) -> None:
    with pytest.raises(ValidationError):
        corruptions.choose({"name": "masking", "share": share})
