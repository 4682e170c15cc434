"""The convolutional residual autoencoder: residual blocks at every size of the image."""

from __future__ import annotations

from typing import Annotated, Any

from torch import nn

from autoencoders.catalog import Choice
from autoencoders.layers.activations import activations
from autoencoders.layers.layer import blank_linear
from autoencoders.layers.norms import norms
from autoencoders.models.architectures import architectures
from autoencoders.models.autoencoder import Autoencoder, Bottleneck, OutputActivation
from autoencoders.models.codes import codes
from autoencoders.models.convolutional import Channels, Kernel
from autoencoders.models.pyramid import Pyramid, Stage, same_size, same_size_fans
from autoencoders.models.residual import Blocks
from autoencoders.models.stack import LEAKY_RELU, NO_NORM, Stack, Style, assemble, make_code


def _defaults(shape: tuple[int, ...], **parameters: Any) -> dict[str, Any]:  # noqa: ARG001 - every word's
    return {}


@architectures.word(
    "convolutional_residual",
    formula="convolutional; at every size below the image's, blocks times x += scale K2 phi(N(K1 phi(N(x))))",
    reference="He, Zhang, Ren and Sun, 2016",
    defaults=_defaults,
)
def convolutional_residual(
    shape: tuple[int, ...],
    *,
    channels: Channels = (32, 64),
    kernel: Kernel = 4,
    blocks: Blocks = 1,
    code: Annotated[Choice, codes],
    activation: Annotated[Choice, activations] = LEAKY_RELU,
    norm: Annotated[Choice, norms] = NO_NORM,
    output: OutputActivation | None = None,
) -> Autoencoder:
    """Convolutions of stride 2 down and transposed ones back, with `blocks` residual blocks at each size.

    A block has two 3x3 convolutions, activations first, and a scale for each channel of the stream; what
    changes the size reads the stream through norm and activation and begins a new one.
    """
    head, pyramid = make_code(code), Pyramid("convolutional_residual", shape, channels, kernel)
    stages = len(channels)
    half = stages * blocks
    style = Style(norm, activation, depth=2 * stages * (2 * blocks + 1), branches=2 * half)

    down = Stack("encoder", style)
    down.modules["image"] = nn.Unflatten(1, pyramid.image.shape)
    for stage in range(stages):
        down.add_stream(*pyramid.down(stage))
        _add_blocks(down, pyramid.stages[stage + 1], blocks, mirrored=False)
    down.end_stream()
    down.modules["rows"] = nn.Flatten()

    up = Stack("decoder", style, first_branch=half)
    up.add_stream(blank_linear(head.size, pyramid.top.features), as_image=pyramid.top.shape)
    _add_blocks(up, pyramid.top, blocks, mirrored=True)
    for stage in range(stages, 1, -1):
        up.add_stream(*pyramid.up(stage))
        _add_blocks(up, pyramid.stages[stage - 1], blocks, mirrored=True)
    up.add_output(*pyramid.up(1))
    up.modules["rows"] = nn.Flatten()

    bottom = blank_linear(pyramid.top.features, head.features)
    return assemble(
        "convolutional_residual",
        down,
        Bottleneck(bottom, head),
        up,
        features=pyramid.image.features,
        output=output,
    )


def _add_blocks(stack: Stack, at: Stage, blocks: int, *, mirrored: bool) -> None:
    for _ in range(blocks):
        first, second = (same_size(at.channels, mirrored=mirrored) for _ in range(2))
        stack.add_block(first, second, same_size_fans(at.channels), (at.positions, at.positions))
