"""The laws of every init: a new word is under them on the day it is written.

What all words share stands here; what each one promises, in `laws`.
"""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from pydantic import BaseModel

from autoencoders.events import Initialised, Warned
from autoencoders.init import InitChoice, InitPlan, initialize, inits
from autoencoders.init.apply import apply_word
from tests.autoencoders.init.laws import (
    LAWS,
    OWN_BIASES,
    VARIANTS,
    WITHOUT_CHANCE,
    Law,
    Trial,
    choose,
)
from tests.autoencoders.init.nets import NETS, context, initialised, net, same, suits

WORDS = [entry.name for entry in inits if not entry.traits.get("settled")]
"""Those that initialise; what is settled before a model is built is under `test_auto.py`."""
CHOICES = [choose(word) for word in WORDS]
EVERY = [*CHOICES, *(inits.choose(variant) for variant in VARIANTS)]
MEANT = {choice.name: [name for name in NETS if suits(choice, name)] for choice in CHOICES}


def _name(choice: InitChoice) -> str:
    return "-".join(
        [choice.name, *(f"{value}" for value in choice.parameters().values() if value is not None)]
    )


def _on_nets(choices: list[InitChoice]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("choice", "name"),
        [
            pytest.param(choice, name, id=f"{_name(choice)}-{name}")
            for choice in choices
            for name in MEANT[choice.name]
        ],
    )


def _a_net(choice: InitChoice) -> str:
    """The first net that the word is meant for."""
    return MEANT[choice.name][0]


every_word = pytest.mark.parametrize("choice", CHOICES, ids=_name)
every_choice = pytest.mark.parametrize("choice", EVERY, ids=_name)
every_word_on_every_net = _on_nets(CHOICES)
every_choice_on_every_net = _on_nets(EVERY)


class Body(BaseModel):
    init: InitPlan


def _laws(choice: InitChoice, name: str) -> list[Law]:
    return [law for law in LAWS if choice.name in law.words and name in (law.nets or MEANT[choice.name])]


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        pytest.param(choice, name, id=f"{_name(choice)}-{name}")
        for choice in EVERY
        for name in NETS
        if _laws(choice, name)
    ],
)
def test_it_keeps_what_it_claims(choice: InitChoice, name: str) -> None:
    trial = Trial(choice, name)
    for law in _laws(choice, name):
        law.check(trial)


@every_word
def test_it_has_a_law_of_its_own_and_a_net_to_show_it_on(choice: InitChoice) -> None:
    assert any(choice.name in law.words for law in LAWS)
    assert MEANT[choice.name]


@every_word
def test_where_it_is_not_meant_it_says_why(choice: InitChoice) -> None:
    for name in NETS.keys() - set(MEANT[choice.name]):
        ((location, message),) = choice.problems(net(name))
        assert location == ()
        assert message.startswith(f"{choice.name} ")
        assert len(message) > len(choice.name) + 10


@every_word_on_every_net
def test_the_same_seed_gives_the_same_weights_and_another_others(choice: InitChoice, name: str) -> None:
    first = initialised(net(name), choice, seed=3)
    assert same(first, initialised(net(name), choice, seed=3))
    assert same(first, initialised(net(name), choice, seed=4)) == (choice.name in WITHOUT_CHANCE)


@every_choice_on_every_net
def test_it_leaves_finite_tensors_of_the_same_kind(choice: InitChoice, name: str) -> None:
    model = net(name)
    before = {key: (id(p), p.dtype, p.device, p.requires_grad) for key, p in model.named_parameters()}
    initialised(model, choice)
    after = {key: (id(p), p.dtype, p.device, p.requires_grad) for key, p in model.named_parameters()}
    assert after == before
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert bool(model(torch.rand(4, model.features)).output.isfinite().all())


@every_word
def test_in_double_precision_it_is_the_same_init(choice: InitChoice) -> None:
    name = _a_net(choice)
    state = initialised(net(name).double(), choice)
    for key, value in initialised(net(name), choice).items():
        assert state[key].dtype == (torch.float64 if value.is_floating_point() else value.dtype)
        # What looks at data computes in the model's own precision; what only draws is equal to the last bit.
        torch.testing.assert_close(state[key].float(), value, rtol=2e-3, atol=2e-3, check_dtype=False)


