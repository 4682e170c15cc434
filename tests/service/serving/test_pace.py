"""How long passes take is learnt from all of them, and hangs on none."""

from __future__ import annotations

import pytest

from service.serving.pace import Pace


def _learnt(*seconds: float) -> Pace:
    pace = Pace()
    for one in seconds:
        pace.learn(16, one)
    return pace


@pytest.mark.parametrize("longer", [3.0, 10.0, 1000.0])
def test_one_pass_that_was_interrupted_says_little_of_the_next(longer: float) -> None:
    assert _learnt(*[0.001] * 10, 0.001 * longer).seconds(16) == pytest.approx(0.0012)


@pytest.mark.parametrize("factor", [0.1, 0.5, 3.0, 10.0])
def test_what_all_passes_take_from_now_on_is_learnt(factor: float) -> None:
    assert _learnt(*[0.001] * 10, *[0.001 * factor] * 60).seconds(16) == pytest.approx(
        0.001 * factor, rel=0.05
    )
