"""The stages of an image: every size met exactly, mirrors that are adjoints, refusals that say what fits."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from autoencoders.errors import SpecRefused
from autoencoders.init import InitContext, initialize
from autoencoders.layers.layer import Layer
from autoencoders.models import Autoencoder, architectures
from autoencoders.models.pyramid import Pyramid


def _image(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kernel", [3, 4, 5, 6, 7])
def test_every_size_is_met_on_the_way_back(kernel: int) -> None:
    for height, width in itertools.product(range(4, 14), range(4, 14)):
        pyramid = Pyramid("convolutional", (height, width), (2, 3), kernel)
        x = torch.zeros(1, 1, height, width)
        for stage in (0, 1):
            x = pyramid.down(stage)[0](x)
            assert x.shape[1:] == pyramid.stages[stage + 1].shape
        for stage in (2, 1):
            x = pyramid.up(stage)[0](x)
            assert x.shape[1:] == pyramid.stages[stage - 1].shape


@pytest.mark.parametrize("kernel", [3, 4, 5])
@pytest.mark.parametrize("shape", [(8, 8), (1, 9, 7), (3, 12, 11)])
def test_a_map_and_its_mirror_with_the_same_weight_are_adjoint(shape: tuple[int, ...], kernel: int) -> None:
    pyramid = Pyramid("convolutional", shape, (4, 5), kernel)
    for stage in (0, 1):
        down, up = pyramid.down(stage)[0].double(), pyramid.up(stage + 1)[0].double()
        weight = _image(*down.weight.shape)
        with torch.no_grad():
            down.weight.copy_(weight)
            up.weight.copy_(weight)
        x, y = (_image(2, *pyramid.stages[place].shape, seed=place) for place in (stage, stage + 1))
        torch.testing.assert_close((down(x) * y).sum(), (x * up(y)).sum())


@pytest.mark.parametrize("word", ["convolutional", "convolutional_residual"])
@pytest.mark.parametrize("shape", [(8, 8), (1, 9, 7), (3, 12, 12)])
def test_a_linear_decoder_of_the_encoders_weights_is_the_encoders_adjoint(
    word: str, shape: tuple[int, ...]
) -> None:
    chosen = architectures.choose(word, code=3, channels=(4, 6), activation="linear")
    model: Autoencoder = architectures.call(chosen, shape).double()
    list(initialize(model, "he_normal", InitContext(seed=2)))
    for down, up in mirrored(model):
        assert down.weight is not None
        up.assign(down.weight.detach().transpose(0, 1))
    x, z = _image(5, model.features), _image(5, 3, seed=1)
    torch.testing.assert_close((model.encode(x) * z).sum(), (x * model.decode(z)).sum())


def mirrored(model: Autoencoder) -> list[tuple[Layer, Layer]]:
    """The layers of the encoder and the code, each with its mirror in the decoder."""
    layers = model.layers()
    half = len(layers) // 2
    return list(zip(layers[:half], reversed(layers[half:]), strict=True))


@pytest.mark.parametrize(
    ("shape", "stages", "kernel", "said"),
    [
        ((9, 7), 3, 4, "too small for 3 stages with kernel 4: they shrink to 2x1 in 2; 2 would fit"),
        ((1, 64), 1, 4, "too small for 1 stages with kernel 4: they shrink to 1x64 in 0; no stage fits"),
        ((3, 4, 4), 3, 3, "too small for 3 stages with kernel 3: they shrink to 1x1 in 2; 2 would fit"),
    ],
)
def test_images_too_small_for_so_many_stages_are_refused_with_what_would_fit(
    shape: tuple[int, ...], stages: int, kernel: int, said: str
) -> None:
    with pytest.raises(SpecRefused, match=said) as refused:
        Pyramid("convolutional", shape, [4] * stages, kernel)
    assert refused.value.problems[0][0] == ("architecture", "channels")


def test_a_line_of_pixels_is_an_image_to_an_odd_kernel() -> None:
    assert [stage.shape for stage in Pyramid("convolutional", (1, 64), (2, 3), 3).stages] == [
        (1, 1, 64),
        (2, 1, 32),
        (3, 1, 16),
    ]
