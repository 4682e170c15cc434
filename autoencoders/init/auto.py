"""The init that is chosen by trying: only its schema, since it is settled before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field

from autoencoders.errors import SpecRefused
from autoencoders.events import Event
from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.init.storeys import ROWS_BYTES
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

WORD = "auto"
FINALISTS = 6
"""How many candidates race at the most."""
FEWEST_STEPS = 200
"""How many steps a candidate takes in the race, however small the budget is, where the job has them."""
STARTS_HELD = 8
"""Starts that are kept while candidates are compared: the best so far, the one looked at, a copy."""


def _refuses(model: Autoencoder, layers: Sequence[Layer], _parameters: dict[str, Any]) -> str | None:
    if len(layers) == len(model.layers()):
        return None
    return "chooses for a whole model: give each part an init of its own, or the model `auto`"


def _held_bytes(model: Autoencoder, layers: Sequence[Layer], rows: int) -> int:
    widest = max(layer.inputs + layer.outputs for layer in layers)
    weights = sum(parameter.numel() for parameter in model.parameters())
    return min(ROWS_BYTES, 4 * rows * widest) + STARTS_HELD * 4 * weights


def _trial_steps(parameters: dict[str, Any], steps: int) -> float:
    return max(FINALISTS * min(FEWEST_STEPS, steps), float(parameters["budget"]) * steps)


@inits.per_model(
    WORD,
    formula="the start of least held-out error after a short race between the best few candidates",
    refuses=_refuses,
    held_bytes=_held_bytes,
    trial_steps=_trial_steps,
    settled=True,
)
def auto(
    model: Autoencoder,  # noqa: ARG001 - every init's signature
    layers: Sequence[Layer],  # noqa: ARG001
    context: InitContext,  # noqa: ARG001
    *,
    budget: Annotated[float, Field(gt=0, le=1)] = 0.05,  # noqa: ARG001
) -> Iterator[Event]:
    """The best of the candidates meant for this architecture and activation, found by a race on the rows.

    `budget` is the share of the job's steps that may go to it. In any case each candidate in the race takes
    200, or as many as the job has, and those that come out close run again for twice as long. `output_bias`
    and `centre` hold for every candidate.

    Raises:
        SpecRefused: always; whoever trains settles it first, as `autoencoders.study.settle` does.
    """
    raise SpecRefused([(("init",), f"{WORD} is settled before a model is built; here it was not")])