@every_word_on_every_net
def test_it_touches_only_the_layers_that_it_owns(choice: InitChoice, name: str) -> None:
    reference = net(name)
    before = initialised(reference, {"name": "normal", "std": 0.7}, seed=8)
    for index, layer in enumerate(reference.layers()):
        model = copy.deepcopy(reference)
        owned_layer = model.layers()[index]
        if choice.refusals(model, [owned_layer]):
            continue
        for _ in apply_word(choice, model, [owned_layer], context(model)):
            pass
        own = {id(tensor) for tensor in (*layer.module.parameters(), *layer.module.buffers())}
        if layer.branch is not None and layer.branch.layers[-1] == layer.name:
            own.add(id(layer.branch.scale))
        named = (*reference.named_parameters(), *reference.named_buffers())
        owned = {key for key, tensor in named if id(tensor) in own}
        changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
        assert changed <= owned
        assert changed or layer.weight is None


@every_choice
def test_it_survives_json(choice: InitChoice) -> None:
    body = Body(init=choice)
    again = Body.model_validate_json(body.model_dump_json())
    assert again == body
    name = _a_net(choice)
    assert same(initialised(net(name), again.init), initialised(net(name), choice))


@pytest.mark.parametrize(
    "choice",
    [
        choice
        for choice in CHOICES
        if "deep tanh" in MEANT[choice.name] and not inits[choice.name].traits.get("looks_at_others")
    ],
    ids=_name,
)
def test_adding_a_layer_changes_no_other(choice: InitChoice) -> None:
    small = initialised(net("deep tanh", widths=(40, 40)), choice)
    large = initialised(net("deep tanh", widths=(40, 40, 40)), choice)
    for key in ("encoder.0.linear.weight", "encoder.1.linear.weight", "decoder.output.weight"):
        assert torch.equal(small[key], large[key])


@every_word
def test_no_two_layers_are_equal(choice: InitChoice) -> None:
    name = "square" if "square" in MEANT[choice.name] else _a_net(choice)
    model = net(name)
    initialised(model, choice)
    weights = [layer.weight for layer in model.layers() if layer.weight is not None]
    equal = [torch.equal(a, b) for a, b in itertools.combinations(weights, 2) if bool(a.any())]
    # What is copied from an earlier model is as different as it was there.
    assert any(equal) == (choice.name in WITHOUT_CHANCE - {"zeros", "model"})


@_on_nets([choice for choice in CHOICES if choice.name not in OWN_BIASES])
def test_biases_are_zero_where_the_word_says_nothing(choice: InitChoice, name: str) -> None:
    model = net(name)
    with torch.no_grad():
        for layer in model.layers():
            if layer.bias is not None:
                layer.bias.fill_(7)
    initialised(model, choice)
    for layer in model.layers():
        if layer.bias is not None:
            assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


@every_word
def test_it_says_when_it_is_done_and_warns_where_it_is_a_control(choice: InitChoice) -> None:
    model = net(_a_net(choice))
    events = list(initialize(model, choice, context(model)))
    done = events[-1]
    assert isinstance(done, Initialised)
    assert (done.word, done.part) == (choice.name, "model")
    assert done.detail["layers"] == [layer.name for layer in model.layers()]
    assert math.isfinite(done.seconds)
    assert done.seconds >= 0
    if inits[choice.name].traits["warning"]:
        assert isinstance(events[0], Warned)


@every_word
def test_it_draws_nothing_from_the_global_stream(choice: InitChoice) -> None:
    before = torch.get_rng_state()
    initialised(net(_a_net(choice)), choice)
    assert torch.equal(torch.get_rng_state(), before)


def test_any_two_words_are_two_inits() -> None:
    states = {
        (choice.name, name): initialised(net(name), choice)
        for choice in CHOICES
        for name in MEANT[choice.name]
    }
    for one, other in itertools.combinations(WORDS, 2):
        common = set(MEANT[one]) & set(MEANT[other])
        assert not common or any(not same(states[one, name], states[other, name]) for name in common), (
            one,
            other,
        )


@pytest.mark.parametrize("word", inits.names())
def test_every_word_is_documented(word: str) -> None:
    entry = inits[word]
    assert entry.summary.endswith(".")
    assert entry.formula
    shown = entry.describe()
    assert not {"output_bias", "centre"} - shown["parameters"]["properties"].keys()
