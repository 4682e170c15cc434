"""Pretraining by a stack of restricted Boltzmann machines, unrolled: how deep autoencoders began in 2006."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import parametrize

from autoencoders.errors import SpecRefused, TrainingDiverged
from autoencoders.events import Event, Initialised, Warned
from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.init.rbm import ContrastiveDivergence, Rbm, Units
from autoencoders.init.storeys import CHUNK, Storey, held_bytes, passes, shuffled, storeys, training_rows
from autoencoders.layers.layer import Layer
from autoencoders.layers.norms import SpectralNorm
from autoencoders.models.autoencoder import Autoencoder

Visible: TypeAlias = Literal["auto", "binary", "gaussian"]
Rate = Annotated[float, Field(gt=0, le=10)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Recipe:
    """How a machine is trained; see `rbm_stack` for what is meant where a value is None."""

    epochs: int
    std: float
    steps: int
    persistent: bool
    batch_size: int
    learning_rate: float | None
    momentum: float | None
    weight_cost: float

    def rate(self, rbm: Rbm) -> float:
        """The learning rate for this machine."""
        if self.learning_rate is not None:
            return self.learning_rate
        released = 1e-3 if "gaussian" in (rbm.visible, rbm.hidden) else 0.1
        return released / 10 if self.persistent else released

    def momentum_in(self, epoch: int) -> float:
        """The momentum in an epoch, counted from 1."""
        if self.momentum is not None:
            return self.momentum
        return 0.5 if epoch <= 5 else 0.9


def _spectral(layer: Layer) -> bool:
    if not parametrize.is_parametrized(layer.module, "weight"):
        return False
    return any(isinstance(module, SpectralNorm) for module in layer.module.modules())


def _refuses(model: Autoencoder, layers: Sequence[Layer], parameters: dict[str, Any]) -> str | None:
    every, owned = model.layers(), {layer.name for layer in layers}
    words = {layer.fed_by.word for layer in every if layer.fed_by is not None}
    if words != {"sigmoid"}:
        return (
            "needs sigmoid hidden units, whose outputs are the probabilities that its machines learn; "
            f"here they are {', '.join(sorted(words))}"
        )
    if any(layer.normed for layer in every) or any(map(_spectral, every)):
        return "needs hidden units without a norm, which would undo the scale that its machines learn"
    if owned & {"code", "decoder.0"} and model.bottleneck.head.features != model.code_size:
        return "needs a code of as many numbers as the code layer has units"
    fitting = "binary" if model.output_activation == "sigmoid" else "gaussian"
    if "decoder.output" in owned and parameters["visible"] not in ("auto", fitting):
        return f"needs {fitting} visible units where the output is {model.output_activation}"
    return None


@inits.per_model(
    "rbm_stack",
    formula="W, b, c by contrastive divergence, layer by layer; encoder (W, c), decoder (W', b)",
    reference="Hinton and Salakhutdinov, 2006, with the settings of the code that they released",
    architectures=("dense",),
    refuses=_refuses,
    looks_at_others=True,
    held_bytes=held_bytes,
    passes=passes,
)
def rbm_stack(
    model: Autoencoder,
    layers: Sequence[Layer],
    context: InitContext,
    *,
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10,
    visible: Visible = "auto",
    std: Annotated[float, Field(gt=0, le=100)] = 0.1,
    steps: Annotated[int, Field(ge=1, le=1000)] = 1,
    persistent: bool = False,
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 100,
    learning_rate: Rate | None = None,
    momentum: Share | None = None,
    weight_cost: Annotated[float, Field(ge=0, le=1)] = 2e-4,
) -> Iterator[Event]:
    """A restricted Boltzmann machine for each layer on the probabilities below it, then all unrolled.

    Unset, `learning_rate` is 0.1, but 0.001 for the linear code and for Gaussian visible units, and a tenth
    of that with persistent chains; `momentum` is 0.5 for five epochs, then 0.9. `visible` `auto` is binary
    where rows lie in [0, 1] and the output is a sigmoid, otherwise Gaussian: rows should then have a
    variance of 1 in every feature.
    """
    recipe = Recipe(epochs, std, steps, persistent, batch_size, learning_rate, momentum, weight_cost)
    found = storeys(model, layers)
    rows = training_rows(found, context, at_least=batch_size)
    units = _visible_units(model, rows, visible)
    if units == "gaussian" and found[0].wanted:
        yield from _warn_of_scale(rows, model)
    for storey in found:
        if storey.wanted:
            rbm = Rbm.drawn(
                storey.up.inputs,
                storey.up.outputs,
                context.stream(storey.up.name),
                std=std,
                visible=units if storey.first else "binary",
                hidden="gaussian" if storey.up.part == "code" else "binary",
                device=rows.device,
            )
            yield from _train(rbm, rows, recipe, storey.up, context)
            _unroll(storey, rbm)
        if storey is not found[-1]:
            rows = _passed_on(storey.up, rows)


def _train(rbm: Rbm, rows: Tensor, recipe: Recipe, layer: Layer, context: InitContext) -> Iterator[Event]:
    """An event after each epoch.

    Raises:
        TrainingDiverged: the reconstruction is no longer finite.
    """
    trainer = ContrastiveDivergence(
        rbm,
        context.stream(layer.name, "states"),
        learning_rate=recipe.rate(rbm),
        weight_cost=recipe.weight_cost,
        steps=recipe.steps,
        persistent=recipe.persistent,
    )
    order = context.stream(layer.name, "order")
    for epoch in range(1, recipe.epochs + 1):
        started = context.clock()
        error = run_epoch(trainer, rows, recipe.batch_size, order, recipe.momentum_in(epoch))
        if not math.isfinite(error):
            reason = f"the machine of {layer.name} left the finite numbers; lower its learning rate"
            raise TrainingDiverged(reason, step=epoch * -(-len(rows) // recipe.batch_size))
        detail = {
            "layer": layer.name,
            "epoch": epoch,
            "epochs": recipe.epochs,
            "rows": len(rows),
            "reconstruction_error": error,
        }
        seconds = context.clock() - started
        yield Initialised(word="rbm_stack", part=layer.name, seconds=seconds, detail=detail)


def run_epoch(
    trainer: ContrastiveDivergence, rows: Tensor, batch_size: int, order: torch.Generator, momentum: float
) -> float:
    """Every row once, in a new order; the squared error of a row's reconstruction, on average."""
    total = torch.zeros((), dtype=torch.float64, device=rows.device)
    for chosen in shuffled(rows, batch_size, order):
        total += trainer.step(rows.index_select(0, chosen), momentum)
    return float(total) / len(rows)


