"""The rule of the outlook on figures that are written down: each word where it is plain."""

from __future__ import annotations

from typing import Any

import pytest

from autoencoders.diagnostics import expect, forecast

MEAN, PCA = 50.0, 10.0
STEPS = [0, *range(10, 101, 10)]


def figures(
    errors: list[float], gains: list[float], *, survived: bool = True, code: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A diagnosis of a job of 900 steps at a constant rate."""
    layer = {"saturated": 0.0, "dead": 0.0, "variance": 1.0, "gradient": 1.0}
    before = {
        "variance": 1.0,
        "correlation": 0.5,
        "input_correlation": 0.4,
        "effective_rank": 8.0,
        "active": 8,
    }
    return {
        "layers": [
            {**layer, "name": "encoder.0", "part": "encoder"},
            {**layer, "name": "decoder.output", "part": "decoder"},
        ],
        "code": {**before, "after": dict(before), **(code or {})},
        "losses": {"start": errors[0], "mean": MEAN, "pca": PCA},
        "trial": {
            "steps": 100,
            "horizon": 900,
            "done": 100.0,
            "ahead": 800.0,
            "survived": survived,
            "errors": [list(mark) for mark in zip(STEPS, errors, strict=True)],
            "gains": [list(mark) for mark in zip(STEPS, gains, strict=True)],
            "closed": (MEAN - errors[-1]) / (MEAN - PCA),
        },
    }


FALLING = [180.0, 60.0, 50.0, 46.0, 43.0, 40.0, 38.0, 36.0, 34.0, 32.0, 30.0]
RISING = [0.0, 0.01, 0.05, 0.1, 0.14, 0.18, 0.21, 0.24, 0.27, 0.29, 0.31]
AT_THE_MEAN = [180.0, 60.0, 51.0, *[50.1] * 8]
NOTHING = [1e-9] * 11


def test_a_net_whose_gain_is_well_under_way_learns() -> None:
    assert expect(figures(FALLING, RISING)).outlook == "learns"


def test_a_net_that_sits_on_the_mean_and_does_not_grow_is_stuck() -> None:
    assert expect(figures(AT_THE_MEAN, NOTHING)).outlook == "stuck"


def test_a_gain_that_grows_by_a_constant_factor_leaves_the_plateau_in_time_or_does_not() -> None:
    soon = [1e-6 * 2.0 ** (step / 10) for step in STEPS]
    late = [1e-6 * 1.05 ** (step / 10) for step in STEPS]
    assert expect(figures(AT_THE_MEAN, soon)).outlook in {"slow", "learns"}
    assert expect(figures(AT_THE_MEAN, late)).outlook == "stuck"


def test_an_error_that_stays_far_above_the_mean_diverges() -> None:
    assert expect(figures([400.0] * 11, NOTHING)).outlook == "diverges"


def test_a_trial_that_broke_diverges_for_its_rate() -> None:
    verdict = forecast(figures(FALLING, RISING, survived=False))
    assert verdict.outlook == "diverges"
    assert "rate too large" in verdict.cause
    assert verdict.cure is not None


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ({"active": 0, "variance": 0.0, "correlation": 1.0}, "dead code"),
        ({"correlation": 0.99999}, "ordered phase"),
    ],
)
def test_causes_are_named_with_their_figures(code: dict[str, Any], cause: str) -> None:
    verdict = forecast(figures(AT_THE_MEAN, NOTHING, code=code))
    assert not verdict.will_learn
    assert cause in verdict.cause
    assert verdict.evidence["code.correlation"] == code["correlation"]


def test_saturation_is_named_where_most_numbers_are_flat() -> None:
    found = figures([400.0] * 11, NOTHING)
    found["layers"][0] |= {"saturated": 0.8, "variance": 300.0}
    assert "saturated" in forecast(found).cause


def test_a_net_that_learns_needs_no_cure() -> None:
    verdict = forecast(figures(FALLING, RISING))
    assert verdict.will_learn
    assert verdict.cure is None
