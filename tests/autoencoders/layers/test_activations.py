"""Every activation: its exact gains, its gradients, and the slope that is tailored to a depth."""

from __future__ import annotations

import math
from typing import Annotated

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from autoencoders.catalog import Choice
from autoencoders.layers.activations import activation, activations
from autoencoders.layers.meanfield import moments

# E phi, E phi^2, Var phi, E phi'^2, forward, centred and backward gain
GAINS: dict[str, tuple[float, ...]] = {
    "linear": (0, 1, 1, 1, 1, 1, 1),
    "relu": (0.3989, 0.5, 0.3408, 0.5, 1.4142, 1.7129, 1.4142),
    "leaky_relu": (0.3590, 0.5050, 0.3761, 0.5050, 1.4072, 1.6306, 1.4072),
    "tanh": (0, 0.3943, 0.3943, 0.4644, 1.5925, 1.5925, 1.4674),
    "sigmoid": (0.5, 0.2934, 0.0434, 0.0448, 1.8462, 4.8013, 4.7226),
    "selu": (0, 1, 1, 1.0716, 1, 1, 0.9660),
    "elu": (0.1605, 0.6449, 0.6192, 0.6681, 1.2452, 1.2708, 1.2234),
    "gelu": (0.2821, 0.4252, 0.3456, 0.4559, 1.5335, 1.7009, 1.4811),
    "silu": (0.2066, 0.3558, 0.3131, 0.3795, 1.6765, 1.7872, 1.6233),
    "softplus": (0.8061, 0.9212, 0.2715, 0.2934, 1.0419, 1.9191, 1.8462),
    # Closed forms: E sin^2(z) = (1 - e^-2) / 2, E cos^2(z) = (1 + e^-2) / 2.
    "sine": (0, 0.4323, 0.4323, 0.5677, 1.5209, 1.5209, 1.3272),
    # A rectifier times sqrt(2), as long as the net is not deep.
    "tailored_leaky_relu": (0.5642, 1, 0.6817, 1, 1, 1.2112, 1),
}

WORDS = activations.names()


def test_the_gain_table_knows_every_word() -> None:
    assert set(GAINS) == set(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_gains_are_exact_to_four_digits(word: str) -> None:
    made = activation(word)
    found = made.moments
    values = (
        *(found.mean, found.second, found.variance, found.derivative_second),
        *(made.forward_gain, made.centred_gain, made.backward_gain),
    )
    assert values == pytest.approx(GAINS[word], abs=6e-5)


@pytest.mark.parametrize("word", WORDS)
def test_gains_agree_with_a_sample(word: str) -> None:
    made = activation(word)
    z = torch.randn(400_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    square = made(z).square()
    error = float(square.std()) / math.sqrt(len(z))
    assert float(square.mean()) == pytest.approx(made.moments.second, abs=4.5 * error + 1e-9)


@pytest.mark.parametrize("word", WORDS)
def test_an_activation_is_elementwise_smooth_to_autograd_and_without_state(word: str) -> None:
    made = activation(word, depth=4)
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = made(x)
    out.sum().backward()
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert not made.state_dict()
    assert word in repr(made)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_documented(word: str) -> None:
    entry = activations[word]
    assert entry.summary.endswith(".")
    assert entry.formula
    assert entry.reference or word == "linear"


def test_parameters_change_the_gain_that_they_should() -> None:
    leaky = activation(activations.choose("leaky_relu", slope=0.5))
    assert leaky.forward_gain == pytest.approx(math.sqrt(2 / (1 + 0.25)), rel=1e-9)
    fast = activation(activations.choose("sine", omega=30.0))
    assert fast.moments.second == pytest.approx((1 - math.exp(-2 * 900)) / 2, rel=1e-6)
    assert activation(activations.choose("elu", alpha=2.0)).forward_gain != activation("elu").forward_gain


@pytest.mark.parametrize("omega", [0.1, 1.0, 10.0, 100.0])
def test_quadrature_follows_fast_sines(omega: float) -> None:
    made = activation(activations.choose("sine", omega=omega)).moments
    closed = math.exp(-2 * omega**2)
    assert made.second == pytest.approx((1 - closed) / 2, rel=1e-6)
    assert made.derivative_second == pytest.approx(omega**2 * (1 + closed) / 2, rel=1e-6)


def test_gains_can_be_asked_for_while_serving() -> None:
    with torch.inference_mode():
        assert activation("relu").forward_gain == pytest.approx(math.sqrt(2), rel=1e-9)


@pytest.mark.parametrize(
    ("value", "location"),
    [
        ({"name": "leaky_relu", "slope": 1.5}, ("leaky_relu", "slope")),
        ({"name": "sine", "omega": 0}, ("sine", "omega")),
        ({"name": "relu", "slope": 0.1}, ("relu", "slope")),
    ],
)
def test_a_wrong_parameter_is_refused_where_it_stands(value: object, location: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(Annotated[Choice, activations]).validate_python(value)
    assert refused.value.errors()[0]["loc"] == location


@pytest.mark.parametrize(("depth", "slope"), [(8, 0.0), (10, 0.0), (20, 0.1814), (50, 0.4305), (100, 0.5704)])
def test_the_tailored_slope_is_solved_from_the_depth(depth: int, slope: float) -> None:
    made = activation("tailored_leaky_relu", depth=depth)
    assert made.forward_gain == pytest.approx(1, rel=1e-9)
    low, high = (float(made(torch.tensor(x, dtype=torch.float64))) for x in (-1.0, 1.0))
    assert -low / high == pytest.approx(slope, abs=6e-5)


def test_gaussian_integrals_hold_at_any_variance() -> None:
    found = moments(torch.nn.functional.relu, variance=4.0)
    assert found.second == pytest.approx(2.0, rel=1e-9)
    assert found.mean == pytest.approx(2 / math.sqrt(2 * math.pi), rel=1e-9)
    assert found.derivative_second == pytest.approx(0.5, rel=1e-9)
    assert moments(lambda x: 0 * x).forward_gain == math.inf
