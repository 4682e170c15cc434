"""Every optimizer: it goes down, it survives being saved in mid-run, and it respects factors."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autoencoders.optim import optimizers, rate_of, set_rate
from autoencoders.optim.muon import Muon, split_matrices
from autoencoders.optim.optimizers import ramped_momentum
from tests.autoencoders import tiny

CHOICES: list[dict[str, Any]] = [
    {"name": "adam", "learning_rate": 0.02},
    {"name": "adamw", "learning_rate": 0.02},
    {"name": "sgd", "learning_rate": 0.02},
    {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9},
    {"name": "nesterov", "learning_rate": 0.01},
    {"name": "nesterov", "learning_rate": 0.01, "momentum": 0.99, "ramp": True},
    {"name": "rmsprop", "learning_rate": 0.005},
    {"name": "adagrad", "learning_rate": 0.1},
    {"name": "muon", "learning_rate": 0.02, "other_rate": 0.02},
]
EVERY_OPTIMIZER = pytest.mark.parametrize(
    "word", CHOICES, ids=lambda word: "-".join(str(v) for v in word.values())
)


def make(word: Any, module: nn.Module, factors: dict[str, float] | None = None) -> Optimizer:
    made: Optimizer = optimizers.call(optimizers.choose(word), list(module.named_parameters()), factors or {})
    return made


def step(optimizer: Optimizer, loss: Callable[[], Tensor]) -> float:
    def closure() -> float:
        optimizer.zero_grad()
        found = loss()
        found.backward()  # type: ignore[no-untyped-call]
        return float(found.detach())

    return float(optimizer.step(closure))


def net_and_loss(seed: int = 0) -> tuple[nn.Module, Callable[[], Tensor]]:
    model, data = tiny.model(seed=seed), torch.from_numpy(tiny.rows(64))
    return model, lambda: (model(data).output - data).square().sum(1).mean()


class Bowl(nn.Module):
    """A quadratic in a vector and three matrices, of which the one between is a hidden one."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(1)
        self.vector = nn.Parameter(torch.randn(5, generator=draws))
        self.first = nn.Parameter(torch.randn(4, 6, generator=draws))
        self.between = nn.Parameter(torch.randn(4, 4, generator=draws))
        self.last = nn.Parameter(torch.randn(6, 4, generator=draws))

    def forward(self) -> Tensor:
        return torch.stack([(k + 1) * p.square().sum() for k, p in enumerate(self.parameters())]).sum()


def test_every_word_is_under_law() -> None:
    assert {word["name"] for word in CHOICES} == set(optimizers.names())


@EVERY_OPTIMIZER
def test_it_goes_down_a_quadratic(word: Any) -> None:
    bowl = Bowl()
    optimizer = make(word, bowl)
    losses = [step(optimizer, bowl) for _ in range(150)]
    assert losses[-1] < 0.3 * losses[0]


@EVERY_OPTIMIZER
def test_it_trains_a_net(word: Any) -> None:
    model, loss = net_and_loss()
    optimizer = make(word, model)
    losses = [step(optimizer, loss) for _ in range(100)]
    assert losses[-1] < 0.8 * losses[0]


@EVERY_OPTIMIZER
def test_a_run_that_is_saved_and_loaded_goes_on_bit_for_bit(word: Any) -> None:
    undisturbed, loss = net_and_loss()
    optimizer = make(word, undisturbed)
    for _ in range(5):
        step(optimizer, loss)
    file = io.BytesIO()
    torch.save({"model": undisturbed.state_dict(), "optimizer": optimizer.state_dict()}, file)
    for _ in range(5):
        step(optimizer, loss)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed, loss = net_and_loss(seed=1)
    resumed.load_state_dict(saved["model"])
    optimizer = make(word, resumed)
    optimizer.load_state_dict(saved["optimizer"])
    for _ in range(5):
        step(optimizer, loss)
    assert all(torch.equal(a, b) for a, b in zip(undisturbed.parameters(), resumed.parameters(), strict=True))


