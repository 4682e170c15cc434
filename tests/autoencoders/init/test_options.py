"""The options that every init has: an output bias that predicts the mean, and centred pre-activations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from autoencoders.init import InitContext, NeedsRows, initialize
from autoencoders.models import Autoencoder
from tests.autoencoders.init.nets import context, initialised, net, rows, same


def _pre_activations(model: Autoencoder) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    hooks = [
        layer.module.register_forward_hook(lambda *a, name=layer.name: seen.__setitem__(name, a[2]))
        for layer in model.layers()
    ]
    with torch.no_grad():
        model(rows(model))
    for hook in hooks:
        hook.remove()
    return seen


def _error(model: Autoencoder) -> float:
    with torch.no_grad():
        return float((model(rows(model)).output - rows(model)).square().sum(dim=1).mean())


def _error_of_the_mean(model: Autoencoder) -> float:
    data = rows(model)
    return float((data - data.mean(dim=0)).square().sum(dim=1).mean())


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
@pytest.mark.parametrize("tied", [False, True])
def test_with_small_weights_the_loss_begins_at_that_of_the_mean(output: str, tied: bool) -> None:
    model = net("wide", output=output, tied=tied)
    initialised(model, {"name": "normal", "std": 0.01, "output_bias": "mean"})
    assert _error(model) == pytest.approx(_error_of_the_mean(model), rel=0.01)


@pytest.mark.parametrize("word", ["he_normal", "orthogonal", "torch_default"])
@pytest.mark.parametrize("name", ["sigmoid", "wide", "batch norm"])
def test_the_mean_logit_is_that_of_the_mean(name: str, word: str) -> None:
    model = net(name)
    initialised(model, {"name": word, "output_bias": "mean"})
    mean = rows(model).mean(dim=0)
    expected = torch.logit(mean, eps=1e-3) if model.output_activation == "sigmoid" else mean
    with torch.no_grad():
        torch.testing.assert_close(model(rows(model)).logits.mean(dim=0), expected, atol=1e-4, rtol=1e-4)


def test_the_output_bias_leaves_all_weights_and_other_biases_alone() -> None:
    plain = initialised(net("sigmoid"), "he_normal")
    biased = initialised(net("sigmoid"), {"name": "he_normal", "output_bias": "mean"})
    assert {key for key in plain if not torch.equal(plain[key], biased[key])} == {"decoder.output.bias"}


def test_a_mean_of_zero_or_one_is_clipped() -> None:
    model = net("sigmoid")
    mean = torch.zeros(model.features)
    mean[0] = 1
    list(initialize(model, {"name": "zeros", "output_bias": "mean"}, InitContext(seed=0, data_mean=mean)))
    bias = model.layers()[-1].bias
    assert bias is not None
    assert bias.isfinite().all()
    predicted = torch.sigmoid(bias.detach())
    torch.testing.assert_close(predicted, mean.clamp(1e-3, 1 - 1e-3), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["wide", "sigmoid", "tied", "weight norm", "layer norm"])
@pytest.mark.parametrize("word", ["he_normal", "orthogonal", "torch_default"])
def test_centring_makes_every_mean_pre_activation_zero(name: str, word: str) -> None:
    model = net(name)
    initialised(model, {"name": word, "centre": True})
    for pre in _pre_activations(model).values():
        torch.testing.assert_close(pre.mean(dim=0), torch.zeros(pre.shape[1]), atol=2e-4, rtol=0)


def test_without_centring_they_are_not() -> None:
    model = net("sigmoid")
    initialised(model, "he_normal")
    assert all(float(pre.mean(dim=0).abs().max()) > 0.1 for pre in _pre_activations(model).values())


def test_centring_leaves_weights_modes_and_running_statistics_alone() -> None:
    for name in ("batch norm", "spectral norm"):
        model = net(name).eval()
        plain = initialised(net(name), "he_normal")
        centred = initialised(model, {"name": "he_normal", "centre": True})
        changed = {key for key in plain if not torch.equal(plain[key], centred[key])}
        assert changed
        assert all(key.endswith("bias") for key in changed)
        assert not any(module.training for module in model.modules())
        assert not any(module._forward_hooks for module in model.modules())


def test_centring_and_the_output_bias_go_together() -> None:
    model = net("sigmoid")
    initialised(model, {"name": "he_normal", "centre": True, "output_bias": "mean"})
    seen = _pre_activations(model)
    logits = seen.pop("decoder.output").mean(dim=0)
    torch.testing.assert_close(logits, torch.logit(rows(model).mean(dim=0), eps=1e-3), atol=1e-4, rtol=1e-4)
    assert max(float(pre.mean(dim=0).abs().max()) for pre in seen.values()) < 2e-4


def test_only_the_parts_that_ask_for_it_are_centred() -> None:
    model = net("sigmoid")
    initialised(model, {"encoder": {"name": "he_normal", "centre": True}})
    for name, pre in _pre_activations(model).items():
        assert (float(pre.mean(dim=0).abs().max()) < 2e-4) == name.startswith("encoder")


@pytest.mark.parametrize("options", [{"centre": True}, {"output_bias": "mean"}])
def test_an_option_that_needs_data_says_so_where_there_is_none(options: dict[str, Any]) -> None:
    with pytest.raises(NeedsRows):
        list(initialize(net(), {"name": "he_normal", **options}, InitContext(seed=0)))


def test_one_row_is_enough() -> None:
    model = net("batch norm")
    one = InitContext(seed=0, rows=lambda _count: rows(model)[:1])
    list(initialize(model, {"name": "he_normal", "centre": True, "output_bias": "mean"}, one))
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_options_are_as_seeded_as_the_rest() -> None:
    plan = {"name": "he_normal", "centre": True, "output_bias": "mean"}
    assert same(initialised(net("sigmoid"), plan), initialised(net("sigmoid"), plan))


def test_the_context_estimates_a_mean_that_it_was_not_told() -> None:
    data = rows(net())
    assert torch.equal(InitContext(seed=0, rows=lambda count: data[:count]).mean(50), data[:50].mean(dim=0))
    assert context(net()).data_mean is not None
