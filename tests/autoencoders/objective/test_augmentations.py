"""Every augmentation: input and target move together, half of the rows stay, and rows must be images."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from autoencoders.errors import SpecRefused
from autoencoders.objective import Objective, augmentations

CHOICES: list[dict[str, Any]] = [{"name": "none"}, {"name": "shift", "pixels": 2}, {"name": "flip"}]
MOVING = pytest.mark.parametrize("word", CHOICES[1:], ids=lambda word: word["name"])
SHAPES = pytest.mark.parametrize("shape", [(6, 5), (1, 6, 5), (3, 6, 5)])


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, shape: tuple[int, ...]) -> Tensor:
    return torch.rand(count, math.prod(shape), generator=stream(9))


def augment(word: Any, rows: Tensor, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    found: Tensor = augmentations.call(augmentations.choose(word), rows, stream(seed), shape)
    return found


def test_every_word_is_under_law() -> None:
    assert {word["name"] for word in CHOICES} == set(augmentations.names())


@MOVING
@SHAPES
def test_input_and_target_move_together(word: Any, shape: tuple[int, ...]) -> None:
    rows = images(64, shape)
    before = rows.clone()
    pair = Objective(augmentation=word, shape=shape).draw(rows, stream())
    assert torch.equal(pair.input, pair.target)
    assert not torch.equal(pair.target, before)
    assert torch.equal(rows, before)


@MOVING
def test_the_same_seed_moves_the_same_rows(word: Any) -> None:
    rows = images(64, (6, 5))
    assert torch.equal(augment(word, rows, (6, 5)), augment(word, rows, (6, 5)))
    assert not torch.equal(augment(word, rows, (6, 5)), augment(word, rows, (6, 5), seed=1))


@MOVING
@pytest.mark.parametrize("shape", [(), (30,), (2, 3, 4, 5)])
def test_rows_that_are_no_images_are_refused_with_the_field(word: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(SpecRefused, match="images") as refusal:
        Objective(augmentation=word, shape=shape)
    assert refusal.value.problems[0][0] == ("objective", "augmentation")


@SHAPES
def test_flip_mirrors_half_of_the_rows_left_to_right(shape: tuple[int, ...]) -> None:
    rows = images(2000, shape)
    found = augment("flip", rows, shape)
    mirrored = rows.view(-1, *shape).flip(-1).view_as(rows)
    flipped = (found == mirrored).all(1)
    assert torch.equal(found, torch.where(flipped[:, None], mirrored, rows))
    assert abs(int(flipped.sum()) - 1000) < 4.5 * math.sqrt(500)


@SHAPES
def test_shift_moves_whole_images_and_repeats_the_edge(shape: tuple[int, ...]) -> None:
    rows = images(3000, shape)
    found = augment({"name": "shift", "pixels": 1}, rows, shape).view(-1, *shape)
    padded = torch.nn.functional.pad(rows.view(len(rows), -1, *shape[-2:]), (1, 1, 1, 1), mode="replicate")
    height, width = shape[-2:]
    places = {
        (down, right): (
            padded[..., 1 - down : 1 - down + height, 1 - right : 1 - right + width].reshape(found.shape)
        )
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    same = {offset: int((found == moved).flatten(1).all(1).sum()) for offset, moved in places.items()}
    assert sum(same.values()) == len(rows)
    assert abs(same[0, 0] - 3000 * (1 / 2 + 1 / 18)) < 4.5 * math.sqrt(3000 / 4)
    for offset, count in same.items():
        if offset != (0, 0):
            assert abs(count - 3000 / 18) < 4.5 * math.sqrt(3000 / 18)
