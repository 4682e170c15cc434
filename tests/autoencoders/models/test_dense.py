"""The dense autoencoder: its widths, what tied means, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from autoencoders.errors import SpecRefused
from autoencoders.init import InitContext, initialize
from autoencoders.models import Autoencoder, architectures
from autoencoders.models.dense import geometric_widths


def _dense(shape: tuple[int, ...] = (64,), **parameters: Any) -> Autoencoder:
    made: Autoencoder = architectures.call(architectures.choose("dense", **parameters), shape)
    return made


@pytest.mark.parametrize(
    ("features", "code", "widths"),
    [
        (784, 30, (344, 152, 64)),
        (64, 8, (40, 24, 16)),
        (64, 2, (24, 11, 5)),
        (8, 2, (6, 4, 3)),
        (1, 1, (1, 1, 1)),
        (15, 14, (15, 14, 14)),
        (8, 128, (16, 32, 64)),
    ],
)
def test_widths_go_in_geometric_steps(features: int, code: int, widths: tuple[int, ...]) -> None:
    assert geometric_widths(features, code) == widths


def test_unset_widths_become_three_layers_and_their_mirror() -> None:
    sizes = [(layer.name, layer.inputs, layer.outputs) for layer in _dense(code=8).layers()]
    assert sizes == [
        ("encoder.0", 64, 40),
        ("encoder.1", 40, 24),
        ("encoder.2", 24, 16),
        ("code", 16, 8),
        ("decoder.0", 8, 16),
        ("decoder.1", 16, 24),
        ("decoder.2", 24, 40),
        ("decoder.output", 40, 64),
    ]


def test_code_and_first_decoder_layer_know_what_feeds_them() -> None:
    layers = {layer.name: layer for layer in _dense(code=8, activation="tanh").layers()}
    assert layers["code"].fed_by is not None
    assert layers["code"].gain == pytest.approx(1.5925, abs=1e-4)
    assert layers["decoder.0"].fed_by is None
    assert layers["decoder.0"].gain == 1
    assert layers["decoder.output"].fed_by is not None


def test_a_tailored_slope_is_solved_for_the_nets_own_depth() -> None:
    deep = _dense(code=2, widths=[8] * 10, activation="tailored_leaky_relu")
    assert all("slope 0.1814" in repr(layer.fed_by) for layer in deep.layers() if layer.fed_by is not None)


def test_tied_means_that_the_decoders_weights_are_the_encoders_transposed() -> None:
    model = _dense(code=8, tied=True, activation="linear", widths=(16,))
    list(initialize(model, {"name": "normal", "std": 0.3}, InitContext(seed=1)))
    first, bottom = model.layers()[0].weight, model.layers()[1].weight
    assert first is not None
    assert bottom is not None
    z = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.decode(z), z @ bottom @ first)
    names = [name for name, _ in model.named_parameters()]
    assert not [name for name in names if name.startswith("decoder") and name.endswith("weight")]
    assert [layer.weight is None for layer in model.layers()] == [False, False, True, True]
    with pytest.raises(ValueError, match="no weight of its own"):
        model.layers()[2].assign(torch.zeros(16, 8))


def test_tied_weights_stay_tied_after_a_step() -> None:
    model = _dense(code=8, tied=True, activation="linear", widths=(16,))
    list(initialize(model, "orthogonal", InitContext(seed=1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    (model(x).output - x).square().mean().backward()
    optimizer.step()
    state = model.state_dict()
    expected = x @ state["encoder.0.linear.weight"].T + state["encoder.0.linear.bias"]
    expected = expected @ state["bottleneck.linear.weight"].T + state["bottleneck.linear.bias"]
    expected = expected @ state["bottleneck.linear.weight"] + state["decoder.0.linear.bias"]
    expected = expected @ state["encoder.0.linear.weight"] + state["decoder.output.bias"]
    torch.testing.assert_close(model(x).output, expected)


def test_the_output_is_linear_unless_the_spec_knows_better() -> None:
    assert _dense(code=2).output_activation == "linear"
    assert _dense(code=2, output="sigmoid").output_activation == "sigmoid"


def test_a_row_of_any_shape_is_flat_to_it() -> None:
    assert _dense((3, 4, 5), code=2).features == 60


def test_groups_are_refused_for_every_width_that_they_do_not_divide() -> None:
    with pytest.raises(SpecRefused) as refused:
        _dense(code=2, widths=(33, 16, 20), norm="group")
    assert [location for location, _ in refused.value.problems] == [("architecture", "norm", "groups")] * 2
    assert "33 units" in str(refused.value)
    assert "20 units" in str(refused.value)


@pytest.mark.parametrize(
    ("parameters", "location"),
    [
        ({}, ("code",)),
        ({"code": 8, "widths": []}, ("widths",)),
        ({"code": 8, "widths": [0]}, ("widths", 0)),
        ({"code": 8, "width": [8]}, ("width",)),
        (
            {"code": 8, "activation": {"name": "leaky_relu", "slope": -1}},
            ("activation", "leaky_relu", "slope"),
        ),
        ({"code": 8, "norm": "bach"}, ("norm",)),
        ({"code": 8, "output": "tanh"}, ("output",)),
    ],
)
def test_a_wrong_parameter_is_refused_where_it_stands(
    parameters: dict[str, Any], location: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as refused:
        architectures.choose("dense", **parameters)
    assert refused.value.errors()[0]["loc"] == location


def test_nothing_hidden_is_kept_unless_it_is_asked_for() -> None:
    model = _dense(code=2)
    x = torch.zeros(3, 64)
    assert model(x).hidden == ()
    assert len(model(x, keep_hidden=True).hidden) == 6
    assert not any(module._forward_hooks for module in model.modules())
