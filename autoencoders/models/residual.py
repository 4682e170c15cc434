"""The dense residual autoencoder: a stream of one width that blocks add to, on either side of the code."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field

from autoencoders.catalog import Choice
from autoencoders.layers.activations import activations
from autoencoders.layers.layer import blank_linear
from autoencoders.layers.norms import norms
from autoencoders.models.architectures import architectures
from autoencoders.models.autoencoder import Autoencoder, Bottleneck, OutputActivation
from autoencoders.models.codes import Size, codes
from autoencoders.models.stack import LEAKY_RELU, NO_NORM, Stack, Style, assemble, make_code

Blocks = Annotated[int, Field(ge=1, le=64)]


def _defaults(shape: tuple[int, ...], **parameters: Any) -> dict[str, Any]:  # noqa: ARG001 - every word's
    return {}


@architectures.word(
    "dense_residual",
    formula="x = W r; blocks times x += scale W2 phi(N(W1 phi(N(x)))); code of phi(N(x)); the same back",
    reference="He, Zhang, Ren and Sun, 2016",
    defaults=_defaults,
)
def dense_residual(
    shape: tuple[int, ...],
    *,
    width: Size = 512,
    blocks: Blocks = 8,
    code: Annotated[Choice, codes],
    activation: Annotated[Choice, activations] = LEAKY_RELU,
    norm: Annotated[Choice, norms] = NO_NORM,
    output: OutputActivation | None = None,
) -> Autoencoder:
    """Residual blocks of two linear maps, `blocks` of them before the code and as many after it.

    Activations come first in a block, so that nothing bends the stream itself. Each branch has a scale for
    each unit of the stream, 1 unless the init says otherwise.
    """
    features, head = math.prod(shape), make_code(code)
    style = Style(norm, activation, depth=2 * (2 * blocks + 1), branches=2 * blocks)
    down, up = Stack("encoder", style), Stack("decoder", style, first_branch=blocks)
    for stack, size in ((down, features), (up, head.size)):
        stack.add_stream(blank_linear(size, width))
        for _ in range(blocks):
            stack.add_block(blank_linear(width, width), blank_linear(width, width))
    down.end_stream()
    up.add_output(blank_linear(width, features))
    bottom = blank_linear(width, head.features)
    return assemble("dense_residual", down, Bottleneck(bottom, head), up, features=features, output=output)
