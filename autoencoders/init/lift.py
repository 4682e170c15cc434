"""The `inits` catalog, and the two decorators that give every word one signature.

A word written for one weight (`@inits.per_weight`) or for a model (`@inits.per_model`) becomes in the catalog
`init(model, layers, context, **parameters) -> Iterator[Event]`, where `layers` are those that it owns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, cast

import torch
from pydantic import ConfigDict
from torch import Tensor

from autoencoders.catalog import Catalog, Choice
from autoencoders.events import Event, Warned
from autoencoders.init.context import InitContext
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

Problem: TypeAlias = tuple[tuple[str, ...], str]
Init: TypeAlias = Callable[..., Iterator[Event]]
W = TypeVar("W", bound=Callable[..., None])
M = TypeVar("M", bound=Callable[..., Iterator[Event]])


class InitChoice(Choice):
    """An init, with the options that every init has.

    Attributes:
        output_bias: `mean`: by the last layer's bias the model predicts the data's mean before training.
        centre: biases subtract the mean pre-activation over a batch of rows, layer by layer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    output_bias: Literal["zero", "mean"] = "zero"
    centre: bool = False

    def problems(self, model: Autoencoder) -> list[Problem]:
        """What keeps it from initialising this model: locations inside of the plan, and messages."""
        return self.refusals(model, model.layers())

    def refusals(self, model: Autoencoder, layers: Sequence[Layer]) -> list[Problem]:
        """What keeps it from initialising these layers of the model."""
        traits = inits[self.name].traits
        meant_for = traits.get("architectures")
        if meant_for is not None and model.architecture not in meant_for:
            return [((), f"{self.name} is for {', '.join(meant_for)}, not for {model.architecture}")]
        refuses = traits.get("refuses")
        reason = None if refuses is None else refuses(model, layers, self.parameters())
        return [] if reason is None else [((), f"{self.name} {reason}")]

    def held_bytes(self, model: Autoencoder, layers: Sequence[Layer], rows: int) -> int:
        """What it holds of so many training rows while it initialises these layers."""
        held = inits[self.name].traits.get("held_bytes")
        return 0 if held is None else int(held(model, layers, rows))

    def passes(self, model: Autoencoder, layers: Sequence[Layer], rows: int) -> float:
        """How often its pretraining of these layers passes over so many training rows; 0 without one."""
        passes = inits[self.name].traits.get("passes")
        return 0.0 if passes is None else float(passes(model, layers, self.parameters(), rows))

    def trial_steps(self, steps: int) -> float:
        """About how many steps are trained to choose what it stands for, in a job of so many; mostly none."""
        trial_steps = inits[self.name].traits.get("trial_steps")
        return 0.0 if trial_steps is None else float(trial_steps(self.parameters(), steps))


class Inits(Catalog[Init]):
    """The catalog of inits.

    Traits of its words: `warning`, what whoever chooses it is told; `architectures`, those that it is meant
    for (all of them, where it says nothing); `refuses(model, layers, parameters)`, the rest of a sentence
    that begins with its name and says why it cannot initialise these layers, or None; `held_bytes(model,
    layers, rows)`, what it holds of so many rows, if that is much; `passes(model, layers, parameters,
    rows)`, how often its pretraining passes over so many, if it is one; `settled`, whether another init takes
    its place before anything is built, and `trial_steps(parameters, steps)`, for about how many steps it then
    trains candidates of a job of so many.
    """

    def choose(self, value: Any, /, **parameters: Any) -> InitChoice:
        """The validated choice; see `Catalog.choose`."""
        return cast(InitChoice, super().choose(value, **parameters))

    def per_weight(
        self, name: str, *, formula: str, reference: str = "", warning: str = "", **traits: Any
    ) -> Callable[[W], W]:
        """Register `word(weight, layer, context, **parameters)`, which fills one layer's weight in place.

        The tensor that it is given is a fresh one in the layer's own layout, float32 on the CPU; it may also
        set `layer.bias`, which is zero.
        """

        def register(function: W) -> W:
            @functools.wraps(function)
            def lifted(
                model: Autoencoder,  # noqa: ARG001 - every init's signature
                layers: Sequence[Layer],
                context: InitContext,
                **parameters: Any,
            ) -> Iterator[Event]:
                if warning:
                    yield Warned(message=f"init {name}: {warning}")
                for layer in layers:
                    _fill(function, layer, context, parameters)

            self.word(name, formula=formula, reference=reference, warning=warning, **traits)(lifted)
            return function

        return register

    def per_model(
        self, name: str, *, formula: str, reference: str = "", warning: str = "", **traits: Any
    ) -> Callable[[M], M]:
        """Register `word(model, layers, context, **parameters) -> Iterator[Event]`, for whole models."""

        def register(function: M) -> M:
            @functools.wraps(function)
            def lifted(
                model: Autoencoder, layers: Sequence[Layer], context: InitContext, **parameters: Any
            ) -> Iterator[Event]:
                if warning:
                    yield Warned(message=f"init {name}: {warning}")
                yield from function(model, layers, context, **parameters)

            self.word(name, formula=formula, reference=reference, warning=warning, **traits)(lifted)
            return function

        return register


@torch.no_grad()
def _fill(
    function: Callable[..., None], layer: Layer, context: InitContext, parameters: dict[str, Any]
) -> None:
    if layer.tied:
        return
    weight: Tensor = torch.empty(layer.shape, dtype=torch.float32, device="cpu")
    function(weight, layer, context, **parameters)
    layer.assign(weight)


inits = Inits("inits", base=InitChoice)
"""Words `(model, layers, context, **parameters) -> Iterator[Event]`."""
