"""Words that look at the data: what each layer makes of the rows that the init saw."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from autoencoders.init.mirror import Mirror, trunk
from autoencoders.init.sparse_dictionary import geometric_median
from autoencoders.layers.layer import Layer
from tests.autoencoders.init.laws import Trial, law, own_biases, variant
from tests.autoencoders.init.maps import passed_through, spectral

own_biases("lsuv", "data_norm", "pca", "pca_greedy", "kmeans", "whitening", "sparse_dictionary")
variant("lsuv", tolerance=0.1, centred=False)
variant("lsuv", rounds=2, tolerance=1e-4)

STRAIGHT = ("wide", "narrow", "linear", "tied", "weight norm", "residual")
"""Nets of linear outputs, with layers wide enough for activations to be passed exactly, and a plain code."""


def by_unit(yielded: Tensor) -> Tensor:
    """Outputs as [samples, units]."""
    return yielded.movedim(1, -1).flatten(0, -2).double()


def draws(trial: Trial, layer: Layer) -> bool:
    """Whether what the layer reads depends on draws of the code, which are not those that the init saw."""
    return trial.name == "variational" and layer.part == "decoder"


def encoding(trial: Trial) -> Iterator[tuple[Layer, Tensor, Tensor]]:
    """The layers that are set from what they read, encoder and code, with what they read and yield."""
    seen = passed_through(trial)
    for layer in trial.model.layers():
        encodes = layer.part != "decoder"
        if encodes and not spectral(layer):
            yield layer, *seen[layer.name]


@law("lsuv")
def every_output_has_variance_one(trial: Trial) -> None:
    """Within the tolerance on the rows of the calibration; and where it is centred every unit has mean 0."""
    p = trial.parameters
    seen = passed_through(trial)
    for layer in trial.model.layers():
        out = by_unit(seen[layer.name][1])
        # Other draws of the code leave what n rows leave: a spread of sqrt(2 / n).
        allowed = 4.5 * math.sqrt(2 / len(out)) if draws(trial, layer) else p["tolerance"]
        if not layer.tied:
            assert abs(float(out.var(correction=0)) - 1) <= allowed + 1e-5, layer.name
        if p["centred"] and layer.bias is not None and not draws(trial, layer):
            assert float(out.mean(dim=0).abs().max()) < 1e-4
        if not p["centred"] and layer.bias is not None:
            assert not layer.bias.any()


@law("lsuv")
def rows_or_columns_stay_orthogonal(trial: Trial) -> None:
    """One factor for a layer: its matrix is a multiple of a semi-orthogonal one."""
    for _layer, weight in trial.weights():
        is_multiple_of_semi_orthogonal(weight)


def is_multiple_of_semi_orthogonal(weight: Tensor) -> None:
    """`W W^T` or `W^T W`, whichever is smaller, is a multiple of the identity."""
    matrix = weight.flatten(1).double()
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    size = product.diagonal().mean()
    torch.testing.assert_close(
        product / size, torch.eye(len(product), dtype=torch.float64), atol=1e-4, rtol=0
    )


@law("data_norm", "kmeans")
def every_unit_is_standardised(trial: Trial) -> None:
    """Mean 0 and standard deviation 1 over the rows; `kmeans` says so of the encoder alone.

    Where the decoder is tied, the standard deviation is another one, the same for all units of a layer.
    """
    every = trial.choice.name == "data_norm"
    seen = passed_through(trial)
    for layer in trial.model.layers():
        encodes = layer.part != "decoder"
        if layer.tied or spectral(layer) or draws(trial, layer) or not (every or encodes):
            continue
        out = by_unit(seen[layer.name][1])
        std = out.std(dim=0, correction=0)
        size = float(std.mean()) if trial.name == "tied" else 1.0
        assert float((std / size - 1).abs().max()) < 1e-3, layer.name
        if layer.bias is not None:
            assert float(out.mean(dim=0).abs().max()) < 1e-3


@law("data_norm")
def directions_keep_the_size_with_which_they_were_drawn(trial: Trial) -> None:
    """`v` has standard deviation .05: its size says how fast training turns it."""
    found = 0
    for name, parameter in trial.model.named_parameters():
        if name.endswith("weight.original1"):
            found += 1
            std = float(parameter.detach().double().square().mean().sqrt())
            assert abs(std / 0.05 - 1) < 4.5 * math.sqrt(1 / (2 * parameter.numel()))
    assert found or trial.name == "tied"


@law("pca", nets=STRAIGHT)
def it_begins_as_the_pca_of_the_rows(trial: Trial) -> None:
    """What comes back is what the first directions keep of a row; and the error is PCA's own to 1e-4."""
    rows = trial.rows.double()
    mean = rows.mean(dim=0)
    _, _, directions = torch.linalg.svd(rows - mean, full_matrices=False)
    kept = directions[: trial.model.code_size]
    expected = mean + (rows - mean) @ kept.T @ kept
    with torch.no_grad():
        found = trial.model(trial.rows).output.double()
        code = trial.model.encode(trial.rows).double()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    error = (found - rows).square().sum(dim=1).mean()
    assert float(error) == pytest.approx(
        float((expected - rows).square().sum(dim=1).mean()), rel=1e-4, abs=1e-6
    )
    # Each number of the code is one component.
    if trial.model.code_size < trial.model.features:
        along = ((rows - mean) @ kept.T).abs()
        torch.testing.assert_close(code.abs(), along, atol=2e-4, rtol=0)


