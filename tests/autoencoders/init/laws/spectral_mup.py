"""The word whose learning rates carry over from one width to another."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from autoencoders.events import Initialised
from autoencoders.init import InitContext, initialize
from autoencoders.layers.layer import Layer
from autoencoders.models import Autoencoder, architectures
from autoencoders.optim import optimizers
from tests.autoencoders.init.laws import Trial, law
from tests.autoencoders.init.maps import spectral
from tests.autoencoders.init.nets import context

RATES = {"adam": 3e-4, "sgd": 3e-3, "muon": 0.1}


def operator_norm(layer: Layer, weight: Tensor) -> float:
    """The largest singular value of what one output sums, exactly."""
    if weight.ndim == 2:
        return float(torch.linalg.matrix_norm(weight, 2))
    # Output pixels of a transposed convolution sum every second tap each way, from one of four beginnings.
    assert isinstance(layer.module, nn.Conv2d | nn.ConvTranspose2d)
    down, across = layer.module.stride if isinstance(layer.module, nn.ConvTranspose2d) else (1, 1)
    phases = [weight[:, :, i::down, j::across].flatten(1) for i in range(down) for j in range(across)]
    return max(float(torch.linalg.matrix_norm(phase, 2)) for phase in phases)


@law("spectral_mup")
def the_largest_singular_value_is_the_root_of_units_over_summands(trial: Trial) -> None:
    for layer, weight in trial.weights():
        if not spectral(layer):
            wanted = math.sqrt(layer.units / layer.fans.fan_in)
            assert abs(operator_norm(layer, weight) / wanted - 1) < 0.1, layer.name


@law("spectral_mup")
def the_event_names_every_layer_s_factor(trial: Trial) -> None:
    (event,) = [e for e in trial.events if isinstance(e, Initialised) and e.part == "learning rates"]
    base = trial.parameters["base_width"]
    wanted = {layer.name: base / layer.fans.fan_in for layer in trial.model.layers() if not layer.tied}
    assert event.detail["factors"] == wanted
    rates = event.detail["rates"]
    assert rates.keys() <= dict(trial.model.named_parameters()).keys()
    assert all(rate == 1.0 for name, rate in rates.items() if name.endswith("bias"))


def _changes(width: int, word: str, *, factors: bool) -> list[float]:
    """How far three steps move each layer's output, as a root mean square over rows and units."""
    choice = architectures.choose("dense", widths=(width, width), code=4, activation="tanh")
    model: Autoencoder = architectures.call(choice, (24,))
    optimizer_choice = optimizers.choose(word, learning_rate=RATES[word])
    given = context(model, seed=5)
    told = InitContext(seed=5, rows=given.rows, optimizer=optimizer_choice)
    rates: dict[str, float] = {}
    for event in initialize(model, {"name": "spectral_mup", "base_width": 32}, told):
        if isinstance(event, Initialised):
            rates |= event.detail.get("rates", {})
    optimizer = optimizers.call(optimizer_choice, list(model.named_parameters()), rates if factors else {})
    x = given.batch(64)
    before = _outputs(model, x)
    for _ in range(3):
        optimizer.zero_grad()
        (model(x).output - x).square().sum(dim=1).mean().backward()
        optimizer.step()
    after = _outputs(model, x)
    return [float((one - other).square().mean().sqrt()) for one, other in zip(after, before, strict=True)]


@torch.no_grad()
def _outputs(model: Autoencoder, x: Tensor) -> list[Tensor]:
    seen: list[Tensor] = []
    hooks = [
        layer.module.register_forward_hook(lambda _module, _read, out: seen.append(out))
        for layer in model.layers()
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return seen


def _growth(word: str, *, factors: bool) -> list[float]:
    """By what power of the width each layer's change grows from 32 to 256 units."""
    small, large = _changes(32, word, factors=factors), _changes(256, word, factors=factors)
    return [math.log(two / one) / math.log(8) for one, two in zip(small, large, strict=True)]


@law("spectral_mup", nets=("wide",))
def a_step_moves_every_layer_alike_at_every_width(trial: Trial) -> None:
    for word in ("adam", "sgd", "muon"):
        small = _changes(32, word, factors=True)
        for width in (64, 128, 256):
            ratios = [two / one for one, two in zip(small, _changes(width, word, factors=True), strict=True)]
            # Finite widths differ in their draws; without factors changes grow by up to the width itself.
            assert all(0.5 < ratio < 2.0 for ratio in ratios), (word, width, ratios)


@law("spectral_mup", nets=("wide",))
def without_the_factors_steps_would_grow_with_the_width(trial: Trial) -> None:
    assert max(_growth("adam", factors=False)) > 0.7