@EVERY_OPTIMIZER
def test_a_factor_scales_a_parameter_s_rate_and_no_other(word: Any) -> None:
    moves = []
    for factors in ({}, {"first": 0.5}):
        bowl = Bowl()
        before = {name: parameter.detach().clone() for name, parameter in bowl.named_parameters()}
        step(make(word, bowl, factors), bowl)
        moves.append({name: parameter.detach() - before[name] for name, parameter in bowl.named_parameters()})
    plain, factored = moves
    torch.testing.assert_close(factored["first"], 0.5 * plain["first"], rtol=1e-3, atol=1e-6)
    for name in ("vector", "between", "last"):
        torch.testing.assert_close(factored[name], plain[name])


@EVERY_OPTIMIZER
def test_the_schedule_s_factor_reaches_every_group(word: Any) -> None:
    optimizer = make(word, Bowl(), {"first": 0.5})
    full = [group["lr"] for group in optimizer.param_groups]
    set_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25 * rate for rate in full]
    assert rate_of(optimizer) == optimizer.param_groups[0]["lr"]


@EVERY_OPTIMIZER
def test_rates_still_move_after_a_state_was_loaded(word: Any) -> None:
    bowl = Bowl()
    optimizer = make(word, bowl)
    step(optimizer, bowl)
    optimizer.load_state_dict(optimizer.state_dict())
    set_rate(optimizer, 1e-30)
    before = [parameter.detach().clone() for parameter in bowl.parameters()]
    step(optimizer, bowl)
    for parameter, old in zip(bowl.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), old)


@EVERY_OPTIMIZER
def test_the_word_is_written_as_it_is_read(word: Any) -> None:
    choice = optimizers.choose(word)
    assert optimizers.choose(choice.model_dump(mode="json")) == choice


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "nesterov", "adagrad"])
def test_the_fused_kernel_is_used_where_there_is_one(name: str) -> None:
    assert all(group["fused"] for group in make(name, Bowl()).param_groups)


def test_sutskever_s_momentum_rises_every_250_steps() -> None:
    assert ramped_momentum(0, 0.99) == 0.5
    assert ramped_momentum(249, 0.99) == 0.5
    assert ramped_momentum(250, 0.99) == 0.75
    assert ramped_momentum(500, 0.99) == pytest.approx(1 - 1 / 6)
    assert ramped_momentum(10**6, 0.99) == 0.99


def test_the_ramp_is_counted_in_the_state() -> None:
    bowl = Bowl()
    optimizer = make({"name": "nesterov", "momentum": 0.99, "ramp": True, "learning_rate": 1e-6}, bowl)
    for _ in range(251):
        step(optimizer, bowl)
    assert optimizer.state_dict()["param_groups"][0]["taken"] == 251
    assert optimizer.param_groups[0]["momentum"] == 0.75


def test_muon_takes_the_matrices_between_hidden_layers_alone() -> None:
    hidden, others = split_matrices(list(tiny.model().named_parameters()))
    assert [tuple(parameter.shape) for _, parameter in hidden] == [(6, 8), (3, 6), (6, 3), (8, 6)]
    assert {tuple(parameter.shape) for _, parameter in others if parameter.ndim == 2} == {(8, 12), (12, 8)}


def test_muon_keeps_the_code_s_matrix_of_a_tied_net() -> None:
    hidden, _ = split_matrices(list(tiny.model(tied=True).named_parameters()))
    assert [tuple(parameter.shape) for _, parameter in hidden] == [(6, 8), (3, 6)]


def test_muon_moves_a_matrix_by_nearly_equal_singular_values() -> None:
    bowl = Bowl()
    before = bowl.between.detach().clone()
    step(make({"name": "muon", "learning_rate": 1.0}, bowl), bowl)
    values = torch.linalg.svdvals(bowl.between.detach() - before)
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_a_net_without_hidden_matrices_is_trained_by_adamw_alone() -> None:
    linear = nn.Linear(3, 3)
    optimizer = make("muon", linear)
    assert isinstance(optimizer, Muon)
    before = step(optimizer, lambda: linear(torch.ones(1, 3)).square().sum())
    assert step(optimizer, lambda: linear(torch.ones(1, 3)).square().sum()) < before
