"""Every schedule: a pure function that stays in (0, 1] over the whole training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from autoencoders.optim import Schedule, schedules

EVERY_SCHEDULE = pytest.mark.parametrize("word", schedules.names())
ERRORS = [5.0, 4.0, 4.1, 4.0, 4.2, 4.0, 4.0, 4.0, 3.0]


def make(word: Any, steps: int = 1000) -> Schedule:
    made: Schedule = schedules.call(schedules.choose(word), steps)
    return made


@EVERY_SCHEDULE
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
@pytest.mark.parametrize("errors", [[], ERRORS, [1.0] * 500])
def test_every_factor_is_in_range(word: str, steps: int, errors: Sequence[float]) -> None:
    schedule = make(word, steps)
    assert all(0.0 < schedule(step, errors) <= 1.0 for step in range(steps))


@EVERY_SCHEDULE
def test_the_factor_depends_on_its_arguments_alone(word: str) -> None:
    schedule, other = make(word), make(word)
    order = [500, 3, 999, 3, 0]
    forward = {step: schedule(step, ERRORS) for step in sorted(order)}
    assert [other(step, ERRORS) for step in order] == [forward[step] for step in order]


@EVERY_SCHEDULE
def test_only_the_plateau_looks_at_errors(word: str) -> None:
    schedule = make(word)
    assert (schedule(500, [1.0] * 50) == schedule(500, [])) == (word != "plateau")


@EVERY_SCHEDULE
def test_the_word_is_written_as_it_is_read(word: str) -> None:
    choice = schedules.choose(word)
    assert schedules.choose(choice.model_dump(mode="json")) == choice


@pytest.mark.parametrize("word", ["linear", "exponential", "cosine", "step"])
def test_a_falling_schedule_never_rises_after_its_warm_up(word: str) -> None:
    schedule = make(word)
    factors = [schedule(step, []) for step in range(20, 1000)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] < 0.02


@pytest.mark.parametrize("word", ["linear", "cosine"])
def test_the_warm_up_rises_in_equal_steps_to_the_full_rate(word: str) -> None:
    schedule = make({"name": word, "warmup": 0.1})
    rising = [schedule(step, []) for step in range(100)]
    assert rising[0] == pytest.approx(1 / 101)
    assert rising[99] == pytest.approx(100 / 101)
    assert schedule(100, []) == 1.0


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert make({"name": "cosine", "warmup": 0.0})(500, []) == pytest.approx(0.5)
    assert make({"name": "cosine", "warmup": 0.0, "end": 0.2})(500, []) == pytest.approx(0.6)


def test_steps_fall_where_they_were_asked_to() -> None:
    schedule = make({"name": "step", "at": [0.25, 0.5], "factor": 0.5})
    assert [schedule(step, []) for step in (0, 249, 250, 499, 500, 999)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_exponential_falls_by_one_ratio() -> None:
    schedule = make({"name": "exponential", "end": 0.01})
    assert schedule(500, []) == pytest.approx(0.1)
    assert schedule(501, []) / schedule(500, []) == pytest.approx(schedule(11, []) / schedule(10, []))


def test_the_plateau_falls_once_after_each_patience_without_gain() -> None:
    schedule = make({"name": "plateau", "patience": 3, "factor": 0.5})
    found = [schedule(0, ERRORS[:epochs]) for epochs in range(len(ERRORS) + 1)]
    assert found == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_the_plateau_never_falls_below_its_end() -> None:
    assert make({"name": "plateau", "patience": 1, "end": 0.1})(0, [1.0] * 100) == 0.1


@pytest.mark.parametrize("word", [{"name": "cosine", "warmup": 1.0}, {"name": "exponential", "end": 0.0}])
def test_what_leaves_no_rate_is_refused(word: Any) -> None:
    with pytest.raises(ValidationError):
        schedules.choose(word)
