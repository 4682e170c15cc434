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
        "rehearsal": None,
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
    assert verdict.concern is None


@pytest.mark.parametrize(("start", "variance"), [(180.0, 2e4), (2e4, 90.0)])
def test_a_start_that_is_far_too_large_is_a_concern_though_the_net_learns(
    start: float, variance: float
) -> None:
    found = figures([start, *FALLING[1:]], RISING)
    found["layers"][-1]["variance"] = variance
    verdict = forecast(found)
    assert verdict.will_learn
    assert verdict.cure is None
    assert verdict.concern is not None
    assert "exploding" in verdict.concern
    assert f"{start:.3g}" in verdict.concern
    assert "depth_scaled" in verdict.concern


def test_what_diverges_has_its_cause_and_no_other_concern() -> None:
    verdict = forecast(figures([4e6, *[4e5] * 10], NOTHING))
    assert (verdict.outlook, verdict.concern) == ("diverges", None)
    assert "exploding" in verdict.cause


def test_only_hidden_layers_count_as_saturated_and_gradients_are_compared_first_to_last() -> None:
    found = figures(AT_THE_MEAN, NOTHING)
    hidden = {**found["layers"][0], "name": "encoder.1", "saturated": 0.4, "gradient": 3.0}
    code = {**found["layers"][0], "name": "code", "part": "code", "saturated": 0.9}
    first, output = {**found["layers"][0], "saturated": 0.2, "gradient": 2e-4}, found["layers"][1]
    found["layers"] = [first, hidden, code, {**output, "saturated": 1.0, "gradient": 2.0}]
    evidence = forecast(found).evidence
    assert evidence["saturated"] == pytest.approx(0.3)
    assert evidence["gradient_ratio"] == pytest.approx(1e-4)


def test_a_gradient_that_does_not_come_back_is_a_cause() -> None:
    found = figures(AT_THE_MEAN, NOTHING)
    found["layers"][0]["gradient"] = 1e-6
    assert "vanishing gradient: that at encoder.0 is 1e-06" in forecast(found).cause
    found["layers"][0]["gradient"] = 0.1
    assert "too few or too small steps" in forecast(found).cause


def test_codes_as_alike_as_their_rows_are_no_ordered_phase() -> None:
    alike = {"correlation": 0.9999, "input_correlation": 0.9995}
    assert "ordered" not in forecast(figures(AT_THE_MEAN, NOTHING, code=alike)).cause


def test_an_error_that_fell_and_rose_again_is_the_rate_s() -> None:
    rising = [180.0, 90.0, 60.0, 70.0, 90.0, 120.0, 150.0, 170.0, 190.0, 210.0, 230.0]
    verdict = forecast(figures(rising, RISING))
    assert verdict.outlook == "diverges"
    assert "fell to 60 in the trial and rose to 230 again" in verdict.cause


def test_steps_that_trample_the_code_are_too_large() -> None:
    after = {"variance": 1e-9, "effective_rank": 1.1}
    verdict = forecast(figures([400.0] * 11, NOTHING, code={"after": after}))
    assert "from 8 to 1.1" in verdict.cause


def test_slow_is_not_learning() -> None:
    late = [1e-3 * 1.2 ** (step / 10) for step in STEPS]
    verdict = forecast(figures(AT_THE_MEAN, late, code={"after": {"effective_rank": 2.2, "variance": 1.0}}))
    assert (verdict.outlook, verdict.will_learn) == ("slow", False)


def test_a_dead_code_is_told_before_what_follows_from_it_and_with_the_deadest_layer() -> None:
    found = figures(AT_THE_MEAN, NOTHING, code={"active": 0, "variance": 0.0, "correlation": 1.0})
    found["layers"].insert(1, {**found["layers"][0], "name": "encoder.1", "dead": 0.75})
    found["layers"][0] |= {"saturated": 0.9, "variance": 300.0}
    assert "75% of the units of encoder.1 are dead" in forecast(found).cause
