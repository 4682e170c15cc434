"""A spec's `init`: one choice, or one for each part and for layers by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from pydantic import BaseModel, ValidationError

from autoencoders.errors import SpecRefused
from autoencoders.events import Event, Initialised, Log
from autoencoders.init import InitChoice, InitContext, InitParts, InitPlan, initialize, inits
from autoencoders.init.lift import Inits
from autoencoders.layers.layer import Layer
from autoencoders.models import Autoencoder
from tests.autoencoders.init.nets import context, initialised, net


class Body(BaseModel):
    init: InitPlan


def _read(value: Any) -> InitChoice | InitParts:
    return Body.model_validate({"init": value}).init


def test_a_word_is_short_for_a_choice() -> None:
    assert _read("orthogonal") == _read({"name": "orthogonal"}) == inits.choose("orthogonal")


def test_parts_that_are_left_out_are_he_normal() -> None:
    plan = _read({"encoder": "orthogonal"})
    assert isinstance(plan, InitParts)
    assert plan.encoder.name == "orthogonal"
    assert plan.code.name == plan.decoder.name == "he_normal"


@pytest.mark.parametrize(
    "value",
    [
        "orthogonal",
        {"name": "normal", "std": 0.01, "centre": True},
        {"encoder": "orthogonal", "layers": {"code": {"name": "normal", "std": 0.1}}},
    ],
)
def test_a_plan_survives_json_with_every_parameter_written_out(value: Any) -> None:
    body = Body.model_validate({"init": value})
    assert Body.model_validate_json(body.model_dump_json()) == body
    assert Body.model_validate(body.model_dump(mode="json")) == body
    assert "output_bias" in body.model_dump_json()


@pytest.mark.parametrize(
    ("value", "location"),
    [
        ({"name": "orthogonal", "gain": -1}, ("init", "orthogonal", "gain")),
        ({"name": "normal"}, ("init", "normal", "std")),
        ({"name": "he_normal", "std": 1}, ("init", "he_normal", "std")),
        ({"name": "he_normal", "output_bias": "one"}, ("init", "he_normal", "output_bias")),
        ({"encoder": {"name": "orthogonal", "gain": -1}}, ("init", "encoder", "orthogonal", "gain")),
        ({"layers": {"code": {"name": "normal"}}}, ("init", "layers", "code", "normal", "std")),
        ({"encoder": "orthogonal", "middle": "zeros"}, ("init", "middle")),
        ({"code": "orthogonl"}, ("init", "code")),
        ("orthogonl", ("init",)),
        ({"middle": "zeros"}, ("init",)),
        ({}, ("init",)),
        (5, ("init",)),
        (None, ("init",)),
    ],
)
def test_a_mistake_is_refused_where_it_stands(value: Any, location: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        _read(value)
    assert [error["loc"] for error in refused.value.errors()] == [location]


def test_a_misspelt_word_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValidationError, match="did you mean 'orthogonal'"):
        _read({"encoder": "orthogonl"})


def test_the_schema_shows_both_forms() -> None:
    schema = Body.model_json_schema()
    assert {"InitParts", "InitsOrthogonal"} <= schema["$defs"].keys()
    words, *forms = schema["properties"]["init"]["anyOf"]
    assert "orthogonal" in words["enum"]
    assert "normal" not in words["enum"], "it has a parameter without default"
    assert forms[0]["discriminator"]["propertyName"] == "name"
    assert forms[1] == {"$ref": "#/$defs/InitParts"}


def test_each_part_gets_its_own_and_a_named_layer_before_its_part() -> None:
    model = net()
    initialised(
        model,
        {
            "encoder": {"name": "constant", "value": 1},
            "code": {"name": "constant", "value": 2},
            "decoder": {"name": "constant", "value": 3},
            "layers": {"encoder.1": {"name": "constant", "value": 4}, "decoder.output": "zeros"},
        },
    )
    values = [float(layer.weight.detach().max()) for layer in model.layers() if layer.weight is not None]
    assert values == [1, 4, 2, 3, 3, 0]


def test_a_layer_gets_the_same_weights_however_the_plan_names_it() -> None:
    whole = initialised(net(), "orthogonal")
    parts = initialised(net(), {"encoder": "orthogonal", "layers": {"code": "orthogonal"}})
    for key in ("encoder.0.linear.weight", "encoder.1.linear.weight", "bottleneck.linear.weight"):
        assert torch.equal(whole[key], parts[key])
    assert not torch.equal(whole["decoder.output.weight"], parts["decoder.output.weight"])


def test_events_say_which_part_is_done() -> None:
    model = net()
    plan = {"encoder": "orthogonal", "layers": {"decoder.0": "lecun_normal"}}
    events = [event for event in initialize(model, plan, context(model)) if isinstance(event, Initialised)]
    assert [(event.part, event.word) for event in events] == [
        ("encoder", "orthogonal"),
        ("code", "he_normal"),
        ("decoder", "he_normal"),
        ("decoder.0", "lecun_normal"),
    ]
    assert events[2].detail["layers"] == ["decoder.1", "decoder.output"]


def test_a_layer_that_does_not_exist_is_refused_before_anything_changes() -> None:
    model = net()
    with pytest.raises(SpecRefused) as refused:
        list(initialize(model, {"layers": {"encoder.7": "zeros"}, "encoder": "orthogonal"}, context(model)))
    assert refused.value.problems[0][0] == ("init", "layers", "encoder.7")
    assert "encoder.0, encoder.1, code" in str(refused.value)
    assert all(float(parameter.detach().abs().sum()) == 0 for parameter in model.parameters())


def test_a_word_for_other_architectures_is_a_problem_with_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inits["orthogonal"].traits, "architectures", ("dense_residual",))
    model = net()
    message = "orthogonal is for dense_residual, not for dense"
    assert inits.choose("orthogonal").problems(model) == [((), message)]
    plan = _read({"code": "orthogonal", "layers": {"encoder.0": "orthogonal"}})
    assert plan.problems(model) == [(("code",), message), (("layers", "encoder.0"), message)]


def test_a_word_for_a_whole_model_sees_its_layers_and_yields_what_it_likes() -> None:
    own = Inits("own", base=InitChoice)

    @own.per_model("halves", formula="W = share", warning="a test")
    def halves(
        model: Autoencoder, layers: Sequence[Layer], context: InitContext, *, share: float = 0.5
    ) -> Iterator[Event]:
        """All weights a half."""
        for layer in layers:
            if layer.weight is not None:
                layer.assign(torch.full_like(layer.weight, share))
                yield Log(message=layer.name)

    model = net("tied")
    choice = own.choose("halves", share=0.25)
    events = list(own.call(choice, model, model.layers(), InitContext(seed=0)))
    assert [event.to_json()["message"] for event in events] == [
        "init halves: a test",
        "encoder.0",
        "encoder.1",
        "code",
    ]
    assert all(bool((layer.weight == 0.25).all()) for layer in model.layers() if layer.weight is not None)
    assert own["halves"].describe()["parameters"]["properties"]["share"]["default"] == 0.5
