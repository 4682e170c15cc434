"""The trial takes the job's own steps, on a copy and with streams of its own."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from autoencoders.diagnostics import Plan
from autoencoders.diagnostics.deadline import NEVER, Deadline
from autoencoders.diagnostics.plan import FEWEST, LONGEST, RISING
from autoencoders.diagnostics.stepper import Stepper
from autoencoders.diagnostics.trial import Trial, mark, try_training
from autoencoders.models import Autoencoder
from tests.autoencoders.diagnostics.nets import clock, net, normal_rows, plan


def tried(model: Autoencoder, how: Plan, rows: Tensor, deadline: Deadline = NEVER) -> Trial:
    """A trial that looks at the rows that it trains on."""
    return try_training(Stepper(model, how, rows), rows, deadline)


def test_it_is_no_longer_than_the_job_nor_than_a_hundred_steps() -> None:
    assert len(plan(steps=7).factors()) == 7
    assert len(plan(steps=5000).factors()) == LONGEST
    assert len(plan(steps=5000, affordable=25).factors()) == 25
    assert len(plan(steps=5000, affordable=0).factors()) == 10


def test_a_short_warm_up_is_the_job_s_own_and_a_long_one_is_walked_through_faster() -> None:
    short = plan(steps=900, schedule={"name": "cosine", "warmup": 0.02})
    assert short.factors() == [short.schedule(step, ()) for step in range(LONGEST)]
    long = plan(steps=9000, schedule={"name": "cosine", "warmup": 0.05})
    factors = long.factors()
    assert len(factors) == LONGEST
    assert max(factors) == pytest.approx(1.0)
    assert max(range(LONGEST), key=factors.__getitem__) <= RISING
    assert long.schedule(LONGEST, ()) < 0.3


def test_it_learns_where_the_job_would() -> None:
    rows = normal_rows(400, 4) @ normal_rows(4, 16, seed=1)
    model = net(16, "orthogonal", widths=(12,), code=4, activation="linear")
    found = tried(model, plan(steps=100, optimizer={"name": "adam", "learning_rate": 0.01}), rows)
    assert found.survived
    assert found.steps == 100
    assert found.marks[-1].error < 0.3 * found.marks[0].error
    assert found.marks[-1].gain > 0.7
    assert [item.step for item in found.marks][:5] == [0, 1, 2, 4, 10]


def test_it_ends_where_the_loss_is_no_number() -> None:
    rows = 1e3 * normal_rows(100, 16)
    wild = plan(steps=100, optimizer={"name": "sgd", "learning_rate": 1e3})
    found = tried(net(16, widths=(12,), code=4), wild, rows)
    assert not found.survived
    assert found.steps < 100


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, FEWEST), (5.0, FEWEST + 4), (1000.0, 40)])
def test_it_ends_early_where_time_runs_out_with_a_mark_at_its_last_step(seconds: float, steps: int) -> None:
    """The clock ticks once whenever it is read: at every step from the tenth on."""
    rows, of_forty = normal_rows(100, 16), plan(steps=40, schedule="linear")
    found = tried(net(16, widths=(12,), code=4), of_forty, rows, Deadline.after(seconds, clock()))
    assert (found.steps, found.planned, len(found.losses)) == (steps, 40, steps)
    assert found.marks[-1].step == steps
    assert found.survived
    factors = of_forty.factors()
    assert found.done == pytest.approx(sum(factors[:steps]))
    assert found.ahead == pytest.approx(sum(factors[steps:]))


def test_no_global_random_number_is_drawn() -> None:
    before = torch.get_rng_state()
    rows = normal_rows(100, 16)
    tried(net(16, widths=(12,), code=4), plan(steps=20), rows)
    assert torch.equal(before, torch.get_rng_state())


def test_gain_and_spread_are_one_for_a_perfect_answer_and_zero_for_the_mean() -> None:
    rows = normal_rows(200, 8)
    perfect = net(8, "identity", widths=(8,), code=8, activation="linear")
    assert mark(perfect, rows, 0).gain == pytest.approx(1.0)
    assert mark(perfect, rows, 0).spread == pytest.approx(1.0)
    blank = net(8, "zeros", widths=(8,), code=8, activation="linear")
    assert mark(blank, rows, 0).gain == 0.0
    assert math.isclose(mark(blank, rows, 0).error, float(rows.square().sum(1).mean()), rel_tol=1e-5)


def steps_by_hand(model: Autoencoder, how: Plan, rows: Tensor, batches: list[list[int]]) -> list[float]:
    """The losses of those batches of rows, one step after each at the job's rates."""
    optimizer, losses = how.optimizer(model), []
    for factor, batch in zip(how.factors(), batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * factor
        optimizer.zero_grad()
        loss = (model(rows[batch]).output - rows[batch]).square().sum(1).mean()
        torch.autograd.backward(loss)
        if how.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), how.clip_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_its_steps_are_those_of_the_job_with_its_rates_and_its_clipping(clip_norm: float | None) -> None:
    """All rows are one batch, so that their order does not matter."""
    rows = normal_rows(32, 16)
    how = plan(12, {"name": "sgd", "learning_rate": 0.05}, schedule="linear", clip_norm=clip_norm)
    start = net(16, widths=(12,), code=4, norm="batch", activation="tanh")
    expected = steps_by_hand(copy.deepcopy(start).train(), how, rows, [list(range(32))] * 12)
    found = tried(start.eval(), how, rows)
    assert list(found.losses) == pytest.approx(expected, rel=1e-4)


