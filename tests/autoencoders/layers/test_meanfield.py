"""Wide random layers by quadrature: fixed points, chi, correlations, and critical points to four digits."""

from __future__ import annotations

import math

import pytest
import torch

from autoencoders.layers.activations import activation
from autoencoders.layers.critical import NoCriticalPoint, critical, is_homogeneous, obstacle_to_isometry
from autoencoders.layers.meanfield import (
    chi,
    correlation_map,
    depth_scale,
    fixed_point,
    leaky_correlation,
    variance_map,
)

SMOOTH = ("tanh", "sigmoid", "gelu", "silu", "elu", "selu", "softplus", "sine")


@pytest.mark.parametrize(
    ("bias_variance", "weight_variance", "variance"),
    [(0.001, 1.1892, 0.1073), (0.01, 1.4242, 0.2733), (0.05, 1.7610, 0.5701), (0.1, 1.9861, 0.8058)],
)
def test_the_critical_line_of_tanh(bias_variance: float, weight_variance: float, variance: float) -> None:
    found = critical(torch.tanh, bias_variance=bias_variance)
    assert found.weight_variance == pytest.approx(weight_variance, abs=6e-5)
    # .570048 where a published table has .5701: both are the fourth digit's rounding apart.
    assert found.variance == pytest.approx(variance, abs=1e-4)
    assert found.bias_variance == pytest.approx(bias_variance, rel=1e-9)


@pytest.mark.parametrize(
    ("word", "weight_variance", "bias_variance"),
    [("gelu", 2.1937, 0.0672), ("silu", 2.6352, 0.0625), ("selu", 0.9332, 0.0668), ("elu", 1.4968, 0.0347)],
)
def test_critical_points_at_variance_one(word: str, weight_variance: float, bias_variance: float) -> None:
    found = critical(activation(word).function, q=1.0)
    assert found.variance == 1
    assert found.weight_variance == pytest.approx(weight_variance, abs=6e-5)
    assert found.bias_variance == pytest.approx(bias_variance, abs=6e-5)


@pytest.mark.parametrize(
    ("word", "weight_variance"),
    [("linear", 1), ("relu", 2), ("leaky_relu", 1.9802), ("tailored_leaky_relu", 1)],
)
def test_lines_and_rectifiers_are_critical_without_biases_at_any_variance(
    word: str, weight_variance: float
) -> None:
    function = activation(word).function
    assert is_homogeneous(function)
    for variance in (0.1, 1.0, 7.0):
        found = critical(function, q=variance)
        assert (found.variance, found.bias_variance) == (variance, 0)
        assert found.weight_variance == pytest.approx(weight_variance, abs=6e-5)
    assert critical(function, bias_variance=0.05).bias_variance == 0


def test_no_other_activation_is_taken_for_a_rectifier() -> None:
    assert [word for word in SMOOTH if is_homogeneous(activation(word).function)] == []


def test_the_sigmoid_has_no_usable_critical_point() -> None:
    function = activation("sigmoid").function
    with pytest.raises(NoCriticalPoint, match="variance below zero"):
        critical(function, bias_variance=0.05)
    for q in (0.01, 1.0, 10.0, 30.0):
        with pytest.raises(NoCriticalPoint):
            critical(function, q=q)
    first = critical(function, bias_variance=0.0, largest=100)
    assert first.variance == pytest.approx(45.6, abs=0.05)
    assert first.weight_variance == pytest.approx(103, abs=0.05)
    beyond = critical(function, q=60.0)
    assert beyond.weight_variance == pytest.approx(117.7, abs=0.05)
    assert beyond.bias_variance == pytest.approx(7.0, abs=0.05)


def test_softplus_has_none_up_to_a_thousand() -> None:
    with pytest.raises(NoCriticalPoint):
        critical(activation("softplus").function, bias_variance=0.05, largest=1000)


def test_a_bias_variance_beyond_reach_is_said_to_be_so() -> None:
    with pytest.raises(NoCriticalPoint, match="not 500"):
        critical(torch.tanh, bias_variance=500.0)


def test_a_critical_point_is_asked_for_in_one_way() -> None:
    for given in ({}, {"bias_variance": 0.05, "q": 1.0}):
        with pytest.raises(ValueError, match="bias variance"):
            critical(torch.tanh, **given)


