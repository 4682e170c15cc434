"""The rehearsal goes on where the trial ended, at the job's rates, on a part of each batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from autoencoders import build
from autoencoders.data import Dataset
from autoencoders.diagnostics import Plan, expect, forecast
from autoencoders.diagnostics.deadline import NEVER, Deadline
from autoencoders.diagnostics.plan import FEWEST_ROWS, LONGEST, PART
from autoencoders.diagnostics.rehearsal import Rehearsal, rehearse
from autoencoders.diagnostics.stepper import Stepper
from autoencoders.diagnostics.trial import try_training
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from tests.autoencoders.diagnostics.nets import clock, net, normal_rows, plan
from tests.autoencoders.diagnostics.test_outlook import AT_THE_MEAN, FALLING, NOTHING, RISING, figures

SLOW = {"name": "sgd", "learning_rate": 1e-3}


class Recorded(Stepper):
    """A stepper that tells which factors and how many rows it was given."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.taken: list[tuple[float, int]] = []

    def step(self, factor: float, rows: int) -> float:
        self.taken.append((factor, rows))
        return super().step(factor, rows)


def rehearsed(how: Plan, rows: Tensor, deadline: Deadline = NEVER) -> tuple[Rehearsal | None, Recorded]:
    stepper = Recorded(net(16, widths=(12,), code=4), how, rows)
    trial = try_training(stepper, rows)
    return rehearse(stepper, trial, rows, deadline), stepper


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5])
def test_it_takes_the_job_s_own_rates_from_the_trial_s_end_to_the_horizon(warmup: float) -> None:
    how = plan(400, SLOW, schedule={"name": "cosine", "warmup": warmup}, batch_size=128, rehearses=True)
    found, stepper = rehearsed(how, normal_rows(200, 16))
    assert found is not None
    first = how.walk[-1] + 1
    later = stepper.taken[LONGEST:]
    assert [factor for factor, _ in later] == [how.schedule(step, ()) for step in range(first, 400)]
    assert {rows for _, rows in stepper.taken[:LONGEST]} == {128}
    assert {rows for _, rows in later} == {128 // PART} == {found.rows}
    assert (found.steps, found.horizon, found.survived) == (400, 400, True)
    assert found.errors[0][0] == first
    assert found.errors[-1][0] == 400


@pytest.mark.parametrize(("batch", "rows"), [(8, 8), (20, FEWEST_ROWS), (64, 16), (1000, 250)])
def test_a_step_has_a_quarter_of_the_batch_and_enough_rows_to_tell(batch: int, rows: int) -> None:
    assert plan(batch_size=batch).rehearsed_rows == rows


@pytest.mark.parametrize("why", ["not planned", "the trial was the job", "the trial broke"])
def test_there_is_none_where_there_is_nothing_to_rehearse(why: str) -> None:
    rows = normal_rows(64, 16)
    how = {
        "not planned": plan(300, SLOW),
        "the trial was the job": plan(60, SLOW, rehearses=True),
        "the trial broke": plan(300, {"name": "sgd", "learning_rate": 1e9}, rehearses=True),
    }[why]
    found, stepper = rehearsed(how, rows)
    assert found is None
    assert len(stepper.taken) <= LONGEST


def test_it_ends_where_time_runs_out_and_is_no_forecast_then() -> None:
    how = plan(300, SLOW, rehearses=True)
    found, _ = rehearsed(how, normal_rows(64, 16), Deadline.after(5.0, clock()))
    assert found is not None
    assert (found.steps, found.errors[-1][0]) == (105, 105)
    assert found.survived


def test_it_ends_where_the_loss_is_no_number() -> None:
    """The warm-up makes the rate too large only after the trial."""
    rows = normal_rows(64, 16)
    stepper = Recorded(net(16, widths=(12,), code=4), plan(300, SLOW, rehearses=True), rows)
    trial = try_training(stepper, rows)
    with torch.no_grad():
        next(stepper.model.parameters()).fill_(float("inf"))
    found = rehearse(stepper, trial, rows)
    assert found is not None
    assert not found.survived
    assert found.steps == LONGEST + 1


def with_rehearsal(found: dict[str, Any], closed: float | None, **changed: Any) -> dict[str, Any]:
    walked = {
        "steps": 900,
        "horizon": 900,
        "rows": 50,
        "survived": True,
        "errors": [[100, 30.0], [900, 25.0]],
    }
    return {**found, "rehearsal": {**walked, "closed": closed, **changed}}


@pytest.mark.parametrize(
    ("closed", "outlook"),
    [(0.9, "learns"), (0.47, "learns"), (0.4, "slow"), (0.02, "stuck"), (-0.3, "diverges")],
)
def test_it_is_the_forecast_whatever_the_trial_promised(closed: float, outlook: str) -> None:
    for trial in (figures(FALLING, RISING), figures(AT_THE_MEAN, NOTHING)):
        found = expect(with_rehearsal(trial, closed))
        assert found.outlook == outlook
        assert found.closed == pytest.approx(1.1 * closed if closed > 0 else closed)


def test_a_loss_that_was_no_number_diverges_and_a_rehearsal_cut_short_leaves_it_to_the_trial() -> None:
    trial = figures(FALLING, RISING)
    assert expect(with_rehearsal(trial, None, survived=False, steps=300)).outlook == "diverges"
    assert expect(with_rehearsal(trial, -0.3, steps=300)) == expect(trial)


def test_a_net_that_the_rehearsal_broke_is_told_of_its_rate_and_any_other_of_what_was_closed() -> None:
    trial = figures(FALLING, RISING)
    broken = with_rehearsal(trial, -0.05, errors=[[100, 30.0], [200, 28.0], [900, 51.0]])
    assert "fell to 28 in the trial and the rehearsal and rose to 51 again" in forecast(broken).cause
    late = with_rehearsal(trial, None, survived=False, steps=300)
    assert "no number at step 300 of the rehearsal" in forecast(late).cause
    for closed in (0.3, 0.9):
        assert (
            f"a rehearsal on 50 rows a step closed {closed}" in forecast(with_rehearsal(trial, closed)).cause
        )


def spec(**training: Any) -> Spec:
    architecture = {"name": "dense", "widths": [48, 32], "code": 8, "activation": "tanh"}
    training = {"early_stopping": None, **training}
    return Spec.model_validate({"architecture": architecture, "init": "he_normal", "training": training})


@pytest.mark.parametrize(
    ("training", "rehearses"),
    [
        ({"epochs": 60, "batch_size": 64}, True),
        ({"epochs": 1000, "batch_size": 8}, True),
        ({"epochs": 1, "batch_size": 8}, False),
    ],
)
def test_a_job_rehearses_where_that_costs_less_than_half_of_it(
    digits: Dataset, training: dict[str, Any], rehearses: bool
) -> None:
    experiment = Experiment(spec(**training), digits)
    assert build.plan(experiment.spec, digits, experiment.model, rehearse=True).rehearses == rehearses
    assert not build.plan(experiment.spec, digits, experiment.model).rehearses


@pytest.mark.parametrize("asked", [{}, {"rehearse": False}, {"budget_seconds": 100.0}])
def test_an_experiment_rehearses_unless_told_otherwise_or_bound_by_seconds(
    digits: Dataset, asked: dict[str, Any]
) -> None:
    experiment = Experiment(spec(epochs=20, batch_size=64), digits, **asked)
    for _ in experiment.initialise():
        pass
    found = experiment.diagnose(400).to_json()
    assert (found["rehearsal"] is not None) == (not asked)
    if found["rehearsal"] is not None:
        assert found["rehearsal"]["steps"] == found["rehearsal"]["horizon"] == found["trial"]["horizon"]
        evidence = found["verdict"]["evidence"]
        assert evidence["expected.closed"] == pytest.approx(1.1 * found["rehearsal"]["closed"])
