"""Pretraining by small denoising autoencoders, one for each layer, each on what the one below it yields."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from autoencoders.catalog import Choice
from autoencoders.errors import TrainingDiverged
from autoencoders.events import Event, Initialised
from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.init.storeys import CHUNK, Storey, held_bytes, passes, shuffled, storeys, training_rows
from autoencoders.layers.layer import Layer, TiedLinear
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.objective.corruptions import corruptions
from autoencoders.randomness import generator

MASKING = corruptions.choose("masking", share=0.25)
BATCH = 100
BATCHES = 20
"""The least number of batches in an epoch, where rows are few."""


class _Point(nn.Module):
    """The code without noise."""

    def __init__(self, bottleneck: nn.Module) -> None:
        super().__init__()
        self.bottleneck = bottleneck

    def forward(self, x: Tensor) -> Tensor:
        point: Tensor = self.bottleneck.point(x)  # type: ignore[operator]  # a Bottleneck, perhaps a copy
        return point


def _stages(model: Autoencoder) -> dict[str, list[nn.Module]]:
    """By its layer's name: the modules that a row passes with that layer.

    What only reshapes goes with the layer that reads it on the way up, and with the one that wrote it on the
    way down: so the two stages of a storey are each other's inverse in shape.
    """
    by_module = {id(layer.module): layer.name for layer in model.layers()}

    def named(child: nn.Module) -> str | None:
        return next((by_module[id(part)] for part in child.modules() if id(part) in by_module), None)

    stages: dict[str, list[nn.Module]] = {}
    waiting: list[nn.Module] = []
    for child in (*model.encoder.children(), _Point(model.bottleneck)):
        waiting.append(child)
        if (name := named(child)) is not None:
            stages[name], waiting = waiting, []
    last = ""
    for child in model.decoder.children():
        last = named(child) or last
        if last:
            stages.setdefault(last, []).append(child)
    return stages


@dataclass(frozen=True)
class _Recipe:
    """How each small autoencoder learns."""

    epochs: int
    corruption: Choice
    learning_rate: float

    def corrupted(self, rows: Tensor, noise: torch.Generator, bounds: tuple[float, float]) -> Tensor:
        """The rows corrupted, at the strength that they had.

        What masking takes from a row's length is given back, as dropout does: otherwise a map of units that
        do not saturate would learn to amplify, storey upon storey, and overshoot on clean rows.
        """
        found: Tensor = corruptions.call(self.corruption, rows, noise, bounds)
        left = (found * rows).sum()
        return found * torch.where(left > 0, rows.square().sum() / left, 1.0)


@dataclass(frozen=True)
class _Small:
    """The small autoencoder of one storey: copies of the model's modules, in float32.

    Attributes:
        up: from what the storey reads to its hidden values.
        down: back again.
        layers: the storey's two layers, borne by the copies.
        probabilities: whether what it reconstructs are probabilities, so that cross-entropy is its loss.
        squash: whether the sigmoid of the output is still to be taken.
    """

    up: nn.Sequential
    down: nn.Sequential
    layers: tuple[Layer, Layer]
    probabilities: bool
    squash: bool

    def reconstruct(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.up(x))
        return torch.sigmoid(out) if self.squash else out

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Summed over a row, averaged over rows."""
        distance = functional.binary_cross_entropy if self.probabilities else functional.mse_loss
        return distance(out, target, reduction="sum") / len(target)


def _small(model: Autoencoder, storey: Storey, rows: Tensor, context: InitContext) -> _Small:
    stages = _stages(model)
    memo: dict[int, Any] = {}
    up = copy.deepcopy(nn.Sequential(*stages[storey.up.name]), memo)
    reader = replace(storey.up, module=memo[id(storey.up.module)])
    # One memo for both: where the decoder is tied, its copy shares the weight of the encoder's copy.
    if isinstance(storey.down.module, TiedLinear):
        memo[id(storey.down.module)] = TiedLinear(reader.module)  # type: ignore[arg-type]  # tied to a linear map
    down = copy.deepcopy(nn.Sequential(*stages[storey.down.name]), memo)
    writer = replace(storey.down, module=memo[id(storey.down.module)])
    up.float().train()
    down.float().train()
    _start(storey, reader, writer, context)
    squash = storey.first and model.output_activation == "sigmoid"
    fed_by = storey.up.fed_by
    sigmoid = squash if storey.first else fed_by is not None and fed_by.word == "sigmoid"
    bounded = float(rows.min()) >= 0 and float(rows.max()) <= 1
    return _Small(up, down, (reader, writer), sigmoid and bounded, squash)


