"""Encoders made of the data's principal directions, with their transpose as the decoder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from autoencoders.events import Event
from autoencoders.init.context import InitContext
from autoencoders.init.flow import (
    CALIBRATION_ROWS,
    calibration_rows,
    centre_units,
    follow,
    scale_is_fixed,
    settle,
    summands,
    warn_of_dead,
)
from autoencoders.init.following import followed_by
from autoencoders.init.lift import inits
from autoencoders.init.lsuv import orthogonal_weight
from autoencoders.init.mirror import Mirror, trunk
from autoencoders.init.orthogonal import semi_orthogonal
from autoencoders.init.principal import Passage, passage, principal
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

Rows = Annotated[int, Field(ge=2, le=1_000_000)]

STRAIGHT = 0.99
"""`pca`: what share of the variance behind an activation shall be linear, where not all of it can be."""
BENT = 0.93
"""`pca_greedy`: the same; it is what a pre-activation of variance 4 leaves of a sigmoid's, 1 of a tanh's."""


class _Principal:
    """Sets one layer after the other as the rows reach it.

    Args:
        model: whose layers they are.
        layers: those that may be set.
        context: streams and rows.
        rows: [n, features].
        straight: whether pairs of units carry signals past activations, as far as possible unbent.
    """

    def __init__(
        self,
        model: Autoencoder,
        layers: Sequence[Layer],
        context: InitContext,
        rows: Tensor,
        *,
        straight: bool,
    ) -> None:
        self._context, self._rows, self._straight = context, rows, straight
        self._code_size, self._sigmoid = model.code_size, model.output_activation == "sigmoid"
        self._trunk = trunk(model)
        every = model.layers()
        # How the activation after each layer lets its output through; the code is linear.
        self._after: dict[str, Passage | None] = {
            name: None if activation is None else passage(activation, STRAIGHT if straight else BENT)
            for name, activation in followed_by(model).items()
        }
        self._pairs: dict[str, int] = {}
        self.dead: list[str] = []
        self._mirror = Mirror(model, rows)
        # A tied decoder has no scale of its own; the encoder then leaves lengths as they are.
        self._tied = straight and any(layer.tied for layer in every)
        self._exact = (
            straight
            and len(layers) == len(every)
            and all(self._passes(layer) for layer in self._trunk if layer.part == "encoder")
            and not any(layer.normed or scale_is_fixed(layer) or len(layer.shape) > 2 for layer in every)
        )

    def arrive(self, layer: Layer, read: Tensor) -> None:
        """Set the layer by what it reads."""
        if layer.branch is not None:
            self._shut(layer, read)
        elif layer.part != "decoder":
            self._project(layer, read)
        else:
            scaled = not self._exact or (layer.is_output and self._sigmoid)
            self._mirror.undo(layer, read, {}, self._context, scaled=scaled)

    def leave(self, layer: Layer, yielded: Tensor) -> None:
        """Note what a layer yielded."""
        self._mirror.keep(layer, yielded)

    def _shut(self, layer: Layer, read: Tensor) -> None:
        # Nothing of the branch reaches the stream before the first step has opened it.
        assert layer.branch is not None
        layer.assign(orthogonal_weight(layer, self._context))
        self._scale(layer, read, 1.0)
        if layer.branch.layers[-1] == layer.name:
            layer.branch.scale.zero_()

    def _has_room(self, layer: Layer) -> bool:
        """Whether pairs of the layer's units can carry the whole code; alone they carry twice that, bent."""
        return self._straight and layer.outputs >= 2 * self._code_size

    def _passes(self, layer: Layer) -> bool:
        """Whether the whole code gets past the activation after the layer unbent."""
        through = self._after[layer.name]
        return through is None or (through.exact and (self._has_room(layer) or not through.paired))

    def _scale(self, layer: Layer, read: Tensor, variance: float) -> None:
        if not settle(layer, read[:CALIBRATION_ROWS], variance=variance, rounds=1):
            self.dead.append(layer.name)

    def _project(self, layer: Layer, read: Tensor) -> None:
        through = self._after[layer.name]
        paired = through is not None and through.paired and self._has_room(layer)
        signal, half = self._signal(layer, read)
        stream = self._context.stream(layer.name)
        units = min(layer.units, self._code_size) if layer.part == "code" else layer.units
        slots = units // 2 if paired else units
        sample = summands(layer, signal, len(self._rows), self._context)
        matrix = _basis(sample, slots, stream, turned=layer.part != "code").to(read)
        weight = matrix.reshape(slots, -1, *layer.shape[2:]) if len(layer.shape) > 2 else matrix
        weight = _read_pairs(weight / math.sqrt(_coverage(layer)), layer, half)
        if half or self._tied:
            weight = weight / _slope(layer)
        layer.assign(_yield_pairs(weight, layer, stream) if paired else _padded(weight, layer))
        if paired:
            self._pairs[layer.name] = slots
        if not self._straight or (through is not None and not through.exact and not self._tied):
            self._scale(layer, read, 1.0 if through is None else through.variance)
        elif not bool((read != read[:1]).any()):
            self.dead.append(layer.name)
        centre_units(layer, read)
        if not self._straight:
            self._mirror.share_scale(layer, read)

    def _signal(self, layer: Layer, read: Tensor) -> tuple[Tensor, int]:
        """What a layer reads, pairs of units taken together, and how many numbers a half of the pairs is."""
        place = [one.name for one in self._trunk].index(layer.name)
        before = self._trunk[place - 1] if place else None
        pairs = 0 if before is None else self._pairs.get(before.name, 0)
        if before is None or not pairs:
            return read, 0
        # Behind a convolution, the code reads all places of a channel one after the other.
        half = pairs * (layer.shape[1] // before.units)
        return (read[:, :half] - read[:, half : 2 * half]) / _slope(layer), half


def _slope(layer: Layer) -> float:
    return 1.0 if layer.fed_by is None else passage(layer.fed_by, STRAIGHT).slope


def _coverage(layer: Layer) -> float:
    """By how many patches of a convolution each place that it reads is covered."""
    return math.prod(layer.shape[2:]) * layer.positions[1] / layer.positions[0]


def _basis(sample: Tensor, count: int, stream: torch.Generator, *, turned: bool) -> Tensor:
    """`count` directions: the principal ones where there are more, orthonormal columns where there are not.

    `turned`: mixed by a random rotation, so that each unit has its share of the variance.
    """
    columns = sample.shape[1]
    if count > columns or (count == columns and turned):
        return semi_orthogonal(count, columns, stream)
    directions, _ = principal(sample, count, stream)
    directions = directions.to(sample)
    return semi_orthogonal(count, count, stream).to(sample) @ directions if turned else directions


def _read_pairs(weight: Tensor, layer: Layer, half: int) -> Tensor:
    """Weights for a signal as weights for the pairs of units that bear it."""
    if not half:
        return weight
    rest = weight.new_zeros(len(weight), layer.shape[1] - 2 * half, *layer.shape[2:])
    return torch.cat([weight, -weight, rest], dim=1)


def _yield_pairs(weight: Tensor, layer: Layer, stream: torch.Generator) -> Tensor:
    """Each unit and its negative; one that is left over reads at random, and nobody reads it yet."""
    left = layer.units - 2 * len(weight)
    if not left:
        return torch.cat([weight, -weight])
    size = torch.linalg.vector_norm(weight[0]) / math.sqrt(weight[0].numel())
    random = torch.randn(left, *layer.shape[1:], generator=stream, device="cpu").to(weight) * size
    return torch.cat([weight, -weight, random])


def _padded(weight: Tensor, layer: Layer) -> Tensor:
    """Zeros for the features of a code that are parameters of a law."""
    return torch.cat([weight, weight.new_zeros(layer.units - len(weight), *layer.shape[1:])])


def _run(
    model: Autoencoder, layers: Sequence[Layer], context: InitContext, count: int, *, straight: bool
) -> list[str]:
    rows = calibration_rows(model, context, count)
    work = _Principal(model, layers, context, rows, straight=straight)
    follow(model, rows, layers, context, arrive=work.arrive, leave=work.leave)
    return work.dead


@inits.per_model(
    "pca",
    formula="W_enc = the first principal directions, b = -W mu; W_dec = W_enc^T, b = mu",
    reference="Baldi and Hornik, 1989; pairs of units: Balduzzi et al., 2017",
    looks_at_others=True,
)
def pca(
    model: Autoencoder, layers: Sequence[Layer], context: InitContext, *, rows: Rows = 10_000
) -> Iterator[Event]:
    """The code is the data's PCA, carried to it and back as straight as the activations let it through.

    Each layer passes on as many of the first directions as it has room for, turned at random; where it
    widens, all of them by orthonormal columns. An activation that is not odd (ReLU, GELU, softplus and
    their like) is passed in pairs of units `w` and `-w`, whose difference is the signal (looks-linear),
    where a layer has twice as many units as the code; an odd one at a variance at which it is nearly
    straight. Residual branches begin shut. Convolutions take
    the directions of their patches, transposed convolutions are their adjoints. The decoder is the
    encoder's transpose; its scale is fitted where the way is not exactly straight, and that of logits by
    cross-entropy.
    """
    if dead := _run(model, layers, context, rows, straight=True):
        yield warn_of_dead("pca", dead)


@inits.per_model(
    "pca_greedy",
    formula="W = principal directions of what the layer reads, scaled as by LSUV; W_dec ~ W^T",
    reference="Brivio and Franco, 2025; Mishkin and Matas, 2016",
    looks_at_others=True,
)
def pca_greedy(
    model: Autoencoder, layers: Sequence[Layer], context: InitContext, *, rows: Rows = 10_000
) -> Iterator[Event]:
    """Layer by layer the principal directions of the activations; orthonormal columns where it widens.

    Centred, and scaled to the pre-activation variance that leaves .93 of what passes the activation linear (4
    for sigmoid, 1 for tanh; 1 where that is free). Directions are turned at random, so that each unit has its
    share of the variance. The decoder is the transpose, each layer scaled to come nearest to what the encoder
    had in its place, the logits by cross-entropy; where it is tied, that scale is the encoder's too. Residual
    branches begin shut.
    """
    if dead := _run(model, layers, context, rows, straight=False):
        yield warn_of_dead("pca_greedy", dead)
