"""Words of residual nets: what a branch adds at the start."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autoencoders.layers.layer import Branch, Layer
from autoencoders.models.stack import Block
from tests.autoencoders.init.laws import Trial, law, variant
from tests.autoencoders.init.maps import passed_through

variant("layer_scale", value=0.1)

WORDS = ("zero_branch", "layer_scale", "depth_scaled", "fixup")


def branches(trial: Trial) -> list[Branch]:
    """The model's branches in forward order."""
    found = {layer.branch.index: layer.branch for layer in trial.model.layers() if layer.branch is not None}
    return [found[index] for index in sorted(found)]


def blocks(trial: Trial) -> list[Block]:
    """The model's residual blocks."""
    return [module for module in trial.model.modules() if isinstance(module, Block)]


def _stream(trial: Trial, block: Block, rows: int = 16) -> Tensor:
    layer = next(layer for layer in trial.model.layers() if layer.module is block.second)
    side = int(math.sqrt(layer.positions[0]))
    shape = (rows, layer.units) if layer.positions[0] == 1 else (rows, layer.units, side, side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(4))


@law("zero_branch", "fixup")
def every_block_is_the_identity(trial: Trial) -> None:
    trial.model.eval()
    for block in blocks(trial):
        x = _stream(trial, block)
        assert torch.equal(block(x), x)


@law("zero_branch", "fixup")
def the_jacobian_of_a_stack_is_the_identity(trial: Trial) -> None:
    trial.model.eval()
    first = blocks(trial)[0]
    x = _stream(trial, first, rows=1)
    like = [block for block in blocks(trial) if block.scale.shape == first.scale.shape]

    def stack(flat: Tensor) -> Tensor:
        stream = flat.reshape(x.shape)
        for block in like:
            stream = block(stream)
        return stream.flatten()

    jacobian = torch.func.jacrev(stack)(x.flatten())
    assert torch.equal(jacobian, torch.eye(x.numel()))


@law("zero_branch", "layer_scale", "fixup", "depth_scaled")
def the_scale_of_each_branch_is_the_word_s(trial: Trial) -> None:
    wanted = {"zero_branch": 0.0, "layer_scale": float(trial.parameters.get("value", 0))}
    for branch in branches(trial):
        value = wanted.get(trial.choice.name, 1.0)
        assert torch.equal(branch.scale.detach(), torch.full_like(branch.scale, value))


@law("layer_scale")
def a_block_adds_its_branch_times_the_value(trial: Trial) -> None:
    trial.model.eval()
    value = trial.parameters["value"]
    for block in blocks(trial):
        x = _stream(trial, block)
        with torch.no_grad():
            branch = block.second(block.first(block.enter(x)))
            assert float(branch.square().mean()) > 0.1
            torch.testing.assert_close(block(x) - x, value * branch, rtol=1e-2, atol=1e-5)


def _factor(trial: Trial, layer: Layer) -> float:
    """What the word makes of He's standard deviation."""
    branch = layer.branch
    last = branch is not None and branch.layers[-1] == layer.name
    if trial.choice.name == "depth_scaled" and branch is not None and last:
        return 1 / math.sqrt(branch.count)
    if trial.choice.name == "fixup":
        if last or layer.is_output:
            return 0.0
        if branch is not None:
            # L^(-1 / (2 m - 2)) with m = 2 layers in every branch.
            return 1 / math.sqrt(branch.count)
    return 1.0


@law(*WORDS)
def weights_have_the_variance_of_the_formula(trial: Trial) -> None:
    for layer, weight in trial.weights():
        wanted = (_factor(trial, layer) * layer.gain) ** 2 / layer.fans.fan_in
        found = float(weight.double().square().mean())
        assert abs(found - wanted) <= 4.5 * wanted * math.sqrt(2 / weight.numel()), layer.name


@law("depth_scaled")
def the_stream_never_has_twice_the_variance_with_which_it_began(trial: Trial) -> None:
    ratios = []
    for seed in range(4):
        again = Trial(trial.choice, trial.name, seed, trial.options)
        seen = passed_through(again)
        stem = seen["encoder.0"][1]
        # What the last branch of the first stream adds to, and what it adds.
        stream = stem
        for layer in again.model.layers()[1:]:
            if layer.branch is None:
                break
            if layer.branch.layers[-1] == layer.name:
                stream = stream + seen[layer.name][1]
        unit = float(stem.square().mean()) if not _normed(trial) else max(1.0, float(stem.square().mean()))
        ratios.append(float(stream.square().mean()) / unit)
    # (1 + 1/L)^(L/2) < 2 for L branches, half of which stand before the code.
    assert sum(ratios) / len(ratios) < 2.0, ratios


def _normed(trial: Trial) -> bool:
    return any(layer.normed for layer in trial.model.layers())


@law("fixup")
def the_first_reconstruction_is_the_output_s_bias(trial: Trial) -> None:
    logits = trial.model.eval()(trial.rows).logits
    assert torch.equal(logits, torch.zeros_like(logits))
