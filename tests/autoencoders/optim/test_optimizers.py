"""Every optimizer: it goes down, it survives being saved in mid-run, and it respects factors."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autoencoders.errors import SpecRefused
from autoencoders.optim import numbers_kept, optimizers, rate_of, set_rate
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
    {"name": "lbfgs"},
    {"name": "soap", "learning_rate": 0.02},
]
ONE_LENGTH_FOR_ALL = {"lbfgs"}
STEPS_BEFORE_A_MOVE = {"soap": 1}
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
    if word["name"] in ONE_LENGTH_FOR_ALL:
        with pytest.raises(SpecRefused, match="needs another optimizer"):
            make(word, Bowl(), {"first": 0.5})
        return
    moves = []
    for factors in ({}, {"first": 0.5}):
        bowl = Bowl()
        before = {name: parameter.detach().clone() for name, parameter in bowl.named_parameters()}
        optimizer = make(word, bowl, factors)
        for _ in range(STEPS_BEFORE_A_MOVE.get(word["name"], 0) + 1):
            step(optimizer, bowl)
        moves.append({name: parameter.detach() - before[name] for name, parameter in bowl.named_parameters()})
    plain, factored = moves
    assert all(move.abs().max() > 1e-4 for move in plain.values())
    torch.testing.assert_close(factored["first"], 0.5 * plain["first"], rtol=1e-3, atol=1e-6)
    for name in ("vector", "between", "last"):
        torch.testing.assert_close(factored[name], plain[name])


@EVERY_OPTIMIZER
def test_the_schedule_s_factor_reaches_every_group(word: Any) -> None:
    optimizer = make(word, Bowl(), {} if word["name"] in ONE_LENGTH_FOR_ALL else {"first": 0.5})
    full = [group["lr"] for group in optimizer.param_groups]
    set_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25 * rate for rate in full]
    first = optimizer.param_groups[0]
    assert rate_of(optimizer) == pytest.approx(first["lr"] / first.get("factor", 1.0))


def test_the_rate_that_is_told_has_no_layer_s_factor_in_it() -> None:
    optimizer = make({"name": "adam", "learning_rate": 0.01}, Bowl(), {"first": 0.5})
    set_rate(optimizer, 0.5)
    assert rate_of(optimizer) == pytest.approx(0.005)


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


def _numbers(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.numel()
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return sum(_numbers(part) for part in parts)


@EVERY_OPTIMIZER
def test_it_keeps_as_many_numbers_as_it_says(word: Any) -> None:
    square, draws = nn.Linear(40, 40, bias=False), torch.Generator().manual_seed(0)
    nn.init.normal_(square.weight, std=0.1, generator=draws)
    data = torch.randn(64, 40, generator=draws)
    optimizer = make(word, square)
    for _ in range(30):
        step(optimizer, lambda: (square(data) - data.roll(1, 0)).square().mean().sqrt())
    kept = _numbers(optimizer.state_dict()) / square.weight.numel()
    # Counts of steps are beside the point, and SOAP's matrices are larger where a weight is not square.
    assert -0.01 < numbers_kept(optimizers.choose(word)) - kept < 4.01


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


class Valley(nn.Module):
    """A quadratic of which one direction is a hundred times as steep as another, for one batch of targets."""

    def __init__(self, features: int = 10) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(features))
        self.steepness = torch.logspace(0, 2, features)

    def loss(self, target: Tensor) -> Tensor:
        return (self.steepness * (self.place - target).square()).sum()


def test_lbfgs_solves_a_quadratic_of_ten_directions_in_four_steps() -> None:
    valley, target = Valley(), torch.linspace(-1, 1, 10)
    optimizer = make({"name": "lbfgs", "iterations": 10}, valley)
    losses = [step(optimizer, lambda: valley.loss(target)) for _ in range(5)]
    assert losses[-1] < 1e-6 * losses[0]


def test_lbfgs_learns_no_curvature_from_the_difference_of_two_batches() -> None:
    valley, draws = Valley(), torch.Generator().manual_seed(3)
    optimizer = make("lbfgs", valley)
    for _ in range(12):
        target = torch.randn(10, generator=draws)
        step(optimizer, lambda target=target: valley.loss(target))  # type: ignore[misc]
        state = optimizer.state[valley.place]
        for move, difference in zip(state["old_stps"], state["old_dirs"], strict=True):
            # float32 differences of gradients of up to some 400.
            torch.testing.assert_close(difference, 2 * valley.steepness * move, rtol=1e-3, atol=1e-3)
    assert len(optimizer.state[valley.place]["old_stps"]) == 10


def test_lbfgs_never_ends_a_batch_above_where_it_began_it() -> None:
    model, loss = net_and_loss()
    optimizer = make("lbfgs", model)
    for _ in range(20):
        before = step(optimizer, loss)
        assert float(loss().detach()) <= before


def test_soap_s_axes_follow_the_gradients() -> None:
    linear, draws = nn.Linear(6, 4, bias=False), torch.Generator().manual_seed(0)
    old, new = (torch.linalg.qr(torch.randn(6, 6, generator=draws))[0] for _ in range(2))
    spread = torch.randn(64, 6, generator=draws) * torch.logspace(0, -2, 6)
    nn.init.normal_(linear.weight, generator=draws)
    optimizer = make({"name": "soap", "every": 1, "learning_rate": 1e-7}, linear)
    for axes, steps in ((old, 1), (new, 100)):
        inputs = spread @ axes.t()
        for _ in range(steps):
            step(optimizer, lambda inputs=inputs: linear(inputs).square().sum(1).mean())  # type: ignore[misc]
        basis = optimizer.state[linear.weight]["Q"][1]
        assert torch.dot(basis[:, 0], axes[:, 0]).abs() > 0.95


def test_soap_s_steps_have_a_root_mean_square_of_one_learning_rate() -> None:
    model, loss = net_and_loss()
    optimizer = make({"name": "soap", "learning_rate": 0.01}, model)
    step(optimizer, loss)
    for number in range(1, 6):
        before = [parameter.detach().clone() for parameter in model.parameters()]
        step(optimizer, loss)
        correction = (1 - 0.95**number) ** -0.5
        for parameter, old in zip(model.parameters(), before, strict=True):
            size = float((parameter.detach() - old).square().mean().sqrt())
            assert size == pytest.approx(0.01 * correction, rel=1e-3)


def test_soap_closes_more_of_a_narrow_net_s_error_than_adam_at_the_same_rate() -> None:
    ends = []
    for word in ("soap", "adam"):
        model, loss = net_and_loss()
        optimizer = make({"name": word, "learning_rate": 0.003}, model)
        ends.append([step(optimizer, loss) for _ in range(200)][-1])
    assert ends[0] < ends[1]


def test_soap_keeps_the_axes_of_a_side_that_is_too_long() -> None:
    linear = nn.Linear(6, 4)
    optimizer = make({"name": "soap", "largest": 5}, linear)
    step(optimizer, lambda: linear(torch.ones(2, 6)).square().sum())
    assert [len(basis) for basis in optimizer.state[linear.weight]["Q"]] == [4, 0]
