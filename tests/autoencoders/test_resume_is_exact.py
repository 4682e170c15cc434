"""A training that is killed after any step and resumed ends with the very bits of one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from autoencoders.events import Checkpoint, Epoch, Event, Finished, Step
from autoencoders.training import TrainingState
from tests.autoencoders.tiny import Clock, Training

EPOCHS, STEPS_PER_EPOCH = 4, 6

FACTORS = {"encoder.0.linear.weight": 3.0, "encoder.1.linear.weight": 0.5, "decoder.output.bias": 0.25}

TRAININGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "adamw, masking": {"optimizer": "adamw", "corruption": {"name": "masking", "share": 0.3}},
    "sgd with momentum, huber": {
        "optimizer": {"name": "sgd", "momentum": 0.9, "learning_rate": 0.01},
        "loss": "huber",
    },
    "nesterov with ramp": {"optimizer": {"name": "nesterov", "ramp": True, "learning_rate": 0.01}},
    "rmsprop, bce": {"optimizer": "rmsprop", "loss": "bce", "architecture": {"output": "sigmoid"}},
    "adagrad, l1": {
        "optimizer": "adagrad",
        "loss": "l1",
        "penalties": [{"name": "activity_l1", "rate": 0.01}],
    },
    "muon": {"optimizer": "muon"},
    "lbfgs, masking, variational": {
        "optimizer": {"name": "lbfgs", "iterations": 3},
        "corruption": {"name": "masking", "share": 0.3},
        "schedule": "constant",
        "architecture": {"code": {"name": "variational", "size": 3}},
    },
    "soap": {"optimizer": {"name": "soap", "every": 2}},
    "plateau": {"schedule": {"name": "plateau", "patience": 1, "threshold": 0.2}},
    "noise and batch norm": {
        "corruption": {"name": "gaussian", "std": 0.3},
        "architecture": {"norm": "batch"},
    },
    "salt and pepper": {"corruption": {"name": "salt_and_pepper", "share": 0.2}},
    "contractive": {
        "penalties": [{"name": "contractive", "rate": 0.1}],
        "architecture": {"activation": "tanh"},
    },
    "rows from windows": {"window_bytes": 48 * 40},
    "tied": {"architecture": {"tied": True}},
    "factors of the rate": {"factors": FACTORS},
    "factors of muon's rates": {"optimizer": "muon", "factors": FACTORS},
}
EVERY_TRAINING = pytest.mark.parametrize("name", TRAININGS)


def training(name: str) -> Training:
    return Training(**{"epochs": EPOCHS, **TRAININGS[name]})


def told(events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, Epoch | Finished)]


def undisturbed(name: str) -> tuple[list[Event], dict[str, torch.Tensor]]:
    calm = training(name)
    return told(list(calm.start())), calm.model.state_dict()


def killed_after(name: str, steps: int, folder: Path, resume: TrainingState | None = None) -> list[Event]:
    """Train up to a step, write a checkpoint and go no further, as a child does that is told to end."""
    disturbed, events = training(name), []
    # Every look at this clock is half a second later: an event after every step.
    run = disturbed.start(resume, clock=Clock(0.5), checkpoint_seconds=float("inf"))
    for event in run:
        events.append(event)
        if isinstance(event, Step) and event.step == steps:
            disturbed.requests.checkpoint = True
        if isinstance(event, Checkpoint):
            event.state.save(folder)
            break
    run.close()  # type: ignore[attr-defined]
    return told(events)


def resumed(name: str, folder: Path) -> tuple[list[Event], dict[str, torch.Tensor]]:
    other = training(name)
    return told(list(other.start(TrainingState.load(folder)))), other.model.state_dict()


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def without_time(events: list[Event]) -> list[dict[str, Any]]:
    timed = {"seconds", "rows_per_second"}
    return [{key: value for key, value in event.to_json().items() if key not in timed} for event in events]


@EVERY_TRAINING
@pytest.mark.parametrize("steps", [1, 5, 6, 7, 17, 24])
def test_killed_after_any_step_it_ends_with_the_same_bits(name: str, steps: int, tmp_path: Path) -> None:
    calm_events, calm_weights = undisturbed(name)
    before = killed_after(name, steps, tmp_path / "state")
    after, weights = resumed(name, tmp_path / "state")
    assert same_bits(weights, calm_weights)
    assert without_time(before + after) == without_time(calm_events)


@pytest.mark.parametrize("name", ["muon", "noise and batch norm", "plateau", "rows from windows"])
def test_killed_again_and_again_it_still_does(name: str, tmp_path: Path) -> None:
    calm_events, calm_weights = undisturbed(name)
    events, state = [], None
    for number, steps in enumerate((2, 3, 9, 12, 20)):
        events += killed_after(name, steps, tmp_path / str(number), state)
        state = TrainingState.load(tmp_path / str(number))
    after, weights = resumed(name, tmp_path / "4")
    assert same_bits(weights, calm_weights)
    assert without_time(events + after) == without_time(calm_events)


@EVERY_TRAINING
def test_a_checkpoint_of_an_epoch_s_end_does_too(name: str) -> None:
    calm_events, calm_weights = undisturbed(name)
    states = [
        event.state for event in training(name).start(checkpoint_seconds=0) if isinstance(event, Checkpoint)
    ]
    assert len(states) == EPOCHS
    for number, state in enumerate(states):
        other = training(name)
        events = told(list(other.start(state)))
        assert same_bits(other.model.state_dict(), calm_weights)
        assert without_time(events) == without_time(calm_events)[number + 1 :]


def test_the_factors_come_back_with_the_state(tmp_path: Path) -> None:
    killed_after("factors of the rate", 5, tmp_path / "state")
    assert TrainingState.load(tmp_path / "state").factors == FACTORS
    plain, scaled = undisturbed("adam")[1], undisturbed("factors of the rate")[1]
    assert not same_bits(plain, scaled)


def test_a_state_may_be_resumed_twice() -> None:
    states = [
        event.state for event in training("adam").start(checkpoint_seconds=0) if isinstance(event, Checkpoint)
    ]
    one, two = training("adam"), training("adam")
    list(one.start(states[0]))
    list(two.start(states[0]))
    assert same_bits(one.model.state_dict(), two.model.state_dict())


def test_early_stopping_counts_over_a_resume() -> None:
    still: dict[str, Any] = {"optimizer": {"name": "sgd", "learning_rate": 1e-30}, "epochs": 50}
    calm = list(Training(**still).start(patience=3, checkpoint_seconds=0))
    states = [event.state for event in calm if isinstance(event, Checkpoint)]
    for state in states:
        after = list(Training(**still).start(state, patience=3))
        assert isinstance(after[-1], Finished)
        assert isinstance(calm[-1], Finished)
        assert (after[-1].ended, after[-1].epoch) == ("early_stopping", calm[-1].epoch)


def test_seconds_add_up_over_a_resume() -> None:
    disturbed = Training(epochs=1000)
    events = disturbed.start(clock=Clock(0.01), checkpoint_seconds=0.5, max_seconds=2.0)
    state = next(event.state for event in events if isinstance(event, Checkpoint))
    finished = list(Training(epochs=1000).start(state, clock=Clock(0.01), max_seconds=2.0))[-1]
    assert isinstance(finished, Finished)
    assert finished.ended == "max_seconds"
    assert 2.0 <= finished.seconds < 2.2
