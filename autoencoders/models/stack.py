"""A part of a model under construction: hidden layers, residual blocks, an output, each noted as a layer."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from autoencoders.catalog import Choice
from autoencoders.errors import SpecRefused
from autoencoders.layers.activations import Activation, activations
from autoencoders.layers.activations import activation as make_activation
from autoencoders.layers.layer import Branch, Fans, Layer, Map, Part
from autoencoders.layers.norms import norms, put_norm
from autoencoders.models.autoencoder import Autoencoder, Bottleneck, OutputActivation
from autoencoders.models.codes import Code, codes

LEAKY_RELU = activations.choose("leaky_relu")
NO_NORM = norms.choose("none")

Problem = tuple[tuple[str, ...], str]
Positions = tuple[int, int]


def make_code(choice: Choice) -> Code:
    """The chosen code.

    Raises:
        SpecRefused: its parameters do not fit together; locations in the spec.
    """
    try:
        made: Code = codes.call(choice)
    except SpecRefused as refused:
        raise SpecRefused(
            [(("architecture", "code", *location), message) for location, message in refused.problems]
        ) from None
    return made


def _bend(x: Tensor, norm: nn.Module | None, activation: Activation) -> Tensor:
    out: Tensor = activation(x if norm is None else norm(x))
    return out


class Bend(nn.Module):
    """Where a net bends: perhaps a norm, then an activation.

    Args:
        norm: what standardises its input, if anything does.
        activation: what follows.
    """

    def __init__(self, norm: nn.Module | None, activation: Activation) -> None:
        super().__init__()
        self.norm, self.activation = norm, activation

    def forward(self, x: Tensor) -> Tensor:
        """The activation of the standardised input."""
        return _bend(x, self.norm, self.activation)


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
        return _bend(self.linear(x), self.norm, self.activation)


class Block(nn.Module):
    """A residual block with activations first: `x + scale * second(phi(N(first(phi(N(x))))))`.

    (He, Zhang, Ren and Sun, 2016.)

    Args:
        enter: the norm and the activation through which the branch reads the stream.
        first: the branch's first map with the norm and the activation that follow.
        second: the map whose output is added to the stream.
        channels: of the stream; each has a scale of its own.
    """

    def __init__(self, enter: Bend, first: Hidden, second: Map, channels: int) -> None:
        super().__init__()
        self.enter, self.first, self.second = enter, first, second
        self.scale = nn.Parameter(torch.ones(channels))
        self._across = (-1,) if isinstance(second, nn.Linear) else (-1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The stream with the branch added."""
        branch: Tensor = self.second(self.first(self.enter(x)))
        return torch.addcmul(x, self.scale.view(self._across), branch)


@dataclass(frozen=True)
class Style:
    """What all hidden layers of a model have in common.

    Attributes:
        norm: the norm put onto every hidden map.
        activation: what follows it.
        depth: how many activations a row passes.
        branches: how many residual branches the model has.
    """

    norm: Choice
    activation: Choice
    depth: int
    branches: int = 0


