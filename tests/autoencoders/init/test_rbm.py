"""The mathematics of one machine: against enumeration, against quadrature, against the exact gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from autoencoders.init.rbm import ContrastiveDivergence, Rbm, Units, configurations

BOTH: list[tuple[Units, Units]] = [("binary", "binary"), ("gaussian", "binary"), ("binary", "gaussian")]
every_kind = pytest.mark.parametrize(("visible", "hidden"), BOTH, ids="-".join)


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def machine(
    visible_units: int = 6, hidden_units: int = 4, visible: Units = "binary", hidden: Units = "binary"
) -> Rbm:
    """A machine in double precision whose weights and biases are far from zero."""
    draws = stream(3)

    def drawn(*shape: int, scale: float) -> Tensor:
        return scale * torch.randn(*shape, generator=draws, dtype=torch.float64)

    weight = drawn(hidden_units, visible_units, scale=0.7)
    return Rbm(weight, drawn(visible_units, scale=0.5), drawn(hidden_units, scale=0.5), visible, hidden)


def some_rows(rbm: Rbm, count: int = 5) -> Tensor:
    drawn = torch.randn(count, len(rbm.visible_bias), generator=stream(4), dtype=torch.float64)
    return drawn if rbm.visible == "gaussian" else (drawn > 0).double()


def log_likelihood(rbm: Rbm, rows: Tensor) -> Tensor:
    return -rbm.free_energy(rows).mean() - rbm.log_partition()


def exact_gradient(rbm: Rbm, rows: Tensor) -> tuple[Tensor, ...]:
    tensors = [one.clone().requires_grad_() for one in (rbm.weight, rbm.visible_bias, rbm.hidden_bias)]
    changed = Rbm(tensors[0], tensors[1], tensors[2], rbm.visible, rbm.hidden)
    return torch.autograd.grad(log_likelihood(changed, rows), tensors)


def flat(gradient: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([part.flatten() for part in gradient])


@pytest.mark.parametrize("visible", ["binary", "gaussian"])
def test_the_free_energy_sums_over_all_states_of_ten_hidden_units(visible: Units) -> None:
    rbm = machine(7, 10, visible)
    states = configurations(10, rbm.weight)
    assert len(states) == len({tuple(state.tolist()) for state in states}) == 1024
    for row in some_rows(rbm):
        summed = -torch.logsumexp(-rbm.energy(row.expand(1024, -1), states), dim=0)
        torch.testing.assert_close(rbm.free_energy(row[None])[0], summed)


def test_the_partition_function_sums_over_all_states_of_both_sides() -> None:
    for shape in ((6, 10), (10, 6)):
        rbm = machine(*shape)
        visible, hidden = (configurations(units, rbm.weight) for units in shape)
        energies = torch.stack([rbm.energy(visible, state.expand(len(visible), -1)) for state in hidden])
        torch.testing.assert_close(rbm.log_partition(), torch.logsumexp(-energies.flatten(), dim=0))
        # Summed over the rows instead: the probabilities of all rows add up to 1.
        torch.testing.assert_close(
            torch.exp(-rbm.free_energy(visible) - rbm.log_partition()).sum(), torch.ones(()).double()
        )


@pytest.mark.parametrize(("visible", "hidden"), BOTH[1:])
def test_a_gaussian_side_is_integrated_as_a_quadrature_integrates_it(visible: Units, hidden: Units) -> None:
    gaussian_is_visible = visible == "gaussian"
    rbm = machine(1 if gaussian_is_visible else 5, 10 if gaussian_is_visible else 1, visible, hidden)
    line = torch.linspace(-30, 30, 20_001, dtype=torch.float64)[:, None]
    step = float(line[1] - line[0])
    free = rbm.free_energy(line) if gaussian_is_visible else rbm.hidden_free_energy(line)
    torch.testing.assert_close(rbm.log_partition(), torch.logsumexp(-free, dim=0) + math.log(step))


def test_what_cannot_be_written_out_is_refused() -> None:
    with pytest.raises(ValueError, match="too many configurations"):
        machine(30, 25).log_partition()
    with pytest.raises(ValueError, match="must be binary"):
        machine(3, 3, "gaussian", "gaussian").log_partition()


@every_kind
def test_means_are_those_of_the_joint_law(visible: Units, hidden: Units) -> None:
    rbm = machine(visible=visible, hidden=hidden)
    if hidden == "binary":
        states, row = configurations(4, rbm.weight), some_rows(rbm)[:1]
        shares = torch.softmax(-rbm.energy(row.expand(16, -1), states), dim=0)
        torch.testing.assert_close(rbm.hidden_mean(row)[0], shares @ states)
    if visible == "binary":
        states, code = configurations(6, rbm.weight), torch.randn(1, 4, generator=stream(8)).double()
        code = code if hidden == "gaussian" else (code > 0).double()
        shares = torch.softmax(-rbm.energy(states, code.expand(64, -1)), dim=0)
        torch.testing.assert_close(rbm.visible_mean(code)[0], shares @ states)


def estimated(rbm: Rbm, rows: Tensor, *, steps: int, persistent: bool = False) -> tuple[Tensor, Tensor]:
    """The estimate of 40 rounds with 300 chains of every row, and its standard error."""
    many = rows.repeat_interleave(300, dim=0)
    trainer = ContrastiveDivergence(rbm, stream(1), steps=steps, persistent=persistent)
    if persistent:
        trainer.gradient(many)
    rounds = torch.stack([flat(trainer.gradient(many)) for _ in range(40)])
    return rounds.mean(dim=0), rounds.std(dim=0) / math.sqrt(40)


@every_kind
def test_contrastive_divergence_tends_to_the_exact_gradient_as_steps_grow(
    visible: Units, hidden: Units
) -> None:
    rbm = machine(visible=visible, hidden=hidden)
    if (visible, hidden) == ("binary", "binary"):
        rbm.weight.mul_(2)  # or it would have mixed after two steps
    rows = some_rows(rbm)
    exact = flat(exact_gradient(rbm, rows))
    found, spread, distances = exact, exact, []
    for steps in (1, 2, 6, 40):
        found, spread = estimated(rbm, rows, steps=steps)
        distances.append(float((found - exact).norm()))
    assert distances[0] > 2 * distances[1] > 4 * distances[2]
    # By the 40th step what is left of the start is below a thousandth; all else is the chance of the draws.
    assert bool(((found - exact).abs() <= 4.5 * spread + 1e-3).all())


@every_kind
def test_persistent_chains_reach_the_exact_gradient_by_single_steps(visible: Units, hidden: Units) -> None:
    rbm = machine(visible=visible, hidden=hidden)
    rbm.weight.mul_(0.5)
    rows = some_rows(rbm)
    trainer = ContrastiveDivergence(rbm, stream(2), persistent=True)
    many = rows.repeat_interleave(300, dim=0)
    for _ in range(100):
        trainer.gradient(many)
    # Ten steps lie between any two rounds that are averaged: by then chains have forgotten where they were.
    rounds = torch.stack([flat(trainer.gradient(many)) for _ in range(400)])[::10]
    spread = rounds.std(dim=0) / math.sqrt(40)
    exact = flat(exact_gradient(rbm, rows))
    assert bool(((rounds.mean(dim=0) - exact).abs() <= 4.5 * 1.2 * spread + 1e-6).all())


@every_kind
def test_one_step_points_uphill(visible: Units, hidden: Units) -> None:
    rbm = machine(visible=visible, hidden=hidden)
    rows = some_rows(rbm)
    found, _ = estimated(rbm, rows, steps=1)
    exact = flat(exact_gradient(rbm, rows))
    assert float(torch.cosine_similarity(found, exact, dim=0)) > 0.8


def certain_machine() -> tuple[Rbm, Tensor]:
    """A machine whose hidden units are certain, so that drawing them is no matter of chance."""
    rbm = machine()
    rbm.hidden_bias.copy_(torch.tensor([100.0, -100.0, 100.0, -100.0]))
    return rbm, some_rows(rbm, 7)


def test_one_step_is_that_of_the_released_code() -> None:
    rbm, rows = certain_machine()
    h0 = rbm.hidden_mean(rows)
    v1 = rbm.visible_mean((h0 > 0.5).double())  # probabilities, not samples
    h1 = rbm.hidden_mean(v1)
    weight, b, c = ContrastiveDivergence(rbm, stream(0)).gradient(rows)
    torch.testing.assert_close(weight, (h0.t() @ rows - h1.t() @ v1) / 7)
    torch.testing.assert_close(b, (rows - v1).mean(dim=0))
    torch.testing.assert_close(c, (h0 - h1).mean(dim=0))


def test_updates_have_momentum_and_weights_a_cost() -> None:
    rbm, twin = machine(), machine()
    rows = some_rows(rbm, 7)
    # The twin draws the same states: its gradient is the one that the step will find.
    trainer = ContrastiveDivergence(rbm, stream(0), learning_rate=0.1, weight_cost=0.01)
    looking = ContrastiveDivergence(twin, stream(0))
    tensors = (rbm.weight, rbm.visible_bias, rbm.hidden_bias)
    velocities = [torch.zeros_like(one) for one in tensors]
    for momentum in (0.5, 0.5, 0.9):
        gradient = looking.gradient(rows)
        costs = [0.01 * rbm.weight, torch.zeros_like(rbm.visible_bias), torch.zeros_like(rbm.hidden_bias)]
        velocities = [
            momentum * v + 0.1 * (g - cost) for v, g, cost in zip(velocities, gradient, costs, strict=True)
        ]
        expected = [one + v for one, v in zip(tensors, velocities, strict=True)]
        trainer.step(rows, momentum)
        torch.testing.assert_close(list(tensors), expected)
        for own, learned in zip((twin.weight, twin.visible_bias, twin.hidden_bias), tensors, strict=True):
            own.copy_(learned)


def test_a_step_says_how_far_the_reconstruction_was() -> None:
    rbm, rows = certain_machine()
    reconstructed = rbm.visible_mean((rbm.hidden_mean(rows) > 0.5).double())
    squared = ContrastiveDivergence(rbm, stream(0)).step(rows, 0.5)
    torch.testing.assert_close(squared, (rows - reconstructed).square().sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_binary_states_are_drawn_with_the_probabilities_that_they_have(dtype: torch.dtype) -> None:
    """Through the visible units: hidden ones are certain, and the visible means run from 0 to 1."""
    shares = torch.cat([torch.linspace(0.001, 0.999, 201), torch.tensor([0.0, 1.0])])
    zeros = torch.zeros(1, 203, dtype=dtype)
    rbm = Rbm(zeros, torch.logit(shares).to(dtype), zeros[0, :1].clone())
    trainer = ContrastiveDivergence(rbm, stream(7), steps=2)
    count = 20_000
    rows = torch.zeros(count, 203, dtype=dtype)
    drawn = -trainer.gradient(rows)[1]
    spread = (shares * (1 - shares) / count).sqrt()
    assert bool(((drawn - shares).abs() <= 4.5 * spread + 1e-6).all())


def test_a_batch_of_another_size_goes_on_with_as_many_chains() -> None:
    rbm = machine()
    trainer = ContrastiveDivergence(rbm, stream(0), persistent=True)
    for count in (3, 5, 2, 5):
        assert bool(trainer.step(some_rows(rbm, count), 0.5).isfinite())


def test_the_same_generator_gives_the_same_machine() -> None:
    def trained(seed: int) -> Tensor:
        rbm = Rbm.drawn(6, 4, stream(0))
        trainer = ContrastiveDivergence(rbm, stream(seed))
        for _ in range(3):
            trainer.step(some_rows(rbm).float(), 0.5)
        return rbm.weight

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))
