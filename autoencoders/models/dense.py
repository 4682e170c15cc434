"""The dense autoencoder: a stack of linear layers and its mirror, tied or not."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from autoencoders.catalog import Choice
from autoencoders.errors import SpecRefused
from autoencoders.layers.activations import activations
from autoencoders.layers.layer import TiedLinear, blank_linear
from autoencoders.layers.norms import norms
from autoencoders.models.architectures import architectures
from autoencoders.models.autoencoder import Autoencoder, Bottleneck, OutputActivation
from autoencoders.models.codes import Size, codes
from autoencoders.models.stack import LEAKY_RELU, NO_NORM, Stack, Style, assemble, make_code

Widths = Annotated[tuple[Size, ...], Field(min_length=1, max_length=64)]


def geometric_widths(features: int, code_size: int, count: int = 3) -> tuple[int, ...]:
    """`count` hidden widths in geometric steps from a row's features to the code.

    Rounded to multiples of eight where that stays between the two: they are multiplied faster, and groups
    of units divide them.
    """
    low, high = sorted((features, code_size))
    widths = []
    for step in range(1, count + 1):
        exact = features * (code_size / features) ** (step / (count + 1))
        even = 8 * round(exact / 8)
        widths.append(even if low <= even <= high and even >= 16 else max(1, round(exact)))
    return tuple(widths)


def _defaults(shape: tuple[int, ...], **parameters: Any) -> dict[str, Any]:
    if parameters["widths"] is not None:
        return {}
    return {"widths": geometric_widths(math.prod(shape), parameters["code"].size)}


@architectures.word(
    "dense",
    formula="widths, code, widths reversed; after every hidden map norm and activation",
    reference="Hinton and Salakhutdinov, 2006",
    defaults=_defaults,
)
def dense(
    shape: tuple[int, ...],
    *,
    widths: Widths | None = None,
    code: Annotated[Choice, codes],
    activation: Annotated[Choice, activations] = LEAKY_RELU,
    norm: Annotated[Choice, norms] = NO_NORM,
    output: OutputActivation | None = None,
    tied: bool = False,
) -> Autoencoder:
    """Linear layers down to the code and their mirror back.

    `widths` unset: three layers in geometric steps. `output` unset: linear, unless the spec knows better.
    `tied`: each weight of the decoder is its mirror's in the encoder, transposed.
    """
    features, head = math.prod(shape), make_code(code)
    if tied and head.features != head.size:
        raise SpecRefused(
            [(("architecture", "tied"), f"a {code.name} code has no layer that a decoder could share")]
        )
    sizes = (features, *(widths or geometric_widths(features, head.size)), head.features)
    style = Style(norm, activation, depth=2 * (len(sizes) - 2))

    down = Stack("encoder", style)
    maps = [blank_linear(wide, narrow) for wide, narrow in pairwise(sizes)]
    for linear in maps[:-1]:
        down.add_hidden(linear)

    up = Stack("decoder", style)
    # A code may be made of more features than it has numbers; the decoder reads the numbers.
    mirror = (head.size, *sizes[-2::-1])
    *hidden, last = (
        TiedLinear(source) if tied else blank_linear(narrow, wide)
        for source, narrow, wide in zip(reversed(maps), mirror, mirror[1:], strict=False)
    )
    for linear_up in hidden:
        up.add_hidden(linear_up)
    up.add_output(last)
    return assemble("dense", down, Bottleneck(maps[-1], head), up, features=features, output=output)
