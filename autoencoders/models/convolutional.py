"""The convolutional autoencoder: strided convolutions down to the code and their mirror back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import nn

from autoencoders.catalog import Choice
from autoencoders.layers.activations import activations
from autoencoders.layers.layer import blank_linear
from autoencoders.layers.norms import norms
from autoencoders.models.architectures import architectures
from autoencoders.models.autoencoder import Autoencoder, Bottleneck, OutputActivation
from autoencoders.models.codes import codes
from autoencoders.models.pyramid import Pyramid
from autoencoders.models.stack import LEAKY_RELU, NO_NORM, Stack, Style, assemble, make_code

Channels = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=12)]
Kernel = Annotated[int, Field(ge=3, le=15)]


def _defaults(shape: tuple[int, ...], **parameters: Any) -> dict[str, Any]:  # noqa: ARG001 - every word's
    return {}


@architectures.word(
    "convolutional",
    formula="for each of channels a convolution of stride 2, code of the last, transposed convolutions back",
    reference="Masci, Meier, Cireşan and Schmidhuber, 2011",
    defaults=_defaults,
)
def convolutional(
    shape: tuple[int, ...],
    *,
    channels: Channels = (32, 64),
    kernel: Kernel = 4,
    code: Annotated[Choice, codes],
    activation: Annotated[Choice, activations] = LEAKY_RELU,
    norm: Annotated[Choice, norms] = NO_NORM,
    output: OutputActivation | None = None,
) -> Autoencoder:
    """Convolutions of stride 2 down to the code and transposed ones back, for rows that are images.

    Each stage halves the image; sizes that are not even are met exactly on the way back.
    """
    head, pyramid = make_code(code), Pyramid("convolutional", shape, channels, kernel)
    stages = len(channels)
    style = Style(norm, activation, depth=2 * stages)

    down = Stack("encoder", style)
    down.modules["image"] = nn.Unflatten(1, pyramid.image.shape)
    for stage in range(stages):
        down.add_hidden(*pyramid.down(stage))
    down.modules["rows"] = nn.Flatten()

    up = Stack("decoder", style)
    up.add_hidden(blank_linear(head.size, pyramid.top.features))
    up.modules["image"] = nn.Unflatten(1, pyramid.top.shape)
    for stage in range(stages, 1, -1):
        up.add_hidden(*pyramid.up(stage))
    up.add_output(*pyramid.up(1))
    up.modules["rows"] = nn.Flatten()

    bottom = blank_linear(pyramid.top.features, head.features)
    return assemble(
        "convolutional", down, Bottleneck(bottom, head), up, features=pyramid.image.features, output=output
    )
