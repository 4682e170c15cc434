"""The laws of every init: a new word is under them on the day it is written."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from autoencoders.events import Initialised, Warned
from autoencoders.init import InitChoice, InitPlan, initialize, inits
from autoencoders.init.apply import apply_word
from tests.autoencoders.init.invariants import SHAPES, VARIANCES, has_its_variance
from tests.autoencoders.init.nets import NETS, context, initialised, net, same

REQUIRED: dict[str, dict[str, Any]] = {
    "constant": {"value": 0.02},
    "normal": {"std": 0.01},
    "uniform": {"bound": 0.05},
    "truncated_normal": {"std": 0.03},
}
VARIANTS: list[dict[str, Any]] = [
    {"name": "identity", "gain": -0.5},
    {"name": "truncated_normal", "std": 0.5, "cut": 1.0},
    {"name": "truncated_normal", "std": 0.5, "cut": 5.0},
    {"name": "glorot_normal", "gain": 4.0},
    {"name": "glorot_uniform", "gain": 0.5},
    {"name": "he_normal", "mode": "fan_out"},
    {"name": "he_uniform", "mode": "fan_out", "gain": 1.5},
    {"name": "orthogonal", "gain": 1.2},
    *(
        {"name": "variance_scaling", "scale": 2.0, "mode": mode, "distribution": distribution}
        for mode, distribution in itertools.product(
            ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"), ("normal", "uniform", "truncated_normal")
        )
    ),
]
CHOICES = [inits.choose(word, **REQUIRED.get(word, {})) for word in inits.names()]
EVERY = [*CHOICES, *(inits.choose(variant) for variant in VARIANTS)]
WITHOUT_CHANCE = {"zeros", "constant", "identity"}
CONTROLS = {"zeros", "constant"}


def _name(choice: InitChoice) -> str:
    return "-".join(
        [choice.name, *(f"{value}" for value in choice.parameters().values() if value is not None)]
    )


every_word = pytest.mark.parametrize("choice", CHOICES, ids=_name)
every_choice = pytest.mark.parametrize("choice", EVERY, ids=_name)
every_net = pytest.mark.parametrize("name", list(NETS))


class Body(BaseModel):
    init: InitPlan


# Under the spectral norm the scale is the norm's: a law of its own follows.
@pytest.mark.parametrize("name", [name for name in NETS if name != "spectral norm"])
@every_choice
def test_it_keeps_what_it_claims(choice: InitChoice, name: str) -> None:
    model = net(name)
    initialised(model, choice, seed=1)
    for layer in model.layers():
        if layer.weight is not None:
            weight = layer.weight.detach()
            if choice.name in VARIANCES:
                has_its_variance(layer, weight, choice.parameters(), word=choice.name)
            SHAPES[choice.name](layer, weight, choice.parameters())


@every_word
def test_under_the_spectral_norm_the_shape_is_the_words(choice: InitChoice) -> None:
    plain, normed = net("wide"), net("wide", norm="spectral")
    initialised(plain, choice)
    initialised(normed, choice)
    for one, other in zip(plain.layers(), normed.layers(), strict=True):
        assert one.weight is not None
        assert other.weight is not None
        expected, found = one.weight.detach(), other.weight.detach()
        size = expected.norm().clamp_min(1e-12)
        torch.testing.assert_close(
            found / found.norm().clamp_min(1e-12), expected / size, atol=1e-6, rtol=1e-4
        )


@every_net
@every_word
def test_the_same_seed_gives_the_same_weights_and_another_others(choice: InitChoice, name: str) -> None:
    first = initialised(net(name), choice, seed=3)
    assert same(first, initialised(net(name), choice, seed=3))
    assert same(first, initialised(net(name), choice, seed=4)) == (choice.name in WITHOUT_CHANCE)


@every_net
@every_choice
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
    double = net("wide").double()
    state = initialised(double, choice)
    for key, value in initialised(net("wide"), choice).items():
        assert state[key].dtype == torch.float64
        assert torch.equal(state[key], value.double())


@pytest.mark.parametrize("name", ["wide", "tied", "weight norm", "batch norm"])
@every_word
def test_it_touches_only_the_layers_that_it_owns(choice: InitChoice, name: str) -> None:
    reference = net(name)
    for index, layer in enumerate(reference.layers()):
        model = net(name)
        before = initialised(model, {"name": "normal", "std": 0.7}, seed=8)
        for _ in apply_word(choice, model, [model.layers()[index]], context(model)):
            pass
        own = {id(p) for p in layer.module.parameters()}
        owned = {key for key, p in reference.named_parameters() if id(p) in own}
        changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
        assert changed <= owned
        assert changed or layer.weight is None


@every_choice
def test_it_survives_json(choice: InitChoice) -> None:
    body = Body(init=choice)
    again = Body.model_validate_json(body.model_dump_json())
    assert again == body
    assert same(initialised(net(), again.init), initialised(net(), choice))


@every_word
def test_adding_a_layer_changes_no_other(choice: InitChoice) -> None:
    small = initialised(net("deep tanh", widths=(40, 40)), choice)
    large = initialised(net("deep tanh", widths=(40, 40, 40)), choice)
    for key in ("encoder.0.linear.weight", "encoder.1.linear.weight", "decoder.output.weight"):
        assert torch.equal(small[key], large[key])


@every_word
def test_no_two_layers_are_equal(choice: InitChoice) -> None:
    weights = [layer.weight for layer in _drawn("square", choice)]
    equal = [torch.equal(a, b) for a, b in itertools.combinations([w for w in weights if w is not None], 2)]
    assert any(equal) == (choice.name in WITHOUT_CHANCE)


def _drawn(name: str, choice: InitChoice) -> list[Any]:
    model = net(name)
    initialised(model, choice)
    return model.layers()


@every_word
def test_biases_are_zero_where_the_word_says_nothing(choice: InitChoice) -> None:
    model = net("tied")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    initialised(model, choice)
    for layer in model.layers():
        assert layer.bias is not None
        if choice.name == "torch_default" and not layer.tied:
            bound = 1 / math.sqrt(layer.inputs)
            assert 0 < float(layer.bias.detach().abs().max()) <= bound
        else:
            assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


@every_word
def test_it_says_when_it_is_done_and_warns_where_it_is_a_control(choice: InitChoice) -> None:
    model = net()
    events = list(initialize(model, choice, context(model)))
    done = events[-1]
    assert isinstance(done, Initialised)
    assert (done.word, done.part) == (choice.name, "model")
    assert done.detail["layers"] == [layer.name for layer in model.layers()]
    assert done.seconds >= 0
    assert [isinstance(event, Warned) for event in events[:-1]] == [True] * (choice.name in CONTROLS)


@every_word
def test_it_draws_nothing_from_the_global_stream(choice: InitChoice) -> None:
    before = torch.get_rng_state()
    initialised(net(), choice)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("activation", ["linear", "leaky_relu", "tanh", "sigmoid", "gelu", "softplus"])
@pytest.mark.parametrize("word", list(VARIANCES))
def test_the_next_pre_activation_has_the_variance_that_follows(word: str, activation: str) -> None:
    choice = inits.choose(word, **REQUIRED.get(word, {}))
    model = net("wide", features=500, widths=(500, 1500), code=4, activation=activation)
    initialised(model, choice, seed=2)
    layer = model.layers()[1]
    assert layer.weight is not None
    assert layer.fed_by is not None
    standard = torch.randn(200, 500, generator=torch.Generator().manual_seed(6))
    fed = layer.fed_by(standard)
    second = layer.fed_by.moments.second
    claimed = VARIANCES[word](layer, choice.parameters()) * layer.inputs * second
    found = float((fed @ layer.weight.detach().T).square().mean())
    # Units are independent, their values at other rows are not: 1500 samples. The rest is the input's norm.
    norms = fed.square().mean(dim=1) / second
    tolerance = 4.5 * (math.sqrt(2 / 1500) + float(norms.std()) / math.sqrt(len(norms)))
    assert abs(found / claimed - 1) < tolerance


@pytest.mark.parametrize("activation", ["leaky_relu", "tanh", "sigmoid", "selu"])
@pytest.mark.parametrize("word", ["he_normal", "he_uniform"])
def test_with_the_exact_gain_pre_activations_keep_their_second_moment(word: str, activation: str) -> None:
    model = net("wide", features=600, widths=(600,) * 4, code=600, activation=activation)
    initialised(model, word, seed=2)
    seen: list[float] = []
    for layer in model.layers()[:5]:
        layer.module.register_forward_hook(lambda *a: seen.append(float(a[2].square().mean())))
    with torch.no_grad():
        model.encode(torch.randn(200, 600, generator=torch.Generator().manual_seed(6)))
    # Five layers, each of which multiplies by a factor of relative error sqrt(2 / 600) or a little more.
    assert seen == pytest.approx([1.0] * 5, rel=4.5 * math.sqrt(5 * 5 / 600))


@pytest.mark.parametrize("word", sorted(CONTROLS))
def test_under_a_control_the_units_of_a_layer_stay_equal(word: str) -> None:
    model = net("sigmoid")
    initialised(model, inits.choose(word, **REQUIRED.get(word, {})))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.rand(32, model.features, generator=torch.Generator().manual_seed(5))
    for _ in range(5):
        optimizer.zero_grad()
        (model(x).output - x).square().mean().backward()
        optimizer.step()
    for layer in model.layers()[:-1]:
        assert layer.weight is not None
        weight = layer.weight.detach()
        torch.testing.assert_close(weight, weight[:1].expand_as(weight), atol=1e-7, rtol=1e-5)
        assert int(torch.linalg.matrix_rank(weight, rtol=1e-3)) <= 1


def test_any_two_words_are_two_inits() -> None:
    states = {choice.name: initialised(net(), choice) for choice in CHOICES}
    twins = [pair for pair in itertools.combinations(states, 2) if same(states[pair[0]], states[pair[1]])]
    assert twins == []


def test_the_laws_know_every_word() -> None:
    assert set(SHAPES) == set(inits.names())
    assert set(VARIANCES) <= set(inits.names())


@pytest.mark.parametrize("word", inits.names())
def test_every_word_is_documented(word: str) -> None:
    entry = inits[word]
    assert entry.summary.endswith(".")
    assert entry.formula
    shown = entry.describe()
    assert not {"output_bias", "centre"} - shown["parameters"]["properties"].keys()
