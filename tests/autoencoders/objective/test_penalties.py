"""Every penalty: the gradient of finite differences, on the scale of the losses, zero where it should be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from autoencoders.models import Autoencoder
from autoencoders.objective import Objective, penalties
from tests.autoencoders import tiny

CHOICES: list[dict[str, Any]] = [
    {"name": "weight_decay", "rate": 0.1},
    {"name": "sparse_kl", "target": 0.1, "rate": 0.5},
    {"name": "activity_l1", "rate": 0.1},
    {"name": "contractive", "rate": 0.1},
]
EVERY_PENALTY = pytest.mark.parametrize("word", CHOICES, ids=lambda word: word["name"])


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_model(**parameters: Any) -> Autoencoder:
    return tiny.model(activation="tanh", **parameters).double()


def batch(count: int = 6) -> Tensor:
    return torch.from_numpy(tiny.rows(count)).double()


def penalty(word: dict[str, Any], model: Autoencoder, rows: Tensor, seed: int = 0) -> Tensor:
    parts = Objective(penalties=[word])(model, rows, stream(seed)).parts
    return parts[word["name"]]


def value(scalar: Tensor) -> float:
    return float(scalar.detach())


def test_every_word_is_under_law() -> None:
    assert {word["name"] for word in CHOICES} == set(penalties.names())


@EVERY_PENALTY
def test_the_gradient_is_that_of_finite_differences(word: dict[str, Any]) -> None:
    model, rows = smooth_model(), batch()
    weight = model.layers()[0].weight
    assert isinstance(weight, torch.nn.Parameter)
    penalty(word, model, rows).backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    for place in [(0, 0), (3, 5), (7, 11)]:
        sides = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[place] += step
            sides.append(value(penalty(word, model, rows)))
            with torch.no_grad():
                weight[place] -= step
        assert float(weight.grad[place]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5, abs=1e-9)


@EVERY_PENALTY
def test_it_is_never_negative_and_its_rate_is_a_factor(word: dict[str, Any]) -> None:
    model, rows = smooth_model(), batch()
    found = value(penalty(word, model, rows))
    assert found > 0
    assert value(penalty({**word, "rate": 3 * word["rate"]}, model, rows)) == pytest.approx(3 * found)


@EVERY_PENALTY
def test_rows_are_averaged(word: dict[str, Any]) -> None:
    model, rows = smooth_model(), batch(500)
    once, twice = (value(penalty(word, model, data)) for data in (rows, torch.cat([rows, rows])))
    # The contractive estimate draws other signs for the second half.
    assert twice == pytest.approx(once, rel=0.1 if word["name"] == "contractive" else 1e-9)


@EVERY_PENALTY
def test_a_model_of_zero_weights_has_no_penalty_but_that_of_being_half_on(word: dict[str, Any]) -> None:
    model = smooth_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = value(penalty(word, model, batch()))
    half_on = 0.1 * torch.tensor(0.1 / 0.5).log() + 0.9 * torch.tensor(0.9 / 0.5).log()
    expected = 0.5 * 3 * float(half_on) if word["name"] == "sparse_kl" else 0.0
    assert found == pytest.approx(expected, abs=1e-6)


def test_sparse_kl_is_zero_where_units_are_on_as_often_as_they_should_be() -> None:
    model = smooth_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        code = next(layer for layer in model.layers() if layer.name == "code")
        assert code.bias is not None
        code.bias.fill_(float(torch.logit(torch.tensor(0.2, dtype=torch.float64))))
    assert value(penalty({"name": "sparse_kl", "target": 0.2, "rate": 1.0}, model, batch())) == pytest.approx(
        0, abs=1e-9
    )


def test_sparse_kl_stays_finite_where_a_unit_is_always_on() -> None:
    model = smooth_model()
    with torch.no_grad():
        code = next(layer for layer in model.layers() if layer.name == "code")
        assert code.bias is not None
        code.bias.fill_(2000.0)
    found = penalty({"name": "sparse_kl", "target": 0.2, "rate": 1.0}, model, batch())
    found.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(found)
    assert all(torch.isfinite(p.grad).all() for p in model.encoder.parameters() if p.grad is not None)


def test_weight_decay_counts_weights_but_no_biases_and_tied_ones_once() -> None:
    for tied in (False, True):
        model = smooth_model(tied=tied)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(1.0)
        weights = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 2)
        assert value(penalty({"name": "weight_decay", "rate": 1.0}, model, batch())) == pytest.approx(
            weights / 2
        )


def test_the_contractive_penalty_is_the_squared_slope_on_average() -> None:
    model, rows = smooth_model(), batch(3)
    slopes = torch.func.vmap(torch.func.jacrev(model.encode))(rows)
    exact = 0.1 * value(slopes.square().sum() / len(rows))
    drawn = torch.stack(
        [penalty({"name": "contractive", "rate": 0.1}, model, rows, seed).detach() for seed in range(400)]
    )
    assert abs(float(drawn.mean()) - exact) < 4.5 * float(drawn.std()) / 20


def test_the_contractive_penalty_reaches_the_encoder_alone() -> None:
    model = smooth_model()
    penalty({"name": "contractive", "rate": 0.1}, model, batch()).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.decoder.parameters())
    weight = model.layers()[0].weight
    assert weight is not None
    assert weight.grad is not None
    assert weight.grad.any()
