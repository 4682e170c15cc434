"""Pretraining in a plan: parts, refusals, rows of every scale, and leaving in the middle."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from autoencoders.errors import SpecRefused, TrainingDiverged
from autoencoders.events import Initialised, Warned
from autoencoders.init import InitContext, NeedsRows, initialize, inits
from autoencoders.init.rbm import ContrastiveDivergence, Rbm
from autoencoders.init.rbm_stack import Recipe, run_epoch
from tests.autoencoders.init.laws.rbm import errors_by_layer, structured
from tests.autoencoders.init.nets import context, initialised, net, same

QUICK: dict[str, Any] = {"name": "rbm_stack", "epochs": 2}


@pytest.mark.parametrize("tied", [False, True])
def test_part_by_part_it_is_the_same_stack(tied: bool) -> None:
    whole = initialised(net("sigmoid", tied=tied), QUICK)
    parts = initialised(net("sigmoid", tied=tied), {"encoder": QUICK, "code": QUICK, "decoder": QUICK})
    assert same(whole, parts)


@pytest.mark.parametrize("word", ["rbm_stack", "stacked_denoising"])
def test_a_part_alone_leaves_the_others_to_their_words(word: str) -> None:
    one = {"name": word, "epochs": 1}
    model = net("sigmoid")
    mixed = initialised(model, {"encoder": one, "code": "orthogonal", "decoder": "lecun_normal"})
    whole, plain = initialised(net("sigmoid"), one), initialised(net("sigmoid"), "lecun_normal")
    for key, value in mixed.items():
        if key.startswith("encoder"):
            assert torch.equal(value, whole[key])
        if key.startswith("decoder"):
            assert torch.equal(value, plain[key])


@pytest.mark.parametrize("word", ["rbm_stack", "stacked_denoising"])
def test_each_layer_begins_with_weights_of_its_own(word: str) -> None:
    model = net("sigmoid", widths=(50, 50), code=50)
    initialised(model, {"name": word, "epochs": 1, "learning_rate": 1e-6})
    weights = [layer.weight for layer in model.layers()[:3]]
    for one, other in itertools.combinations(weights, 2):
        assert one is not None
        assert other is not None
        assert float((one - other).detach().abs().mean()) > 0.05


@pytest.mark.parametrize("word", ["rbm_stack", "stacked_denoising"])
def test_what_comes_above_changes_nothing_below(word: str) -> None:
    small = initialised(net("sigmoid", widths=(80,)), {"name": word, "epochs": 1})
    large = initialised(net("sigmoid", widths=(80, 40)), {"name": word, "epochs": 1})
    for key in ("encoder.0.linear.weight", "encoder.0.linear.bias", "decoder.output.weight"):
        assert torch.equal(small[key], large[key])


def test_a_code_layer_alone_stands_on_the_encoder_as_it_is() -> None:
    model = net("sigmoid")
    events = list(initialize(model, {"encoder": "orthogonal", "code": QUICK}, context(model)))
    assert list(errors_by_layer(events)) == ["code"]


def test_a_decoder_alone_learns_to_undo_the_encoder_as_it_is() -> None:
    model = net("wide")
    rows = structured(model.features)
    seen = InitContext(seed=0, rows=lambda count: rows[:count])
    choice = {"name": "stacked_denoising", "epochs": 20, "learning_rate": 0.01}
    list(initialize(model, {"encoder": "orthogonal", "code": "orthogonal", "decoder": choice}, seen))
    with torch.no_grad():
        error = float((model(rows).output - rows).square().sum(dim=1).mean())
    assert error < 0.6 * float(rows.var(dim=0, correction=0).sum())


@pytest.mark.parametrize(
    ("options", "parameters", "reason"),
    [
        ({"activation": "leaky_relu"}, {}, "needs sigmoid hidden units"),
        ({"norm": "layer"}, {}, "needs hidden units without a norm"),
        ({"norm": "batch"}, {}, "needs hidden units without a norm"),
        ({"norm": "spectral"}, {}, "needs hidden units without a norm"),
        (
            {"output": "linear"},
            {"visible": "binary"},
            "needs gaussian visible units where the output is linear",
        ),
        ({}, {"visible": "gaussian"}, "needs binary visible units where the output is sigmoid"),
    ],
)
def test_where_it_is_not_meant_it_says_why(
    options: dict[str, Any], parameters: dict[str, Any], reason: str
) -> None:
    ((_, message),) = inits.choose("rbm_stack", **parameters).problems(net("sigmoid", **options))
    assert message.startswith(f"rbm_stack {reason}")


def test_a_weight_norm_bears_the_stack() -> None:
    plain, normed = net("sigmoid"), net("sigmoid", norm="weight")
    initialised(plain, QUICK)
    initialised(normed, QUICK)
    for one, other in zip(plain.layers(), normed.layers(), strict=True):
        assert one.weight is not None
        assert other.weight is not None
        torch.testing.assert_close(one.weight, other.weight, rtol=1e-3, atol=1e-4)


def test_real_rows_get_gaussian_visible_units() -> None:
    model = net("sigmoid", output="linear")
    rows = structured(model.features)
    rows = (rows - rows.mean(dim=0)) / rows.std(dim=0)
    choice = {**QUICK, "epochs": 10}
    events = list(initialize(model, choice, InitContext(seed=0, rows=lambda count: rows[:count])))
    assert not [event for event in events if isinstance(event, Warned)]
    errors = errors_by_layer(events)["encoder.0"]
    assert errors[-1] < 0.9 * errors[0]
    assert errors == sorted(errors, reverse=True)


def test_rows_of_another_scale_are_warned_of() -> None:
    model = net("sigmoid", output="linear")
    rows = 0.1 * torch.randn(300, model.features, generator=torch.Generator().manual_seed(1))
    events = list(initialize(model, QUICK, InitContext(seed=0, rows=lambda count: rows[:count])))
    (warning,) = [event for event in events if isinstance(event, Warned)]
    assert "0.01 on average" in warning.message


def test_rows_that_are_no_probabilities_are_refused() -> None:
    model = net("sigmoid")
    rows = torch.randn(50, model.features, generator=torch.Generator().manual_seed(1))
    seen = InitContext(seed=0, rows=lambda count: rows[:count])
    with pytest.raises(SpecRefused, match=r"in \[0, 1\]"):
        list(initialize(model, {**QUICK, "visible": "binary"}, seen))


@pytest.mark.parametrize("word", ["rbm_stack", "stacked_denoising"])
def test_without_rows_it_says_so(word: str) -> None:
    with pytest.raises(NeedsRows):
        list(initialize(net("sigmoid"), word, InitContext(seed=0)))


def test_what_diverges_is_said_to_diverge() -> None:
    model = net("sigmoid", output="linear")
    with pytest.raises(TrainingDiverged, match=r"encoder\.0 left the finite numbers"):
        list(initialize(model, {**QUICK, "learning_rate": 10, "epochs": 50}, context(model)))


@pytest.mark.parametrize("word", ["rbm_stack", "stacked_denoising"])
def test_whoever_watches_may_leave_between_epochs(word: str) -> None:
    model = net("sigmoid")
    events = initialize(model, {"name": word, "epochs": 1000}, context(model))
    first = next(events)
    assert isinstance(first, Initialised)
    assert torch.is_grad_enabled()
    events.close()  # type: ignore[attr-defined]  # a generator
    assert torch.is_grad_enabled()


def test_unset_it_learns_as_released_in_2006() -> None:
    recipe = Recipe(10, 0.1, 1, False, 100, None, None, 2e-4)
    draws = torch.Generator().manual_seed(0)
    assert [recipe.momentum_in(epoch) for epoch in range(1, 11)] == [0.5] * 5 + [0.9] * 5
    assert recipe.rate(Rbm.drawn(3, 2, draws)) == 0.1
    assert recipe.rate(Rbm.drawn(3, 2, draws, hidden="gaussian")) == 0.001
    assert recipe.rate(Rbm.drawn(3, 2, draws, visible="gaussian")) == 0.001
    defaults = inits.choose("rbm_stack").parameters()
    assert defaults == {
        "epochs": 10,
        "visible": "auto",
        "std": 0.1,
        "steps": 1,
        "persistent": False,
        "batch_size": 100,
        "learning_rate": None,
        "momentum": None,
        "weight_cost": 2e-4,
    }


def test_the_code_layers_machine_has_linear_units() -> None:
    model = net("sigmoid")
    seen = context(model)
    list(initialize(model, {"encoder": "orthogonal", "code": QUICK}, seen))
    with torch.no_grad():
        below = model.encoder(seen.batch(1000))
    rbm = Rbm.drawn(40, 8, seen.stream("code"), hidden="gaussian")
    trainer = ContrastiveDivergence(rbm, seen.stream("code", "states"), learning_rate=0.001)
    order = seen.stream("code", "order")
    for _ in range(2):
        run_epoch(trainer, below, 100, order, momentum=0.5)
    code = model.layers()[2]
    assert code.weight is not None
    torch.testing.assert_close(code.weight.detach(), rbm.weight, rtol=1e-4, atol=1e-5)
