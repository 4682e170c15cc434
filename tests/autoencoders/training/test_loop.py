"""The loop: what it yields and when, how it ends, and what it leaves in the model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
import torch

from autoencoders.errors import TrainingDiverged
from autoencoders.events import Checkpoint, Epoch, Event, Finished, Step
from autoencoders.objective import Objective
from autoencoders.optim import schedules
from autoencoders.training import Batches, HeldOut, evaluate, train
from tests.autoencoders import tiny
from tests.autoencoders.tiny import Clock, Training

JUMPY = {"name": "adam", "learning_rate": 0.1}


def of_kind(events: list[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def run(training: Training | None = None, **options: Any) -> list[Event]:
    return list((training or Training()).start(**options))


def test_every_epoch_is_judged_and_the_last_event_says_how_it_ended() -> None:
    events = run(Training(epochs=3))
    epochs = of_kind(events, Epoch)
    assert [event.epoch for event in epochs] == [1, 2, 3]
    assert [event.step for event in epochs] == [6, 12, 18]
    assert isinstance(events[-1], Finished)
    assert events[-1].ended == "epochs"
    assert events[-1].step == 18


def test_training_lowers_the_held_out_error() -> None:
    epochs = of_kind(run(Training(optimizer={"name": "adam", "learning_rate": 0.02}, epochs=20)), Epoch)
    assert epochs[-1].error < 0.7 * epochs[0].error


def test_the_best_epoch_s_weights_come_back() -> None:
    training = Training(optimizer=JUMPY, schedule="constant", epochs=4)
    events = run(training)
    errors = [event.error for event in of_kind(events, Epoch)]
    assert min(errors) < errors[-1], "the last epoch is to be worse than the best one"
    held_out = HeldOut(tiny.rows()[training.training_rows :], tiny.identity())
    found = evaluate(training.model, Objective("mse"), held_out)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.error == min(errors) == found.error
    assert finished.loss == found.loss


def test_an_epoch_is_best_when_none_before_it_was_better() -> None:
    epochs = of_kind(run(Training(optimizer=JUMPY, schedule="constant", epochs=12)), Epoch)
    least = math.inf
    for event in epochs:
        assert event.best == (event.error < least)
        least = min(least, event.error)


def test_the_train_loss_is_the_mean_over_the_epoch_s_rows() -> None:
    training = Training(optimizer={"name": "sgd", "learning_rate": 1e-12}, epochs=1)
    (epoch,) = of_kind(run(training), Epoch)
    rows = torch.from_numpy(tiny.rows()[: training.training_rows])
    loss = (training.model(rows).output - rows).square().sum(1).mean().item()
    assert epoch.train_loss == pytest.approx(loss, rel=1e-5)


def test_step_events_come_twice_a_second_by_the_clock_that_was_passed_in() -> None:
    # Two looks at the clock a step: the tick, and none other between epochs' ends.
    events = run(Training(epochs=4), clock=Clock(0.1), checkpoint_seconds=math.inf)
    steps = of_kind(events, Step)
    assert 2 <= len(steps) <= 8
    assert of_kind(run(Training(epochs=4), clock=Clock(0.0)), Step) == []
    assert all(math.isfinite(event.loss) and event.steps == 24 for event in steps)
    assert steps[0].seconds_left is not None


def test_a_step_event_s_loss_is_the_mean_since_the_last_one() -> None:
    training = Training(optimizer={"name": "sgd", "learning_rate": 1e-12}, epochs=1, batch_size=10)
    steps = of_kind(run(training, clock=Clock(0.2), checkpoint_seconds=math.inf), Step)
    rows = torch.from_numpy(tiny.rows()[: training.training_rows])
    loss = (training.model(rows).output - rows).square().sum(1).mean().item()
    assert len(steps) > 3
    assert all(0.5 * loss < event.loss < 2 * loss for event in steps)


def test_a_step_event_counts_the_rows_of_every_epoch_since_the_last_one() -> None:
    # 180 rows an epoch and a little under six epochs between two events.
    steps = of_kind(run(Training(epochs=40), clock=Clock(0.01), checkpoint_seconds=math.inf), Step)
    assert len(steps) > 3
    for event in steps:
        assert 180 / 0.1 < event.rows_per_second < 180 / 0.06


def test_the_rate_follows_the_schedule() -> None:
    word = {"name": "step", "at": [0.5], "factor": 0.1}
    epochs = of_kind(
        run(Training(optimizer={"name": "adam", "learning_rate": 0.01}, schedule=word, epochs=4)), Epoch
    )
    assert [event.learning_rate for event in epochs] == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_early_stopping_waits_for_its_patience() -> None:
    training = Training(optimizer={"name": "sgd", "learning_rate": 1e-30}, epochs=50)
    events = run(training, patience=4)
    assert [event.best for event in of_kind(events, Epoch)] == [True, False, False, False, False]
    assert isinstance(events[-1], Finished)
    assert events[-1].ended == "early_stopping"


def test_a_stop_ends_after_this_step_with_the_best_weights() -> None:
    training = Training(epochs=50)
    events = []
    for event in training.start(clock=Clock(0.3)):
        events.append(event)
        if isinstance(event, Step) and event.step > 14:
            training.requests.stop = True
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.ended == "stopped"
    assert finished.step < 18
    held_out = HeldOut(tiny.rows()[training.training_rows :], tiny.identity())
    assert finished.error == evaluate(training.model, Objective("mse"), held_out).error
    assert finished.error <= min(event.error for event in of_kind(events, Epoch))


def test_a_stop_before_the_first_epoch_is_over_keeps_what_there_is() -> None:
    training = Training(epochs=50)
    events = training.start(clock=Clock(1.0))
    next(events)
    training.requests.stop = True
    finished = list(events)[-1]
    assert isinstance(finished, Finished)
    assert finished.epoch == 0
    assert math.isfinite(finished.error)


def test_time_that_is_up_ends_the_training() -> None:
    events = run(Training(epochs=1000), clock=Clock(0.01), max_seconds=1.0)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.ended == "max_seconds"
    assert 1.0 <= finished.seconds < 1.2


def test_checkpoints_come_at_epochs_and_no_oftener_than_asked() -> None:
    every = of_kind(run(Training(epochs=6), checkpoint_seconds=0.0), Checkpoint)
    assert [event.epoch for event in every] == [1, 2, 3, 4, 5, 6]
    assert of_kind(run(Training(epochs=6), checkpoint_seconds=math.inf), Checkpoint) == []
    some = of_kind(run(Training(epochs=12), clock=Clock(1.0), checkpoint_seconds=20.0), Checkpoint)
    assert 2 <= len(some) < 8


def test_a_checkpoint_that_is_asked_for_comes_after_this_very_step() -> None:
    training = Training(epochs=3)
    events = training.start(clock=Clock(1.0), checkpoint_seconds=math.inf)
    step = next(events)
    training.requests.checkpoint = True
    asked = next(events)
    assert isinstance(step, Step)
    assert isinstance(asked, Checkpoint)
    # Asked while step 1 was being reported; it is yielded before another step is taken.
    assert asked.step == step.step == 1
    assert asked.state.progress.batch == 1
    assert not training.requests.checkpoint


def test_a_loss_that_leaves_the_numbers_ends_the_training_with_a_reason() -> None:
    training = Training(optimizer={"name": "sgd", "learning_rate": 1e6}, schedule="constant")
    with pytest.raises(TrainingDiverged, match="learning rate"):
        run(training)


def test_an_error_that_runs_away_ends_the_training_with_a_reason() -> None:
    training = Training(optimizer={"name": "adam", "learning_rate": 30.0}, schedule="constant")
    with pytest.raises(TrainingDiverged):
        run(training)


def test_clipping_bounds_a_step() -> None:
    moves = []
    sgd = {"name": "sgd", "learning_rate": 0.1}
    for clip_norm in (None, 1e-3):
        training = Training(optimizer=sgd, schedule="constant", epochs=1, batch_size=180)
        before = tiny.model().state_dict()
        run(training, clip_norm=clip_norm)
        after = training.model.state_dict()
        moves.append(math.sqrt(sum(float((after[name] - before[name]).square().sum()) for name in after)))
    assert moves[1] == pytest.approx(1e-4, rel=1e-3)
    assert moves[0] > 0.01


class Twice(torch.optim.SGD):
    """Looks twice at every batch from one place, and stays there."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        super().__init__([{"params": list(parameters), "base_rate": 0.0}], lr=0.0)
        self.looks: list[tuple[float, float]] = []

    def step(self, closure: Any = None) -> Any:
        """The loss of the first look."""
        first, second = closure(), closure()
        self.looks.append((float(first), float(second)))
        return first