def _visible_units(model: Autoencoder, rows: Tensor, visible: Visible) -> Units:
    bounded = float(rows.min()) >= 0 and float(rows.max()) <= 1
    if visible == "binary" and not bounded:
        raise SpecRefused([(("init",), "rbm_stack: binary visible units need scaled rows in [0, 1]")])
    if visible != "auto":
        return visible
    return "binary" if bounded and model.output_activation == "sigmoid" else "gaussian"


def _warn_of_scale(rows: Tensor, model: Autoencoder) -> Iterator[Event]:
    variance = float(rows.var(dim=0, correction=0).mean())
    if not 0.5 < variance < 2:
        yield Warned(
            message="rbm_stack: Gaussian visible units have variance 1, the scaled rows' features "
            f"{variance:.3g} on average; the scaling `standard` makes it 1"
        )
    if model.output_activation == "sigmoid":
        yield Warned(message="rbm_stack: rows leave [0, 1], so that the sigmoid output cannot be their mean")


@torch.no_grad()
def _unroll(storey: Storey, rbm: Rbm) -> None:
    for layer, weight, bias in (
        (storey.up, rbm.weight, rbm.hidden_bias),
        (storey.down, rbm.weight.t(), rbm.visible_bias),
    ):
        if layer.name in storey.owned:
            if not layer.tied:
                layer.assign(weight)
            if layer.bias is not None:
                layer.bias.copy_(bias)


@torch.no_grad()
def _passed_on(layer: Layer, rows: Tensor) -> Tensor:
    """The probabilities of a layer as it now stands, in float32 whatever the model computes in."""
    assert layer.weight is not None, "no layer of the encoder is tied"
    weight, bias = layer.weight.float(), None if layer.bias is None else layer.bias.float()
    out = rows.new_empty(len(rows), layer.outputs)
    for start in range(0, len(rows), CHUNK):
        chunk = slice(start, start + CHUNK)
        torch.sigmoid(functional.linear(rows[chunk], weight, bias), out=out[chunk])
    return out
