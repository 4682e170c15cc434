"""Words that choose one scale for each weight by the loss and its gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autoencoders.events import Warned
from autoencoders.init import InitContext, initialize, inits
from autoencoders.init.bare import bare_twin, scalable, squared_error
from autoencoders.init.gradient_balance import balanced_groups
from autoencoders.init.gradinit import FirstStep
from autoencoders.optim import optimizers
from tests.autoencoders.init.laws import Trial, law, needs
from tests.autoencoders.init.maps import spectral
from tests.autoencoders.init.nets import context, net

needs("gradinit", rounds=3)
needs("gradient_balance", rounds=3)


def in_full(trial: Trial) -> Trial:
    """The trial with as many rounds as a job would have."""
    return Trial(inits.choose(trial.choice.name), trial.name, trial.seed, trial.options)


def _base(trial: Trial) -> dict[str, Tensor]:
    """He's weights from the same streams; branches of residual nets scaled for the depth."""
    word = "depth_scaled" if any(layer.branch for layer in trial.model.layers()) else "he_normal"
    model = net(trial.name, **trial.options)
    assert list(initialize(model, word, context(model, trial.seed)))
    return {layer.name: layer.weight.detach() for layer in model.layers() if layer.weight is not None}


@law("gradinit", "gradient_balance")
def one_scale_a_layer_is_all_that_is_chosen(trial: Trial) -> None:
    base = _base(trial)
    moved = 0
    for layer, weight in trial.weights():
        before = base[layer.name]
        scale = float(weight.norm() / before.norm())
        torch.testing.assert_close(weight, before * scale, rtol=1e-4, atol=1e-6)
        moved += abs(scale - 1) > 1e-3
        assert not spectral(layer) or abs(scale - 1) < 1e-3
    assert moved or not scalable(trial.model.layers())


@law("gradient_balance")
def the_scales_multiply_to_one(trial: Trial) -> None:
    base = _base(trial)
    logs = [math.log(float(weight.norm() / base[layer.name].norm())) for layer, weight in trial.weights()]
    assert abs(sum(logs)) < 1e-3 * len(logs)


@law("gradient_balance")
def every_layer_would_change_by_the_same_share(trial: Trial) -> None:
    trial = in_full(trial)
    assert not [e for e in trial.events if isinstance(e, Warned)]
    twin = bare_twin(trial.model)
    owned = [layer for layer in twin.layers() if layer.name in scalable(trial.model.layers())]
    loss = squared_error(twin, trial.rows, torch.Generator().manual_seed(trial.seed))
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    ratios = {}
    for layer in owned:
        weight = layer.module.weight
        assert isinstance(weight, Tensor)
        assert weight.grad is not None
        ratios[layer.name] = float(weight.grad.norm() / weight.detach().norm())
    for group in balanced_groups(trial.model.layers()):
        found = [ratios[name] for name in group]
        # The rounds end when no ratio is 2% from its group's geometric mean.
        assert max(found) / min(found) < 1.05, (group, found)


def _after_one_step(trial: Trial, model_name: str, word: str, step: FirstStep) -> tuple[float, float]:
    """The squared error over all rows before and after one step on them."""
    model = net(model_name)
    choice = optimizers.choose("adam" if step.kind == "entrywise" else "sgd", learning_rate=step.rate)
    given = context(model, trial.seed)
    told = InitContext(seed=trial.seed, rows=given.rows, optimizer=choice)
    assert list(initialize(model, word, told))
    twin = bare_twin(model)
    rows = given.batch(200)
    values = list(twin.parameters())
    loss = squared_error(twin, rows, torch.Generator().manual_seed(0))
    gradients = torch.autograd.grad(loss, values)
    with torch.no_grad():
        for value, gradient in zip(values, gradients, strict=True):
            value.copy_(step.after(value, gradient))
        after = float(squared_error(twin, rows, torch.Generator().manual_seed(0)))
    return float(loss.detach()), after


@law("gradinit", nets=("wide", "sigmoid", "tied", "weight norm", "variational", "residual", "convolutional"))
def the_first_step_lowers_the_loss_and_further_than_from_he(trial: Trial) -> None:
    base = "depth_scaled" if any(layer.branch for layer in trial.model.layers()) else "he_normal"
    for step in (FirstStep("entrywise", 3e-3), FirstStep("gradient", 1e-3)):
        before, after = _after_one_step(trial, trial.name, "gradinit", step)
        assert after < before
        _, plain = _after_one_step(trial, trial.name, base, step)
        if scalable(trial.model.layers()):
            assert after < plain
