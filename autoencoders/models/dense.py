"""The dense autoencoder: a stack of linear layers and its mirror, tied or not."""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from autoencoders.catalog import Choice
from autoencoders.errors import SpecRefused
from autoencoders.layers.activations import Activation, activations
from autoencoders.layers.activations import activation as make_activation
from autoencoders.layers.layer import Fans, Layer, Map, Part, TiedLinear, blank_linear
from autoencoders.layers.norms import norms, put_norm
from autoencoders.models.architectures import architectures
from autoencoders.models.autoencoder import Autoencoder, Bottleneck, OutputActivation
from autoencoders.models.codes import Code, Size, codes

LEAKY_RELU = activations.choose("leaky_relu")
NO_NORM = norms.choose("none")

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
    return {"widths": geometric_widths(math.prod(shape), _code(parameters["code"]).size)}


def _code(choice: Choice) -> Code:
    made: Code = codes.call(choice)
    return made


class Hidden(nn.Module):
    """One hidden layer: a linear map, perhaps a norm, an activation.

    Args:
        linear: the map.
        norm: what standardises its output, if anything does.
        activation: what follows.
    """

    def __init__(self, linear: Map, norm: nn.Module | None, activation: Activation) -> None:
        super().__init__()
        self.linear, self.norm, self.activation = linear, norm, activation

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        pre: Tensor = self.linear(x)
        if self.norm is not None:
            pre = self.norm(pre)
        out: Tensor = self.activation(pre)
        return out


class _Stack:
    """Hidden layers under construction, one part of the model at a time."""

    def __init__(self, part: Part, norm: Choice, activation: Choice, depth: int) -> None:
        self._part, self._norm, self._activation, self._depth = part, norm, activation, depth
        self.modules: OrderedDict[str, nn.Module] = OrderedDict()
        self.layers: list[Layer] = []
        self.refusals: list[tuple[tuple[str, ...], str]] = []
        self.fed_by: Activation | None = None

    def add_hidden(self, linear: Map) -> None:
        norm: nn.Module | None = None
        try:
            norm = put_norm(self._norm, linear)
        except SpecRefused as refused:
            self.refusals += [
                (("architecture", "norm", *location), message) for location, message in refused.problems
            ]
        activation = make_activation(self._activation, depth=self._depth)
        name = str(len(self.modules))
        self._note(name, linear)
        self.modules[name] = Hidden(linear, norm, activation)
        self.fed_by = activation

    def add_output(self, linear: Map) -> None:
        self._note("output", linear, is_output=True)
        self.modules["output"] = linear

    def _note(self, name: str, linear: Map, *, is_output: bool = False) -> None:
        fans = Fans(linear.in_features, linear.out_features)
        self.layers.append(Layer(f"{self._part}.{name}", self._part, linear, fans, self.fed_by, is_output))


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
    features, head = math.prod(shape), _code(code)
    if tied and head.features != head.size:
        raise SpecRefused(
            [(("architecture", "tied"), f"a {code.name} code has no layer that a decoder could share")]
        )
    sizes = (features, *(widths or geometric_widths(features, head.size)), head.features)
    depth = 2 * (len(sizes) - 2)

    down = _Stack("encoder", norm, activation, depth)
    maps = [blank_linear(wide, narrow) for wide, narrow in pairwise(sizes)]
    for linear in maps[:-1]:
        down.add_hidden(linear)
    bottom = maps[-1]
    fans = Fans(bottom.in_features, bottom.out_features)
    code_layer = Layer("code", "code", bottom, fans, down.fed_by)

    up = _Stack("decoder", norm, activation, depth)
    # A code may be made of more features than it has numbers; the decoder reads the numbers.
    mirror = (head.size, *sizes[-2::-1])
    *hidden, last = (
        TiedLinear(source) if tied else blank_linear(narrow, wide)
        for source, narrow, wide in zip(reversed(maps), mirror, mirror[1:], strict=False)
    )
    for linear_up in hidden:
        up.add_hidden(linear_up)
    up.add_output(last)

    if refusals := [*down.refusals, *up.refusals]:
        raise SpecRefused(list(dict.fromkeys(refusals)))
    return Autoencoder(
        nn.Sequential(down.modules),
        Bottleneck(bottom, head),
        nn.Sequential(up.modules),
        layers=[*down.layers, code_layer, *up.layers],
        architecture="dense",
        features=features,
        output=output or "linear",
    )