class Stack:
    """One part of a model under construction.

    Args:
        part: which one.
        style: what its hidden layers have in common.
        first_branch: the number of its first residual branch among the model's.
    """

    def __init__(self, part: Part, style: Style, *, first_branch: int = 0) -> None:
        self._part, self._style, self._branch = part, style, first_branch
        self._fed_by: Activation | None = None
        self._normed = False
        self._stream: nn.Module | None = None
        self._streams = False
        self.modules: OrderedDict[str, nn.Module] = OrderedDict()
        self.layers: list[Layer] = []
        self.refusals: list[Problem] = []

    def add_hidden(self, linear: Map, fans: Fans | None = None, positions: Positions = (1, 1)) -> None:
        """A map, a norm, an activation."""
        name = self._note(linear, fans, positions)
        self.modules[name] = self._hidden(linear)

    def add_stream(
        self,
        linear: Map,
        fans: Fans | None = None,
        positions: Positions = (1, 1),
        *,
        as_image: tuple[int, int, int] | None = None,
    ) -> None:
        """A map whose output, perhaps seen as an image, is the stream that the blocks after it add to."""
        self.end_stream()
        name = self._note(linear, fans, positions)
        self.modules[name] = linear
        if as_image is not None:
            self.modules["image"] = nn.Unflatten(1, as_image)
        self._stream = self._norm(linear, None if as_image is None else as_image[0])
        self._streams = True

    def add_block(
        self, first: Map, second: Map, fans: Fans | None = None, positions: Positions = (1, 1)
    ) -> None:
        """A residual block of two maps of the same fans."""
        # The norm through which it reads the stream is that of the map which wrote there last.
        enter = self._bend(self._stream)
        name = self._note(first, fans, positions)
        hidden = self._hidden(first)
        self._note(second, fans, positions)
        block = Block(enter, hidden, second, self.layers[-1].units)
        names = tuple(layer.name for layer in self.layers[-2:])
        branch = Branch(block.scale, self._branch, self._style.branches, names)
        self.layers[-2:] = [replace(layer, branch=branch) for layer in self.layers[-2:]]
        self.modules[name] = block
        self._stream = self._norm(second)
        self._branch += 1

    def end_stream(self) -> None:
        """The norm and the activation through which whatever comes next reads the stream."""
        if self._streams:
            self.modules[f"bend{len(self.layers)}"] = self._bend(self._stream)
            self._stream, self._streams = None, False

    def add_output(self, linear: Map, fans: Fans | None = None, positions: Positions = (1, 1)) -> None:
        """The map that yields the logits."""
        self.end_stream()
        self.modules[self._note(linear, fans, positions, is_output=True)] = linear

    def code_layer(self, linear: nn.Linear) -> Layer:
        """The code layer, which reads what this part yields."""
        return Layer("code", "code", linear, _dense_fans(linear), self._fed_by, normed=self._normed)

    def _note(self, linear: Map, fans: Fans | None, positions: Positions, *, is_output: bool = False) -> str:
        name = "output" if is_output else str(len(self.layers))
        self.layers.append(
            Layer(
                f"{self._part}.{name}",
                self._part,
                linear,
                fans or _dense_fans(linear),
                self._fed_by,
                is_output,
                positions,
                normed=self._normed,
            )
        )
        return name

    def _hidden(self, linear: Map) -> Hidden:
        bend = self._bend(self._norm(linear))
        return Hidden(linear, bend.norm, bend.activation)

    def _bend(self, norm: nn.Module | None) -> Bend:
        made = Bend(norm, make_activation(self._style.activation, depth=self._style.depth))
        self._fed_by, self._normed = made.activation, norm is not None
        return made

    def _norm(self, linear: Map, channels: int | None = None) -> nn.Module | None:
        if channels is not None and not norms[self._style.norm.name].traits.get("of_weight"):
            # Read as an image, so the norm is a convolution's, which leaves the bias of this map alone.
            linear = nn.Conv2d(1, channels, 1, device="meta")
        try:
            return put_norm(self._style.norm, linear)
        except SpecRefused as refused:
            self.refusals += [
                (("architecture", "norm", *location), message) for location, message in refused.problems
            ]
        return None


def _dense_fans(linear: Map) -> Fans:
    assert not isinstance(linear, nn.Conv2d | nn.ConvTranspose2d), "a convolution states its fans"
    return Fans(linear.in_features, linear.out_features)


def assemble(
    architecture: str,
    down: Stack,
    bottleneck: Bottleneck,
    up: Stack,
    *,
    features: int,
    output: OutputActivation | None,
) -> Autoencoder:
    """The model of two finished parts and the bottleneck between them.

    Raises:
        SpecRefused: a norm does not fit a map.
    """
    if refusals := [*down.refusals, *up.refusals]:
        raise SpecRefused(list(dict.fromkeys(refusals)))
    return Autoencoder(
        nn.Sequential(down.modules),
        bottleneck,
        nn.Sequential(up.modules),
        layers=[*down.layers, down.code_layer(bottleneck.linear), *up.layers],
        architecture=architecture,
        features=features,
        output=output or "linear",
    )
