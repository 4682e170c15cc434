"""Every norm on convolutions and transposed convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoencoders.layers.layer import Layer
from autoencoders.layers.norms import norms, put_norm
from autoencoders.models.pyramid import Pyramid

WORDS = [{"name": word, **({"groups": 4} if word == "group" else {})} for word in norms.names()]
IMAGE = (12, 10, 9)
every_norm = pytest.mark.parametrize("word", WORDS, ids=lambda word: word["name"])
both_maps = pytest.mark.parametrize("kind", ["convolution", "transposed"])


def convolution(kind: str) -> Layer:
    """A layer that reads 8 channels and yields 12, of 5x4 or of 10x9 pixels."""
    pyramid = Pyramid("convolutional", (1, 20, 18), (8, 12) if kind == "convolution" else (12, 8), 4)
    module, fans, positions = pyramid.down(1) if kind == "convolution" else pyramid.up(2)
    return Layer("encoder.1", "encoder", module, fans, positions=positions)


def images(layer: Layer, rows: int = 20) -> Tensor:
    sides = (10, 9) if isinstance(layer.module, nn.Conv2d) else (5, 4)
    return 3 + 2 * torch.randn(rows, layer.shape[1], *sides, generator=torch.Generator().manual_seed(1))


def weight(layer: Layer) -> Tensor:
    return torch.randn(layer.shape, generator=torch.Generator().manual_seed(2))


def norm_of(word: Any, kind: str = "convolution") -> nn.Module:
    made = put_norm(norms.choose(word), convolution(kind).module)
    assert made is not None
    return made


@every_norm
@both_maps
def test_what_follows_keeps_the_shape_and_passes_gradients(word: Any, kind: str) -> None:
    layer = convolution(kind)
    norm = put_norm(norms.choose(word), layer.module)
    layer.assign(weight(layer))
    out = layer.module(images(layer))
    normed = out if norm is None else norm(out)
    assert normed.shape == out.shape
    normed.pow(3).sum().backward()
    parts = [*layer.module.parameters(), *([] if norm is None else norm.parameters())]
    assert all(part.grad is not None and bool(part.grad.isfinite().all()) for part in parts)


@pytest.mark.parametrize(
    ("word", "axes"),
    [
        ("batch", (0, 2, 3)),
        ("layer", (1, 2, 3)),
        ({"name": "group", "groups": 1}, (1, 2, 3)),
        ("rms", (1,)),
    ],
)
@both_maps
def test_norms_of_activations_standardise(word: Any, axes: tuple[int, ...], kind: str) -> None:
    x = 3 + 2 * torch.randn(20, *IMAGE, generator=torch.Generator().manual_seed(1))
    out = norm_of(word, kind)(x)
    second = out.square().mean(dim=axes)
    torch.testing.assert_close(second, torch.ones_like(second), atol=1e-3, rtol=0)
    if word != "rms":
        mean = out.mean(dim=axes)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)


def test_layer_standardises_all_channels_together() -> None:
    x = 3 + 2 * torch.randn(20, *IMAGE, generator=torch.Generator().manual_seed(1))
    x[:, :6] *= 5
    spread, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(norm_of("layer")(x), (x - mean) / spread, atol=1e-4, rtol=0)


def test_group_standardises_within_its_groups_of_channels() -> None:
    x = 3 + 2 * torch.randn(20, *IMAGE, generator=torch.Generator().manual_seed(1))
    grouped = norm_of({"name": "group", "groups": 4})(x).view(20, 4, -1)
    torch.testing.assert_close(grouped.mean(2), torch.zeros(20, 4), atol=1e-4, rtol=0)


def test_rms_has_a_factor_for_each_channel_and_keeps_the_type() -> None:
    norm = norm_of("rms")
    (factor,) = norm.parameters()
    assert factor.shape == (12,)
    with torch.no_grad():
        factor[2] = 5.0
    x = torch.randn(4, *IMAGE, generator=torch.Generator().manual_seed(1))
    plain = x * x.square().mean(1, keepdim=True).rsqrt()
    torch.testing.assert_close(norm(x)[:, 2], 5 * plain[:, 2], rtol=1e-4, atol=1e-5)
    assert norm(x.bfloat16()).dtype == torch.bfloat16 or norm(x.bfloat16()).dtype == torch.float32


@both_maps
def test_batch_alone_drops_the_bias(kind: str) -> None:
    for word in WORDS:
        layer = convolution(kind)
        put_norm(norms.choose(word), layer.module)
        assert (layer.module.bias is None) == (word["name"] == "batch")


@both_maps
def test_with_the_weight_norm_an_assigned_weight_is_the_effective_one_and_each_unit_has_a_length(
    kind: str,
) -> None:
    layer = convolution(kind)
    put_norm("weight", layer.module)
    given = weight(layer)
    given[3] = 0
    layer.assign(given)
    assert layer.weight is not None
    torch.testing.assert_close(layer.weight, given)
    length = layer.module.get_parameter("parametrizations.weight.original0")
    torch.testing.assert_close(length.flatten(), given.flatten(1).norm(dim=1))


@both_maps
def test_the_spectral_norm_makes_the_matrix_of_units_one_of_norm_one(kind: str) -> None:
    layer = convolution(kind)
    put_norm("spectral", layer.module)
    given = 7 * weight(layer)
    layer.assign(given)
    assert layer.weight is not None
    effective = layer.weight.detach()
    torch.testing.assert_close(effective / effective.norm(), given / given.norm())
    assert float(torch.linalg.matrix_norm(effective.flatten(1), 2)) == pytest.approx(1, abs=0.02)


@both_maps
@pytest.mark.parametrize("word", ["weight", "spectral"])
def test_a_weight_of_zeros_stays_finite(word: str, kind: str) -> None:
    layer = convolution(kind)
    put_norm(word, layer.module)
    layer.assign(torch.zeros(layer.shape))
    assert layer.weight is not None
    assert torch.equal(layer.weight, torch.zeros(layer.shape))
