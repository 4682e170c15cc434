"""Learning-rate factors by width, for every family of optimizers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from autoencoders.optim import optimizers
from autoencoders.optim.width import Reach, Steps, width_factors

KNOWN = {"entrywise", "gradient", "orthogonal", None}


def parameters() -> list[tuple[str, nn.Parameter]]:
    """In forward order: in, two hidden matrices, out, and a bias."""
    shapes = {
        "encoder.0.weight": (64, 20),
        "encoder.1.weight": (32, 64),
        "bottleneck.weight": (4, 32),
        "decoder.output.weight": (20, 4),
        "encoder.0.bias": (64,),
    }
    return [(name, nn.Parameter(torch.zeros(shape))) for name, shape in shapes.items()]


def reaches() -> dict[str, Reach]:
    return {
        name: Reach(1, 64, bias=True) if name == "encoder.0.bias" else Reach(value.shape[1], value.shape[0])
        for name, value in parameters()
    }


def test_every_optimizer_says_what_it_makes_of_a_gradient() -> None:
    assert {entry.traits.get("steps") for entry in optimizers} <= KNOWN
    assert [entry.name for entry in optimizers if entry.traits.get("steps") is None] == ["lbfgs"]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            "entrywise",
            {
                "encoder.0.weight": 256 / 20,
                "encoder.1.weight": 4.0,
                "bottleneck.weight": 8.0,
                "decoder.output.weight": 64.0,
                "encoder.0.bias": 1.0,
            },
        ),
        (
            "gradient",
            {
                "encoder.0.weight": 64 / 20,
                "encoder.1.weight": 0.5,
                "bottleneck.weight": 4 / 32,
                "decoder.output.weight": 5.0,
                "encoder.0.bias": 0.25,
            },
        ),
        (
            "orthogonal",
            {
                "encoder.0.weight": 256 / 20,
                "encoder.1.weight": math.sqrt(0.5),
                "bottleneck.weight": math.sqrt(1 / 8),
                "decoder.output.weight": 64.0,
                "encoder.0.bias": 1.0,
            },
        ),
        (None, {}),
    ],
)
def test_factors_are_those_of_the_family(steps: Steps | None, expected: dict[str, float]) -> None:
    found = width_factors(steps, parameters(), reaches(), base_width=256)
    assert found == pytest.approx(expected)


def test_at_the_base_width_every_factor_is_one() -> None:
    square = [(f"w{number}", nn.Parameter(torch.zeros(256, 256))) for number in range(4)]
    bias = ("encoder.0.bias", nn.Parameter(torch.zeros(256)))
    known = {**{name: Reach(256, 256) for name, _ in square}, "encoder.0.bias": Reach(1, 256, bias=True)}
    every: tuple[Steps, ...] = ("entrywise", "gradient", "orthogonal")
    for steps in every:
        assert set(width_factors(steps, [*square, bias], known, base_width=256).values()) == {1.0}


def test_a_parameter_that_connects_nothing_known_gets_no_factor() -> None:
    assert width_factors("entrywise", parameters(), {}, base_width=256) == {}
