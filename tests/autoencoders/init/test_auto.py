"""`auto` is only a schema: it stands for a whole model, and another init takes its place."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from autoencoders import build
from autoencoders.data.manifest import Facts
from autoencoders.errors import SpecRefused
from autoencoders.init import InitParts, initialize, inits
from autoencoders.spec import Spec
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


def test_it_says_about_how_many_steps_it_takes() -> None:
    auto = inits.choose("auto")
    # A job that is shorter than the shortest race is run as often as there are finalists.
    assert [auto.trial_steps(steps) for steps in (50, 5000, 100_000)] == [300, 1200, 5000]
    assert inits.choose("lsuv").trial_steps(5000) == 0


@pytest.mark.parametrize(("epochs", "share"), [(10, 6), (5000, 0.05)])
def test_an_estimate_counts_what_choosing_takes(epochs: int, share: float) -> None:
    facts = Facts(
        shape=(12,), dtype="float32", rows=320, training_rows=320, held_out_rows=0, minimum=0.0, maximum=1.0
    )

    def flops(init: str) -> float:
        words = {"code": 3, "init": init, "training": {"epochs": epochs, "batch_size": 32}}
        return build.estimate(Spec.model_validate(words).resolve(facts), facts, window_bytes=0).flops

    assert flops("auto") == pytest.approx((1 + share) * flops("he_normal"))