@law("pca", "pca_greedy", "kmeans")
def the_decoder_is_the_transpose(trial: Trial) -> None:
    """Up to one factor for a layer; of `pca` exactly so where activations are passed exactly."""
    mirror = Mirror(trial.model, trial.rows)
    for layer in trunk(trial.model):
        other = mirror.counterpart(layer)
        if other is None or layer.tied:
            continue
        assert layer.weight is not None
        assert other.weight is not None
        weight = layer.weight.detach()
        turned = other.weight.detach().transpose(0, 1)[:, : layer.shape[1]]
        factor = float((weight * turned).sum() / turned.square().sum())
        assert factor > 0
        torch.testing.assert_close(weight, factor * turned, rtol=1e-3, atol=1e-5 * float(weight.abs().max()))
        if trial.choice.name == "pca" and trial.name in STRAIGHT:
            assert factor == pytest.approx(1, abs=1e-5)


@law("pca_greedy", "kmeans", nets=("tied",))
def a_tied_net_comes_back_at_the_right_scale(trial: Trial) -> None:
    """Nobody can scale a tied decoder by itself: there and back together have the right one.

    No other scale of what a layer yields from what the encoder has in its place comes nearer to what the
    encoder has in the place of that: so the net begins below the mean's error, whatever its activation.
    """
    for options in ({}, {"output": "sigmoid"}, {"activation": "sigmoid"}, {"activation": "tanh"}):
        again = Trial(trial.choice, trial.name, trial.seed, options)
        seen, layers = passed_through(again), again.model.layers()
        half = len(layers) // 2
        for up, down in zip(layers[1:half], reversed(layers[half:-1]), strict=True):
            aim = seen[layers[layers.index(up) - 1].name][1]
            through = seen[up.name][1]
            after = layers[layers.index(up) + 1].fed_by
            with torch.no_grad():
                back = down.module.forward(through if after is None else after(through))
            back, aim = back - back.mean(dim=0), aim - aim.mean(dim=0)
            assert float((back * aim).sum() / back.square().sum()) == pytest.approx(1, abs=0.01), up.name
        rows = again.rows
        if options.get("output") == "sigmoid":
            # Of the logits, the cross-entropy's slope in their scale is nought.
            after, writes = layers[1].fed_by, layers[-1]
            through = seen[layers[0].name][1]
            with torch.no_grad():
                back = writes.module.forward(through if after is None else after(through))
            back = back - back.mean(dim=0)
            share = torch.sigmoid(torch.logit(rows.mean(dim=0), eps=1e-3) + back)
            slope, bend = (back * (share - rows)).sum(), (back.square() * share * (1 - share)).sum()
            assert abs(float(slope / bend)) < 0.01
        with torch.no_grad():
            error = float((again.model(rows).output - rows).square().sum(dim=1).mean())
        assert error < float((rows - rows.mean(dim=0)).square().sum(dim=1).mean()), options


@law("pca", "pca_greedy")
def branches_begin_shut(trial: Trial) -> None:
    """Blocks pass the stream on as it is, with weights that can learn."""
    for layer in trial.model.layers():
        if layer.branch is not None:
            assert layer.weight is not None
            assert layer.weight.any()
            assert not layer.branch.scale.any()


