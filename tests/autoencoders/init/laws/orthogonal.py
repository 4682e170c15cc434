"""Words whose maps keep lengths."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from autoencoders.layers.layer import Layer
from tests.autoencoders.init.laws import Trial, law, variant, without_chance
from tests.autoencoders.init.maps import outputs_follow, passed_through, spectral, through

variant("identity", gain=-0.5)
variant("orthogonal", gain=1.2)
variant("delta_orthogonal", gain=0.7)
without_chance("identity")


def _gain(trial: Trial, layer: Layer) -> float:
    gain = trial.parameters["gain"]
    return layer.gain if gain is None else float(gain)


def is_scaled_isometry(matrix: Tensor, square: float) -> None:
    """`W W^T` or `W^T W` is `square` times the identity, whichever is smaller."""
    rows, columns = matrix.shape
    product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    expected = square * torch.eye(min(rows, columns))
    torch.testing.assert_close(product, expected, atol=2e-5 * max(1.0, square), rtol=0)


def tile_of(layer: Layer, weight: Tensor) -> Tensor:
    """The matrix at a convolution's middle taps: from what one tile of pixels reads to what it yields.

    A linear map's is all of it. All other taps must be zero.
    """
    if weight.ndim == 2:
        return weight
    assert isinstance(layer.module, nn.Conv2d | nn.ConvTranspose2d)
    stride, start = layer.module.stride[0], (weight.shape[2] - 1) // 2
    tile = weight[:, :, start : start + stride, start : start + stride]
    assert int(weight.count_nonzero()) == int(tile.count_nonzero())
    if isinstance(layer.module, nn.Conv2d):
        return tile.flatten(1)
    return tile.permute(0, 2, 3, 1).flatten(0, 2)


def keeps_lengths(layer: Layer, weight: Tensor, read: Tensor, gain: float) -> None:
    """The whole map keeps lengths, times the gain, where it leads to more numbers, and else projects."""
    tile = tile_of(layer, weight)
    x = torch.randn(read.shape, generator=torch.Generator().manual_seed(3))
    out = through(layer, weight, x)
    if isinstance(layer.module, nn.Conv2d | nn.ConvTranspose2d):
        # What lies at an odd edge, beyond the last whole tile, is not read or cut off.
        stride, transposed = layer.module.stride[0], isinstance(layer.module, nn.ConvTranspose2d)
        height, width = (size // stride if transposed else size * stride for size in out.shape[2:])
        x[:, :, height:], x[:, :, :, width:] = 0, 0
        out = through(layer, weight, x)
    ratio = out.flatten(1).norm(dim=1) / (gain * x.flatten(1).norm(dim=1))
    if tile.shape[0] >= tile.shape[1]:
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-4, rtol=0)
    else:
        assert float(ratio.max()) <= 1 + 1e-4
        # A random direction keeps this share of its squared length; rows and tiles are its independent draws.
        tiles = len(x) * x[0].numel() / tile.shape[1]
        tolerance = 4.5 * math.sqrt(2 / (tile.shape[0] * tiles))
        share = tile.shape[0] / tile.shape[1]
        assert abs(float(ratio.square().mean()) / share - 1) < tolerance + 1e-4


@law("orthogonal", nets=None)
def rows_or_columns_are_orthonormal(trial: Trial) -> None:
    """`W W^T` or `W^T W` is a multiple of the identity, whichever is smaller."""
    for layer, weight in trial.weights():
        if not spectral(layer):
            is_scaled_isometry(weight.flatten(1), _gain(trial, layer) ** 2 * layer.overlap)


@law("orthogonal", nets=None)
def outputs_have_the_variance_of_orthogonal_weights(trial: Trial) -> None:
    """Uniform orthonormal rows have uncorrelated weights, each of the variance of a row's share."""

    def variances(layer: Layer) -> Tensor:
        columns = math.prod(layer.shape[1:])
        # The sum of an output, edges aside, is fan_in weights: with enough inputs it has the gain's variance.
        square = _gain(trial, layer) ** 2 * columns / layer.fans.fan_in
        return torch.full(layer.shape, square / max(layer.units, columns))

    outputs_follow(trial, variances)


@law("delta_orthogonal", nets=None)
def middle_taps_are_orthonormal_and_all_others_zero(trial: Trial) -> None:
    """The matrix at the taps of one tile is orthonormal; linear layers are so as a whole."""
    for layer, weight in trial.weights():
        if not spectral(layer):
            is_scaled_isometry(tile_of(layer, weight), _gain(trial, layer) ** 2)


@law("delta_orthogonal", nets=None)
def convolutions_keep_lengths(trial: Trial) -> None:
    """`||conv(x)|| = gain ||x||` at every size, edges and strides included, where channels suffice."""
    seen = passed_through(trial)
    for layer, weight in trial.weights():
        if not spectral(layer):
            keeps_lengths(layer, weight, seen[layer.name][0], _gain(trial, layer))


@law("delta_orthogonal", nets=None)
def outputs_have_the_variance_of_their_tiles(trial: Trial) -> None:
    """Only the middle taps have a variance, that of the orthonormal matrix there."""

    def variances(layer: Layer) -> Tensor:
        square = _gain(trial, layer) ** 2
        if len(layer.shape) == 2:
            return torch.full(layer.shape, square / max(layer.shape))
        units, channels, kernel, _ = layer.shape
        assert isinstance(layer.module, nn.Conv2d | nn.ConvTranspose2d)
        stride, start = layer.module.stride[0], (kernel - 1) // 2
        several = stride**2
        into, out = (1, several) if isinstance(layer.module, nn.ConvTranspose2d) else (several, 1)
        made = torch.zeros(layer.shape)
        made[:, :, start : start + stride, start : start + stride] = square / max(
            units * out, channels * into
        )
        return made

    outputs_follow(trial, variances)


@law("identity", nets=None)
def a_map_passes_on_what_it_reads(trial: Trial) -> None:
    """Number i of what is yielded is number i of what was read, times the gain; what is left over is zero.

    A strided convolution reads every `stride`-th pixel, a transposed one yields only those.
    """
    seen = passed_through(trial)
    gain = trial.parameters["gain"]
    for layer, weight in trial.weights():
        if spectral(layer):
            continue
        read = torch.randn(seen[layer.name][0].shape, generator=torch.Generator().manual_seed(3))
        out = through(layer, weight, read)
        kept = min(read.shape[1], out.shape[1])
        expected = torch.zeros_like(out)
        stride = getattr(layer.module, "stride", (1,))[0]
        if isinstance(layer.module, nn.ConvTranspose2d):
            height, width = stride * read.shape[2], stride * read.shape[3]
            expected[:, :kept, :height:stride, :width:stride] = gain * read[:, :kept]
        elif isinstance(layer.module, nn.Conv2d):
            height, width = stride * out.shape[2], stride * out.shape[3]
            expected[:, :kept] = gain * read[:, :kept, :height:stride, :width:stride]
        else:
            expected[:, :kept] = gain * read[:, :kept]
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