@pytest.mark.parametrize("word", ["tanh", "gelu", "silu", "selu", "elu", "sine"])
def test_at_a_critical_point_variance_stays_and_chi_is_one(word: str) -> None:
    function = activation(word).function
    found = critical(function, bias_variance=0.05)
    after = variance_map(
        function,
        found.variance,
        weight_variance=found.weight_variance,
        bias_variance=found.bias_variance,
    )
    assert after == pytest.approx(found.variance, rel=1e-9)
    assert chi(function, found.weight_variance, found.variance) == pytest.approx(1, rel=1e-9)
    # Chi is also the slope at which rows of correlation 1 part.
    near = 1e-3
    left = 1 - correlation_map(
        function,
        1 - near,
        variance=found.variance,
        weight_variance=found.weight_variance,
        bias_variance=found.bias_variance,
    )
    assert left / near == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 0.056), (15.0, 0.386), (64.0, 0.795)])
def test_chi_of_sigmoid_nets_without_biases(weight: float, expected: float) -> None:
    function = activation("sigmoid").function
    assert chi(function, weight, fixed_point(function, weight)) == pytest.approx(expected, abs=6e-4)


def test_small_normal_weights_leave_a_sigmoid_net_nothing() -> None:
    function = activation("sigmoid").function
    weight = 784 * 0.01**2
    assert chi(function, weight, fixed_point(function, weight)) == pytest.approx(0.005, abs=5e-4)


def test_a_fixed_point_is_where_iterating_leads() -> None:
    for word, weight, bias in (
        ("tanh", 1.761, 0.05),
        ("tanh", 3.0, 0.0),
        ("sigmoid", 15.0, 0.1),
        ("selu", 1.0, 0.0),
    ):
        function, q = activation(word).function, 1.0
        for _ in range(2000):
            q = variance_map(function, q, weight_variance=weight, bias_variance=bias)
        assert fixed_point(function, weight, bias) == pytest.approx(q, rel=1e-6)


def test_fixed_points_at_the_ends() -> None:
    assert fixed_point(torch.tanh, 0.9) == 0
    assert fixed_point(torch.relu, 2.1) == math.inf
    assert fixed_point(torch.relu, 1.9) == 0
    assert fixed_point(torch.relu, 2.0) == 1
    assert fixed_point(torch.relu, 2.0, start=3.0) == 3


def test_depth_scales() -> None:
    assert depth_scale(math.exp(-0.1)) == pytest.approx(10)
    assert depth_scale(math.exp(0.1)) == pytest.approx(10)
    assert depth_scale(1.0) == math.inf
    assert depth_scale(0.0) == 0


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.3, 0.9, 0.99])
def test_the_correlation_map_agrees_with_its_closed_form(slope: float, correlation: float) -> None:
    function = activation("leaky_relu", depth=1).function
    if slope != 0.1:
        function = lambda x: torch.nn.functional.leaky_relu(x, slope)  # noqa: E731
    found = correlation_map(function, correlation, variance=2.0, weight_variance=2 / (1 + slope**2))
    if correlation >= 0:
        assert found == pytest.approx(leaky_correlation(correlation, slope), abs=1e-4)
    else:
        assert -1 <= found <= 1


def test_the_correlation_map_agrees_with_a_sample() -> None:
    z = torch.randn(2, 400_000, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    one, other = z[0], 0.6 * z[0] + 0.8 * z[1]
    products = torch.tanh(one * math.sqrt(0.57)) * torch.tanh(other * math.sqrt(0.57))
    error = 4.5 * 1.761 * float(products.std()) / math.sqrt(400_000) / 0.57
    after = (1.761 * float(products.mean()) + 0.05) / variance_map(
        torch.tanh, 0.57, weight_variance=1.761, bias_variance=0.05
    )
    found = correlation_map(torch.tanh, 0.6, variance=0.57, weight_variance=1.761, bias_variance=0.05)
    assert found == pytest.approx(after, abs=error)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("linear", None),
        ("tanh", None),
        ("sine", None),
        ("relu", "corner"),
        ("leaky_relu", "corner"),
        ("selu", "corner"),
        ("tailored_leaky_relu", "corner"),
        ("elu", "bends"),
        ("gelu", "bends"),
        ("silu", "bends"),
        ("sigmoid", "0.5 at 0"),
        ("softplus", "0.6931 at 0"),
    ],
)
def test_which_activations_allow_isometry(word: str, reason: str | None) -> None:
    found = obstacle_to_isometry(activation(word).function)
    assert (found is None) == (reason is None)
    assert reason is None or (found is not None and reason in found)


def test_a_flat_activation_allows_no_isometry_and_a_hard_tanh_does() -> None:
    assert obstacle_to_isometry(lambda x: x**3) == "is flat at 0"
    assert obstacle_to_isometry(torch.nn.functional.hardtanh) is None
