"""Evaluation: exact, chunked, deterministic, and without a trace on the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autoencoders.objective import Objective
from autoencoders.training import HeldOut, evaluate, row_errors
from tests.autoencoders import tiny


def held_out(count: int = 300, *, resident_bytes: int = 1 << 20, chunk_rows: int | None = None) -> HeldOut:
    made = HeldOut(tiny.rows(count), tiny.identity(), resident_bytes=resident_bytes)
    if chunk_rows:
        made.chunk_rows = chunk_rows
    return made


def test_errors_are_those_of_all_rows_at_once() -> None:
    model, rows = tiny.model(), torch.from_numpy(tiny.rows(300))
    found = evaluate(model, Objective("mse"), held_out())
    squared = (model(rows).output - rows).detach().double().square()
    assert found.error == pytest.approx(float(squared.sum(1).mean()), rel=1e-6)
    assert found.error_per_feature == pytest.approx(squared.mean(0).tolist(), rel=1e-6)
    assert sum(found.error_per_feature) == pytest.approx(found.error)
    assert found.loss == pytest.approx(found.error, rel=1e-6)
    assert found.rows == 300


def test_explained_variance_is_the_share_of_the_rows_own_variance() -> None:
    found = evaluate(tiny.model(), Objective("mse"), held_out())
    variance = float(tiny.rows(300).astype(np.float64).var(0).sum())
    assert found.variance == pytest.approx(variance, rel=1e-6)
    assert found.explained_variance == pytest.approx(1 - found.error / variance, rel=1e-6)


@pytest.mark.parametrize("chunk_rows", [1, 7, 300, 1000])
def test_chunks_change_nothing(chunk_rows: int) -> None:
    whole = evaluate(tiny.model(), Objective("bce"), held_out())
    cut = evaluate(tiny.model(), Objective("bce"), held_out(chunk_rows=chunk_rows))
    assert cut.error == pytest.approx(whole.error, rel=1e-6)
    assert cut.loss == pytest.approx(whole.loss, rel=1e-6)


def test_rows_that_are_not_kept_give_the_same_figures() -> None:
    assert evaluate(tiny.model(), Objective(), held_out(resident_bytes=0)) == evaluate(
        tiny.model(), Objective(), held_out()
    )


def test_looking_twice_shows_the_same() -> None:
    model = tiny.model(norm="batch")
    assert evaluate(model, Objective(), held_out()) == evaluate(model, Objective(), held_out())


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = tiny.model(norm="batch").train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, Objective(), held_out())
    row_errors(model, held_out())
    assert model.training is training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_loss_is_without_corruption_and_penalties() -> None:
    objective = Objective(
        "mse", {"name": "masking", "share": 0.9}, penalties=[{"name": "weight_decay", "rate": 100.0}]
    )
    assert evaluate(tiny.model(), objective, held_out()) == evaluate(tiny.model(), Objective(), held_out())


def test_the_errors_of_rows_average_to_the_error() -> None:
    found = row_errors(tiny.model(), held_out(chunk_rows=64))
    assert found.shape == (300,)
    assert found.dtype == np.float32
    assert float(found.mean()) == pytest.approx(
        evaluate(tiny.model(), Objective(), held_out()).error, rel=1e-5
    )


def test_a_single_row_explains_no_variance() -> None:
    assert evaluate(tiny.model(), Objective(), held_out(1)).explained_variance == 0.0
