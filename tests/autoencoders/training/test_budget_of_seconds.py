"""Where time is the budget, the schedule goes by time: it has come to its end when the time is over."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from autoencoders.data import Dataset, write_rows
from autoencoders.events import Checkpoint, Diagnosed, Event, Finished, Initialised, Step
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from autoencoders.training import Progress, TrainingState
from autoencoders.training.pace import SHARES
from tests.autoencoders import tiny
from tests.autoencoders.tiny import Clock, Training

TICK = 0.02


def trained(budget: float, *, prior: float = 0.0, schedule: Any = "linear", **options: Any) -> list[Event]:
    training = Training(epochs=SHARES // 6, schedule=schedule)
    options = {"clock": Clock(TICK), "checkpoint_seconds": math.inf, **options}
    return list(training.start(budget_seconds=budget, prior_seconds=prior, **options))


def finish(events: list[Event]) -> Finished:
    last = events[-1]
    assert isinstance(last, Finished)
    return last


def rates(events: list[Event]) -> list[float]:
    return [event.learning_rate for event in events if isinstance(event, Step)]


@pytest.mark.parametrize("budget", [4.0, 12.0])
def test_the_rate_falls_by_the_share_of_time_that_is_gone(budget: float) -> None:
    events = trained(budget)
    assert finish(events).ended == "max_seconds"
    assert finish(events).seconds == pytest.approx(budget, abs=0.15)
    steps = [event for event in events if isinstance(event, Step)]
    for event in steps:
        assert event.seconds_left is not None
        gone = 1.0 - event.seconds_left / budget
        assert event.learning_rate == pytest.approx(0.001 * (1.0 - gone), abs=0.001 * 0.03)
    assert steps[-1].learning_rate < 0.001 * 0.15


def test_the_steps_that_will_be_are_guessed_from_the_speed() -> None:
    events = trained(12.0)
    taken = finish(events).step
    guesses = [event.steps for event in events if isinstance(event, Step)]
    assert guesses[len(guesses) // 2] == pytest.approx(taken, rel=0.1)


def test_time_spent_before_the_first_step_is_gone() -> None:
    whole, less = trained(10.0), trained(10.0, prior=6.0)
    assert finish(less).seconds == pytest.approx(4.0, abs=0.15)
    assert rates(less)[0] < 0.5 * rates(whole)[0]
    assert rates(less)[-1] < 0.001 * 0.15


def test_a_resumed_training_has_the_time_that_was_left(tmp_path: Path) -> None:
    training = Training(epochs=SHARES // 6, schedule="linear")
    options: dict[str, Any] = {"clock": Clock(TICK), "budget_seconds": 10.0}
    state = None
    for event in training.start(prior_seconds=2.0, checkpoint_seconds=3.0, **options):
        if isinstance(event, Checkpoint):
            state = event.state
            break
    assert state is not None
    state.save(tmp_path / "state")
    state = TrainingState.load(tmp_path / "state")
    assert state.progress.prior_seconds == 2.0
    events = list(training.start(state, **{**options, "clock": Clock(TICK)}))
    assert finish(events).seconds == pytest.approx(8.0, abs=0.15)
    assert rates(events)[-1] < 0.001 * 0.15


def test_a_state_from_before_there_were_budgets_has_spent_nothing_before() -> None:
    assert Progress().prior_seconds == 0.0


def test_even_with_no_time_left_there_is_a_model() -> None:
    events = trained(1.0, prior=5.0)
    assert finish(events).ended == "max_seconds"
    assert finish(events).step == 1


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    write_rows(tiny.rows(200), tmp_path / "dataset")
    return Dataset.open(tmp_path / "dataset")


def experiment(dataset: Dataset, budget: float | None, **parts: Any) -> Experiment:
    spec = {
        "architecture": {"name": "dense", "widths": [8, 6], "code": 3, "activation": "sigmoid"},
        "init": {"name": "rbm_stack", "epochs": 20},
        "schedule": "linear",
        "training": {"epochs": 1_000_000, "batch_size": 32, "early_stopping": None},
        **parts,
    }
    return Experiment(Spec.model_validate(spec), dataset, clock=Clock(TICK), budget_seconds=budget)


def test_initialisation_is_part_of_an_experiment_s_budget(dataset: Dataset) -> None:
    events = list(experiment(dataset, 5.0).run())
    through = [event for event in events if isinstance(event, Initialised) and "layers" in event.detail]
    pretraining = sum(event.seconds for event in through)
    assert pretraining > 1.0
    assert finish(events).seconds == pytest.approx(5.0 - pretraining, abs=0.15)
    assert finish(events).ended == "max_seconds"


def test_a_diagnosis_sees_rates_like_those_to_come(dataset: Dataset) -> None:
    made = experiment(dataset, 5.0, schedule={"name": "cosine", "warmup": 0.02})
    (seen,) = (event for event in made.run() if isinstance(event, Diagnosed))
    trial = seen.diagnosis["trial"]
    # In a fiftieth of a million epochs the warm-up would not get anywhere.
    assert trial["done"] > 0.7 * trial["steps"]