def test_every_epoch_has_an_order_of_its_own_and_every_row_once() -> None:
    """A linear unit of rate zero tells by the losses which rows came."""
    rows = 2.0 ** torch.arange(8)[:, None]
    model = net(1, "zeros", widths=(1,), code=1, activation="linear")
    still = plan(12, {"name": "sgd", "learning_rate": 1e-30}, batch_size=2)
    losses = [2 * loss for loss in tried(model, still, rows).losses]
    epochs = [losses[:4], losses[4:8], losses[8:]]
    assert all(sum(epoch) == pytest.approx(sum(4.0**power for power in range(8))) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_forecast_is_for_nine_hundred_steps_at_most_and_counts_what_is_left_of_them() -> None:
    rows = normal_rows(64, 16)
    for steps, horizon in ((300, 300), (5000, 900)):
        found = tried(net(16, widths=(12,), code=4), plan(steps, affordable=12), rows)
        assert (found.horizon, found.done, found.ahead) == (horizon, 12.0, horizon - 12.0)


def test_products_are_of_the_job_s_precision() -> None:
    rows = normal_rows(64, 16)
    model = net(16, widths=(12,), code=4)
    whole, half = (
        tried(copy.deepcopy(model), plan(10, precision=precision), rows).losses[0]
        for precision in ("float32", "bfloat16")
    )
    assert half != whole
    assert half == pytest.approx(whole, rel=0.02)


def test_a_mark_is_exact_and_of_the_model_as_it_answers() -> None:
    """In float64, which tells reconstructions apart that float32 does not; with a norm's own statistics."""
    rows = normal_rows(100, 16)
    model = net(16, widths=(12,), code=4, norm="batch").train()
    for _ in range(50):
        model(rows + 1.0)
    with torch.no_grad():
        answered = copy.deepcopy(model).eval().double()(rows.double()).output
    error = float((answered - rows.double()).square().sum(1).mean())
    assert mark(model, rows, 0).error == pytest.approx(error, rel=1e-12)
    plateau = net(16, "zeros", widths=(12,), code=4, activation="linear")
    with torch.no_grad():
        for layer in plateau.layers():
            assert layer.bias is not None
            layer.bias.fill_(1.0)
            assert layer.weight is not None
            layer.weight.fill_(1e-4)
    found = mark(plateau, rows, 0)
    assert 0 < found.spread < 1e-18
    offset = rows + 5.0
    assert abs(mark(plateau, offset, 0).gain) < 1e-9
