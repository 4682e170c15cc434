"""When a training is over, and when it has failed."""

from __future__ import annotations

import math

import pytest

from autoencoders.errors import TrainingDiverged
from autoencoders.training.stopping import DivergenceGuard, epochs_without_gain


@pytest.mark.parametrize(
    ("errors", "expected"),
    [([], 0), ([3.0], 0), ([3, 2, 1], 0), ([3, 1, 2], 1), ([1, 1, 1], 2), ([1, 2, 0.5, 4], 1)],
)
def test_epochs_without_gain_are_those_after_the_first_best(errors: list[float], expected: int) -> None:
    assert epochs_without_gain(errors) == expected


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_refused(loss: float) -> None:
    with pytest.raises(TrainingDiverged, match="step 7") as refusal:
        DivergenceGuard(1.0).finite(loss, step=7)
    assert refusal.value.step == 7
    assert "learning rate" in refusal.value.reason


def test_an_error_that_ran_away_is_refused_at_its_epoch() -> None:
    guard = DivergenceGuard(reference=10.0)
    guard.epoch(999.0, step=1)
    with pytest.raises(TrainingDiverged, match="100 times"):
        guard.epoch(1001.0, step=1)


def test_a_training_may_not_end_far_above_where_it_began() -> None:
    guard = DivergenceGuard(reference=10.0)
    guard.end(19.0, step=1)
    with pytest.raises(TrainingDiverged, match="far above"):
        guard.end(21.0, step=1)