@law("pca_greedy")
def each_layer_keeps_the_strongest_directions_of_what_it_reads(trial: Trial) -> None:
    """Semi-orthogonal, and no directions of the same number catch more variance; scaled, and centred."""
    for layer, read, yielded in encoding(trial):
        if layer.branch is not None:
            continue
        assert layer.weight is not None
        weight, out = layer.weight.detach(), by_unit(yielded)
        if layer.part == "code":
            weight = weight[: trial.model.code_size]
        is_multiple_of_semi_orthogonal(weight)
        if weight.ndim == 2 and weight.shape[0] < weight.shape[1]:
            values = torch.linalg.eigvalsh(read.double().T.cov(correction=0)).flip(0)
            scale = float(weight.double().square().sum() / len(weight))
            caught = float(out.var(dim=0, correction=0).sum()) / scale
            assert caught == pytest.approx(float(values[: len(weight)].sum()), rel=1e-3)
        if trial.name != "tied" and (trial.name != "variational" or layer.part != "code"):
            aim = 1.0 if layer.part == "code" else _bends(trial, layer)
            assert float(out.var(correction=0)) == pytest.approx(aim, rel=5e-3), layer.name
        if layer.bias is not None:
            assert float(out.mean(dim=0).abs().max()) < 1e-3


def _bends(trial: Trial, layer: Layer) -> float:
    """The variance that the activation after a layer asks for: 4 of a sigmoid's, 1 of the others here."""
    layers = trial.model.layers()
    after = layers[[one.name for one in layers].index(layer.name) + 1].fed_by
    assert after is not None
    return {"sigmoid": 4.033, "tanh": 1.008}.get(after.word, 1.0)


@law("whitening")
def outputs_are_uncorrelated_and_of_variance_one(trial: Trial) -> None:
    """The covariance is the identity; where there are more units than directions, on so many of them."""
    for layer, read, yielded in encoding(trial):
        out = by_unit(yielded)
        values = torch.linalg.eigvalsh(out.T.cov(correction=0)).flip(0)
        rank = int((values > 0.5).sum())
        torch.testing.assert_close(values[:rank], torch.ones_like(values[:rank]), atol=3e-3, rtol=0)
        assert float(values[rank:].abs().sum()) < 1e-3
        if read.ndim == 2:
            strength = torch.linalg.eigvalsh(read.double().T.cov(correction=0))
            directions = int((strength > 1e-4 * strength.max()).sum())
            assert rank == min(layer.units, directions)
        assert layer.bias is None or float(out.mean(dim=0).abs().max()) < 1e-3


@law("whitening")
def the_decoder_colours_again(trial: Trial) -> None:
    """Each layer undoes its counterpart: together they leave what the counterpart sees as it is, scaled."""
    mirror = Mirror(trial.model, trial.rows)
    for layer in trunk(trial.model):
        other = mirror.counterpart(layer)
        if other is None or layer.tied or spectral(layer) or trial.name == "variational":
            continue
        assert layer.weight is not None
        assert other.weight is not None
        there = other.weight.detach().double().flatten(1)
        back = layer.weight.detach().double().transpose(0, 1).flatten(1)
        product = there @ back.T
        # R R^T, a projection, times the scale.
        size = product.diagonal().sum() / torch.linalg.matrix_rank(there, rtol=1e-4)
        projection = product / size
        torch.testing.assert_close(projection @ projection, projection, atol=2e-3, rtol=0)


@law("sparse_dictionary")
def the_encoder_reads_with_the_unit_columns_that_the_decoder_writes_with(trial: Trial) -> None:
    """`W_enc == W_dec^T`, columns of length 1, all over the sphere; biases take off the geometric median."""
    layers = trial.model.layers()
    place = next(i for i, layer in enumerate(layers) if layer.part == "code")
    reads, writes = layers[place].weight, layers[place + 1].weight
    assert reads is not None
    assert writes is not None
    assert torch.equal(reads, writes.T)
    lengths = torch.linalg.vector_norm(writes.detach(), dim=0)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    # Uniform on the sphere: the mean of n unit vectors of d numbers has d numbers of variance 1 / (n d).
    units, size = writes.shape
    assert float(writes.detach().mean(dim=1).square().sum()) < (1 + 4.5 * math.sqrt(2 / units)) / size
    seen = passed_through(trial)
    took_off, adds = layers[place].bias, layers[place + 1].bias
    assert took_off is not None
    assert adds is not None
    median = geometric_median(seen[layers[place].name][0])
    torch.testing.assert_close(took_off.detach(), -reads.detach() @ median, atol=1e-5, rtol=0)
    # At a geometric median the unit vectors towards the points sum to nothing.
    before = next(layer for layer in reversed(trunk(trial.model)) if layer.part == "encoder")
    towards = torch.nn.functional.normalize(seen[before.name][1] - adds.detach(), dim=1)
    assert float(torch.linalg.vector_norm(towards.mean(dim=0))) < 1e-3
