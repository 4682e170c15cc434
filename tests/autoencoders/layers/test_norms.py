"""Every norm, put onto a linear map of its own and onto a tied one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from autoencoders.errors import SpecRefused
from autoencoders.layers.layer import Fans, Layer, TiedLinear, blank_linear
from autoencoders.layers.norms import norms, put_norm

WORDS = norms.names()


def _rows(count: int = 64, features: int = 24) -> Tensor:
    return 3 + 2 * torch.randn(count, features, generator=torch.Generator().manual_seed(1))


def _layer(linear: nn.Linear) -> Layer:
    return Layer("encoder.0", "encoder", linear, Fans(linear.in_features, linear.out_features))


def _weight(units: int = 16, inputs: int = 24) -> Tensor:
    return torch.randn(units, inputs, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("word", WORDS)
def test_what_follows_keeps_the_shape(word: str) -> None:
    linear = blank_linear(24, 16)
    norm = put_norm(word, linear)
    _layer(linear).assign(_weight())
    out = linear(_rows()) if norm is None else norm(linear(_rows()))
    assert out.shape == (64, 16)
    assert bool(out.isfinite().all())


@pytest.mark.parametrize(("word", "axes"), [("batch", (0,)), ("layer", (1,)), ("group", (1,)), ("rms", (1,))])
def test_norms_of_activations_standardise(word: str, axes: tuple[int, ...]) -> None:
    linear = blank_linear(24, 16)
    norm = put_norm(norms.choose(word, **({"groups": 1} if word == "group" else {})), linear)
    assert norm is not None
    out = norm(_rows(features=16))
    second = out.square().mean(dim=axes)
    torch.testing.assert_close(second, torch.ones_like(second), atol=1e-3, rtol=0)
    if word != "rms":
        mean = out.mean(dim=axes)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)


def test_group_standardises_within_its_groups() -> None:
    norm = put_norm(norms.choose("group", groups=4), blank_linear(24, 16))
    assert norm is not None
    grouped = norm(_rows(features=16)).view(64, 4, 4)
    torch.testing.assert_close(grouped.mean(2), torch.zeros(64, 4), atol=1e-4, rtol=0)


def test_groups_that_do_not_divide_the_units_are_refused_with_those_that_would() -> None:
    with pytest.raises(
        SpecRefused, match="8 groups do not divide 30 units; 1, 2, 3, 5, 6, 10, 15 would do"
    ) as refused:
        put_norm("group", blank_linear(24, 30))
    assert refused.value.problems[0][0] == ("groups",)


def test_groups_of_one_unit_are_refused_since_they_would_yield_zeros() -> None:
    with pytest.raises(SpecRefused, match="8 groups of 8 units are of one each; 1, 2, 4 would do"):
        put_norm("group", blank_linear(24, 8))


def test_batch_drops_the_bias_that_it_would_cancel() -> None:
    linear = blank_linear(24, 16)
    put_norm("batch", linear)
    assert linear.bias is None


def test_with_the_weight_norm_an_assigned_weight_is_the_effective_one() -> None:
    linear = blank_linear(24, 16)
    put_norm("weight", linear)
    weight = _weight()
    weight[3] = 0
    _layer(linear).assign(weight)
    torch.testing.assert_close(linear.weight, weight)
    linear(_rows()).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in linear.parameters())


def test_the_spectral_norm_keeps_the_direction_and_sets_the_largest_singular_value_to_one() -> None:
    linear = blank_linear(24, 16)
    put_norm("spectral", linear)
    weight = 7 * _weight()
    _layer(linear).assign(weight)
    effective = linear.weight.detach()
    torch.testing.assert_close(effective / effective.norm(), weight / weight.norm())
    assert float(torch.linalg.matrix_norm(effective, 2)) == pytest.approx(1, abs=0.02)


def test_the_spectral_norm_follows_training() -> None:
    linear = blank_linear(24, 16)
    put_norm("spectral", linear)
    _layer(linear).assign(_weight())
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        linear(_rows()).square().mean().backward()
        optimizer.step()
    for _ in range(30):
        linear(_rows())
    linear.eval()
    assert float(torch.linalg.matrix_norm(linear.weight.detach(), 2)) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(linear(_rows()), linear(_rows()), atol=0, rtol=0)


@pytest.mark.parametrize("word", ["none", "weight", "spectral"])
def test_an_assigned_weight_is_a_copy(word: str) -> None:
    linear = blank_linear(24, 16)
    put_norm(word, linear)
    given = _weight().t().contiguous().t()
    _layer(linear).assign(given)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.fill_(5)
    assert torch.equal(given, _weight())
    assert all(value.is_contiguous() for value in linear.state_dict().values())


@pytest.mark.parametrize("word", ["weight", "spectral"])
def test_a_weight_of_zeros_stays_finite(word: str) -> None:
    linear = blank_linear(24, 16)
    put_norm(word, linear)
    _layer(linear).assign(torch.zeros(16, 24))
    assert torch.equal(linear.weight, torch.zeros(16, 24))


@pytest.mark.parametrize("word", ["weight", "spectral"])
def test_a_tied_map_leaves_the_weight_to_its_owner(word: str) -> None:
    owner = blank_linear(24, 16)
    put_norm(word, owner)
    tied = TiedLinear(owner)
    assert put_norm(word, tied) is None
    _layer(owner).assign(_weight())
    owner.eval()
    x = _rows(features=16)
    torch.testing.assert_close(tied(x), x @ owner.weight)


def test_norms_touch_no_global_random_numbers() -> None:
    before = torch.get_rng_state()
    for word in WORDS:
        put_norm(word, blank_linear(24, 16))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("word", WORDS)
def test_every_norm_is_documented(word: str) -> None:
    assert norms[word].summary.endswith(".")
    assert word == "none" or (norms[word].formula and norms[word].reference)