@torch.no_grad()
def _start(storey: Storey, reader: Layer, writer: Layer, context: InitContext) -> None:
    """Normal weights that keep the variance, and their adjoint downwards; what is not owned stays."""
    if storey.up.name in storey.owned:
        weight = torch.empty(reader.shape, device="cpu")
        std = reader.gain / math.sqrt(reader.fans.fan_in)
        reader.assign(weight.normal_(0, std, generator=context.stream(reader.name)))
        if reader.bias is not None:
            reader.bias.zero_()
    if not writer.tied:
        assert reader.weight is not None
        # Of a code layer with units beside the code itself, the decoder reads the first. Where the layer
        # widens, W'W is about outputs / inputs times the identity.
        adjoint = reader.weight.transpose(0, 1)[:, : writer.shape[1]]
        writer.assign(adjoint * min(1.0, reader.inputs / reader.outputs))
    if writer.bias is not None:
        writer.bias.zero_()


def _learning(storey: Storey, small: _Small) -> list[nn.Parameter]:
    """The two maps' own parameters; those of norms stay, and an encoder that is not owned is only undone."""
    for stage in (small.up, small.down):
        stage.requires_grad_(requires_grad=False)
    learning: dict[int, nn.Parameter] = {}
    for layer in small.layers:
        if layer.name in storey.owned or layer.part == "decoder":
            learning |= {id(one): one for one in layer.module.parameters()}
    for one in learning.values():
        one.requires_grad_()
    return list(learning.values())


@inits.per_model(
    "stacked_denoising",
    formula="min |x - g(f(corrupted x))|^2 or cross-entropy, layer by layer; encoder f, decoder g",
    reference="Vincent, Larochelle, Lajoie, Bengio and Manzagol, 2010",
    architectures=("dense", "convolutional"),
    looks_at_others=True,
    held_bytes=held_bytes,
    passes=passes,
)
def stacked_denoising(
    model: Autoencoder,
    layers: Sequence[Layer],
    context: InitContext,
    *,
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10,
    corruption: Annotated[Choice, corruptions] = MASKING,
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.001,
) -> Iterator[Event]:
    """A small denoising autoencoder for each layer on the clean outputs of the layer below it.

    Each learns, by Adam in batches of 100, to undo the corruption of its input through its own decoder,
    with the activation and the norm that follow it in the model; cross-entropy where it reconstructs
    probabilities, squared error elsewhere. Where only the decoder is to be initialised, it learns to undo
    the encoder as it stands.
    """
    recipe, found = _Recipe(epochs, corruption, learning_rate), storeys(model, layers)
    rows = training_rows(found, context)
    for storey in found:
        small = _small(model, storey, rows, context)
        if storey.wanted:
            yield from _train(small, storey, rows, context, recipe)
            _take_over(storey, small)
        if storey is not found[-1]:
            rows = _passed_on(small, rows)


def _train(
    small: _Small, storey: Storey, rows: Tensor, context: InitContext, recipe: _Recipe
) -> Iterator[Event]:
    """An event after each epoch.

    Raises:
        TrainingDiverged: the reconstruction is no longer finite.
    """
    name, order = storey.up.name, context.stream(storey.up.name, "order")
    # Rows may live on a device where no generator of the CPU can draw.
    noise = generator(context.seed, "init", name, "corruption", device=rows.device)
    optimizer = torch.optim.Adam(_learning(storey, small), lr=recipe.learning_rate)
    bounds = (float(rows.min()), float(rows.max()))
    batch_size = min(BATCH, max(2, len(rows) // BATCHES))
    for epoch in range(1, recipe.epochs + 1):
        started, total, seen = context.clock(), torch.zeros((), device=rows.device).double(), 0
        for chosen in shuffled(rows, batch_size, order):
            if len(chosen) == 1 < len(rows):
                continue  # one row alone has no statistics for a norm
            target = rows.index_select(0, chosen)
            total += _step(small, target, recipe.corrupted(target, noise, bounds), optimizer)
            seen += len(target)
        error = float(total) / seen
        if not math.isfinite(error):
            reason = f"the small autoencoder of {name} left the finite numbers; lower its learning rate"
            raise TrainingDiverged(reason, step=epoch * -(-len(rows) // batch_size))
        detail = {
            "layer": name,
            "epoch": epoch,
            "epochs": recipe.epochs,
            "rows": len(rows),
            "reconstruction_error": error,
        }
        seconds = context.clock() - started
        yield Initialised(word="stacked_denoising", part=name, seconds=seconds, detail=detail)


@torch.enable_grad()
def _step(small: _Small, target: Tensor, corrupted: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """One update; the batch's squared error from the clean rows, summed."""
    out = small.reconstruct(corrupted)
    optimizer.zero_grad()
    torch.autograd.backward(small.loss(out, target))
    optimizer.step()
    return (out.detach() - target).square().sum()


@torch.no_grad()
def _take_over(storey: Storey, small: _Small) -> None:
    for own, learned in zip((storey.up, storey.down), small.layers, strict=True):
        if own.name not in storey.owned:
            continue
        if learned.weight is not None:
            own.assign(learned.weight)
        if own.bias is not None and learned.bias is not None:
            own.bias.copy_(learned.bias)


@torch.no_grad()
def _passed_on(small: _Small, rows: Tensor) -> Tensor:
    return torch.cat([small.up(chunk) for chunk in torch.split(rows, CHUNK)])
