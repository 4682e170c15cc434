"""Inits of critical points: what they refuse, and what they warn of."""

from __future__ import annotations

from typing import Any

import pytest

from autoencoders.events import Warned
from autoencoders.init import initialize, inits
from tests.autoencoders.init.nets import context, net


def _reason(choice: dict[str, Any], name: str, **options: Any) -> str:
    ((location, message),) = inits.choose(choice).problems(net(name, **options))
    assert location == ()
    return message


def test_a_sigmoid_net_has_no_edge_of_chaos_and_is_told_why() -> None:
    message = _reason({"name": "edge_of_chaos"}, "sigmoid")
    assert message.startswith("edge_of_chaos cannot be had with sigmoid: up to q = 30")
    assert "variance below zero" in message
    assert "softplus" in _reason({"name": "edge_of_chaos"}, "wide", activation="softplus")


def test_the_reason_names_the_biases_that_a_q_would_need() -> None:
    assert "variance -" in _reason({"name": "edge_of_chaos", "q": 1.0}, "sigmoid")


def test_where_only_the_first_layer_is_owned_the_activation_after_it_decides() -> None:
    model = net("sigmoid")
    assert inits.choose("edge_of_chaos").refusals(model, model.layers()[:1])


def test_a_bias_variance_and_a_q_are_not_given_together() -> None:
    message = _reason({"name": "edge_of_chaos", "q": 1.0, "bias_variance": 0.1}, "deep tanh")
    assert "bias_variance or a q" in message


@pytest.mark.parametrize(("activation", "repels"), [("gelu", True), ("silu", True), ("tanh", False)])
def test_a_critical_point_that_repels_is_warned_of(activation: str, repels: bool) -> None:
    model = net("deep tanh", activation=activation)
    events = list(initialize(model, "edge_of_chaos", context(model)))
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert [activation in message and "repels" in message for message in warned] == [True] * repels


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"activation": "relu"}, "corner at 0"),
        ({"activation": "gelu"}, "bends at 0"),
        ({"activation": "sigmoid"}, "is 0.5 at 0"),
        ({"tied": True}, "tied"),
        ({"norm": "layer"}, "norm"),
    ],
)
def test_isometry_says_what_makes_it_impossible(options: dict[str, Any], reason: str) -> None:
    assert reason in _reason({"name": "isometry"}, "deep tanh", **options)


def test_isometry_is_not_for_residual_nets() -> None:
    assert "residual" in _reason({"name": "isometry"}, "residual", activation="tanh")


def test_random_walk_is_for_lines_and_rectifiers() -> None:
    assert "lines and rectifiers" in _reason({"name": "random_walk"}, "deep tanh")


def test_delta_orthogonal_needs_a_convolution_among_its_own_layers() -> None:
    model = net("convolutional")
    code = [layer for layer in model.layers() if layer.part == "code"]
    choice = inits.choose("delta_orthogonal")
    assert choice.problems(model) == []
    assert "convolutions" in choice.refusals(model, code)[0][1]
