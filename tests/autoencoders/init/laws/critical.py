"""The edge of chaos: weights and biases at the critical point, and signals that stay there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autoencoders.layers.layer import Layer
from tests.autoencoders.init.laws import Trial, law, own_biases, variant
from tests.autoencoders.init.maps import outputs_follow, spectral

variant("edge_of_chaos", bias_variance=0.01)
variant("edge_of_chaos", q=0.2733)
own_biases("edge_of_chaos")

# q*, the variance of weights times the fan-in, that of biases: published anchors and closed forms.
TANH = {0.05: (0.5701, 1.7610, 0.05), 0.01: (0.2733, 1.4242, 0.01)}
RECTIFIERS = {"leaky_relu": 2 / 1.01, "relu": 2.0, "linear": 1.0}


def _claimed(trial: Trial, layer: Layer) -> tuple[float, float]:
    """The variances of a weight and of a bias."""
    asked = trial.parameters
    word = next((one.fed_by.word for one in trial.model.layers() if one.fed_by is not None), "linear")
    q, weight, bias = TANH[0.01 if asked["q"] is not None else asked["bias_variance"]]
    if word != "tanh":
        q, weight, bias = 1.0 if asked["q"] is None else asked["q"], RECTIFIERS[word], 0.0
    if layer.fed_by is None:
        # Rows have second moment 1, a code q* as every pre-activation; the biases' part comes from them.
        weight = (q - bias) / (q if layer.part == "decoder" else 1.0)
    return weight / layer.fans.fan_in, bias


@law("edge_of_chaos", nets=None)
def weights_and_biases_have_the_critical_variances(trial: Trial) -> None:
    """Each variance within 4.5 standard errors of a normal sample, and means of zero."""
    biases, expected = [], 0.0
    for layer, weight in trial.weights():
        claimed, expected = _claimed(trial, layer)
        if not spectral(layer):
            n = weight.numel()
            assert abs(float(weight.double().mean())) < 4.5 * math.sqrt(claimed / n)
            found = float(weight.double().square().mean())
            assert abs(found / claimed - 1) < 4.5 * math.sqrt(2 / n) + 5e-4, (layer.name, found, claimed)
        if layer.bias is not None:
            biases.append(layer.bias.detach())
    drawn = torch.cat(biases) if biases else torch.zeros(0)
    if expected == 0:
        assert not bool(drawn.any())
    elif len(drawn):
        n = len(drawn)
        assert abs(float(drawn.mean())) < 4.5 * math.sqrt(expected / n)
        assert abs(float(drawn.square().mean()) / expected - 1) < 4.5 * math.sqrt(2 / n)


@law("edge_of_chaos", nets=None)
def outputs_have_the_variance_that_critical_weights_give(trial: Trial) -> None:
    """On every kind of map, by its true fans."""

    def variances(layer: Layer) -> Tensor:
        return torch.full(layer.shape, _claimed(trial, layer)[0])

    outputs_follow(trial, variances)


WIDTH, SEEDS = 300, 3
# Behind GELU the critical variance repels by a tenth a layer, so that only a shallow net stays there.
DEPTHS = {"tanh": 12, "selu": 12, "leaky_relu": 12, "gelu": 2}


@law("edge_of_chaos", nets=("deep tanh",))
def variance_stays_at_its_fixed_point_and_near_rows_neither_part_nor_meet(trial: Trial) -> None:
    """Through the encoder and the decoder q_l is q*, and the distance of two near rows stays: chi is 1."""
    for activation, depth in DEPTHS.items():
        if trial.parameters["q"] is not None and activation not in ("tanh", "leaky_relu"):
            continue  # there q is the tanh's own at a bias variance of .01
        q, bias = _star(trial, activation)
        squares: dict[str, list[float]] = {}
        parted = []
        for seed in range(SEEDS):
            shape = {"shape": (WIDTH,), "widths": (WIDTH,) * depth, "code": WIDTH, "activation": activation}
            seen = _passed(Trial(trial.choice, "deep tanh", seed, shape).model, seed)
            for name, (square, _distance) in seen.items():
                squares.setdefault(name, []).append(square / q)
            distances = [distance for _square, distance in seen.values()]
            # Biases make up a part of q*, which the layer that reads the linear code leaves to them.
            parted.append(math.log(distances[-1] / distances[0]) - math.log((q - bias) / q))
        # Each layer adds a relative error of sqrt(2 / width), and activations' tails some more.
        for place, found in enumerate(squares.values(), start=1):
            tolerance = 4.5 * math.sqrt(2.5 * place / (WIDTH * SEEDS))
            assert abs(sum(found) / SEEDS - 1) < tolerance, (activation, place, found)
        tolerance = 4.5 * math.sqrt(2.5 * 2 * depth / (WIDTH * SEEDS))
        assert abs(sum(parted) / SEEDS) < tolerance, (activation, parted)


def _star(trial: Trial, activation: str) -> tuple[float, float]:
    """The critical variance of pre-activations, and that of biases."""
    asked = trial.parameters
    bias = 0.01 if asked["q"] is not None else asked["bias_variance"]
    table = {
        "tanh": {0.05: 0.5700, 0.01: 0.2733},
        "gelu": {0.05: 0.7220, 0.01: 0.1835},
        "selu": {0.05: 0.8273, 0.01: 0.3089},
    }
    if activation == "leaky_relu":
        return (1.0 if asked["q"] is None else asked["q"]), 0.0
    return table[activation][bias], bias


@torch.no_grad()
def _passed(model: torch.nn.Module, seed: int) -> dict[str, tuple[float, float]]:
    """Of each layer, the mean square of its output and the mean squared distance of near rows there."""
    stream = torch.Generator().manual_seed(40 + seed)
    one = torch.randn(60, WIDTH, generator=stream)
    one /= one.square().mean(dim=1, keepdim=True).sqrt()
    other = one + 1e-3 * torch.randn(60, WIDTH, generator=stream)
    seen: dict[str, tuple[float, float]] = {}

    def keep(name: str) -> object:
        def hook(_module: object, _read: object, out: Tensor) -> None:
            first, second = out.chunk(2)
            seen[name] = (float(first.square().mean()), float((first - second).square().mean()))

        return hook

    hooks = [layer.module.register_forward_hook(keep(layer.name)) for layer in model.layers()]  # type: ignore[operator]
    model(torch.cat([one, other]))
    for hook in hooks:
        hook.remove()
    return seen
