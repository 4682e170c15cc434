"""Carrying out a plan: every layer's weights and biases, set before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from autoencoders.errors import SpecRefused
from autoencoders.events import Event, Initialised
from autoencoders.init.biases import centre, predict_mean
from autoencoders.init.context import InitContext
from autoencoders.init.lift import InitChoice, inits
from autoencoders.init.plan import InitParts, assignments, read_plan
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder


def initialize(
    model: Autoencoder, plan: InitChoice | InitParts | str | dict[str, Any], context: InitContext
) -> Iterator[Event]:
    """Initialise a model, whole or part by part, yielding what happens.

    Each layer draws from its own stream of the seed: no two layers are equal, and adding one changes no
    other. Biases are zero where a word says nothing. A tied decoder has only biases to be set.

    Raises:
        SpecRefused: the plan does not fit the model.
        NeedsRows: an option looks at the data, and there is none.
    """
    plan = read_plan(plan)
    layers = model.layers()
    if problems := plan.problems(model):
        raise SpecRefused([(("init", *location), message) for location, message in problems])
    chosen: dict[str, InitChoice] = {}
    for label, choice, owned in _in_order(plan, layers):
        started = context.clock()
        yield from apply_word(choice, model, owned, context)
        chosen |= {layer.name: choice for layer in owned}
        detail = {"layers": [layer.name for layer in owned]}
        yield Initialised(word=choice.name, part=label, seconds=context.clock() - started, detail=detail)
    _set_biases(model, layers, chosen, context)


def _in_order(
    plan: InitChoice | InitParts, layers: Sequence[Layer]
) -> list[tuple[str, InitChoice, list[Layer]]]:
    """Who initialises what: words that look at other layers after those that do not, in forward order."""
    places = {layer.name: place for place, layer in enumerate(layers)}

    def turn(assignment: tuple[str, InitChoice, list[Layer]]) -> int:
        _, choice, owned = assignment
        return places[owned[0].name] if inits[choice.name].traits.get("looks_at_others") else -1

    return sorted(assignments(plan, layers), key=turn)


def apply_word(
    choice: InitChoice, model: Autoencoder, layers: Sequence[Layer], context: InitContext
) -> Iterator[Event]:
    """Let one word initialise the layers that it owns, from zero biases and whole branches; nothing else.

    A residual branch belongs to whoever owns its last layer.
    """
    with torch.no_grad():
        for layer in layers:
            if layer.bias is not None:
                layer.bias.zero_()
            if layer.branch is not None and layer.branch.layers[-1] == layer.name:
                layer.branch.scale.fill_(1)
    yield from inits.call(choice, model, layers, context)


def _set_biases(
    model: Autoencoder, layers: Sequence[Layer], chosen: dict[str, InitChoice], context: InitContext
) -> None:
    # After all weights: a mean pre-activation depends on every layer below.
    if centred := [layer for layer in layers if chosen[layer.name].centre]:
        centre(model, centred, context)
    for layer in layers:
        if layer.is_output and chosen[layer.name].output_bias == "mean":
            predict_mean(model, layer, context)
