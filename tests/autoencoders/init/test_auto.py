"""`auto` is only a schema: it stands for a whole model, and another init takes its place."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from autoencoders.errors import SpecRefused
from autoencoders.init import InitParts, initialize, inits
from tests.autoencoders.init.nets import NETS, context, net


def test_it_is_no_init_of_its_own() -> None:
    model = net()
    with pytest.raises(SpecRefused, match="auto is settled before a model is built") as refused:
        list(initialize(model, "auto", context(model)))
    assert refused.value.problems[0][0] == ("init",)


@pytest.mark.parametrize("name", NETS)
def test_it_stands_for_any_whole_model(name: str) -> None:
    assert inits.choose("auto").problems(net(name)) == []


def test_in_a_part_of_a_model_it_is_refused() -> None:
    parts = InitParts(decoder=inits.choose("auto"), layers={"code": inits.choose("auto")})
    problems = dict(parts.problems(net()))
    assert problems.keys() == {("decoder",), ("layers", "code")}
    assert all(message.startswith("auto chooses for a whole model") for message in problems.values())


@pytest.mark.parametrize("budget", [0.0, -0.1, 1.5])
def test_its_budget_is_a_share_of_the_job(budget: float) -> None:
    with pytest.raises(ValidationError):
        inits.choose("auto", budget=budget)
    assert inits.choose("auto").parameters() == {"budget": 0.05}
