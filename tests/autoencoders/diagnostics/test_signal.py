"""What a pass shows of every layer, against closed forms and against autograd."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from autoencoders.diagnostics.prediction import depth_scale, predict
from autoencoders.diagnostics.signal import LayerSignal, Signals, read_signals
from autoencoders.layers.activations import activation
from autoencoders.layers.meanfield import moments
from autoencoders.models import Autoencoder
from autoencoders.objective import Objective
from autoencoders.randomness import generator
from tests.autoencoders.diagnostics.nets import net, normal_rows


def signals(model: Autoencoder, rows: torch.Tensor) -> Signals:
    return read_signals(model, Objective("mse"), rows, generator(0, "pass"))


def layer(found: Signals, name: str) -> LayerSignal:
    return next(item for item in found.layers if item.name == name)


def linear(model: Autoencoder, number: int) -> nn.Linear:
    found = model.layers()[number].module
    assert isinstance(found, nn.Linear)
    return found


@pytest.mark.parametrize("word", ["tanh", "relu", "sigmoid", "gelu"])
def test_in_a_wide_net_the_variance_measured_is_the_one_that_theory_predicts(word: str) -> None:
    width = 1024
    model = net(width, "he_normal", widths=(width, width), code=width, activation=word)
    found = signals(model, normal_rows(128, width))
    expected = predict(model, found.input_second)
    for item in found.layers:
        # Units are independent given the layer below, whose own mean square varies over its units; their
        # kurtosis is at most 9 (a rectifier's square). The errors of the layers before add up.
        spread = 4.5 * math.sqrt(9 / width) * math.sqrt(len(found.layers))
        measured = item.variance + item.mean**2
        assert measured == pytest.approx(expected[item.name].variance, rel=spread)


def test_chi_is_by_how_much_a_small_difference_between_rows_grows() -> None:
    width = 1024
    model = net(width, "glorot_normal", widths=(width, width), code=width, activation="tanh").double()
    rows = normal_rows(16, width).double()
    small = 1e-4 * normal_rows(16, width, seed=1).double()
    chi = predict(model, float(rows.square().mean()))
    one, other = rows, rows + small
    first = linear(model, 0)
    second = linear(model, 1)
    with torch.no_grad():
        before = float((first(one) - first(other)).square().mean())
        after = float((second(torch.tanh(first(one))) - second(torch.tanh(first(other)))).square().mean())
    assert after / before == pytest.approx(chi["encoder.1"].chi, rel=4.5 * math.sqrt(4 / width))
    slope = moments(activation("tanh").function, variance=chi["encoder.0"].variance).derivative_second
    assert chi["encoder.1"].chi == pytest.approx(slope, rel=4.5 * math.sqrt(2) / width)


def test_the_depth_scale_is_that_of_an_exponential_and_endless_at_criticality() -> None:
    assert depth_scale(math.exp(-1 / 7)) == pytest.approx(7.0)
    assert depth_scale(math.exp(1 / 7)) == pytest.approx(7.0)
    assert depth_scale(1.0) is None
    assert depth_scale(0.0) == 0.0


def test_units_that_were_killed_are_counted_as_dead() -> None:
    model = net(widths=(40,), code=5, activation="relu")
    with torch.no_grad():
        linear(model, 0).bias[:10] = -1e3
    found = layer(signals(model, normal_rows(200, 64)), "encoder.0")
    assert found.dead == 0.25
    assert found.saturated > 0.5


def test_code_units_that_say_the_same_of_every_row_are_dead() -> None:
    model = net(widths=(40,), code=5)
    with torch.no_grad():
        model.bottleneck.linear.weight[:2] = 0.0
        model.bottleneck.linear.bias[:2] = 3.0
    assert layer(signals(model, normal_rows(200, 64)), "code").dead == pytest.approx(0.4)


def test_a_sigmoid_is_saturated_where_its_slope_is_a_twentieth_of_a_quarter() -> None:
    model = net(1, "zeros", widths=(1,), code=1, activation="sigmoid")
    with torch.no_grad():
        linear(model, 0).weight.fill_(1.0)
    # s (1 - s) = 1 / 80 at |z| = ln((1 + r) / (1 - r)), r = sqrt(1 - 1 / 20)
    root = math.sqrt(0.95)
    edge = math.log((1 + root) / (1 - root))
    rows = torch.tensor([[0.0], [0.98 * edge], [-0.98 * edge], [1.02 * edge], [-1.02 * edge]])
    assert layer(signals(model, rows), "encoder.0").saturated == pytest.approx(0.4)


def test_gradients_are_those_of_autograd_and_do_not_depend_on_the_number_of_rows() -> None:
    model = net(widths=(40,), code=5, activation="tanh")
    rows = normal_rows(50, 64)
    found = signals(model, rows)
    parameter = linear(model, 0).weight
    model.zero_grad()
    (model(rows).output - rows).square().sum(1).mean().backward()
    assert parameter.grad is not None
    assert layer(found, "encoder.0").gradient == pytest.approx(float(parameter.grad.norm()), rel=1e-5)
    twice = signals(model, rows.repeat(2, 1))
    for one, other in zip(found.layers, twice.layers, strict=True):
        assert one.backward == pytest.approx(other.backward, rel=1e-4)
        assert one.gradient == pytest.approx(other.gradient, rel=1e-4)


def test_a_tied_decoder_has_a_gradient_of_its_own() -> None:
    found = signals(net(widths=(40,), code=5, tied=True), normal_rows(50, 64))
    assert all(item.gradient > 0 for item in found.layers)


def test_what_tells_rows_apart_is_the_variance_between_them() -> None:
    model = net(widths=(40,), code=5)
    with torch.no_grad():
        linear(model, 0).bias.fill_(7.0)
    rows = normal_rows(100, 64)
    found = layer(signals(model, rows), "encoder.0")
    out = linear(model, 0)(rows).detach()
    assert found.between == pytest.approx(float(out.var(0, correction=0).mean()), rel=1e-4)
    assert found.mean == pytest.approx(float(out.mean()), rel=1e-4)
    assert found.variance == pytest.approx(float(out.var(correction=0)), rel=1e-4)


def test_a_unit_that_one_row_moves_is_alive() -> None:
    model = net(widths=(40,), code=5, activation="relu")
    rows = normal_rows(200, 64)
    with torch.no_grad():
        first = linear(model, 0)
        highest = first(rows).topk(2, dim=0).values
        first.bias.sub_(highest.mean(0))
    found = layer(signals(model, rows), "encoder.0")
    assert found.dead == 0.0
    assert found.saturated == pytest.approx(1 - 1 / 200)


def test_the_output_s_sigmoid_is_looked_at_as_well() -> None:
    model = net(widths=(40,), code=5, output="sigmoid")
    output = linear(model, -1)
    with torch.no_grad():
        output.weight[:16], output.bias[:16] = 0.0, 100.0
        output.weight[16:], output.bias[16:] = 0.0, 0.5
    found = layer(signals(model, normal_rows(50, 64)), "decoder.output")
    assert (found.saturated, found.dead) == (0.25, 0.25)


def test_what_the_first_layer_reads_is_measured_around_zero() -> None:
    rows = normal_rows(50, 64) + 3
    found = signals(net(widths=(40,), code=5), rows)
    assert found.input_second == pytest.approx(float(rows.square().mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("architecture", "bias"),
    [
        ({"widths": (512, 512), "code": 512, "activation": "tanh"}, 1.5),
        ({"widths": (512, 512), "code": 512, "activation": "tanh", "norm": "layer"}, 0.3),
        ({"widths": (512, 512), "code": 512, "activation": "tanh", "tied": True}, 1.5),
        ({"name": "dense_residual", "width": 512, "blocks": 2, "code": 512}, 1.5),
    ],
    ids=["plain", "normed", "tied", "residual"],
)
def test_predictions_follow_biases_norms_streams_and_borrowed_weights(
    architecture: dict[str, Any], bias: float
) -> None:
    """Biases that matter, inputs far from 1, branches at twice their strength."""
    model = net(512, "lecun_normal", **architecture)
    with torch.no_grad():
        for one in model.layers():
            if one.bias is not None:
                one.bias.normal_(0, bias, generator=generator(3, one.name))
            if one.branch is not None:
                one.branch.scale.fill_(2.0)
    found = signals(model, 3 * normal_rows(64, 512))
    expected = predict(model, found.input_second)
    decoder = next(place for place, one in enumerate(found.layers) if one.part == "decoder")
    # What a tied layer reads depends on its own weight, of which the theory of the way back knows nothing.
    looked_at = found.layers[: decoder + 1] if architecture.get("tied") else found.layers
    for item in looked_at:
        # The mean square of 512 independent units, and what the layers before have added to its error.
        spread = 4.5 * math.sqrt(2 / 512) * math.sqrt(1 + found.layers.index(item))
        measured = item.variance + item.mean**2
        assert measured == pytest.approx(expected[item.name].variance, rel=min(spread, 0.35)), item.name


def test_a_norm_divides_differences_by_what_it_divides_the_signal_by() -> None:
    model = net(64, "lecun_normal", widths=(48, 32), code=8, activation="tanh", norm="layer")
    with torch.no_grad():
        linear(model, 0).weight.mul_(3)
    found = predict(model, 1.0)
    second = linear(model, 1).weight.detach().double()
    slope = moments(activation("tanh").function, variance=1.0).derivative_second
    strength = 48 * float(second.square().mean())
    assert found["encoder.1"].chi == pytest.approx(strength * slope / found["encoder.0"].variance, rel=1e-6)