def test_an_optimizer_that_looks_twice_sees_the_same_noise_and_the_next_step_other_noise() -> None:
    model, data = tiny.model(code={"name": "variational", "size": 3}), tiny.rows(64)
    batches = Batches(data, tiny.identity(), batch_size=64, seed=0)
    optimizer = Twice(model.parameters())
    held_out = HeldOut(data, tiny.identity())
    schedule = schedules.call(schedules.choose("constant"), 4)
    list(train(model, Objective("mse"), optimizer, schedule, batches, held_out=held_out, epochs=4))
    assert all(first == second for first, second in optimizer.looks)
    # Another order of the same rows alone moves the loss by rounding.
    firsts = [first for first, _ in optimizer.looks]
    assert min(abs(a - b) for a, b in pairwise(firsts)) > 1e-4 * firsts[0]


def test_bfloat16_trains_float32_weights_to_nearly_the_same_error() -> None:
    plain, low = (run(Training(epochs=5), precision=precision)[-1] for precision in ("float32", "bfloat16"))
    assert isinstance(plain, Finished)
    assert isinstance(low, Finished)
    assert low.error != plain.error
    assert low.error == pytest.approx(plain.error, rel=0.1)


def test_the_same_seed_gives_the_same_training() -> None:
    noisy = {"name": "gaussian", "std": 0.1}
    one, two, other = (run(Training(corruption=noisy, seed=seed))[-1] for seed in (0, 0, 1))
    assert one == two
    assert one != other


def test_leaving_the_loop_early_is_allowed_at_any_event() -> None:
    events = Training(epochs=5, window_bytes=1000).start(clock=Clock(0.3))
    for _ in range(3):
        next(events)
    events.close()  # type: ignore[attr-defined]
